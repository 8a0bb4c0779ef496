//! Waiting for the end of a run.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout_at};

use crate::auth::Operation;
use crate::events::{Log, Notice, Subscription};
use crate::ids::WireId;
use crate::session::RunRecord;

use super::resolve::owner;
use super::{Caller, Dispatch, DispatchError, EndedRun, Waited};

/// Longest wait a caller may ask for.
const WAIT_MAX: Duration = Duration::from_hours(24);

impl Dispatch {
    /// Waits until a run ends, at most for `limit`. A run that does not exist yet is waited for.
    ///
    /// # Errors
    /// A failing ledger.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn wait(
        &self,
        caller: &Caller,
        run_id: &str,
        limit: Duration,
    ) -> Result<Waited, DispatchError> {
        self.require(caller, Operation::Method("agent.wait"))?;
        let Ok(wire_id) = WireId::parse(run_id) else {
            return Ok(Waited::Running);
        };
        let deadline = Instant::now() + limit.min(WAIT_MAX);
        let log = if let Some(log) = self.newest_log(caller, &wire_id) {
            log
        } else {
            let principal = Some(owner(caller).principal());
            let record = self
                .parts
                .ledger
                .find_run(wire_id.clone(), principal)
                .await?;
            if let Some(record) = record.filter(|record| record.terminal.is_some()) {
                return self.ended_from_ledger(record).await.map(Waited::Ended);
            }
            match timeout_at(deadline, self.appearance(caller, &wire_id)).await {
                Ok(log) => log,
                Err(_elapsed) => return Ok(Waited::Running),
            }
        };
        let mut reader = Subscription::from_start(Arc::clone(&log));
        match timeout_at(deadline, reader.ended()).await {
            Ok(Some(terminal)) => Ok(Waited::Ended(EndedRun {
                wire_id,
                session: log.info().session.clone(),
                terminal,
                text: log.text(),
                calls: Vec::new(),
                reasoning: String::new(),
                record: None,
            })),
            Ok(None) | Err(_) if has_started(&log) => Ok(Waited::Running),
            Ok(None) | Err(_) => Ok(Waited::Queued),
        }
    }

    /// The end of a run that is only in the ledger.
    pub(super) async fn ended_from_ledger(
        &self,
        record: RunRecord,
    ) -> Result<EndedRun, DispatchError> {
        let Some(terminal) = record.terminal.clone() else {
            return Err(DispatchError::Stopped);
        };
        let answer = self.stored_answer(record.run_id).await?;
        Ok(EndedRun {
            wire_id: record.wire_id.clone(),
            session: record.session.clone(),
            terminal: Arc::new(terminal),
            text: answer.text,
            calls: answer.calls,
            reasoning: answer.reasoning,
            record: Some(Arc::new(record)),
        })
    }

    fn newest_log(&self, caller: &Caller, wire_id: &WireId) -> Option<Arc<Log>> {
        self.logs_of(caller, wire_id).into_iter().next()
    }

    /// Waits until a run with this id is accepted.
    async fn appearance(&self, caller: &Caller, wire_id: &WireId) -> Arc<Log> {
        let mut notices = self.parts.bus.subscribe();
        loop {
            if let Some(log) = self.newest_log(caller, wire_id) {
                return log;
            }
            match notices.recv().await {
                Ok(Notice::RunAccepted(log)) if log.info().wire_id == *wire_id => return log,
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                // The bus lives as long as the process.
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

/// Whether the agent of a run was started.
pub(super) fn has_started(log: &Log) -> bool {
    log.started_at_ms().is_some()
}
