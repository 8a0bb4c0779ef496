//! Recorded results and session events: the members of what our constructors write.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::ids::{AgentId, EntryId, SessionId, SessionKey, WireId};
use crate::protocol::events::session::{RunPhase, SessionMessage, SessionsChanged};
use crate::protocol::events::system::{ShutdownEvent, TickEvent};
use crate::protocol::methods::agent::{AgentAccepted, AgentFinal, AgentWaitResult, FinishedRun};
use crate::protocol::methods::agents::{ModelChoice, ModelsListResult};
use crate::protocol::methods::chat::{
    ChatAbortResult, ChatHistoryResult, ChatSendResult, DeltaCursor, PendingInputs,
};
use crate::protocol::methods::config::{ConfigGetResult, ConfigParts};
use crate::protocol::methods::sessions::{
    PageOf, SessionDefaults, SessionEntryResult, SessionsDeleteResult, SessionsListResult,
    SubscribeResult,
};
use crate::protocol::methods::system::{
    AgentHealth, HealthSummary, HeartbeatHealth, LogsTailResult, RecentSession, SessionsHealth,
    StatusAgentSessions, StatusDefaults, StatusHeartbeat, StatusHeartbeatAgent, StatusResult,
    StatusRow, StatusRuns, StatusSessions, SystemPresenceResult,
};
use crate::protocol::row::{RecordFacts, SessionEntry, SessionFacts, SessionRow};
use crate::protocol::transcript::{HISTORY_BYTES_MAX, View, history_messages};
use crate::protocol::{PresenceEntry, Protocol};
use crate::run::{
    Abort, AbortCause, Entry, EntryBody, FinishReason, ModelRef, Outcome, Terminal, Usage,
};

use super::{Reasons, answer, compare, recording};

struct Fixture {
    run: WireId,
    key: SessionKey,
    agent: AgentId,
    session: SessionId,
    model: ModelRef,
    usage: Usage,
    settings: Map<String, Value>,
    ok: Terminal,
    aborted: Terminal,
}

impl Fixture {
    fn new() -> Self {
        let usage = Usage {
            input: 10,
            output: 3,
            ..Usage::default()
        };
        let terminal = |outcome| Terminal {
            outcome,
            started_at_ms: Some(1),
            ended_at_ms: 2,
            usage: Some(usage),
        };
        Self {
            run: WireId::parse("r1").unwrap(),
            key: SessionKey::from_canonical("agent:main:x"),
            agent: AgentId::parse("main").unwrap(),
            session: SessionId::from_uuid(Uuid::nil()),
            model: ModelRef {
                provider: "mock".into(),
                model: "mock-model".into(),
            },
            usage,
            settings: Map::new(),
            ok: terminal(Outcome::Ok(FinishReason::Stop)),
            aborted: terminal(Outcome::Aborted(AbortCause::Rpc)),
        }
    }

    fn finished<'a>(&'a self, terminal: &'a Terminal) -> FinishedRun<'a> {
        FinishedRun {
            run: &self.run,
            terminal,
            text: "w0 w1",
            session_id: Some(self.session),
            model: Some(&self.model),
        }
    }

    fn record(&self) -> RecordFacts<'_> {
        RecordFacts {
            session_id: self.session,
            created_at_ms: 1,
            updated_at_ms: 2,
            label: Some("label"),
            settings: &self.settings,
            usage: &self.usage,
            last_run: Some((&self.run, &self.ok)),
        }
    }

    fn row(&self) -> SessionRow {
        SessionRow::new(&SessionFacts {
            key: &self.key,
            agent: &self.agent,
            main_key: "main",
            record: Some(self.record()),
            active: &[],
            model: Some(&self.model),
            context_tokens: Some(128_000),
            first_text: Some("first"),
            last_text: Some("last"),
        })
    }

    fn defaults(&self) -> SessionDefaults {
        SessionDefaults::new(Some(&self.model), Some(128_000))
    }

    fn entries(&self) -> [Entry; 3] {
        let entry = |n, body| Entry {
            id: EntryId::from_uuid(Uuid::from_u128(u128::from(n))),
            n,
            run: None,
            wire_id: Some(self.run.clone()),
            at_ms: n,
            body,
        };
        let assistant = |abort, model| EntryBody::Assistant {
            text: "w0 w1 ".to_owned(),
            reasoning: String::new(),
            tool_calls: Vec::new(),
            stop_reason: "stop".into(),
            usage: Some(self.usage),
            model,
            abort,
            error: None,
        };
        let stopped = Abort {
            cause: AbortCause::Rpc,
        };
        let user = EntryBody::User {
            text: "hello".to_owned(),
            images: Vec::new(),
        };
        [
            entry(1, user),
            entry(2, assistant(None, Some(self.model.clone()))),
            entry(3, assistant(Some(stopped), None)),
        ]
    }
}

fn value(result: impl serde::Serialize) -> Value {
    serde_json::to_value(result).unwrap()
}

/// A result with nothing left out and nothing added.
fn check_same(what: &str, ours: Value, theirs: Value) {
    compare(what, &[ours], &[theirs], &[], &[]);
}

#[test]
fn answers_about_runs_have_the_recorded_members() {
    let fixture = Fixture::new();
    let ok = fixture.finished(&fixture.ok);
    check_same(
        "accepted",
        value(AgentAccepted::new(
            &fixture.run,
            &fixture.key,
            &fixture.agent,
            1,
        )),
        answer("agent-two-stage", "agent", 0),
    );
    check_same(
        "in flight",
        value(AgentAccepted::in_flight(
            &fixture.run,
            &fixture.key,
            Some(&fixture.agent),
        )),
        answer("agent-idempotent", "agent", 2),
    );
    check_same(
        "aborted",
        value(AgentFinal::new(&fixture.finished(&fixture.aborted))),
        answer("agent-abort", "agent", 1),
    );
    compare(
        "final",
        &[value(AgentFinal::new(&ok))],
        &[answer("agent-two-stage", "agent", 1)],
        FINAL_OMITTED,
        &[],
    );
    compare(
        "wait",
        &[value(AgentWaitResult::ended(&ok))],
        &[answer("agent-two-stage", "agent.wait", 0)],
        &[(
            ".terminalReceipt",
            "which model really answered is not known to a run",
        )],
        &[],
    );
    check_same(
        "wait too short",
        value(AgentWaitResult::running("r")),
        answer("agent-wait-timeout", "agent.wait", 0),
    );
}

const FINAL_OMITTED: Reasons<'_> = &[
    (
        ".result.sourceReplyDeliveryState",
        "answers go to the caller only",
    ),
    (
        ".result.meta.agentMeta.sessionFile",
        "transcripts are not files",
    ),
    (
        ".result.meta.agentMeta.contextTokens",
        "the run does not know it",
    ),
    (
        ".result.meta.agentMeta.contextTokensSource",
        "the run does not know it",
    ),
    (".result.meta.agentMeta.agentHarnessId", "there is one"),
    (
        ".result.meta.agentMeta.credentialSource",
        "keys of model servers are not told",
    ),
    (".result.meta.agentMeta.usage.cost", "money is not known"),
    (
        ".result.meta.agentMeta.lastCallUsage",
        "only the sum is kept",
    ),
    (".result.meta.agentMeta.promptTokens", "it is `usage.input`"),
    (
        ".result.meta.agentMeta.contextBudgetStatus",
        "there is no compaction to predict",
    ),
    (
        ".result.meta.agentMeta.codeModeEngaged",
        "there is no code mode",
    ),
    (
        ".result.meta.agentMeta.assistantTurns",
        "only the sum is kept",
    ),
    (".result.meta.agentMeta.bridgeCalls", "there is no bridge"),
    (".result.meta.agentMeta.costUsd", "money is not known"),
    (
        ".result.meta.agentMeta.terminalReceipt",
        "which model really answered is not known",
    ),
    (".result.meta.finalPromptText", "the caller has it"),
    (
        ".result.meta.finalAssistantVisibleText",
        "it is in `payloads`",
    ),
    (".result.meta.finalAssistantRawText", "it is in `payloads`"),
    (".result.meta.replayInvalid", "runs are not replayed"),
    (".result.meta.livenessState", "`status` says it"),
    (".result.meta.executionTrace", "fallbacks are in the log"),
    (".result.meta.requestShaping", "thinking is off"),
    (".result.meta.completion", "`stopReason` says it"),
];

#[test]
fn answers_about_chats_have_the_recorded_members() {
    let fixture = Fixture::new();
    check_same(
        "started",
        value(ChatSendResult::started(&fixture.run)),
        answer("chat-send", "chat.send", 0),
    );
    check_same(
        "in flight",
        value(ChatSendResult::in_flight(&fixture.run)),
        answer("chat-idempotent", "chat.send", 1),
    );
    check_same(
        "known key",
        value(ChatSendResult::ended(&fixture.finished(&fixture.ok))),
        answer("chat-idempotent", "chat.send", 2),
    );
    let runs = [fixture.run.clone()];
    check_same(
        "stopped",
        value(ChatAbortResult::new(&runs)),
        answer("chat-abort", "chat.abort", 0),
    );
    check_same(
        "nothing to stop",
        value(ChatAbortResult::new(&[])),
        answer("chat-abort", "chat.abort", 1),
    );
}

/// Members of a session the original has and we have not, in rows and in events.
const SESSION_OMITTED: Reasons<'_> = &[
    (".visibility", "sessions are not shared between users"),
    (".sharingRole", "sessions are not shared between users"),
    (".participants", "senders are not kept"),
    (".participantCount", "senders are not kept"),
    (".parentSessionKey", "sessions make no sessions"),
    (".spawnDepth", "sessions make no sessions"),
    (".createdVia", "not kept"),
    (".permissionModePending", "permissions change at once"),
    (".systemSent", "system text goes with every call"),
    (".effectiveFastMode", "there are no fast models"),
    (".effectiveFastModeSource", "there are no fast models"),
    (".fastAutoOnSeconds", "there are no fast models"),
    (".effectiveResponseUsage", "`responseUsage` says it"),
    (".runtimeSelectionLocked", "there is one runtime"),
    (".agentRuntime", "there is one runtime"),
    (".activitySummary", "there are no summaries"),
];

/// Members only rows have.
const ROW_OMITTED: Reasons<'_> = &[
    (".activeLeafEntryId", "transcripts have no branches"),
    (".classification", "it repeats the key"),
    (".lastInteractionAt", "`updatedAt` says it"),
    (".estimatedCostUsd", "money is not known"),
    (".effectiveQueueMode", "it depends on the caller's protocol"),
    (".contextBudgetStatus", "there is no compaction to predict"),
    (".snapshotAt", "the frame comes at once"),
    (".placement", "sessions stay where they are"),
];

fn both<'a>(one: Reasons<'a>, other: Reasons<'a>) -> Vec<(&'a str, &'a str)> {
    [one, other].concat()
}

#[test]
fn a_history_has_the_recorded_members() {
    let fixture = Fixture::new();
    let [user, assistant, aborted] = fixture.entries();
    let history = |entries: &[Entry]| {
        let view = View::history(Protocol::V4, None);
        let messages = history_messages(entries, view, HISTORY_BYTES_MAX);
        let cursor = DeltaCursor {
            session_id: fixture.session,
            n: 2,
        };
        value(ChatHistoryResult {
            session_key: Some("k".to_owned()),
            session_id: Some(fixture.session.to_string()),
            messages: Some(messages.messages),
            thinking_level: Some("off".to_owned()),
            defaults: Some(fixture.defaults()),
            session_info: Some(Box::new(fixture.row())),
            pending_inputs: Some(PendingInputs::default()),
            delta_cursor: Some(cursor.encode()),
            has_more: Some(false),
            total_messages: Some(2),
            ..ChatHistoryResult::default()
        })
    };
    let recorded = |name| answer(name, "chat.history", 0);
    let without = |mut value: Value, members: &[&str]| {
        let object = value.as_object_mut().unwrap();
        for name in members {
            object.remove(*name).unwrap();
        }
        value
    };
    compare(
        "history",
        &[without(
            history(&[user.clone(), assistant.clone()]),
            &["sessionInfo"],
        )],
        &[without(recorded("chat-send"), &["sessionInfo"])],
        &[
            (".defaults.agentRuntime", "there is one runtime"),
            (
                ".defaults.modelSelectionTarget",
                "models are chosen per session",
            ),
            (".messages[].api", "the ledger does not keep it"),
            (".messages[].responseId", "the ledger does not keep it"),
            (
                ".messages[].__openclaw.senderIsOwner",
                "every sender is an owner",
            ),
            (".messages[].__openclaw.transport", "senders are not kept"),
            (".messages[].__openclaw.transcriptPosition", "`seq` says it"),
        ],
        &[],
    );
    let messages = |value: &Value| value["messages"].as_array().unwrap().clone();
    compare(
        "messages of an aborted run",
        &messages(&history(&[user, aborted])),
        &messages(&recorded("chat-abort")),
        &[
            (".__openclaw.senderIsOwner", "every sender is an owner"),
            (".__openclaw.transport", "senders are not kept"),
            (".__openclaw.transcriptPosition", "`seq` says it"),
        ],
        &[],
    );
}

#[test]
fn a_row_has_the_recorded_members() {
    let fixture = Fixture::new();
    let info = answer("chat-send", "chat.history", 0)["sessionInfo"].clone();
    let listed = answer("sessions-lifecycle", "sessions.describe", 0)["session"].clone();
    let events = session_events("sessions.changed", |payload| payload["phase"] == "end");
    let event = events[0]["session"].clone();
    compare(
        "row",
        &[value(fixture.row())],
        &[info, listed, event],
        &both(SESSION_OMITTED, ROW_OMITTED),
        &[],
    );
}

#[test]
fn answers_about_sessions_have_the_recorded_members() {
    let fixture = Fixture::new();
    let page = PageOf {
        total: 5,
        limit: 1,
        offset: 0,
    };
    let list = SessionsListResult::new(1, page, fixture.defaults(), Vec::new());
    let mut recorded = answer("rpc-sessions_list-limit", "sessions.list", 0);
    recorded["sessions"] = json!([]);
    compare(
        "list",
        &[value(&list)],
        &[recorded],
        &[
            (".owners", "sessions are not shared between users"),
            (".defaults.agentRuntime", "there is one runtime"),
            (
                ".defaults.modelSelectionTarget",
                "models are chosen per session",
            ),
        ],
        &[],
    );
    check_same(
        "subscribed to the list",
        json!({"subscribed": value(SubscribeResult::sessions(None))["subscribed"]}),
        answer("http-run-seen-on-ws", "sessions.subscribe", 0),
    );
    check_same(
        "subscribed to messages",
        value(SubscribeResult::messages(&fixture.key, true)),
        answer("sessions-lifecycle", "sessions.messages.subscribe", 0),
    );
    let entry = || SessionEntry::new(&fixture.key, &fixture.record(), Some(&fixture.model));
    let result = || SessionEntryResult::new(&fixture.key, entry(), Some(&fixture.model));
    let omitted = |value: Value| {
        let mut value = value;
        value["entry"] = json!({});
        value
    };
    compare(
        "patch",
        &[omitted(value(result().with_path("/x")))],
        &[omitted(answer("sessions-lifecycle", "sessions.patch", 0))],
        &[
            (".resolved.agentRuntime", "there is one runtime"),
            (".resolved.runtimeSelectionLocked", "there is one runtime"),
        ],
        &[],
    );
    compare(
        "reset",
        &[value(result())],
        &[answer("sessions-lifecycle", "sessions.reset", 0)],
        &[
            (".entry.compactionCount", "there is no compaction"),
            (".entry.createdVia", "not kept"),
            (".entry.delivery", "answers go to the caller only"),
            (".entry.lifecycleRevision", "`sessionId` says it"),
            (".entry.modelOverrideSource", "`modelOverride` says it"),
            (".entry.parentSessionKey", "sessions make no sessions"),
            (".entry.sessionRoot", "there is no workspace"),
            (".entry.sessionStartedAt", "not kept"),
            (".entry.spawnDepth", "sessions make no sessions"),
            (".entry.systemSent", "system text goes with every call"),
            (
                ".entry.totalTokensVersion",
                "it is about the original's own files",
            ),
        ],
        &[],
    );
    let mut deleted = answer("sessions-lifecycle", "sessions.delete", 0);
    deleted["archived"] = json!([]);
    check_same(
        "delete",
        value(SessionsDeleteResult::new(&fixture.key, true)),
        deleted,
    );
}

/// The recorded `session.message` and `sessions.changed` payloads that fit a test.
fn session_events(event: &str, fits: impl Fn(&Value) -> bool) -> Vec<Value> {
    let frames = recording("sessions-lifecycle");
    let payloads = frames
        .iter()
        .filter(|line| line.frame["event"] == event)
        .map(|line| &line.frame["payload"]);
    payloads.filter(|payload| fits(payload)).cloned().collect()
}

#[test]
fn session_events_have_the_recorded_members() {
    let fixture = Fixture::new();
    let [user, assistant, _] = fixture.entries();
    let row = fixture.row();
    let of = |entry| SessionMessage::of(&fixture.key, &fixture.agent, entry, Some(&row));
    let bare = |mut value: Value| {
        value["session"] = json!({});
        value
    };
    let ours: Vec<Value> = [&user, &assistant]
        .into_iter()
        .flat_map(of)
        .map(|event| bare(value(event)))
        .collect();
    let theirs = session_events("session.message", |_| true);
    let theirs: Vec<Value> = theirs.into_iter().map(bare).collect();
    let in_events: Reasons<'_> = &[
        (".activeModel", "`model` says it"),
        (".activeModelProvider", "`modelProvider` says it"),
        (".hasAutomation", "there is no automation"),
        (".message.api", "the ledger does not keep it"),
        (".message.responseId", "the ledger does not keep it"),
        (
            ".message.__openclaw.senderIsOwner",
            "every sender is an owner",
        ),
        (".message.__openclaw.transport", "senders are not kept"),
        (".message.__openclaw.transcriptPosition", "`seq` says it"),
    ];
    let omitted = both(SESSION_OMITTED, in_events);
    let added = [
        (".inputTokens", "the recorded session was new"),
        (".outputTokens", "the recorded session was new"),
        (".totalTokens", "the recorded session was new"),
    ];
    compare("session.message", &ours, &theirs, &omitted, &added);

    let run = SessionsChanged::run(RunPhase::End, &fixture.run, fixture.row(), 1);
    let mut running = fixture.row();
    running.active_run_ids = Some(vec!["r1".to_owned()]);
    let reason = SessionsChanged::changed("send", running, 1);
    let theirs = session_events("sessions.changed", |payload| {
        payload.get("session").is_some() && payload["reason"] != "participants"
    });
    let theirs: Vec<Value> = theirs.into_iter().map(bare).collect();
    let in_events: Reasons<'_> = &[
        (".activeModel", "`model` says it"),
        (".activeModelProvider", "`modelProvider` says it"),
        (".hasAutomation", "there is no automation"),
        (".estimatedCostUsd", "money is not known"),
        (".contextBudgetStatus", "there is no compaction to predict"),
        (".placement", "sessions stay where they are"),
    ];
    let omitted = both(SESSION_OMITTED, in_events);
    let ours = [bare(value(run)), bare(value(reason))];
    compare("sessions.changed", &ours, &theirs, &omitted, &[]);

    let deleted = SessionsChanged::deleted(&fixture.key, &fixture.agent, Some(fixture.session), 1);
    let theirs = session_events("sessions.changed", |payload| payload["reason"] == "delete");
    let ours = [value(deleted), value(SessionsChanged::reload("delete", 1))];
    compare("deleted", &ours, &theirs, &[], &[]);
}

#[test]
fn answers_about_the_gateway_have_the_recorded_members() {
    let sessions = || SessionsHealth {
        path: "/x".to_owned(),
        count: 1,
        recent: vec![RecentSession {
            key: "k".to_owned(),
            updated_at: Some(1),
            age: Some(1),
        }],
    };
    let agent = AgentHealth {
        agent_id: "main".to_owned(),
        name: None,
        is_default: true,
        heartbeat: HeartbeatHealth::default(),
        sessions: sessions(),
    };
    compare(
        "health",
        &[value(HealthSummary::new(1, 1, vec![agent]))],
        &[answer("rpc-health", "health", 0)],
        &[
            (".configReload", "a reload is in the log"),
            (".eventLoop", "there is no event loop"),
            (".modelRuntime", "models have no runtime here"),
            (".plugins", "there are no plugins"),
        ],
        &[],
    );
    compare(
        "status",
        &[value(status())],
        &[answer("rpc-status", "status", 0)],
        STATUS_OMITTED,
        &[
            (".runs", "what the scheduler does"),
            (".uptimeMs", "how long the process runs"),
        ],
    );
    let presence = PresenceEntry {
        host: Some("h".into()),
        ip: Some("192.0.2.1".into()),
        version: Some("1".into()),
        platform: Some("linux".into()),
        device_family: Some("Linux".into()),
        mode: Some("gateway".into()),
        reason: Some("self".into()),
        text: Some("Gateway".into()),
        instance_id: Some("i".into()),
        ..PresenceEntry::default()
    };
    compare(
        "presence",
        &[value(SystemPresenceResult(vec![presence]))],
        &[answer("rpc-system_presence", "system-presence", 0)],
        &[],
        &[],
    );
    let lines = LogsTailResult {
        lines: vec!["x".to_owned()],
        ..LogsTailResult::default()
    };
    check_same(
        "logs",
        value(lines),
        answer("rpc-logs_tail-limit", "logs.tail", 0),
    );
    let fixture = Fixture::new();
    let mut choice = ModelChoice::new(&fixture.model, "Mock");
    choice.context_window = Some(1);
    choice.reasoning = Some(false);
    choice.tags = vec!["default".to_owned()];
    check_same(
        "models",
        value(ModelsListResult {
            models: vec![choice],
        }),
        answer("rpc-models_list", "models.list", 0),
    );
    let config = ConfigGetResult::from(ConfigParts {
        path: "/x".to_owned(),
        exists: true,
        raw: Some("{}".to_owned()),
        parsed: json!({}),
        effective: json!({}),
        hash: "h".to_owned(),
        warnings: Vec::new(),
    });
    let mut recorded = answer("rpc-missing-scope", "config.get", 0);
    for name in [
        "parsed",
        "sourceConfig",
        "resolved",
        "config",
        "runtimeConfig",
    ] {
        recorded[name] = json!({});
    }
    compare(
        "config",
        &[value(config)],
        &[recorded],
        &[
            (".includedPaths", "the file's own path is told"),
            (".includeProvenance", "the file's own path is told"),
            (
                ".agentRosterIncludeOwned",
                "agents come from one configuration",
            ),
            (".bindingsIncludeOwned", "there are no bindings"),
        ],
        &[],
    );
}

const STATUS_OMITTED: Reasons<'_> = &[
    (".hostDesktop", "there is no desktop"),
    (
        ".heartbeat.agents[].waitingForRoute",
        "there is no heartbeat",
    ),
    (
        ".degradedSecretOwners",
        "a secret that is missing stops the start",
    ),
    (".degradedPlugins", "there are no plugins"),
    (".tasks", "there are no tasks"),
    (".taskAudit", "there are no tasks"),
    (".modelRuntime", "models have no runtime here"),
    (".eventLoop", "there is no event loop"),
    (".processMemory", "the metrics have it"),
    (".workerPools", "there are no worker pools"),
    (".shutdownBudget", "it is in the configuration"),
    (".sessions.recent[].inputTokens", "`sessions.list` has it"),
    (".sessions.recent[].outputTokens", "`sessions.list` has it"),
    (".sessions.recent[].cacheRead", "only sums are kept"),
    (".sessions.recent[].cacheWrite", "only sums are kept"),
    (
        ".sessions.recent[].totalTokensFresh",
        "`sessions.list` has it",
    ),
    (".sessions.recent[].configuredModel", "`model` says it"),
    (".sessions.recent[].selectedModel", "`model` says it"),
    (".sessions.recent[].runtime", "there is one runtime"),
    (
        ".sessions.byAgent[].recent[].inputTokens",
        "`sessions.list` has it",
    ),
    (
        ".sessions.byAgent[].recent[].outputTokens",
        "`sessions.list` has it",
    ),
    (
        ".sessions.byAgent[].recent[].cacheRead",
        "only sums are kept",
    ),
    (
        ".sessions.byAgent[].recent[].cacheWrite",
        "only sums are kept",
    ),
    (
        ".sessions.byAgent[].recent[].totalTokensFresh",
        "`sessions.list` has it",
    ),
    (
        ".sessions.byAgent[].recent[].configuredModel",
        "`model` says it",
    ),
    (
        ".sessions.byAgent[].recent[].selectedModel",
        "`model` says it",
    ),
    (
        ".sessions.byAgent[].recent[].runtime",
        "there is one runtime",
    ),
];

fn status() -> StatusResult {
    let row = || StatusRow {
        agent_id: Some("main".to_owned()),
        key: "k".to_owned(),
        kind: "direct".to_owned(),
        session_id: Some("s".to_owned()),
        updated_at: Some(1),
        age: Some(1),
        aborted_last_run: Some(false),
        model: Some("m".to_owned()),
        context_tokens: Some(1),
        total_tokens: Some(1),
        remaining_tokens: Some(1),
        percent_used: Some(1),
        flags: vec!["x".to_owned()],
    };
    StatusResult {
        runtime_version: "0".to_owned(),
        heartbeat: StatusHeartbeat {
            default_agent_id: "main".to_owned(),
            agents: vec![StatusHeartbeatAgent::disabled("main")],
        },
        channel_summary: Vec::new(),
        queued_system_events: Vec::new(),
        sessions: StatusSessions {
            paths: vec!["/x".to_owned()],
            count: 1,
            defaults: StatusDefaults {
                model: Some("m".to_owned()),
                context_tokens: Some(1),
            },
            recent: vec![row()],
            by_agent: vec![StatusAgentSessions {
                agent_id: "main".to_owned(),
                path: "/x".to_owned(),
                count: 1,
                recent: vec![row()],
            }],
        },
        runs: StatusRuns::default(),
        uptime_ms: 1,
        pid: 1,
    }
}

#[test]
fn small_events_are_as_recorded() {
    let tick = recording("chat-send")
        .into_iter()
        .find(|line| line.frame["event"] == "tick")
        .unwrap();
    check_same(
        "tick",
        value(TickEvent { ts: 1 }),
        tick.frame["payload"].clone(),
    );
    assert_eq!(
        value(ShutdownEvent::stopping()),
        json!({"reason": "gateway stopping"})
    );
}
