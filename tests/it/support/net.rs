//! A network without sockets, for tests that need the time to stand still.

use std::io;
use std::net::SocketAddr;

use clawport::internals::transport::Listener;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::ws::Ws;

/// Bytes that are on their way at once, in each direction.
const PIPE_BYTES: usize = 64 * 1024;

/// The far end of the network: makes connections to the gateway.
#[derive(Clone)]
pub(crate) struct Net {
    connections: mpsc::Sender<(DuplexStream, SocketAddr)>,
}

/// The gateway's end.
pub(crate) struct NetListener {
    connections: mpsc::Receiver<(DuplexStream, SocketAddr)>,
}

impl Listener for NetListener {
    type Stream = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, SocketAddr)> {
        match self.connections.recv().await {
            Some(connection) => Ok(connection),
            None => std::future::pending().await,
        }
    }
}

impl Net {
    /// Both ends.
    pub(crate) fn new() -> (Self, NetListener) {
        let (sender, connections) = mpsc::channel(64);
        let net = Self {
            connections: sender,
        };
        (net, NetListener { connections })
    }

    /// A new connection from this address.
    pub(crate) async fn connect(&self, from: &str) -> DuplexStream {
        let (ours, theirs) = duplex(PIPE_BYTES);
        let peer = SocketAddr::new(from.parse().unwrap(), 4711);
        self.connections.send((theirs, peer)).await.unwrap();
        ours
    }

    /// An upgraded connection from this machine.
    pub(crate) async fn open(&self) -> Ws<DuplexStream> {
        let stream = self.connect("127.0.0.1").await;
        let request = "ws://127.0.0.1/".into_client_request().unwrap();
        let mut ws = Ws::upgrade(stream, request).await.unwrap();
        // The time is not real.
        ws.patience = std::time::Duration::from_hours(24);
        ws
    }
}
