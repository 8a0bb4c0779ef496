//! Stopping runs, with the one rule about who may (`design.md` §4).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::auth::{Operation, Scope};
use crate::events::{Log, RunCommand, RunReply, Subscription};
use crate::ids::{SessionKey, WireId};
use crate::run::{AbortCause, RunInfo};

use super::resolve::owner;
use super::{Aborted, Caller, ChatAbort, Dispatch, DispatchError, SessionAbort};

/// How long an answer waits for the terminal of what it stopped, which is its commit.
const TERMINAL_WAIT_MAX: Duration = Duration::from_secs(5);

impl Dispatch {
    /// Stops runs of a session the caller may stop. When this returns their ends are committed.
    ///
    /// # Errors
    /// The run belongs to another session or to somebody else; the key is malformed.
    ///
    /// # Cancel safety
    /// Dropping the future does not take back the order.
    pub async fn chat_abort(
        &self,
        caller: &Caller,
        request: ChatAbort,
    ) -> Result<Aborted, DispatchError> {
        self.require(caller, Operation::Method("chat.abort"))?;
        let (session, _agent) =
            self.resolve_key(&request.session_key, request.agent_id.as_deref())?;
        match request.run_id {
            None => self.abort_session(caller, &session, AbortCause::Rpc).await,
            Some(run_id) => self.abort_run(caller, &session, &run_id).await,
        }
    }

    /// Stops the active run of a session, or one run by its id, and with `clear_queued` what waits
    /// behind it. When this returns their ends are committed.
    ///
    /// # Errors
    /// As [`Dispatch::chat_abort`]; neither session nor run is named.
    ///
    /// # Cancel safety
    /// Dropping the future does not take back the order.
    pub async fn sessions_abort(
        &self,
        caller: &Caller,
        request: SessionAbort,
    ) -> Result<Aborted, DispatchError> {
        self.require(caller, Operation::Method("sessions.abort"))?;
        let agent_id = request.agent_id.as_deref();
        let (session, run_id) = match (request.key, request.run_id) {
            (Some(key), run_id) => (self.resolve_key(&key, agent_id)?.0, run_id),
            (None, Some(run_id)) => match self.live_run(caller, &run_id) {
                None => return Ok(Aborted::default()),
                Some(log) => {
                    let key = &log.info().session;
                    (self.resolve_key(key.as_str(), agent_id)?.0, Some(run_id))
                }
            },
            (None, None) => return Err(DispatchError::NothingNamed),
        };
        match run_id {
            Some(run_id) => self.abort_run(caller, &session, &run_id).await,
            None if request.clear_queued => {
                self.abort_session(caller, &session, AbortCause::Rpc).await
            }
            None => match self.parts.logs.live_in(&session).into_iter().next() {
                None => Ok(Aborted::default()),
                Some(log) if self.may_stop(caller, &log) => {
                    Ok(self.abort(vec![log], AbortCause::Rpc).await)
                }
                Some(_) => Err(DispatchError::NotOwner),
            },
        }
    }

    fn live_run(&self, caller: &Caller, run_id: &str) -> Option<Arc<Log>> {
        let wire_id = WireId::parse(run_id).ok()?;
        let mut logs = self.logs_of(caller, &wire_id).into_iter();
        logs.find(|log| log.terminal().is_none())
    }

    /// `operator.admin`, or the same party, or a run nobody owns; of a run that is part of another
    /// one, that one, which is stopped with it.
    fn may_stop(&self, caller: &Caller, log: &Log) -> bool {
        let run = log.info().run_id;
        let head = self.parts.scheduler.head_of(run);
        let head = (head != run).then(|| self.parts.logs.get(head)).flatten();
        let run_owner = &head.as_deref().unwrap_or(log).info().owner;
        caller.principal.scopes.allows(Scope::Admin)
            || run_owner.is_nobody()
            || run_owner.is_same_party(&owner(caller))
    }

    /// Ends what a device has waiting and active that may ask for nothing any more.
    pub fn withdraw_device(&self, device: &str) {
        let is_its = |run: &RunInfo| run.owner.device.as_deref() == Some(device);
        let scheduler = &self.parts.scheduler;
        let runs = scheduler.cancel_where(is_its, AbortCause::Revoked);
        if runs > 0 {
            tracing::info!(runs, device, "runs of a withdrawn device ended");
        }
    }

    /// Carries out a stop command in a message.
    pub(super) async fn stop_session(
        &self,
        caller: &Caller,
        session: &SessionKey,
    ) -> Result<Aborted, DispatchError> {
        self.abort_session(caller, session, AbortCause::Stop).await
    }

    async fn abort_run(
        &self,
        caller: &Caller,
        session: &SessionKey,
        run_id: &str,
    ) -> Result<Aborted, DispatchError> {
        let Some(log) = self.live_run(caller, run_id) else {
            return Ok(Aborted::default());
        };
        if log.info().session != *session {
            return Err(DispatchError::RunInOtherSession);
        }
        if !self.may_stop(caller, &log) {
            return Err(DispatchError::NotOwner);
        }
        Ok(self.abort(vec![log], AbortCause::Rpc).await)
    }

    async fn abort_session(
        &self,
        caller: &Caller,
        session: &SessionKey,
        cause: AbortCause,
    ) -> Result<Aborted, DispatchError> {
        let mut live = self.parts.logs.live_in(session);
        let all = live.len();
        live.retain(|log| self.may_stop(caller, log));
        if live.is_empty() && all > 0 {
            return Err(DispatchError::NotOwner);
        }
        // What waits goes first, so that nothing takes the lane of what is stopped.
        live.reverse();
        Ok(self.abort(live, cause).await)
    }

    /// Stops these runs and waits, within bounds, until each has its terminal.
    pub(super) async fn abort(&self, logs: Vec<Arc<Log>>, cause: AbortCause) -> Aborted {
        let mut stopped = Vec::new();
        let mut heads = HashSet::new();
        for log in logs {
            // What is part of another run is stopped with it, and told once.
            let head = self.parts.scheduler.head_of(log.info().run_id);
            if heads.contains(&head) {
                stopped.push(log);
                continue;
            }
            match self.parts.bus.call(head, RunCommand::Cancel(cause)).await {
                Ok(RunReply::Cancelled) => {
                    heads.insert(head);
                    stopped.push(log);
                }
                Ok(RunReply::NotActive) => {}
                Err(error) => tracing::warn!(%error, "a run could not be stopped"),
            }
        }
        let deadline = Instant::now() + TERMINAL_WAIT_MAX;
        for log in &stopped {
            let mut reader = Subscription::from_start(Arc::clone(log));
            if timeout_at(deadline, reader.ended()).await.is_err() {
                tracing::error!(run_id = %log.info().run_id, "a stopped run has no terminal yet");
            }
        }
        stopped.reverse();
        Aborted {
            runs: stopped
                .iter()
                .map(|log| log.info().wire_id.clone())
                .collect(),
        }
    }
}
