//! What is promised and the test that proves it, as one table.
//!
//! Every sentence and example of the document, every vector, every method and every event has a
//! row; every row names tests that exist. `docs/evidence.md` is the table for readers: run with
//! `UPDATE_DOCS=1` to write it anew.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use clawport::internals::protocol::events::Event;
use clawport::internals::protocol::methods::Method;

use crate::support::seed::pieces;

/// The tests that prove a sentence, found by how it begins.
const SENTENCES: &[(&str, &[&str])] = &[
    (
        "OpenClaw's Gateway can serve",
        &["http_vectors::v4_the_scheme_may_have_any_case"],
    ),
    (
        "This endpoint is **disabled",
        &["http_gateway::the_endpoint_is_off_by_default_and_when_switched_off"],
    ),
    (
        "Enable it in config",
        &["http_gateway::the_endpoint_is_switched_on_by_its_key"],
    ),
    (
        "`POST /v1/chat/completions`",
        &["http_requests::both_spellings_of_a_path_reach_the_endpoint_and_queries_are_ignored"],
    ),
    (
        "Same port as the Gateway",
        &["document::one_port_serves_both_fronts"],
    ),
    (
        "Under the hood",
        &[
            "document::a_chat_completion_is_a_run_of_the_agent_like_any_other",
            "document::an_agent_that_is_not_there_is_refused_alike_by_both_fronts",
        ],
    ),
    (
        "Uses the Gateway auth",
        &["http_gateway::token_and_password_come_from_the_file_or_the_environment"],
    ),
    (
        "Send a bearer token",
        &["http_vectors::v4_the_scheme_may_have_any_case"],
    ),
    (
        "`Authorization: Bearer",
        &["http_vectors::v3_without_a_secret_is_unauthorized"],
    ),
    (
        "When `gateway.auth.mode=\"token\"`",
        &["http_gateway::token_and_password_come_from_the_file_or_the_environment"],
    ),
    (
        "When `gateway.auth.mode=\"password\"`",
        &["http_requests::a_password_is_a_bearer_too_and_nothing_else_is_a_credential"],
    ),
    (
        "If `gateway.auth.rateLimit`",
        &["http_gateway::the_configured_rate_limit_answers_429"],
    ),
    (
        "No custom headers required",
        &["http_requests::the_model_chooses_the_agent"],
    ),
    (
        "model: \"openclaw:<agentId>\"",
        &["http_requests::the_model_chooses_the_agent"],
    ),
    (
        "Or target a specific",
        &["http_vectors::v11_the_header_wins_over_the_model"],
    ),
    (
        "x-openclaw-agent-id:",
        &["http_vectors::v12_an_unknown_agent_in_the_header_is_refused"],
    ),
    (
        "x-openclaw-session-key:",
        &[
            "http_requests::a_session_key_must_fit_its_agent_and_its_bounds",
            "http_sessions::calls_of_one_session_run_one_after_the_other_and_others_beside",
        ],
    ),
    (
        "Set `gateway.http.endpoints.chatCompletions.enabled` to `true`",
        &["http_gateway::the_endpoint_is_switched_on_by_its_key"],
    ),
    (
        "{ gateway: { http: { endpoints: { chatCompletions: { enabled: true",
        &["document::the_example_that_enables_the_endpoint_is_a_whole_configuration"],
    ),
    (
        "Set `gateway.http.endpoints.chatCompletions.enabled` to `false`",
        &["http_gateway::the_endpoint_is_off_by_default_and_when_switched_off"],
    ),
    (
        "{ gateway: { http: { endpoints: { chatCompletions: { enabled: false",
        &["document::the_example_that_disables_the_endpoint_is_a_whole_configuration"],
    ),
    (
        "By default the endpoint is **stateless",
        &["restart::a_call_without_a_session_leaves_nothing"],
    ),
    (
        "If the request includes an OpenAI `user`",
        &["http_sessions::calls_of_one_user_share_a_session_and_others_do_not"],
    ),
    (
        "Set `stream: true`",
        &["http_streams::the_role_chunk_comes_before_the_agent_says_anything"],
    ),
    (
        "`Content-Type: text/event-stream`",
        &["http_streams::the_headers_of_a_stream_keep_proxies_from_holding_it_back"],
    ),
    (
        "Each event line is",
        &["http_streams::a_stream_never_holds_any_line_but_data_and_comments"],
    ),
    (
        "Stream ends with",
        &["curl::the_streamed_example_is_answered"],
    ),
    (
        "curl -sS",
        &[
            "curl::the_plain_example_is_answered",
            "curl::the_examples_work_as_they_stand_where_the_token_is_the_placeholder",
        ],
    ),
    (
        "curl -N",
        &[
            "curl::the_streamed_example_is_answered",
            "curl::the_examples_work_as_they_stand_where_the_token_is_the_placeholder",
        ],
    ),
];

/// Headings, links and labels of the document: they promise nothing.
const HEADINGS: &[&str] = &[
    "Protocols and APIs",
    "OpenAI Chat Completions",
    "Authentication",
    "Notes:",
    ">",
    "Choosing an agent",
    "Advanced:",
    "Enabling the endpoint",
    "Disabling the endpoint",
    "Session behavior",
    "Streaming (SSE)",
    "Examples",
    "Non-streaming:",
    "Streaming:",
    "< Bridge Protocol",
    "Tools Invoke API >",
    "Powered by mintlify",
];

/// The tests that prove a method.
const METHODS: &[(&str, &[&str])] = &[
    (
        "health",
        &["native_methods::health_status_and_presence_describe_the_gateway"],
    ),
    (
        "status",
        &["native_methods::health_status_and_presence_describe_the_gateway"],
    ),
    (
        "system-presence",
        &["native_methods::health_status_and_presence_describe_the_gateway"],
    ),
    (
        "agents.list",
        &["native_methods::agents_and_models_are_those_of_the_configuration"],
    ),
    (
        "agent.identity.get",
        &["native_methods::agents_and_models_are_those_of_the_configuration"],
    ),
    (
        "models.list",
        &["native_methods::agents_and_models_are_those_of_the_configuration"],
    ),
    (
        "agent",
        &["native_methods::agent_answers_twice_and_agent_wait_finds_the_end"],
    ),
    (
        "agent.wait",
        &["native_methods::agent_answers_twice_and_agent_wait_finds_the_end"],
    ),
    (
        "chat.send",
        &[
            "native_methods::chat_methods_send_read_inject_and_abort",
            "ws_runs::a_chat_message_is_acknowledged_streamed_and_kept",
        ],
    ),
    (
        "chat.history",
        &["native_methods::chat_methods_send_read_inject_and_abort"],
    ),
    (
        "chat.abort",
        &[
            "promises::a_terminal_is_the_last_word_and_the_partial_text_is_kept",
            "promises::a_run_of_another_native_client_is_stopped_only_by_an_administrator",
        ],
    ),
    (
        "chat.inject",
        &["native_methods::chat_methods_send_read_inject_and_abort"],
    ),
    (
        "sessions.list",
        &["native_methods::sessions_are_listed_found_changed_reset_and_deleted"],
    ),
    (
        "sessions.resolve",
        &["native_methods::sessions_are_listed_found_changed_reset_and_deleted"],
    ),
    (
        "sessions.reset",
        &["native_methods::sessions_are_listed_found_changed_reset_and_deleted"],
    ),
    (
        "sessions.delete",
        &["native_methods::sessions_are_listed_found_changed_reset_and_deleted"],
    ),
    (
        "sessions.patch",
        &["native_methods::sessions_are_listed_found_changed_reset_and_deleted"],
    ),
    (
        "sessions.subscribe",
        &["native_methods::subscribers_see_messages_and_changes_and_others_do_not"],
    ),
    (
        "sessions.messages.subscribe",
        &["native_methods::subscribers_see_messages_and_changes_and_others_do_not"],
    ),
    (
        "sessions.messages.unsubscribe",
        &["native_methods::subscribers_see_messages_and_changes_and_others_do_not"],
    ),
    (
        "config.get",
        &["native_methods::config_get_hides_secrets_and_logs_tail_reads_lines"],
    ),
    (
        "logs.tail",
        &["native_methods::config_get_hides_secrets_and_logs_tail_reads_lines"],
    ),
    (
        "device.pair.list",
        &[
            "devices::devices_are_answered_as_on_record",
            "devices::a_paired_device_handles_itself_and_no_other",
        ],
    ),
    (
        "device.pair.approve",
        &[
            "devices::a_remote_device_asks_is_approved_and_gets_in",
            "devices::an_approver_grants_nothing_it_does_not_hold",
        ],
    ),
    (
        "device.pair.reject",
        &["devices::a_rejected_device_has_to_ask_again"],
    ),
    (
        "device.pair.remove",
        &["devices::a_removed_device_is_a_stranger"],
    ),
    (
        "device.pair.rename",
        &["devices::a_device_keeps_the_scopes_it_asks_for_whatever_program_it_is"],
    ),
    (
        "device.token.rotate",
        &["devices::a_rotated_token_reaches_its_device_and_ends_the_old_one"],
    ),
    (
        "device.token.revoke",
        &["devices::a_revoked_device_loses_its_connections_and_comes_back_only_by_approval"],
    ),
    (
        "runs.list",
        &["native_methods::runs_are_listed_and_shown_stored_or_not"],
    ),
    (
        "runs.get",
        &["native_methods::runs_are_listed_and_shown_stored_or_not"],
    ),
];

/// The tests that prove an event.
const EVENTS: &[(&str, &[&str])] = &[
    (
        "connect.challenge",
        &["ws_runs::a_chat_message_is_acknowledged_streamed_and_kept"],
    ),
    (
        "agent",
        &["native_methods::subscribers_see_messages_and_changes_and_others_do_not"],
    ),
    (
        "chat",
        &[
            "ws_runs::a_chat_message_is_acknowledged_streamed_and_kept",
            "promises::a_native_client_sees_a_stream_of_the_other_front_while_it_runs",
        ],
    ),
    (
        "session.message",
        &["native_methods::subscribers_see_messages_and_changes_and_others_do_not"],
    ),
    (
        "sessions.changed",
        &["native_methods::subscribers_see_messages_and_changes_and_others_do_not"],
    ),
    (
        "presence",
        &["native_methods::presence_and_shutdown_reach_everybody"],
    ),
    (
        "health",
        &["native_events::ticks_and_health_come_by_themselves"],
    ),
    (
        "tick",
        &["native_events::ticks_and_health_come_by_themselves"],
    ),
    (
        "shutdown",
        &["native_methods::presence_and_shutdown_reach_everybody"],
    ),
    (
        "device.pair.requested",
        &[
            "devices::a_remote_device_asks_is_approved_and_gets_in",
            "devices::events_about_devices_go_to_those_who_pair_them",
        ],
    ),
    (
        "device.pair.resolved",
        &["devices::a_remote_device_asks_is_approved_and_gets_in"],
    ),
];

struct Row {
    claim: String,
    tests: Vec<&'static str>,
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn sentence_rows() -> Vec<Row> {
    let mut used = BTreeSet::new();
    let mut rows = Vec::new();
    for piece in pieces() {
        let text = piece.line();
        if HEADINGS.iter().any(|heading| text == *heading) {
            continue;
        }
        let found = SENTENCES.iter().find(|(start, _)| text.starts_with(start));
        let (start, tests) = found.unwrap_or_else(|| panic!("no row for the sentence {text:?}"));
        used.insert(*start);
        rows.push(Row {
            claim: text,
            tests: tests.to_vec(),
        });
    }
    for (start, _) in SENTENCES {
        assert!(
            used.contains(start),
            "the document has no sentence that begins {start:?}"
        );
    }
    rows
}

fn vector_rows() -> Vec<Row> {
    let names = test_names("http_vectors");
    (1..=23)
        .map(|n| {
            let start = format!("v{n}_");
            let name = names.iter().find(|name| name.starts_with(&start));
            let name = name.unwrap_or_else(|| panic!("no test for vector V{n}"));
            let test: &'static str = Box::leak(format!("http_vectors::{name}").into_boxed_str());
            Row {
                claim: format!("V{n}"),
                tests: vec![test],
            }
        })
        .collect()
}

fn named_rows(served: &BTreeSet<String>, table: &'static [(&str, &[&str])]) -> Vec<Row> {
    let stated: BTreeSet<String> = table.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(&stated, served, "rows and what is served differ");
    table
        .iter()
        .map(|(name, tests)| Row {
            claim: format!("`{name}`"),
            tests: tests.to_vec(),
        })
        .collect()
}

/// The names of the tests of a module.
fn test_names(module: &str) -> Vec<String> {
    let path = root().join(format!("tests/it/{module}.rs"));
    let text = fs::read_to_string(&path).unwrap_or_else(|_| panic!("no module {module}"));
    let mut names = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if !(line.starts_with("#[tokio::test") || line.starts_with("#[test")) {
            continue;
        }
        let next = lines
            .find(|line| !line.starts_with("#["))
            .unwrap_or_default();
        let name = next
            .split("fn ")
            .nth(1)
            .and_then(|rest| rest.split('(').next());
        names.extend(name.map(str::to_owned));
    }
    names
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

fn section(out: &mut String, title: &str, rows: &[Row]) {
    writeln!(out, "\n## {title}\n\n| claim | proved by |\n| --- | --- |").unwrap();
    for row in rows {
        for test in &row.tests {
            let (module, name) = test.split_once("::").unwrap();
            let known = test_names(module).iter().any(|known| known == name);
            assert!(
                known,
                "{:?} names the test {test}, which does not exist",
                row.claim
            );
        }
        let tests: Vec<String> = row.tests.iter().map(|test| format!("`{test}`")).collect();
        let claim = one_line(&row.claim).replace('|', "\\|");
        writeln!(out, "| {claim} | {} |", tests.join(", ")).unwrap();
    }
}

#[test]
fn every_promise_has_a_test() {
    let methods = Method::table()
        .iter()
        .map(|row| row.name.to_owned())
        .collect();
    let events = Event::table()
        .iter()
        .map(|row| row.name.to_owned())
        .collect();
    let mut out = String::from(
        "# Evidence\n\nWhat is promised and the tests in `tests/it` that prove it; \
         `tests/it/evidence.rs` keeps this table\ntrue and fails on a missing or stale row.\n",
    );
    section(
        &mut out,
        "The document, sentence by sentence",
        &sentence_rows(),
    );
    section(&mut out, "The vectors", &vector_rows());
    section(
        &mut out,
        "The native methods",
        &named_rows(&methods, METHODS),
    );
    section(&mut out, "The native events", &named_rows(&events, EVENTS));
    let path = root().join("docs/evidence.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &out).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == out,
        "docs/evidence.md is stale: run `UPDATE_DOCS=1 cargo test evidence`"
    );
}
