//! `device.pair.*` and `device.token.*`: devices that are paired or ask to be, and their tokens
//! (`protocol-facts` §3.7, §3.8, §6.11).

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::protocol::hello::Confidential;
use crate::protocol::params::{Few, params};
use crate::protocol::{NonEmpty, Role, Text};

params! {
    /// Parameters of `device.pair.list`.
    DevicePairListParams {}
}

params! {
    /// Parameters of `device.pair.approve`.
    DevicePairApproveParams {
        required {
            /// The request.
            request_id: NonEmpty,
        }
    }
}

params! {
    /// Parameters of `device.pair.reject`.
    DevicePairRejectParams {
        required {
            /// The request.
            request_id: NonEmpty,
        }
    }
}

params! {
    /// Parameters of `device.pair.remove`.
    DevicePairRemoveParams {
        required {
            /// The device.
            device_id: NonEmpty,
        }
    }
}

params! {
    /// Parameters of `device.pair.rename`.
    DevicePairRenameParams {
        required {
            /// The device.
            device_id: NonEmpty,
            /// Its name from now on.
            label: Text<1, 64>,
        }
    }
}

params! {
    /// Parameters of `device.token.rotate`.
    DeviceTokenRotateParams {
        required {
            /// The device.
            device_id: NonEmpty,
            /// What the token is for.
            role: NonEmpty,
        }
        optional {
            /// What the new token allows; absent is what the old one did.
            scopes: Few<NonEmpty, 64>,
        }
    }
}

params! {
    /// Parameters of `device.token.revoke`.
    DeviceTokenRevokeParams {
        required {
            /// The device.
            device_id: NonEmpty,
            /// What the token is for.
            role: NonEmpty,
        }
    }
}

/// What a device says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceFacts {
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<Arc<str>>,
    /// The operating system or browser platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Arc<str>>,
    /// The family of the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_family: Option<Arc<str>>,
    /// The program that connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<Arc<str>>,
    /// What it connected for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_mode: Option<Arc<str>>,
    /// The origin of the page it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub browser_origin: Option<Arc<str>>,
    /// The address it connected from; left out for this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_ip: Option<Arc<str>>,
}

/// A device that asks to be paired, or to be allowed more; also the payload of
/// `device.pair.requested`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PendingDevice {
    /// The request.
    pub request_id: Arc<str>,
    /// The device: the digest of its key.
    pub device_id: Arc<str>,
    /// Its key, in base64url.
    pub public_key: Arc<str>,
    /// What it says about itself.
    #[serde(flatten)]
    pub facts: DeviceFacts,
    /// What it wants to act as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Everything it wants to act as.
    pub roles: Vec<Role>,
    /// What it wants to do.
    pub scopes: Vec<Arc<str>>,
    /// Whether it is paired already.
    pub is_repair: bool,
    /// When it asked last, in wall-clock milliseconds.
    pub ts: u64,
}

/// A paired device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PairedDevice {
    /// The device: the digest of its key.
    pub device_id: Arc<str>,
    /// Its key, in base64url.
    pub public_key: Arc<str>,
    /// What it says about itself.
    #[serde(flatten)]
    pub facts: DeviceFacts,
    /// A name an operator gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<Arc<str>>,
    /// What it was approved for last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Everything it was approved to act as.
    pub roles: Vec<Role>,
    /// What it was approved to do.
    pub scopes: Vec<Arc<str>>,
    /// `silent` when nobody had to approve it, else `operator`.
    pub approved_via: Arc<str>,
    /// When it was first paired, in wall-clock milliseconds.
    pub created_at_ms: u64,
    /// When it was last approved.
    pub approved_at_ms: u64,
    /// When it last connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen_at_ms: Option<u64>,
    /// What it did then: `connect`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen_reason: Option<Arc<str>>,
    /// Whether it is connected now.
    pub connected: bool,
    /// Its tokens, without their texts.
    pub tokens: Vec<DeviceTokenSummary>,
}

/// A token of a device, without its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceTokenSummary {
    /// What its bearer acts as.
    pub role: Role,
    /// What its bearer may do.
    pub scopes: Vec<Arc<str>>,
    /// When it was made, in wall-clock milliseconds.
    pub created_at_ms: u64,
    /// When it was last replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_at_ms: Option<u64>,
    /// When it was withdrawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at_ms: Option<u64>,
    /// When it was last used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at_ms: Option<u64>,
}

/// The result of `device.pair.list`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DevicePairListResult {
    /// Devices that ask.
    pub pending: Vec<PendingDevice>,
    /// Paired devices.
    pub paired: Vec<PairedDevice>,
}

/// The result of `device.pair.approve`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DevicePairApproveResult {
    /// The request.
    pub request_id: Arc<str>,
    /// The device as it is paired now.
    pub device: PairedDevice,
}

/// The result of `device.pair.reject`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DevicePairRejectResult {
    /// The request.
    pub request_id: Arc<str>,
    /// The device.
    pub device_id: Arc<str>,
}

/// The result of `device.pair.remove`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DevicePairRemoveResult {
    /// The device.
    pub device_id: Arc<str>,
}

/// The result of `device.token.rotate`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceTokenRotateResult {
    /// The device.
    pub device_id: Arc<str>,
    /// What the token is for.
    pub role: Role,
    /// What it allows.
    pub scopes: Vec<Arc<str>>,
    /// When it was replaced, in wall-clock milliseconds.
    pub rotated_at_ms: u64,
    /// The new token, for the device itself only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Confidential>,
    /// Whether the token is here.
    pub token_delivery: TokenDelivery,
}

/// How a new token reaches its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TokenDelivery {
    /// In this answer.
    InBand,
    /// Not at all, because another device asked: it gets one when it connects.
    WithheldCrossDevice,
}

/// The result of `device.token.revoke`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceTokenRevokeResult {
    /// The device.
    pub device_id: Arc<str>,
    /// What the token was for.
    pub role: Role,
    /// When it was withdrawn, in wall-clock milliseconds.
    pub revoked_at_ms: u64,
}
