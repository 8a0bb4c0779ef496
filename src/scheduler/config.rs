//! Bounds of the scheduler.

use std::time::Duration;

use crate::run::QueueMode;

/// Bounds of the scheduler; everything over them is refused or expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchedulerConfig {
    /// Runs that are active at once in the whole gateway (`agents.defaults.maxConcurrent`).
    pub active_max: u32,
    /// Runs that wait in all (`messages.queue.totalCap`).
    pub waiting_max: u32,
    /// Runs of one credential that wait (`messages.queue.credentialCap`).
    pub credential_waiting_max: u32,
    /// Runs of one user, device or connection that wait (`messages.queue.partyCap`).
    pub party_waiting_max: u32,
    /// How long a run may wait for its lane (`messages.queue.waitSeconds`).
    pub wait: Duration,
    /// What happens in a busy session.
    pub queue: QueueConfig,
}

/// What happens to messages for a busy session (`messages.queue`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// The mode; `None` leaves it to the protocol version of the caller.
    pub mode: Option<QueueMode>,
    /// How long `collect` waits for more.
    pub debounce: Duration,
    /// Runs that wait in one lane.
    pub cap: u32,
    /// What goes when a lane is full.
    pub drop: DropPolicy,
}

/// What goes when a lane is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropPolicy {
    /// The new message is refused.
    New,
    /// The oldest message that waits.
    Old,
    /// The oldest message that waits, leaving a line in a summary.
    Summarize,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            active_max: 256,
            waiting_max: 10_000,
            credential_waiting_max: 2_500,
            party_waiting_max: 1_000,
            wait: Duration::from_mins(10),
            queue: QueueConfig::default(),
        }
    }
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            mode: None,
            debounce: Duration::from_millis(500),
            cap: 20,
            drop: DropPolicy::New,
        }
    }
}
