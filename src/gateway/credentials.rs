//! The ledger as the store of devices that auth asks for.

use std::fmt;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::auth::device::{
    ApprovedVia, CredentialStore, Device, DeviceToken, PairedDevice, Put, StoreBounds, StoreError,
};
use crate::auth::{Role, SecretDigest};
use crate::session::{
    DeviceBounds, DevicePut, DeviceRow, Ledger, LedgerError, PairingRow, PutDevice, RequestRow,
    TokenRow,
};

/// Keeps devices in a ledger.
pub struct LedgerCredentials(Arc<dyn Ledger>);

impl LedgerCredentials {
    /// Devices in this ledger.
    pub const fn new(ledger: Arc<dyn Ledger>) -> Self {
        Self(ledger)
    }
}

impl fmt::Debug for LedgerCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LedgerCredentials").field(&self.0).finish()
    }
}

impl CredentialStore for LedgerCredentials {
    fn device(&self, id: Arc<str>) -> BoxFuture<'_, Result<Option<Device>, StoreError>> {
        async move {
            let row = self
                .0
                .device(id)
                .await
                .map_err(|error| store_error(&error))?;
            row.map(device).transpose()
        }
        .boxed()
    }

    fn device_of_request(
        &self,
        request_id: Arc<str>,
    ) -> BoxFuture<'_, Result<Option<Device>, StoreError>> {
        async move {
            let row = self.0.device_of_request(request_id).await;
            row.map_err(|error| store_error(&error))?
                .map(device)
                .transpose()
        }
        .boxed()
    }

    fn devices(&self) -> BoxFuture<'_, Result<Vec<Device>, StoreError>> {
        async move {
            let rows = self
                .0
                .devices(u32::MAX)
                .await
                .map_err(|error| store_error(&error))?;
            rows.into_iter().map(device).collect()
        }
        .boxed()
    }

    fn put(&self, device: Device, bounds: StoreBounds) -> BoxFuture<'_, Result<Put, StoreError>> {
        async move {
            let put = PutDevice {
                row: row(device)?,
                bounds: DeviceBounds {
                    devices_max: bounds.devices_max,
                    requests_max: bounds.requests_max,
                    requests_since_ms: bounds.requests_since_ms,
                },
            };
            let done = self
                .0
                .put_device(put)
                .await
                .map_err(|error| store_error(&error))?;
            Ok(match done {
                DevicePut::Done { forgotten, .. } => Put::Done { forgotten },
                DevicePut::Changed => Put::Changed,
                DevicePut::RequestsFull => Put::RequestsFull,
                DevicePut::DevicesFull => Put::DevicesFull,
            })
        }
        .boxed()
    }
}

fn store_error(error: &LedgerError) -> StoreError {
    match error {
        LedgerError::Busy => StoreError::Busy,
        LedgerError::Closed => StoreError::Closed,
        LedgerError::Fenced { .. }
        | LedgerError::SessionChanged { .. }
        | LedgerError::NotFound
        | LedgerError::LabelInUse { .. }
        | LedgerError::Ended
        | LedgerError::Guarded(_)
        | LedgerError::Failed { .. } => {
            tracing::error!(%error, "devices could not be read or written");
            StoreError::Failed
        }
    }
}

fn device(row: DeviceRow) -> Result<Device, StoreError> {
    let mut paired: Option<PairedDevice> = match row.pairing {
        Some(pairing) => Some(read(&pairing.details)?),
        None => None,
    };
    if let Some(paired) = &mut paired {
        let tokens = row.tokens.into_iter().map(token);
        paired.tokens = tokens.collect::<Result<_, _>>()?;
    }
    let request = match row.request {
        Some(request) => Some(read(&request.details)?),
        None => None,
    };
    Ok(Device {
        id: row.device,
        revision: row.revision,
        paired,
        request,
    })
}

fn token(row: TokenRow) -> Result<DeviceToken, StoreError> {
    let role = Role::from_name(&row.role).ok_or_else(|| {
        tracing::error!(role = %row.role, "a device token has an unknown role");
        StoreError::Failed
    })?;
    let digests = row.digests.into_iter().map(SecretDigest::from_bytes);
    Ok(DeviceToken {
        role,
        digests: digests.collect(),
        scopes: row.scopes.iter().map(AsRef::as_ref).collect(),
        created_at_ms: row.created_at_ms,
        rotated_at_ms: row.rotated_at_ms,
        revoked_at_ms: row.revoked_at_ms,
        last_used_at_ms: row.last_used_at_ms,
    })
}

fn row(device: Device) -> Result<DeviceRow, StoreError> {
    let mut row = DeviceRow {
        revision: device.revision,
        ..DeviceRow::new(device.id)
    };
    if let Some(paired) = device.paired {
        row.pairing = Some(PairingRow {
            details: write(&paired)?,
            is_expendable: matches!(paired.approved_via, ApprovedVia::Silent),
            last_seen_at_ms: paired.last_seen_at_ms.unwrap_or(paired.approved_at_ms),
        });
        row.tokens = paired.tokens.iter().map(token_row).collect();
    }
    if let Some(request) = device.request {
        row.request = Some(RequestRow {
            details: write(&request)?,
            at_ms: request.at_ms,
            request_id: request.request_id,
        });
    }
    Ok(row)
}

fn token_row(token: &DeviceToken) -> TokenRow {
    TokenRow {
        role: token.role.as_str().into(),
        digests: token.digests.iter().map(|it| it.to_bytes()).collect(),
        scopes: token.scopes.names().map(Into::into).collect(),
        created_at_ms: token.created_at_ms,
        rotated_at_ms: token.rotated_at_ms,
        revoked_at_ms: token.revoked_at_ms,
        last_used_at_ms: token.last_used_at_ms,
    }
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| {
        tracing::error!(%error, "a stored device makes no sense");
        StoreError::Failed
    })
}

fn write<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| {
        tracing::error!(%error, "a device cannot be written");
        StoreError::Failed
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::ScopeSet;
    use crate::auth::device::{DeviceFacts, PairRequest};
    use crate::session::memory::MemoryLedger;

    const ROOMY: StoreBounds = StoreBounds {
        devices_max: 9,
        requests_max: 9,
        requests_since_ms: 0,
    };

    fn scopes() -> ScopeSet {
        ["operator.write", "operator.read"].into_iter().collect()
    }

    fn whole(id: &str) -> Device {
        let facts = DeviceFacts {
            display_name: Some("Anna's \"phone\"".into()),
            platform: Some("android".into()),
            ..DeviceFacts::default()
        };
        Device {
            id: id.into(),
            revision: 0,
            paired: Some(PairedDevice {
                public_key: "key".into(),
                facts: facts.clone(),
                label: Some("kitchen".into()),
                roles: vec![Role::Operator, Role::Node],
                scopes: scopes(),
                approved_via: ApprovedVia::Silent,
                created_at_ms: 1,
                approved_at_ms: 2,
                last_seen_at_ms: Some(3),
                tokens: vec![DeviceToken {
                    role: Role::Operator,
                    digests: vec![SecretDigest::from_bytes([7; 32])],
                    scopes: scopes().sorted(),
                    created_at_ms: 4,
                    rotated_at_ms: Some(5),
                    revoked_at_ms: None,
                    last_used_at_ms: Some(6),
                }],
            }),
            request: Some(PairRequest {
                request_id: "r".into(),
                public_key: "key".into(),
                facts,
                roles: vec![Role::Operator],
                scopes: scopes(),
                is_repair: true,
                at_ms: 8,
            }),
        }
    }

    #[tokio::test]
    async fn a_device_comes_back_as_it_was_written() {
        let store = LedgerCredentials::new(Arc::new(MemoryLedger::new()));
        let mut written = whole("d");
        let done = store.put(written.clone(), ROOMY).await.unwrap();
        assert_eq!(done, Put::Done { forgotten: None });
        let found = store.device("d".into()).await.unwrap().unwrap();
        assert_ne!(found.revision, 0);
        written.revision = found.revision;
        assert_eq!(found, written);
        let asking = store.device_of_request("r".into()).await.unwrap();
        assert_eq!(asking.as_ref(), Some(&written));
        assert_eq!(store.devices().await.unwrap(), [written.clone()]);
        assert_eq!(store.device("x".into()).await.unwrap(), None);

        let stale = store.put(whole("d"), ROOMY).await.unwrap();
        assert_eq!(stale, Put::Changed);
        let gone = Device {
            paired: None,
            request: None,
            ..written
        };
        store.put(gone, ROOMY).await.unwrap();
        assert_eq!(store.devices().await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_ledger_that_fails_is_a_store_that_fails() {
        let ledger = MemoryLedger::new();
        ledger.fail_writes(Some(crate::session::Fault::DiskFull));
        let store = LedgerCredentials::new(Arc::new(ledger));
        let failed = store.put(whole("d"), ROOMY).await;
        assert_eq!(failed, Err(StoreError::Failed));
    }
}
