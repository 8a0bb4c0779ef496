//! `chat.startup` and `chat.metadata`: what a user interface needs when it opens a session
//! (`protocol-facts` §6.5).

use schemars::JsonSchema;
use serde::Serialize;

use super::{ChatHistoryParams, ChatHistoryResult};
use crate::protocol::methods::agents::{AgentsListResult, ModelChoice};
use crate::protocol::methods::commands::CommandEntry;
use crate::protocol::params::{Few, params};
use crate::protocol::{Bounded, NonEmpty, Text};

params! {
    /// Parameters of `chat.startup`: those of `chat.history`, or a short id in place of the key.
    ChatStartupParams {
        optional {
            /// The session.
            session_key: String,
            /// The first digits of the transcript's id.
            short_id: String,
            /// The name beside the digits in a link.
            slug_hint: String,
            /// The agent; must agree with the key.
            agent_id: String,
            /// Only what came after this `deltaCursor`.
            cursor: String,
            /// At most this many messages; 200 when absent.
            limit: Bounded<1, 1000>,
            /// At most this many bytes.
            max_bytes: Bounded<1024, { u64::MAX }>,
            /// Leave out this many of the newest messages.
            offset: u64,
            /// Runs whose input the caller waits to see consumed.
            input_run_ids: Few<Text<1, 256>, 50>,
            /// Show what surrounds this message.
            message_id: String,
            /// The transcript of `messageId`.
            session_id: String,
            /// Longest text block, in characters.
            max_chars: Bounded<1, 500_000>,
        }
        unused {
            pending_before: u64,
        }
    }
}

impl ChatStartupParams {
    /// The refusal for members that exclude each other or are missing; `None` when they agree.
    pub const fn refusal(&self) -> Option<&'static str> {
        match (&self.session_key, &self.short_id, &self.slug_hint) {
            (None, None, None) => {
                Some("invalid chat.startup params: must have required property 'sessionKey'")
            }
            (_, None, Some(_)) => Some("slugHint requires shortId"),
            (Some(_), Some(_), _) => Some("sessionKey and shortId cannot be used together"),
            (Some(_), None, None) | (None, Some(_), _) => None,
        }
    }

    /// The part that is about the transcript, of the session with this key.
    pub fn history(self, session_key: String) -> ChatHistoryParams {
        ChatHistoryParams {
            agent_id: self.agent_id,
            cursor: self.cursor,
            limit: self.limit,
            max_bytes: self.max_bytes,
            offset: self.offset,
            input_run_ids: self.input_run_ids,
            message_id: self.message_id,
            session_id: self.session_id,
            max_chars: self.max_chars,
            ..ChatHistoryParams::new(session_key)
        }
    }
}

/// The result of `chat.startup`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChatStartupResult {
    /// What `chat.history` answers.
    #[serde(flatten)]
    pub history: ChatHistoryResult,
    /// What `chat.metadata` answers.
    pub metadata: ChatMetadataResult,
    /// What `agents.list` answers.
    pub agents_list: AgentsListResult,
}

params! {
    /// Parameters of `chat.metadata`.
    ChatMetadataParams {
        optional {
            /// The agent.
            agent_id: NonEmpty,
            /// A session whose agent is meant; must agree with `agentId`.
            session_key: NonEmpty,
        }
        unused { auth_profile_id: NonEmpty }
    }
}

/// The result of `chat.metadata`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ChatMetadataResult {
    /// What a message can be beside something to answer.
    pub commands: Vec<CommandEntry>,
    /// The models a session can use.
    pub models: Vec<ModelChoice>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(params: Value, expected: Option<&str>) {
        let params: ChatStartupParams = serde_json::from_value(params).unwrap();
        assert_eq!(params.refusal(), expected);
    }

    #[test]
    fn a_session_is_named_once() {
        check(json!({"sessionKey": "main"}), None);
        check(json!({"shortId": "01234567", "slugHint": "x"}), None);
        check(
            json!({}),
            Some("invalid chat.startup params: must have required property 'sessionKey'"),
        );
        check(
            json!({"sessionKey": "main", "slugHint": "x"}),
            Some("slugHint requires shortId"),
        );
        check(
            json!({"sessionKey": "main", "shortId": "01234567"}),
            Some("sessionKey and shortId cannot be used together"),
        );
    }

    #[test]
    fn everything_about_the_transcript_is_handed_on() {
        let all = json!({
            "agentId": "a", "cursor": "c", "limit": 5, "maxBytes": 2048, "offset": 1,
            "inputRunIds": ["r"], "messageId": "m", "sessionId": "s", "maxChars": 9,
        });
        let params: ChatStartupParams = serde_json::from_value(all.clone()).unwrap();
        let history = serde_json::to_value(params.history("main".to_owned())).unwrap();
        let mut expected = all;
        expected["sessionKey"] = json!("main");
        assert_eq!(history, expected);
    }
}
