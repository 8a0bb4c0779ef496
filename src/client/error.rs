//! Why a connection or a request came to nothing.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio_tungstenite::tungstenite;

use crate::protocol::EncodeError;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL cannot be used.
    #[error("not a gateway URL such as ws://127.0.0.1:18789")]
    Url,
    /// The URL asks for TLS.
    #[error("wss:// is not supported; use ws:// or a tunnel")]
    Tls,
    /// Nobody listens there.
    #[error("cannot connect to {address}")]
    Unreachable {
        /// Host and port.
        address: Box<str>,
        /// What the operating system said.
        source: io::Error,
    },
    /// Something else than a gateway answered.
    #[error("the answer to the upgrade was HTTP {status}")]
    NotUpgraded {
        /// The status.
        status: u16,
    },
    /// The gateway refused the handshake.
    #[error("{0}")]
    Refused(Box<RemoteError>),
    /// The connection ended before the handshake was done.
    #[error("the gateway closed the connection: {0}")]
    Closed(Disconnect),
    /// The handshake took too long.
    #[error("the gateway did not answer in time")]
    Timeout,
    /// What came is not the protocol.
    #[error("the gateway does not speak the protocol: {0}")]
    Protocol(&'static str),
    /// The request to connect cannot be written.
    #[error("the handshake cannot be sent")]
    Encode(#[source] EncodeError),
}

/// How a connection ended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Disconnect {
    /// The gateway closed it.
    #[error("closed by the gateway ({code}){}", because(.reason.as_deref()))]
    Closed {
        /// The close code; 1005 when none was sent, 1006 when the socket just ended.
        code: u16,
        /// The reason, if one was sent.
        reason: Option<Box<str>>,
    },
    /// We closed it.
    #[error("closed by this side")]
    Ours,
    /// Nothing came for two ticks.
    #[error("the gateway fell silent")]
    Silent,
    /// The peer did not take what was sent.
    #[error("the gateway does not read")]
    Stuck,
    /// The socket failed.
    #[error("the connection failed: {0}")]
    Failed(Arc<tungstenite::Error>),
    /// The driver was dropped.
    #[error("the connection was given up")]
    Abandoned,
}

fn because(reason: Option<&str>) -> String {
    reason.map_or_else(String::new, |reason| format!(": {reason}"))
}

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The gateway refused it, or what was asked for failed.
    #[error("{0}")]
    Remote(Box<RemoteError>),
    /// The connection ended.
    #[error("{0}")]
    Disconnected(Disconnect),
    /// No response came in time.
    #[error("no response in time")]
    Timeout,
    /// The params cannot be written, or are too large.
    #[error("the request cannot be sent")]
    Encode(#[source] EncodeError),
}

impl RequestError {
    pub(super) fn params(error: serde_json::Error) -> Self {
        Self::Encode(EncodeError::NotJson(error))
    }
}

/// An error of the gateway, as it sent it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoteError {
    /// The class, such as `INVALID_REQUEST`.
    pub code: Box<str>,
    /// What happened, for a person.
    pub message: Box<str>,
    /// What happened, for a program.
    #[serde(default)]
    pub details: Option<Value>,
    /// Whether the same request may be sent again.
    #[serde(default)]
    pub retryable: bool,
    /// When to send it again, in milliseconds.
    #[serde(default)]
    pub retry_after_ms: Option<u64>,
    /// What came beside the error.
    #[serde(skip)]
    pub payload: Option<Box<RawValue>>,
}

impl RemoteError {
    /// When to send the same request again.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after_ms.map(Duration::from_millis)
    }
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for RemoteError {}
