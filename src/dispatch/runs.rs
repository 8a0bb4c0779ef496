//! Starting runs: chat completions, `agent` and `chat.send`.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::auth::Operation;
use crate::events::ChangeReason;
use crate::ids::{AgentId, EntryId, RunId, SessionId, SessionKey, WireId};
use crate::run::{
    EntryBody, Front, Image, Message, OnDisconnect, QueueMode, Role, RunInfo, Storage, Turn,
};
use crate::scheduler::{Accept, Chat, Commit, Order, RunLimits, SubmitError, Submitted};
use crate::session::{IdempotencyScope, ModeChoice, NewEntry, RunRecord, key};

use super::agent_session::given;
use super::commands::{self, ForAgent, TextCommand};
use super::resolve::{bad_key, bad_user, owner, wire_id};
use super::resume::Resume;
use super::settings::allowed;
use super::text;
use super::views::AgentEntry;
use super::{
    Admitted, AgentChoice, AgentRun, Caller, ChatCompletion, ChatSend, Dispatch, DispatchError,
    EndedRun, HttpSession, Started,
};

/// When to try again after a queue was full.
pub(super) const RETRY_AFTER_FULL: Duration = Duration::from_secs(1);

/// A run that is ready to be ordered.
struct Plan {
    wire_id: WireId,
    session: SessionKey,
    agent: Arc<AgentEntry>,
    front: Front,
    storage: Storage,
    on_disconnect: OnDisconnect,
    turn: Turn,
    /// Bound of this run instead of the agent's; zero is no bound.
    timeout: Option<Duration>,
    idempotency: Option<IdempotencyScope>,
    expected_session_id: Option<SessionId>,
    /// For a chat message: the mode the call names, and the one of its protocol version.
    queueing: Option<(Option<QueueMode>, Option<QueueMode>)>,
    /// Set when the session is reset by the accept commit: what watchers are told of that.
    reset: Option<ChangeReason>,
    /// What watchers of the session are told of a native run.
    reason: ChangeReason,
}

impl Dispatch {
    /// Starts a run for a chat completion. For a stored session the accept commit is done when this
    /// returns.
    ///
    /// # Errors
    /// Every refusal before acceptance; nothing has run then.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the run unless it was told to go on.
    pub async fn chat_completion(
        &self,
        caller: &Caller,
        request: ChatCompletion,
    ) -> Result<Started, DispatchError> {
        self.require(caller, Operation::ChatCompletion)?;
        self.accepting()?;
        if request.turn.model.is_some() {
            self.require(caller, Operation::ModelOverride)?;
        }
        let agent = self.agent(&request.agent)?;
        let session = self.http_session(&request.session, &request.agent, &agent)?;
        let idempotency = request
            .idempotency_key
            .as_deref()
            .map(|key| http_scope(caller, key, request.fingerprint))
            .transpose()?;
        let kept = !matches!(request.session, HttpSession::Fresh)
            || idempotency.is_some()
            || self.parts.config.stores_stateless();
        let plan = Plan {
            wire_id: request.wire_id,
            session,
            agent,
            front: Front::Http,
            storage: if kept {
                Storage::Stored
            } else {
                Storage::Ephemeral
            },
            on_disconnect: request.on_disconnect,
            turn: request.turn,
            timeout: None,
            idempotency,
            expected_session_id: None,
            queueing: None,
            reset: None,
            reason: ChangeReason::Send,
        };
        self.launch(caller, plan).await
    }

    /// Starts a run for the native method `agent`; it is committed when this returns.
    ///
    /// # Errors
    /// Every refusal before acceptance.
    ///
    /// # Cancel safety
    /// Dropping the future does not take back a run that was accepted.
    pub async fn agent_run(
        &self,
        caller: &Caller,
        request: AgentRun,
    ) -> Result<Started, DispatchError> {
        let wire_id = wire_id(&request.idempotency_key)?;
        let message = text::clean(&request.message)?;
        self.require(caller, agent_operation(&message))?;
        if request.model.is_some() {
            self.require(caller, Operation::ModelOverride)?;
        }
        let (session, agent_id) = self.agent_session(&request).await?;
        let fingerprint = fingerprint(&session, &message, &request.images);
        let idempotency = scope_of(caller, "agent", &request.idempotency_key, fingerprint);
        if let Some(known) = self.known(&idempotency, &wire_id).await? {
            return Ok(known);
        }
        self.accepting()?;
        let asked = commands::find(&message).filter(commands::Asked::is_reset);
        let behind = asked.and_then(ForAgent::behind);
        let message = behind.unwrap_or_else(|| ForAgent::plain(message));
        let reset = self.opening(caller, &message)?;
        let expected_session_id = given(request.expected_session_id.as_deref());
        let expected_session_id = expected(expected_session_id, &session)?;
        let plan = Plan {
            wire_id,
            agent: self.entry(&agent_id)?,
            session,
            front: Front::NativeAgent,
            storage: Storage::Stored,
            on_disconnect: OnDisconnect::Continue,
            turn: Turn {
                system: request.extra_system,
                current: vec![user_message(message.said(), request.images)],
                model: request.model,
                ..Turn::default()
            },
            timeout: request.timeout,
            idempotency: Some(idempotency),
            expected_session_id,
            queueing: None,
            reset,
            reason: ChangeReason::Send,
        };
        self.launch(caller, plan).await
    }

    /// Starts or queues a run for `chat.send`; it is committed when this returns.
    ///
    /// # Errors
    /// Every refusal before acceptance.
    ///
    /// # Cancel safety
    /// As [`Dispatch::agent_run`].
    pub async fn chat_send(
        &self,
        caller: &Caller,
        request: ChatSend,
    ) -> Result<Started, DispatchError> {
        self.require(caller, Operation::Method("chat.send"))?;
        let wire_id = wire_id(&request.idempotency_key)?;
        let message = text::clean(&request.message)?;
        if message.trim().is_empty() && request.images.is_empty() {
            return Err(DispatchError::EmptyMessage);
        }
        let (session, agent_id) =
            self.resolve_key(&request.session_key, request.agent_id.as_deref())?;
        let asked = commands::find(&message).filter(|_asked| !request.is_literal);
        if !request.is_literal && commands::is_stop(&message, asked) {
            let stopped = self.stop_session(caller, &session).await;
            return stopped.map(Started::Stopped);
        }
        let fingerprint = fingerprint(&session, &message, &request.images);
        let idempotency = scope_of(caller, "chat", &request.idempotency_key, fingerprint);
        if let Some(known) = self.known(&idempotency, &wire_id).await? {
            return Ok(known);
        }
        self.accepting()?;
        if request.must_exist && !self.is_there(&session, &agent_id).await? {
            return Err(DispatchError::SessionNotFound(request.session_key));
        }
        if let Some(asked) = asked.filter(commands::Asked::is_answered) {
            let given = TextCommand {
                asked,
                message: &message,
                wire_id: &wire_id,
                session: &session,
                agent: self.entry(&agent_id)?,
                idempotency,
                expected_session_id: expected(request.session_id.as_deref(), &session)?,
                queue_mode_default: request.queue_mode_default,
            };
            return self.answer_command(caller, given).await;
        }
        let behind = asked.and_then(ForAgent::behind);
        let message = behind.unwrap_or_else(|| ForAgent::plain(message));
        let queue_mode = message.steer.or(request.queue_mode);
        let reset = self.opening(caller, &message)?;
        let expected_session_id = expected(request.session_id.as_deref(), &session)?;
        let plan = Plan {
            wire_id,
            agent: self.entry(&agent_id)?,
            session,
            front: Front::NativeChat,
            storage: Storage::Stored,
            on_disconnect: OnDisconnect::Continue,
            turn: Turn {
                current: vec![user_message(message.said(), request.images)],
                ..Turn::default()
            },
            timeout: request.timeout,
            idempotency: Some(idempotency),
            expected_session_id,
            queueing: Some((queue_mode, request.queue_mode_default)),
            reset,
            reason: if request.is_steering {
                ChangeReason::Steer
            } else {
                ChangeReason::Send
            },
        };
        self.launch(caller, plan).await
    }

    /// Has an agent answer a turn that belongs to no conversation: a run like any other, stored
    /// nowhere.
    pub(super) async fn ask(
        &self,
        caller: &Caller,
        agent: &AgentId,
        turn: Turn,
    ) -> Result<Started, DispatchError> {
        let id = self.parts.ids.random();
        let plan = Plan {
            wire_id: wire_id(&format!("compact-{id}"))?,
            session: key::compaction(agent, id),
            agent: self.entry(agent)?,
            front: Front::NativeAgent,
            storage: Storage::Ephemeral,
            on_disconnect: OnDisconnect::Continue,
            turn,
            timeout: None,
            idempotency: None,
            expected_session_id: None,
            queueing: None,
            reset: None,
            reason: ChangeReason::Send,
        };
        self.launch(caller, plan).await
    }

    /// Checks that the agent and the session of a chat completion can be used, before the rest of
    /// the request is looked at (`http-facts` §1.4, 14).
    ///
    /// # Errors
    /// An unknown agent, a session key that is malformed, reserved or of another agent.
    pub fn check_target(
        &self,
        choice: &AgentChoice,
        session: &HttpSession,
    ) -> Result<(), DispatchError> {
        let agent = self.agent(choice)?;
        match session {
            HttpSession::Fresh => Ok(()),
            HttpSession::User(_) | HttpSession::Key(_) => {
                self.http_session(session, choice, &agent).map(drop)
            }
        }
    }

    fn http_session(
        &self,
        session: &HttpSession,
        choice: &AgentChoice,
        agent: &AgentEntry,
    ) -> Result<SessionKey, DispatchError> {
        match session {
            HttpSession::Fresh => Ok(key::openai_call(&agent.id, self.parts.ids.random())),
            HttpSession::User(user) => key::openai_user(&agent.id, user).map_err(bad_user),
            HttpSession::Key(raw) => {
                let main_key = self.parts.config.main_key();
                let canonical = key::canonicalize(raw, &agent.id, &main_key)
                    .map_err(|error| bad_key(error, raw))?;
                if key::is_reserved(raw) || key::is_reserved(canonical.key.as_str()) {
                    return Err(DispatchError::ReservedKey);
                }
                if canonical.agent == agent.id {
                    return Ok(canonical.key);
                }
                self.entry(&canonical.agent)?;
                let asked = match choice {
                    AgentChoice::Named(id) => id.clone(),
                    AgentChoice::Default => agent.id.to_string(),
                };
                Err(DispatchError::AgentMismatch {
                    agent: asked,
                    key_agent: canonical.agent,
                    key: raw.clone(),
                })
            }
        }
    }

    /// Whether the message resets the session, which its caller must be allowed to: what watchers
    /// are told of that.
    fn opening(
        &self,
        caller: &Caller,
        message: &ForAgent,
    ) -> Result<Option<ChangeReason>, DispatchError> {
        if message.reset.is_some() {
            self.require(caller, Operation::Method("sessions.reset"))?;
        }
        Ok(message.reset)
    }

    /// Orders the run and turns the scheduler's answer into ours.
    async fn launch(&self, caller: &Caller, mut plan: Plan) -> Result<Started, DispatchError> {
        if let Some(model) = plan.turn.model.take() {
            let found = allowed(&model, &plan.agent.id, &*self.parts.agents);
            let agent = plan.agent.id.clone();
            let refused = DispatchError::ModelNotAllowed { model, agent };
            plan.turn.model = Some(found.ok_or(refused)?);
        }
        let agent = Arc::clone(&plan.agent);
        let (front, reset, reason) = (plan.front, plan.reset, plan.reason);
        let order = self.order(caller, plan);
        let (info, log) = (Arc::clone(&order.info), Arc::clone(&order.log));
        let (accepted, interrupted) = match self.parts.scheduler.submit(order).await {
            Ok(Submitted::New {
                accepted,
                interrupted,
            }) => (accepted, interrupted),
            Ok(Submitted::Existing(record)) => return self.known_run(record).await,
            Ok(Submitted::Conflict(_record)) => return Err(DispatchError::KeyReused),
            Err(error) => return Err(refused(error, &info.session)),
        };
        if front != Front::Http && info.storage == Storage::Stored {
            for reason in reset.into_iter().chain([reason]) {
                self.publish_change(info.session.clone(), info.agent.clone(), reason);
            }
        }
        let user_n = accepted
            .as_ref()
            .and_then(|accepted| accepted.placed.as_ref())
            .and_then(|placed| placed.input.last())
            .map(|entry| entry.n);
        let session_id = accepted.map(|accepted| accepted.session_id);
        Ok(Started::New(Admitted {
            info,
            log,
            session_id,
            user_n,
            agent,
            interrupted,
        }))
    }

    fn order(&self, caller: &Caller, plan: Plan) -> Order {
        let mode = plan
            .queueing
            .map(|(own, default)| self.queue_mode(own, default));
        let now_ms = self.parts.clock.now_ms();
        let ids = &self.parts.ids;
        let info = Arc::new(RunInfo {
            run_id: RunId::from_uuid(ids.ordered(now_ms)),
            wire_id: plan.wire_id,
            session: plan.session,
            agent: plan.agent.id.clone(),
            owner: owner(caller),
            front: plan.front,
            storage: plan.storage,
            on_disconnect: plan.on_disconnect,
            accepted_at_ms: now_ms,
        });
        let input = |message| self.new_entry(message, now_ms);
        let mut resume = Resume::of(&plan.turn, plan.timeout, mode, &info.owner);
        if plan.front == Front::Http && plan.idempotency.is_some() {
            resume = resume.with_request(&plan.turn);
        }
        let accept = match plan.storage {
            Storage::Ephemeral => Accept::Ephemeral,
            Storage::Stored => Accept::Commit(Commit {
                input: plan.turn.current.iter().map(input).collect(),
                idempotency: plan.idempotency,
                new_session_id: SessionId::from_uuid(ids.random()),
                expected_session_id: plan.expected_session_id,
                resume: resume.to_json(),
                resets: plan.reset.is_some(),
            }),
        };
        Order {
            log: self.parts.logs.open(&info),
            chat: mode.map(|mode| chat(mode, &plan.turn)),
            turn: plan.turn,
            agent: Arc::clone(&plan.agent.agent),
            limits: limits(&plan.agent, plan.timeout),
            accept,
            info,
        }
    }

    fn new_entry(&self, message: &Message, now_ms: u64) -> NewEntry {
        let body = match message.role {
            Role::Tool => EntryBody::ToolResult {
                tool_call_id: message.tool_call_id.clone().unwrap_or_default(),
                name: message.name.clone(),
                text: message.text.clone(),
                withheld: false,
            },
            // A lone assistant message that is to be answered is input like any other.
            Role::User | Role::Assistant => EntryBody::User {
                text: message.text.clone(),
                images: message.images.clone(),
                withheld: false,
            },
        };
        NewEntry {
            id: EntryId::from_uuid(self.parts.ids.ordered(now_ms)),
            body,
            at_ms: now_ms,
        }
    }

    /// What a key that was used before stands for; the usual new key costs one map lookup.
    async fn known(
        &self,
        scope: &IdempotencyScope,
        wire_id: &WireId,
    ) -> Result<Option<Started>, DispatchError> {
        use crate::session::Begun;
        let is_forgotten = self.parts.logs.by_wire_id(wire_id).is_empty();
        // While nothing new is taken, what is known is still told.
        if is_forgotten && self.parts.drain.is_accepting() {
            return Ok(None);
        }
        match self
            .parts
            .ledger
            .idempotent(scope.clone(), self.parts.clock.now_ms())
            .await?
        {
            Some(Begun::Existing(record)) => self.known_run(record).await.map(Some),
            Some(Begun::Conflict(_record)) => Err(DispatchError::KeyReused),
            Some(Begun::New(_)) | None => Ok(None),
        }
    }

    pub(super) async fn known_run(&self, record: RunRecord) -> Result<Started, DispatchError> {
        let log = self.parts.logs.get(record.run_id);
        if let Some(log) = &log
            && let Some(terminal) = log.terminal()
        {
            let ended = EndedRun::of_log(log, terminal, Some(Arc::new(record)));
            return Ok(Started::Ended(ended));
        }
        match &record.terminal {
            Some(_) => self.ended_from_ledger(record).await.map(Started::Ended),
            None => Ok(Started::InFlight {
                wire_id: record.wire_id,
                session: record.session,
                log,
            }),
        }
    }
}

/// `agent` needs `operator.admin` when the message is a session command (`protocol-facts` §4.3).
fn agent_operation(message: &str) -> Operation<'_> {
    Operation::Call(
        "agent",
        crate::auth::CallFacts {
            message: Some(message),
            ..crate::auth::CallFacts::default()
        },
    )
}

fn user_message(text: String, images: Vec<Image>) -> Message {
    let mut message = Message::text(Role::User, text);
    message.images = images;
    message
}

fn scope_of(
    caller: &Caller,
    operation: &'static str,
    key: &str,
    fingerprint: [u8; 32],
) -> IdempotencyScope {
    IdempotencyScope {
        operation,
        principal: owner(caller).principal(),
        key: key.into(),
        fingerprint,
    }
}

fn http_scope(
    caller: &Caller,
    key: &str,
    fingerprint: [u8; 32],
) -> Result<IdempotencyScope, DispatchError> {
    wire_id(key)?;
    Ok(scope_of(caller, "http", key, fingerprint))
}

/// SHA-256 of what makes two requests the same.
fn fingerprint(session: &SessionKey, message: &str, images: &[Image]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [session.as_str().as_bytes(), message.as_bytes()]
        .into_iter()
        .chain(images.iter().map(|image| &image.bytes[..]))
    {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

pub(super) fn expected(
    session_id: Option<&str>,
    key: &SessionKey,
) -> Result<Option<SessionId>, DispatchError> {
    session_id
        .map(|raw| {
            uuid::Uuid::parse_str(raw)
                .map(SessionId::from_uuid)
                .map_err(|_not_an_id| DispatchError::SessionChanged(key.clone()))
        })
        .transpose()
}

/// Characters of a message that stand for it in a summary.
const PREVIEW_CHARS: usize = 80;

pub(super) fn chat(mode: ModeChoice, turn: &Turn) -> Chat {
    let text = turn.text();
    let line = text.lines().next().unwrap_or_default();
    let preview = line.chars().take(PREVIEW_CHARS).collect::<String>().into();
    Chat { mode, preview }
}

pub(super) fn limits(agent: &AgentEntry, timeout: Option<Duration>) -> RunLimits {
    RunLimits {
        agent_active_max: agent.limits.concurrent_max,
        agent_weight: agent.limits.weight,
        run: match timeout {
            Some(bound) => (!bound.is_zero()).then_some(bound),
            None => agent.limits.run,
        },
        idle: agent.limits.idle,
        abort_grace: agent.limits.abort_grace,
        output_bytes_max: agent.limits.output_bytes_max,
    }
}

fn refused(error: SubmitError, session: &SessionKey) -> DispatchError {
    use crate::session::{Guarded, LedgerError};
    let full = |what| DispatchError::Overloaded {
        what,
        retry_after: RETRY_AFTER_FULL,
    };
    match error {
        SubmitError::LaneFull => full("the queue of the session"),
        SubmitError::GatewayFull => full("the queue of the gateway"),
        SubmitError::CredentialFull => full("the credential's share of the queue"),
        SubmitError::PartyFull => full("the caller's share of the queue"),
        SubmitError::Draining => DispatchError::Draining,
        SubmitError::Ledger(LedgerError::Guarded(Guarded::SendDenied)) => {
            DispatchError::SendBlocked
        }
        SubmitError::Ledger(LedgerError::SessionChanged { .. } | LedgerError::NotFound) => {
            DispatchError::SessionChanged(session.clone())
        }
        SubmitError::Ledger(error) => DispatchError::Ledger(error),
        SubmitError::Stopped => DispatchError::Stopped,
    }
}
