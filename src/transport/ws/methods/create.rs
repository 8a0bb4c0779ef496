//! `sessions.create` (`protocol-facts` §6.7).

use serde_json::value::RawValue;

use crate::dispatch::{ChatSend, DispatchError, EndedRun, SessionCreate, Started};
use crate::ids::SessionKey;
use crate::protocol::methods::agent::RunStatus;
use crate::protocol::methods::attachment::decode_images;
use crate::protocol::methods::sessions::{SessionsCreateParams, SessionsCreateResult};
use crate::protocol::{ErrorBody, NonEmpty};
use crate::transport::ws::connection::Open;

use super::chat::{alias, queue_mode, told};
use super::{Attempted, Call, Served, Start, sessions};

pub(super) fn create(
    call: &Call,
    open: &mut Open,
    params: Option<&RawValue>,
) -> Result<Served, ErrorBody> {
    let params: SessionsCreateParams = call.params(params)?;
    if let Some(refusal) = params.refusal() {
        return Err(call.invalid(refusal));
    }
    let attachments = params.attachments.as_deref().unwrap_or_default();
    let images = decode_images(attachments).map_err(|error| call.invalid(error.to_string()))?;
    let message = params.first_message().map(str::to_owned);
    let settings = params.settings();
    let text = |value: Option<NonEmpty>| value.map(|text| text.to_string());
    let request = SessionCreate {
        key: text(params.key),
        agent_id: text(params.agent_id),
        idempotency_key: text(params.idempotency_key),
        parent: text(params.parent_session_key),
        label: params.label.map(|label| label.to_string()),
        settings,
    };
    let named = call.native.dispatch.key_of_new(&call.peer.caller, &request);
    let (key, _agent) = named.map_err(|error| call.error(&error))?;
    let Some(message) = message else {
        let turn = open.requests.turn(key.as_str());
        let call = call.clone();
        return Ok(call.clone().change(turn, async move {
            call.answer(made(&call, &key, request).await)
        }));
    };
    let given = request.idempotency_key.clone();
    let first = ChatSend {
        session_key: key.as_str().to_owned(),
        message,
        idempotency_key: given.unwrap_or_else(|| call.fresh_run()),
        queue_mode_default: Some(queue_mode(call)),
        images,
        ..ChatSend::default()
    };
    let start = Start::new(call, open, key.as_str(), &first.idempotency_key);
    Ok(Served::Short(start.run(|call| async move {
        match made(&call, &key, request).await {
            Ok(result) => begun(&call, &key, result, first).await,
            Err(error) => call.refuse(&call.error(&error)).into(),
        }
    })))
}

async fn made(
    call: &Call,
    key: &SessionKey,
    request: SessionCreate,
) -> Result<SessionsCreateResult, DispatchError> {
    let dispatch = &call.native.dispatch;
    let record = dispatch.sessions_create(&call.peer.caller, key, request);
    let record = record.await?;
    Ok(SessionsCreateResult::new(sessions::entry(call, &record)))
}

/// Sends the first message; the session stays when that is refused.
async fn begun(
    call: &Call,
    key: &SessionKey,
    mut result: SessionsCreateResult,
    first: ChatSend,
) -> Attempted {
    let run = first.idempotency_key.clone();
    let dispatch = &call.native.dispatch;
    let status = match dispatch.chat_send(&call.peer.caller, first).await {
        Ok(Started::New(admitted)) => {
            result.message_seq = admitted.user_n;
            Some(RunStatus::Started)
        }
        Ok(Started::InFlight { .. }) => Some(RunStatus::InFlight),
        Ok(Started::Ended(EndedRun { terminal, .. })) => Some(RunStatus::of(&terminal.outcome)),
        Ok(Started::Stopped(aborted)) => {
            told(call, &aborted).await;
            None
        }
        Err(error) => {
            result.run_error = Some(call.error(&error));
            None
        }
    };
    result.run_started = status.is_some();
    result.run_id = status.map(|_status| run);
    result.status = status;
    let is_running = matches!(status, Some(RunStatus::Started | RunStatus::InFlight));
    Attempted {
        is_running,
        alias: alias(call, key.as_str(), key),
        ..call.ok(&result).into()
    }
}
