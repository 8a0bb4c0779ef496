//! Transcripts: `chat.history`, `chat.startup`, `chat.message.get` and `sessions.get`
//! (`protocol-facts` §6.5, §6.6).

use serde_json::Value;
use serde_json::value::RawValue;

use crate::dispatch::{DispatchError, History, HistoryCursor, HistoryQuery, MessageQuery};
use crate::ids::AgentId;
use crate::protocol::methods::agents::THINKING_OFF;
use crate::protocol::methods::artifacts::{
    ARTIFACTS_LIMIT_DEFAULT, ArtifactError, ArtifactsDownloadParams, ArtifactsDownloadResult,
    ArtifactsListParams, ArtifactsListResult, image_place,
};
use crate::protocol::methods::chat::{
    ChatHistoryParams, ChatHistoryResult, ChatMessageGetParams, ChatMessageGetResult,
    ChatStartupParams, ChatStartupResult, DeltaCursor, HISTORY_LIMIT_DEFAULT, HISTORY_LIMIT_MAX,
    HistoryKind, InFlightRun, InputConsumption, InputReceipt, PendingInput, PendingInputs,
    ReceiptState, UnavailableReason, entry_id,
};
use crate::protocol::methods::sessions::{
    SessionsGetParams, SessionsGetResult, SessionsResolveParams,
};
use crate::protocol::transcript::{View, history_messages};
use crate::protocol::{Bounded, ErrorBody};
use crate::run::{Entry, EntryBody};
use crate::session::SessionRecord;
use crate::transport::ws::connection::Open;
use crate::transport::ws::native::as_u64;
use crate::transport::ws::rows;

use super::system::as_usize;
use super::{Call, Served, agents, sessions};

/// Entries a cursor may be behind before its owner is told to read everything again.
const DELTA_MAX: u64 = 200;

pub(super) fn read(
    call: &Call,
    open: &mut Open,
    params: Option<&RawValue>,
) -> Result<Served, ErrorBody> {
    let params: ChatHistoryParams = call.params(params)?;
    if let Some(refusal) = params.refusal() {
        return Err(call.invalid(refusal));
    }
    let call = call.clone();
    Ok(call.clone().large(open, async move {
        match load(&call, &params).await {
            Ok(result) if call.is_v3() && result.kind != Some(HistoryKind::Reset) => {
                call.ok(&result.for_v3())
            }
            Ok(result) => call.ok(&result),
            Err(error) => call.refuse(&error),
        }
    }))
}

pub(super) fn startup(
    call: &Call,
    open: &mut Open,
    params: Option<&RawValue>,
) -> Result<Served, ErrorBody> {
    let params: ChatStartupParams = call.params(params)?;
    if let Some(refusal) = params.refusal() {
        return Err(call.invalid(refusal));
    }
    let call = call.clone();
    Ok(call.clone().large(open, async move {
        match load_startup(&call, params).await {
            Ok(result) => call.ok(&result),
            Err(error) => call.refuse(&error),
        }
    }))
}

async fn load_startup(
    call: &Call,
    params: ChatStartupParams,
) -> Result<ChatStartupResult, ErrorBody> {
    let key = match (&params.session_key, &params.short_id) {
        (Some(key), _) => key.clone(),
        (None, short_id) => {
            let name = SessionsResolveParams {
                short_id: short_id.clone(),
                agent_id: params.agent_id.clone(),
                ..SessionsResolveParams::default()
            };
            sessions::find(call, &name).await?.key.unwrap_or_default()
        }
    };
    let params = params.history(key);
    if let Some(refusal) = params.refusal() {
        return Err(call.invalid(refusal));
    }
    Ok(ChatStartupResult {
        history: load(call, &params).await?,
        metadata: agents::metadata_result(call),
        agents_list: agents::list_result(call),
    })
}

pub(super) fn session(
    call: &Call,
    open: &mut Open,
    params: Option<&RawValue>,
) -> Result<Served, ErrorBody> {
    let params: SessionsGetParams = call.params(params)?;
    let key = params
        .session()
        .ok_or_else(|| call.invalid("key required"))?;
    let params = ChatHistoryParams {
        agent_id: params.agent_id.as_deref().map(str::to_owned),
        limit: params.limit,
        ..ChatHistoryParams::new(key.to_owned())
    };
    let call = call.clone();
    Ok(call.clone().large(open, async move {
        match load(&call, &params).await {
            Ok(history) => call.ok(&SessionsGetResult {
                messages: history.messages.unwrap_or_default(),
            }),
            Err(error) => call.refuse(&error),
        }
    }))
}

pub(super) fn message(
    call: &Call,
    open: &mut Open,
    params: Option<&RawValue>,
) -> Result<Served, ErrorBody> {
    let params: ChatMessageGetParams = call.params(params)?;
    let query = MessageQuery {
        session_key: params.session_key.to_string(),
        agent_id: params.agent_id.as_deref().map(str::to_owned),
        session_id: params.session_id.as_deref().map(str::to_owned),
        entry_id: entry_id(&params.message_id).to_owned(),
    };
    let call = call.clone();
    Ok(call.clone().large(open, async move {
        let dispatch = &call.native.dispatch;
        let found = dispatch.chat_message(&call.peer.caller, query).await;
        call.answer(found.map(|entry| match entry {
            Some(entry) => ChatMessageGetResult::of(&params, &entry),
            None => ChatMessageGetResult::unavailable(UnavailableReason::NotFound),
        }))
    }))
}

/// The bytes of an image, which histories only name.
pub(super) fn artifact(
    call: &Call,
    open: &mut Open,
    params: Option<&RawValue>,
) -> Result<Served, ErrorBody> {
    let params: ArtifactsDownloadParams = call.params(params)?;
    let call = call.clone();
    Ok(call.clone().large(open, async move {
        match image(&call, &params).await {
            Ok(Some((entry, index))) => {
                match ArtifactsDownloadResult::image(&params, &entry, index) {
                    Some(result) => call.ok(&result),
                    None => call.refuse(&no_artifact(&call, &params)),
                }
            }
            Ok(None) => call.refuse(&no_artifact(&call, &params)),
            Err(error) => call.refuse(&call.error(&error)),
        }
    }))
}

/// The newest images of a session.
pub(super) fn artifacts(
    call: &Call,
    open: &mut Open,
    params: Option<&RawValue>,
) -> Result<Served, ErrorBody> {
    let params: ArtifactsListParams = call.params(params)?;
    let Some(session_key) = params.session_key.as_deref().map(str::to_owned) else {
        let error = ArtifactError::NoSession { method: call.name };
        return Err(call
            .invalid(error.to_string())
            .with_details(error.details()));
    };
    let query = HistoryQuery {
        session_key,
        agent_id: params.agent_id.as_deref().map(str::to_owned),
        skip: 0,
        limit: u32::try_from(HISTORY_LIMIT_MAX).unwrap_or(u32::MAX),
        after: None,
        around: None,
    };
    let limit = params.limit.map_or(ARTIFACTS_LIMIT_DEFAULT, Bounded::get);
    let call = call.clone();
    Ok(call.clone().large(open, async move {
        let dispatch = &call.native.dispatch;
        match dispatch.chat_history(&call.peer.caller, query).await {
            Ok(history) => {
                let entries = &history.entries;
                let most = as_usize(limit);
                call.ok(&ArtifactsListResult::images(&params, entries, most))
            }
            Err(error) => call.refuse(&call.error(&error)),
        }
    }))
}

/// The entry an image is in and its place there; `None` when there is none.
async fn image(
    call: &Call,
    params: &ArtifactsDownloadParams,
) -> Result<Option<(Entry, usize)>, DispatchError> {
    let place = image_place(&params.artifact_id);
    let (Some(session_key), Some((entry_id, index))) = (&params.session_key, place) else {
        return Ok(None);
    };
    let query = MessageQuery {
        session_key: session_key.to_string(),
        agent_id: params.agent_id.as_deref().map(str::to_owned),
        session_id: None,
        entry_id: entry_id.to_owned(),
    };
    let dispatch = &call.native.dispatch;
    let entry = dispatch.chat_message(&call.peer.caller, query).await?;
    Ok(entry.map(|entry| (entry, index)))
}

fn no_artifact(call: &Call, params: &ArtifactsDownloadParams) -> ErrorBody {
    let error = match params.session_key {
        Some(_) => ArtifactError::NotFound {
            id: params.artifact_id.to_string(),
        },
        None => ArtifactError::NoSession { method: call.name },
    };
    call.invalid(error.to_string())
        .with_details(error.details())
}

async fn load(call: &Call, params: &ChatHistoryParams) -> Result<ChatHistoryResult, ErrorBody> {
    let cursor = params.cursor.as_deref().map(DeltaCursor::decode);
    if let Some(None) = cursor {
        return Ok(ChatHistoryResult::reset());
    }
    let after = cursor.flatten().map(|cursor| HistoryCursor {
        session_id: cursor.session_id,
        n: cursor.n,
    });
    let limit = params.limit.map_or(HISTORY_LIMIT_DEFAULT, Bounded::get);
    let query = HistoryQuery {
        session_key: params.session_key.clone(),
        agent_id: params.agent_id.clone(),
        skip: params.offset.unwrap_or(0),
        limit: match after {
            // One more than is sent tells a cursor that is too old.
            Some(_) => u32::try_from(DELTA_MAX + 1).unwrap_or(u32::MAX),
            None => u32::try_from(limit.min(HISTORY_LIMIT_MAX)).unwrap_or(u32::MAX),
        },
        after,
        around: params.message_id.as_ref().map(|id| MessageQuery {
            session_key: params.session_key.clone(),
            agent_id: params.agent_id.clone(),
            session_id: params.session_id.clone(),
            entry_id: entry_id(id).to_owned(),
        }),
    };
    let dispatch = &call.native.dispatch;
    let history = dispatch.chat_history(&call.peer.caller, query).await;
    let history = history.map_err(|error| history_error(call, &error))?;
    let is_too_old = after.is_some() && as_u64(history.entries.len()) > DELTA_MAX;
    if history.reset || is_too_old {
        return Ok(ChatHistoryResult::reset());
    }
    Ok(result(call, params, &history))
}

/// Clients ask again after a failure that names the method.
fn history_error(call: &Call, error: &DispatchError) -> ErrorBody {
    let body = call.error(error);
    match error {
        DispatchError::Ledger(_) => ErrorBody {
            retryable: Some(true),
            ..body.with_details(serde_json::json!({ "method": call.name }))
        },
        _ => body,
    }
}

fn result(call: &Call, params: &ChatHistoryParams, history: &History) -> ChatHistoryResult {
    let view = View::history(
        call.peer.protocol,
        params.max_chars.map(|most| as_usize(most.get())),
    );
    let bytes_max = params
        .max_bytes
        .map_or(usize::MAX, |most| as_usize(most.get()));
    let shown = history_messages(&history.entries, view, bytes_max);
    let session = history.session.as_ref();
    let setting = |name: &str| text_setting(session, name);
    let receipts = params.input_run_ids.as_ref().map(|runs| {
        runs.as_slice()
            .iter()
            .filter_map(|run| receipt(run.as_str(), history))
            .collect::<Vec<_>>()
    });
    let consumptions = receipts
        .as_ref()
        .map(|receipts| receipts.iter().filter_map(consumption).collect::<Vec<_>>());
    let base = ChatHistoryResult {
        session_key: Some(params.session_key.clone()),
        session_id: session.map(|record| record.session_id.to_string()),
        messages: Some(shown.messages),
        thinking_level: Some(setting("thinkingLevel").unwrap_or_else(|| THINKING_OFF.to_owned())),
        verbose_level: setting("verboseLevel"),
        session_info: session_info(call, history).map(Box::new),
        pending_inputs: Some(pending(history)),
        input_receipts: receipts,
        input_consumptions: consumptions,
        delta_cursor: delta_cursor(history),
        in_flight_run: history
            .in_flight
            .as_ref()
            .map(|run| InFlightRun::new(&run.info.wire_id, &run.text, run.started_at_ms)),
        ..ChatHistoryResult::default()
    };
    if params.cursor.is_some() {
        return ChatHistoryResult {
            kind: Some(HistoryKind::Delta),
            ..base
        };
    }
    let offset = history.skip;
    let kept = as_u64(history.entries.len() - shown.dropped_entries);
    let end = offset.saturating_add(kept);
    let has_more = end < history.total;
    ChatHistoryResult {
        defaults: Some(rows::defaults(
            &call.native,
            agent(call, history)
                .and_then(|id| call.native.dispatch.agents().get(&id))
                .as_deref(),
        )),
        offset: Some(offset),
        next_offset: has_more.then_some(end),
        has_more: Some(has_more),
        total_messages: Some(history.total),
        complete_snapshot: Some(!has_more && offset == 0),
        ..base
    }
}

/// The agent of a session, which need not exist.
fn agent(call: &Call, history: &History) -> Option<AgentId> {
    if let Some(record) = &history.session {
        return Some(record.agent.clone());
    }
    let resolved = call.native.dispatch.resolve_key(history.key.as_str(), None);
    resolved.ok().map(|(_key, agent)| agent)
}

fn session_info(call: &Call, history: &History) -> Option<crate::protocol::row::SessionRow> {
    let agent = agent(call, history)?;
    let record = history.session.as_ref();
    Some(rows::bare_row(&call.native, &history.key, &agent, record))
}

fn text_setting(session: Option<&SessionRecord>, name: &str) -> Option<String> {
    let value = session?.settings.get(name)?;
    value.as_str().map(str::to_owned).or_else(|| match value {
        Value::Bool(on) => Some(on.to_string()),
        Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    })
}

fn pending(history: &History) -> PendingInputs {
    let items = history.waiting.iter();
    let items = items.map(|waiting| PendingInput::queued(&waiting.info, waiting.id, &waiting.text));
    PendingInputs::new(items.collect())
}

/// The message a run was asked with, as far as it is in this part of the transcript.
fn input_of<'a>(run: &str, history: &'a History) -> Option<&'a Entry> {
    history.entries.iter().find(|entry| {
        let is_input = matches!(entry.body, EntryBody::User { .. });
        is_input && entry.wire_id.as_ref().is_some_and(|id| id.as_str() == run)
    })
}

fn receipt(run: &str, history: &History) -> Option<InputReceipt> {
    let waits = history
        .waiting
        .iter()
        .any(|waiting| waiting.info.wire_id.as_str() == run);
    let entry = input_of(run, history).filter(|_| !waits);
    if entry.is_none() && !waits {
        return None;
    }
    Some(InputReceipt {
        run_id: run.to_owned(),
        state: match entry {
            Some(_) => ReceiptState::Consumed,
            None => ReceiptState::Pending,
        },
        consumed_by_event_id: entry.map(|entry| entry.id.to_string()),
    })
}

fn consumption(receipt: &InputReceipt) -> Option<InputConsumption> {
    receipt
        .consumed_by_event_id
        .clone()
        .map(|consumed_by_event_id| InputConsumption {
            run_id: receipt.run_id.clone(),
            consumed_by_event_id,
        })
}

/// Where the next call can go on: behind the newest entry this one has seen.
fn delta_cursor(history: &History) -> Option<String> {
    let session_id = history.session.as_ref()?.session_id;
    let n = match history.entries.last() {
        Some(newest) if history.skip == 0 => newest.n,
        Some(_) | None => history.total,
    };
    Some(DeltaCursor { session_id, n }.encode())
}
