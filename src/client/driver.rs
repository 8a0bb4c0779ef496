//! Owns the socket of a connection after the handshake.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message, protocol::CloseFrame};

use super::error::{Disconnect, RequestError};
use super::events::Event;
use super::frame::{Incoming, is_accepted};
use crate::protocol::{RequestFrame, encode_request};

/// Most requests that wait for their answer; further ones wait to be sent.
const PENDING_MAX: usize = 1024;
/// How long one frame may take to be taken.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// The close code that stands for none (RFC 6455 §7.1.5).
const NO_STATUS: u16 = 1005;
/// The close code that stands for a socket that just ended.
const ABNORMAL: u16 = 1006;

/// The answer to a request.
type Answer = Result<Box<RawValue>, RequestError>;

/// Which response settles a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// The first one.
    First,
    /// The first one that says more than `accepted`.
    Final,
}

/// What a [`super::Client`] asks of the driver.
#[derive(Debug)]
pub(super) enum Command {
    /// Send a request.
    Request {
        method: String,
        params: Box<RawValue>,
        until: Until,
        reply: oneshot::Sender<Answer>,
    },
    /// Close the connection.
    Close,
}

/// Owns the socket: sends requests, hands out responses and events, answers pings, notices silence.
/// Must be polled for the other parts of the connection to work.
#[derive(Debug)]
pub struct Driver<S> {
    pub(super) socket: WebSocketStream<S>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) events: broadcast::Sender<Arc<Event>>,
    pub(super) end: Arc<OnceLock<Disconnect>>,
    /// Silence that ends the connection.
    pub(super) silence_max: Duration,
    pub(super) pending: Pending,
}

/// The requests that wait for an answer.
#[derive(Debug, Default)]
pub(super) struct Pending {
    requests: HashMap<Box<str>, Waiting>,
    last_id: u64,
}

#[derive(Debug)]
struct Waiting {
    until: Until,
    reply: oneshot::Sender<Answer>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    /// Runs the connection until it ends, and says how it ended.
    ///
    /// # Cancel safety
    /// Dropping the future ends the connection without a close frame.
    pub async fn run(mut self) -> Disconnect {
        let disconnect = self.serve().await;
        self.end.set(disconnect.clone()).ok();
        self.pending.fail(&disconnect);
        disconnect
    }

    async fn serve(&mut self) -> Disconnect {
        let mut heard = Instant::now();
        loop {
            let more = self.pending.len() < PENDING_MAX;
            tokio::select! {
                biased;
                command = self.commands.recv(), if more => match command {
                    Some(Command::Request { method, params, until, reply }) => {
                        let waiting = Waiting { until, reply };
                        if let Err(disconnect) = self.request(&method, &params, waiting).await {
                            return disconnect;
                        }
                    }
                    Some(Command::Close) | None => return self.close().await,
                },
                message = self.socket.next() => {
                    heard = Instant::now();
                    if let Err(disconnect) = self.handle_message(message) {
                        return disconnect;
                    }
                }
                () = sleep_until(heard + self.silence_max) => return Disconnect::Silent,
            }
        }
    }

    async fn request(
        &mut self,
        method: &str,
        params: &RawValue,
        waiting: Waiting,
    ) -> Result<(), Disconnect> {
        let id = self.pending.next_id();
        let mut frame = RequestFrame::new(&*id, method);
        frame.params = Some(params);
        match encode_request(&frame) {
            Ok(text) => {
                self.pending.insert(id, waiting);
                self.send(Message::text(text)).await
            }
            Err(error) => {
                // Whoever asked may be gone; the connection goes on either way.
                waiting.reply.send(Err(RequestError::Encode(error))).ok();
                Ok(())
            }
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), Disconnect> {
        match timeout(WRITE_TIMEOUT, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(failed(error)),
            Err(_elapsed) => Err(Disconnect::Stuck),
        }
    }

    fn handle_message(
        &mut self,
        message: Option<Result<Message, tungstenite::Error>>,
    ) -> Result<(), Disconnect> {
        match message {
            Some(Ok(Message::Text(text))) => self.handle_text(&text),
            Some(Ok(Message::Close(frame))) => return Err(closed(frame)),
            // The socket answers pings itself; binary frames are not part of the protocol.
            Some(Ok(
                Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_),
            )) => {}
            Some(Err(error)) => return Err(failed(error)),
            None => {
                return Err(Disconnect::Closed {
                    code: ABNORMAL,
                    reason: None,
                });
            }
        }
        Ok(())
    }

    fn handle_text(&mut self, text: &str) {
        match Incoming::decode(text) {
            Some(Incoming::Event(event)) => {
                // Nobody may be listening.
                self.events.send(Arc::new(event)).ok();
            }
            Some(Incoming::Response { id, result }) => {
                self.pending
                    .settle(&id, result.map_err(RequestError::Remote));
            }
            None => {}
        }
    }

    /// Says goodbye and waits a moment for the answer, so that what was sent arrives.
    async fn close(&mut self) -> Disconnect {
        const GOODBYE: Duration = Duration::from_secs(1);
        let goodbye = async {
            self.socket.close(None).await.ok();
            while let Some(Ok(_)) = self.socket.next().await {}
        };
        timeout(GOODBYE, goodbye).await.ok();
        Disconnect::Ours
    }
}

impl Pending {
    fn len(&self) -> usize {
        self.requests.len()
    }

    fn next_id(&mut self) -> Box<str> {
        self.last_id += 1;
        self.last_id.to_string().into()
    }

    /// Notes a request; those whose askers are gone make room.
    fn insert(&mut self, id: Box<str>, waiting: Waiting) {
        if self.requests.len() + 1 >= PENDING_MAX {
            self.requests
                .retain(|_, waiting| !waiting.reply.is_closed());
        }
        self.requests.insert(id, waiting);
    }

    fn settle(&mut self, id: &str, answer: Answer) {
        let Some(waiting) = self.requests.get(id) else {
            return;
        };
        let more = waiting.until == Until::Final && answer.as_deref().is_ok_and(is_accepted);
        if more {
            return;
        }
        if let Some(waiting) = self.requests.remove(id) {
            // Whoever asked may have given up.
            waiting.reply.send(answer).ok();
        }
    }

    fn fail(&mut self, disconnect: &Disconnect) {
        for (_, waiting) in self.requests.drain() {
            let error = RequestError::Disconnected(disconnect.clone());
            waiting.reply.send(Err(error)).ok();
        }
    }
}

/// How a close frame ends a connection.
pub(super) fn closed(frame: Option<CloseFrame>) -> Disconnect {
    let Some(frame) = frame else {
        return Disconnect::Closed {
            code: NO_STATUS,
            reason: None,
        };
    };
    let reason = frame.reason.as_str();
    Disconnect::Closed {
        code: frame.code.into(),
        reason: (!reason.is_empty()).then(|| reason.into()),
    }
}

/// How a failure of the socket ends a connection.
pub(super) fn failed(error: tungstenite::Error) -> Disconnect {
    match error {
        tungstenite::Error::ConnectionClosed
        | tungstenite::Error::AlreadyClosed
        | tungstenite::Error::Protocol(
            tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
        ) => Disconnect::Closed {
            code: ABNORMAL,
            reason: None,
        },
        other => Disconnect::Failed(Arc::new(other)),
    }
}
