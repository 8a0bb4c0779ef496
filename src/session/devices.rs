//! What a store of paired devices must do.
//!
//! A device, its tokens and its request to be paired are one row to callers: read as a whole and
//! replaced as a whole, if nobody else has changed it since. Knows no rule of pairing; what a
//! device may do stands in texts that are kept as they are. Of a token only digests are kept.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::ledger::LedgerError;

/// A device, as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRow {
    /// Its id.
    pub device: Arc<str>,
    /// The change that wrote the row, never used twice; 0 for a row that is not stored yet.
    pub revision: u64,
    /// Its pairing, once it is paired.
    pub pairing: Option<PairingRow>,
    /// Its tokens, at most one per role.
    pub tokens: Vec<TokenRow>,
    /// What it asks for, while that is undecided.
    pub request: Option<RequestRow>,
}

impl DeviceRow {
    /// The row of a device that is not stored.
    pub const fn new(device: Arc<str>) -> Self {
        Self {
            device,
            revision: 0,
            pairing: None,
            tokens: Vec::new(),
            request: None,
        }
    }

    /// Whether there is nothing to keep.
    pub(super) const fn is_empty(&self) -> bool {
        self.pairing.is_none() && self.request.is_none()
    }
}

/// The pairing of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairingRow {
    /// What was granted to whom, as JSON.
    pub details: String,
    /// Whether the device may be forgotten for another one when there are too many.
    pub is_expendable: bool,
    /// When the device was last seen, in wall-clock milliseconds.
    pub last_seen_at_ms: u64,
}

/// The token of a device for one role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// The role.
    pub role: Arc<str>,
    /// SHA-256 of every text that is this token.
    pub digests: Vec<[u8; 32]>,
    /// What its bearer may do.
    pub scopes: Vec<Arc<str>>,
    /// When it was made, in wall-clock milliseconds.
    pub created_at_ms: u64,
    /// When it was last replaced.
    pub rotated_at_ms: Option<u64>,
    /// When it was withdrawn.
    pub revoked_at_ms: Option<u64>,
    /// When it was last used.
    pub last_used_at_ms: Option<u64>,
}

/// The request of a device to be paired, or to be allowed more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRow {
    /// Its id.
    pub request_id: Arc<str>,
    /// When it was made or last repeated, in wall-clock milliseconds.
    pub at_ms: u64,
    /// What is asked for, as JSON.
    pub details: String,
}

/// A change of a device. A row without pairing and request is removed.
#[derive(Clone, Debug)]
pub struct PutDevice {
    /// The row, with the revision it was read with.
    pub row: DeviceRow,
    /// What the store may hold.
    pub bounds: DeviceBounds,
}

/// What a store of devices may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceBounds {
    /// Most paired devices; for another one the expendable one that was not seen for longest goes.
    pub devices_max: u64,
    /// Most requests.
    pub requests_max: u64,
    /// Requests from before this wall-clock millisecond go when another one comes.
    pub requests_since_ms: u64,
}

/// How a change of a device ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DevicePut {
    /// It is stored.
    Done {
        /// The revision it has now; 0 when it was removed.
        revision: u64,
        /// The device that was forgotten for it.
        forgotten: Option<Arc<str>>,
    },
    /// The row was changed since it was read; nothing of it was written.
    Changed,
    /// There are as many requests as may be; nothing of it was written.
    RequestsFull,
    /// There are as many paired devices as may be, and none is expendable; nothing was written.
    DevicesFull,
}

/// A store of paired devices.
///
/// # Cancel safety
/// A write whose future is dropped may or may not have been committed.
pub trait DeviceStore: Send + Sync {
    /// The device with this id.
    fn device(&self, device: Arc<str>) -> BoxFuture<'_, Result<Option<DeviceRow>, LedgerError>>;

    /// The device that made this request.
    fn device_of_request(
        &self,
        request_id: Arc<str>,
    ) -> BoxFuture<'_, Result<Option<DeviceRow>, LedgerError>>;

    /// Devices in the order in which they were first stored, at most `limit`.
    fn devices(&self, limit: u32) -> BoxFuture<'_, Result<Vec<DeviceRow>, LedgerError>>;

    /// Replaces the row of a device, unless it was changed since it was read.
    fn put_device(&self, put: PutDevice) -> BoxFuture<'_, Result<DevicePut, LedgerError>>;
}
