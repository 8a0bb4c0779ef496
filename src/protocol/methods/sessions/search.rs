//! `sessions.search`: messages that contain a text.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::protocol::params::{Few, params};
use crate::protocol::row::SessionRow;
use crate::protocol::{Bounded, NonEmpty, Text};

use super::SessionsListParams;

/// Messages `sessions.search` returns when the caller names no limit.
pub const SEARCH_LIMIT_DEFAULT: u64 = 25;

params! {
    /// Parameters of `sessions.search`.
    SessionsSearchParams {
        required {
            /// The text.
            query: Text<1, 4096>,
        }
        optional {
            /// At most this many messages; 25 when absent.
            limit: Bounded<1, 25>,
            /// Only in sessions of this agent.
            agent_id: NonEmpty,
            /// Only in these sessions.
            session_keys: Few<NonEmpty, 1000>,
            /// Only in sessions `sessions.list` would return.
            scope: SessionsListParams,
        }
    }
}

/// The result of `sessions.search`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionsSearchResult {
    /// Messages with the text: sessions last used first, in each the newest first.
    pub results: Vec<SearchHit>,
    /// The sessions those are of.
    pub sessions: Vec<SessionRow>,
    /// Whether more was there than could be looked through.
    pub truncated: bool,
}

/// A message that contains a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SearchHit {
    /// Its session.
    pub session_key: String,
    /// Its transcript.
    pub session_id: String,
    /// Its id.
    pub message_id: String,
    /// Who says it.
    pub role: SearchRole,
    /// When it was said, in wall-clock milliseconds.
    pub timestamp: u64,
    /// The text and some of what stands around it.
    pub snippet: String,
    /// How often the text is in it.
    pub score: u64,
}

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SearchRole {
    /// A user.
    User,
    /// An agent.
    Assistant,
}
