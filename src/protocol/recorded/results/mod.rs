//! Recorded results and session events: the members of what our constructors write.

mod device;
mod gateway;
mod sessions;

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::ids::{AgentId, EntryId, SessionId, SessionKey, WireId};
use crate::protocol::Protocol;
use crate::protocol::methods::agent::{AgentAccepted, AgentFinal, AgentWaitResult, FinishedRun};
use crate::protocol::methods::chat::{
    ChatAbortResult, ChatHistoryResult, ChatSendResult, DeltaCursor, PendingInputs,
};
use crate::protocol::methods::sessions::SessionDefaults;
use crate::protocol::row::{RecordFacts, SessionFacts, SessionRow};
use crate::protocol::transcript::{HISTORY_BYTES_MAX, View, history_messages};
use crate::run::{
    Abort, AbortCause, Entry, EntryBody, FinishReason, ModelRef, Outcome, Terminal, Usage,
};

use super::{Reasons, answer, compare};

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
            withheld: false,
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
