//! The `agents` section and the aliases: who answers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::super::problem::Fault;
use super::super::raw::{
    RawAgent, RawAgentDefaults, RawConfig, RawIdentity, RawModelChoice, RawReasoning,
};
use super::super::value::KeyPath;
use super::super::{AgentConfig, AgentsConfig, Backend, include, json5};
use super::providers::{Providers, Resolved, SIM};
use super::{Checks, Inputs};
use crate::agent::model::ModelConfig;
use crate::agent::sim::{SimConfig, SimMode, SimScript};
use crate::dispatch::{AgentIdentity, AgentLimits, ModelEntry};
use crate::ids::AgentId;
use crate::run::ModelRef;

/// The agent there is when none is configured.
const MAIN: &str = "main";
/// The model of an agent that has none.
const MODEL_DEFAULT: &str = "sim/demo";

/// Checks the agents and what their models stand for.
pub(super) fn agents(
    raw: &mut RawConfig,
    inputs: Inputs<'_>,
    checks: &mut Checks<'_>,
) -> Option<AgentsConfig> {
    if raw.agents.list.is_empty() {
        raw.agents.list.push(RawAgent {
            id: MAIN.to_owned(),
            ..RawAgent::default()
        });
    }
    let providers = Providers::new(&raw.models, inputs, checks);
    let builder = Builder {
        defaults: &raw.agents.defaults,
        output_bytes_max: raw.events.output_bytes,
        providers: &providers,
        base: inputs.paths.config.parent().unwrap_or(Path::new("")),
    };
    let path = KeyPath::of("agents.list");
    let mut list: Vec<AgentConfig> = Vec::new();
    for (index, agent) in raw.agents.list.iter().enumerate() {
        let path = path.index(index);
        let Some(agent) = builder.agent(agent, &path, checks) else {
            continue;
        };
        if list.iter().any(|other| other.id == agent.id) {
            let fault = Fault::DuplicateAgent(agent.id.to_string());
            checks.fault(&path.key("id"), fault);
            continue;
        }
        list.push(agent);
    }
    let default = default_agent(&raw.agents.list, checks);
    let aliases = aliases(raw, &list, checks);
    let models = models(&providers, &list);
    let endpoints = models
        .iter()
        .filter_map(|entry| providers.endpoint(&entry.model))
        .collect();
    // An agent that is left out was reported, and then no configuration comes of it.
    (!list.is_empty()).then_some(AgentsConfig {
        list,
        default,
        models,
        endpoints,
        aliases,
    })
}

fn default_agent(list: &[RawAgent], checks: &mut Checks<'_>) -> Option<AgentId> {
    let path = KeyPath::of("agents.list");
    let marked = list.iter().enumerate();
    let mut marked = marked.filter(|(_, agent)| agent.default == Some(true));
    let chosen = marked.next().map(|(_, agent)| agent);
    for (index, _) in marked {
        let path = path.index(index).key("default");
        checks.fault(&path, Fault::SecondDefault);
    }
    if let (Some(agent), _) | (None, [agent]) = (chosen, list) {
        return AgentId::parse(agent.id.trim()).ok();
    }
    let mut ids = list
        .iter()
        .filter_map(|agent| AgentId::parse(agent.id.trim()).ok());
    let main = ids.find(|id| id.as_str() == MAIN);
    if main.is_none() {
        checks.fault(&path, Fault::NoDefault);
    }
    main
}

fn aliases(
    raw: &RawConfig,
    list: &[AgentConfig],
    checks: &mut Checks<'_>,
) -> Vec<(Arc<str>, AgentId)> {
    let path = KeyPath::of("models.aliases");
    let mut aliases = Vec::new();
    for (name, target) in &raw.models.aliases {
        let wanted = AgentId::parse(target.trim()).ok();
        let found = list.iter().find(|agent| Some(&agent.id) == wanted.as_ref());
        match found {
            Some(agent) => aliases.push((name.as_str().into(), agent.id.clone())),
            None => checks.fault(&path.key(name), Fault::UnknownAgent(target.clone())),
        }
    }
    aliases
}

/// The models on the lists of the providers, and those agents use without their being listed.
fn models(providers: &Providers, list: &[AgentConfig]) -> Vec<ModelEntry> {
    let mut entries = providers.entries();
    for model in list.iter().flat_map(|agent| &agent.models) {
        if entries.iter().any(|entry| entry.model == *model) {
            continue;
        }
        entries.push(ModelEntry {
            model: model.clone(),
            name: Arc::clone(&model.model),
            context_window: None,
            reasoning: false,
            input: vec!["text".into()],
        });
    }
    entries
}

struct Builder<'a> {
    defaults: &'a RawAgentDefaults,
    output_bytes_max: usize,
    providers: &'a Providers,
    /// Where paths in the file start from.
    base: &'a Path,
}

impl Builder<'_> {
    fn agent(
        &self,
        raw: &RawAgent,
        path: &KeyPath,
        checks: &mut Checks<'_>,
    ) -> Option<AgentConfig> {
        let id = AgentId::parse(raw.id.trim()).map_err(Fault::BadAgentId);
        let id = checks.accept(&path.key("id"), id);
        let system = raw
            .system_prompt
            .as_ref()
            .or(self.defaults.system_prompt.as_ref());
        let system: Option<Arc<str>> = system.map(|text| text.as_str().into());
        let (models, backend) = self.backend(raw, path, system.clone(), checks)?;
        let reasoning = raw
            .reasoning_default
            .unwrap_or(self.defaults.reasoning_default);
        Some(AgentConfig {
            id: id?,
            name: raw.name.as_deref().map(Arc::from),
            identity: identity(raw.identity.as_ref()),
            models,
            backend,
            system,
            limits: self.limits(raw),
            show_reasoning: match reasoning {
                RawReasoning::Off => false,
                RawReasoning::On | RawReasoning::Stream => true,
            },
        })
    }

    fn limits(&self, raw: &RawAgent) -> AgentLimits {
        let defaults = self.defaults;
        let seconds = |seconds: u64| (seconds > 0).then(|| Duration::from_secs(seconds));
        AgentLimits {
            concurrent_max: raw.max_concurrent.unwrap_or(defaults.max_concurrent),
            weight: raw.weight.unwrap_or(1),
            run: seconds(raw.timeout_seconds.unwrap_or(defaults.timeout_seconds)),
            idle: seconds(raw.idle_seconds.unwrap_or(defaults.idle_seconds)),
            abort_grace: Duration::from_millis(defaults.abort_grace_ms),
            output_bytes_max: self.output_bytes_max,
            restartable: raw.restartable.unwrap_or(defaults.restartable),
        }
    }

    /// What the agent's models stand for: the first one decides what kind of agent it is.
    fn backend(
        &self,
        raw: &RawAgent,
        path: &KeyPath,
        system: Option<Arc<str>>,
        checks: &mut Checks<'_>,
    ) -> Option<(Vec<ModelRef>, Backend)> {
        let names = self.model_names(raw, path);
        let mut resolved = Vec::new();
        for (name, path) in &names {
            resolved.push((self.providers.resolve(name, path, checks)?, path));
        }
        let mut models = Vec::new();
        let mut endpoints = Vec::new();
        let mut retries = None;
        let mut unavailable = None;
        for (model, model_path) in resolved {
            match model {
                Resolved::Sim(name) => {
                    if names.len() > 1 {
                        checks.fault(model_path, Fault::SimFallback);
                        return None;
                    }
                    let reference = sim_reference(&name);
                    let sim = self.sim(&name, raw, (path, model_path), checks)?;
                    return Some((vec![reference], Backend::Sim(sim)));
                }
                Resolved::Unavailable(reference, reason) => {
                    models.push(reference);
                    unavailable.get_or_insert(reason);
                }
                Resolved::Model(endpoint, repeats) => {
                    models.push(endpoint.model.clone());
                    endpoints.push(*endpoint);
                    retries.get_or_insert(repeats);
                }
            }
        }
        let backend = match (retries, unavailable) {
            (Some(retries), _) => Backend::Model(ModelConfig {
                endpoints,
                system,
                retries,
            }),
            (None, reason) => Backend::Unavailable(reason?),
        };
        Some((models, backend))
    }

    /// The models of an agent with the keys they stand at.
    fn model_names(&self, raw: &RawAgent, path: &KeyPath) -> Vec<(String, KeyPath)> {
        let own = raw.model.as_ref().map(|model| (model, path.key("model")));
        let shared = self.defaults.model.as_ref();
        let shared = shared.map(|model| (model, KeyPath::of("agents.defaults.model")));
        let none = || vec![(MODEL_DEFAULT.to_owned(), path.clone())];
        match own.or(shared) {
            None => none(),
            Some((RawModelChoice::One(name), path)) => vec![(name.clone(), path)],
            Some((RawModelChoice::Several { primary, fallbacks }, path)) => {
                let first = primary
                    .iter()
                    .map(|name| (name.clone(), path.key("primary")));
                let others = fallbacks
                    .iter()
                    .enumerate()
                    .map(|(index, name)| (name.clone(), path.key("fallbacks").index(index)));
                let names: Vec<_> = first.chain(others).collect();
                if names.is_empty() { none() } else { names }
            }
        }
    }

    /// A simulated agent: knobs of `agents.defaults`, then of the agent, then of the model's name.
    fn sim(
        &self,
        name: &str,
        raw: &RawAgent,
        (agent_path, model_path): (&KeyPath, &KeyPath),
        checks: &mut Checks<'_>,
    ) -> Option<SimConfig> {
        let mut config = checks.accept(model_path, SimConfig::parse(name))?;
        let named = named_knobs(name);
        let shared = (&self.defaults.sim, KeyPath::of("agents.defaults.sim"));
        let own = (&raw.sim, agent_path.key("sim"));
        for (knobs, path) in [shared, own] {
            for (knob, value) in knobs
                .iter()
                .filter(|(knob, _)| !named.contains(&pace(knob)))
            {
                let turned = config.set(knob, &knob_text(value));
                checks.accept(&path.key(knob), turned)?;
            }
        }
        self.script(config, model_path, checks)
    }

    fn script(
        &self,
        config: SimConfig,
        path: &KeyPath,
        checks: &mut Checks<'_>,
    ) -> Option<SimConfig> {
        match (config.mode, &config.script_file) {
            (SimMode::Demo | SimMode::Echo | SimMode::Lorem, _) => Some(config),
            (SimMode::Script, None) => {
                checks.fault(path, Fault::NoScript);
                None
            }
            (SimMode::Script, Some(file)) => {
                let script = read_script(&self.base.join(&**file), checks)?;
                Some(config.with_script(script))
            }
        }
    }
}

/// The knobs a model name turns itself.
fn named_knobs(name: &str) -> Vec<&str> {
    let knobs = name.split_once('?').map_or("", |(_, knobs)| knobs);
    let names = knobs.split('&').filter_map(|pair| pair.split('=').next());
    names.map(pace).collect()
}

/// Two knobs set the same pace; the last one turned would win.
fn pace(knob: &str) -> &str {
    if knob == "tps" { "interTokenMs" } else { knob }
}

fn knob_text(value: &serde_json::Value) -> String {
    match value.as_str() {
        Some(text) => text.to_owned(),
        None => value.to_string(),
    }
}

fn sim_reference(name: &str) -> ModelRef {
    ModelRef {
        provider: SIM.into(),
        model: name.into(),
    }
}

/// Reads a script; its mistakes are shown at their places in it.
fn read_script(path: &Path, checks: &mut Checks<'_>) -> Option<SimScript> {
    let shown = path.display().to_string();
    let text = match include::read_bounded(path).map(String::from_utf8) {
        Ok(Ok(text)) => text,
        Ok(Err(_invalid)) => {
            checks.named(shown, Fault::NotUtf8);
            return None;
        }
        Err(error) => {
            checks.named(shown, Fault::Unreadable(Arc::new(error)));
            return None;
        }
    };
    let file = checks.sources.add(path, text.as_str());
    let parsed = json5::parse(&text, file);
    let broken = !parsed.errors.is_empty();
    for located in parsed.errors {
        checks
            .problems
            .at(KeyPath::default(), located.span, located.error);
    }
    if broken {
        return None;
    }
    match SimScript::from_value(parsed.value?.to_json()) {
        Ok(script) => Some(script),
        Err(error) => {
            checks.named(shown, Fault::Script(Arc::new(error)));
            None
        }
    }
}

fn identity(raw: Option<&RawIdentity>) -> AgentIdentity {
    let text = |value: &Option<String>| value.as_deref().map(Arc::from);
    raw.map_or_else(AgentIdentity::default, |raw| AgentIdentity {
        name: text(&raw.name),
        theme: text(&raw.theme),
        emoji: text(&raw.emoji),
        avatar: text(&raw.avatar),
    })
}
