//! One method per operation; both fronts enter here.
//!
//! Each method authorizes, limits, validates and then calls the core. Knows no wire format and no
//! socket; configuration and agents come through view traits.

mod abort;
mod agent_session;
mod commands;
mod compact;
mod create;
mod error;
mod find;
mod history;
mod inspect;
mod reply;
mod request;
mod resolve;
mod resume;
mod runs;
mod search;
mod sessions;
mod settings;
mod text;
mod views;
mod wait;

pub use commands::{Command, CommandArgument, CommandGroup, available as available_commands};
pub use error::DispatchError;
pub use inspect::said;
pub use reply::{
    Aborted, Admitted, Compacted, CompactedHow, EndedRun, FoundRun, History, InFlight, Injected,
    QueueReport, RunView, SessionView, SessionsPage, ShownRun, Started, StatusReport, StoredRun,
    Waited, WaitingInput,
};
pub use request::{
    AgentChoice, AgentRun, Caller, ChatAbort, ChatCompletion, ChatInject, ChatSend, HistoryCursor,
    HistoryQuery, HttpSession, MessageQuery, SessionAbort, SessionCompact, SessionCreate,
    SessionDelete, SessionList, SessionName, SessionReset, SessionTexts,
};
pub use resume::NotResumed;
pub use search::{FoundMessage, FoundMessages, MessageSearch};
pub use settings::RunSettings;
pub use views::{
    AgentCatalog, AgentEntry, AgentIdentity, AgentLimits, ConfigSnapshot, ConfigView,
    GatewayIdentity, LogTail, LogTailQuery, LogView, ModelEntry, NoDefaultAgent,
};

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::auth::{Operation, Rates};
use crate::clock::Clock;
use crate::events::{Bus, Logs};
use crate::ids::IdSource;
use crate::metrics::Metrics;
use crate::scheduler::{QueueConfig, SchedulerHandle};
use crate::session::{Ledger, SessionQuery};
use crate::shutdown::Drain;

use compact::Compacting;

/// The operations of the gateway; shared by every connection.
#[derive(Debug)]
pub struct Dispatch {
    parts: Parts,
    compacting: Compacting,
    started: Instant,
}

/// What [`Dispatch`] is built from.
#[derive(Debug)]
pub struct Parts {
    /// Decides which run goes when.
    pub scheduler: SchedulerHandle,
    /// What happens in a busy session.
    pub queue: QueueConfig,
    /// Sessions and runs.
    pub ledger: Arc<dyn Ledger>,
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
    /// Rate limits.
    pub rates: Arc<Rates>,
    /// Whether new work is accepted.
    pub drain: Drain,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// New ids.
    pub ids: Arc<dyn IdSource>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

impl Dispatch {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        Self {
            parts,
            compacting: Compacting::default(),
            started: Instant::now(),
        }
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

    /// The rate limits every front keeps to.
    pub fn rates(&self) -> &Arc<Rates> {
        &self.parts.rates
    }

    /// The numbers the process keeps.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.parts.metrics
    }

    /// How long the queue is.
    pub fn queue(&self) -> QueueReport {
        let load = self.parts.scheduler.load();
        QueueReport {
            lanes: u64::try_from(load.lanes).unwrap_or(u64::MAX),
            oldest_wait: load.oldest_wait,
        }
    }

    /// The newest lines of the process's log.
    pub fn log_tail(&self, query: LogTailQuery) -> LogTail {
        self.parts.log_lines.tail(query)
    }

    /// The numbers of `status`.
    ///
    /// # Errors
    /// A failing ledger.
    pub async fn status(&self) -> Result<StatusReport, DispatchError> {
        let load = self.parts.scheduler.load();
        let query = SessionQuery {
            limit: 1,
            ..SessionQuery::default()
        };
        let page = self.parts.ledger.list_sessions(query).await?;
        Ok(StatusReport {
            active: u64::from(load.active),
            active_max: u64::from(self.parts.scheduler.active_max()),
            waiting: u64::from(load.waiting),
            lanes: u64::try_from(load.lanes).unwrap_or(u64::MAX),
            oldest_wait: load.oldest_wait,
            waited: Duration::from_millis(self.parts.metrics.queue_wait.sum_ms()),
            uptime: self.started.elapsed(),
            sessions: page.total,
        })
    }

    fn accepting(&self) -> Result<(), DispatchError> {
        if self.parts.drain.is_accepting() {
            Ok(())
        } else {
            Err(DispatchError::Draining)
        }
    }
}
