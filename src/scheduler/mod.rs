//! Decides which run goes when: one at a time per session, within caps, fairly.

mod config;
mod fair;
pub mod lanes;

pub use config::{DropPolicy, QueueConfig, SchedulerConfig};
