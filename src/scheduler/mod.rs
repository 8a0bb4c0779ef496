//! Decides which run goes when: one at a time per session, within caps, fairly.

mod config;

pub use config::{DropPolicy, QueueConfig, SchedulerConfig};
