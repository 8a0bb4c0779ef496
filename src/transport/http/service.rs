//! The one entry of the HTTP front: a request in, an answer out.
//!
//! Owns the order in which a request is looked at: path, method, phase, secret, scope, body.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{EXPECT, HeaderName, HeaderValue};
use hyper::http::request;
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::Instant;

use crate::auth::{Authenticator, Operation, Principal};
use crate::clock::Clock;
use crate::dispatch::{Caller, Dispatch};
use crate::error::ErrorCode;
use crate::ids::{IdSource, WireId};
use crate::openai::ApiError;
use crate::shutdown::{Drain, Tasks};
use crate::transport::TransportConfig;

use super::body::Body;
use super::chat::Call;
use super::control_ui::ControlUi;
use super::cors::Cors;
use super::fetch::Fetcher;
use super::guard::RunGuard;
use super::health::{self, Health};
use super::metrics::Numbers;
use super::models;
use super::read::RequestBody;
use super::respond::{self, Refused};
use super::route::{Resource, RunPart, resource};
use super::runs::RunCall;

static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest request id a caller may choose, in bytes (`design.md` §6).
const REQUEST_ID_BYTES_MAX: usize = 128;

/// What [`HttpFront`] is built from.
#[derive(Debug)]
pub struct HttpParts {
    /// The operations.
    pub dispatch: Arc<Dispatch>,
    /// Who may.
    pub auth: Arc<Authenticator>,
    /// The phase of the process.
    pub drain: Drain,
    /// Runs cancellations when a client has gone.
    pub tasks: Tasks,
    /// Bounds.
    pub config: TransportConfig,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Source of run ids.
    pub ids: Arc<dyn IdSource>,
}

/// Whether `POST /v1/chat/completions` and its neighbours exist; every clone is the same switch.
#[derive(Clone, Debug)]
pub struct ChatSwitch(Arc<AtomicBool>);

impl ChatSwitch {
    fn new(is_on: bool) -> Self {
        Self(Arc::new(AtomicBool::new(is_on)))
    }

    /// Whether the paths exist.
    pub fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Switches the paths on or off, from the next request on.
    pub fn set(&self, is_on: bool) {
        self.0.store(is_on, Ordering::Relaxed);
    }
}

/// Answers every HTTP request that is not an upgrade.
#[derive(Debug)]
pub struct HttpFront {
    parts: HttpParts,
    chat: ChatSwitch,
    cors: Cors,
    control_ui: Option<ControlUi>,
    images: Option<Fetcher>,
    started_at: Instant,
    request_ids: RequestIds,
    transport_security: Option<HeaderValue>,
}

impl HttpFront {
    /// A front over these parts.
    pub fn new(parts: HttpParts) -> Self {
        let transport_security = parts.config.strict_transport_security.as_deref();
        Self {
            chat: ChatSwitch::new(parts.config.chat_enabled),
            cors: Cors::new(&parts.config.cors_origins),
            control_ui: parts.config.control_ui.as_ref().map(ControlUi::new),
            images: parts.config.image_hosts.as_deref().map(Fetcher::new),
            started_at: Instant::now(),
            request_ids: RequestIds::new(&*parts.ids),
            transport_security: transport_security
                .and_then(|value| HeaderValue::from_str(value).ok()),
            parts,
        }
    }

    /// The switch of `POST /v1/chat/completions` and its neighbours, for whoever reloads the
    /// configuration.
    pub fn chat_switch(&self) -> ChatSwitch {
        self.chat.clone()
    }

    /// Answers one request from `peer`.
    ///
    /// # Cancel safety
    /// Dropping the future means that the peer has gone: a run it started is cancelled, unless the
    /// request asked for it to go on.
    pub async fn call(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        let (head, incoming) = request.into_parts();
        let mut body = RequestBody::new(incoming);
        let mut response = match self.answer(&head, &mut body, peer).await {
            Ok(response) => response,
            Err(refused) => refused.into_response(),
        };
        // A peer that waits to be invited sends nothing that would have to be read.
        if !head.headers.contains_key(EXPECT)
            && let Some(unread) = body.into_unread()
        {
            response = response.map(|whole| whole.lingering(unread));
        }
        let request_id = self.request_ids.of(&head);
        tracing::debug!(
            method = %head.method,
            path = head.uri.path(),
            status = response.status().as_u16(),
            request_id = ?request_id,
            "request"
        );
        let headers = response.headers_mut();
        respond::secure(headers, self.transport_security.as_ref());
        self.cors.mark(&head.headers, headers);
        headers.insert(X_REQUEST_ID.clone(), request_id);
        response
    }

    async fn answer(
        &self,
        head: &request::Parts,
        body: &mut RequestBody,
        peer: SocketAddr,
    ) -> Result<Response<Body>, Refused> {
        if !expects_only_continue(head) {
            return Ok(expectation_failed());
        }
        let resource = resource(head.uri.path());
        match resource {
            Resource::Health | Resource::Ready | Resource::Startup => {
                Ok(self.probe(resource, head, peer))
            }
            Resource::Unknown => Ok(self.page(head).await),
            Resource::Metrics => self.metrics(head, peer).await,
            Resource::Chat | Resource::Models | Resource::Model(_) | Resource::Run(..)
                if !self.chat.is_on() =>
            {
                Ok(respond::not_found())
            }
            Resource::Chat | Resource::Models | Resource::Model(_) | Resource::Run(..)
                if head.method == Method::OPTIONS =>
            {
                let refused = || respond::method_not_allowed(allow(resource));
                Ok(self.cors.preflight(head).unwrap_or_else(refused))
            }
            Resource::Chat => self.chat(head, body, peer).await,
            Resource::Models => self.models(None, head, peer).await,
            Resource::Model(id) => self.models(Some(id), head, peer).await,
            Resource::Run(id, part) => self.run((id, part), head, peer).await,
        }
    }

    fn probe(
        &self,
        resource: Resource<'_>,
        head: &request::Parts,
        peer: SocketAddr,
    ) -> Response<Body> {
        if !matches!(head.method, Method::GET | Method::HEAD) {
            return respond::method_not_allowed("GET, HEAD");
        }
        let health = Health {
            phase: self.parts.drain.phase(),
            can_store: self.parts.dispatch.metrics().ledger_failing.get() == 0,
            uptime: self.started_at.elapsed(),
            auth: &self.parts.auth,
            headers: &head.headers,
            peer,
        };
        match resource {
            Resource::Ready => health.ready(),
            Resource::Startup => health.startup(),
            Resource::Health
            | Resource::Metrics
            | Resource::Chat
            | Resource::Models
            | Resource::Model(_)
            | Resource::Run(..)
            | Resource::Unknown => health::live(),
        }
    }

    /// The numbers of the process; they are of most use when it is in trouble, so they are told in
    /// every phase.
    async fn metrics(
        &self,
        head: &request::Parts,
        peer: SocketAddr,
    ) -> Result<Response<Body>, Refused> {
        if !self.parts.config.metrics_enabled {
            return Ok(respond::not_found());
        }
        if head.method != Method::GET {
            return Ok(respond::method_not_allowed("GET"));
        }
        self.authorized(head, peer, Operation::ReadMetrics).await?;
        let dispatch = &self.parts.dispatch;
        let numbers = Numbers {
            metrics: dispatch.metrics(),
            queue: dispatch.queue(),
            uptime: self.started_at.elapsed(),
        };
        Ok(numbers.response())
    }

    /// What no route owns is the page's, when one is served.
    async fn page(&self, head: &request::Parts) -> Response<Body> {
        let answer = match &self.control_ui {
            Some(page) => page.answer(head).await,
            None => None,
        };
        answer.unwrap_or_else(respond::not_found)
    }

    async fn chat(
        &self,
        head: &request::Parts,
        body: &mut RequestBody,
        peer: SocketAddr,
    ) -> Result<Response<Body>, Refused> {
        self.accepting()?;
        if head.method != Method::POST {
            return Ok(respond::method_not_allowed("POST"));
        }
        let caller = self
            .authorized(head, peer, Operation::ChatCompletion)
            .await?;
        // Every connection has room for the future of a request: the large one is boxed.
        Box::pin(async {
            let body = self.read(body, &caller.principal).await?;
            let call = Call {
                front: self,
                headers: &head.headers,
                principal: caller.principal,
            };
            call.answer(body).await
        })
        .await
    }

    async fn models(
        &self,
        id: Option<&str>,
        head: &request::Parts,
        peer: SocketAddr,
    ) -> Result<Response<Body>, Refused> {
        self.accepting()?;
        if head.method != Method::GET {
            return Ok(respond::method_not_allowed("GET"));
        }
        self.authorized(head, peer, Operation::ListModels).await?;
        match id {
            Some(id) => models::one(&self.parts.dispatch, id),
            None => Ok(models::list(&self.parts.dispatch)),
        }
    }

    /// Runs can be read and stopped while the gateway winds down.
    async fn run(
        &self,
        (id, part): (&str, RunPart),
        head: &request::Parts,
        peer: SocketAddr,
    ) -> Result<Response<Body>, Refused> {
        let (method, allow, operation) = part.method();
        if head.method != method {
            return Ok(respond::method_not_allowed(allow));
        }
        let call = RunCall {
            front: self,
            headers: &head.headers,
            uri: &head.uri,
            caller: self.authorized(head, peer, operation).await?,
        };
        Box::pin(call.answer(id, part)).await
    }

    fn accepting(&self) -> Result<(), Refused> {
        if self.parts.drain.is_accepting() {
            Ok(())
        } else {
            Err(Refused::draining())
        }
    }

    async fn authorized(
        &self,
        head: &request::Parts,
        peer: SocketAddr,
        operation: Operation<'_>,
    ) -> Result<Caller, Refused> {
        let auth = &self.parts.auth;
        let principal = auth.http(&auth.read_head(&head.headers, peer)?).await?;
        let caller = Caller {
            principal,
            connection: None,
            user: None,
        };
        self.parts.dispatch.require(&caller, operation)?;
        Ok(caller)
    }

    /// Reads the body; the secret may have been rotated while it was on its way.
    async fn read(&self, body: &mut RequestBody, principal: &Principal) -> Result<Bytes, Refused> {
        let config = &self.parts.config;
        let read = body.read(config.body_bytes_max, config.body_timeout).await;
        let bytes = read.map_err(|error| {
            tracing::debug!(%error, "request body refused");
            Refused::unread(error.to_api())
        })?;
        if self.parts.auth.is_current(principal) {
            Ok(bytes)
        } else {
            Err(Refused::stale_secret())
        }
    }

    pub(super) fn dispatch(&self) -> &Dispatch {
        &self.parts.dispatch
    }

    /// Fetches images by URL, where that is allowed.
    pub(super) const fn image_fetcher(&self) -> Option<&Fetcher> {
        self.images.as_ref()
    }

    /// Whether `X-OpenWebUI-Chat-Id` names a session.
    pub(super) const fn maps_open_webui_chats(&self) -> bool {
        self.parts.config.open_webui_chats
    }

    pub(super) const fn sse_heartbeat(&self) -> Duration {
        self.parts.config.sse_heartbeat
    }

    /// The id of a new answer, which is also the wire id of its run.
    pub(super) fn mint_wire_id(&self) -> Result<WireId, Refused> {
        let id = format!("chatcmpl_{}", self.parts.ids.random());
        let fault = |_bad| ApiError::new(ErrorCode::Internal, "");
        Ok(WireId::parse(&id).map_err(fault)?)
    }

    /// Cancels the run that will have `wire_id` when its caller goes before it has ended.
    pub(super) fn guard(&self, wire_id: WireId) -> RunGuard {
        let dispatch = &self.parts.dispatch;
        let (logs, bus) = (Arc::clone(dispatch.logs()), Arc::clone(dispatch.bus()));
        RunGuard::asked(wire_id, logs, bus, self.parts.tasks.clone())
    }
}

/// The methods of a resource of the API.
fn allow(resource: Resource<'_>) -> &'static str {
    match resource {
        Resource::Chat => "POST",
        Resource::Run(_, part) => part.method().1,
        Resource::Models
        | Resource::Model(_)
        | Resource::Health
        | Resource::Ready
        | Resource::Startup
        | Resource::Metrics
        | Resource::Unknown => "GET",
    }
}

/// hyper answers `100-continue` once the body is read; nothing else can be expected of us.
fn expects_only_continue(head: &request::Parts) -> bool {
    let mut expected = head.headers.get_all(EXPECT).iter();
    expected.all(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

fn expectation_failed() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::EXPECTATION_FAILED;
    response
}

/// Gives every request an id: its own, or a new one.
///
/// New ones are a prefix of this process and a number, which costs no system call per request.
#[derive(Debug)]
struct RequestIds {
    prefix: u32,
    next: AtomicU64,
}

impl RequestIds {
    fn new(ids: &dyn IdSource) -> Self {
        Self {
            prefix: ids.random().as_fields().0,
            next: AtomicU64::new(1),
        }
    }

    fn of(&self, head: &request::Parts) -> HeaderValue {
        let own = head.headers.get(&X_REQUEST_ID);
        let usable = own.filter(|value| {
            let bytes = value.as_bytes();
            (1..=REQUEST_ID_BYTES_MAX).contains(&bytes.len())
                && bytes.iter().all(u8::is_ascii_graphic)
        });
        usable.cloned().unwrap_or_else(|| self.mint())
    }

    fn mint(&self) -> HeaderValue {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = format!("req_{:08x}{number:08x}", self.prefix);
        HeaderValue::from_maybe_shared(Bytes::from(id))
            .unwrap_or_else(|_never| HeaderValue::from_static("req"))
    }
}
