//! The payloads of `session.message`, `session.tool`, `sessions.changed` and `session.operation`
//! (`protocol-facts` §7.4, §7.5).
//!
//! All but the last repeat the members of the session's row beside `session`, because clients read
//! them there.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

use crate::ids::{AgentId, SessionId, SessionKey, WireId};
use crate::protocol::events::agent::ToolData;
use crate::protocol::row::SessionRow;
use crate::protocol::transcript::{TranscriptMessage, View, messages_of};
use crate::run::{Entry, EntryBody, RunInfo};

/// `session.operation`: something that takes a while is being done to a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionOperation {
    /// Tells one time from the next.
    pub operation_id: String,
    /// What is being done.
    pub operation: OperationKind,
    /// How far it is.
    pub phase: OperationPhase,
    /// Canonical key.
    pub session_key: String,
    /// Its agent.
    pub agent_id: String,
    /// When, in wall-clock milliseconds.
    pub ts: u64,
    /// At the end: whether it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed: Option<bool>,
    /// At the end: why it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What is being done to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OperationKind {
    /// Its transcript is summed up.
    Compact,
}

/// How far an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OperationPhase {
    /// It begins.
    Start,
    /// It is over.
    End,
}

impl SessionOperation {
    /// A transcript begins to be summed up.
    pub fn compact(operation_id: String, key: &SessionKey, agent: &AgentId, ts: u64) -> Self {
        Self {
            operation_id,
            operation: OperationKind::Compact,
            phase: OperationPhase::Start,
            session_key: key.as_str().to_owned(),
            agent_id: agent.as_str().to_owned(),
            ts,
            completed: None,
            reason: None,
        }
    }

    /// The same, over; `failure` says why it was not done.
    #[must_use]
    pub fn ended(self, failure: Option<&str>) -> Self {
        Self {
            phase: OperationPhase::End,
            completed: Some(failure.is_none()),
            reason: failure.map(str::to_owned),
            ..self
        }
    }
}

/// A message that was committed to a transcript.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionMessage {
    /// Canonical key.
    pub session_key: String,
    /// Its agent.
    pub agent_id: String,
    /// Always true; on messages of a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_is_owner: Option<bool>,
    /// The message.
    #[schemars(with = "TranscriptMessage<'static>")]
    pub message: Box<RawValue>,
    /// Its id.
    pub message_id: String,
    /// Its position in the transcript, from 1.
    pub message_seq: u64,
    /// The run that wrote it; on messages of the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// The session as lists show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Box<SessionRow>>,
    /// The members of `session` again.
    #[serde(flatten)]
    pub row: Map<String, Value>,
}

impl SessionMessage {
    /// The events for one entry: none for a silent answer, two for a call of the agent's own tool.
    pub fn of(
        key: &SessionKey,
        agent: &AgentId,
        entry: &Entry,
        row: Option<&SessionRow>,
    ) -> Vec<Self> {
        let is_user = matches!(entry.body, EntryBody::User { .. });
        let flattened = flattened(row, &["agentId", "runId"]);
        let event = |message: TranscriptMessage<'_>| {
            let run_id = message.meta.run_id.as_deref().map(str::to_owned);
            Some(Self {
                session_key: key.as_str().to_owned(),
                agent_id: agent.as_str().to_owned(),
                sender_is_owner: is_user.then_some(true),
                message_id: message.meta.id.as_ref().to_owned(),
                message_seq: message.meta.seq,
                run_id,
                message: to_raw_value(&message).ok()?,
                session: row.cloned().map(Box::new),
                row: flattened.clone(),
            })
        };
        let messages = messages_of(entry, View::LIVE);
        messages.into_iter().filter_map(event).collect()
    }
}

/// What a run did with one of its own tools.
#[derive(Clone, Debug)]
pub struct ToolStep {
    /// Position in the run, from 1.
    pub seq: u64,
    /// When, in wall-clock milliseconds.
    pub ts: u64,
    /// What it did.
    pub data: ToolData,
}

/// A step with a tool, for those who follow the session but are not told by `agent`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionTool {
    /// The run.
    pub run_id: String,
    /// Canonical key of its session.
    pub session_key: String,
    /// Its agent.
    pub agent_id: String,
    /// Position in the run, from 1.
    pub seq: u64,
    /// When, in wall-clock milliseconds.
    pub ts: u64,
    /// Always `tool`.
    pub stream: ToolStream,
    /// What it did.
    pub data: ToolData,
    /// The session as lists show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Box<SessionRow>>,
    /// The members of `session` again.
    #[serde(flatten)]
    pub row: Map<String, Value>,
}

/// The stream of `agent` that a [`SessionTool`] repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ToolStream {
    /// Tools.
    Tool,
}

impl SessionTool {
    /// A step of a run, with the row of its session.
    pub fn of(info: &RunInfo, step: ToolStep, row: Option<&SessionRow>) -> Self {
        Self {
            run_id: info.wire_id.as_str().to_owned(),
            session_key: info.session.as_str().to_owned(),
            agent_id: info.agent.as_str().to_owned(),
            seq: step.seq,
            ts: step.ts,
            stream: ToolStream::Tool,
            data: step.data,
            session: row.cloned().map(Box::new),
            row: flattened(row, &["agentId", "runId"]),
        }
    }
}

/// A session was made, used, changed, reset or deleted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionsChanged {
    /// Canonical key; absent in the hint to read the list again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_key: Option<String>,
    /// The transcript of a session that was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Its agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// What happened: `create`, `new`, `reset`, `send`, `steer`, `patch`, `delete`, `compact`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where a run stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<RunPhase>,
    /// That run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// When, in wall-clock milliseconds.
    pub ts: u64,
    /// The session as lists show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Box<SessionRow>>,
    /// The members of `session` again.
    #[serde(flatten)]
    pub row: Map<String, Value>,
}

/// Where a run stands, in `sessions.changed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RunPhase {
    /// The agent was started.
    Start,
    /// The run ended by itself or was stopped.
    End,
    /// The run failed.
    Error,
    /// It wrote a message.
    Message,
}

impl SessionsChanged {
    /// Something happened to a session, named by its wire word.
    pub fn changed(reason: &str, row: SessionRow, ts: u64) -> Self {
        Self {
            reason: Some(reason.to_owned()),
            ..Self::with_row(row, ts)
        }
    }

    /// A run of the session moved on.
    pub fn run(phase: RunPhase, run: &WireId, row: SessionRow, ts: u64) -> Self {
        Self {
            phase: Some(phase),
            run_id: Some(run.as_str().to_owned()),
            ..Self::with_row(row, ts)
        }
    }

    /// A session is gone.
    pub fn deleted(key: &SessionKey, agent: &AgentId, session: Option<SessionId>, ts: u64) -> Self {
        Self {
            session_key: Some(key.as_str().to_owned()),
            session_id: session.map(|id| id.to_string()),
            agent_id: Some(agent.as_str().to_owned()),
            ..Self::reload("delete", ts)
        }
    }

    /// The hint to read the list again.
    pub fn reload(reason: &str, ts: u64) -> Self {
        Self {
            reason: Some(reason.to_owned()),
            ts,
            ..Self::default()
        }
    }

    fn with_row(row: SessionRow, ts: u64) -> Self {
        Self {
            session_key: Some(row.key.clone()),
            agent_id: row.agent_id.clone(),
            ts,
            row: flattened(Some(&row), &["agentId", "runId"]),
            session: Some(Box::new(row)),
            ..Self::default()
        }
    }
}

/// The members of a row that an event repeats, without those it has itself.
fn flattened(row: Option<&SessionRow>, own: &[&str]) -> Map<String, Value> {
    let mut members = row.map(SessionRow::flattened).unwrap_or_default();
    for name in own {
        members.remove(*name);
    }
    members
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row() -> SessionRow {
        SessionRow {
            key: "agent:main:main".to_owned(),
            agent_id: Some("main".to_owned()),
            session_id: Some("s".to_owned()),
            ..SessionRow::default()
        }
    }

    /// Parsing by hand shows members that appear twice, which a map would hide.
    fn has_member_twice(text: &str) -> bool {
        let duplicates = |name: &str| text.matches(&format!("\"{name}\":")).count();
        // `session` repeats the row once more, so two is the most.
        duplicates("agentId") > 2 || duplicates("sessionId") > 2
    }

    #[test]
    fn a_change_repeats_the_row_once() {
        let run = WireId::parse("r").unwrap();
        let event = SessionsChanged::run(RunPhase::End, &run, row(), 5);
        let text = serde_json::to_string(&event).unwrap();
        assert!(!has_member_twice(&text), "{text}");
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["phase"], json!("end"));
        assert_eq!(value["sessionId"], json!("s"));
        assert_eq!(value["session"]["sessionId"], json!("s"));
        assert_eq!(value["endedAt"], Value::Null);
        assert!(value.get("endedAt").is_some());
        assert_eq!(value.get("key"), None);
    }

    #[test]
    fn a_deleted_session_is_named_and_the_hint_is_bare() {
        let key = SessionKey::from_canonical("agent:main:x");
        let agent = AgentId::parse("main").unwrap();
        assert_eq!(
            serde_json::to_value(SessionsChanged::deleted(&key, &agent, None, 5)).unwrap(),
            json!({"sessionKey": "agent:main:x", "agentId": "main", "reason": "delete", "ts": 5})
        );
        assert_eq!(
            serde_json::to_value(SessionsChanged::reload("delete", 5)).unwrap(),
            json!({"reason": "delete", "ts": 5})
        );
    }
}
