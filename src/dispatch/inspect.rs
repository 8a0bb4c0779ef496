//! Looking at runs: those of the ledger, and the live ones it does not keep.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::auth::Operation;
use crate::events::Log;
use crate::ids::WireId;
use crate::run::{Entry, EntryBody, Storage, add_part};
use crate::session::RunRecord;

use super::{Caller, Dispatch, DispatchError, RunView, ShownRun};

impl Dispatch {
    /// The newest runs of all sessions or of one, newest first.
    ///
    /// # Errors
    /// A malformed key, a failing ledger.
    pub async fn runs_list(
        &self,
        caller: &Caller,
        session_key: Option<String>,
        limit: u32,
    ) -> Result<Vec<RunView>, DispatchError> {
        self.require(caller, Operation::Method("runs.list"))?;
        let session = match session_key {
            Some(raw) => Some(self.resolve_key(&raw, None)?.0),
            None => None,
        };
        // What is stored is read from the ledger alone: its log may be open before it is accepted.
        let live = match &session {
            Some(key) => self.parts.logs.live_in(key),
            None => self.parts.logs.live(),
        };
        let ephemeral = live
            .iter()
            .filter(|log| log.info().storage == Storage::Ephemeral);
        let mut runs: Vec<RunView> = ephemeral.map(|log| of_log(log)).collect();
        let stored = self.parts.ledger.list_runs(session, limit).await?;
        runs.extend(stored.into_iter().map(of_record));
        runs.sort_by_key(|run| Reverse((run.accepted_at_ms, run.run_id)));
        runs.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(runs)
    }

    /// The newest run with this id, with what it was asked and what it answered.
    ///
    /// # Errors
    /// A failing ledger.
    pub async fn run(
        &self,
        caller: &Caller,
        run_id: &str,
    ) -> Result<Option<ShownRun>, DispatchError> {
        self.require(caller, Operation::Method("runs.get"))?;
        let Ok(wire_id) = WireId::parse(run_id) else {
            return Ok(None);
        };
        let log = self.parts.logs.by_wire_id(&wire_id).into_iter().next();
        let Some(record) = self.parts.ledger.find_run(wire_id, None).await? else {
            let ephemeral = log.filter(|log| log.info().storage == Storage::Ephemeral);
            return Ok(ephemeral.map(|log| ShownRun {
                run: of_log(&log),
                input: Vec::new(),
                text: log.text(),
            }));
        };
        let entries = self.parts.ledger.run_entries(record.run_id).await?;
        let live = log.filter(|log| log.info().run_id == record.run_id);
        let (input, stored_text) = said(&entries);
        Ok(Some(ShownRun {
            run: of_record(record),
            input,
            text: live.map_or(stored_text, |log| log.text()),
        }))
    }
}

/// What was asked and what was answered in the entries of a run.
pub fn said(entries: &[Entry]) -> (Vec<String>, String) {
    let mut input = Vec::new();
    let mut answer = String::new();
    for entry in entries {
        match &entry.body {
            EntryBody::User { text, .. } | EntryBody::ToolResult { text, .. } => {
                input.push(text.clone());
            }
            EntryBody::Assistant { text, .. } => add_part(&mut answer, text),
            EntryBody::Tool { .. }
            | EntryBody::Injected { .. }
            | EntryBody::Command { .. }
            | EntryBody::Compaction { .. } => {}
        }
    }
    (input, answer)
}

fn of_log(log: &Log) -> RunView {
    let info = log.info();
    RunView {
        run_id: info.run_id,
        wire_id: info.wire_id.clone(),
        session: info.session.clone(),
        agent: info.agent.clone(),
        front: info.front,
        is_stored: info.storage == Storage::Stored,
        accepted_at_ms: info.accepted_at_ms,
        started_at_ms: log.started_at_ms(),
        terminal: log.terminal(),
    }
}

fn of_record(record: RunRecord) -> RunView {
    RunView {
        run_id: record.run_id,
        wire_id: record.wire_id,
        session: record.session,
        agent: record.agent,
        front: record.front,
        is_stored: true,
        accepted_at_ms: record.accepted_at_ms,
        started_at_ms: record.started_at_ms,
        terminal: record.terminal.map(Arc::new),
    }
}
