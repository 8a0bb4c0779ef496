//! The HTTP side of model agents: one pool of connections for all of them.
//!
//! Owns sockets, TLS and the timeouts up to the first byte of an answer. Must not know what is
//! asked or how an answer is read. Redirects are never followed, so no key goes to another address.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect, HttpConnector, capture_connection};
use hyper_util::rt::TokioTimer;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::metrics::Metrics;

use super::chunk::Complaint;
use super::config::{BaseUrl, Endpoint, Timeouts};
use super::failure::{CallError, ClosedBy, Refusal, retry_after};

/// How long an unused connection is kept; many servers close theirs soon after.
const POOL_IDLE: Duration = Duration::from_secs(30);

/// Unused connections that are kept for one server.
const POOL_PER_HOST_MAX: usize = 64;

/// Most bytes of an error body that are read.
const ERROR_BODY_BYTES_MAX: usize = 64 * 1024;

/// How long an error body may take.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes and time the rest of a complete answer may take, so that its connection can be used again.
const REST_BYTES_MAX: usize = 64 * 1024;
const REST_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection's own work, to be run until it ends.
pub type ClientTask = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs the tasks of the connection pool; given by whoever counts and joins tasks.
#[derive(Clone)]
pub struct Spawner(Arc<dyn Fn(ClientTask) + Send + Sync>);

impl Spawner {
    /// Wraps a way to run tasks.
    pub fn new(spawn: impl Fn(ClientTask) + Send + Sync + 'static) -> Self {
        Self(Arc::new(spawn))
    }
}

impl fmt::Debug for Spawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spawner")
    }
}

impl<F> hyper::rt::Executor<F> for Spawner
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        (self.0)(Box::pin(task));
    }
}

/// Reaches servers over the network, with TLS where the address says so.
pub type NetConnector = HttpsConnector<HttpConnector>;

/// The client every model agent shares; cheap to clone. `C` is how it reaches servers, so that a
/// simulated network can stand in.
#[derive(Clone, Debug)]
pub struct ModelClient<C = NetConnector> {
    http: Client<C, Full<Bytes>>,
    spawner: Spawner,
    pub(super) metrics: Arc<Metrics>,
}

/// An answer whose first byte has come.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) body: Incoming,
    pub(super) first: Bytes,
    pub(super) framing: Framing,
}

/// How an answer is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// A stream of events.
    Events,
    /// One JSON body, from servers that do not stream.
    Whole,
}

impl ModelClient {
    /// A client without connections.
    ///
    /// # Panics
    /// Never: the TLS provider supports the TLS versions it is asked for.
    pub fn new(spawner: Spawner, metrics: Arc<Metrics>) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_mins(1)));
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
            .expect("ring supports the default TLS versions")
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Self::over(connector, spawner, metrics)
    }
}

impl<C: Connect + Clone + Send + Sync + 'static> ModelClient<C> {
    /// A client that reaches servers through `connector`.
    pub fn over(connector: C, spawner: Spawner, metrics: Arc<Metrics>) -> Self {
        let http = Client::builder(spawner.clone())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_PER_HOST_MAX)
            .build(connector);
        Self {
            http,
            spawner,
            metrics,
        }
    }

    /// Sends one call and waits for the first byte of its answer.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection it uses.
    pub(super) async fn call(&self, endpoint: &Endpoint, body: Bytes) -> Result<Opened, CallError> {
        self.metrics.upstream_calls.add_one();
        let begun = Instant::now();
        let request = chat_request(endpoint, body);
        let answer = self.answer(request, begun, endpoint.timeouts).await?;
        let (head, mut body) = answer.into_parts();
        if head.status != StatusCode::OK {
            return Err(refused(head.status, &head.headers, body).await);
        }
        let first_byte = endpoint.timeouts.first_byte;
        let first = timeout_at(begun + first_byte, first_data(&mut body))
            .await
            .map_err(|_elapsed| CallError::FirstByte(first_byte))??;
        Ok(Opened {
            body,
            first,
            framing: framing(&head.headers),
        })
    }

    /// The ids of the models a server offers, when it answers as one by `deadline`.
    pub(in crate::agent) async fn models(
        &self,
        base_url: &BaseUrl,
        deadline: Instant,
    ) -> Option<Vec<String>> {
        #[derive(serde::Deserialize)]
        struct Model {
            id: String,
        }
        #[derive(serde::Deserialize)]
        struct Models {
            data: Vec<Model>,
        }
        let mut request = Request::new(Full::default());
        *request.uri_mut() = base_url.models().clone();
        let listing = async {
            let answer = self.http.request(request).await.ok()?;
            let is_ok = answer.status() == StatusCode::OK;
            let body = http_body_util::Limited::new(answer.into_body(), ERROR_BODY_BYTES_MAX * 16);
            let body = body.collect().await.ok().filter(|_| is_ok)?.to_bytes();
            let models: Models = serde_json::from_slice(&body).ok()?;
            Some(models.data.into_iter().map(|model| model.id).collect())
        };
        timeout_at(deadline, listing).await.ok().flatten()
    }

    /// Reads the end of a complete answer, so that its connection can be used again.
    pub(super) fn finish(&self, mut body: Incoming) {
        use hyper::body::Body;
        if body.is_end_stream() {
            return;
        }
        (self.spawner.0)(Box::pin(async move {
            let deadline = Instant::now() + REST_TIMEOUT;
            let mut left = REST_BYTES_MAX;
            while let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                match left.checked_sub(bytes) {
                    Some(less) => left = less,
                    None => break,
                }
            }
        }));
    }

    /// Waits for the head of an answer.
    async fn answer(
        &self,
        mut request: Request<Full<Bytes>>,
        begun: Instant,
        timeouts: Timeouts,
    ) -> Result<Response<Incoming>, CallError> {
        let connection = capture_connection(&mut request);
        let is_connected = || connection.connection_metadata().is_some();
        let mut answer = pin!(self.http.request(request));
        let mut connected_by = pin!(sleep_until(begun + timeouts.connect));
        let mut first_byte_by = pin!(sleep_until(begun + timeouts.first_byte));
        let mut is_connecting = true;
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => return answer.map_err(not_answered),
                () = &mut first_byte_by => return Err(if is_connected() {
                    CallError::FirstByte(timeouts.first_byte)
                } else {
                    CallError::ConnectTimeout(timeouts.first_byte)
                }),
                () = &mut connected_by, if is_connecting => {
                    is_connecting = false;
                    if !is_connected() {
                        return Err(CallError::ConnectTimeout(timeouts.connect));
                    }
                }
            }
        }
    }
}

fn chat_request(endpoint: &Endpoint, body: Bytes) -> Request<Full<Bytes>> {
    const AGENT: &str = concat!("clawport/", env!("CARGO_PKG_VERSION"));
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = endpoint.base_url.chat().clone();
    let headers = request.headers_mut();
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(key) = &endpoint.api_key {
        headers.insert(AUTHORIZATION, key.header().clone());
    }
    for (name, value) in endpoint.headers.map() {
        headers.insert(name, value.clone());
    }
    request
}

fn framing(headers: &HeaderMap) -> Framing {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    match kind.map(str::to_ascii_lowercase) {
        Some(kind) if kind.starts_with("application/json") => Framing::Whole,
        _ => Framing::Events,
    }
}

fn not_answered(error: hyper_util::client::legacy::Error) -> CallError {
    if error.is_connect() {
        CallError::Connect(error)
    } else {
        CallError::Closed(Some(ClosedBy::Sending(error)))
    }
}

async fn first_data(body: &mut Incoming) -> Result<Bytes, CallError> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| CallError::Closed(Some(ClosedBy::Reading(e))))?;
        if let Some(data) = frame.into_data().ok().filter(|data| !data.is_empty()) {
            return Ok(data);
        }
    }
    Err(CallError::Closed(None))
}

/// Reads what a server says about its refusal, as far as it comes.
async fn refused(status: StatusCode, headers: &HeaderMap, mut body: Incoming) -> CallError {
    let deadline = Instant::now() + ERROR_BODY_TIMEOUT;
    let mut text = Vec::new();
    while let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await {
        if let Ok(data) = frame.into_data() {
            text.extend_from_slice(&data);
        }
        if text.len() > ERROR_BODY_BYTES_MAX {
            break;
        }
    }
    CallError::Refused(Refusal {
        status: status.as_u16(),
        complaint: Complaint::from_body(&text),
        retry_after: retry_after(headers),
    })
}
