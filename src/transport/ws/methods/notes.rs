//! What operators and other programs tell the gateway and ask about its parts: `system-event`,
//! `wake`, `set-heartbeats`, `sessions.observer.visibility`, `models.authStatus`, `tools.catalog`,
//! `diagnostics.*` and `config.schema.*` (`protocol-facts` §6.2, §6.10, §6.12).

use serde_json::Value;
use serde_json::value::RawValue;

use crate::auth::Operation;
use crate::clock::rfc3339;
use crate::dispatch::AgentChoice;
use crate::ids::SessionKey;
use crate::protocol::methods::config::{
    ConfigLookupParams, ConfigLookupResult, ConfigSchemaParams, ConfigSchemaResult,
};
use crate::protocol::methods::notes::{
    DiagnosticsLanesParams, DiagnosticsLanesResult, GatewayIdentityParams, GatewayIdentityResult,
    LaneState, ModelsAuthStatusParams, ModelsAuthStatusResult, Noted, ObserverVisibilityParams,
    ProviderAuth, SetHeartbeatsParams, SetHeartbeatsResult, StabilityParams, StabilityResult,
    SystemEventParams, ToolsCatalogParams, ToolsCatalogResult, WakeParams,
};
use crate::protocol::{ErrorBody, Reply, WireCode};
use crate::transport::ws::connection::Open;
use crate::version::OWN_VERSION;

use super::{Call, Served, short};

/// The lane all runs share beside that of their session.
const MAIN_LANE: &str = "main";

pub(super) fn system_event(
    call: &Call,
    open: &mut Open,
    params: Option<&RawValue>,
) -> Result<Served, ErrorBody> {
    let params: SystemEventParams = call.params(params)?;
    let Some(text) = params.said().map(str::to_owned) else {
        return Err(call.invalid("text required"));
    };
    let native = &call.native;
    let key = format!("event:{}", params.key());
    native
        .presence
        .note(&key.into(), params.entry(native.clock.now_ms()));
    if params.is_presence() {
        return Ok(Served::Now(call.ok(&Noted { ok: true })));
    }
    let agent = native.dispatch.agent(&AgentChoice::Default);
    let agent = agent.map_err(|error| call.error(&error))?;
    let session = native.dispatch.main_session(&agent.id);
    Ok(tell(call, open, session, text))
}

pub(super) fn wake(
    call: &Call,
    open: &mut Open,
    params: Option<&RawValue>,
) -> Result<Served, ErrorBody> {
    let params: WakeParams = call.params(params)?;
    let dispatch = &call.native.dispatch;
    let agent_id = params.agent_id.as_deref();
    let session = if let Some(key) = &params.session_key {
        dispatch.resolve_key(key, agent_id).map(|(key, _agent)| key)
    } else {
        let named = |id: &str| AgentChoice::Named(id.to_owned());
        let agent = dispatch.agent(&agent_id.map_or(AgentChoice::Default, named));
        agent.map(|agent| dispatch.main_session(&agent.id))
    };
    let session = session.map_err(|error| call.error(&error))?;
    Ok(tell(call, open, session, params.text.to_string()))
}

/// Puts a text into a session in the name of the method that was called. No run starts: there are
/// no heartbeats, and the agent reads it with the next turn.
fn tell(call: &Call, open: &mut Open, session: SessionKey, text: String) -> Served {
    let turn = open.requests.turn(session.as_str());
    let call = call.clone();
    call.clone().change(turn, async move {
        let dispatch = &call.native.dispatch;
        let told = dispatch
            .system_event(
                &call.peer.caller,
                Operation::Method(call.name),
                &session,
                text,
            )
            .await;
        call.answer(told.map(|()| Noted { ok: true }))
    })
}

pub(super) fn set_heartbeats(call: &Call, params: Option<&RawValue>) -> Result<Served, ErrorBody> {
    let params: SetHeartbeatsParams = call.params(params)?;
    match params.enabled {
        Some(Value::Bool(false)) => {
            let result = SetHeartbeatsResult {
                ok: true,
                enabled: false,
            };
            Ok(Served::Now(call.ok(&result)))
        }
        // To say that they are on now would be a lie.
        Some(Value::Bool(true)) => Err(ErrorBody::new(
            WireCode::Unavailable,
            "this gateway has no heartbeats",
        )),
        Some(_) | None => {
            Err(call.invalid("invalid set-heartbeats params: enabled (boolean) required"))
        }
    }
}

pub(super) fn visibility(call: &Call, params: Option<&RawValue>) -> Result<Served, ErrorBody> {
    let _params: ObserverVisibilityParams = call.params(params)?;
    Ok(Served::Now(call.ok(&Noted { ok: true })))
}

pub(super) fn auth_status(call: &Call, params: Option<&RawValue>) -> Result<Served, ErrorBody> {
    let _params: ModelsAuthStatusParams = call.params(params)?;
    let shown = call.native.dispatch.config().snapshot();
    Ok(Served::Now(call.ok(&ModelsAuthStatusResult {
        ts: call.native.clock.now_ms(),
        providers: ProviderAuth::of(&shown.effective),
    })))
}

pub(super) fn tools(call: &Call, params: Option<&RawValue>) -> Result<Served, ErrorBody> {
    let params: ToolsCatalogParams = call.params(params)?;
    let choice = match params.agent_id {
        Some(id) => AgentChoice::Named(id.to_string()),
        None => AgentChoice::Default,
    };
    let agent = call.native.dispatch.agent(&choice);
    let agent = agent.map_err(|error| call.error(&error))?;
    let result = ToolsCatalogResult::empty(agent.id.as_str());
    Ok(Served::Now(call.ok(&result)))
}

pub(super) fn identity(call: &Call, params: Option<&RawValue>) -> Result<Served, ErrorBody> {
    let _params: GatewayIdentityParams = call.params(params)?;
    match call.native.dispatch.config().identity() {
        Some(identity) => Ok(Served::Now(call.ok(&GatewayIdentityResult {
            device_id: identity.device_id.as_ref().to_owned(),
            public_key: identity.public_key.as_ref().to_owned(),
        }))),
        None => Err(ErrorBody::new(
            WireCode::Unavailable,
            "the gateway has no key",
        )),
    }
}

pub(super) fn lanes(call: &Call, params: Option<&RawValue>) -> Result<Served, ErrorBody> {
    let _params: DiagnosticsLanesParams = call.params(params)?;
    let call = call.clone();
    Ok(short(async move { read_lanes(&call).await }))
}

async fn read_lanes(call: &Call) -> Reply {
    let native = &call.native;
    let report = native.dispatch.status().await;
    call.answer(report.map(|report| DiagnosticsLanesResult {
        ts: native.clock.now_ms(),
        lanes: vec![LaneState {
            lane: MAIN_LANE.to_owned(),
            queued_count: report.waiting,
            active_count: report.active,
            max_concurrent: report.active_max,
            draining: !native.drain.is_accepting(),
            generation: 0,
            blocked_by: (),
        }],
        dynamic: (),
    }))
}

pub(super) fn stability(call: &Call, params: Option<&RawValue>) -> Result<Served, ErrorBody> {
    let _params: StabilityParams = call.params(params)?;
    let now = rfc3339(call.native.clock.now_ms());
    Ok(Served::Now(call.ok(&StabilityResult::empty(now))))
}

pub(super) fn config_lookup(call: &Call, params: Option<&RawValue>) -> Result<Served, ErrorBody> {
    let params: ConfigLookupParams = call.params(params)?;
    let schema = call.native.dispatch.config().schema();
    let found = ConfigLookupResult::find(&schema, &params.path);
    let found = found.ok_or_else(|| call.invalid("config schema path not found"))?;
    Ok(Served::Now(call.ok(&found)))
}

pub(super) fn config_schema(call: &Call, params: Option<&RawValue>) -> Result<Served, ErrorBody> {
    let _params: ConfigSchemaParams = call.params(params)?;
    let native = &call.native;
    Ok(Served::Now(call.ok(&ConfigSchemaResult {
        schema: native.dispatch.config().schema(),
        ui_hints: serde_json::Map::new(),
        version: OWN_VERSION.to_owned(),
        generated_at: rfc3339(native.clock.now_ms()),
    })))
}
