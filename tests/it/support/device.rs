//! A device with a key of its own, which signs as the official clients do.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::TOKEN;
use super::ws::{Ws, with};

/// A header that makes a connection look as if it came from elsewhere.
pub(crate) const ELSEWHERE: (&str, &str) = ("host", "gateway.example");

/// A device.
pub(crate) struct Device(SigningKey);

impl Device {
    pub(crate) fn new(number: u8) -> Self {
        Self(SigningKey::from_bytes(&[number; 32]))
    }

    /// SHA-256 of the key, in hexadecimal.
    pub(crate) fn id(&self) -> String {
        let digest = Sha256::digest(self.0.verifying_key().as_bytes());
        let mut id = String::new();
        for byte in digest {
            write!(id, "{byte:02x}").unwrap();
        }
        id
    }

    pub(crate) fn public_key(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.verifying_key().as_bytes())
    }

    pub(crate) fn sign(&self, message: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.0.sign(message.as_bytes()).to_bytes())
    }

    /// The `device` of a `connect` with these params.
    pub(crate) fn proof(&self, params: &Value, nonce: &str, signed_at: u64) -> Value {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let scopes: Vec<_> = params["scopes"]
            .as_array()
            .unwrap()
            .iter()
            .map(text)
            .collect();
        let auth = &params["auth"];
        let token = ["token", "deviceToken"]
            .iter()
            .find_map(|name| auth.get(*name))
            .map(text)
            .unwrap_or_default();
        let client = &params["client"];
        let message = [
            "v3".to_owned(),
            self.id(),
            text(&client["id"]),
            text(&client["mode"]),
            text(&params["role"]),
            scopes.join(","),
            signed_at.to_string(),
            token,
            nonce.to_owned(),
            text(&client["platform"]).to_lowercase(),
            text(&client["deviceFamily"]).to_lowercase(),
        ];
        json!({
            "id": self.id(),
            "publicKey": self.public_key(),
            "signature": self.sign(&message.join("|")),
            "signedAt": signed_at,
            "nonce": nonce,
        })
    }

    /// Connects with a proof; returns the socket and the response.
    pub(crate) async fn connect(
        &self,
        addr: SocketAddr,
        headers: &[(&'static str, &str)],
        params: Value,
    ) -> (Ws, Value) {
        let mut ws = Ws::open_with(addr, "/", headers).await.unwrap();
        let nonce = ws.nonce().await;
        let device = self.proof(&params, &nonce, now_ms());
        let params = with(params, &json!({ "device": device }));
        let id = ws.ask("connect", params).await;
        let response = ws.response(&id).await;
        (ws, response)
    }

    /// Connects and is let in; returns the socket and `hello-ok`.
    pub(crate) async fn enter(
        &self,
        addr: SocketAddr,
        headers: &[(&'static str, &str)],
        params: Value,
    ) -> (Ws, Value) {
        let (ws, response) = self.connect(addr, headers, params).await;
        assert_eq!(response["ok"], true, "{response}");
        (ws, response["payload"].clone())
    }
}

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

/// The params of a command line that has a device and the shared token.
pub(crate) fn cli(scopes: &[&str]) -> Value {
    json!({
        "minProtocol": 4, "maxProtocol": 4,
        "client": { "id": "cli", "version": "g", "platform": "linux", "mode": "cli" },
        "role": "operator",
        "scopes": scopes,
        "caps": [],
        "auth": { "token": TOKEN },
    })
}

/// The same with the token of the device instead.
pub(crate) fn by_token(scopes: &[&str], token: &str) -> Value {
    with(cli(scopes), &json!({ "auth": { "deviceToken": token } }))
}

/// The device token in `hello-ok`.
pub(crate) fn token(hello: &Value) -> String {
    let token = hello["auth"]["deviceToken"].as_str();
    token
        .unwrap_or_else(|| panic!("no token in {hello}"))
        .to_owned()
}
