//! What the command line uses of this machine beside a gateway: stored sessions, the shape of log
//! lines, model servers that run here.

use std::sync::Arc;

use crate::agent::model::{ModelClient, Spawner};
use crate::agent::{Found, Search};
use crate::metrics::Metrics;
use crate::shutdown::Tasks;

pub use crate::agent::Found as FoundModelServer;
pub use crate::dispatch::{LogTail, LogTailQuery, LogView};
pub use crate::session::sqlite::{ExportError, Offline};
pub use crate::session::{SessionQuery, SessionRecord};

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
