//! `/v1/runs/{id}`: the state of a run, its events from any place on, and its end by order.

use std::sync::Arc;

use bytes::BytesMut;
use hyper::header::HeaderMap;
use hyper::{Method, Response, StatusCode, Uri};

use crate::auth::Operation;
use crate::dispatch::{Caller, FoundRun, StoredRun};
use crate::events::{Log, Record, Subscription};
use crate::openai::{ApiError, RunState, RunStream, gathered_calls, path_segment, run_json};
use crate::run::{Event, RunInfo};

use super::body::Body;
use super::guard::RunGuard;
use super::respond::{self, Refused};
use super::route::RunPart;
use super::service::HttpFront;
use super::sse_body::{Frames, SseBody};

const LAST_EVENT_ID: &str = "last-event-id";

/// A request for a run, of an authenticated caller.
#[derive(Debug)]
pub(super) struct RunCall<'a> {
    pub(super) front: &'a HttpFront,
    pub(super) headers: &'a HeaderMap,
    pub(super) uri: &'a Uri,
    pub(super) caller: Caller,
}

impl RunPart {
    /// The method, and what the caller must be allowed to do.
    pub(super) const fn method(self) -> (Method, &'static str, Operation<'static>) {
        match self {
            Self::State | Self::Events => (Method::GET, "GET", Operation::ReadRun),
            Self::Cancel => (Method::POST, "POST", Operation::CancelRun),
        }
    }
}

impl RunCall<'_> {
    /// Answers for the run whose id stands in the path as `encoded`.
    pub(super) async fn answer(
        &self,
        encoded: &str,
        part: RunPart,
    ) -> Result<Response<Body>, Refused> {
        let dispatch = self.front.dispatch();
        let missing = |id: &str| Refused::from(ApiError::run_not_found(id));
        let id = path_segment(encoded).ok_or_else(|| missing(encoded))?;
        let found = match part {
            RunPart::State | RunPart::Events => dispatch.find_run(&self.caller, &id).await,
            RunPart::Cancel => dispatch.cancel_run(&self.caller, &id).await,
        };
        let found = found?.ok_or_else(|| missing(&id))?;
        match part {
            RunPart::State | RunPart::Cancel => Ok(state(found)),
            RunPart::Events => self.events(found),
        }
    }

    fn events(&self, found: FoundRun) -> Result<Response<Body>, Refused> {
        let after = cursor(self.headers, self.uri)?;
        match found {
            FoundRun::Logged(log) => self.live_events(log, after),
            FoundRun::Stored(run) => kept_events(*run, after),
        }
    }

    fn live_events(&self, log: Arc<Log>, after: u64) -> Result<Response<Body>, Refused> {
        let last = log.last_seq();
        if log.terminal().is_some() && after == last {
            // Tells a reader that reconnects by itself that there is nothing to come.
            return Ok(respond::no_content());
        }
        let agent = self.front.dispatch().agents().get(&log.info().agent);
        let show_reasoning = agent.is_some_and(|agent| agent.show_reasoning);
        let reader = Subscription::after(log, after)
            .map_err(|gone| ApiError::cursor_gone(gone.after, Some(gone.last)))?;
        let frames = Frames::Run(RunStream::new(show_reasoning, after));
        let heartbeat = self.front.sse_heartbeat();
        let body = SseBody::new(reader, frames, RunGuard::none(), heartbeat);
        Ok(respond::live_events(body))
    }
}

/// What a run of an earlier process, or of long ago, has left: its text and its end.
fn kept_events(run: StoredRun, after: u64) -> Result<Response<Body>, Refused> {
    if after > 0 {
        return Err(ApiError::cursor_gone(after, None).into());
    }
    let mut out = BytesMut::with_capacity(512 + run.text.len());
    let mut stream = RunStream::new(false, 0);
    if !run.calls.is_empty() {
        stream.has_calls();
    }
    RunStream::kept_text(&mut out, run.text);
    if let Some(terminal) = &run.record.terminal {
        stream.finish(&mut out, None, terminal);
    }
    Ok(respond::events(Body::whole(out.freeze())))
}

fn state(found: FoundRun) -> Response<Body> {
    let json = match found {
        FoundRun::Logged(log) => logged(&log),
        FoundRun::Stored(run) => stored(*run),
    };
    respond::json(StatusCode::OK, json.freeze())
}

fn logged(log: &Log) -> BytesMut {
    let info: &RunInfo = log.info();
    // The end is read first: what is read after it is then whole.
    let terminal = log.terminal();
    let records = log.records(0);
    let pieces = records.iter().filter_map(|(_seq, record)| match &**record {
        Record::Event(Event::ToolCall(piece)) => Some(piece),
        Record::Event(_) | Record::Started { .. } => None,
    });
    let pieces: Vec<_> = pieces.collect();
    run_json(RunState {
        started_at_ms: log.started_at_ms(),
        terminal: terminal.as_deref(),
        text: log.text(),
        calls: gathered_calls(&pieces),
        last_event: Some(log.last_seq()),
        ..RunState::of(info)
    })
}

fn stored(run: StoredRun) -> BytesMut {
    let StoredRun {
        record,
        text,
        calls,
    } = run;
    run_json(RunState {
        id: record.wire_id.as_str(),
        agent: record.agent.as_str(),
        session: record.session.as_str(),
        accepted_at_ms: record.accepted_at_ms,
        started_at_ms: record.started_at_ms,
        terminal: record.terminal.as_ref(),
        text,
        calls,
        last_event: None,
    })
}

/// The number of the last event the reader has; the header, which a reader that reconnects by
/// itself sends, wins over the query, which it repeats.
fn cursor(headers: &HeaderMap, uri: &Uri) -> Result<u64, Refused> {
    let query = uri.query().unwrap_or_default().split('&');
    let asked = query.rev().find_map(|pair| pair.strip_prefix("after="));
    let header = headers.get(LAST_EVENT_ID);
    let header = header.map(|value| value.to_str().map_err(|_bad| ApiError::bad_cursor()));
    let header = header.transpose()?.map(str::trim);
    match header.filter(|id| !id.is_empty()).or(asked) {
        None | Some("") => Ok(0),
        Some(text) => text.parse().map_err(|_bad| ApiError::bad_cursor().into()),
    }
}
