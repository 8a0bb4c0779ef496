//! Devices: how they prove themselves, how they are paired, and the tokens they get.
//!
//! Owns every rule about them and the memory of what was withdrawn lately; keeps nothing itself,
//! the [`CredentialStore`] does. Must not know how anything is worded on the wire.

mod decisions;
mod key;
mod notice;
mod proof;
mod record;
mod store;
#[cfg(test)]
pub(super) mod testing;
mod token;
mod visit;

pub use decisions::{DeviceError, DeviceList, Handler, Rotated};
pub use notice::{Decision, DeviceNotice, DeviceWatcher, InvalidCause, Invalidation};
pub use proof::{DeviceClaim, ProofError};
pub use record::{ApprovedVia, Device, DeviceFacts, DeviceToken, PairRequest, PairedDevice};
pub use store::{CredentialStore, Put, StoreBounds, StoreError};
pub use visit::{IssuedToken, PairingPolicy, PairingReason, PairingRequired};

pub(super) use proof::{Proven, prove};
pub(super) use record::fact;
pub(super) use token::{TokenRefusal, verify};
pub(super) use visit::{Program, Visit};

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::clock::Clock;
use crate::ids::IdSource;

use super::secret::Minted;
use super::{AuthError, Principal};

/// Most paired devices.
const DEVICES_MAX: u64 = 10_000;

/// Most requests that wait for a decision.
const REQUESTS_MAX: u64 = 256;

/// Attempts to write a device that others write at the same time.
const ATTEMPTS_MAX: u32 = 8;

/// Withdrawals that are remembered for connects under way; such a connect is refused when there
/// were more.
const INVALIDATIONS_MAX: usize = 64;

/// The devices of the gateway.
#[derive(Debug)]
pub struct Devices {
    store: Arc<dyn CredentialStore>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    watcher: OnceLock<Arc<dyn DeviceWatcher>>,
    withdrawn: Mutex<Withdrawn>,
}

impl Devices {
    /// The devices in `store`.
    pub fn new(
        store: Arc<dyn CredentialStore>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
    ) -> Self {
        Self {
            store,
            clock,
            ids,
            watcher: OnceLock::new(),
            withdrawn: Mutex::default(),
        }
    }

    /// Names who is told about devices; only the first call counts.
    pub fn set_watcher(&self, watcher: Arc<dyn DeviceWatcher>) {
        self.watcher.get_or_init(|| watcher);
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// The device that proved itself, as far as it is known.
    pub(super) async fn find(&self, proven: &Proven) -> Result<Device, StoreError> {
        let id: Arc<str> = proven.id.as_str().into();
        let found = self.store.device(Arc::clone(&id)).await?;
        Ok(found.unwrap_or(Device::unknown(id)))
    }

    /// Lets a device that authenticated in, pairs it silently, or makes its request known.
    pub(super) async fn settle(
        &self,
        visit: &Visit,
        policy: PairingPolicy,
        mut device: Device,
    ) -> Result<Option<IssuedToken>, AuthError> {
        for _ in 0..ATTEMPTS_MAX {
            let fresh = visit::Fresh {
                request_id: self.ids.random().to_string().into(),
                secret: Minted::new().map_err(|_no_random| StoreError::Failed)?,
                now_ms: self.now_ms(),
            };
            let outcome = visit::decide(visit, device, policy, fresh)?;
            let Some(change) = outcome.change else {
                return outcome.entry.map_err(AuthError::pairing);
            };
            match self.put(change).await {
                Ok(Put::Done { forgotten }) => {
                    self.forget(forgotten);
                    outcome.notices.iter().for_each(|it| self.tell(it));
                    return outcome.entry.map_err(AuthError::pairing);
                }
                Ok(Put::Changed) => device = self.find(&visit.proven).await?,
                Ok(Put::RequestsFull | Put::DevicesFull) => return Err(AuthError::PairingFull),
                Err(_) if outcome.is_optional => {
                    return outcome.entry.map_err(AuthError::pairing);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Busy.into())
    }

    async fn put(&self, device: Device) -> Result<Put, StoreError> {
        let since = self.now_ms().saturating_sub(visit::REQUEST_TTL_MS);
        let bounds = StoreBounds {
            devices_max: DEVICES_MAX,
            requests_max: REQUESTS_MAX,
            requests_since_ms: since,
        };
        self.store.put(device, bounds).await
    }

    /// Closes what a device that had to make room may still have open.
    fn forget(&self, forgotten: Option<Arc<str>>) {
        if let Some(device) = forgotten {
            tracing::info!(%device, "too many paired devices, one was forgotten");
            self.invalidate(Invalidation {
                device,
                cause: InvalidCause::Removed,
                by: None,
            });
        }
    }

    fn invalidate(&self, invalidation: Invalidation) {
        // Remembered first: a connect that is under way sees it, or is told to close.
        self.withdrawn().push(invalidation.clone());
        self.tell(&DeviceNotice::Invalidated(invalidation));
    }

    fn tell(&self, notice: &DeviceNotice) {
        tracing::debug!(?notice, "devices");
        if let Some(watcher) = self.watcher.get() {
            watcher.notice(notice);
        }
    }

    /// How many withdrawals there were. Ask before a device is looked up.
    pub(super) fn withdrawals(&self) -> u64 {
        self.withdrawn().count
    }

    /// Whether a credential of the principal was withdrawn after there had been `seen` withdrawals.
    pub(super) fn was_withdrawn(&self, principal: &Principal, seen: u64) -> bool {
        principal.device.is_some() && self.withdrawn().hit(principal, seen)
    }

    /// Every change is whole, so a poisoned lock holds nothing half done.
    fn withdrawn(&self) -> std::sync::MutexGuard<'_, Withdrawn> {
        self.withdrawn
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The credentials that were withdrawn last.
#[derive(Debug, Default)]
struct Withdrawn {
    count: u64,
    last: VecDeque<Invalidation>,
}

impl Withdrawn {
    fn push(&mut self, invalidation: Invalidation) {
        if self.last.len() == INVALIDATIONS_MAX {
            self.last.pop_front();
        }
        self.last.push_back(invalidation);
        self.count += 1;
    }

    fn hit(&self, principal: &Principal, seen: u64) -> bool {
        let new = usize::try_from(self.count.saturating_sub(seen)).unwrap_or(usize::MAX);
        new > self.last.len()
            || self
                .last
                .iter()
                .rev()
                .take(new)
                .any(|it| it.hits(principal))
    }
}
