//! What happens in runs and sessions, for those who watch.
//!
//! [`Log`] keeps one run's events; a [`Subscription`] is a reader's cursor into it. [`Logs`] finds
//! logs by run. [`Bus`] tells watchers that something began, ended or changed.

mod bus;
mod log;
mod logs;
mod pieces;
mod subscription;

pub use bus::{
    Bus, CallError, ChangeReason, CompactionPhase, InProcessBus, Notice, RunCommand, RunControl,
    RunReply,
};
pub use log::{Log, LogLimits, Record};
pub use logs::{Logs, LogsConfig};
pub use subscription::{Item, ResumeError, Subscription};
