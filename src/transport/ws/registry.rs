//! The open native connections: who is there, how many are unauthenticated per address, and the
//! handle that closes one from outside.
//!
//! The lock is never held across an await, and every entry is removed by a guard.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::Notify;

use crate::auth::Principal;
use crate::auth::device::Invalidation;
use crate::ids::ConnectionId;
use crate::metrics::Metrics;
use crate::protocol::Close;
use crate::transport::shares::{Share, Shares};

use super::devices::close_of;

/// Closes one connection from outside; only the first reason counts.
#[derive(Debug, Default)]
pub(super) struct CloseHandle {
    reason: OnceLock<Close>,
    asked: Notify,
}

impl CloseHandle {
    /// Asks the connection to close.
    pub(super) fn close(&self, reason: Close) {
        if self.reason.set(reason).is_ok() {
            self.asked.notify_one();
        }
    }

    /// Waits until somebody asks.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn asked(&self) -> Close {
        loop {
            if let Some(reason) = self.reason.get() {
                return reason.clone();
            }
            self.asked.notified().await;
        }
    }
}

/// The open native connections.
#[derive(Debug)]
pub(super) struct Registry {
    preauth: Arc<Shares>,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: BTreeMap<ConnectionId, Entry>,
}

#[derive(Debug)]
struct Entry {
    handle: Arc<CloseHandle>,
    principal: Principal,
}

impl Registry {
    /// Nobody is connected.
    pub(super) fn new(preauth_per_address_max: u32, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            preauth: Shares::new(preauth_per_address_max),
            metrics,
            state: Mutex::default(),
        })
    }

    /// A place for a connection of this address that has not authenticated; `None` when all are
    /// taken.
    pub(super) fn admit(&self, address: IpAddr) -> Option<Share> {
        self.preauth.take(address)
    }

    /// Enters a connection that has authenticated.
    pub(super) fn enter(
        self: &Arc<Self>,
        id: ConnectionId,
        principal: Principal,
        handle: Arc<CloseHandle>,
    ) -> Registration {
        let entry = Entry { handle, principal };
        self.lock().open.insert(id, entry);
        self.metrics.native_open.add(1);
        Registration {
            registry: Arc::clone(self),
            id,
        }
    }

    /// Closes every connection whose secret is not of `generation`.
    pub(super) fn close_other_generations(&self, generation: u64) {
        for entry in self.lock().open.values() {
            if entry.principal.generation != generation {
                entry.handle.close(Close::AuthChanged);
            }
        }
    }

    /// Closes every connection that has lost its credential, but the one that asked for it.
    pub(super) fn close_invalid(&self, invalidation: &Invalidation) {
        for (id, entry) in &self.lock().open {
            if invalidation.by != Some(*id) && invalidation.hits(&entry.principal) {
                entry.handle.close(close_of(invalidation));
            }
        }
    }

    /// The devices that are connected.
    pub(super) fn devices(&self) -> HashSet<Arc<str>> {
        let state = self.lock();
        let devices = state
            .open
            .values()
            .filter_map(|entry| entry.principal.device.clone());
        devices.collect()
    }

    /// How many connections have authenticated.
    pub(super) fn len(&self) -> usize {
        self.lock().open.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic half-way, so a poisoned lock still guards whole state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An authenticated connection's entry.
#[derive(Debug)]
pub(super) struct Registration {
    registry: Arc<Registry>,
    id: ConnectionId,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry.lock().open.remove(&self.id);
        self.registry.metrics.native_open.add(-1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::device::InvalidCause;
    use crate::auth::{AuthMethod, Role};
    use crate::ids::{IdSource, SystemIds};
    use crate::transport::ws::native::itself;

    fn registry(per_address: u32) -> Arc<Registry> {
        Registry::new(per_address, Arc::default())
    }

    #[tokio::test]
    async fn a_rotation_closes_only_those_of_other_generations() {
        let registry = registry(1);
        let enter = |generation| {
            let handle = Arc::new(CloseHandle::default());
            let id = ConnectionId::from_uuid(SystemIds.random());
            let principal = Principal {
                generation,
                ..itself().principal
            };
            (registry.enter(id, principal, Arc::clone(&handle)), handle)
        };
        let (old, old_handle) = enter(1);
        let (_new, new_handle) = enter(2);
        assert_eq!((registry.len(), registry.metrics.native_open.get()), (2, 2));
        registry.close_other_generations(2);
        assert_eq!(old_handle.asked().await, Close::AuthChanged);
        assert!(new_handle.reason.get().is_none());
        old_handle.close(Close::Internal);
        assert_eq!(old_handle.asked().await, Close::AuthChanged);
        drop(old);
        assert_eq!((registry.len(), registry.metrics.native_open.get()), (1, 1));
    }
    #[tokio::test]
    async fn a_withdrawn_credential_closes_its_connections_and_no_others() {
        let registry = registry(1);
        let enter = |device: Option<&str>, role, method| {
            let handle = Arc::new(CloseHandle::default());
            let id = ConnectionId::from_uuid(SystemIds.random());
            let principal = Principal {
                device: device.map(Arc::from),
                role,
                method,
                ..itself().principal
            };
            let registration = registry.enter(id, principal, Arc::clone(&handle));
            (registration, handle, id)
        };
        let (token, device) = (AuthMethod::Token, AuthMethod::DeviceToken);
        let by_secret = enter(Some("a"), Role::Operator, token);
        let by_token = enter(Some("a"), Role::Operator, device);
        let node = enter(Some("a"), Role::Node, device);
        let caller = enter(Some("a"), Role::Node, device);
        let other = enter(Some("b"), Role::Operator, device);
        let plain = enter(None, Role::Operator, token);
        let devices = registry.devices();
        assert_eq!(devices, HashSet::from(["a".into(), "b".into()]));

        let invalidate = |cause| {
            registry.close_invalid(&Invalidation {
                device: "a".into(),
                cause,
                by: Some(caller.2),
            });
        };
        let reasons = || {
            [&by_secret, &by_token, &node, &caller, &other, &plain]
                .map(|(_, handle, _)| handle.reason.get().map(Close::as_str))
        };
        invalidate(InvalidCause::Rotated(Role::Operator));
        let rotated = Some("device_token_rotated");
        assert_eq!(reasons(), [None, rotated, None, None, None, None]);
        invalidate(InvalidCause::Revoked(Role::Operator));
        let revoked = Some("device_token_revoked");
        assert_eq!(reasons(), [revoked, rotated, None, None, None, None]);
        invalidate(InvalidCause::Removed);
        let removed = Some("device_removed");
        assert_eq!(reasons(), [revoked, rotated, removed, None, None, None]);
    }
}
