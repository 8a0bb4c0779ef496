//! The payloads of `presence`, `tick` and `shutdown` (`protocol-facts` §7.5). `health` carries a
//! `HealthSummary`, `connect.challenge` a `Challenge`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::protocol::PresenceEntry;

/// Who is connected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PresenceEvent {
    /// Every entry.
    pub presence: Vec<PresenceEntry>,
}

/// The gateway is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TickEvent {
    /// Its clock, in wall-clock milliseconds.
    pub ts: u64,
}

/// The gateway ends; the connection is closed next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShutdownEvent {
    /// Why.
    pub reason: String,
    /// When it is back, in milliseconds from now, when that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_expected_ms: Option<u64>,
}

impl ShutdownEvent {
    /// The gateway was told to stop.
    pub fn stopping() -> Self {
        Self {
            reason: "gateway stopping".to_owned(),
            restart_expected_ms: None,
        }
    }
}
