//! Runs by their wire id, for callers that may see them.

use std::sync::Arc;

use crate::auth::{Operation, Scope};
use crate::events::Log;
use crate::ids::{RunId, WireId};
use crate::run::{AbortCause, EntryBody, ToolCall, add_part};
use crate::session::RunRecord;

use super::resolve::owner;
use super::{Caller, Dispatch, DispatchError, FoundRun, StoredRun};

impl Dispatch {
    /// The newest run with this wire id that the caller may see; `None` also for one it may not.
    ///
    /// # Errors
    /// A missing scope, a failing ledger.
    pub async fn find_run(
        &self,
        caller: &Caller,
        id: &str,
    ) -> Result<Option<FoundRun>, DispatchError> {
        self.require(caller, Operation::ReadRun)?;
        self.visible_run(caller, id).await
    }

    /// Stops a run the caller may see and waits, within bounds, for its end; a run that has ended
    /// stays as it is.
    ///
    /// # Errors
    /// As [`Dispatch::find_run`].
    ///
    /// # Cancel safety
    /// Dropping the future does not take back the order.
    pub async fn cancel_run(
        &self,
        caller: &Caller,
        id: &str,
    ) -> Result<Option<FoundRun>, DispatchError> {
        self.require(caller, Operation::CancelRun)?;
        let found = self.visible_run(caller, id).await?;
        if let Some(FoundRun::Logged(log)) = &found
            && log.terminal().is_none()
        {
            self.abort(vec![Arc::clone(log)], AbortCause::Rpc).await;
        }
        Ok(found)
    }

    async fn visible_run(
        &self,
        caller: &Caller,
        id: &str,
    ) -> Result<Option<FoundRun>, DispatchError> {
        let Ok(wire_id) = WireId::parse(id) else {
            return Ok(None);
        };
        let logs = self.logs_of(caller, &wire_id).into_iter();
        let mut visible = logs.filter(|log| may_see(caller, Some(&log.info().owner.principal())));
        if let Some(log) = visible.next() {
            return Ok(Some(FoundRun::Logged(log)));
        }
        let principal = Some(owner(caller).principal());
        let record = self.parts.ledger.find_run(wire_id, principal).await?;
        match record.filter(|record| may_see(caller, record.principal.as_deref())) {
            Some(record) => self.stored_run(record).await.map(Some),
            None => Ok(None),
        }
    }

    /// The logs of the runs with this wire id: the caller's own before those of others, each newest
    /// first.
    pub(super) fn logs_of(&self, caller: &Caller, wire_id: &WireId) -> Vec<Arc<Log>> {
        let mut logs = self.parts.logs.by_wire_id(wire_id);
        if logs.len() > 1 {
            let own = owner(caller).principal();
            logs.sort_by_key(|log| log.info().owner.principal() != own);
        }
        logs
    }

    async fn stored_run(&self, record: RunRecord) -> Result<FoundRun, DispatchError> {
        let answer = self.stored_answer(record.run_id).await?;
        Ok(FoundRun::Stored(Box::new(StoredRun {
            record,
            text: answer.text,
            calls: answer.calls,
        })))
    }

    /// What the ledger has of the answer of a run.
    pub(super) async fn stored_answer(&self, run: RunId) -> Result<StoredAnswer, DispatchError> {
        let entries = self.parts.ledger.run_entries(run).await?;
        let mut whole = StoredAnswer::default();
        for part in entries.into_iter().filter_map(|entry| answer(entry.body)) {
            whole.add(part);
        }
        Ok(whole)
    }
}

/// An answer, as the ledger has it.
#[derive(Debug, Default)]
pub(super) struct StoredAnswer {
    pub(super) text: String,
    /// Calls of client tools.
    pub(super) calls: Vec<ToolCall>,
    pub(super) reasoning: String,
}

impl StoredAnswer {
    /// Adds what the run answered after another message was steered in.
    fn add(&mut self, part: Self) {
        add_part(&mut self.text, &part.text);
        self.calls.extend(part.calls);
        self.reasoning.push_str(&part.reasoning);
    }
}

/// Whether the caller may know of a run of this principal: it is its own, or it may do everything.
fn may_see(caller: &Caller, principal: Option<&str>) -> bool {
    caller.principal.scopes.allows(Scope::Admin)
        || principal.is_some_and(|principal| *principal == *owner(caller).principal())
}

fn answer(body: EntryBody) -> Option<StoredAnswer> {
    match body {
        EntryBody::Assistant {
            text,
            tool_calls,
            reasoning,
            ..
        } => Some(StoredAnswer {
            text,
            calls: tool_calls,
            reasoning,
        }),
        // The answer to a text command is all its run says.
        EntryBody::Command {
            is_answer: true,
            text,
            ..
        } => Some(StoredAnswer {
            text,
            ..StoredAnswer::default()
        }),
        EntryBody::User { .. }
        | EntryBody::Tool { .. }
        | EntryBody::ToolResult { .. }
        | EntryBody::Injected { .. }
        | EntryBody::Command { .. }
        | EntryBody::Compaction { .. } => None,
    }
}
