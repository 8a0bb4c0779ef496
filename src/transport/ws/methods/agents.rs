//! `agents.list`, `agent.identity.get` and `models.list` (`protocol-facts` §6.3, §6.9).

use serde_json::value::RawValue;

use crate::dispatch::{AgentChoice, AgentEntry, AgentIdentity};
use crate::protocol::ErrorBody;
use crate::protocol::methods::agents::{
    AgentIdentityParams, AgentIdentityResult, AgentSummary, AgentsListParams, AgentsListResult,
    Identity, ModelChoice, ModelsListParams, ModelsListResult,
};

use super::{Call, Served};

pub(super) fn list(call: &Call, params: Option<&RawValue>) -> Result<Served, ErrorBody> {
    let _params: AgentsListParams = call.params(params)?;
    let catalog = call.native.dispatch.agents();
    let entries = catalog.list();
    let first = entries.first().map(|entry| entry.id.clone());
    let default = catalog.default_agent().ok().or(first);
    let agents = entries.iter().map(|entry| summary(entry)).collect();
    let result = AgentsListResult::new(
        default.map_or_else(String::new, |id| id.as_str().to_owned()),
        call.native.dispatch.config().main_key().as_ref().to_owned(),
        agents,
    );
    Ok(Served::Now(if call.is_v3() {
        call.ok(&result.for_v3())
    } else {
        call.ok(&result)
    }))
}

fn summary(entry: &AgentEntry) -> AgentSummary {
    let identity = identity_of(&entry.identity);
    AgentSummary {
        name: entry.name.as_deref().map(str::to_owned),
        identity: (identity != Identity::default()).then_some(identity),
        ..AgentSummary::new(entry.id.as_str(), &entry.models)
    }
}

fn identity_of(identity: &AgentIdentity) -> Identity {
    let text = |value: &Option<std::sync::Arc<str>>| value.as_deref().map(str::to_owned);
    Identity {
        name: text(&identity.name),
        theme: text(&identity.theme),
        emoji: text(&identity.emoji),
        avatar: text(&identity.avatar),
        avatar_url: None,
    }
}

pub(super) fn identity(call: &Call, params: Option<&RawValue>) -> Result<Served, ErrorBody> {
    let params: AgentIdentityParams = call.params(params)?;
    let dispatch = &call.native.dispatch;
    let choice = match &params.session_key {
        Some(key) => {
            let resolved = dispatch.resolve_key(key, params.agent_id.as_deref());
            let (_key, agent) = resolved.map_err(|error| call.error(&error))?;
            AgentChoice::Named(agent.as_str().to_owned())
        }
        None => match params.agent_id {
            Some(id) => AgentChoice::Named(id.to_string()),
            None => AgentChoice::Default,
        },
    };
    let entry = dispatch
        .agent(&choice)
        .map_err(|error| call.error(&error))?;
    let mut identity = identity_of(&entry.identity);
    if identity.name.is_none() {
        identity.name = entry.name.as_deref().map(str::to_owned);
    }
    let result = AgentIdentityResult::new(entry.id.as_str(), identity);
    Ok(Served::Now(call.ok(&result)))
}

pub(super) fn models(call: &Call, params: Option<&RawValue>) -> Result<Served, ErrorBody> {
    let _params: ModelsListParams = call.params(params)?;
    let models = call.native.dispatch.agents().models();
    let models = models.iter().map(|entry| {
        let mut choice = ModelChoice::new(&entry.model, entry.name.as_ref());
        choice.context_window = entry.context_window;
        choice.reasoning = Some(entry.reasoning);
        choice.input = entry
            .input
            .iter()
            .map(|kind| kind.as_ref().to_owned())
            .collect();
        choice
    });
    let result = ModelsListResult {
        models: models.collect(),
    };
    Ok(Served::Now(if call.is_v3() {
        call.ok(&result.for_v3())
    } else {
        call.ok(&result)
    }))
}
