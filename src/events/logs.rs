//! Finds the log of a run while the run lives and for a while after.
//!
//! Logs of live runs are bounded by the scheduler's caps; logs of ended runs by time, count and
//! bytes, oldest dropped first.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::ids::{RunId, SessionKey, WireId};
use crate::run::RunInfo;

use super::log::{Log, LogLimits};

/// How long and how much to keep of runs that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogsConfig {
    /// Limits of each log.
    pub log: LogLimits,
    /// How long an ended run's log is kept.
    pub keep: Duration,
    /// Most logs of ended runs.
    pub ended_max: usize,
    /// Most bytes in logs of ended runs.
    pub ended_bytes_max: usize,
}

impl Default for LogsConfig {
    fn default() -> Self {
        Self {
            log: LogLimits::default(),
            keep: Duration::from_mins(10),
            ended_max: 10_000,
            ended_bytes_max: 32 << 20,
        }
    }
}

/// The logs of live and recently ended runs.
#[derive(Debug)]
pub struct Logs {
    config: LogsConfig,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    by_run: HashMap<RunId, Arc<Log>>,
    by_wire: HashMap<WireId, Vec<RunId>>,
    live: HashMap<SessionKey, Vec<RunId>>,
    ended: VecDeque<Ended>,
    ended_bytes: usize,
}

#[derive(Debug)]
struct Ended {
    run: RunId,
    at: Instant,
    bytes: usize,
}

impl Logs {
    /// No logs yet.
    pub fn new(config: LogsConfig) -> Self {
        Self {
            config,
            state: Mutex::default(),
        }
    }

    /// Opens the log of a new run.
    pub fn open(&self, info: &Arc<RunInfo>) -> Arc<Log> {
        let log = Log::new(Arc::clone(info), self.config.log);
        let mut state = self.lock();
        state.by_run.insert(info.run_id, Arc::clone(&log));
        state
            .by_wire
            .entry(info.wire_id.clone())
            .or_default()
            .push(info.run_id);
        state
            .live
            .entry(info.session.clone())
            .or_default()
            .push(info.run_id);
        drop(state);
        log
    }

    /// Forgets a run that was not accepted after all.
    pub fn forget(&self, info: &RunInfo) {
        let mut state = self.lock();
        state.leave_live(info);
        state.remove(info.run_id);
    }

    /// Notes that a run ended: its log is kept for the configured time from `now`.
    pub fn ended(&self, log: &Log, now: Instant) {
        let bytes = log.bytes();
        let mut state = self.lock();
        state.leave_live(log.info());
        state.ended.push_back(Ended {
            run: log.info().run_id,
            at: now,
            bytes,
        });
        state.ended_bytes += bytes;
        state.sweep(&self.config, now);
    }

    /// Drops logs whose time is over.
    pub fn sweep(&self, now: Instant) {
        self.lock().sweep(&self.config, now);
    }

    /// The log of a run.
    pub fn get(&self, run: RunId) -> Option<Arc<Log>> {
        self.lock().by_run.get(&run).cloned()
    }

    /// The logs of the runs with this wire id, newest first.
    pub fn by_wire_id(&self, wire_id: &WireId) -> Vec<Arc<Log>> {
        let state = self.lock();
        let runs = state
            .by_wire
            .get(wire_id)
            .map(Vec::as_slice)
            .unwrap_or_default();
        runs.iter()
            .rev()
            .filter_map(|run| state.by_run.get(run).cloned())
            .collect()
    }

    /// The logs of the runs of a session that have not ended, in the order they were accepted.
    pub fn live_in(&self, session: &SessionKey) -> Vec<Arc<Log>> {
        let state = self.lock();
        let runs = state
            .live
            .get(session)
            .map(Vec::as_slice)
            .unwrap_or_default();
        runs.iter()
            .filter_map(|run| state.by_run.get(run).cloned())
            .collect()
    }

    /// The logs of every run that has not ended, oldest first.
    pub fn live(&self) -> Vec<Arc<Log>> {
        let state = self.lock();
        let runs = state.live.values().flatten();
        let mut logs: Vec<_> = runs
            .filter_map(|run| state.by_run.get(run).cloned())
            .collect();
        drop(state);
        logs.sort_unstable_by_key(|log| log.info().run_id);
        logs
    }

    /// How many logs there are, live and ended.
    pub fn len(&self) -> usize {
        self.lock().by_run.len()
    }

    /// Whether there is no log.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn leave_live(&mut self, info: &RunInfo) {
        if let Some(runs) = self.live.get_mut(&info.session) {
            runs.retain(|run| *run != info.run_id);
            if runs.is_empty() {
                self.live.remove(&info.session);
            }
        }
    }

    fn remove(&mut self, run: RunId) {
        let Some(log) = self.by_run.remove(&run) else {
            return;
        };
        let wire_id = &log.info().wire_id;
        if let Some(runs) = self.by_wire.get_mut(wire_id) {
            runs.retain(|other| *other != run);
            if runs.is_empty() {
                self.by_wire.remove(wire_id);
            }
        }
    }

    fn sweep(&mut self, config: &LogsConfig, now: Instant) {
        while let Some(oldest) = self.ended.front() {
            let over = self.ended.len() > config.ended_max
                || self.ended_bytes > config.ended_bytes_max
                || now.duration_since(oldest.at) >= config.keep;
            if !over {
                break;
            }
            let (run, bytes) = (oldest.run, oldest.bytes);
            self.ended.pop_front();
            self.ended_bytes -= bytes;
            self.remove(run);
        }
    }
}

#[cfg(test)]
pub(super) fn test_info(wire_id: &str) -> Arc<RunInfo> {
    use crate::ids::{AgentId, IdSource, SystemIds};
    use crate::run::{Front, OnDisconnect, Owner, Storage};
    Arc::new(RunInfo {
        run_id: RunId::from_uuid(SystemIds.random()),
        wire_id: WireId::parse(wire_id).unwrap(),
        session: SessionKey::from_canonical("agent:main:main"),
        agent: AgentId::parse("main").unwrap(),
        owner: Owner {
            credential: "token".into(),
            party: "test".into(),
            device: None,
            connection: None,
        },
        front: Front::NativeChat,
        storage: Storage::Stored,
        on_disconnect: OnDisconnect::Continue,
        accepted_at_ms: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{FinishReason, Outcome, Terminal};

    fn end(logs: &Logs, log: &Log, now: Instant) {
        log.close(Terminal {
            outcome: Outcome::Ok(FinishReason::Stop),
            started_at_ms: None,
            ended_at_ms: 0,
            usage: None,
        });
        logs.ended(log, now);
    }

    #[tokio::test(start_paused = true)]
    async fn ended_logs_go_after_their_time_and_over_their_count() {
        let logs = Logs::new(LogsConfig {
            ended_max: 2,
            ..LogsConfig::default()
        });
        let start = Instant::now();
        let opened: Vec<_> = ["a", "b", "c"].map(|id| logs.open(&test_info(id))).into();
        assert_eq!(logs.live().len(), 3);
        for log in &opened {
            end(&logs, log, start);
        }
        assert_eq!(logs.len(), 2);
        assert!(logs.by_wire_id(&WireId::parse("a").unwrap()).is_empty());
        logs.sweep(start + Duration::from_secs(601));
        assert!(logs.is_empty());
        assert!(logs.live().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_wire_id_finds_the_newest_run_first() {
        let logs = Logs::new(LogsConfig::default());
        let first = logs.open(&test_info("same"));
        let second = logs.open(&test_info("same"));
        let found = logs.by_wire_id(&WireId::parse("same").unwrap());
        let found: Vec<_> = found.iter().map(|log| log.info().run_id).collect();
        assert_eq!(found, [second.info().run_id, first.info().run_id]);
        logs.forget(second.info());
        assert_eq!(logs.by_wire_id(&WireId::parse("same").unwrap()).len(), 1);
    }
}
