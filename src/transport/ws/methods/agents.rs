//! What there is to talk to: `agents.list`, `agent.identity.get`, `models.list`, `commands.list`
//! and `chat.metadata` (`protocol-facts` §6.3, §6.5, §6.9).

use serde_json::value::RawValue;

use crate::dispatch::{
    AgentChoice, AgentEntry, AgentIdentity, Command, CommandGroup, available_commands,
};
use crate::protocol::ErrorBody;
use crate::protocol::methods::agents::{
    AgentIdentityParams, AgentIdentityResult, AgentSummary, AgentsListParams, AgentsListResult,
    Identity, ModelChoice, ModelsListParams, ModelsListResult, WebSearchStatusParams,
    WebSearchStatusResult,
};
use crate::protocol::methods::chat::{ChatMetadataParams, ChatMetadataResult};
use crate::protocol::methods::commands::{
    CommandArg, CommandArgKind, CommandCategory, CommandChoice, CommandEntry, CommandScope,
    CommandSource, CommandsListParams, CommandsListResult,
};

use crate::transport::ws::rows;

use super::{Call, Served};

pub(super) fn list(call: &Call, params: Option<&RawValue>) -> Result<Served, ErrorBody> {
    let _params: AgentsListParams = call.params(params)?;
    let result = list_result(call);
    Ok(Served::Now(if call.is_v3() {
        call.ok(&result.for_v3())
    } else {
        call.ok(&result)
    }))
}

/// Every agent, with the one that is used when none is named.
pub(super) fn list_result(call: &Call) -> AgentsListResult {
    let catalog = call.native.dispatch.agents();
    let entries = catalog.list();
    let first = entries.first().map(|entry| entry.id.clone());
    let default = catalog.default_agent().ok().or(first);
    let agents = entries.iter().map(|entry| summary(entry)).collect();
    AgentsListResult::new(
        default.map_or_else(String::new, |id| id.as_str().to_owned()),
        call.native.dispatch.config().main_key().as_ref().to_owned(),
        agents,
    )
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

pub(super) fn web_search(call: &Call, params: Option<&RawValue>) -> Result<Served, ErrorBody> {
    let params: WebSearchStatusParams = call.params(params)?;
    let choice = match params.agent_id {
        Some(id) => AgentChoice::Named(id.to_string()),
        None => AgentChoice::Default,
    };
    let agent = call.native.dispatch.agent(&choice);
    let agent = agent.map_err(|error| call.error(&error))?;
    let model = rows::first_model(&agent);
    let result = WebSearchStatusResult::none(agent.id.as_str(), model.as_ref());
    Ok(Served::Now(call.ok(&result)))
}

pub(super) fn models(call: &Call, params: Option<&RawValue>) -> Result<Served, ErrorBody> {
    let params: ModelsListParams = call.params(params)?;
    let mut models = model_choices(call);
    if let Some(provider) = params.provider.as_deref() {
        models.retain(|choice| choice.provider == provider);
    }
    let result = ModelsListResult { models };
    Ok(Served::Now(if call.is_v3() {
        call.ok(&result.for_v3())
    } else {
        call.ok(&result)
    }))
}

fn model_choices(call: &Call) -> Vec<ModelChoice> {
    let models = call.native.dispatch.agents().models();
    let choices = models.iter().map(|entry| {
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
    choices.collect()
}

pub(super) fn metadata(call: &Call, params: Option<&RawValue>) -> Result<Served, ErrorBody> {
    let params: ChatMetadataParams = call.params(params)?;
    check_target(
        call,
        params.agent_id.as_deref(),
        params.session_key.as_deref(),
    )?;
    Ok(Served::Now(call.ok(&metadata_result(call))))
}

/// What a session can be told and which models it can use: the same for every session.
pub(super) fn metadata_result(call: &Call) -> ChatMetadataResult {
    ChatMetadataResult {
        commands: available_commands().map(command).collect(),
        models: model_choices(call),
    }
}

pub(super) fn commands(call: &Call, params: Option<&RawValue>) -> Result<Served, ErrorBody> {
    let params: CommandsListParams = call.params(params)?;
    check_target(
        call,
        params.agent_id.as_deref(),
        params.session_key.as_deref(),
    )?;
    let wanted = params.scope.unwrap_or(CommandScope::Both);
    let with_args = params.include_args.unwrap_or(true);
    let commands = available_commands().map(command);
    let commands = commands
        .filter(|command| command.scope.is_among(wanted))
        .map(|command| CommandEntry {
            args: if with_args { command.args } else { Vec::new() },
            ..command
        });
    let commands = commands.collect();
    Ok(Served::Now(call.ok(&CommandsListResult { commands })))
}

/// Refuses an agent that is not there and a session key that cannot be.
fn check_target(call: &Call, agent: Option<&str>, session: Option<&str>) -> Result<(), ErrorBody> {
    let dispatch = &call.native.dispatch;
    let checked = match (session, agent) {
        (Some(key), agent) => dispatch.resolve_key(key, agent).map(drop),
        (None, Some(id)) => dispatch.agent(&AgentChoice::Named(id.to_owned())).map(drop),
        (None, None) => Ok(()),
    };
    checked.map_err(|error| call.error(&error))
}

fn command(command: &Command) -> CommandEntry {
    let owned = |text: &&str| (*text).to_owned();
    let arg = command.argument.map(|argument| CommandArg {
        name: argument.name.to_owned(),
        description: argument.description.to_owned(),
        kind: CommandArgKind::String,
        choices: argument
            .choices
            .iter()
            .map(|choice| CommandChoice::new(choice))
            .collect(),
    });
    CommandEntry {
        name: command.name.to_owned(),
        text_aliases: command.aliases.iter().map(owned).collect(),
        description: command.description.to_owned(),
        category: match command.group {
            CommandGroup::Session => CommandCategory::Session,
            CommandGroup::Options => CommandCategory::Options,
            CommandGroup::Status => CommandCategory::Status,
        },
        source: CommandSource::Native,
        scope: CommandScope::Text,
        accepts_args: arg.is_some(),
        args: arg.into_iter().collect(),
    }
}
