//! What a start does with runs that an earlier process left without an end.
//!
//! Every accepted run gets exactly one terminal: one that had started ends as interrupted, unless
//! its agent's runs may be started over; one that never started is queued again, in the order of
//! acceptance; its input is in the transcript either way.

use std::collections::HashSet;
use std::sync::Arc;

use crate::clock::Clock;
use crate::dispatch::Dispatch;
use crate::ids::AgentId;
use crate::run::{Outcome, Terminal};
use crate::session::{EndRun, Ledger, LedgerError, OpenRun};

/// Open runs that are read at most; more than the queue of a gateway can hold.
const OPEN_RUNS_MAX: u32 = 100_000;

/// Ends what had started and returns what is to be queued again: first the runs of `restartable`
/// agents that had started, because they held their lanes, then what waited, each oldest first.
///
/// # Errors
/// A failing ledger.
pub(super) async fn settle(
    ledger: &Arc<dyn Ledger>,
    clock: &Arc<dyn Clock>,
    restartable: &HashSet<AgentId>,
) -> Result<Vec<OpenRun>, LedgerError> {
    let mut begun = Vec::new();
    let mut waiting = Vec::new();
    let mut interrupted = 0_u64;
    for run in ledger.open_runs(OPEN_RUNS_MAX).await? {
        if run.record.started_at_ms.is_none() {
            waiting.push(run);
        } else if restartable.contains(&run.record.agent) {
            begun.push(run);
        } else {
            end(&run, ledger, clock).await?;
            interrupted += 1;
        }
    }
    if interrupted > 0 {
        tracing::warn!(
            runs = interrupted,
            "runs of an earlier process ended as interrupted"
        );
    }
    begun.append(&mut waiting);
    Ok(begun)
}

/// Queues runs again; one that cannot be queued ends as interrupted.
pub(super) async fn requeue(
    runs: Vec<OpenRun>,
    dispatch: &Dispatch,
    ledger: &Arc<dyn Ledger>,
    clock: &Arc<dyn Clock>,
) {
    for run in runs {
        let queued = match dispatch.requeue(&run).await {
            Ok(queued) => queued,
            Err(error) => {
                tracing::warn!(run_id = %run.record.run_id, %error, "run not queued again");
                false
            }
        };
        if queued {
            continue;
        }
        if let Err(error) = end(&run, ledger, clock).await {
            tracing::error!(run_id = %run.record.run_id, %error, "run not settled");
        }
    }
}

async fn end(
    run: &OpenRun,
    ledger: &Arc<dyn Ledger>,
    clock: &Arc<dyn Clock>,
) -> Result<(), LedgerError> {
    let end = EndRun {
        lease: ledger.lease(),
        run_id: run.record.run_id,
        session: run.record.session.clone(),
        entries: Vec::new(),
        terminal: Terminal {
            outcome: Outcome::Interrupted,
            started_at_ms: run.record.started_at_ms,
            ended_at_ms: clock.now_ms(),
            usage: None,
        },
    };
    ledger.end_run(end).await.map(|_entries| ())
}
