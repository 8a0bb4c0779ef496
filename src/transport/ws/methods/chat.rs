//! Messages into sessions and orders to stop: `chat.send`, `chat.abort`, `chat.inject`,
//! `sessions.send`, `sessions.steer` and `sessions.abort` (`protocol-facts` §6.5, §6.7).

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;

use crate::dispatch::{Aborted, ChatAbort, ChatInject, ChatSend, Injected, SessionAbort, Started};
use crate::ids::SessionKey;
use crate::protocol::events::Event as Kind;
use crate::protocol::events::chat::{ChatEvent, ChatMessage};
use crate::protocol::methods::agent::FinishedRun;
use crate::protocol::methods::attachment::decode_images;
use crate::protocol::methods::chat::{
    ChatAbortParams, ChatAbortResult, ChatInjectParams, ChatInjectResult, ChatSendParams,
    ChatSendResult,
};
use crate::protocol::methods::sessions::{
    SessionsAbortParams, SessionsAbortResult, SessionsSendParams,
};
use crate::protocol::{ErrorBody, NonEmpty, Reply, WireCode};
use crate::run::{EntryBody, Outcome, QueueMode};
use crate::transport::ws::connection::Open;
use crate::transport::ws::event::Audience;

use super::{Attempted, Call, Served, Start};

pub(super) fn send(
    call: &Call,
    open: &mut Open,
    params: Option<&RawValue>,
) -> Result<Served, ErrorBody> {
    let params: ChatSendParams = call.params(params)?;
    if let Some(refusal) = params.admin_refusal().filter(|_| !call.peer.is_admin()) {
        return Err(call.invalid(refusal));
    }
    let attachments = params.attachments.as_deref().unwrap_or_default();
    let images = decode_images(attachments).map_err(|error| call.invalid(error.to_string()))?;
    let request = ChatSend {
        session_key: params.session_key.to_string(),
        agent_id: params.agent_id,
        session_id: params.session_id,
        message: params.message,
        idempotency_key: params.idempotency_key.to_string(),
        timeout: params.timeout_ms.map(Duration::from_millis),
        queue_mode: params.queue_mode.map(QueueMode::from),
        queue_mode_default: Some(queue_mode(call)),
        images,
        is_literal: params.suppress_command_interpretation == Some(true),
        ..ChatSend::default()
    };
    Ok(begin(call, open, request))
}

/// How a message of `sessions.*` meets a busy session.
#[derive(Clone, Copy, Debug)]
pub(super) enum Manner {
    /// As the session says.
    Send,
    /// It takes the place of the active run.
    Steer,
}

pub(super) fn send_to_session(
    call: &Call,
    open: &mut Open,
    params: Option<&RawValue>,
    manner: Manner,
) -> Result<Served, ErrorBody> {
    let params: SessionsSendParams = call.params(params)?;
    let attachments = params.attachments.as_deref().unwrap_or_default();
    let images = decode_images(attachments).map_err(|error| call.invalid(error.to_string()))?;
    let key = params.idempotency_key.map(|key| key.to_string());
    let request = ChatSend {
        session_key: params.key.to_string(),
        agent_id: params.agent_id.map(|id| id.to_string()),
        message: params.message,
        idempotency_key: key.unwrap_or_else(|| call.fresh_run()),
        timeout: params.timeout_ms.map(Duration::from_millis),
        queue_mode: match manner {
            Manner::Send => None,
            Manner::Steer => Some(QueueMode::Interrupt),
        },
        queue_mode_default: Some(queue_mode(call)),
        images,
        must_exist: true,
        is_steering: matches!(manner, Manner::Steer),
        ..ChatSend::default()
    };
    Ok(begin(call, open, request))
}

/// What happens to a message for a busy session when nothing else says so.
pub(super) fn queue_mode(call: &Call) -> QueueMode {
    if call.is_v3() {
        QueueMode::Collect
    } else {
        QueueMode::Steer
    }
}

/// The one way of a message into its session.
fn begin(call: &Call, open: &mut Open, request: ChatSend) -> Served {
    let session = request.session_key.clone();
    let start = Start::new(call, open, &session, &request.idempotency_key);
    Served::Short(start.run(|call| async move {
        let dispatch = &call.native.dispatch;
        match dispatch.chat_send(&call.peer.caller, request).await {
            Ok(started) => sent(&call, &session, started).await,
            Err(error) => call.refuse(&call.error(&error)).into(),
        }
    }))
}

async fn sent(call: &Call, asked: &str, started: Started) -> Attempted {
    match started {
        Started::New(admitted) => {
            let mut result = ChatSendResult::started(&admitted.info.wire_id);
            if !call.is_v3() {
                result.message_seq = admitted.user_n;
                result.interrupted_active_run = admitted.interrupted.then_some(true);
            }
            Attempted {
                is_running: true,
                alias: alias(call, asked, &admitted.info.session),
                ..call.ok(&result).into()
            }
        }
        Started::InFlight {
            wire_id, session, ..
        } => Attempted {
            is_running: true,
            alias: alias(call, asked, &session),
            ..call.ok(&ChatSendResult::in_flight(&wire_id)).into()
        },
        Started::Ended(ended) => {
            let result = ChatSendResult::ended(&FinishedRun {
                run: &ended.wire_id,
                terminal: &ended.terminal,
                text: &ended.text,
                session_id: ended.record.as_ref().map(|record| record.session_id),
                model: None,
            });
            match &ended.terminal.outcome {
                Outcome::Error(error) => {
                    let text = error.message.as_ref().to_owned();
                    let error = ErrorBody::new(WireCode::Unavailable, text);
                    Reply::failed(&call.id, &result, &error).into()
                }
                Outcome::Ok(_)
                | Outcome::Aborted(_)
                | Outcome::TimedOut(_)
                | Outcome::Interrupted => call.ok(&result).into(),
            }
        }
        Started::Stopped(aborted) => {
            told(call, &aborted).await;
            call.ok(&ChatAbortResult::new(&aborted.runs)).into()
        }
    }
}

/// The answer to an abort comes behind the `aborted` events (§8.5).
pub(super) async fn told(call: &Call, aborted: &Aborted) {
    let native = &call.native;
    for run in &aborted.runs {
        for log in native.dispatch.logs().by_wire_id(run) {
            if log.terminal().is_some() {
                native.runs.told(log.info().run_id).await;
            }
        }
    }
}

/// Clients of version 3 compare the key in events with the one they sent (`protocol-v3-delta` §6).
pub(super) fn alias(call: &Call, asked: &str, canonical: &SessionKey) -> Option<Arc<str>> {
    (call.is_v3() && asked != canonical.as_str()).then(|| asked.into())
}

pub(super) fn abort(
    call: &Call,
    open: &mut Open,
    params: Option<&RawValue>,
) -> Result<Served, ErrorBody> {
    let params: ChatAbortParams = call.params(params)?;
    let turn = open.requests.turn(&params.session_key);
    let request = ChatAbort {
        session_key: params.session_key,
        agent_id: params.agent_id,
        run_id: params.run_id,
    };
    let call = call.clone();
    Ok(call.clone().change(turn, async move {
        let dispatch = &call.native.dispatch;
        let aborted = dispatch.chat_abort(&call.peer.caller, request).await;
        if let Ok(aborted) = &aborted {
            told(&call, aborted).await;
        }
        call.answer(aborted.map(|aborted| ChatAbortResult::new(&aborted.runs)))
    }))
}

pub(super) fn abort_session(
    call: &Call,
    open: &mut Open,
    params: Option<&RawValue>,
) -> Result<Served, ErrorBody> {
    let params: SessionsAbortParams = call.params(params)?;
    let turn = open
        .requests
        .turn(params.key.as_deref().unwrap_or_default());
    let text = |value: Option<NonEmpty>| value.map(|text| text.to_string());
    let request = SessionAbort {
        key: text(params.key),
        run_id: text(params.run_id),
        agent_id: text(params.agent_id),
        clear_queued: params.clear_queued.unwrap_or(false),
    };
    let call = call.clone();
    Ok(call.clone().change(turn, async move {
        let dispatch = &call.native.dispatch;
        let aborted = dispatch.sessions_abort(&call.peer.caller, request).await;
        if let Ok(aborted) = &aborted {
            told(&call, aborted).await;
        }
        call.answer(aborted.map(|aborted| SessionsAbortResult::new(&aborted.runs)))
    }))
}

pub(super) fn inject(
    call: &Call,
    open: &mut Open,
    params: Option<&RawValue>,
) -> Result<Served, ErrorBody> {
    let params: ChatInjectParams = call.params(params)?;
    let turn = open.requests.turn(&params.session_key);
    let request = ChatInject {
        session_key: params.session_key,
        agent_id: params.agent_id,
        message: params.message.to_string(),
        label: params.label.map(|label| label.to_string()),
    };
    let call = call.clone();
    Ok(call.clone().change(turn, async move {
        let dispatch = &call.native.dispatch;
        let injected = dispatch.chat_inject(&call.peer.caller, request).await;
        if let Ok(injected) = &injected {
            tell_injected(&call, injected);
        }
        call.answer(injected.map(|injected| ChatInjectResult::new(injected.id)))
    }))
}

/// Shows an injected message to those who follow the session.
fn tell_injected(call: &Call, injected: &Injected) {
    let EntryBody::Injected { label, text } = &injected.entry.body else {
        return;
    };
    let text = match label.as_deref() {
        Some(label) if !label.is_empty() => format!("[{label}]\n\n{text}"),
        Some(_) | None => text.clone(),
    };
    let message = ChatMessage::new(text, injected.entry.at_ms);
    let event = ChatEvent::injected(injected.id, &injected.key, message);
    let audience = Audience::Session(injected.key.clone());
    call.native.publish(Kind::Chat, &event, audience);
}
