//! Deadlines for request heads: how long a kept connection may be silent, and how long a head may
//! take from its first byte.
//!
//! hyper knows one timeout for both. It asks its timer for one sleep per head, so this timer gives
//! a sleep that is cut short once bytes have come in. Knows nothing of requests.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Sleep, Timer};
use pin_project::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// How long heads may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadLimits {
    /// From the first byte of a head to its last; on a fresh connection from the accept.
    pub(super) head: Duration,
    /// Between an answer and the first byte of the next head.
    pub(super) idle: Duration,
}

/// The timer of one connection, to be shared by its [`NotedIo`] and by hyper.
#[derive(Clone, Debug)]
pub(super) struct HeadTimer {
    limits: HeadLimits,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    /// Whether no head has been waited for yet.
    fresh: AtomicBool,
    /// Whether bytes came in since the last head began to be waited for.
    received: AtomicBool,
}

impl HeadTimer {
    /// The timer of a connection that was accepted just now.
    pub(super) fn new(limits: HeadLimits) -> Self {
        Self {
            limits,
            state: Arc::new(State {
                fresh: AtomicBool::new(true),
                received: AtomicBool::new(false),
            }),
        }
    }

    /// Wraps the connection's stream, so that the timer learns of bytes.
    pub(super) fn watch<S>(&self, io: S) -> NotedIo<S> {
        NotedIo {
            io,
            state: Arc::clone(&self.state),
        }
    }
}

impl Timer for HeadTimer {
    fn sleep(&self, _duration: Duration) -> Pin<Box<dyn Sleep>> {
        let is_fresh = self.state.fresh.swap(false, Ordering::Relaxed);
        self.state.received.store(false, Ordering::Relaxed);
        let limit = if is_fresh {
            self.limits.head
        } else {
            self.limits.idle
        };
        Box::pin(HeadSleep {
            sleep: tokio::time::sleep(limit),
            in_head: is_fresh,
            head: self.limits.head,
            state: Arc::clone(&self.state),
        })
    }

    fn sleep_until(&self, _deadline: std::time::Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(Duration::ZERO)
    }

    fn now(&self) -> std::time::Instant {
        Instant::now().into_std()
    }
}

#[pin_project]
struct HeadSleep {
    #[pin]
    sleep: tokio::time::Sleep,
    in_head: bool,
    head: Duration,
    state: Arc<State>,
}

impl Future for HeadSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        if !*this.in_head && this.state.received.load(Ordering::Relaxed) {
            *this.in_head = true;
            this.sleep.as_mut().reset(Instant::now() + *this.head);
        }
        this.sleep.poll(cx)
    }
}

impl Sleep for HeadSleep {}

/// A stream that tells its connection's timer when bytes come in.
#[pin_project]
#[derive(Debug)]
pub(super) struct NotedIo<S> {
    #[pin]
    io: S,
    state: Arc<State>,
}

impl<S> NotedIo<S> {
    /// The stream itself.
    pub(super) fn into_inner(self) -> S {
        self.io
    }
}

impl<S: AsyncRead> AsyncRead for NotedIo<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = self.project();
        let before = buf.filled().len();
        let polled = this.io.poll_read(cx, buf);
        if buf.filled().len() > before {
            this.state.received.store(true, Ordering::Relaxed);
        }
        polled
    }
}

impl<S: AsyncWrite> AsyncWrite for NotedIo<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.project().io.poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.project().io.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.project().io.poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        self.project().io.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::timeout;

    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        head: Duration::from_secs(15),
        idle: Duration::from_secs(75),
    };

    async fn sleeps(sleep: Pin<Box<dyn Sleep>>) -> Duration {
        let start = Instant::now();
        sleep.await;
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_head_has_the_short_deadline_and_idle_waits_the_long_one() {
        let timer = HeadTimer::new(LIMITS);
        assert_eq!(sleeps(timer.sleep(Duration::ZERO)).await, LIMITS.head);
        assert_eq!(sleeps(timer.sleep(Duration::ZERO)).await, LIMITS.idle);
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_head_must_be_whole_soon_after_its_first_byte() {
        let timer = HeadTimer::new(LIMITS);
        drop(timer.sleep(Duration::ZERO));
        let mut sleep = timer.sleep(Duration::ZERO);
        let (mut peer, ours) = duplex(64);
        let mut io = timer.watch(ours);
        let quiet = Duration::from_mins(1);
        timeout(quiet, sleep.as_mut()).await.unwrap_err();
        peer.write_all(b"G").await.unwrap();
        io.read_u8().await.unwrap();
        assert_eq!(sleeps(sleep).await, LIMITS.head);
    }
}
