//! Tells those who follow sessions what happened to them: `session.message` for every message, and
//! `sessions.changed`, gathered for a moment (`protocol-facts` §7.4).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use crate::dispatch::SessionTexts;
use crate::events::{ChangeReason, CompactionPhase, Log, Notice};
use crate::ids::{AgentId, SessionKey, WireId};
use crate::protocol::events::Event as Kind;
use crate::protocol::events::session::{
    RunPhase, SessionMessage, SessionOperation, SessionsChanged,
};
use crate::protocol::row::SessionRow;
use crate::run::{Entry, EntryBody, Outcome};
use crate::shutdown::Phase;

use super::event::{Audience, Event};
use super::native::{Native, encode};
use super::rows;

/// How long a change waits for the next one.
const QUIET: Duration = Duration::from_millis(100);

/// How long a change waits at most.
const WAIT_MAX: Duration = Duration::from_millis(500);

/// Sessions with changes that wait; beyond that a change is told at once.
const WAITING_MAX: usize = 4096;

/// What happened to a session last.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    /// Somebody did something to it.
    Act(ChangeReason),
    /// A run of it moved on.
    Run(RunPhase, WireId),
}

impl Change {
    /// Whether it is told without waiting for more: acts of an operator are rare and each one
    /// matters, and the end of a run is what clients wait for.
    const fn is_urgent(&self) -> bool {
        match self {
            Self::Act(ChangeReason::Send) => false,
            Self::Act(
                ChangeReason::Create
                | ChangeReason::Steer
                | ChangeReason::New
                | ChangeReason::Reset
                | ChangeReason::Patch
                | ChangeReason::Delete
                | ChangeReason::Compact,
            ) => true,
            Self::Run(..) => self.is_end(),
        }
    }

    /// Whether it is the end of a run.
    const fn is_end(&self) -> bool {
        matches!(self, Self::Run(RunPhase::End | RunPhase::Error, _))
    }
}

/// Changes that wait to be told; pure but for the time it is given.
#[derive(Debug, Default)]
struct Waiting {
    sessions: BTreeMap<SessionKey, Waits>,
}

#[derive(Debug)]
struct Waits {
    agent: AgentId,
    change: Change,
    first: Instant,
    due: Instant,
}

impl Waiting {
    /// Notes a change; returns it when it is to be told at once. What waited for the session is
    /// superseded, because every event shows the whole session.
    fn push(
        &mut self,
        session: &SessionKey,
        agent: &AgentId,
        change: Change,
        now: Instant,
    ) -> Option<Change> {
        let earlier = self.sessions.remove(session);
        let is_full = earlier.is_none() && self.sessions.len() >= WAITING_MAX;
        if change.is_urgent() || is_full {
            return Some(change);
        }
        let first = earlier.map_or(now, |earlier| earlier.first);
        let waits = Waits {
            agent: agent.clone(),
            change,
            first,
            due: (now + QUIET).min(first + WAIT_MAX),
        };
        self.sessions.insert(session.clone(), waits);
        None
    }

    fn next_due(&self) -> Option<Instant> {
        self.sessions.values().map(|waits| waits.due).min()
    }

    /// Takes a change that has waited long enough.
    fn pop_due(&mut self, now: Instant) -> Option<(SessionKey, AgentId, Change)> {
        let due = self.sessions.iter().find(|(_, waits)| waits.due <= now)?;
        let session = due.0.clone();
        let waits = self.sessions.remove(&session)?;
        Some((session, waits.agent, waits.change))
    }
}

/// Follows the notices of sessions until runs are settled; then tells what waits and ends.
pub(super) async fn watch_sessions(native: Arc<Native>) {
    let mut notices = native.dispatch.bus().subscribe();
    let mut waiting = Waiting::default();
    loop {
        let due = waiting.next_due();
        let notice = tokio::select! {
            biased;
            () = native.drain.reached(Phase::Stopped) => return,
            notice = notices.recv() => Some(notice),
            () = native.drain.reached(Phase::Closing) => break,
            () = until(due) => None,
        };
        match notice {
            Some(Ok(notice)) => handle(&native, &mut waiting, notice).await,
            Some(Err(RecvError::Lagged(missed))) => {
                tracing::warn!(missed, "notices of sessions were lost; clients read anew");
                let hint = SessionsChanged::reload("delete", native.clock.now_ms());
                native.publish(Kind::SessionsChanged, &hint, Audience::List);
            }
            Some(Err(RecvError::Closed)) => return,
            None => {}
        }
        tell_due(&native, &mut waiting, Instant::now()).await;
    }
    tell_due(&native, &mut waiting, Instant::now() + WAIT_MAX).await;
}

async fn tell_due(native: &Native, waiting: &mut Waiting, now: Instant) {
    while let Some((session, agent, change)) = waiting.pop_due(now) {
        tell_change(native, &session, &agent, change).await;
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn handle(native: &Native, waiting: &mut Waiting, notice: Notice) {
    let (session, agent, change) = match notice {
        Notice::RunAccepted(_) => return,
        Notice::RunStarted(log) => run_change(&log, RunPhase::Start),
        Notice::RunEnded(log) => run_change(&log, end_phase(&log)),
        Notice::Message {
            session,
            agent,
            session_id: _,
            entry,
        } => return tell_message(native, &session, &agent, &entry).await,
        Notice::Compaction {
            session,
            agent,
            operation,
            phase,
        } => {
            let ts = native.clock.now_ms();
            let id = operation.to_string();
            let begun = SessionOperation::compact(id, &session, &agent, ts);
            let event = match phase {
                CompactionPhase::Started => begun,
                CompactionPhase::Ended { failure } => begun.ended(failure),
            };
            return native.publish(Kind::SessionOperation, &event, Audience::Messages(session));
        }
        Notice::SessionChanged {
            session,
            agent,
            reason,
        } => (session, agent, Change::Act(reason)),
    };
    if !native.followers.with(|list| list.covers_everything()) {
        return;
    }
    if let Some(change) = waiting.push(&session, &agent, change, Instant::now()) {
        tell_change(native, &session, &agent, change).await;
    }
}

fn run_change(log: &Log, phase: RunPhase) -> (SessionKey, AgentId, Change) {
    let info = log.info();
    let change = Change::Run(phase, info.wire_id.clone());
    (info.session.clone(), info.agent.clone(), change)
}

fn end_phase(log: &Log) -> RunPhase {
    match log.terminal().map(|terminal| terminal.outcome.clone()) {
        Some(Outcome::Error(_)) => RunPhase::Error,
        Some(
            Outcome::Ok(_) | Outcome::Aborted(_) | Outcome::TimedOut(_) | Outcome::Interrupted,
        )
        | None => RunPhase::End,
    }
}

async fn tell_message(native: &Native, session: &SessionKey, agent: &AgentId, entry: &Entry) {
    if !native.followers.with(|followers| followers.covers(session)) {
        return;
    }
    let row = read_row(native, session, agent).await;
    let messages = SessionMessage::of(session, agent, entry, row.as_ref());
    let answered = matches!(entry.body, EntryBody::Assistant { .. })
        .then(|| entry.wire_id.clone())
        .flatten();
    let events = messages.iter().filter_map(|message| {
        let encoded = encode(Kind::SessionMessage, message)?;
        let audience = Audience::Messages(session.clone());
        Some(match answered.clone() {
            // Nobody waits for more of an answer than this.
            Some(run) => Event::of_end(run, Kind::SessionMessage, encoded, audience),
            None => Event::new(Kind::SessionMessage, encoded, audience),
        })
    });
    native.feed.publish(events);
}

async fn tell_change(native: &Native, session: &SessionKey, agent: &AgentId, change: Change) {
    let ts = native.clock.now_ms();
    if change == Change::Act(ChangeReason::Delete) {
        let gone = SessionsChanged::deleted(session, agent, None, ts);
        native.publish(Kind::SessionsChanged, &gone, Audience::List);
        let hint = SessionsChanged::reload(ChangeReason::Delete.as_str(), ts);
        native.publish(Kind::SessionsChanged, &hint, Audience::List);
        return;
    }
    // A session without a record is one that is not stored, and no list shows it.
    let Some(row) = read_row(native, session, agent).await else {
        return;
    };
    let is_end = change.is_end();
    let (changed, run) = match change {
        Change::Act(reason) => (SessionsChanged::changed(reason.as_str(), row, ts), None),
        Change::Run(phase, run) => (SessionsChanged::run(phase, &run, row, ts), Some(run)),
    };
    let Some(encoded) = encode(Kind::SessionsChanged, &changed) else {
        return;
    };
    native.feed.publish([match run.filter(|_run| is_end) {
        Some(run) => Event::of_end(run, Kind::SessionsChanged, encoded, Audience::List),
        None => Event::new(Kind::SessionsChanged, encoded, Audience::List),
    }]);
}

/// The session as lists show it; none when it is not stored or cannot be read.
pub(super) async fn read_row(
    native: &Native,
    session: &SessionKey,
    agent: &AgentId,
) -> Option<SessionRow> {
    let itself = &native.itself;
    let view = native
        .dispatch
        .session(
            itself,
            session.as_str(),
            Some(agent.as_str()),
            SessionTexts::default(),
        )
        .await;
    match view {
        Ok(view) => view.map(|view| rows::row(native, &view)),
        Err(error) => {
            tracing::warn!(%session, %error, "a session could not be read for its followers");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(waiting: &mut Waiting, name: &str, change: Change, now: Instant) -> Option<Change> {
        let session = SessionKey::from_canonical(name);
        let agent = AgentId::parse("main").unwrap();
        waiting.push(&session, &agent, change, now)
    }

    fn popped(waiting: &mut Waiting, now: Instant) -> Option<(String, Change)> {
        let (session, _agent, change) = waiting.pop_due(now)?;
        Some((session.as_str().to_owned(), change))
    }

    const SEND: Change = Change::Act(ChangeReason::Send);

    fn run(phase: RunPhase) -> Change {
        Change::Run(phase, WireId::parse("r").unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn changes_are_gathered_until_it_is_quiet_but_not_for_long() {
        let start = Instant::now();
        let mut waiting = Waiting::default();
        let mut now = start;
        for _ in 0..8 {
            assert_eq!(push(&mut waiting, "a", SEND, now), None);
            assert_eq!(
                waiting.next_due(),
                Some((now + QUIET).min(start + WAIT_MAX))
            );
            now += Duration::from_millis(60);
            assert_eq!(popped(&mut waiting, now), None);
        }
        assert_eq!(push(&mut waiting, "a", run(RunPhase::Start), now), None);
        let told = popped(&mut waiting, start + WAIT_MAX);
        assert_eq!(told, Some(("a".to_owned(), run(RunPhase::Start))));
        assert_eq!(waiting.next_due(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_run_is_told_at_once_and_supersedes_what_waited() {
        let now = Instant::now();
        let mut waiting = Waiting::default();
        push(&mut waiting, "a", run(RunPhase::Start), now);
        push(&mut waiting, "b", SEND, now);
        let end = run(RunPhase::End);
        assert_eq!(push(&mut waiting, "a", end.clone(), now), Some(end));
        let deleted = Change::Act(ChangeReason::Delete);
        assert_eq!(push(&mut waiting, "c", deleted.clone(), now), Some(deleted));
        assert_eq!(
            popped(&mut waiting, now + QUIET),
            Some(("b".to_owned(), SEND))
        );
        assert_eq!(popped(&mut waiting, now + QUIET), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_is_bounded() {
        let now = Instant::now();
        let mut waiting = Waiting::default();
        for at in 0..WAITING_MAX {
            assert_eq!(push(&mut waiting, &at.to_string(), SEND, now), None);
        }
        assert_eq!(push(&mut waiting, "x", SEND, now), Some(SEND));
        assert_eq!(push(&mut waiting, "0", SEND, now), None);
    }
}
