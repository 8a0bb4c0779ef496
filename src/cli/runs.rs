//! `runs list | show | abort`: asks a running gateway; without one the first two read the store.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::args::{Remote, RunsCommand};
use super::configure::{load, locate};
use super::remote::{Target, explain, if_reached, refused, target, with_client};
use super::{Context, Failure};
use crate::client::{Client, ConnectError};
use crate::clock::rfc3339;
use crate::config::{Overrides, TokenFile};
use crate::gateway::local::{
    Offline, RunRow, RunStatus, RunsGetResult, RunsListResult, session_key, stored_run, stored_runs,
};
use crate::ids::SessionKey;

pub(super) fn run(context: Context<'_>, command: RunsCommand) -> Result<(), Failure> {
    match command {
        RunsCommand::List {
            session_key,
            limit,
            json,
            remote,
        } => {
            let look = Look { context, json };
            look.list(remote, session_key, limit)
        }
        RunsCommand::Show { run, json, remote } => Look { context, json }.show(remote, &run),
        RunsCommand::Abort { run, json, remote } => abort(context, remote, &run, json),
    }
}

/// How to show what there is.
#[derive(Clone, Copy)]
struct Look<'a> {
    context: Context<'a>,
    json: bool,
}

impl Look<'_> {
    fn list(self, remote: Remote, session: Option<String>, limit: u32) -> Result<(), Failure> {
        let context = self.context;
        let place = Place::of(context, remote)?;
        let mut params = json!({ "limit": limit });
        if let (Value::Object(members), Some(key)) = (&mut params, &session) {
            members.insert("sessionKey".to_owned(), key.as_str().into());
        }
        let reached = if_reached(context, &place.target, |client, _events| async move {
            let runs: RunsListResult = ask(context, &client, "runs.list", &params).await?;
            self.rows(&runs);
            Ok(())
        })?;
        let store = match reached {
            Ok(result) => return result,
            Err(error) => place.store(context, &error)?,
        };
        let key = session.map(|key| stored_key(context, &key)).transpose()?;
        let runs =
            stored_runs(&store, key.as_ref(), limit).map_err(|error| context.fail(&error))?;
        self.rows(&runs);
        Ok(())
    }

    fn rows(self, runs: &RunsListResult) {
        for run in &runs.runs {
            let line = if self.json { in_json(run) } else { row(run) };
            self.context.output.answer_line(&line);
        }
    }

    fn show(self, remote: Remote, run: &str) -> Result<(), Failure> {
        let context = self.context;
        let place = Place::of(context, remote)?;
        let params = json!({ "runId": run });
        let reached = if_reached(context, &place.target, |client, _events| async move {
            let found: RunsGetResult = ask(context, &client, "runs.get", &params).await?;
            self.whole(&found);
            Ok(())
        })?;
        let store = match reached {
            Ok(result) => return result,
            Err(error) => place.store(context, &error)?,
        };
        let found = stored_run(&store, run).map_err(|error| context.fail(&error))?;
        let Some(found) = found else {
            context.output.error(&format!("run not found: {run}"));
            return Err(Failure::Failed);
        };
        self.whole(&found);
        Ok(())
    }

    fn whole(self, found: &RunsGetResult) {
        let output = self.context.output;
        if self.json {
            output.answer_line(&in_json(found));
            return;
        }
        for (name, value) in members(&found.run) {
            output.answer_line(&format!("{name:<9} {value}"));
        }
        for input in &found.input {
            output.answer_line(&format!("\n> {}", input.replace('\n', "\n> ")));
        }
        if !found.text.is_empty() {
            output.answer_line(&format!("\n{}", found.text));
        }
    }
}

/// A session key as the gateway of this machine would understand it.
fn stored_key(context: Context<'_>, key: &str) -> Result<SessionKey, Failure> {
    let (loaded, _paths) = load(context, &Overrides::default(), TokenFile::Look)?;
    session_key(&loaded.config, key).map_err(|error| context.fail(&error))
}

/// Where runs can be looked at.
struct Place {
    target: Target,
    /// Whether the gateway meant is the one of this machine's configuration.
    is_own: bool,
}

impl Place {
    fn of(context: Context<'_>, remote: Remote) -> Result<Self, Failure> {
        let is_own = remote.url.is_none();
        let target = target(context, remote)?;
        Ok(Self { target, is_own })
    }

    /// The store of a gateway that does not run. Any other failure is told and is the end.
    fn store(&self, context: Context<'_>, error: &ConnectError) -> Result<Offline, Failure> {
        let is_stopped = matches!(error, ConnectError::Unreachable { .. });
        if !(self.is_own && is_stopped) {
            explain(context, &self.target, error);
            return Err(Failure::Failed);
        }
        let (_env, paths) = locate(context)?;
        let store = Offline::open(&paths.state_dir).map_err(|error| context.fail(&error))?;
        context
            .output
            .say("no gateway answers: this is the store; its next start settles what is open\n");
        Ok(store)
    }
}

fn abort(context: Context<'_>, remote: Remote, run: &str, json: bool) -> Result<(), Failure> {
    let target = target(context, remote)?;
    let params = json!({ "runId": run });
    with_client(context, &target, |client, _events| async move {
        let found: RunsGetResult = ask(context, &client, "runs.get", &params).await?;
        let params = json!({ "runId": run, "sessionKey": found.run.session_key });
        let answer = client.request("chat.abort", &params).await;
        let answer = answer.map_err(|error| refused(context, &error))?;
        let stopped: Stopped = serde_json::from_str(answer.get()).unwrap_or_default();
        if json {
            context.output.answer_line(answer.get());
        }
        if stopped.aborted {
            if !json {
                context.output.answer_line(&format!("{run} was stopped"));
            }
            return Ok(());
        }
        let status = found.run.status.as_str();
        let message = match found.run.status {
            RunStatus::Queued | RunStatus::Active => format!("{run} has just ended"),
            RunStatus::Ok
            | RunStatus::Error
            | RunStatus::Aborted
            | RunStatus::Timeout
            | RunStatus::Interrupted => format!("{run} has ended already: {status}"),
        };
        context.output.error(&message);
        Err(Failure::Failed)
    })
}

/// The answer of `chat.abort`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Stopped {
    aborted: bool,
}

async fn ask<T: DeserializeOwned>(
    context: Context<'_>,
    client: &Client,
    method: &str,
    params: &Value,
) -> Result<T, Failure> {
    let answer = client.request(method, params).await;
    let answer = answer.map_err(|error| refused(context, &error))?;
    serde_json::from_str(answer.get()).map_err(|error| context.fail(&error))
}

fn in_json(value: &impl serde::Serialize) -> String {
    // Text and numbers only, so this cannot fail.
    serde_json::to_string(value).unwrap_or_default()
}

fn row(run: &RunRow) -> String {
    let (status, accepted) = (run.status.as_str(), rfc3339(run.accepted_at));
    let (id, key) = (&run.run_id, &run.session_key);
    format!("{status:<12} {accepted}  {id:<46} {key}")
}

/// What is known of a run, in the order people read it.
fn members(run: &RunRow) -> Vec<(&'static str, String)> {
    let status = match &run.stop_reason {
        Some(reason) => format!("{} ({reason})", run.status.as_str()),
        None => run.status.as_str().to_owned(),
    };
    let stored = if run.stored { "yes" } else { "no" };
    let optional = [
        ("started", run.started_at.map(rfc3339)),
        ("ended", run.ended_at.map(rfc3339)),
        ("error", run.error.clone()),
    ];
    let mut members = vec![
        ("run", run.run_id.clone()),
        ("status", status),
        ("session", run.session_key.clone()),
        ("agent", run.agent_id.clone()),
        ("front", run.front.clone()),
        ("stored", stored.to_owned()),
        ("accepted", rfc3339(run.accepted_at)),
    ];
    let known = optional
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    members.extend(known);
    members
}
