//! `agent`, which answers twice, and `agent.wait` (`protocol-facts` §6.4, §8.3).

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;

use crate::dispatch::{AgentRun, EndedRun, Started, Waited};
use crate::events::{Log, Subscription};
use crate::ids::{SessionId, WireId};
use crate::protocol::methods::agent::{
    AgentAccepted, AgentFinal, AgentParams, AgentWaitParams, AgentWaitResult, FinishedRun,
    MODEL_OVERRIDE_REFUSED, WAIT_MS_DEFAULT,
};
use crate::protocol::methods::attachment::decode_images;
use crate::protocol::methods::chat::ChatAbortResult;
use crate::protocol::{ErrorBody, Reply, WireCode, server_busy};
use crate::run::ModelRef;
use crate::transport::ws::connection::Open;
use crate::transport::ws::rows;

use super::{Attempted, Call, Done, Served, Start};

pub(super) fn start(
    call: &Call,
    open: &mut Open,
    params: Option<&RawValue>,
) -> Result<Served, ErrorBody> {
    let params: AgentParams = call.params(params)?;
    let model = params.model_override();
    if model.is_some() && !call.peer.is_admin() {
        return Err(call.invalid(MODEL_OVERRIDE_REFUSED));
    }
    if !open.requests.has_wait_room() {
        return Err(server_busy());
    }
    let attachments = params.attachments.as_deref().unwrap_or_default();
    let images = decode_images(attachments).map_err(|error| call.invalid(error.to_string()))?;
    let session = params.session_key.clone().unwrap_or_default();
    let key = params.idempotency_key.to_string();
    let request = AgentRun {
        message: params.message.to_string(),
        idempotency_key: key.clone(),
        agent_id: params.agent_id,
        session_key: params.session_key,
        session_id: params.session_id,
        expected_session_id: params.expected_existing_session_id,
        to: params.to,
        timeout: params.timeout.map(Duration::from_secs),
        extra_system: params.extra_system_prompt,
        model,
        images,
        label: params.label.map(|label| label.to_string()),
    };
    let start = Start::new(call, open, &session, &key);
    Ok(Served::Wait(start.run(|call| async move {
        match call
            .native
            .dispatch
            .agent_run(&call.peer.caller, request)
            .await
        {
            Ok(started) => accepted(&call, started),
            Err(error) => call.refuse(&call.error(&error)).into(),
        }
    })))
}

fn accepted(call: &Call, started: Started) -> Attempted {
    match started {
        Started::New(admitted) => {
            let info = &admitted.info;
            let at_ms = info.accepted_at_ms;
            let accepted = AgentAccepted::new(&info.wire_id, &info.session, &info.agent, at_ms);
            let reply = if call.is_v3() {
                call.ok(&accepted.for_v3(at_ms))
            } else {
                call.ok(&accepted)
            };
            let model = rows::first_model(&admitted.agent);
            let second = finish(call.clone(), admitted.log, admitted.session_id, model);
            Attempted {
                reply,
                is_running: true,
                alias: None,
                second: Some(Box::pin(second)),
            }
        }
        Started::InFlight {
            wire_id,
            session,
            log,
        } => {
            let info = log.as_ref().map(|log| log.info());
            let accepted =
                AgentAccepted::in_flight(&wire_id, &session, info.map(|info| &info.agent));
            let reply = match info {
                // Version 3 answers a repeated call with the first answer again.
                Some(info) if call.is_v3() => call.ok(&accepted.for_v3(info.accepted_at_ms)),
                Some(_) | None => call.ok(&accepted),
            };
            Attempted {
                is_running: true,
                ..reply.into()
            }
        }
        Started::Ended(ended) => {
            let record = ended.record.as_deref();
            let agents = call.native.dispatch.agents();
            let agent = record.and_then(|record| agents.get(&record.agent));
            let model = agent.and_then(|agent| rows::first_model(&agent));
            let run = FinishedRun {
                run: &ended.wire_id,
                terminal: &ended.terminal,
                text: &ended.text,
                session_id: record.map(|record| record.session_id),
                model: model.as_ref(),
            };
            last(call, &run).into()
        }
        Started::Stopped(aborted) => call.ok(&ChatAbortResult::new(&aborted.runs)).into(),
    }
}

/// Waits for the end of a run and gives the second answer.
async fn finish(
    call: Call,
    log: Arc<Log>,
    session_id: Option<SessionId>,
    model: Option<ModelRef>,
) -> Done {
    let mut reader = Subscription::from_start(Arc::clone(&log));
    let Some(terminal) = reader.ended().await else {
        // A log ends only with a terminal.
        return call.refuse(&call.internal()).into();
    };
    call.native.runs.told(log.info().run_id).await;
    let text = log.text();
    let run = FinishedRun {
        run: &log.info().wire_id,
        terminal: &terminal,
        text: &text,
        session_id,
        model: model.as_ref(),
    };
    last(&call, &run).into()
}

fn last(call: &Call, run: &FinishedRun<'_>) -> Reply {
    let answer = AgentFinal::new(run);
    match answer.error_message() {
        None => call.ok(&answer),
        Some(message) => {
            let error = ErrorBody::new(WireCode::Unavailable, message.to_owned());
            Reply::failed(&call.id, &answer, &error)
        }
    }
}

pub(super) fn wait(call: &Call, params: Option<&RawValue>) -> Result<Served, ErrorBody> {
    let params: AgentWaitParams = call.params(params)?;
    let limit = Duration::from_millis(params.timeout_ms.unwrap_or(WAIT_MS_DEFAULT));
    let run_id = params.run_id.to_string();
    let call = call.clone();
    Ok(Served::Wait(Box::pin(async move {
        let dispatch = &call.native.dispatch;
        let waited = dispatch.wait(&call.peer.caller, &run_id, limit).await;
        let result = match waited {
            Ok(Waited::Ended(ended)) => waited_for(&ended),
            Ok(Waited::Queued) => AgentWaitResult::queued(&run_id),
            Ok(Waited::Running) => AgentWaitResult::running(&run_id),
            Err(error) => return call.refuse(&call.error(&error)).into(),
        };
        let reply = if call.is_v3() {
            call.ok(&result.for_v3())
        } else {
            call.ok(&result)
        };
        reply.into()
    })))
}

fn waited_for(ended: &EndedRun) -> AgentWaitResult {
    let run: &WireId = &ended.wire_id;
    AgentWaitResult::ended(&FinishedRun {
        run,
        terminal: &ended.terminal,
        text: &ended.text,
        session_id: None,
        model: None,
    })
}
