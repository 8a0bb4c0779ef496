//! `sessions list | export`: reads the store itself, beside a running gateway or without one.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde_json::json;

use super::args::SessionsCommand;
use super::configure::locate;
use super::{Context, Failure};
use crate::gateway::local::{ExportError, Offline, SessionQuery, SessionRecord};
use crate::ids::{AgentId, SessionKey};

/// Sessions that are read at once.
const PAGE: u32 = 500;

pub(super) fn run(context: Context<'_>, command: SessionsCommand) -> Result<(), Failure> {
    let (_env, paths) = locate(context)?;
    let store = Offline::open(&paths.state_dir).map_err(|error| context.fail(&error))?;
    match command {
        SessionsCommand::List {
            agent,
            search,
            limit,
            json,
        } => {
            let agent = agent.map(|id| AgentId::parse(&id)).transpose();
            let agent = agent.map_err(|error| {
                context.output.error(&format!("--agent: {error}"));
                Failure::Usage
            })?;
            let query = SessionQuery {
                agent,
                search,
                limit,
                ..SessionQuery::default()
            };
            list(context, &store, &query, json)
        }
        SessionsCommand::Export { key, output } => export(context, &store, key, output.as_deref()),
    }
}

fn list(
    context: Context<'_>,
    store: &Offline,
    query: &SessionQuery,
    json: bool,
) -> Result<(), Failure> {
    let page = store
        .sessions(query)
        .map_err(|error| context.fail(&error))?;
    for session in &page.sessions {
        let line = if json { object(session) } else { row(session) };
        context.output.answer_line(&line);
    }
    let left_out = page.total.saturating_sub(u64::from(query.limit));
    if left_out > 0 {
        context
            .output
            .say(&format!("{left_out} more; --limit shows them\n"));
    }
    Ok(())
}

fn object(session: &SessionRecord) -> String {
    json!({
        "key": session.key,
        "agentId": session.agent,
        "sessionId": session.session_id,
        "createdAt": session.created_at_ms,
        "updatedAt": session.updated_at_ms,
        "entries": session.entries,
        "label": session.label,
    })
    .to_string()
}

fn row(session: &SessionRecord) -> String {
    let label = session.label.as_deref().unwrap_or_default();
    let (key, entries) = (&session.key, session.entries);
    let line = format!("{key:<48} {entries:>6} entries  {label}");
    line.trim_end().to_owned()
}

fn export(
    context: Context<'_>,
    store: &Offline,
    key: Option<String>,
    path: Option<&Path>,
) -> Result<(), Failure> {
    let out: Box<dyn Write> = match path {
        Some(path) => Box::new(File::create(path).map_err(|error| context.fail(&error))?),
        None => Box::new(io::stdout().lock()),
    };
    let mut out = BufWriter::new(out);
    let result = match key {
        Some(key) => store
            .export(&SessionKey::from_canonical(key), &mut out)
            .map(|_entries| ()),
        None => export_all(store, &mut out),
    };
    match result {
        Ok(()) => Ok(()),
        // Whoever read the export has seen enough.
        Err(ExportError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => {
            let failure = context.fail(&error);
            if let ExportError::NotFound(_) = error {
                context
                    .output
                    .hint("`clawport sessions list` shows the keys there are");
            }
            Err(failure)
        }
    }
}

fn export_all(store: &Offline, out: &mut dyn Write) -> Result<(), ExportError> {
    let mut offset = 0;
    loop {
        let query = SessionQuery {
            limit: PAGE,
            offset,
            ..SessionQuery::default()
        };
        let page = store.sessions(&query)?;
        for session in &page.sessions {
            match store.export(&session.key, out) {
                // It went while others were written.
                Err(ExportError::NotFound(_)) | Ok(_) => {}
                Err(other) => return Err(other),
            }
        }
        if page.sessions.is_empty() {
            return Ok(());
        }
        offset += u64::from(PAGE);
    }
}
