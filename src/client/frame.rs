//! Frames of a gateway as a client reads them: tolerant, because newer gateways say more.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::RemoteError;

/// A frame of the gateway.
#[derive(Debug)]
pub(super) enum Incoming {
    /// A response to a request.
    Response {
        id: Box<str>,
        result: Result<Box<RawValue>, Box<RemoteError>>,
    },
    /// An event.
    Event(super::Event),
}

#[derive(Deserialize)]
struct Raw {
    r#type: Box<str>,
    id: Option<Box<str>>,
    ok: Option<bool>,
    event: Option<Box<str>>,
    payload: Option<Box<RawValue>>,
    error: Option<RemoteError>,
    seq: Option<u64>,
}

impl Incoming {
    /// Reads a frame; `None` for anything a client must ignore (`protocol-facts` §1.2).
    pub(super) fn decode(text: &str) -> Option<Self> {
        let raw: Raw = serde_json::from_str(text).ok()?;
        match (&*raw.r#type, raw.id, raw.ok, raw.event) {
            ("res", Some(id), Some(true), _) => Some(Self::Response {
                id,
                result: Ok(raw.payload.unwrap_or_else(null)),
            }),
            ("res", Some(id), Some(false), _) => {
                let error = raw.error.unwrap_or_else(unexplained);
                let error = RemoteError {
                    payload: raw.payload,
                    ..error
                };
                Some(Self::Response {
                    id,
                    result: Err(Box::new(error)),
                })
            }
            ("event", _, _, Some(name)) => Some(Self::Event(super::Event {
                name,
                payload: raw.payload,
                seq: raw.seq,
            })),
            _ => None,
        }
    }
}

/// Whether a response only says that the request was accepted.
pub(super) fn is_accepted(payload: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Status {
        status: Box<str>,
    }
    serde_json::from_str::<Status>(payload.get())
        .is_ok_and(|payload| &*payload.status == "accepted")
}

fn null() -> Box<RawValue> {
    RawValue::NULL.to_owned()
}

fn unexplained() -> RemoteError {
    RemoteError {
        code: "UNAVAILABLE".into(),
        message: "the gateway gave no reason".into(),
        details: None,
        retryable: false,
        retry_after_ms: None,
        payload: None,
    }
}

/// What the gateway said when it accepted the connection.
#[derive(Debug, Deserialize)]
pub struct Hello {
    /// The version of the protocol that was chosen.
    pub protocol: u64,
    /// The gateway.
    pub server: HelloServer,
    /// What it serves.
    #[serde(default)]
    pub features: HelloFeatures,
    /// What this connection may do; older gateways say it only with a device.
    #[serde(default)]
    pub auth: Option<HelloAuth>,
    /// Its bounds.
    pub policy: HelloPolicy,
    /// All of it, as it was sent.
    #[serde(skip)]
    pub raw: Option<Box<RawValue>>,
}

/// The gateway, as it calls itself.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HelloServer {
    /// Its version, as clients compare it.
    pub version: Box<str>,
    /// Its name for this connection.
    pub conn_id: Box<str>,
}

/// What a gateway serves.
#[derive(Debug, Default, Deserialize)]
pub struct HelloFeatures {
    /// Its methods.
    #[serde(default)]
    pub methods: Vec<Box<str>>,
    /// Its events.
    #[serde(default)]
    pub events: Vec<Box<str>>,
}

/// What a connection may do.
#[derive(Debug, Deserialize)]
pub struct HelloAuth {
    /// Its scopes.
    #[serde(default)]
    pub scopes: Vec<Box<str>>,
}

/// The bounds of a connection.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HelloPolicy {
    /// Time between `tick` events, in milliseconds.
    pub tick_interval_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let shown = match Incoming::decode(text) {
            None => "ignored".to_owned(),
            Some(Incoming::Event(event)) => {
                let payload = event.payload.as_deref().map_or("-", RawValue::get);
                format!("event {} {payload} {:?}", event.name, event.seq)
            }
            Some(Incoming::Response { id, result }) => match result {
                Ok(payload) => format!("ok {id} {payload}"),
                Err(error) => {
                    let payload = error.payload.as_deref().map_or("-", RawValue::get);
                    format!("error {id} {error} {payload}")
                }
            },
        };
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn frames_are_told_apart_by_their_shape() {
        check(
            r#"{"type":"res","id":"1","ok":true,"payload":{"a":1}}"#,
            r#"ok 1 {"a":1}"#,
        );
        check(r#"{"type":"res","id":"1","ok":true}"#, "ok 1 null");
        check(
            r#"{"type":"res","id":"1","ok":false,"payload":7,"error":{"code":"X_NEW","message":"m"}}"#,
            "error 1 m (X_NEW) 7",
        );
        check(
            r#"{"type":"res","id":"1","ok":false}"#,
            "error 1 the gateway gave no reason (UNAVAILABLE) -",
        );
        check(
            r#"{"type":"event","event":"tick","payload":{},"seq":3,"new":1}"#,
            "event tick {} Some(3)",
        );
        for text in [
            "",
            "[]",
            "{}",
            r#"{"type":"res","id":"1"}"#,
            r#"{"type":"event"}"#,
            r#"{"type":"x"}"#,
        ] {
            check(text, "ignored");
        }
    }

    #[test]
    fn only_the_status_accepted_means_that_more_follows() {
        let accepted = |text: &str| is_accepted(&RawValue::from_string(text.to_owned()).unwrap());
        assert!(accepted(r#"{"runId":"r","status":"accepted"}"#));
        for text in [
            r#"{"status":"ok"}"#,
            "{}",
            "null",
            r#""accepted""#,
            r#"{"status":1}"#,
        ] {
            assert!(!accepted(text), "{text}");
        }
    }
}
