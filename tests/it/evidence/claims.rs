//! The rows: what is claimed, and the tests that prove it.
//!
//! A test is named by its module in `tests/it`, or by its file when it stands elsewhere. A sentence
//! of the document is named by how it begins.

/// A claim and its tests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// What is claimed.
    pub(super) claim: &'static str,
    /// Tests that show that it holds.
    pub(super) proved: &'static [&'static str],
    /// Tests of what it refuses by itself, or what goes wrong.
    pub(super) refused: &'static [&'static str],
}

const fn row(claim: &'static str, proved: &'static [&'static str]) -> Row {
    Row {
        claim,
        proved,
        refused: &[],
    }
}

const fn method(
    claim: &'static str,
    proved: &'static [&'static str],
    refused: &'static [&'static str],
) -> Row {
    Row {
        claim,
        proved,
        refused,
    }
}

/// Sentences and examples of the document.
pub(super) const SENTENCES: &[Row] = &[
    row(
        "OpenClaw's Gateway can serve",
        &[
            "curl::the_agent_of_a_fresh_machine_answers_both",
            "http_golden::single_requests_are_answered_as_recorded",
        ],
    ),
    row(
        "This endpoint is **disabled",
        &[
            "http_gateway::the_endpoint_is_off_by_default_and_when_switched_off",
            "http_vectors::v18_a_disabled_endpoint_does_not_exist",
        ],
    ),
    row(
        "Enable it in config",
        &["http_gateway::the_endpoint_is_switched_on_by_its_key"],
    ),
    row(
        "`POST /v1/chat/completions`",
        &[
            "http_requests::both_spellings_of_a_path_reach_the_endpoint_and_queries_are_ignored",
            "http_vectors::v2_get_is_not_allowed_and_needs_no_secret",
        ],
    ),
    row(
        "Same port as the Gateway",
        &["document::one_port_serves_both_fronts"],
    ),
    row(
        "Under the hood",
        &[
            "document::a_chat_completion_is_a_run_of_the_agent_like_any_other",
            "document::an_agent_that_is_not_there_is_refused_alike_by_both_fronts",
            "promises::both_fronts_share_a_lane_in_the_order_of_arrival",
        ],
    ),
    row(
        "Uses the Gateway auth",
        &[
            "http_gateway::token_and_password_come_from_the_file_or_the_environment",
            "src/auth/credential.rs::failed_connects_lock_http_out_too",
        ],
    ),
    row(
        "Send a bearer token",
        &[
            "http_vectors::v4_the_scheme_may_have_any_case",
            "http_vectors::v5_another_scheme_is_unauthorized_and_not_counted",
        ],
    ),
    row(
        "`Authorization: Bearer",
        &[
            "curl::the_plain_example_is_answered",
            "http_vectors::v3_without_a_secret_is_unauthorized",
        ],
    ),
    row(
        "When `gateway.auth.mode=\"token\"`",
        &["http_gateway::token_and_password_come_from_the_file_or_the_environment"],
    ),
    row(
        "When `gateway.auth.mode=\"password\"`",
        &[
            "http_gateway::token_and_password_come_from_the_file_or_the_environment",
            "http_requests::a_password_is_a_bearer_too_and_nothing_else_is_a_credential",
        ],
    ),
    row(
        "If `gateway.auth.rateLimit`",
        &[
            "http_gateway::the_configured_rate_limit_answers_429",
            "http_vectors::v17_after_ten_wrong_secrets_even_the_right_one_is_refused",
        ],
    ),
    row(
        "No custom headers required",
        &["http_requests::the_model_chooses_the_agent"],
    ),
    row(
        "model: \"openclaw:<agentId>\"",
        &[
            "http_requests::the_model_chooses_the_agent",
            "http_gateway::agents_are_those_of_the_file",
            "http_vectors::v9_an_unknown_agent_is_refused",
        ],
    ),
    row(
        "Or target a specific",
        &["http_vectors::v11_the_header_wins_over_the_model"],
    ),
    row(
        "x-openclaw-agent-id:",
        &[
            "http_sessions::calls_of_one_user_share_a_session_and_others_do_not",
            "http_vectors::v11_the_header_wins_over_the_model",
            "http_vectors::v12_an_unknown_agent_in_the_header_is_refused",
        ],
    ),
    row(
        "x-openclaw-session-key:",
        &[
            "http_sessions::calls_of_one_user_share_a_session_and_others_do_not",
            "promises::both_fronts_share_a_lane_in_the_order_of_arrival",
            "http_requests::a_session_key_must_fit_its_agent_and_its_bounds",
            "http_vectors::v13_a_reserved_session_key_is_refused",
        ],
    ),
    row(
        "Set `gateway.http.endpoints.chatCompletions.enabled` to `true`",
        &["http_gateway::the_endpoint_is_switched_on_by_its_key"],
    ),
    row(
        "{ gateway: { http: { endpoints: { chatCompletions: { enabled: true",
        &["document::the_example_that_enables_the_endpoint_is_a_whole_configuration"],
    ),
    row(
        "Set `gateway.http.endpoints.chatCompletions.enabled` to `false`",
        &["http_gateway::the_endpoint_is_off_by_default_and_when_switched_off"],
    ),
    row(
        "{ gateway: { http: { endpoints: { chatCompletions: { enabled: false",
        &["document::the_example_that_disables_the_endpoint_is_a_whole_configuration"],
    ),
    row(
        "By default the endpoint is **stateless",
        &[
            "http_vectors::v14_a_blank_user_is_no_user",
            "restart::a_call_without_a_session_leaves_nothing",
        ],
    ),
    row(
        "If the request includes an OpenAI `user`",
        &[
            "http_sessions::calls_of_one_user_share_a_session_and_others_do_not",
            "http_gateway::the_session_of_a_user_survives_a_restart",
        ],
    ),
    row(
        "Set `stream: true`",
        &[
            "http_streams::the_role_chunk_comes_before_the_agent_says_anything",
            "http_vectors::v15_stream_must_be_a_boolean",
        ],
    ),
    row(
        "`Content-Type: text/event-stream`",
        &["http_streams::the_headers_of_a_stream_keep_proxies_from_holding_it_back"],
    ),
    row(
        "Each event line is",
        &["http_streams::a_stream_never_holds_any_line_but_data_and_comments"],
    ),
    row(
        "Stream ends with",
        &[
            "curl::the_streamed_example_is_answered",
            "http_streams::a_run_that_fails_sends_an_error_and_no_finish_chunk",
        ],
    ),
    row(
        "curl -sS",
        &[
            "curl::the_plain_example_is_answered",
            "curl::the_examples_work_as_they_stand_where_the_token_is_the_placeholder",
            "curl::the_examples_are_refused_without_the_right_token_and_without_the_endpoint",
        ],
    ),
    row(
        "curl -N",
        &[
            "curl::the_streamed_example_is_answered",
            "curl::the_examples_work_as_they_stand_where_the_token_is_the_placeholder",
        ],
    ),
];

/// Headings, links and labels of the document: they claim nothing.
pub(super) const HEADINGS: &[&str] = &[
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

/// The vectors by their names.
pub(super) const VECTORS: &[(&str, Row)] = &[
    (
        "V1",
        row(
            "`GET /healthz` says that the process lives",
            &["http_vectors::v1_healthz_is_live"],
        ),
    ),
    (
        "V2",
        row(
            "`GET` on the endpoint is 405 and needs no secret",
            &["http_vectors::v2_get_is_not_allowed_and_needs_no_secret"],
        ),
    ),
    (
        "V3",
        row(
            "no secret: 401 without `Retry-After`",
            &["http_vectors::v3_without_a_secret_is_unauthorized"],
        ),
    ),
    (
        "V4",
        row(
            "the scheme `Bearer` in any case",
            &["http_vectors::v4_the_scheme_may_have_any_case"],
        ),
    ),
    (
        "V5",
        row(
            "another scheme: 401, and no failure counted",
            &["http_vectors::v5_another_scheme_is_unauthorized_and_not_counted"],
        ),
    ),
    (
        "V6",
        row(
            "broken JSON: 400",
            &["http_vectors::v6_broken_json_is_refused"],
        ),
    ),
    (
        "V7",
        row(
            "a system message alone: 400",
            &["http_vectors::v7_a_system_message_alone_is_nothing_to_answer"],
        ),
    ),
    (
        "V8",
        row(
            "a model that names no agent: 400",
            &["http_vectors::v8_a_model_outside_the_grammar_is_refused"],
        ),
    ),
    (
        "V9",
        row(
            "an agent that is not there: refused by its name",
            &["http_vectors::v9_an_unknown_agent_is_refused"],
        ),
    ),
    (
        "V10",
        row(
            "the model is checked before the agent header counts",
            &["http_vectors::v10_the_grammar_counts_even_when_a_header_picks_the_agent"],
        ),
    ),
    (
        "V11",
        row(
            "the agent header wins over the model",
            &["http_vectors::v11_the_header_wins_over_the_model"],
        ),
    ),
    (
        "V12",
        row(
            "an agent in the header that is not there: refused by its name",
            &["http_vectors::v12_an_unknown_agent_in_the_header_is_refused"],
        ),
    ),
    (
        "V13",
        row(
            "a reserved session key: 400",
            &["http_vectors::v13_a_reserved_session_key_is_refused"],
        ),
    ),
    (
        "V14",
        row(
            "a blank `user` is no user: a fresh session",
            &["http_vectors::v14_a_blank_user_is_no_user"],
        ),
    ),
    (
        "V15",
        row(
            "`stream` that is no boolean: 400",
            &["http_vectors::v15_stream_must_be_a_boolean"],
        ),
    ),
    (
        "V16",
        row(
            "`temperature` out of range: 400 with the range",
            &["http_vectors::v16_sampling_has_a_range"],
        ),
    ),
    (
        "V17",
        row(
            "ten wrong secrets lock the address out, the right secret included",
            &["http_vectors::v17_after_ten_wrong_secrets_even_the_right_one_is_refused"],
        ),
    ),
    (
        "V18",
        row(
            "a disabled endpoint: 404 as text",
            &["http_vectors::v18_a_disabled_endpoint_does_not_exist"],
        ),
    ),
    (
        "V19",
        row(
            "`OPTIONS`: 405",
            &["http_vectors::v19_options_is_not_allowed"],
        ),
    ),
    (
        "V20",
        row(
            "an assistant message alone is the prompt",
            &["http_vectors::v20_a_lone_assistant_message_is_answered"],
        ),
    ),
    (
        "V21",
        row(
            "history ends before the last user message; what follows it is left out",
            &[
                "http_vectors::v21_history_comes_before_the_last_user_message_and_the_rest_is_dropped",
            ],
        ),
    ),
    (
        "V22",
        row(
            "a body over the limit: 413, and the connection closes",
            &["http_vectors::v22_a_body_over_the_limit_is_refused_and_the_connection_closed"],
        ),
    ),
    (
        "V23",
        row(
            "forwarding headers of an unknown proxy: 403",
            &["http_vectors::v23_forwarding_headers_of_an_untrusted_peer_are_refused"],
        ),
    ),
];

/// Tests that go through the table of methods: what each of them refuses.
pub(super) const REFUSED: Row = row(
    "Every method refuses a caller without the scope it needs, and params of the wrong form; \
     members it does not know are ignored",
    &[
        "native_refusals::a_caller_without_the_scope_of_a_method_is_told_which_one_it_needs",
        "native_refusals::members_a_method_does_not_know_are_ignored_and_wrong_forms_are_refused",
        "client_requests::nothing_official_clients_ask_is_refused",
    ],
);

/// Tests that go through the table of methods about what this gateway does not have.
pub(super) const STUBS: &[&str] =
    &["native_methods::what_this_gateway_does_not_have_is_answered_as_none"];

/// The native methods, but for those about what this gateway does not have.
pub(super) const METHODS: &[Row] = &[
    method(
        "health",
        &["native_methods::health_status_and_presence_describe_the_gateway"],
        &[],
    ),
    method(
        "logs.tail",
        &["native_methods::config_get_hides_secrets_and_logs_tail_reads_lines"],
        &[],
    ),
    method(
        "status",
        &["native_methods::health_status_and_presence_describe_the_gateway"],
        &[],
    ),
    method(
        "system-presence",
        &["native_methods::health_status_and_presence_describe_the_gateway"],
        &[],
    ),
    method(
        "config.get",
        &["native_methods::config_get_hides_secrets_and_logs_tail_reads_lines"],
        &[],
    ),
    method(
        "config.schema",
        &["native_notes::the_configuration_is_shown_as_it_could_be"],
        &["native_notes::the_configuration_is_shown_as_it_could_be"],
    ),
    method(
        "models.authStatus",
        &["native_notes::providers_with_a_key_are_told_of_and_their_keys_are_not"],
        &["native_notes::providers_with_a_key_are_told_of_and_their_keys_are_not"],
    ),
    method(
        "tools.catalog",
        &["native_notes::the_gateway_brings_no_tools_along"],
        &["native_notes::the_gateway_brings_no_tools_along"],
    ),
    method(
        "config.schema.lookup",
        &["native_notes::the_configuration_is_shown_as_it_could_be"],
        &["native_notes::the_configuration_is_shown_as_it_could_be"],
    ),
    method(
        "diagnostics.stability",
        &["native_notes::the_machine_and_its_diagnostics_are_told"],
        &[],
    ),
    method(
        "system.info",
        &["native_notes::the_machine_and_its_diagnostics_are_told"],
        &[],
    ),
    method(
        "webSearch.status",
        &["native_notes::there_is_no_web_search_for_an_agent_that_exists"],
        &["native_notes::there_is_no_web_search_for_an_agent_that_exists"],
    ),
    method(
        "wake",
        &["native_notes::a_wake_is_told_to_the_agent_it_is_for"],
        &["native_notes::a_wake_is_told_to_the_agent_it_is_for"],
    ),
    method(
        "diagnostics.lanes",
        &["native_notes::the_lane_of_all_runs_is_counted"],
        &[],
    ),
    method(
        "gateway.identity.get",
        &["native_notes::the_gateway_is_known_by_a_key_that_stays"],
        &["native_notes::the_gateway_is_known_by_a_key_that_stays"],
    ),
    method(
        "system-event",
        &["native_notes::an_event_is_shown_and_told_to_the_agent"],
        &["native_notes::an_event_that_says_nothing_is_refused"],
    ),
    method(
        "set-heartbeats",
        &["native_notes::there_are_no_heartbeats_to_switch_on"],
        &["native_notes::there_are_no_heartbeats_to_switch_on"],
    ),
    method(
        "sessions.observer.visibility",
        &["native_notes::nobody_observes_sessions"],
        &["native_notes::nobody_observes_sessions"],
    ),
    method(
        "agents.list",
        &["native_methods::agents_and_models_are_those_of_the_configuration"],
        &[],
    ),
    method(
        "agent.identity.get",
        &["native_methods::agents_and_models_are_those_of_the_configuration"],
        &["native_methods::agents_and_models_are_those_of_the_configuration"],
    ),
    method(
        "commands.list",
        &["native_chat::the_commands_that_are_listed_work"],
        &["native_chat::the_commands_that_are_listed_work"],
    ),
    method(
        "models.list",
        &["native_methods::agents_and_models_are_those_of_the_configuration"],
        &[],
    ),
    method(
        "agent",
        &[
            "ws_runs::agent_answers_twice_and_others_can_wait_for_it",
            "native_methods::agent_answers_twice_and_agent_wait_finds_the_end",
            "protocol_3::an_agent_run_is_accepted_and_ended_in_its_own_words",
        ],
        &[
            "native_methods::agent_answers_twice_and_agent_wait_finds_the_end",
            "document::an_agent_that_is_not_there_is_refused_alike_by_both_fronts",
        ],
    ),
    method(
        "agent.wait",
        &[
            "ws_runs::agent_answers_twice_and_others_can_wait_for_it",
            "native_methods::agent_answers_twice_and_agent_wait_finds_the_end",
            "crash::nothing_that_was_acknowledged_is_lost_or_doubled_by_a_kill",
        ],
        &[],
    ),
    method(
        "chat.history",
        &[
            "ws_runs::a_client_that_comes_during_a_run_goes_on_from_the_history",
            "native_methods::chat_methods_send_read_inject_and_abort",
            "native_chat::a_transcript_is_read_page_by_page_and_around_a_message",
            "native_queue::a_reader_goes_on_from_where_it_was_or_is_told_to_begin_anew",
            "native_queue::messages_that_wait_are_shown_and_run_one_after_the_other",
            "restart::a_session_goes_on_after_a_restart",
        ],
        &[],
    ),
    method(
        "chat.startup",
        &["native_chat::a_session_is_opened_with_one_request"],
        &["native_chat::a_session_is_opened_with_one_request"],
    ),
    method(
        "chat.metadata",
        &["native_chat::a_session_is_opened_with_one_request"],
        &["native_chat::the_commands_that_are_listed_work"],
    ),
    method(
        "chat.message.get",
        &["native_chat::a_message_that_was_cut_can_be_read_whole"],
        &["native_chat::a_message_that_was_cut_can_be_read_whole"],
    ),
    method(
        "artifacts.list",
        &["native_chat::an_image_is_named_in_histories_and_handed_out_when_asked_for"],
        &["native_chat::an_image_is_named_in_histories_and_handed_out_when_asked_for"],
    ),
    method(
        "artifacts.download",
        &["native_chat::an_image_is_named_in_histories_and_handed_out_when_asked_for"],
        &["native_chat::an_image_is_named_in_histories_and_handed_out_when_asked_for"],
    ),
    method(
        "chat.abort",
        &[
            "ws_runs::an_aborted_run_keeps_its_text_and_ends_once",
            "promises::a_terminal_is_the_last_word_and_the_partial_text_is_kept",
            "promises::who_may_can_stop_a_stream_of_the_other_front",
        ],
        &[
            "promises::a_run_of_another_native_client_is_stopped_only_by_an_administrator",
            "promises::who_may_not_cannot_stop_a_stream_of_the_other_front",
        ],
    ),
    method(
        "chat.send",
        &[
            "native_methods::chat_methods_send_read_inject_and_abort",
            "ws_runs::a_chat_message_is_acknowledged_streamed_and_kept",
            "native_chat::a_session_begins_anew_by_text_for_those_who_may_reset_it",
            "native_queue::messages_that_wait_can_be_answered_together",
            "native_queue::a_message_can_take_the_place_of_the_active_run",
        ],
        &[
            "ws_runs::a_key_is_used_once",
            "native_methods::chat_methods_send_read_inject_and_abort",
            "crash::a_process_asked_to_end_finishes_what_runs_takes_nothing_new_and_says_goodbye",
        ],
    ),
    method(
        "chat.inject",
        &["native_methods::chat_methods_send_read_inject_and_abort"],
        &["native_methods::chat_methods_send_read_inject_and_abort"],
    ),
    method(
        "sessions.list",
        &[
            "native_lists::lists_are_what_their_filters_say",
            "native_methods::sessions_are_listed_found_changed_reset_and_deleted",
            "restart::a_session_goes_on_after_a_restart",
        ],
        &[],
    ),
    method(
        "sessions.search",
        &["native_lists::messages_are_found_by_what_they_say"],
        &[],
    ),
    method(
        "sessions.resolve",
        &[
            "native_methods::sessions_are_listed_found_changed_reset_and_deleted",
            "restart::a_session_goes_on_after_a_restart",
        ],
        &["native_methods::sessions_are_listed_found_changed_reset_and_deleted"],
    ),
    method(
        "sessions.describe",
        &["native_methods::a_session_is_described_by_its_row"],
        &["native_methods::a_session_is_described_by_its_row"],
    ),
    method(
        "sessions.get",
        &["native_sessions::what_was_said_is_read_and_previewed"],
        &["native_sessions::what_was_said_is_read_and_previewed"],
    ),
    method(
        "sessions.preview",
        &["native_sessions::what_was_said_is_read_and_previewed"],
        &["native_sessions::what_was_said_is_read_and_previewed"],
    ),
    method(
        "sessions.create",
        &[
            "native_sessions::a_session_is_made_with_what_it_is_given",
            "native_sessions::a_session_begins_with_its_first_message",
        ],
        &["native_sessions::a_session_that_cannot_be_had_is_not_made"],
    ),
    method(
        "sessions.send",
        &["native_sessions::a_message_is_sent_to_a_session_that_is_there"],
        &["native_sessions::a_message_is_sent_to_a_session_that_is_there"],
    ),
    method(
        "sessions.steer",
        &["native_sessions::a_steered_message_takes_the_place_of_the_active_run"],
        &["native_sessions::a_message_is_sent_to_a_session_that_is_there"],
    ),
    method(
        "sessions.abort",
        &["native_sessions::the_active_run_of_a_session_is_stopped_and_what_waits_only_when_asked"],
        &[
            "native_sessions::who_may_not_stop_a_run_is_told_so",
            "native_sessions::an_agent_that_is_not_the_sessions_stops_nothing",
        ],
    ),
    method(
        "sessions.subscribe",
        &["native_methods::subscribers_see_messages_and_changes_and_others_do_not"],
        &[],
    ),
    method(
        "sessions.messages.subscribe",
        &[
            "ws_runs::a_scoped_client_gets_the_runs_of_its_sessions_only",
            "native_methods::subscribers_see_messages_and_changes_and_others_do_not",
        ],
        &[],
    ),
    method(
        "sessions.messages.unsubscribe",
        &["native_methods::subscribers_see_messages_and_changes_and_others_do_not"],
        &[],
    ),
    method(
        "sessions.patch",
        &[
            "native_methods::sessions_are_listed_found_changed_reset_and_deleted",
            "restart::a_session_goes_on_after_a_restart",
        ],
        &["native_methods::sessions_are_listed_found_changed_reset_and_deleted"],
    ),
    method(
        "sessions.reset",
        &["native_methods::sessions_are_listed_found_changed_reset_and_deleted"],
        &["native_methods::sessions_are_listed_found_changed_reset_and_deleted"],
    ),
    method(
        "sessions.delete",
        &["native_methods::sessions_are_listed_found_changed_reset_and_deleted"],
        &["native_methods::sessions_are_listed_found_changed_reset_and_deleted"],
    ),
    method(
        "sessions.compact",
        &[
            "native_compact::the_agent_sums_its_session_up_and_goes_on_from_the_summary",
            "native_compact::a_summary_outlives_a_restart_and_not_a_reset",
            "native_compact::what_is_said_meanwhile_is_kept_word_for_word",
            "native_compact::only_so_many_entries_are_kept_when_that_is_asked",
        ],
        &[
            "native_compact::without_a_summary_the_newest_messages_are_kept",
            "native_compact::there_may_be_nothing_to_sum_up_and_not_everybody_may",
        ],
    ),
    method(
        "device.pair.list",
        &[
            "devices::devices_are_answered_as_on_record",
            "devices::a_paired_device_handles_itself_and_no_other",
        ],
        &[],
    ),
    method(
        "device.pair.approve",
        &[
            "devices::a_remote_device_asks_is_approved_and_gets_in",
            "devices::an_approver_grants_nothing_it_does_not_hold",
        ],
        &[],
    ),
    method(
        "device.pair.reject",
        &["devices::a_rejected_device_has_to_ask_again"],
        &[],
    ),
    method(
        "device.pair.remove",
        &["devices::a_removed_device_is_a_stranger"],
        &[],
    ),
    method(
        "device.pair.rename",
        &["devices::a_device_keeps_the_scopes_it_asks_for_whatever_program_it_is"],
        &[],
    ),
    method(
        "device.token.rotate",
        &["devices::a_rotated_token_reaches_its_device_and_ends_the_old_one"],
        &[],
    ),
    method(
        "device.token.revoke",
        &["devices::a_revoked_device_loses_its_connections_and_comes_back_only_by_approval"],
        &[],
    ),
    method(
        "runs.list",
        &["native_methods::runs_are_listed_and_shown_stored_or_not"],
        &[],
    ),
    method(
        "runs.get",
        &["native_methods::runs_are_listed_and_shown_stored_or_not"],
        &[],
    ),
];

/// The native events.
pub(super) const EVENTS: &[Row] = &[
    row(
        "connect.challenge",
        &[
            "ws_handshake::hello_tells_what_is_served_and_what_the_peer_may_do",
            "ws_handshake::a_peer_that_does_not_connect_in_time_is_closed",
            "protocol_3::a_whole_session_is_served_in_its_own_words",
            "protocol_3::a_client_of_neither_version_is_told_and_closed",
        ],
    ),
    row(
        "agent",
        &[
            "ws_runs::tool_events_go_to_those_who_asked_and_can_show_them",
            "ws_runs::no_event_of_a_run_goes_ahead_of_its_acknowledgement",
            "native_methods::subscribers_see_messages_and_changes_and_others_do_not",
            "promises::a_terminal_is_the_last_word_and_the_partial_text_is_kept",
        ],
    ),
    row(
        "chat",
        &[
            "ws_runs::a_failed_run_says_so_in_both_places",
            "ws_runs::a_chat_message_is_acknowledged_streamed_and_kept",
            "promises::a_native_client_sees_a_stream_of_the_other_front_while_it_runs",
            "promises::a_terminal_is_the_last_word_and_the_partial_text_is_kept",
        ],
    ),
    row(
        "session.message",
        &[
            "ws_runs::subscribers_see_messages_and_changes_and_others_do_not",
            "native_methods::subscribers_see_messages_and_changes_and_others_do_not",
        ],
    ),
    row(
        "session.operation",
        &["native_compact::the_agent_sums_its_session_up_and_goes_on_from_the_summary"],
    ),
    row(
        "session.tool",
        &["ws_runs::tool_events_go_to_those_who_asked_and_can_show_them"],
    ),
    row(
        "sessions.changed",
        &[
            "ws_runs::subscribers_see_messages_and_changes_and_others_do_not",
            "native_methods::subscribers_see_messages_and_changes_and_others_do_not",
        ],
    ),
    row(
        "presence",
        &[
            "ws_events::presence_tells_who_comes_and_goes",
            "native_methods::presence_and_shutdown_reach_everybody",
        ],
    ),
    row(
        "tick",
        &[
            "ws_events::ticks_come_for_everybody_at_the_same_time",
            "ws_events::tick_and_policy_follow_the_configuration",
            "native_events::ticks_and_health_come_by_themselves",
        ],
    ),
    row(
        "health",
        &[
            "ws_events::health_comes_regularly_and_hides_what_only_administrators_may_see",
            "native_events::ticks_and_health_come_by_themselves",
        ],
    ),
    row(
        "shutdown",
        &[
            "ws_events::runs_end_then_everybody_is_told_and_closed",
            "crash::a_process_asked_to_end_finishes_what_runs_takes_nothing_new_and_says_goodbye",
            "native_methods::presence_and_shutdown_reach_everybody",
        ],
    ),
    row(
        "device.pair.requested",
        &[
            "devices::a_remote_device_asks_is_approved_and_gets_in",
            "devices::events_about_devices_go_to_those_who_pair_them",
        ],
    ),
    row(
        "device.pair.resolved",
        &["devices::a_remote_device_asks_is_approved_and_gets_in"],
    ),
];

/// What the project promises beside the document.
pub(super) const PROMISES: &[Row] = &[
    row(
        "A lane is never stuck: whatever a backend does, the next run of the session starts within the abort grace.",
        &[
            "promises::after_a_native_abort_the_next_run_starts_within_the_grace_whatever_the_backend_does",
            "promises::after_a_caller_left_the_next_run_starts_within_the_grace_whatever_the_backend_does",
            "src/scheduler/model.rs::lanes_behave_like_the_model",
        ],
    ),
    row(
        "Accepted means durable: what was acknowledged is there after a kill, once, and has one end.",
        &[
            "crash::nothing_that_was_acknowledged_is_lost_or_doubled_by_a_kill",
            "restartable::a_run_of_a_restartable_agent_is_started_over_after_a_kill",
            "restartable::a_run_of_another_agent_is_interrupted_by_a_kill",
            "disk_faults::a_disk_that_stops_syncing_at_any_moment_loses_nothing_that_was_acknowledged",
            "disk_faults::a_disk_that_stops_writing_at_any_moment_loses_nothing_that_was_acknowledged",
            "http_sessions::nothing_is_acknowledged_that_could_not_be_stored",
            "src/session/sqlite/tests/crash.rs::what_was_acknowledged_is_there_after_a_kill_at_any_moment",
        ],
    ),
    row(
        "No silent gap: a late reader gets all text, or is told what it cannot have.",
        &[
            "src/events/subscription.rs::a_reader_resumes_at_every_boundary_without_loss_or_double",
            "src/events/subscription.rs::old_extra_events_go_first_text_stays_and_the_reader_is_told",
            "src/transport/ws/feed.rs::a_reader_that_falls_behind_the_ring_is_told",
        ],
    ),
    row(
        "Cancelling reaches the model: its socket is closed within 100 ms of an abort, a caller's leaving and a timeout.",
        &[
            "promises::a_native_abort_closes_the_socket_of_the_model_server",
            "promises::a_caller_that_leaves_closes_the_socket_of_the_model_server",
            "promises::a_run_that_takes_too_long_closes_the_socket_of_the_model_server",
        ],
    ),
    row(
        "The partial text of a run that was cut is kept, and nothing follows its terminal.",
        &[
            "promises::a_terminal_is_the_last_word_and_the_partial_text_is_kept",
            "promises::the_partial_text_of_a_caller_that_left_is_kept",
            "src/events/subscription.rs::nothing_follows_the_one_terminal",
        ],
    ),
    row(
        "One peer cannot starve another: readers that do not read are closed, and turns are shared.",
        &[
            "soak::a_reader_that_does_not_read_is_closed_and_holds_up_nobody",
            "src/scheduler/lanes.rs::a_flood_of_one_user_does_not_starve_another",
            "src/scheduler/fair.rs::credentials_take_turns_whatever_the_number_of_parties",
        ],
    ),
    row(
        "Memory is bounded: it comes back when a crowd leaves, and no lane stays.",
        &["soak::a_crowd_that_leaves_gives_its_memory_back_and_leaves_no_lane"],
    ),
    row(
        "A failed run never looks complete, and a complete one never failed.",
        &[
            "http_streams::a_run_that_fails_sends_an_error_and_no_finish_chunk",
            "http_sessions::a_run_that_fails_answers_with_its_class_and_asks_not_to_be_repeated",
            "src/openai/convert.rs::a_failed_run_never_looks_complete",
        ],
    ),
    row(
        "Both fronts share sessions: runs take turns in the order of arrival, and a native client sees and may stop a stream of the other.",
        &[
            "promises::both_fronts_share_a_lane_in_the_order_of_arrival",
            "promises::a_native_client_sees_a_stream_of_the_other_front_while_it_runs",
            "promises::who_may_can_stop_a_stream_of_the_other_front",
            "promises::who_may_not_cannot_stop_a_stream_of_the_other_front",
        ],
    ),
    row(
        "Sessions survive a restart: history, labels, counts of tokens.",
        &[
            "restart::a_session_goes_on_after_a_restart",
            "http_gateway::the_session_of_a_user_survives_a_restart",
        ],
    ),
    row(
        "A process that is asked to end finishes what runs, takes nothing new and says goodbye; asked twice, it ends at once.",
        &[
            "crash::a_process_asked_to_end_finishes_what_runs_takes_nothing_new_and_says_goodbye",
            "cli_gateway::a_stream_that_runs_finishes_before_the_process_ends",
            "cli_gateway::a_second_signal_ends_the_process_at_once",
        ],
    ),
    row(
        "Clients that speak protocol 3 only are served in its words.",
        &[
            "protocol_3::a_whole_session_is_served_in_its_own_words",
            "protocol_3::an_agent_run_is_accepted_and_ended_in_its_own_words",
            "protocol_3::refusals_are_in_its_own_words",
        ],
    ),
    row(
        "A machine without configuration, key or network gets answers on both sides with one command.",
        &[
            "cli_quickstart::it_answers_on_both_sides_prints_ready_lines_and_keeps_serving",
            "cli_gateway::the_first_start_needs_no_configuration",
        ],
    ),
    row(
        "Every problem of a configuration is shown at once, with file, line, column and key.",
        &[
            "cli_commands::every_problem_of_a_file_is_shown_with_its_place",
            "src/config/tests.rs::every_problem_is_reported_at_once_with_its_place",
        ],
    ),
    row(
        "The end of a run reaches the terminal or page that asked for it behind the acknowledgement, once that was read; other clients wait for nothing.",
        &[
            "acknowledgements::an_interface_hears_of_an_instant_end_well_behind_the_acknowledgement",
            "acknowledgements::an_interface_that_was_busy_does_not_read_both_together",
            "acknowledgements::answers_about_an_end_come_behind_it",
            "acknowledgements::other_clients_wait_for_nothing",
            "src/transport/ws/ends.rs::a_peer_without_pongs_gets_its_end_all_the_same",
        ],
    ),
    row(
        "`agent` remembers: an agent, a session id, a key or a number mean the same session in the next call.",
        &[
            "agent_sessions::every_command_line_is_remembered",
            "agent_sessions::a_session_is_found_by_its_name_and_by_its_transcript",
            "agent_sessions::two_first_calls_meet_in_one_session",
        ],
    ),
    row(
        "Nothing official clients of three versions ask is refused; members that are not known are named in one line at level debug.",
        &[
            "client_requests::nothing_official_clients_ask_is_refused",
            "cli_gateway::members_that_are_ignored_are_named_in_one_line_for_who_looks_closely",
        ],
    ),
    row(
        "A message for a busy session is seen at once, and a steered turn reads message, answer, message, answer.",
        &[
            "native_queue::messages_that_wait_are_shown_and_run_one_after_the_other",
            "native_queue::a_steered_turn_reads_message_answer_message_answer",
            "src/scheduler/steer_tests.rs::a_steered_turn_reads_message_answer_message_answer",
            "src/scheduler/steer_tests.rs::a_run_that_is_stopped_as_it_takes_a_message_has_it_behind_what_it_said",
        ],
    ),
    row(
        "Text commands are answered by the gateway; no agent hears of them.",
        &[
            "native_commands::what_clients_ask_is_answered_by_the_gateway_and_not_by_the_agent",
            "native_commands::commands_stay_in_the_transcript_and_out_of_what_the_agent_gets",
        ],
    ),
    row(
        "The Control UI is served from its folder, with its deep links, and nothing beside the folder is.",
        &[
            "control_ui::the_page_is_at_the_root_and_at_every_place_inside_it",
            "control_ui::routes_win_over_files_and_nothing_leads_out_of_the_folder",
            "control_ui::who_opens_the_address_in_a_browser_is_told_how_to_have_the_page",
        ],
    ),
    row(
        "A port that nobody listens on is waited for, and what holds one is told.",
        &[
            "cli_gateway::a_port_that_only_a_connection_has_is_waited_for_and_told_truly",
            "cli_gateway::a_taken_port_names_its_holder_and_another_port",
        ],
    ),
    row(
        "Large answers that are ready together wait for each other and cost no reader its connection.",
        &["ws_limits::large_answers_wait_for_each_other_and_close_nobody_who_reads"],
    ),
];
