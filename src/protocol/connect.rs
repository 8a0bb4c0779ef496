//! What a client says about itself in `connect` (`protocol-facts` §2.2) and what follows from it.
//!
//! Unknown members are tolerated, because newer clients send more. A `device` is checked for its
//! form only: whether it proves anything is not decided here.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bounded::{Bounded, NonEmpty};
use super::client::ClientInfo;
use super::version::Protocol;

/// A protocol number: at least 1.
pub type ProtocolNumber = Bounded<1, { u64::MAX }>;

/// The params of `connect`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectParams {
    /// The oldest version the client speaks.
    pub min_protocol: ProtocolNumber,
    /// The newest version the client speaks.
    pub max_protocol: ProtocolNumber,
    /// The client.
    pub client: ClientInfo,
    /// What the client can do, `tool-events` for example.
    #[serde(default)]
    pub caps: Vec<NonEmpty>,
    /// Commands of a node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<NonEmpty>,
    /// Permissions of a node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub permissions: BTreeMap<String, bool>,
    /// Search path of a node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_env: Option<String>,
    /// `operator` or `node`; absent means `operator`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<NonEmpty>,
    /// The scopes the client asks for.
    #[serde(default)]
    pub scopes: Vec<NonEmpty>,
    /// The device the client runs on, with its proof.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
    /// The secrets the client offers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<ClientAuth>,
    /// The language of the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// The program of the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
}

/// What a device shows of its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// Digest of the public key.
    pub id: NonEmpty,
    /// The public key.
    pub public_key: NonEmpty,
    /// Signature of the handshake.
    pub signature: NonEmpty,
    /// When it signed, in milliseconds since 1970.
    pub signed_at: u64,
    /// The nonce it signed.
    pub nonce: NonEmpty,
}

/// The secrets a client offers; prints without them.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientAuth {
    /// The shared token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// A token for the first pairing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap_token: Option<String>,
    /// A token issued to a device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_token: Option<String>,
    /// The shared password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

impl fmt::Debug for ClientAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offered = |secret: &Option<String>| secret.as_ref().map(|_| "[secret]");
        f.debug_struct("ClientAuth")
            .field("token", &offered(&self.token))
            .field("bootstrap_token", &offered(&self.bootstrap_token))
            .field("device_token", &offered(&self.device_token))
            .field("password", &offered(&self.password))
            .finish()
    }
}

/// What a connection acts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A person or program that uses the gateway.
    Operator,
    /// A device that offers commands to it.
    Node,
}

impl Role {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Node => "node",
        }
    }
}

impl ConnectParams {
    /// The role asked for; `None` when there is no such role.
    pub fn role(&self) -> Option<Role> {
        match self.role.as_deref() {
            None | Some("operator") => Some(Role::Operator),
            Some("node") => Some(Role::Node),
            Some(_) => None,
        }
    }

    /// The version to speak, if there is a common one.
    pub fn protocol(&self) -> Option<Protocol> {
        Protocol::negotiate(self.min_protocol.get(), self.max_protocol.get())
    }

    /// Whether the client declared a capability.
    pub fn has_cap(&self, cap: &str) -> bool {
        self.caps.iter().any(|name| name.as_str() == cap)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn params(patch: serde_json::Value) -> ConnectParams {
        let mut params = json!({
            "minProtocol": 4,
            "maxProtocol": 4,
            "client": {"id": "cli", "version": "1", "platform": "linux", "mode": "cli"},
        });
        if let (Some(params), serde_json::Value::Object(patch)) = (params.as_object_mut(), patch) {
            params.extend(patch);
        }
        serde_json::from_value(params).unwrap()
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let bare = params(json!({}));
        assert_eq!(bare.role(), Some(Role::Operator));
        assert!(bare.scopes.is_empty() && bare.caps.is_empty() && bare.auth.is_none());
        assert_eq!(params(json!({"role": "node"})).role(), Some(Role::Node));
        assert_eq!(params(json!({"role": "wizard"})).role(), None);
        assert!(params(json!({"caps": ["tool-events"]})).has_cap("tool-events"));
    }

    #[test]
    fn secrets_are_not_printed() {
        let secrets = params(json!({"auth": {"token": "hunter2", "password": "hunter2"}}));
        let printed = format!("{secrets:?}");
        assert!(!printed.contains("hunter2"), "{printed}");
        assert!(printed.contains("[secret]"), "{printed}");
    }
}
