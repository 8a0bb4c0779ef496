//! The built-in simulated agent.

mod config;
mod script;

pub use config::{Jitter, SimConfig, SimConfigError, SimMode};
pub use script::{SimCall, SimFailure, SimRule, SimScript, SimScriptError, SimStep, SimTool};
