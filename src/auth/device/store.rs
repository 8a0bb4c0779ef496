//! What auth needs of a store of devices; wired to the ledger where everything is put together.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::error::ErrorCode;

use super::record::Device;

/// Why the store did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Too many writes wait, or somebody else changes the device all the time.
    #[error("too much waits for the store of devices")]
    Busy,
    /// It cannot be read or written.
    #[error("the store of devices failed")]
    Failed,
    /// It is closed: the gateway stops.
    #[error("the store of devices is closed")]
    Closed,
}

impl StoreError {
    /// The class of the failure.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Busy => ErrorCode::Overloaded,
            Self::Failed => ErrorCode::StoreFailed,
            Self::Closed => ErrorCode::Restarting,
        }
    }
}

/// What the store may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreBounds {
    /// Most paired devices; for another one the one nobody approved that was not seen for longest
    /// goes.
    pub devices_max: u64,
    /// Most requests.
    pub requests_max: u64,
    /// Requests from before this wall-clock millisecond are over.
    pub requests_since_ms: u64,
}

/// How a change of a device ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is durable.
    Done {
        /// The device that was forgotten for it.
        forgotten: Option<Arc<str>>,
    },
    /// The device was changed since it was read; nothing of it was written.
    Changed,
    /// There are as many requests as may be; nothing of it was written.
    RequestsFull,
    /// There are as many paired devices as may be, all approved; nothing of it was written.
    DevicesFull,
}

/// Keeps devices, their tokens and their requests.
///
/// # Cancel safety
/// A write whose future is dropped may or may not have been done.
pub trait CredentialStore: Send + Sync + fmt::Debug {
    /// The device with this id.
    fn device(&self, id: Arc<str>) -> BoxFuture<'_, Result<Option<Device>, StoreError>>;

    /// The device that made this request.
    fn device_of_request(
        &self,
        request_id: Arc<str>,
    ) -> BoxFuture<'_, Result<Option<Device>, StoreError>>;

    /// All devices, the longest known first.
    fn devices(&self) -> BoxFuture<'_, Result<Vec<Device>, StoreError>>;

    /// Writes a device as a whole, durably, unless it was changed since it was read. One without
    /// pairing and request is removed.
    fn put(&self, device: Device, bounds: StoreBounds) -> BoxFuture<'_, Result<Put, StoreError>>;
}
