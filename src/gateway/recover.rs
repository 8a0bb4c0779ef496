//! What a start does with runs that an earlier process left without an end.
//!
//! Every accepted run gets exactly one terminal: one that had started ends as interrupted, unless
//! its agent's runs may be started over; one that never started is queued again, in the order of
//! acceptance; its input is in the transcript either way. One that was part of another run shares
//! that one's fate.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::clock::Clock;
use crate::dispatch::{Dispatch, NotResumed};
use crate::ids::{AgentId, RunId};
use crate::run::{AbortCause, Outcome, Terminal};
use crate::session::{EndRun, Ledger, LedgerError, OpenRun};

/// Open runs that are read at most; more than the queue of a gateway can hold.
const OPEN_RUNS_MAX: u32 = 100_000;

/// A run to queue again, and those that are part of it.
pub(super) struct Left {
    run: OpenRun,
    folded: Vec<OpenRun>,
}

/// Ends what had started and returns what is to be queued again: first the runs of `restartable`
/// agents that had started, because they held their lanes, then what waited, each oldest first.
///
/// # Errors
/// A failing ledger.
pub(super) async fn settle(
    ledger: &Arc<dyn Ledger>,
    clock: &Arc<dyn Clock>,
    restartable: &HashSet<AgentId>,
) -> Result<Vec<Left>, LedgerError> {
    let mut begun = Vec::new();
    let mut waiting = Vec::new();
    let mut interrupted = 0_u64;
    let mut folded: HashMap<RunId, Vec<OpenRun>> = HashMap::new();
    for run in ledger.open_runs(OPEN_RUNS_MAX).await? {
        if let Some(into) = run.folded_into {
            folded.entry(into).or_default().push(run);
        } else if run.record.started_at_ms.is_none() {
            waiting.push(run);
        } else if restartable.contains(&run.record.agent) {
            begun.push(run);
        } else {
            // With it end those that are part of it.
            folded.remove(&run.record.run_id);
            end(&run, Outcome::Interrupted, ledger, clock).await?;
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
    let left = begun.into_iter().map(|run| Left {
        folded: folded.remove(&run.record.run_id).unwrap_or_default(),
        run,
    });
    Ok(left.collect())
}

/// Queues runs again; one that cannot be queued ends.
pub(super) async fn requeue(
    runs: Vec<Left>,
    dispatch: &Dispatch,
    ledger: &Arc<dyn Ledger>,
    clock: &Arc<dyn Clock>,
) {
    for Left { run, folded } in runs {
        let outcome = match dispatch.requeue(&run, &folded).await {
            Ok(Ok(())) => continue,
            Ok(Err(NotResumed::Revoked)) => Outcome::Aborted(AbortCause::Revoked),
            Ok(Err(NotResumed::Impossible)) => Outcome::Interrupted,
            Err(error) => {
                tracing::warn!(run_id = %run.record.run_id, %error, "run not queued again");
                Outcome::Interrupted
            }
        };
        if let Err(error) = end(&run, outcome, ledger, clock).await {
            tracing::error!(run_id = %run.record.run_id, %error, "run not settled");
        }
    }
}

async fn end(
    run: &OpenRun,
    outcome: Outcome,
    ledger: &Arc<dyn Ledger>,
    clock: &Arc<dyn Clock>,
) -> Result<(), LedgerError> {
    let end = EndRun {
        lease: ledger.lease(),
        run_id: run.record.run_id,
        session: run.record.session.clone(),
        entries: Vec::new(),
        terminal: Terminal {
            outcome,
            started_at_ms: run.record.started_at_ms,
            ended_at_ms: clock.now_ms(),
            usage: None,
        },
    };
    ledger.end_run(end).await.map(|_ended| ())
}
