//! Shows runs to those who follow them: for each run with a viewer, one task reads the run's log
//! and puts what clients see into the feed.
//!
//! A run is only projected while somebody follows it. A viewer that comes while a run is under way
//! sees what happens from then on; what was before it finds in the history. Owns the count of
//! viewers and the set of runs that are projected.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::dispatch::AgentEntry;
use crate::events::{Item, Log, Notice, Record, Subscription};
use crate::ids::RunId;
use crate::protocol::events::Event as Kind;
use crate::protocol::events::session::SessionTool;
use crate::protocol::projection::{Moment, ProjectedRun, RunProjection};
use crate::shutdown::Phase;

use super::changes::read_row;
use super::event::Event;
use super::interest::{Interest, Scope};
use super::native::{Native, encode};

/// Items taken from a log before what they bring about is published.
const READY_MAX: usize = 256;

/// How long an answer waits for the events it is about.
const TOLD_MAX: Duration = Duration::from_secs(1);

/// How long events of a run wait at most for the row of its session, which is then left out: a slow
/// store must not hold back what the run says.
const ROW_WAIT: Duration = Duration::from_millis(250);

/// Time between two questions whether a run without events was accepted at all.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// Who follows what, and which runs are projected.
#[derive(Debug, Default)]
pub(super) struct Runs {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    viewers: Interest,
    /// Runs that are projected; the token is cancelled when the last event is in the feed.
    projected: HashMap<RunId, CancellationToken>,
}

impl State {
    /// Ends the projection of a run, for whoever waits for that.
    fn end_projection(&mut self, run: RunId) {
        if let Some(told) = self.projected.remove(&run) {
            told.cancel();
        }
    }
}

impl Runs {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic half-way, so a poisoned lock still guards whole state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until everything a run that has ended says is in the feed, so that an answer about its
    /// end can come behind it. Does not wait for ever: an answer may not depend on viewers.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn told(&self, run: RunId) {
        let told = self.lock().projected.get(&run).cloned();
        if let Some(told) = told
            && timeout(TOLD_MAX, told.cancelled()).await.is_err()
        {
            tracing::warn!(run_id = %run, "the end of a run is not told yet");
        }
    }
}

/// Waits until everything that runs which have ended say is in the feed, within the limit of one
/// answer.
///
/// # Cancel safety
/// Cancel safe.
pub(super) async fn all_told(native: &Native) {
    let logs = native.dispatch.logs();
    let ended: Vec<_> = {
        let state = native.runs.lock();
        let projected = state.projected.iter();
        projected
            .filter(|(run, _)| logs.get(**run).is_some_and(|log| log.terminal().is_some()))
            .map(|(run, told)| (*run, told.clone()))
            .collect()
    };
    let deadline = Instant::now() + TOLD_MAX;
    for (run, told) in ended {
        if timeout_at(deadline, told.cancelled()).await.is_err() {
            tracing::warn!(run_id = %run, "the end of a run is not told yet");
        }
    }
}

/// Keeps runs projected for one viewer.
#[derive(Debug)]
pub(super) struct Watch {
    native: Arc<Native>,
    scope: Scope,
}

impl Watch {
    /// Follows `scope` from now on.
    ///
    /// A run that is under way and was followed by nobody is shown from this moment on; every run
    /// that is accepted after this call is shown from its beginning.
    pub(super) fn new(native: &Arc<Native>, scope: Scope) -> Self {
        let before = {
            let mut state = native.runs.lock();
            let before = state.viewers.within(&scope);
            state.viewers.add(&scope);
            before
        };
        // Only now, so that no run is accepted unseen between the two.
        let logs = native.dispatch.logs();
        let live = match &scope {
            Scope::Everything => logs.live(),
            Scope::Session(session) => logs.live_in(session),
        };
        for log in live {
            // Runs that were followed before are shown already, or will be from their start.
            if !before.covers(&log.info().session) {
                project(native, &log, Beginning::Now);
            }
        }
        Self {
            native: Arc::clone(native),
            scope,
        }
    }

    /// What is followed.
    pub(super) const fn scope(&self) -> &Scope {
        &self.scope
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.native.runs.lock().viewers.remove(&self.scope);
    }
}

/// From where on a run is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beginning {
    /// From its first event.
    Start,
    /// From what happens next.
    Now,
}

/// Projects every run that is accepted while somebody follows it, until runs are settled.
pub(super) async fn project_runs(native: Arc<Native>) {
    let mut notices = native.dispatch.bus().subscribe();
    loop {
        let notice = tokio::select! {
            biased;
            notice = notices.recv() => notice,
            () = native.drain.reached(Phase::Closing) => return,
        };
        match notice {
            Ok(Notice::RunAccepted(log)) => project(&native, &log, Beginning::Start),
            Ok(
                Notice::RunStarted(_)
                | Notice::RunEnded(_)
                | Notice::Message { .. }
                | Notice::Compaction { .. }
                | Notice::SessionChanged { .. },
            ) => {}
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "notices of runs were lost; reading the runs anew");
                // A run of before that was followed by nobody was shown from the moment its first
                // viewer came, so whatever is not projected is one of those missed.
                for log in native.dispatch.logs().live() {
                    project(&native, &log, Beginning::Start);
                }
            }
            Err(RecvError::Closed) => return,
        }
    }
}

/// Begins to project a run, if somebody follows it and nobody does it yet.
fn project(native: &Arc<Native>, log: &Arc<Log>, beginning: Beginning) {
    let info = log.info();
    {
        let mut state = native.runs.lock();
        let is_followed = state.viewers.covers(&info.session);
        if !is_followed || state.projected.contains_key(&info.run_id) {
            return;
        }
        let told = CancellationToken::new();
        state.projected.insert(info.run_id, told);
    }
    let projector = Projector {
        agent: native.dispatch.agents().get(&info.agent),
        reader: Subscription::from_start(Arc::clone(log)),
        native: Arc::clone(native),
        log: Arc::clone(log),
        has_begun: false,
        is_given_up: false,
    };
    native
        .tasks
        .spawn("ws.projection", projector.run(beginning));
}

/// Reads the log of one run and tells its viewers.
struct Projector {
    native: Arc<Native>,
    log: Arc<Log>,
    agent: Option<Arc<AgentEntry>>,
    reader: Subscription,
    /// Whether anything has been read.
    has_begun: bool,
    /// Whether the run has left the set of projected ones.
    is_given_up: bool,
}

impl Projector {
    async fn run(mut self, beginning: Beginning) {
        let mut projection = self.begin();
        if beginning == Beginning::Now {
            self.catch_up(&mut projection);
        }
        while self.publish(&mut projection).await && self.is_followed() {
            let pause = self.pause(&projection);
            tokio::select! {
                biased;
                item = self.reader.next() => match item {
                    Some(item) => self.feed(&mut projection, &item),
                    None => break,
                },
                () = pause => projection.handle_timeout(self.moment()),
            }
            if !self.has_begun && self.is_forgotten() {
                break;
            }
            // What is there already goes into the same publication.
            for _ in 0..READY_MAX {
                let Some(item) = self.reader.try_next() else {
                    break;
                };
                self.feed(&mut projection, &item);
            }
        }
    }

    /// Waits until text that was held back is due; before the first event, until it is time to ask
    /// whether the run was accepted at all.
    fn pause(&self, projection: &RunProjection) -> impl Future<Output = ()> + use<> {
        let due = projection.poll_timeout().map(Instant::from_std);
        let ask = (!self.has_begun).then(|| Instant::now() + ASK_AGAIN);
        let deadline = due.or(ask);
        async move {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Whether the run was refused after its log was opened: nothing will ever be written to it.
    fn is_forgotten(&self) -> bool {
        let run = self.log.info().run_id;
        self.native.dispatch.logs().get(run).is_none()
    }

    fn begin(&self) -> RunProjection {
        let info = self.log.info();
        RunProjection::new(ProjectedRun {
            info,
            session_id: None,
            model: self
                .agent
                .as_ref()
                .and_then(|agent| agent.models.first().cloned()),
            show_reasoning: self
                .agent
                .as_ref()
                .is_some_and(|agent| agent.show_reasoning),
        })
    }

    /// Takes in what has happened without telling anybody.
    fn catch_up(&mut self, projection: &mut RunProjection) {
        while let Some(item) = self.reader.try_next() {
            self.feed(projection, &item);
            while projection.poll_event().is_some() {}
        }
    }

    fn feed(&mut self, projection: &mut RunProjection, item: &Item) {
        self.has_begun = true;
        let at = self.moment();
        match item {
            Item::Text { text, .. } => projection.handle_text(text, at),
            Item::Record { record, .. } => match &**record {
                Record::Started { at_ms } => projection.handle_started(*at_ms),
                Record::Event(event) => projection.handle_event(event, at),
            },
            // What was dropped is told nobody; the answer is not part of it.
            Item::Gap { .. } => {}
            Item::End { terminal, .. } => projection.handle_terminal(terminal, at),
        }
    }

    fn moment(&self) -> Moment {
        Moment {
            now: Instant::now().into_std(),
            wall_ms: self.native.clock.now_ms(),
        }
    }

    /// Puts what is ready into the feed; false after the last event of the run.
    async fn publish(&self, projection: &mut RunProjection) -> bool {
        let info = self.log.info();
        let mut is_last = false;
        let mut row = None;
        let mut events = Vec::new();
        while let Some(mut projected) = projection.poll_event() {
            is_last |= projected.is_last;
            let step = projected.step.take();
            events.push(Event::of_run(info, projected));
            if let Some(step) = step.filter(|_| self.is_watched()) {
                if row.is_none() {
                    let reading = read_row(&self.native, &info.session, &info.agent);
                    row = Some(timeout(ROW_WAIT, reading).await.ok().flatten());
                }
                let row = row.as_ref().and_then(Option::as_ref);
                let told = SessionTool::of(info, *step, row);
                let encoded = encode(Kind::SessionTool, &told);
                events.extend(encoded.map(|encoded| Event::of_tool(info, encoded)));
            }
        }
        if !events.is_empty() {
            self.native.feed.publish(events);
        }
        !is_last
    }

    /// Whether anybody follows the messages of the session.
    fn is_watched(&self) -> bool {
        let session = &self.log.info().session;
        let followers = &self.native.followers;
        followers.with(|followers| followers.covers(session))
    }

    /// Whether anybody follows the run. When nobody does it is no longer projected, and a viewer
    /// that comes later begins anew.
    fn is_followed(&mut self) -> bool {
        let info = self.log.info();
        let mut state = self.native.runs.lock();
        let is_followed = state.viewers.covers(&info.session);
        if !is_followed {
            // Under the same lock, so that whoever comes next begins anew.
            state.end_projection(info.run_id);
            self.is_given_up = true;
        }
        is_followed
    }
}

impl Drop for Projector {
    fn drop(&mut self) {
        if !self.is_given_up {
            let mut state = self.native.runs.lock();
            state.end_projection(self.log.info().run_id);
        }
    }
}
