//! The payload of `chat`: the answer of a run as a conversation shows it (`protocol-facts` §7.3).
//!
//! One form serves protocol 3 and 4: deltas carry the new text and the whole message.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{EntryId, SessionKey, WireId};
use crate::protocol::outcome::{ErrorDetail, ErrorKind};
use crate::protocol::transcript::{INJECTED_API, INJECTED_MODEL, INJECTED_PROVIDER, MessageUsage};

/// One step of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChatEvent {
    /// The run.
    pub run_id: String,
    /// Canonical key of its session.
    pub session_key: String,
    /// Its agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// The `seq` of the `agent` event that caused it.
    pub seq: u64,
    /// What step it is.
    pub state: ChatState,
    /// `status`: what the run is about to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// `delta`: what is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delta_text: Option<String>,
    /// `delta`: whether `deltaText` takes the place of what was shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace: Option<bool>,
    /// Why the run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
    /// The whole message so far; absent for a silent or empty answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<ChatMessage>,
    /// `error`: what went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// `error`: the class of the failure, where clients treat it specially.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_kind: Option<ErrorKind>,
    /// `error`: where the failure came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_detail: Option<ErrorDetail>,
}

/// The steps of an answer. `final`, `aborted` and `error` end it, exactly one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChatState {
    /// The run gets ready.
    Status,
    /// More text.
    Delta,
    /// The answer is complete.
    Final,
    /// The run was stopped; the message is what there was.
    Aborted,
    /// The run failed.
    Error,
}

impl ChatState {
    /// Whether nothing of the answer follows.
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Status | Self::Delta => false,
            Self::Final | Self::Aborted | Self::Error => true,
        }
    }

    /// Whether a reader that is too slow loses it rather than its connection (§1.6).
    pub const fn drop_if_slow(self) -> bool {
        !self.is_terminal()
    }
}

/// A message of the agent in an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChatMessage {
    /// `assistant`.
    pub role: String,
    /// Its text, as one block.
    pub content: Vec<ChatBlock>,
    /// When, in wall-clock milliseconds.
    pub timestamp: u64,
    /// Set when the gateway itself answers a text command.
    #[serde(default, flatten, skip_serializing_if = "Option::is_none")]
    pub answer: Option<CommandAnswer>,
}

/// What tells the answer to a text command from that of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommandAnswer {
    /// `stop`.
    pub stop_reason: String,
    /// Zero tokens.
    pub usage: MessageUsage,
    /// `openai-responses`.
    pub api: String,
    /// `openclaw`.
    pub provider: String,
    /// `gateway-injected`.
    pub model: String,
    /// The run.
    pub idempotency_key: String,
    /// Always true: an agent does not get it.
    pub exclude_from_context: bool,
    /// Always true: clients show it as a line of the gateway.
    pub command: bool,
    /// Always set.
    #[serde(rename = "__openclaw")]
    pub meta: CommandMeta,
}

/// The mark of a text command and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommandMeta {
    /// Always true.
    pub context_free_command: bool,
}

impl CommandAnswer {
    /// What is said of the answer to the command with this id.
    pub fn new(run: &WireId) -> Self {
        Self {
            stop_reason: "stop".to_owned(),
            usage: MessageUsage::default(),
            api: INJECTED_API.to_owned(),
            provider: INJECTED_PROVIDER.to_owned(),
            model: INJECTED_MODEL.to_owned(),
            idempotency_key: run.as_str().to_owned(),
            exclude_from_context: true,
            command: true,
            meta: CommandMeta {
                context_free_command: true,
            },
        }
    }
}

impl ChatMessage {
    /// A message of one text block.
    pub fn new(text: impl Into<String>, timestamp: u64) -> Self {
        Self {
            role: "assistant".to_owned(),
            content: vec![ChatBlock {
                kind: "text".to_owned(),
                text: text.into(),
            }],
            timestamp,
            answer: None,
        }
    }

    /// The text of its blocks.
    pub fn text(&self) -> String {
        self.content
            .iter()
            .map(|block| block.text.as_str())
            .collect()
    }
}

/// A text block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChatBlock {
    /// `text`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The text.
    pub text: String,
}

impl ChatEvent {
    fn last(run_id: String, session: &SessionKey, seq: u64) -> Self {
        Self {
            run_id,
            session_key: session.as_str().to_owned(),
            agent_id: None,
            seq,
            state: ChatState::Final,
            phase: None,
            delta_text: None,
            replace: None,
            stop_reason: None,
            message: None,
            error_message: None,
            error_kind: None,
            error_detail: None,
        }
    }

    /// A message an operator put into the transcript (`chat.inject`).
    pub fn injected(id: EntryId, session: &SessionKey, message: ChatMessage) -> Self {
        Self {
            message: Some(message),
            ..Self::last(format!("inject-{id}"), session, 0)
        }
    }

    /// The end of a run whose input was folded into another run: `final` without message (§8.6).
    pub fn consumed(run: &WireId, session: &SessionKey) -> Self {
        Self::last(run.as_str().to_owned(), session, 1)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn messages_without_a_run_are_final_at_once() {
        let session = SessionKey::from_canonical("agent:main:main");
        let id = EntryId::from_uuid(Uuid::nil());
        let event = ChatEvent::injected(id, &session, ChatMessage::new("hello", 7));
        assert_eq!(
            serde_json::to_value(event).unwrap(),
            json!({"runId": "inject-00000000-0000-0000-0000-000000000000",
                   "sessionKey": "agent:main:main", "seq": 0, "state": "final",
                   "message": {"role": "assistant", "timestamp": 7,
                               "content": [{"type": "text", "text": "hello"}]}})
        );
        let run = WireId::parse("r2").unwrap();
        assert_eq!(
            serde_json::to_value(ChatEvent::consumed(&run, &session)).unwrap(),
            json!({"runId": "r2", "sessionKey": "agent:main:main", "seq": 1, "state": "final"})
        );
    }

    #[test]
    fn only_steps_before_the_end_may_be_dropped() {
        let states = [
            (ChatState::Status, true),
            (ChatState::Delta, true),
            (ChatState::Final, false),
            (ChatState::Aborted, false),
            (ChatState::Error, false),
        ];
        for (state, droppable) in states {
            assert_eq!(state.drop_if_slow(), droppable, "{state:?}");
        }
    }
}
