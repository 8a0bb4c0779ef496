//! From a request to an operation: who may call it, how its params are read, which operation it is,
//! and how the outcome is told.
//!
//! One file per family of methods. Role, scope and existence are checked in this order for every
//! method, then its params (`protocol-facts` §1.8). Knows no socket.

mod agent;
mod agents;
mod chat;
mod compact;
mod create;
mod device;
mod history;
mod machine;
mod notes;
mod refusal;
mod runs;
mod sessions;
mod system;

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;

use crate::auth::{CallFacts, Operation};
use crate::dispatch::DispatchError;
use crate::error::ErrorCode;
use crate::protocol::methods::stubs::{Answer, Visit};
use crate::protocol::methods::{Method, MethodRow, ScopeFacts};
use crate::protocol::{
    ErrorBody, Protocol, Reply, Request, WireCode, decode_params, ignored_members, missing_scope,
    server_busy, unauthorized_role, unknown_method,
};

use chat::Manner;

use super::answers::BudgetUsedUp;
use super::connection::Open;
use super::handshake::Peer;
use super::interest::Scope;
use super::native::{Busy, Native};
use super::requests::{After, Attempt, Done, Turn};
use super::runs::Watch;
use super::viewer::Viewer;

/// What becomes of a request.
pub(super) enum Served {
    /// It is answered.
    Now(Reply),
    /// It is carried out and ends soon.
    Short(BoxFuture<'static, Done>),
    /// It waits for a run.
    Wait(BoxFuture<'static, Done>),
}

/// Carries out a request, or begins to.
pub(super) fn serve(native: &Arc<Native>, open: &mut Open, request: &Request) -> Served {
    let params = request.params.as_deref();
    let row = match admit(&open.peer, &request.method, params) {
        Ok(row) => row,
        Err(error) => return Served::Now(Reply::error(&request.id, &error)),
    };
    let call = Call {
        native: Arc::clone(native),
        peer: Arc::clone(&open.peer),
        id: request.id.clone(),
        name: row.name,
    };
    route(row.method, &call, open, params).unwrap_or_else(|error| Served::Now(call.refuse(&error)))
}

/// Keeps the runs projected that a connection without subscriptions shows.
pub(super) fn watch_runs(native: &Arc<Native>, viewer: &Viewer) -> Option<Watch> {
    let shows_runs = viewer.may_see(crate::protocol::events::Event::Chat);
    (shows_runs && viewer.follows_every_run()).then(|| Watch::new(native, Scope::Everything))
}

/// Checks role, scope and existence, in this order: a caller that may not ask learns nothing of
/// what there is.
fn admit(
    peer: &Peer,
    name: &str,
    params: Option<&RawValue>,
) -> Result<&'static MethodRow, ErrorBody> {
    let principal = &peer.caller.principal;
    if !Operation::Method(name).permits(principal.role) {
        return Err(unauthorized_role(principal.role.as_str()));
    }
    let required = if Operation::depends_on_params(name) {
        let facts = ScopeFacts::read(params);
        let fields: Vec<&str> = facts.members.iter().map(Cow::as_ref).collect();
        let facts = CallFacts {
            fields: &fields,
            message: facts.message.as_deref(),
            permission_mode: facts.permission_mode.as_deref(),
            archived_only: facts.archived_only,
            incognito: facts.incognito,
        };
        Operation::Call(name, facts).required(principal.rules)
    } else {
        Operation::Method(name).required(principal.rules)
    };
    if let Some(scope) = required.filter(|scope| !principal.scopes.allows(*scope)) {
        return Err(missing_scope(peer.protocol, scope.as_str()));
    }
    let row = Method::find(name).ok_or_else(|| unknown_method(name))?;
    match row.webchat_refusal_v3 {
        Some(refusal) if peer.is_plain_webchat_v3() => {
            Err(ErrorBody::new(WireCode::InvalidRequest, refusal))
        }
        Some(_) | None => Ok(row),
    }
}

fn route(
    method: Method,
    call: &Call,
    open: &mut Open,
    params: Option<&RawValue>,
) -> Result<Served, ErrorBody> {
    match method {
        Method::Health => system::health(call, params),
        Method::Status => system::status(call, params),
        Method::SystemPresence => system::presence(call, params),
        Method::LogsTail => system::logs_tail(call, params),
        Method::ConfigGet => system::config_get(call, params),
        Method::AgentsList => agents::list(call, params),
        Method::AgentIdentityGet => agents::identity(call, params),
        Method::ModelsList => agents::models(call, params),
        Method::RunsList => runs::list(call, params),
        Method::RunsGet => runs::get(call, open, params),
        Method::Agent => agent::start(call, open, params),
        Method::AgentWait => agent::wait(call, params),
        Method::ChatSend => chat::send(call, open, params),
        Method::ChatHistory => history::read(call, open, params),
        Method::ChatStartup => history::startup(call, open, params),
        Method::ChatMetadata => agents::metadata(call, params),
        Method::ChatMessageGet => history::message(call, open, params),
        Method::ArtifactsList => history::artifacts(call, open, params),
        Method::ArtifactsDownload => history::artifact(call, open, params),
        Method::CommandsList => agents::commands(call, params),
        Method::ChatAbort => chat::abort(call, open, params),
        Method::ChatInject => chat::inject(call, open, params),
        Method::SessionsList => sessions::list(call, open, params),
        Method::SessionsResolve => sessions::resolve(call, params),
        Method::SessionsDescribe => sessions::describe(call, open, params),
        Method::SessionsGet => history::session(call, open, params),
        Method::SessionsPreview => sessions::preview(call, open, params),
        Method::SessionsCreate => create::create(call, open, params),
        Method::SessionsSend => chat::send_to_session(call, open, params, Manner::Send),
        Method::SessionsSteer => chat::send_to_session(call, open, params, Manner::Steer),
        Method::SessionsAbort => chat::abort_session(call, open, params),
        Method::SessionsCompact => compact::compact(call, open, params),
        Method::SessionsReset => sessions::reset(call, open, params),
        Method::SessionsDelete => sessions::delete(call, open, params),
        Method::SessionsPatch => sessions::patch(call, open, params),
        Method::SessionsSubscribe => sessions::subscribe(call, open, params),
        Method::MessagesSubscribe => sessions::subscribe_messages(call, open, params),
        Method::MessagesUnsubscribe => sessions::unsubscribe_messages(call, open, params),
        Method::DevicePairList => device::list(call, params),
        Method::DevicePairApprove => device::approve(call, params),
        Method::DevicePairReject => device::reject(call, params),
        Method::DevicePairRemove => device::remove(call, params),
        Method::DevicePairRename => device::rename(call, params),
        Method::DeviceTokenRotate => device::rotate(call, params),
        Method::DeviceTokenRevoke => device::revoke(call, params),
        Method::ConfigSchema => notes::config_schema(call, params),
        Method::ModelsAuthStatus => notes::auth_status(call, params),
        Method::ToolsCatalog => notes::tools(call, params),
        Method::DiagnosticsLanes => notes::lanes(call, params),
        Method::GatewayIdentity => notes::identity(call, params),
        Method::SystemEvent => notes::system_event(call, open, params),
        Method::SetHeartbeats => notes::set_heartbeats(call, params),
        Method::ObserverVisibility => notes::visibility(call, params),
        Method::SessionsSearch => sessions::search(call, open, params),
        Method::ConfigSchemaLookup => notes::config_lookup(call, params),
        Method::DiagnosticsStability => notes::stability(call, params),
        Method::SystemInfo => system::info(call, params),
        Method::WebSearchStatus => agents::web_search(call, params),
        Method::Wake => notes::wake(call, open, params),
        Method::Stub(stub) => stub.visit(Stubbed { call, params }),
    }
}

/// A call of a method about something this gateway does not have.
struct Stubbed<'a> {
    call: &'a Call,
    params: Option<&'a RawValue>,
}

impl Visit for Stubbed<'_> {
    type Output = Result<Served, ErrorBody>;

    fn visit<P, R>(self) -> Self::Output
    where
        P: DeserializeOwned + JsonSchema + 'static,
        R: Answer<P>,
    {
        let params: P = self.call.params(self.params)?;
        let answer = R::answer(&params, self.call.native.clock.now_ms());
        Ok(Served::Now(self.call.ok(&answer)))
    }
}

/// A request that only reads: it ends with the connection.
fn short(work: impl Future<Output = Reply> + Send + 'static) -> Served {
    Served::Short(Box::pin(async move { Done::from(work.await) }))
}

/// One call of a method, with everything its answer needs.
#[derive(Clone)]
struct Call {
    native: Arc<Native>,
    peer: Arc<Peer>,
    /// Id of the request.
    id: Box<str>,
    /// Name of the method.
    name: &'static str,
}

impl Call {
    fn params<P>(&self, params: Option<&RawValue>) -> Result<P, ErrorBody>
    where
        P: DeserializeOwned + JsonSchema + 'static,
    {
        let read = decode_params(self.name, params)?;
        if tracing::enabled!(tracing::Level::DEBUG) {
            let members = ignored_members::<P>(params);
            if !members.is_empty() {
                let members = members.join(", ");
                tracing::debug!(method = self.name, members, "params were ignored");
            }
        }
        Ok(read)
    }

    fn is_v3(&self) -> bool {
        self.peer.protocol == Protocol::V3
    }

    fn ok(&self, payload: &impl Serialize) -> Reply {
        Reply::ok(&self.id, payload)
    }

    fn refuse(&self, error: &ErrorBody) -> Reply {
        Reply::error(&self.id, error)
    }

    /// The error of dispatch, as this caller is told.
    fn error(&self, error: &DispatchError) -> ErrorBody {
        refusal::body(error, self.name, self.peer.protocol)
    }

    /// A refusal of the request itself.
    fn invalid(&self, message: impl Into<Cow<'static, str>>) -> ErrorBody {
        ErrorBody::of(ErrorCode::InvalidRequest, self.peer.protocol, message)
    }

    fn answer<T: Serialize>(&self, outcome: Result<T, DispatchError>) -> Reply {
        match outcome {
            Ok(payload) => self.ok(&payload),
            Err(error) => self.refuse(&self.error(&error)),
        }
    }

    /// A request that changes something: once it was read it is carried out, whether or not the
    /// connection lives.
    fn detached(
        &self,
        work: impl Future<Output = Done> + Send + 'static,
    ) -> BoxFuture<'static, Done> {
        self.joined(self.native.tasks.spawn("ws.request", work))
    }

    /// A request that only reads, whose answer may be large: it waits for its share of the memory
    /// of such answers. It is made in a task of its own, so that a peer that does not read holds
    /// nothing but answers that are made.
    fn large(&self, open: &mut Open, work: impl Future<Output = Reply> + Send + 'static) -> Served {
        let budget = Arc::clone(&self.native.answers);
        let own = budget.share_of(&mut open.answers);
        let call = self.clone();
        let work = async move {
            let mut reserved = match budget.reserve(own).await {
                Ok(reserved) => reserved,
                Err(used_up) => return Done::from(call.used_up(used_up)),
            };
            let reply = work.await;
            reserved.shrink(reply.bytes());
            Done {
                reserved: Some(reserved),
                ..Done::from(reply)
            }
        };
        let task = self.native.tasks.spawn("ws.answer", work);
        Served::Short(self.joined(AbortOnDropHandle::new(task)))
    }

    /// What a task of this call comes to.
    fn joined(
        &self,
        task: impl Future<Output = Result<Done, JoinError>> + Send + 'static,
    ) -> BoxFuture<'static, Done> {
        let call = self.clone();
        Box::pin(async move {
            match task.await {
                Ok(done) => done,
                Err(error) => {
                    tracing::error!(method = call.name, %error, "a request failed");
                    let error = call.internal();
                    Done::from(call.refuse(&error))
                }
            }
        })
    }

    /// A change of a session: it waits for the changes before it.
    fn change(&self, mut turn: Turn, work: impl Future<Output = Reply> + Send + 'static) -> Served {
        Served::Short(self.detached(async move {
            turn.come().await;
            Done::from(work.await)
        }))
    }

    /// A name for a run whose caller gave none.
    fn fresh_run(&self) -> String {
        self.native.ids.random().to_string()
    }

    fn used_up(&self, error: BudgetUsedUp) -> Reply {
        tracing::debug!(method = self.name, "no room for a large answer");
        let code = ErrorCode::Overloaded;
        self.refuse(&ErrorBody::of(code, self.peer.protocol, error.to_string()))
    }

    fn internal(&self) -> ErrorBody {
        ErrorBody::of(ErrorCode::Internal, self.peer.protocol, "internal error")
    }
}

/// A request that starts a run.
struct Start {
    call: Call,
    turn: Turn,
    /// The wire id whose events are held back until the answer is sent.
    held: Option<crate::ids::WireId>,
}

/// What an attempt to start a run came to.
struct Attempted {
    reply: Reply,
    is_running: bool,
    alias: Option<Arc<str>>,
    second: Option<BoxFuture<'static, Done>>,
}

impl From<Reply> for Attempted {
    fn from(reply: Reply) -> Self {
        Self {
            reply,
            is_running: false,
            alias: None,
            second: None,
        }
    }
}

impl Start {
    /// Prepares the start of a run: events of the run wait until the caller knows of it, and starts
    /// of one session begin in the order they came.
    fn new(call: &Call, open: &mut Open, session: &str, idempotency_key: &str) -> Self {
        let held = crate::ids::WireId::parse(idempotency_key).ok();
        if let Some(run) = &held {
            open.requests.hold(run.clone());
        }
        Self {
            call: call.clone(),
            turn: open.requests.turn(session),
            held,
        }
    }

    /// Carries the start out.
    fn run<F, W>(self, work: F) -> BoxFuture<'static, Done>
    where
        F: FnOnce(Call) -> W + Send + 'static,
        W: Future<Output = Attempted> + Send + 'static,
    {
        let Self {
            call,
            mut turn,
            held,
        } = self;
        let inner = call.clone();
        let kept = held.clone();
        let work = call.detached(async move {
            turn.come().await;
            let attempted = match inner.native.starts.enter().await {
                Ok(_place) => work(inner.clone()).await,
                Err(Busy) => inner.refuse(&server_busy()).into(),
            };
            Done {
                reply: attempted.reply,
                after: After::Attempted(Box::new(Attempt {
                    held: kept,
                    is_running: attempted.is_running,
                    alias: attempted.alias,
                    second: attempted.second,
                })),
                reserved: None,
            }
        });
        Box::pin(async move {
            let mut done = work.await;
            if matches!(done.after, After::Nothing) {
                // The task failed: nothing may stay held back.
                done.after = After::Attempted(Box::new(Attempt {
                    held,
                    is_running: false,
                    alias: None,
                    second: None,
                }));
            }
            done
        })
    }
}
