//! What the command line uses of this machine beside a gateway: stored sessions and runs, the shape
//! of log lines, model servers that run here.

use std::sync::Arc;

use crate::agent::model::{ModelClient, Spawner};
use crate::agent::{Found, Search};
use crate::config::Config;
use crate::dispatch::{ConfigView, said};
use crate::ids::{SessionKey, WireId};
use crate::metrics::Metrics;
use crate::protocol::methods::runs::RunParts;
use crate::session::key::{KeyError, canonicalize};
use crate::session::{LedgerError, RunRecord};
use crate::shutdown::Tasks;

pub use crate::agent::Found as FoundModelServer;
pub use crate::dispatch::{LogTail, LogTailQuery, LogView};
pub use crate::protocol::methods::runs::{RunRow, RunStatus, RunsGetResult, RunsListResult};
pub use crate::session::sqlite::{ExportError, Offline};
pub use crate::session::{SessionQuery, SessionRecord};

/// The canonical form of a session key, as a gateway with this configuration understands it.
///
/// # Errors
/// [`KeyError`] when it cannot be one.
pub fn session_key(config: &Config, raw: &str) -> Result<SessionKey, KeyError> {
    let agents = &config.agents;
    let first = || agents.list.first().map(|agent| agent.id.clone());
    let agent = agents.default.clone().or_else(first);
    let agent = agent.ok_or(KeyError::Malformed)?;
    let main_key = config.view.main_key();
    canonicalize(raw, &agent, &main_key).map(|canonical| canonical.key)
}

/// The runs in a store, as a gateway would list them.
///
/// # Errors
/// [`LedgerError`] when the store cannot be read.
pub fn stored_runs(
    store: &Offline,
    session: Option<&SessionKey>,
    limit: u32,
) -> Result<RunsListResult, LedgerError> {
    let runs = store.runs(session, limit)?;
    Ok(RunsListResult {
        runs: runs.iter().map(row).collect(),
    })
}

/// A run in a store, as a gateway would show it.
///
/// # Errors
/// [`LedgerError`] when the store cannot be read.
pub fn stored_run(store: &Offline, run_id: &str) -> Result<Option<RunsGetResult>, LedgerError> {
    let Ok(wire_id) = WireId::parse(run_id) else {
        return Ok(None);
    };
    Ok(store.run(&wire_id)?.map(|(record, entries)| {
        let (input, text) = said(&entries);
        RunsGetResult {
            run: row(&record),
            input,
            text,
        }
    }))
}

fn row(record: &RunRecord) -> RunRow {
    RunRow::from(RunParts {
        run: &record.wire_id,
        session: &record.session,
        agent: &record.agent,
        front: record.front,
        is_stored: true,
        accepted_at_ms: record.accepted_at_ms,
        started_at_ms: record.started_at_ms,
        terminal: record.terminal.as_ref(),
    })
}

/// Looks for model servers on this machine; `has_openai_key` says whether the environment holds a
/// key of `OpenAI`. Takes at most [`crate::agent::SEARCH_TIME_MAX`].
///
/// # Cancel safety
/// Cancel safe: dropping it closes its connections.
pub async fn model_servers(has_openai_key: bool) -> Vec<Found> {
    let tasks = Tasks::new();
    let spawner = Spawner::new(move |task| {
        // Tasks of the pool end with the client.
        drop(tasks.spawn("model search", task));
    });
    let client = ModelClient::new(spawner, Arc::new(Metrics::default()));
    let search = Search {
        has_openai_key,
        ..Search::default()
    };
    crate::agent::discover(&client, &search).await
}
