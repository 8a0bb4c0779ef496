//! `sessions.compact`: summing a transcript up (`protocol-facts` §6.7).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::SessionKey;
use crate::protocol::params::params;
use crate::protocol::{Bounded, NonEmpty};

/// Entries that are kept on protocol 3 when the caller names no number; there are no summaries
/// there (`protocol-v3-delta` §5).
pub const COMPACT_LINES_V3: u64 = 400;

params! {
    /// Parameters of `sessions.compact`.
    SessionsCompactParams {
        required {
            /// The session.
            key: NonEmpty,
        }
        optional {
            /// The agent; must agree with the key.
            agent_id: NonEmpty,
            /// Keep this many of the newest entries and ask for no summary.
            max_lines: Bounded<1, { u64::MAX }>,
        }
    }
}

/// The result of `sessions.compact`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionsCompactResult {
    /// Always true.
    pub ok: bool,
    /// The session.
    pub key: String,
    /// Whether the agent gets less of the transcript from now on.
    pub compacted: bool,
    /// Why it does not, unless the transcript was short enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Entries that are said word for word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<u64>,
    /// What it came to; not when only the number of entries was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<CompactionResult>,
}

/// What summing up came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CompactionResult {
    /// About how many tokens the conversation had.
    pub tokens_before: u64,
    /// About how many it has now.
    pub tokens_after: u64,
    /// What stands for the rest; absent when the agent gave none and that was only cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
}

impl SessionsCompactResult {
    /// The transcript is as it was.
    pub fn unchanged(key: &SessionKey, reason: Option<&str>, kept: Option<u64>) -> Self {
        Self {
            ok: true,
            key: key.as_str().to_owned(),
            compacted: false,
            reason: reason.map(str::to_owned),
            kept,
            result: None,
        }
    }

    /// The transcript is shorter for the agent.
    pub fn shortened(key: &SessionKey, kept: u64, result: Option<CompactionResult>) -> Self {
        Self {
            compacted: true,
            result,
            ..Self::unchanged(key, None, Some(kept))
        }
    }
}
