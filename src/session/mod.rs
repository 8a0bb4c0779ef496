//! Sessions: their keys, and the ledger that keeps them.

#[cfg(test)]
mod conformance;
mod devices;
pub mod key;
mod ledger;
pub mod memory;
mod rules;
pub mod sqlite;

pub use devices::{
    DeviceBounds, DevicePut, DeviceRow, DeviceStore, PairingRow, PutDevice, RequestRow, TokenRow,
};
pub use ledger::*;
