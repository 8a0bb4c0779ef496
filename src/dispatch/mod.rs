//! One method per operation; both fronts enter here.
//!
//! Each method authorizes, limits, validates and then calls the core. Knows no wire format and no
//! socket; configuration and agents come through view traits.

mod error;
mod reply;
mod request;
mod views;

pub use error::DispatchError;
pub use reply::{
    Aborted, Admitted, EndedRun, History, InFlight, Injected, SessionView, SessionsPage, Started,
    StatusReport, Waited,
};
pub use request::{
    AgentChoice, AgentRun, Caller, ChatAbort, ChatCompletion, ChatInject, ChatSend, HistoryCursor,
    HistoryQuery, HttpSession, SessionList, SessionName, SessionReset,
};
pub use views::{
    AgentCatalog, AgentEntry, AgentIdentity, AgentLimits, ConfigSnapshot, ConfigView, LogTail,
    LogTailQuery, LogView, ModelEntry, NoDefaultAgent,
};

use std::sync::Arc;
use std::time::Duration;

use crate::auth::Operation;
use crate::events::{Bus, Logs};
use crate::ids::{AgentId, SessionKey};
use crate::session::{SessionPatch, SessionRecord};

/// The operations of the gateway; shared by every connection.
#[derive(Debug)]
pub struct Dispatch {
    parts: Parts,
}

/// What [`Dispatch`] is built from.
#[derive(Debug)]
pub struct Parts {
    /// Logs of runs.
    pub logs: Arc<Logs>,
    /// Notices and orders.
    pub bus: Arc<dyn Bus>,
    /// Agents.
    pub agents: Arc<dyn AgentCatalog>,
    /// Configuration.
    pub config: Arc<dyn ConfigView>,
    /// Log lines.
    pub log_lines: Arc<dyn LogView>,
}

impl Dispatch {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        Self { parts }
    }

    /// Checks that the caller holds the scope an operation needs, by the one table.
    ///
    /// # Errors
    /// [`DispatchError::MissingScope`].
    pub fn require(&self, caller: &Caller, operation: Operation<'_>) -> Result<(), DispatchError> {
        match operation.required(caller.principal.rules) {
            Some(scope) if !caller.principal.scopes.allows(scope) => {
                Err(DispatchError::MissingScope(scope))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Logs of live and recently ended runs.
    pub fn logs(&self) -> &Arc<Logs> {
        &self.parts.logs
    }

    /// Notices of runs and sessions.
    pub fn bus(&self) -> &Arc<dyn Bus> {
        &self.parts.bus
    }

    /// The configured agents.
    pub fn agents(&self) -> &Arc<dyn AgentCatalog> {
        &self.parts.agents
    }

    /// The configuration requests look at.
    pub fn config(&self) -> &Arc<dyn ConfigView> {
        &self.parts.config
    }

    /// The newest lines of the process's log.
    pub fn log_tail(&self, query: LogTailQuery) -> LogTail {
        self.parts.log_lines.tail(query)
    }

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
        _caller: &Caller,
        _request: ChatCompletion,
    ) -> Result<Started, DispatchError> {
        Err(DispatchError::Stopped)
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
        _caller: &Caller,
        _request: AgentRun,
    ) -> Result<Started, DispatchError> {
        Err(DispatchError::Stopped)
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
        _caller: &Caller,
        _request: ChatSend,
    ) -> Result<Started, DispatchError> {
        Err(DispatchError::Stopped)
    }

    /// Waits until a run ends, at most for `limit`.
    ///
    /// # Errors
    /// A failing ledger.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn wait(
        &self,
        _caller: &Caller,
        _run_id: &str,
        _limit: Duration,
    ) -> Result<Waited, DispatchError> {
        Err(DispatchError::Stopped)
    }

    /// Stops runs of a session the caller may stop.
    ///
    /// # Errors
    /// The run belongs to another session or to somebody else; the key is malformed.
    pub async fn chat_abort(
        &self,
        _caller: &Caller,
        _request: ChatAbort,
    ) -> Result<Aborted, DispatchError> {
        Err(DispatchError::Stopped)
    }

    /// Reads part of a transcript. A session that does not exist is an empty one.
    ///
    /// # Errors
    /// A malformed key, a failing ledger.
    pub async fn chat_history(
        &self,
        _caller: &Caller,
        _query: HistoryQuery,
    ) -> Result<History, DispatchError> {
        Err(DispatchError::Stopped)
    }

    /// Appends an assistant message to a transcript.
    ///
    /// # Errors
    /// No such session, a failing ledger.
    pub async fn chat_inject(
        &self,
        _caller: &Caller,
        _request: ChatInject,
    ) -> Result<Injected, DispatchError> {
        Err(DispatchError::Stopped)
    }

    /// Lists sessions.
    ///
    /// # Errors
    /// An unknown agent, a failing ledger.
    pub async fn sessions_list(
        &self,
        _caller: &Caller,
        _list: SessionList,
    ) -> Result<SessionsPage, DispatchError> {
        Err(DispatchError::Stopped)
    }

    /// One session with its active runs; `None` when it does not exist.
    ///
    /// # Errors
    /// A malformed key, a failing ledger.
    pub async fn session(
        &self,
        _caller: &Caller,
        _key: &str,
        _agent_id: Option<&str>,
    ) -> Result<Option<SessionView>, DispatchError> {
        Err(DispatchError::Stopped)
    }

    /// Finds sessions by key, id or label; several only for an ambiguous label or id.
    ///
    /// # Errors
    /// A malformed key, a failing ledger.
    pub async fn sessions_resolve(
        &self,
        _caller: &Caller,
        _name: SessionName,
        _agent_id: Option<&str>,
    ) -> Result<Vec<SessionRecord>, DispatchError> {
        Err(DispatchError::Stopped)
    }

    /// Changes settings of a session, making it when it does not exist.
    ///
    /// # Errors
    /// A bad setting, a label in use, a failing ledger.
    pub async fn sessions_patch(
        &self,
        _caller: &Caller,
        _key: &str,
        _agent_id: Option<&str>,
        _patch: SessionPatch,
    ) -> Result<SessionRecord, DispatchError> {
        Err(DispatchError::Stopped)
    }

    /// Stops the session's runs and gives it a new, empty transcript.
    ///
    /// # Errors
    /// Runs that do not end, an unexpected transcript, a failing ledger.
    pub async fn sessions_reset(
        &self,
        _caller: &Caller,
        _request: SessionReset,
    ) -> Result<SessionRecord, DispatchError> {
        Err(DispatchError::Stopped)
    }

    /// Stops the session's runs and removes it; `None` when it did not exist.
    ///
    /// # Errors
    /// The main session, runs that do not end, an unexpected transcript, a failing ledger.
    pub async fn sessions_delete(
        &self,
        _caller: &Caller,
        _key: &str,
        _agent_id: Option<&str>,
        _expected_session_id: Option<&str>,
    ) -> Result<Option<SessionRecord>, DispatchError> {
        Err(DispatchError::Stopped)
    }

    /// The canonical form of a session key and the agent it belongs to.
    ///
    /// # Errors
    /// A malformed key, an unknown or disagreeing agent.
    pub fn resolve_key(
        &self,
        _key: &str,
        _agent_id: Option<&str>,
    ) -> Result<(SessionKey, AgentId), DispatchError> {
        Err(DispatchError::Stopped)
    }

    /// The numbers of `status`.
    ///
    /// # Errors
    /// A failing ledger.
    pub async fn status(&self) -> Result<StatusReport, DispatchError> {
        Err(DispatchError::Stopped)
    }

    /// The key of an agent's main session.
    pub fn main_session(&self, agent: &AgentId) -> SessionKey {
        SessionKey::from_canonical(format!("agent:{agent}:{}", self.parts.config.main_key()))
    }
}
