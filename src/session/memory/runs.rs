//! Steps over runs and their idempotency keys.

use crate::ids::{RunId, SessionId, SessionKey, WireId};
use crate::run::{Entry, Terminal};
use crate::session::ledger::{
    Accepted, AppendAnswer, BeginRun, Begun, EndRun, EndedRow, IdempotencyScope, LastRun, Lease,
    LedgerError, NewEntry, NewRun, OpenRun, Placed, RunRecord, SessionTarget,
};
use crate::session::rules::{check_guard, fence, key_kept_until};

use super::state::{Input, Key, Run, Session, State, internal, key_name};

impl State {
    pub(super) fn begin_run(&mut self, begin: BeginRun) -> Result<Begun, LedgerError> {
        let (scope, now_ms) = (begin.run.idempotency.as_ref(), begin.run.accepted_at_ms);
        if let Some(known) = scope.and_then(|scope| self.known(scope, now_ms)) {
            return Ok(known);
        }
        if self.runs_by_id.contains_key(&begin.run.run_id) {
            return Err(internal("the run id is taken"));
        }
        self.check(&begin.run.session, begin.lease, begin.expected_session_id)?;
        let settings = self.sessions.get(&begin.run.session);
        let settings = settings.map(|session| session.record.settings.clone());
        let settings = settings.unwrap_or_default();
        check_guard(begin.guard, &settings)?;
        let target = SessionTarget {
            lease: begin.lease,
            key: begin.run.session.clone(),
            agent: begin.run.agent.clone(),
            new_session_id: begin.new_session_id,
            expected_session_id: None,
            at_ms: begin.run.accepted_at_ms,
        };
        if begin.reset && self.sessions.contains_key(&target.key) {
            self.reset_session(&target)?;
        }
        let number = self.ensure(&target)?;
        let session = self.sessions.get_mut(&begin.run.session);
        let record = &mut session.ok_or(LedgerError::NotFound)?.record;
        record.updated_at_ms = begin.run.accepted_at_ms;
        let session_id = record.session_id;
        let origin = (begin.run.run_id, begin.run.wire_id.clone());
        let has_input = !begin.input.is_empty();
        let (input, placed) = if begin.run.started_at_ms.is_some() {
            let placed = self.place(&begin.run.session, begin.input, &origin)?;
            (Input::Placed(placed.clone()), Some(placed))
        } else {
            (Input::Waiting(begin.input), None)
        };
        let run_id = begin.run.run_id;
        self.insert_run(begin.run, number, session_id, input);
        if let Some(run) = self.run_mut(run_id) {
            run.has_input = has_input;
        }
        Ok(Begun::New(Accepted {
            session_id,
            placed,
            settings,
        }))
    }

    fn place(
        &mut self,
        key: &SessionKey,
        input: Vec<NewEntry>,
        origin: &(RunId, WireId),
    ) -> Result<Placed, LedgerError> {
        let record = &self.sessions.get(key).ok_or(LedgerError::NotFound)?.record;
        Ok(Placed {
            session_id: record.session_id,
            entries_before: record.entries,
            input: self.write_entries(key, input, Some(origin)),
        })
    }

    /// The answer when an idempotency key is known.
    pub(super) fn known(&self, scope: &IdempotencyScope, now_ms: u64) -> Option<Begun> {
        let number = self.runs_by_key.get(&key_name(scope))?;
        let known = self.runs.get(number)?;
        let key = known.key.as_ref()?;
        if !key.is_kept(now_ms) {
            return None;
        }
        let record = known.record.clone();
        Some(if key.fingerprint == scope.fingerprint {
            Begun::Existing(record)
        } else {
            Begun::Conflict(record)
        })
    }

    fn insert_run(&mut self, run: NewRun, session: u64, session_id: SessionId, input: Input) {
        let number = self.newest_run() + 1;
        self.runs_by_id.insert(run.run_id, number);
        self.runs_by_wire.insert(run.wire_id.clone(), number);
        let key = run.idempotency.as_ref().map(Key::new);
        if let Some(key) = &key {
            self.runs_by_key.insert(key.name.clone(), number);
        }
        let record = RunRecord {
            run_id: run.run_id,
            wire_id: run.wire_id,
            session: run.session,
            session_id,
            agent: run.agent,
            front: run.front,
            principal: run.principal,
            accepted_at_ms: run.accepted_at_ms,
            started_at_ms: run.started_at_ms,
            terminal: None,
        };
        let run = Run {
            session,
            key,
            record,
            input,
            resume: run.resume,
            restarts: 0,
            folded_into: None,
            has_input: true,
        };
        self.runs.insert(number, run);
    }

    pub(super) fn start_run(
        &mut self,
        lease: Lease,
        run_id: RunId,
        at_ms: u64,
    ) -> Result<Placed, LedgerError> {
        let run = self.run(run_id).ok_or(LedgerError::NotFound)?;
        if run.record.terminal.is_some() {
            return Err(LedgerError::Ended);
        }
        let (number, key) = (run.session, run.record.session.clone());
        let session = self.live_session(number, &key);
        fence(lease, session.ok_or(LedgerError::NotFound)?.epoch)?;
        let run = self.run_mut(run_id).ok_or(LedgerError::NotFound)?;
        run.record.started_at_ms.get_or_insert(at_ms);
        let origin = (run_id, run.record.wire_id.clone());
        let input = match &mut run.input {
            Input::Placed(placed) => return Ok(placed.clone()),
            Input::Waiting(input) => std::mem::take(input),
        };
        let placed = self.place(&key, input, &origin)?;
        if let Some(session) = self.live_session(number, &key) {
            session.stamp(lease)?;
            session.record.updated_at_ms = at_ms;
        }
        if let Some(run) = self.run_mut(run_id) {
            run.record.session_id = placed.session_id;
            run.input = Input::Placed(placed.clone());
        }
        Ok(placed)
    }

    pub(super) fn restart_run(
        &mut self,
        lease: Lease,
        run_id: RunId,
        at_ms: u64,
    ) -> Result<Placed, LedgerError> {
        let placed = self.start_run(lease, run_id, at_ms)?;
        let run = self.run_mut(run_id).ok_or(LedgerError::NotFound)?;
        run.restarts = run.restarts.saturating_add(1);
        let (number, key) = (run.session, run.record.session.clone());
        if let Some(session) = self.live_session(number, &key) {
            session.stamp(lease)?;
            session.record.updated_at_ms = at_ms;
        }
        Ok(placed)
    }

    pub(super) fn fold_run(
        &mut self,
        lease: Lease,
        run_id: RunId,
        into: RunId,
        at_ms: u64,
    ) -> Result<Placed, LedgerError> {
        let head = self.run(into).ok_or(LedgerError::NotFound)?;
        if head.record.terminal.is_some() {
            return Err(LedgerError::Ended);
        }
        let placed = self.start_run(lease, run_id, at_ms)?;
        let run = self.run_mut(run_id).ok_or(LedgerError::NotFound)?;
        run.folded_into.get_or_insert(into);
        Ok(placed)
    }

    pub(super) fn append_answer(
        &mut self,
        answer: AppendAnswer,
    ) -> Result<Vec<Entry>, LedgerError> {
        let run = self.run(answer.run_id).ok_or(LedgerError::NotFound)?;
        let is_active = matches!(run.input, Input::Placed(_)) && run.record.terminal.is_none();
        let (number, record) = (run.session, run.record.clone());
        let Some(session) = self.live_session(number, &record.session) else {
            return Ok(Vec::new());
        };
        fence(answer.lease, session.epoch)?;
        if !is_active || session.record.session_id != record.session_id {
            return Ok(Vec::new());
        }
        session.stamp(answer.lease)?;
        session.record.updated_at_ms = answer.at_ms;
        let origin = (record.run_id, record.wire_id);
        Ok(self.write_entries(&record.session, answer.entries, Some(&origin)))
    }

    pub(super) fn end_run(&mut self, end: EndRun) -> Result<EndedRow, LedgerError> {
        let run = self.run(end.run_id).ok_or(LedgerError::NotFound)?;
        if let Some(terminal) = run.record.terminal.clone() {
            let entries = Vec::new();
            return Ok(EndedRow { terminal, entries });
        }
        let (number, record, has_input) = (run.session, run.record.clone(), run.has_input);
        let mut appended = Vec::new();
        if let Some(session) = self.live_session(number, &record.session) {
            fence(end.lease, session.epoch)?;
            // After a reset only the outcome of the run is kept.
            if session.record.session_id == record.session_id {
                session.stamp(end.lease)?;
                session.record.updated_at_ms = end.terminal.ended_at_ms;
                // A text command is not among the session's runs.
                if has_input {
                    session.count_run(&record.wire_id, &end.terminal);
                }
                let mut entries = self.take_input(end.run_id);
                entries.extend(end.entries);
                let origin = (record.run_id, record.wire_id);
                appended = self.write_entries(&record.session, entries, Some(&origin));
            }
        }
        let into = Some(end.run_id);
        let is_part = |run: &&mut Run| run.folded_into == into && run.record.terminal.is_none();
        for run in self.runs.values_mut().filter(is_part) {
            run.finish(end.terminal.of_folded());
        }
        if let Some(run) = self.run_mut(end.run_id) {
            run.finish(end.terminal.clone());
        }
        Ok(EndedRow {
            terminal: end.terminal,
            entries: appended,
        })
    }

    fn take_input(&mut self, run_id: RunId) -> Vec<NewEntry> {
        match self.run_mut(run_id).map(|run| &mut run.input) {
            Some(Input::Waiting(input)) => {
                let mut input = std::mem::take(input);
                for entry in &mut input {
                    entry.body.withhold();
                }
                input
            }
            Some(Input::Placed(_)) | None => Vec::new(),
        }
    }

    pub(super) fn find_run(&self, wire_id: &WireId, principal: Option<&str>) -> Option<RunRecord> {
        let own = principal.and_then(|principal| {
            let mut newest = self.runs.values().rev();
            newest.find(|run| {
                run.record.wire_id == *wire_id && run.record.principal.as_deref() == Some(principal)
            })
        });
        if let Some(own) = own {
            return Some(own.record.clone());
        }
        let number = self.runs_by_wire.get(wire_id)?;
        self.runs.get(number).map(|run| run.record.clone())
    }

    pub(super) fn run_entries(&self, run_id: RunId) -> Vec<Entry> {
        let transcript = self
            .run(run_id)
            .and_then(|run| self.transcripts.get(&run.record.session_id));
        let stored = transcript
            .into_iter()
            .flat_map(|transcript| &transcript.entries);
        stored
            .filter(|stored| stored.entry.run == Some(run_id))
            .map(|stored| stored.entry.clone())
            .collect()
    }

    pub(super) fn open_runs(&self, session: Option<&SessionKey>, limit: u32) -> Vec<OpenRun> {
        let is_asked = |run: &&Run| session.is_none_or(|key| run.record.session == *key);
        let open = self
            .runs
            .values()
            .filter(|run| run.record.terminal.is_none())
            .filter(is_asked);
        open.take(usize::try_from(limit).unwrap_or(usize::MAX))
            .map(Run::to_open)
            .collect()
    }

    pub(super) fn list_runs(&self, session: Option<&SessionKey>, limit: u32) -> Vec<RunRecord> {
        let number = session.map(|key| self.sessions.get(key).map(|session| session.number));
        let runs = self.runs.values().rev();
        runs.filter(|run| number.is_none_or(|number| number == Some(run.session)))
            .take(usize::try_from(limit).unwrap_or(usize::MAX))
            .map(|run| run.record.clone())
            .collect()
    }

    /// Removes ended runs but the newest `runs_max`; says how many went.
    pub(super) fn prune_runs(&mut self, runs_max: u64, now_ms: u64) -> u64 {
        let bound = self.newest_run().saturating_sub(runs_max);
        let before = self.runs.len();
        self.runs.retain(|number, run| {
            *number > bound
                || run.record.terminal.is_none()
                || run.key.as_ref().is_some_and(|key| key.is_kept(now_ms))
        });
        let runs = &self.runs;
        self.runs_by_id
            .retain(|_id, number| runs.contains_key(number));
        self.runs_by_key
            .retain(|_key, number| runs.contains_key(number));
        // An older run of the same wire id may be left when the newest one goes.
        let wires = runs
            .iter()
            .map(|(number, run)| (run.record.wire_id.clone(), *number));
        self.runs_by_wire = wires.collect();
        u64::try_from(before.saturating_sub(runs.len())).unwrap_or(u64::MAX)
    }

    /// The number of the newest run there is; 0 when there is none.
    fn newest_run(&self) -> u64 {
        self.runs
            .last_key_value()
            .map_or(0, |(number, _run)| *number)
    }

    /// The session of a run, unless it was deleted since.
    fn live_session(&mut self, number: u64, key: &SessionKey) -> Option<&mut Session> {
        let session = self.sessions.get_mut(key)?;
        (session.number == number).then_some(session)
    }

    fn run(&self, run_id: RunId) -> Option<&Run> {
        self.runs.get(self.runs_by_id.get(&run_id)?)
    }

    fn run_mut(&mut self, run_id: RunId) -> Option<&mut Run> {
        self.runs.get_mut(self.runs_by_id.get(&run_id)?)
    }
}

impl Run {
    fn to_open(&self) -> OpenRun {
        let origin = (self.record.run_id, self.record.wire_id.clone());
        let input = match &self.input {
            Input::Waiting(input) => input.as_slice(),
            Input::Placed(_) => &[],
        };
        let entries = input.iter().map(|new| new.clone().at(0, Some(&origin)));
        OpenRun {
            record: self.record.clone(),
            input: entries.collect(),
            resume: self.resume.clone(),
            restarts: self.restarts,
            folded_into: self.folded_into,
        }
    }

    fn finish(&mut self, terminal: Terminal) {
        if let Some(started) = terminal.started_at_ms {
            self.record.started_at_ms.get_or_insert(started);
        }
        if let Some(key) = &mut self.key {
            key.kept_until_ms = Some(key_kept_until(&terminal));
        }
        self.record.terminal = Some(terminal);
        self.resume = None;
    }
}

impl Session {
    fn count_run(&mut self, wire_id: &WireId, terminal: &Terminal) {
        if let Some(usage) = &terminal.usage {
            self.record.usage.add(usage);
        }
        self.record.updated_at_ms = terminal.ended_at_ms;
        self.record.last_run = Some(LastRun {
            wire_id: wire_id.clone(),
            terminal: terminal.clone(),
        });
    }
}
