//! Puts listener, sniffer and both fronts together: the one entry of the transport.
//!
//! One task per accepted socket drives hyper; a socket that is upgraded leaves that task for one of
//! its own.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, SEC_WEBSOCKET_VERSION};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;

use crate::auth::{Authenticator, Rates};
use crate::clock::Clock;
use crate::dispatch::Dispatch;
use crate::ids::IdSource;
use crate::metrics::Metrics;
use crate::shutdown::{Drain, Phase, Tasks};

use super::TransportConfig;
use super::head_timer::{HeadLimits, HeadTimer};
use super::http::{Body, HttpFront};
use super::listener::{Accept, Acceptor, Listener, Place};
use super::shares::Shares;
use super::sniff::{Refusal, RequestHead, Route, sniff};
use super::ws::NativeFront;

/// How long a closing gateway waits for the first request of a connection.
const FIRST_REQUEST_WAIT: Duration = Duration::from_millis(500);

/// What a [`Transport`] is built from.
#[derive(Debug)]
pub struct TransportParts {
    /// Answers what is not an upgrade.
    pub http: HttpFront,
    /// The operations.
    pub dispatch: Arc<Dispatch>,
    /// Who may.
    pub auth: Arc<Authenticator>,
    /// How often an address may upgrade.
    pub rates: Arc<Rates>,
    /// The phase of the process.
    pub drain: Drain,
    /// Where tasks are spawned.
    pub tasks: Tasks,
    /// Bounds.
    pub config: TransportConfig,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Source of connection ids and nonces.
    pub ids: Arc<dyn IdSource>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// Both fronts behind one port.
#[derive(Debug)]
pub struct Transport {
    acceptor: Acceptor,
    places: u32,
    fronts: Arc<Fronts>,
}

#[derive(Debug)]
struct Fronts {
    http: HttpFront,
    native: NativeFront,
    auth: Arc<Authenticator>,
    drain: Drain,
    limits: HeadLimits,
    head_bytes_max: usize,
}

impl Transport {
    /// Puts the parts together; nothing runs yet.
    pub fn new(parts: TransportParts) -> Self {
        let places = parts.config.connections_max;
        let permits = usize::try_from(places).unwrap_or(Semaphore::MAX_PERMITS);
        let acceptor = Acceptor {
            connections: Arc::new(Semaphore::new(permits)),
            idle: Shares::new(parts.config.idle_per_address_max),
            tasks: parts.tasks.clone(),
            drain: parts.drain.clone(),
            metrics: Arc::clone(&parts.metrics),
        };
        let limits = HeadLimits {
            head: parts.config.head_timeout,
            idle: parts.config.idle_timeout,
        };
        let head_bytes_max = parts.config.head_bytes_max;
        let drain = parts.drain.clone();
        let auth = Arc::clone(&parts.auth);
        let (http, native) = NativeFront::new(parts);
        let fronts = Arc::new(Fronts {
            http,
            native,
            auth,
            drain,
            limits,
            head_bytes_max,
        });
        Self {
            acceptor,
            places,
            fronts,
        }
    }

    /// The native front, for those who must reach its connections: a rotated secret closes them.
    pub fn native(&self) -> &NativeFront {
        &self.fronts.native
    }

    /// Waits until every connection has closed; meanwhile no new one finds a place. Whoever winds
    /// the process down waits for this, so that no answer is cut that is still being written.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub fn emptied(&self) -> impl Future<Output = ()> + Send + use<> {
        let places = Arc::clone(&self.acceptor.connections);
        let all = self.places;
        async move {
            // Places are never closed, so this ends when all of them are free.
            drop(places.acquire_many(all).await);
        }
    }

    /// Serves `listener` until the process has stopped.
    ///
    /// # Cancel safety
    /// Dropping the future stops accepting; open connections live on in their tasks.
    pub async fn serve<L: Listener>(self, listener: L) {
        self.fronts.native.start();
        self.acceptor.run(listener, self.fronts).await;
    }
}

impl<S> Accept<S> for Fronts
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    fn is_proxy(&self, peer: IpAddr) -> bool {
        self.auth.is_proxy(peer)
    }

    async fn serve(self: Arc<Self>, stream: S, place: Place) {
        let peer = place.peer;
        let timer = HeadTimer::new(self.limits);
        let io = TokioIo::new(timer.watch(stream));
        let place = Arc::new(place);
        let was_asked = AtomicBool::new(false);
        let service = service_fn(|request| {
            was_asked.store(true, Ordering::Relaxed);
            place.handle_request();
            let (fronts, place) = (Arc::clone(&self), Arc::clone(&place));
            // On the heap while a request is answered: an idle connection keeps no room for it.
            Box::pin(async move { Ok::<_, Infallible>(fronts.answer::<S>(request, place).await) })
        });
        let connection = self.builder(timer).serve_connection(io, service);
        let mut connection = pin!(connection.with_upgrades());
        let ended = tokio::select! {
            biased;
            ended = connection.as_mut() => ended,
            () = self.closing(&was_asked) => {
                // An idle connection ends here, a busy one after its answer.
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    biased;
                    ended = connection.as_mut() => ended,
                    () = self.drain.reached(Phase::Stopped) => Ok(()),
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, error = %error_chain(&error), "connection ended early");
        }
    }
}

/// hyper says only the kind of an error; the cause is one level down.
fn error_chain(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

impl Fronts {
    /// Waits until a connection is to end. One that was accepted just now and has asked nothing yet
    /// is given a moment: its first request is to get an answer, even if that is to try again.
    async fn closing(&self, was_asked: &AtomicBool) {
        self.drain.reached(Phase::Closing).await;
        if !was_asked.load(Ordering::Relaxed) {
            tokio::time::sleep(FIRST_REQUEST_WAIT).await;
        }
    }

    fn builder(&self, timer: HeadTimer) -> Builder {
        let mut builder = Builder::new();
        builder
            .timer(timer)
            .header_read_timeout(self.limits.idle)
            .max_header_size(self.head_bytes_max)
            .max_buf_size(self.head_bytes_max.max(MIN_BUF_BYTES))
            .half_close(false)
            .keep_alive(true);
        builder
    }

    async fn answer<S>(
        self: Arc<Self>,
        request: Request<Incoming>,
        place: Arc<Place>,
    ) -> Response<Body>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let head = RequestHead {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
            has_body: !request.body().is_end_stream(),
        };
        match sniff(&head) {
            Route::Http => {
                let mut response = self.http.call(request, place.peer).await;
                // A stream has an owner who has authenticated; whatever else is answered may leave
                // an idle socket behind.
                if !response.body().is_events() && !place.may_idle() {
                    tracing::debug!(peer = %place.peer, "not kept: too many idle sockets");
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(CONNECTION, close);
                }
                response
            }
            Route::Native(handshake) => self.native.upgrade::<S>(request, &handshake, place),
            Route::Refused(refusal) => refused(refusal, place.peer),
        }
    }
}

/// The least hyper takes for the size of its buffers.
const MIN_BUF_BYTES: usize = 8192;

fn refused(refusal: Refusal, peer: SocketAddr) -> Response<Body> {
    tracing::debug!(%peer, %refusal, "request refused");
    let status = match refusal {
        Refusal::Host | Refusal::Repeated | Refusal::Target | Refusal::Handshake => {
            StatusCode::BAD_REQUEST
        }
        Refusal::WebSocketVersion => StatusCode::UPGRADE_REQUIRED,
    };
    let mut response = text(status, refusal.to_string());
    if refusal == Refusal::WebSocketVersion {
        let version = HeaderValue::from_static("13");
        response
            .headers_mut()
            .insert(SEC_WEBSOCKET_VERSION, version);
    }
    response
}

/// A refusal in plain text, after which the connection closes.
pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::whole(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(CONTENT_TYPE, plain);
    response
}
