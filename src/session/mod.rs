//! Sessions: their keys, and the ledger that keeps them.

#[cfg(test)]
mod conformance;
mod conversation;
pub mod key;
mod ledger;
pub mod memory;
mod rules;
pub mod sqlite;

pub use conversation::conversation;
pub use ledger::*;
