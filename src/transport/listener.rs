//! Accepts sockets: permits, back-off, socket options. Owns the listening socket.
//!
//! At the connection limit, and at the share of its address, a socket is still accepted, answered
//! with a 503 and closed at once: a peer that is told can try elsewhere, one in the kernel's
//! backlog only waits. Each refusal is counted. What is spoken on a socket is the business of the
//! acceptor.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics::Metrics;
use crate::shutdown::{Drain, Phase, Tasks};

use super::shares::{Share, Shares};

/// First and longest pause after accepting failed for want of descriptors or memory.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// How long sent bytes may stay unacknowledged before the kernel gives the peer up.
const USER_TIMEOUT: Duration = Duration::from_mins(1);

/// Silence after which the kernel asks whether the peer is still there.
const KEEPALIVE_TIME: Duration = Duration::from_mins(1);

/// What a socket over the connection limit is told.
const TOO_MANY: &str = "Too many connections";

/// What a socket over the share of its address is told.
const TOO_MANY_IDLE: &str = "Too many idle connections of this address";

/// Where connections come from: a TCP socket, or a simulated network.
pub trait Listener: Send + 'static {
    /// One accepted connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Waits for the next connection.
    ///
    /// # Errors
    /// Whatever the network says; accepting goes on.
    ///
    /// # Cancel safety
    /// Cancel safe: no accepted connection is lost.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = Self::accept(self).await?;
        if let Err(error) = set_options(&stream) {
            // The peer has gone already; reading from the socket will say so.
            tracing::debug!(%error, "socket options were refused");
        }
        Ok((stream, peer))
    }
}

fn set_options(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(stream);
    socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(KEEPALIVE_TIME))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(())
}

/// Takes over an accepted socket.
pub(super) trait Accept<S>: Send + Sync + 'static {
    /// Whether the peer stands for many others, so that its address has no share of its own.
    fn is_proxy(&self, peer: IpAddr) -> bool;

    /// Serves the socket until it closes; runs in a task of its own.
    fn serve(self: Arc<Self>, stream: S, place: Place) -> impl Future<Output = ()> + Send;
}

/// An accepted socket's place among the connections; held for as long as the socket is open.
#[derive(Debug)]
pub(super) struct Place {
    /// The other end.
    pub(super) peer: SocketAddr,
    metrics: Arc<Metrics>,
    idle: Option<Idle>,
    _permit: OwnedSemaphorePermit,
}

/// How a socket counts in the share of its address while no request is under way on it.
#[derive(Debug)]
struct Idle {
    shares: Arc<Shares>,
    counted: Mutex<Option<Share>>,
}

impl Place {
    /// Notes that a request has come: the socket is not idle any more.
    pub(super) fn handle_request(&self) {
        if let Some(idle) = &self.idle {
            idle.put(None);
        }
    }

    /// Notes that the socket has nothing to do but to write an answer; whether it may be kept then.
    /// It counts either way, for a peer may take its time with the answer.
    pub(super) fn may_idle(&self) -> bool {
        let Some(idle) = &self.idle else {
            return true;
        };
        let spare = idle.shares.take_spare(self.peer.ip());
        let may_idle = spare.is_some();
        idle.put(spare.or_else(|| idle.shares.take(self.peer.ip())));
        may_idle
    }
}

impl Idle {
    fn put(&self, share: Option<Share>) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *counted, share);
        drop(counted);
        drop(before);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.metrics.connections_open.add(-1);
    }
}

/// Accepts until the process stops.
#[derive(Debug)]
pub(super) struct Acceptor {
    pub(super) connections: Arc<Semaphore>,
    /// Sockets of each address on which no request is under way.
    pub(super) idle: Arc<Shares>,
    pub(super) tasks: Tasks,
    pub(super) drain: Drain,
    pub(super) metrics: Arc<Metrics>,
}

impl Acceptor {
    /// Accepts sockets and gives each its own task, until [`Phase::Stopped`].
    ///
    /// # Cancel safety
    /// Dropping the future stops accepting; accepted sockets live on in their tasks.
    pub(super) async fn run<L, A>(self, mut listener: L, front: Arc<A>)
    where
        L: Listener,
        A: Accept<L::Stream>,
    {
        let mut stopped = pin!(self.drain.reached(Phase::Stopped));
        let mut pause = BACK_OFF.0;
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stopped => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    pause = BACK_OFF.0;
                    self.admit(stream, peer, &front);
                }
                Err(error) if is_of_one_peer(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, ?pause, "accepting connections pauses");
                    tokio::select! {
                        biased;
                        () = &mut stopped => return,
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(BACK_OFF.1);
                }
            }
        }
    }

    fn admit<S, A>(&self, stream: S, peer: SocketAddr, front: &Arc<A>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        A: Accept<S>,
    {
        let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() else {
            tracing::debug!(%peer, "connection refused: all places are taken");
            return self.refuse(stream, TOO_MANY);
        };
        let idle = if front.is_proxy(peer.ip()) {
            None
        } else if let Some(share) = self.idle.take(peer.ip()) {
            let shares = Arc::clone(&self.idle);
            let counted = Mutex::new(Some(share));
            Some(Idle { shares, counted })
        } else {
            tracing::debug!(%peer, "connection refused: too many idle sockets of its address");
            return self.refuse(stream, TOO_MANY_IDLE);
        };
        self.metrics.connections_accepted.add_one();
        self.metrics.connections_open.add(1);
        let place = Place {
            peer,
            metrics: Arc::clone(&self.metrics),
            idle,
            _permit: permit,
        };
        let serving = Arc::clone(front).serve(stream, place);
        self.tasks.spawn("connection", serving);
    }

    /// Says why in one write that cannot wait, then lets go.
    fn refuse<S: AsyncWrite + Unpin>(&self, mut stream: S, why: &str) {
        self.metrics.connections_refused.add_one();
        let mut context = Context::from_waker(Waker::noop());
        let refusal = refusal(why);
        let written = Pin::new(&mut stream).poll_write(&mut context, refusal.as_bytes());
        if !matches!(written, std::task::Poll::Ready(Ok(_))) {
            tracing::trace!("a refused peer could not be told");
        }
    }
}

/// Whether the error concerns only the connection that was to be accepted.
fn is_of_one_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// The answer to a socket that is not served.
fn refusal(why: &str) -> String {
    let length = why.len();
    format!(
        "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\r\n{why}"
    )
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, DuplexStream, duplex};
    use tokio::sync::{Notify, mpsc};

    use super::*;

    /// Hands out scripted results, then waits for more.
    struct Script {
        results: VecDeque<io::Result<DuplexStream>>,
        asked: Arc<AtomicUsize>,
        more: mpsc::Receiver<io::Result<DuplexStream>>,
    }

    impl Listener for Script {
        type Stream = DuplexStream;

        async fn accept(&mut self) -> io::Result<(DuplexStream, SocketAddr)> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let next = match self.results.pop_front() {
                Some(result) => result,
                None => self.more.recv().await.unwrap(),
            };
            next.map(|stream| (stream, ([127, 0, 0, 1], 1).into()))
        }
    }

    /// Holds every socket until released; panics on request.
    #[derive(Default)]
    struct Holder {
        release: Notify,
        served: Mutex<usize>,
        panics: bool,
    }

    impl Accept<DuplexStream> for Holder {
        fn is_proxy(&self, _peer: IpAddr) -> bool {
            false
        }

        async fn serve(self: Arc<Self>, stream: DuplexStream, place: Place) {
            *self.served.lock().unwrap() += 1;
            assert!(!self.panics, "asked to");
            self.release.notified().await;
            drop((stream, place));
        }
    }

    /// Idle sockets of the one address of these tests.
    const IDLE_MAX: u32 = 2;

    struct Rig {
        tasks: Tasks,
        drain: Drain,
        metrics: Arc<Metrics>,
        places: Arc<Semaphore>,
        asked: Arc<AtomicUsize>,
        more: mpsc::Sender<io::Result<DuplexStream>>,
    }

    fn start(places: usize, results: Vec<io::Result<DuplexStream>>, front: Arc<Holder>) -> Rig {
        let (more, receiver) = mpsc::channel(8);
        let rig = Rig {
            tasks: Tasks::new(),
            drain: Drain::new(),
            metrics: Arc::default(),
            places: Arc::new(Semaphore::new(places)),
            asked: Arc::default(),
            more,
        };
        let listener = Script {
            results: results.into(),
            asked: Arc::clone(&rig.asked),
            more: receiver,
        };
        let acceptor = Acceptor {
            connections: Arc::clone(&rig.places),
            idle: Shares::new(IDLE_MAX),
            tasks: rig.tasks.clone(),
            drain: rig.drain.clone(),
            metrics: Arc::clone(&rig.metrics),
        };
        rig.tasks.spawn("listener", acceptor.run(listener, front));
        rig
    }

    #[tokio::test(start_paused = true)]
    async fn a_socket_over_the_limit_is_told_counted_and_closed() {
        let front = Arc::new(Holder::default());
        let ((first, _kept), (second, mut told)) = (duplex(1024), duplex(1024));
        let rig = start(1, vec![Ok(first), Ok(second)], Arc::clone(&front));
        let mut text = String::new();
        told.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 503 "), "{text}");
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
        assert_eq!(rig.metrics.connections_refused.get(), 1);
        assert_eq!(rig.metrics.connections_open.get(), 1);
        front.release.notify_one();
        rig.drain.advance(Phase::Stopped);
        rig.tasks.join().await;
        assert_eq!(rig.metrics.connections_open.get(), 0);
        assert_eq!(rig.places.available_permits(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_socket_over_the_share_of_its_address_is_told_so() {
        let front = Arc::new(Holder::default());
        let ((first, _one), (second, _two), (third, mut told)) =
            (duplex(1024), duplex(1024), duplex(1024));
        let rig = start(9, vec![Ok(first), Ok(second), Ok(third)], front);
        let mut text = String::new();
        told.read_to_string(&mut text).await.unwrap();
        assert!(text.ends_with(TOO_MANY_IDLE), "{text}");
        assert_eq!(rig.metrics.connections_refused.get(), 1);
        assert_eq!(rig.metrics.connections_open.get(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn want_of_descriptors_makes_it_pause_and_go_on() {
        let front = Arc::new(Holder::default());
        let (late, _kept) = duplex(16);
        let mut results: Vec<_> = (0..20)
            .map(|_| Err(io::Error::from_raw_os_error(24)))
            .collect();
        results.push(Err(io::ErrorKind::ConnectionAborted.into()));
        results.push(Ok(late));
        let rig = start(1, results, front);
        let started = tokio::time::Instant::now();
        while rig.metrics.connections_accepted.get() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // 20 + 40 + … doubling to one second, then one second each.
        assert!(started.elapsed() > Duration::from_secs(10));
        assert_eq!(rig.asked.load(Ordering::Relaxed), 23);
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_in_one_connection_frees_its_place_and_touches_no_other() {
        let front = Arc::new(Holder {
            panics: true,
            ..Holder::default()
        });
        let (first, _kept) = duplex(16);
        let rig = start(1, vec![Ok(first)], Arc::clone(&front));
        while *front.served.lock().unwrap() == 0 || rig.places.available_permits() == 0 {
            tokio::task::yield_now().await;
        }
        let (second, _kept) = duplex(16);
        rig.more.send(Ok(second)).await.unwrap();
        while *front.served.lock().unwrap() < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(rig.metrics.connections_refused.get(), 0);
    }
}
