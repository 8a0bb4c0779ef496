//! A small client of the native protocol, for the command line, tests, benches and other programs.
//!
//! [`connect`] does the handshake and gives three parts: a [`Client`] that sends requests, an
//! [`Events`] stream, and a [`Driver`] that owns the socket. Nothing is spawned: the driver is a
//! future of the caller's, and the other two only work while it is polled.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use clawport::client::{ClientOptions, connect};
//!
//! let options = ClientOptions::new("ws://127.0.0.1:18789").with_token("YOUR_TOKEN");
//! let connected = connect(&options).await?;
//! let client = connected.client;
//! let work = async move { client.request("health", &serde_json::json!({})).await };
//! let (answer, _end) = tokio::join!(work, connected.driver.run());
//! println!("{}", answer?);
//! # Ok(())
//! # }
//! ```
//!
//! Pings are answered and silence is noticed by the driver. Whether to connect again after an end
//! is the caller's choice. Knows nothing of what methods mean.

mod devices;
mod driver;
mod error;
mod events;
mod frame;
mod handshake;
mod options;

pub use crate::protocol::{ClientAuth, ClientId, ClientMode};
pub use devices::{DeviceToken, PairedDevice, PairingList, PendingDevice};
pub use driver::Driver;
pub use error::{ConnectError, Disconnect, RemoteError, RequestError};
pub use events::{Event, Events, Received};
pub use frame::{Hello, HelloAuth, HelloFeatures, HelloPolicy, HelloServer};
pub use handshake::{connect, connect_over};
pub use options::ClientOptions;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};

use driver::{Command, Until};

/// The parts of a connection.
#[derive(Debug)]
pub struct Connected<S> {
    /// Sends requests; clones share the connection.
    pub client: Client,
    /// What the gateway says unasked, from the handshake on.
    pub events: Events,
    /// Owns the socket; must be polled for the other two to work.
    pub driver: Driver<S>,
}

/// Sends requests over one connection; cheap to clone. The connection is closed once every clone is
/// gone.
#[derive(Clone, Debug)]
pub struct Client {
    commands: mpsc::Sender<Command>,
    hello: Arc<Hello>,
    end: Arc<OnceLock<Disconnect>>,
    request_timeout: Duration,
}

impl Client {
    /// What the gateway said when it accepted the connection.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Sends a request and waits for its first response, at most for the request timeout.
    ///
    /// # Errors
    /// The gateway refused, the connection ended, or nothing came in time.
    ///
    /// # Cancel safety
    /// A request that was sent is not taken back by dropping the future.
    pub async fn request(
        &self,
        method: &str,
        params: &impl Serialize,
    ) -> Result<Box<RawValue>, RequestError> {
        let answer = self.send(method, params, Until::First);
        tokio::time::timeout(self.request_timeout, answer)
            .await
            .map_err(|_elapsed| RequestError::Timeout)?
    }

    /// Sends a request whose first response may only say `accepted`, and waits for the final one,
    /// however long it takes (`protocol-facts` §1.2).
    ///
    /// # Errors
    /// The gateway refused, what was asked for failed, or the connection ended.
    ///
    /// # Cancel safety
    /// As [`Client::request`].
    pub async fn request_final(
        &self,
        method: &str,
        params: &impl Serialize,
    ) -> Result<Box<RawValue>, RequestError> {
        self.send(method, params, Until::Final).await
    }

    /// Closes the connection; requests that wait for an answer end.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn close(&self) {
        // A driver that is gone has closed already.
        self.commands.send(Command::Close).await.ok();
    }

    async fn send(
        &self,
        method: &str,
        params: &impl Serialize,
        until: Until,
    ) -> Result<Box<RawValue>, RequestError> {
        let params = serde_json::value::to_raw_value(params).map_err(RequestError::params)?;
        let (reply, answer) = oneshot::channel();
        let command = Command::Request {
            method: method.to_owned(),
            params,
            until,
            reply,
        };
        let ended = |_gone| RequestError::Disconnected(self.disconnect());
        self.commands.send(command).await.map_err(ended)?;
        answer
            .await
            .unwrap_or_else(|_dropped| Err(RequestError::Disconnected(self.disconnect())))
    }

    fn disconnect(&self) -> Disconnect {
        self.end.get().cloned().unwrap_or(Disconnect::Abandoned)
    }
}

#[cfg(test)]
mod tests;
