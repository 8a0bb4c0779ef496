//! Sessions: their keys, and the ledger that keeps them.

pub mod key;
mod ledger;
pub mod memory;
pub mod sqlite;

pub use ledger::*;
