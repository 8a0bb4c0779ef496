//! Fan-out: one source, a thousand who listen. An operation is one frame at one of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use crate::child::Child;
use crate::measure::{Case, Connect, Pulse};
use crate::native::{self, Socket};

/// Messages in one burst; each is two frames to everybody.
const BURST: u64 = 10;

/// Who listens to whom.
#[derive(Clone, Debug)]
pub(crate) struct Fan {
    pub(crate) subscribers: usize,
    /// The gateway's token; the floor asks for none.
    token: Option<String>,
}

pub(crate) fn case<'a>(
    name: &str,
    server: &'a Child,
    token: Option<&str>,
    subscribers: usize,
) -> Case<'a> {
    Case {
        name: name.to_owned(),
        server: Some(server),
        addr: server.addr,
        connect: Connect::Fan(Fan {
            subscribers,
            token: token.map(str::to_owned),
        }),
    }
}

/// Starts the listeners and the source, which is the only one that ends by itself.
pub(crate) fn start(
    addr: SocketAddr,
    fan: &Fan,
    pulse: &Pulse,
    drivers: &mut JoinSet<()>,
    listeners: &mut JoinSet<()>,
) {
    // Each listener says once per burst that it has it.
    let (done, bursts) = mpsc::channel(fan.subscribers);
    for _ in 0..fan.subscribers {
        listeners.spawn(listen(addr, fan.clone(), pulse.clone(), done.clone()));
    }
    drivers.spawn(source(addr, fan.clone(), pulse.clone(), bursts));
}

async fn listen(addr: SocketAddr, fan: Fan, mut pulse: Pulse, done: mpsc::Sender<()>) {
    let mut socket = open(addr, &fan).await;
    if fan.token.is_some() {
        let subscribe = concat!(
            r#"{"type":"req","id":"1","method":"sessions.messages.subscribe","#,
            r#""params":{"key":"main"}}"#
        );
        socket.send(subscribe.into()).await.unwrap();
        native::await_response(&mut socket, 1, false).await;
    }
    pulse.ready().await;
    let counting = pulse.clone();
    tokio::select! {
        () = pulse.ended() => {}
        () = async {
            while let Some(Ok(message)) = socket.next().await {
                let Message::Text(text) = message else { continue };
                counting.count();
                if is_last(&text) {
                    done.send(()).await.ok();
                }
            }
        } => {}
    }
}

/// The second frame of the last message of a burst; it is the larger one.
fn is_last(text: &str) -> bool {
    text.len() > LARGE_FRAME_BYTES / 2 && text.contains("burst-last")
}

async fn source(addr: SocketAddr, fan: Fan, pulse: Pulse, mut bursts: mpsc::Receiver<()>) {
    let mut socket = open(addr, &fan).await;
    if fan.token.is_some() {
        // A message can only be put into a session that is there.
        let start = concat!(
            r#"{"type":"req","id":"1","method":"agent","params":{"message":"hi","#,
            r#""sessionKey":"main","idempotencyKey":"fan"}}"#
        );
        socket.send(start.into()).await.unwrap();
        native::await_response(&mut socket, 1, true).await;
    }
    pulse.ready().await;
    let mut n = 1;
    while pulse.goes_on() {
        let since = Instant::now();
        for message in 1..=BURST {
            n += 1;
            let word = if message == BURST { "last" } else { "more" };
            let inject = format!(
                "{{\"type\":\"req\",\"id\":\"{n}\",\"method\":\"chat.inject\",\"params\":\
                 {{\"sessionKey\":\"main\",\"message\":\"burst-{word}\"}}}}"
            );
            socket.feed(inject.into()).await.unwrap();
        }
        socket.flush().await.unwrap();
        native::await_response(&mut socket, n, false).await;
        for _ in 0..fan.subscribers {
            bursts.recv().await.unwrap();
        }
        pulse.note(since);
    }
}

async fn open(addr: SocketAddr, fan: &Fan) -> Socket {
    let mut socket = native::open(addr).await;
    if let Some(token) = &fan.token {
        native::hello(&mut socket, token).await;
    }
    socket
}

/// Bytes of the two frames that a message is at the gateway; the floor sends as many.
const SMALL_FRAME_BYTES: usize = 260;
const LARGE_FRAME_BYTES: usize = 2000;

/// What the floor sends for one message.
pub(crate) fn floor_frames(message: &str) -> [Arc<str>; 2] {
    [SMALL_FRAME_BYTES, LARGE_FRAME_BYTES].map(|bytes| format!("{message:<bytes$}").into())
}
