//! Answers about paired devices as a client reads them: tolerant, because newer gateways say more.

use serde::Deserialize;

/// The answer to `device.pair.list`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PairingList {
    /// Devices that ask to be paired, or to be allowed more.
    pub pending: Vec<PendingDevice>,
    /// Paired devices.
    pub paired: Vec<PairedDevice>,
}

/// A device that asks to be paired, or to be allowed more.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PendingDevice {
    /// The request.
    pub request_id: String,
    /// The device.
    pub device_id: String,
    /// A name for people.
    pub display_name: Option<String>,
    /// The operating system or browser platform.
    pub platform: Option<String>,
    /// The program that connected.
    pub client_id: Option<String>,
    /// The address it connected from.
    pub remote_ip: Option<String>,
    /// What it wants to act as.
    pub roles: Vec<String>,
    /// What it wants to do.
    pub scopes: Vec<String>,
}

/// A paired device.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PairedDevice {
    /// The device.
    pub device_id: String,
    /// A name for people.
    pub display_name: Option<String>,
    /// A name an operator gave it.
    pub label: Option<String>,
    /// The operating system or browser platform.
    pub platform: Option<String>,
    /// The program that connected.
    pub client_id: Option<String>,
    /// What it was approved to act as.
    pub roles: Vec<String>,
    /// What it was approved to do.
    pub scopes: Vec<String>,
    /// Whether it is connected now.
    pub connected: bool,
    /// Its tokens.
    pub tokens: Vec<DeviceToken>,
}

/// A token of a device.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DeviceToken {
    /// What its bearer acts as.
    pub role: String,
    /// When it was withdrawn, in wall-clock milliseconds.
    pub revoked_at_ms: Option<u64>,
}
