//! Updates of the program: it does not update itself.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Answer, NoItems};
use crate::protocol::params::params;

params! {
    /// Parameters of `update.status`.
    UpdateStatusParams {
        unused { refresh_checkout: bool }
    }
}

results! {
    /// The result of `update.status`.
    UpdateStatus(_) {
        /// What the last update left behind: this program does not update itself.
        sentinel: () = (),
        /// A newer version: nobody looks for one.
        update_available: () = (),
    }

    /// The result of `update.run`.
    UpdateRun(_) {
        /// Whether an update was made: this program does not update itself.
        ok: bool = false,
        /// What was done instead.
        result: NoUpdate = NoUpdate::default(),
        /// The restart that follows: none.
        restart: () = (),
        /// What the update leaves behind: nothing.
        sentinel: () = (),
    }
}

/// An update that was not made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NoUpdate {
    /// How it went.
    pub status: &'static str,
    /// How the program came here: not known to it.
    pub mode: &'static str,
    /// Why nothing was done.
    pub reason: &'static str,
    /// What was done.
    pub steps: NoItems,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

impl Default for NoUpdate {
    fn default() -> Self {
        Self {
            status: "skipped",
            mode: "unknown",
            reason: "not-supported",
            steps: [],
            duration_ms: 0,
        }
    }
}
