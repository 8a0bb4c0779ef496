//! The simulated network as the gateway and its model client see it, and its time and ids.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use clawport::ids::IdSource;
use clawport::internals::clock::Clock;
use clawport::internals::transport::Listener;
use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use turmoil::net::{TcpListener, TcpStream};
use uuid::Uuid;

use crate::plan::Rng;

/// Connections from the simulated network. Every peer counts as local, as in the other tests.
pub(crate) struct SimListener(pub(crate) TcpListener);

impl Listener for SimListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = self.0.accept().await?;
        Ok((stream, ([127, 0, 0, 1], peer.port()).into()))
    }
}

/// Connects the model client to simulated hosts.
#[derive(Clone, Debug)]
pub(crate) struct SimConnector;

/// A connection of the model client.
#[derive(Debug)]
pub(crate) struct SimStream(TokioIo<TcpStream>);

impl tower_service::Service<Uri> for SimConnector {
    type Response = SimStream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<SimStream>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(async move {
            let host = uri.host().unwrap().to_owned();
            let stream = TcpStream::connect((host, uri.port_u16().unwrap())).await?;
            Ok(SimStream(TokioIo::new(stream)))
        })
    }
}

impl Connection for SimStream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for SimStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buf)
    }
}

impl Write for SimStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}

/// The wall clock of the simulation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SimClock;

impl Clock for SimClock {
    fn now_ms(&self) -> u64 {
        let elapsed = turmoil::sim_elapsed().unwrap_or_default();
        1_800_000_000_000 + elapsed.as_millis() as u64
    }
}

/// Ids that follow from the seed.
#[derive(Debug)]
pub(crate) struct SimIds {
    rng: Mutex<Rng>,
    count: Mutex<u64>,
}

impl SimIds {
    pub(crate) fn new(rng: Rng) -> Self {
        Self {
            rng: Mutex::new(rng),
            count: Mutex::new(0),
        }
    }

    fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut rng = self.rng.lock().unwrap();
        std::array::from_fn(|_| rng.next() as u8)
    }
}

impl IdSource for SimIds {
    fn random(&self) -> Uuid {
        uuid::Builder::from_random_bytes(self.bytes()).into_uuid()
    }

    fn ordered(&self, now_ms: u64) -> Uuid {
        let mut random: [u8; 10] = self.bytes();
        // Ids of one millisecond sort by the order in which they were minted, as a test needs them.
        let mut count = self.count.lock().unwrap();
        *count += 1;
        random[..2].copy_from_slice(&(*count as u16 & 0x0fff).to_be_bytes());
        uuid::Builder::from_unix_timestamp_millis(now_ms, &random).into_uuid()
    }
}
