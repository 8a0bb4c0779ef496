//! What a start does with runs that an earlier process left without an end.
//!
//! Every accepted run gets exactly one terminal: what was left open ends as interrupted, and its
//! input stays in the transcript.

use std::sync::Arc;

use crate::clock::Clock;
use crate::run::{Outcome, Terminal};
use crate::session::{EndRun, Ledger, LedgerError, OpenRun};

/// Open runs that are read at once.
const BATCH: u32 = 256;

/// Ends every open run as interrupted; returns how many there were.
///
/// # Errors
/// A failing ledger.
pub(super) async fn recover(
    ledger: &Arc<dyn Ledger>,
    clock: &Arc<dyn Clock>,
) -> Result<u64, LedgerError> {
    let mut ended = 0;
    loop {
        let open = ledger.open_runs(BATCH).await?;
        if open.is_empty() {
            return Ok(ended);
        }
        for run in open {
            ledger.end_run(interrupted(&run, ledger, clock)).await?;
            ended += 1;
        }
    }
}

fn interrupted(run: &OpenRun, ledger: &Arc<dyn Ledger>, clock: &Arc<dyn Clock>) -> EndRun {
    EndRun {
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
    }
}
