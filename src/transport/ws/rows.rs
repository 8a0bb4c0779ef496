//! Sessions as clients see them: rows from what dispatch tells.

use std::sync::Arc;

use crate::dispatch::{AgentEntry, SessionView};
use crate::events::{Item, Record, Subscription};
use crate::ids::{AgentId, SessionKey};
use crate::protocol::methods::sessions::SessionDefaults;
use crate::protocol::row::{ActiveRun, RecordFacts, SessionFacts, SessionRow};
use crate::run::{ModelRef, RunInfo};
use crate::session::SessionRecord;

use super::native::Native;

/// The row of a session that exists.
pub(super) fn row(native: &Native, view: &SessionView) -> SessionRow {
    let record = &view.record;
    facts_row(
        native,
        &Session {
            key: &record.key,
            agent: &record.agent,
            record: Some(record),
            active: &view.active,
            first_text: view.first_text.as_deref(),
            last_text: view.last_text.as_deref(),
        },
    )
}

/// The row of a session without texts; one that does not exist has no transcript.
pub(super) fn bare_row(
    native: &Native,
    key: &SessionKey,
    agent: &AgentId,
    record: Option<&SessionRecord>,
) -> SessionRow {
    let logs = native.dispatch.logs().live_in(key);
    let active: Vec<_> = logs.iter().map(|log| Arc::clone(log.info())).collect();
    facts_row(
        native,
        &Session {
            key,
            agent,
            record,
            active: &active,
            first_text: None,
            last_text: None,
        },
    )
}

struct Session<'a> {
    key: &'a SessionKey,
    agent: &'a AgentId,
    record: Option<&'a SessionRecord>,
    active: &'a [Arc<RunInfo>],
    first_text: Option<&'a str>,
    last_text: Option<&'a str>,
}

fn facts_row(native: &Native, session: &Session<'_>) -> SessionRow {
    let model = model_of(native, session.agent, session.record);
    let active: Vec<_> = session
        .active
        .iter()
        .map(|info| ActiveRun {
            run: &info.wire_id,
            started_at_ms: started_at_ms(native, info),
        })
        .collect();
    SessionRow::new(&SessionFacts {
        key: session.key,
        agent: session.agent,
        main_key: &native.dispatch.config().main_key(),
        record: session.record.map(record_facts),
        active: &active,
        model: model.as_ref(),
        context_tokens: context_tokens(native, model.as_ref()),
        first_text: session.first_text,
        last_text: session.last_text,
    })
}

/// What the ledger knows of a session.
pub(super) fn record_facts(record: &SessionRecord) -> RecordFacts<'_> {
    RecordFacts {
        session_id: record.session_id,
        created_at_ms: record.created_at_ms,
        updated_at_ms: record.updated_at_ms,
        label: record.label.as_deref(),
        settings: &record.settings,
        usage: &record.usage,
        last_run: record
            .last_run
            .as_ref()
            .map(|last| (&last.wire_id, &last.terminal)),
    }
}

/// The model a session's next run uses: the one chosen for it, else its agent's first.
pub(super) fn model_of(
    native: &Native,
    agent: &AgentId,
    record: Option<&SessionRecord>,
) -> Option<ModelRef> {
    let chosen = record
        .and_then(|record| record.settings.get("model"))
        .and_then(serde_json::Value::as_str)
        .and_then(|name| name.split_once('/'));
    match chosen {
        Some((provider, model)) => Some(ModelRef {
            provider: provider.into(),
            model: model.into(),
        }),
        None => native
            .dispatch
            .agents()
            .get(agent)
            .and_then(|entry| first_model(&entry)),
    }
}

/// The model an agent uses unless told otherwise.
pub(super) fn first_model(agent: &AgentEntry) -> Option<ModelRef> {
    agent.models.first().cloned()
}

/// Tokens a model can take in, as far as the configuration says.
pub(super) fn context_tokens(native: &Native, model: Option<&ModelRef>) -> Option<u64> {
    let model = model?;
    let known = native.dispatch.agents().models();
    known
        .iter()
        .find(|entry| entry.model == *model)
        .and_then(|entry| entry.context_window)
}

/// What a new session of this agent uses.
pub(super) fn defaults(native: &Native, agent: Option<&AgentEntry>) -> SessionDefaults {
    let model = agent.and_then(first_model);
    let tokens = context_tokens(native, model.as_ref());
    SessionDefaults::new(model.as_ref(), tokens)
}

/// When the agent of a run was started: the first thing its log says.
fn started_at_ms(native: &Native, info: &RunInfo) -> Option<u64> {
    let log = native.dispatch.logs().get(info.run_id)?;
    match Subscription::from_start(log).try_next()? {
        Item::Record { record, .. } => match &*record {
            Record::Started { at_ms } => Some(*at_ms),
            Record::Event(_) => None,
        },
        Item::Text { .. } | Item::Gap { .. } | Item::End { .. } => None,
    }
}
