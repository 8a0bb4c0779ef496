//! How the process winds down (`design.md` §4, "Drain").

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout, timeout_at};

use crate::events::{Bus, Logs};
use crate::run::AbortCause;
use crate::scheduler::SchedulerHandle;
use crate::session::Ledger;
use crate::shutdown::{Drain, Phase, Tasks};

/// How long runs that are cut may take to be settled.
const SETTLE_MAX: Duration = Duration::from_secs(10);

/// How long peers may take to read the last answers and to say goodbye: what is left of the budget,
/// within these bounds.
const GOODBYE: RangeInclusive<Duration> = Duration::from_secs(2)..=Duration::from_secs(10);

/// How long tasks may take to end once the process has stopped.
const JOIN_MAX: Duration = Duration::from_secs(3);

/// Winds the process down.
#[derive(Debug)]
pub(super) struct Stopper {
    pub(super) drain: Drain,
    pub(super) tasks: Tasks,
    pub(super) scheduler: SchedulerHandle,
    pub(super) logs: Arc<Logs>,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) budget: Duration,
}

impl Stopper {
    /// Refuses new work, lets runs finish within the budget, settles the rest, says goodbye and
    /// closes the store. `Phase::Stopped` at any time ends it early.
    pub(super) async fn wind_down(self, goodbye: impl Future<Output = ()>) {
        self.drain.advance(Phase::Draining);
        tracing::info!(
            budget_seconds = self.budget.as_secs(),
            runs = self.logs.live().len(),
            "draining: no new work is taken"
        );
        let budget_ends = Instant::now() + self.budget;
        let orderly = async {
            self.scheduler.drain();
            if !self.runs_end(self.budget).await {
                tracing::warn!(runs = self.logs.live().len(), "the drain budget is used up");
                self.scheduler
                    .cancel_where(|_run| true, AbortCause::Restart);
                self.runs_end(SETTLE_MAX).await;
            }
            self.drain.advance(Phase::Closing);
            let left = budget_ends.saturating_duration_since(Instant::now());
            let limit = left.clamp(*GOODBYE.start(), *GOODBYE.end());
            timeout(limit, goodbye).await.ok();
        };
        tokio::select! {
            biased;
            () = self.drain.reached(Phase::Stopped) => {}
            () = orderly => {}
        }
        self.drain.advance(Phase::Stopped);
        if let Err(error) = self.ledger.close().await {
            tracing::error!(%error, "the store was not closed cleanly");
        }
        if timeout(JOIN_MAX, self.tasks.join()).await.is_err() {
            tracing::warn!(tasks = self.tasks.len(), "tasks were left behind");
        }
        tracing::info!("stopped");
    }

    /// Waits until no run is left; false when the time is over first.
    async fn runs_end(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut notices = self.bus.subscribe();
        while !self.logs.live().is_empty() {
            match timeout_at(deadline, notices.recv()).await {
                Ok(Ok(_) | Err(RecvError::Lagged(_))) => {}
                Ok(Err(RecvError::Closed)) | Err(_) => return self.logs.live().is_empty(),
            }
        }
        true
    }
}
