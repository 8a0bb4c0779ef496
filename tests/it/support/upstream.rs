//! A model server that does what a test tells it, on loopback.
//!
//! A call is answered by the next [`Reply`] a test has put in line, else by the last directive in
//! its prompt, else with twenty tokens. A directive is `[[mock key=value …]]` with the keys
//! `tokens`, `delay` and `first` (milliseconds), `status`, `tool`, `text` (`_` is a space) and
//! `etype`. The server notes what it was asked, how many answers ran at once, and when peers closed
//! sockets.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use clawport::agent::model::BaseUrl;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::soon;

/// How a call is answered.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// With a status and a body at once.
    Status(u16, Vec<(&'static str, String)>, String),
    /// With status 200 and a body of this type in parts.
    Body(&'static str, Vec<Part>),
    /// Not at all.
    Silence,
    /// The connection ends before a byte of an answer; with a reset when told so.
    Hangup { reset: bool },
}

/// A part of a body.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// These bytes, flushed.
    Data(Bytes),
    /// Silence, in milliseconds.
    Wait(u64),
    /// Nothing more, without an end.
    Stall,
    /// The connection ends; with a reset when told so.
    Cut { reset: bool },
}

impl Reply {
    /// A stream of events in parts.
    pub(crate) fn events(parts: impl IntoIterator<Item = Part>) -> Self {
        Self::Body("text/event-stream", parts.into_iter().collect())
    }

    /// A refusal with a message.
    pub(crate) fn refusal(status: u16, message: &str) -> Self {
        let body = json!({"error": {"message": message, "type": "mock_error"}});
        Self::Status(status, Vec::new(), body.to_string())
    }

    /// The same refusal with a header more.
    pub(crate) fn with_header(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Status(_, headers, _) = &mut self {
            headers.push((name, value.to_owned()));
        }
        self
    }
}

impl Part {
    /// Bytes as they are.
    pub(crate) fn raw(bytes: impl Into<Bytes>) -> Self {
        Self::Data(bytes.into())
    }

    /// One event.
    pub(crate) fn event(data: &Value) -> Self {
        Self::raw(format!("data: {data}\n\n"))
    }

    /// An event with answer text.
    pub(crate) fn text(text: &str) -> Self {
        Self::delta(&json!({"content": text}))
    }

    /// An event with a delta.
    pub(crate) fn delta(delta: &Value) -> Self {
        Self::event(
            &json!({"id": "mock", "object": "chat.completion.chunk", "created": 0,
            "model": "mock-model",
            "choices": [{"index": 0, "delta": delta, "finish_reason": null}]}),
        )
    }

    /// An event with a finish reason.
    pub(crate) fn finish(reason: &str) -> Self {
        Self::event(
            &json!({"id": "mock", "object": "chat.completion.chunk", "created": 0,
            "model": "mock-model",
            "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}),
        )
    }

    /// An event with counts.
    pub(crate) fn usage(prompt: u64, completion: u64) -> Self {
        Self::event(
            &json!({"id": "mock", "object": "chat.completion.chunk", "created": 0,
            "model": "mock-model", "choices": [],
            "usage": {"prompt_tokens": prompt, "completion_tokens": completion,
                "total_tokens": prompt + completion}}),
        )
    }

    /// The end of a stream.
    pub(crate) fn done() -> Self {
        Self::raw("data: [DONE]\n\n")
    }
}

/// A call, as the server got it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
    /// Which accepted connection it came on, from 0.
    pub(crate) connection: usize,
}

/// What the server has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Accepted connections.
    pub(crate) connections: usize,
    /// Connections whose peer closed its side, or that are gone.
    pub(crate) closed: usize,
    /// Calls.
    pub(crate) asked: usize,
    /// Calls that are being answered.
    pub(crate) active: usize,
    /// Most calls that were answered at once.
    pub(crate) active_max: usize,
    /// Answers sent to their end.
    pub(crate) finished: usize,
}

/// The server; stops when it is dropped.
pub(crate) struct Upstream {
    addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    line: Mutex<VecDeque<Reply>>,
    asked: Mutex<Vec<Asked>>,
    counts: watch::Sender<Counts>,
    models: Mutex<Vec<String>>,
}

impl Upstream {
    /// A server on a free port.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            line: Mutex::default(),
            asked: Mutex::default(),
            counts: watch::Sender::default(),
            models: Mutex::new(vec!["mock-model".to_owned()]),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self {
            addr,
            shared,
            accepting,
        }
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its base URL.
    pub(crate) fn base_url(&self) -> BaseUrl {
        BaseUrl::parse(&format!("http://{}/v1", self.addr)).unwrap()
    }

    /// Puts answers in line; each serves one call.
    pub(crate) fn replies(&self, replies: impl IntoIterator<Item = Reply>) {
        self.shared.line.lock().unwrap().extend(replies);
    }

    /// What `GET /v1/models` lists.
    pub(crate) fn offers(&self, models: &[&str]) {
        let models = models.iter().map(|&id| id.to_owned()).collect();
        *self.shared.models.lock().unwrap() = models;
    }

    /// Every call so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// The messages of the last call.
    pub(crate) fn last_messages(&self) -> Value {
        self.asked().last().unwrap().body["messages"].clone()
    }

    /// The counts now.
    pub(crate) fn counts(&self) -> Counts {
        *self.shared.counts.borrow()
    }

    /// Waits until the counts are as told.
    pub(crate) async fn until(&self, are: impl Fn(&Counts) -> bool) {
        let mut counts = self.shared.counts.subscribe();
        soon(counts.wait_for(are)).await.unwrap();
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut connection = 0;
        shared.counts.send_modify(|counts| {
            connection = counts.connections;
            counts.connections += 1;
        });
        let resets = Arc::new(AtomicBool::new(false));
        let socket = Socket {
            stream,
            shared: Arc::clone(&shared),
            resets: Arc::clone(&resets),
            is_closed: false,
        };
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request| {
            answer(
                Arc::clone(&shared),
                connection,
                Arc::clone(&resets),
                request,
            )
        });
        tokio::spawn(async move {
            let mut http = hyper::server::conn::http1::Builder::new();
            let serving = http
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(socket), service);
            // How a connection ends is what the tests are about; the counts tell.
            serving.await.ok();
        });
    }
}

/// A connection that tells when its peer is gone, and that can end with a reset.
struct Socket {
    stream: TcpStream,
    shared: Arc<Shared>,
    resets: Arc<AtomicBool>,
    is_closed: bool,
}

impl Socket {
    fn closed(&mut self) {
        if !std::mem::replace(&mut self.is_closed, true) {
            self.shared.counts.send_modify(|counts| counts.closed += 1);
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.resets.load(Ordering::Relaxed) {
            self.stream.set_zero_linger().unwrap();
        }
        self.closed();
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        match &read {
            Poll::Ready(Ok(())) if buf.filled().len() > before => {}
            Poll::Ready(_) => self.closed(),
            Poll::Pending => {}
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Counts a call as active until it is dropped.
struct Active(Arc<Shared>);

impl Active {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.counts.send_modify(|counts| {
            counts.asked += 1;
            counts.active += 1;
            counts.active_max = counts.active_max.max(counts.active);
        });
        Self(Arc::clone(shared))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.counts.send_modify(|counts| counts.active -= 1);
    }
}

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, io::Error>;

async fn answer(
    shared: Arc<Shared>,
    connection: usize,
    resets: Arc<AtomicBool>,
    request: Request<Incoming>,
) -> Result<Response<Body>, io::Error> {
    let (head, body) = request.into_parts();
    if head.method == hyper::Method::GET && head.uri.path() == "/v1/models" {
        return Ok(models(&shared));
    }
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let in_line = shared.line.lock().unwrap().pop_front();
    let reply = in_line.unwrap_or_else(|| Mock::read(&body).reply(&body));
    shared.asked.lock().unwrap().push(Asked {
        path: head.uri.path().to_owned(),
        headers: head.headers,
        body,
        connection,
    });
    let active = Active::new(&shared);
    match reply {
        Reply::Silence => std::future::pending().await,
        Reply::Hangup { reset } => {
            resets.store(reset, Ordering::Relaxed);
            Err(io::Error::other("told to hang up"))
        }
        Reply::Status(status, headers, text) => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            let parts = vec![Part::raw(text)];
            Ok(response.body(body_of(parts, active, resets)).unwrap())
        }
        Reply::Body(kind, parts) => {
            if let Some(Part::Wait(ms)) = parts.first() {
                // A wait at the beginning is one before the head.
                tokio::time::sleep(Duration::from_millis(*ms)).await;
            }
            let response = Response::builder().header("content-type", kind);
            Ok(response.body(body_of(parts, active, resets)).unwrap())
        }
    }
}

fn models(shared: &Shared) -> Response<Body> {
    let ids = shared.models.lock().unwrap().clone();
    let data: Vec<_> = ids
        .iter()
        .map(|id| json!({"id": id, "object": "model"}))
        .collect();
    let text = json!({"object": "list", "data": data}).to_string();
    let body = http_body_util::Full::new(Bytes::from(text));
    Response::new(
        body.map_err(|never: Infallible| match never {})
            .boxed_unsync(),
    )
}

/// A body that sends its parts at their times.
fn body_of(parts: Vec<Part>, active: Active, resets: Arc<AtomicBool>) -> Body {
    let skip = usize::from(matches!(parts.first(), Some(Part::Wait(_))));
    let parts = parts.into_iter().skip(skip);
    let parts = stream::unfold(
        (parts, active, resets),
        |(mut parts, active, resets)| async {
            loop {
                let frame = match parts.next() {
                    None => {
                        active.0.counts.send_modify(|counts| counts.finished += 1);
                        return None;
                    }
                    Some(Part::Data(data)) => Ok(Frame::data(data)),
                    Some(Part::Wait(ms)) => {
                        tokio::time::sleep(Duration::from_millis(ms)).await;
                        continue;
                    }
                    Some(Part::Stall) => std::future::pending().await,
                    Some(Part::Cut { reset }) => {
                        // What was sent before must have left before the connection ends.
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        resets.store(reset, Ordering::Relaxed);
                        Err(io::Error::other("told to cut the connection"))
                    }
                };
                return Some((frame, (parts, active, resets)));
            }
        },
    );
    // One part a flush: a body that is ready twice in a row would be sent as one.
    let paced = parts.then(|frame| async {
        tokio::task::yield_now().await;
        frame
    });
    StreamBody::new(Box::pin(paced)).boxed_unsync()
}

/// What a directive in a prompt says.
#[derive(Debug)]
struct Mock {
    tokens: usize,
    delay_ms: u64,
    first_ms: u64,
    status: u16,
    tool: Option<String>,
    text: Option<String>,
    error_type: String,
}

impl Mock {
    fn read(body: &Value) -> Self {
        let mut mock = Self {
            tokens: 20,
            delay_ms: 0,
            first_ms: 0,
            status: 200,
            tool: None,
            text: None,
            error_type: "mock_error".to_owned(),
        };
        let asked = body["messages"].to_string();
        let last = asked
            .rsplit("[[mock ")
            .next()
            .filter(|_| asked.contains("[[mock "));
        let directive = last.and_then(|rest| rest.split("]]").next()).unwrap_or("");
        for pair in directive.split_whitespace() {
            let (key, value) = pair.split_once('=').unwrap();
            match key {
                "tokens" => mock.tokens = value.parse().unwrap(),
                "delay" => mock.delay_ms = value.parse().unwrap(),
                "first" => mock.first_ms = value.parse().unwrap(),
                "status" => mock.status = value.parse().unwrap(),
                "tool" => mock.tool = Some(value.to_owned()),
                "text" => mock.text = Some(value.replace('_', " ")),
                "etype" => value.clone_into(&mut mock.error_type),
                other => unreachable!("the mock knows no {other}"),
            }
        }
        mock
    }

    fn reply(&self, body: &Value) -> Reply {
        if self.status != 200 {
            let said = format!("mock upstream error {}", self.status);
            let message = self.text.as_ref().unwrap_or(&said);
            let error = json!({"error": {"message": message, "type": self.error_type}});
            return Reply::Status(self.status, Vec::new(), error.to_string());
        }
        // A call of a tool only when the client lets the model call it; else it would never end.
        let messages = body["messages"].as_array().unwrap();
        let has_result = messages.last().is_some_and(|last| last["role"] == "tool");
        let tool = self.tool.as_deref().filter(|_| !has_result);
        let mut parts = vec![
            Part::Wait(self.first_ms),
            Part::delta(&json!({"role": "assistant"})),
        ];
        match tool {
            Some(name) => parts.extend(calling(name, body)),
            None => parts.extend(self.saying()),
        }
        let completion = if tool.is_some() { 20 } else { self.tokens };
        let prompt = body["messages"].to_string().len() / 4;
        parts.push(Part::usage(prompt as u64, completion as u64));
        parts.push(Part::done());
        Reply::events(parts)
    }

    fn saying(&self) -> Vec<Part> {
        let said = self.text.as_deref().map(Part::text);
        let counted = (0..self.tokens).map(|n| Part::text(&format!("w{n} ")));
        let tokens: Vec<_> = match said {
            Some(said) => vec![said],
            None => counted.collect(),
        };
        let mut parts = Vec::new();
        for token in tokens {
            if self.delay_ms > 0 && parts.len() > 1 {
                parts.push(Part::Wait(self.delay_ms));
            }
            parts.push(token);
        }
        parts.push(Part::finish("stop"));
        parts
    }
}

/// The events of a tool call, with an argument for every property of the tool.
fn calling(name: &str, body: &Value) -> [Part; 3] {
    let tools = body["tools"].as_array().cloned().unwrap_or_default();
    let tool = tools.iter().find(|tool| tool["function"]["name"] == name);
    let properties = tool.map(|tool| tool["function"]["parameters"]["properties"].clone());
    let mut arguments = json!({});
    for (property, schema) in properties.iter().filter_map(Value::as_object).flatten() {
        arguments[property] = match schema["type"].as_str() {
            Some("number" | "integer") => json!(1),
            _ => json!("text"),
        };
    }
    [
        Part::delta(
            &json!({"tool_calls": [{"index": 0, "id": "call_mock", "type": "function",
            "function": {"name": name, "arguments": ""}}]}),
        ),
        Part::delta(&json!({"tool_calls": [{"index": 0,
            "function": {"arguments": arguments.to_string()}}]})),
        Part::finish("tool_calls"),
    ]
}

/// A peer that is no HTTP server: accepts, and tells when the other side closed.
pub(crate) struct Mute {
    addr: SocketAddr,
    counts: watch::Receiver<(usize, usize)>,
    accepting: JoinHandle<()>,
}

impl Mute {
    /// A listener that reads and says `greeting` to whatever comes first, and nothing else.
    pub(crate) async fn start(greeting: &'static [u8]) -> Self {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (sender, counts) = watch::channel((0, 0));
        let sender = Arc::new(sender);
        let accepting = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                sender.send_modify(|(accepted, _)| *accepted += 1);
                let sender = Arc::clone(&sender);
                tokio::spawn(async move {
                    let mut buffer = [0; 4096];
                    let mut greeting = greeting;
                    while stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {
                        stream.write_all(greeting).await.ok();
                        greeting = b"";
                    }
                    sender.send_modify(|(_, closed)| *closed += 1);
                });
            }
        });
        Self {
            addr,
            counts,
            accepting,
        }
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Waits until so many connections were accepted and closed by their peers.
    pub(crate) async fn until(&self, accepted: usize, closed: usize) {
        let mut counts = self.counts.clone();
        soon(counts.wait_for(|counts| *counts == (accepted, closed)))
            .await
            .unwrap();
    }
}

impl Drop for Mute {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
