//! The payload of `device.pair.resolved` (`protocol-facts` §7.5). `device.pair.requested` carries a
//! `PendingDevice`.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The request of a device was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DevicePairResolved {
    /// The request.
    pub request_id: Arc<str>,
    /// The device.
    pub device_id: Arc<str>,
    /// How.
    pub decision: PairDecision,
    /// When, in wall-clock milliseconds.
    pub ts: u64,
}

/// How the request of a device was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PairDecision {
    /// The device may do what it asked for.
    Approved,
    /// It may not, or it asked for something else meanwhile.
    Rejected,
}
