//! `runs.list` and `runs.get`.

use serde_json::value::RawValue;

use crate::dispatch::RunView;
use crate::protocol::methods::runs::{
    RUNS_DEFAULT, RunParts, RunRow, RunsGetParams, RunsGetResult, RunsListParams, RunsListResult,
};
use crate::protocol::{Bounded, ErrorBody};
use crate::transport::ws::connection::Open;

use super::{Call, Served, short};

pub(super) fn list(call: &Call, params: Option<&RawValue>) -> Result<Served, ErrorBody> {
    let params: RunsListParams = call.params(params)?;
    let limit = params.limit.map(Bounded::get);
    let limit = limit.and_then(|limit| u32::try_from(limit).ok());
    let session = params.session_key.map(|key| key.to_string());
    let call = call.clone();
    Ok(short(async move {
        let dispatch = &call.native.dispatch;
        let limit = limit.unwrap_or(RUNS_DEFAULT);
        let runs = dispatch.runs_list(&call.peer.caller, session, limit).await;
        call.answer(runs.map(|runs| RunsListResult {
            runs: runs.iter().map(row).collect(),
        }))
    }))
}

pub(super) fn get(
    call: &Call,
    open: &mut Open,
    params: Option<&RawValue>,
) -> Result<Served, ErrorBody> {
    let params: RunsGetParams = call.params(params)?;
    let run_id = params.run_id.to_string();
    let call = call.clone();
    Ok(call.clone().large(open, async move {
        let dispatch = &call.native.dispatch;
        match dispatch.run(&call.peer.caller, &run_id).await {
            Ok(Some(found)) => call.ok(&RunsGetResult {
                run: row(&found.run),
                input: found.input,
                text: found.text,
            }),
            Ok(None) => call.refuse(&call.invalid(format!("run not found: {run_id}"))),
            Err(error) => call.refuse(&call.error(&error)),
        }
    }))
}

fn row(run: &RunView) -> RunRow {
    RunRow::from(RunParts {
        run: &run.wire_id,
        session: &run.session,
        agent: &run.agent,
        front: run.front,
        is_stored: run.is_stored,
        accepted_at_ms: run.accepted_at_ms,
        started_at_ms: run.started_at_ms,
        terminal: run.terminal.as_deref(),
    })
}
