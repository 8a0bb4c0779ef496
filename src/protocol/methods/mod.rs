//! The methods of the native dialect: parameters and results, one file per family, and the one
//! table that says what exists and who may call it.
//!
//! Knows no connection, no dispatcher and no store: callers build results from plain data.

pub mod agent;
pub mod agents;
pub mod artifacts;
pub mod attachment;
pub mod chat;
pub mod commands;
pub mod config;
pub mod device;
pub mod notes;
pub mod runs;
pub mod sessions;
pub mod stubs;
pub mod system;
mod table;

pub use table::{
    ADMIN, APPROVALS, Method, MethodRow, PAIRING, QUESTIONS, READ, ScopeFacts, ScopeRule, WRITE,
};
