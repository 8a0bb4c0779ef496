//! Devices that sign, and a store in memory, for the tests of this module and its neighbours.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer, SigningKey};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::auth::connect::ConnectAuth;
use crate::auth::secret::Offered;
use crate::clock::ManualClock;
use crate::ids::SystemIds;

use super::notice::{DeviceNotice, DeviceWatcher};
use super::proof::DeviceClaim;
use super::record::Device;
use super::store::{CredentialStore, Put, StoreBounds, StoreError};
use super::{Devices, key};

/// The nonce every connection of a test is challenged with.
pub(in crate::auth) const CHALLENGE: &str = "nonce-1";

/// The time of the tests.
pub(in crate::auth) const NOW_MS: u64 = 1_795_343_743_259;

/// A device with a key of its own.
pub(in crate::auth) struct TestDevice(SigningKey);

impl TestDevice {
    pub(in crate::auth) fn new(number: u8) -> Self {
        Self(SigningKey::from_bytes(&[number; 32]))
    }

    /// One of many.
    pub(in crate::auth) fn numbered(number: u16) -> Self {
        let mut secret = [0xa5; 32];
        secret[..2].copy_from_slice(&number.to_be_bytes());
        Self(SigningKey::from_bytes(&secret))
    }

    pub(in crate::auth) fn public_key(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.verifying_key().as_bytes())
    }

    pub(in crate::auth) fn id(&self) -> String {
        key::DeviceKey::parse(&self.public_key())
            .unwrap()
            .device_id()
    }

    pub(in crate::auth) fn sign(&self, message: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.0.sign(message.as_bytes()).to_bytes())
    }

    /// Signs what an official client signs, written down independently of the product.
    pub(in crate::auth) fn claim(&self, offer: &ConnectAuth, signed_at_ms: u64) -> DeviceClaim {
        let token = [&offer.token, &offer.device_token, &offer.bootstrap_token]
            .into_iter()
            .find_map(|token| token.as_ref().map(Offered::as_sent))
            .unwrap_or_default();
        let lower = |text: &Option<String>| {
            let text = text.as_deref().unwrap_or_default();
            text.trim().to_ascii_lowercase()
        };
        let message = format!(
            "v3|{}|{}|{}|{}|{}|{signed_at_ms}|{token}|{CHALLENGE}|{}|{}",
            self.id(),
            offer.client_id,
            offer.client_mode,
            offer.role.as_str(),
            offer.scopes.join(","),
            lower(&offer.platform),
            lower(&offer.device_family),
        );
        DeviceClaim {
            id: self.id(),
            public_key: self.public_key(),
            signature: self.sign(&message),
            signed_at_ms,
            nonce: CHALLENGE.to_owned(),
            challenge: CHALLENGE.to_owned(),
        }
    }

    /// The offer, signed by this device.
    pub(in crate::auth) fn signed(&self, mut offer: ConnectAuth) -> ConnectAuth {
        offer.device = Some(self.claim(&offer, NOW_MS));
        offer
    }
}

/// A store in memory that can be told to fail.
#[derive(Debug, Default)]
pub(in crate::auth) struct TestStore {
    rows: Mutex<BTreeMap<Arc<str>, Device>>,
    revision: Mutex<u64>,
    pub(in crate::auth) fails: AtomicBool,
    /// Lets the next write find the device changed.
    pub(in crate::auth) races: AtomicBool,
}

impl TestStore {
    pub(in crate::auth) fn get(&self, id: &str) -> Option<Device> {
        self.rows.lock().unwrap().get(id).cloned()
    }

    pub(in crate::auth) fn edit(&self, id: &str, edit: impl FnOnce(&mut Device)) {
        edit(self.rows.lock().unwrap().get_mut(id).unwrap());
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(StoreError::Failed);
        }
        Ok(())
    }

    fn write(&self, mut device: Device, bounds: StoreBounds) -> Put {
        let mut rows = self.rows.lock().unwrap();
        let stored = rows.get(&device.id).map_or(0, |stored| stored.revision);
        if stored != device.revision || self.races.swap(false, Ordering::Relaxed) {
            return Put::Changed;
        }
        let asks = |row: &&Device| {
            let request = row.request.as_ref();
            row.id != device.id
                && request.is_some_and(|request| request.at_ms >= bounds.requests_since_ms)
        };
        let waiting = u64::try_from(rows.values().filter(asks).count()).unwrap();
        if device.request.is_some() && waiting >= bounds.requests_max {
            return Put::RequestsFull;
        }
        let mut revision = self.revision.lock().unwrap();
        *revision += 1;
        device.revision = *revision;
        if device.paired.is_none() && device.request.is_none() {
            rows.remove(&device.id);
        } else {
            rows.insert(Arc::clone(&device.id), device);
        }
        Put::Done { forgotten: None }
    }
}

impl CredentialStore for TestStore {
    fn device(&self, id: Arc<str>) -> BoxFuture<'_, Result<Option<Device>, StoreError>> {
        async move { self.check().map(|()| self.get(&id)) }.boxed()
    }

    fn device_of_request(
        &self,
        request_id: Arc<str>,
    ) -> BoxFuture<'_, Result<Option<Device>, StoreError>> {
        let find = move || {
            let rows = self.rows.lock().unwrap();
            let asks = |row: &&Device| {
                let request = row.request.as_ref();
                request.is_some_and(|request| request.request_id == request_id)
            };
            rows.values().find(asks).cloned()
        };
        async move { self.check().map(|()| find()) }.boxed()
    }

    fn devices(&self) -> BoxFuture<'_, Result<Vec<Device>, StoreError>> {
        let all = || self.rows.lock().unwrap().values().cloned().collect();
        async move { self.check().map(|()| all()) }.boxed()
    }

    fn put(&self, device: Device, bounds: StoreBounds) -> BoxFuture<'_, Result<Put, StoreError>> {
        async move { self.check().map(|()| self.write(device, bounds)) }.boxed()
    }
}

/// Remembers what it is told.
#[derive(Debug, Default)]
pub(in crate::auth) struct TestWatcher(Mutex<Vec<DeviceNotice>>);

impl TestWatcher {
    pub(in crate::auth) fn take(&self) -> Vec<DeviceNotice> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl DeviceWatcher for TestWatcher {
    fn notice(&self, notice: &DeviceNotice) {
        self.0.lock().unwrap().push(notice.clone());
    }
}

/// Devices with everything a test looks at.
pub(in crate::auth) struct Bench {
    pub(in crate::auth) devices: Arc<Devices>,
    pub(in crate::auth) store: Arc<TestStore>,
    pub(in crate::auth) watcher: Arc<TestWatcher>,
    pub(in crate::auth) clock: ManualClock,
}

impl Bench {
    pub(in crate::auth) fn new() -> Self {
        let store = Arc::new(TestStore::default());
        let watcher = Arc::new(TestWatcher::default());
        let clock = ManualClock::new(NOW_MS);
        let shared: Arc<dyn CredentialStore> = Arc::<TestStore>::clone(&store);
        let clock_of_devices = Arc::new(clock.clone());
        let devices = Arc::new(Devices::new(shared, clock_of_devices, Arc::new(SystemIds)));
        devices.set_watcher(Arc::<TestWatcher>::clone(&watcher));
        Self {
            devices,
            store,
            watcher,
            clock,
        }
    }
}
