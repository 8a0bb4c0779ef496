//! `agents.list`, `agent.identity.get` and `models.list` (`protocol-facts` §6.3, §6.9).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::protocol::NonEmpty;
use crate::protocol::params::params;
use crate::run::ModelRef;

params! {
    /// Parameters of `agents.list`.
    AgentsListParams {}
}

params! {
    /// Parameters of `agent.identity.get`.
    AgentIdentityParams {
        optional {
            /// The agent; the default one when absent.
            agent_id: NonEmpty,
            /// A session whose agent is meant; must agree with `agentId`.
            session_key: String,
        }
    }
}

params! {
    /// Parameters of `models.list`.
    ModelsListParams {
        optional {
            /// The agent whose models are meant.
            agent_id: NonEmpty,
            /// A session whose agent is meant.
            session_key: String,
            /// Which part of the catalogue.
            view: ModelsView,
            /// Only models of this provider.
            provider: NonEmpty,
        }
        unused {
            auth_profile_id: NonEmpty,
            include_default_models: bool,
            include_details: bool,
            include_provider_capabilities: bool,
            prepared_only: bool,
            refresh: bool,
        }
    }
}

/// Which part of the model catalogue `models.list` shows. There is one catalogue here, the
/// configured one, so every view shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ModelsView {
    /// What the server thinks best.
    Default,
    /// What is configured.
    Configured,
    /// As the providers are configured.
    ProviderConfig,
    /// Everything known.
    All,
}

/// The result of `agents.list`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentsListResult {
    /// The agent used when a request names none.
    pub default_id: String,
    /// Who owns the list of agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ownership: Option<Ownership>,
    /// Whether the user must choose an agent first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection_required: Option<bool>,
    /// The part of a session key that names the main session.
    pub main_key: String,
    /// How sessions are shared.
    pub scope: SessionScope,
    /// The agents, in the order of the configuration.
    pub agents: Vec<AgentSummary>,
}

impl AgentsListResult {
    /// A list with its default.
    pub fn new(default_id: String, main_key: String, agents: Vec<AgentSummary>) -> Self {
        Self {
            default_id,
            ownership: Some(Ownership::of(agents.len())),
            selection_required: Some(false),
            main_key,
            scope: SessionScope::PerSender,
            agents,
        }
    }

    /// The result as protocol 3 knows it.
    #[must_use]
    pub fn for_v3(mut self) -> Self {
        self.ownership = None;
        self.selection_required = None;
        for agent in &mut self.agents {
            agent.model = None;
            agent.thinking_levels = None;
            agent.thinking_default = None;
            agent.kind = None;
        }
        self
    }
}

/// Who owns the list of agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Ownership {
    /// There is one agent.
    Sole,
    /// An older list without owners.
    Legacy,
    /// The configuration names them.
    Explicit,
}

impl Ownership {
    /// The ownership of a list of that many agents.
    pub const fn of(agents: usize) -> Self {
        if agents > 1 {
            Self::Explicit
        } else {
            Self::Sole
        }
    }
}

/// How sessions are shared (`session.scope`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SessionScope {
    /// Each sender has sessions of its own.
    #[default]
    PerSender,
    /// One session for everybody.
    Global,
}

/// An agent in `agents.list`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentSummary {
    /// Its id.
    pub id: String,
    /// Its display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How it presents itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// `agent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its models. Without `primary` the Control UI refuses to send (§6.3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<AgentModels>,
    /// How hard it can think.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking_levels: Option<Vec<ThinkingLevel>>,
    /// How hard it thinks unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking_default: Option<String>,
}

impl AgentSummary {
    /// An agent with its first model and the models it falls back to.
    pub fn new(id: impl Into<String>, models: &[ModelRef]) -> Self {
        let mut names = models.iter().map(model_name);
        Self {
            id: id.into(),
            kind: Some("agent".to_owned()),
            model: names.next().map(|primary| AgentModels {
                primary: Some(primary),
                fallbacks: names.collect(),
            }),
            thinking_levels: Some(ThinkingLevel::all()),
            thinking_default: Some(THINKING_OFF.to_owned()),
            ..Self::default()
        }
    }
}

/// A model as `provider/model`.
pub fn model_name(model: &ModelRef) -> String {
    format!("{}/{}", model.provider, model.model)
}

/// How an agent presents itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Shown name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A theme word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub theme: Option<String>,
    /// An emoji.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emoji: Option<String>,
    /// An avatar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avatar: Option<String>,
    /// Where the avatar can be fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avatar_url: Option<String>,
}

/// The models of an agent, each as `provider/model`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentModels {
    /// The first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary: Option<String>,
    /// What is tried when it fails.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<String>,
}

/// The one thinking level every agent has.
pub const THINKING_OFF: &str = "off";

/// A thinking level clients can offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ThinkingLevel {
    /// The value.
    pub id: String,
    /// Its name.
    pub label: String,
}

impl ThinkingLevel {
    /// The levels an agent here has.
    pub fn all() -> Vec<Self> {
        vec![Self {
            id: THINKING_OFF.to_owned(),
            label: THINKING_OFF.to_owned(),
        }]
    }
}

/// The result of `agent.identity.get`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentIdentityResult {
    /// The agent.
    pub agent_id: String,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `config` or `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_source: Option<String>,
    /// Its avatar: a letter, a path or a URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avatar: Option<String>,
    /// `none`, `local`, `remote` or `data`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avatar_status: Option<String>,
    /// Its emoji.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emoji: Option<String>,
}

impl AgentIdentityResult {
    /// An identity from configured parts; what is missing gets the documented default.
    pub fn new(agent_id: impl Into<String>, identity: Identity) -> Self {
        let source = if identity.name.is_some() {
            "config"
        } else {
            "default"
        };
        let status = avatar_status(identity.avatar.as_deref());
        Self {
            agent_id: agent_id.into(),
            name: Some(identity.name.unwrap_or_else(|| "Assistant".to_owned())),
            name_source: Some(source.to_owned()),
            avatar: Some(identity.avatar.unwrap_or_else(|| "A".to_owned())),
            avatar_status: Some(status.to_owned()),
            emoji: identity.emoji,
        }
    }
}

fn avatar_status(avatar: Option<&str>) -> &'static str {
    match avatar {
        Some(text) if text.starts_with("data:") => "data",
        Some(text) if text.starts_with("http://") || text.starts_with("https://") => "remote",
        Some(text) if text.contains('/') => "local",
        Some(_) | None => "none",
    }
}

/// The result of `models.list`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelsListResult {
    /// The models.
    pub models: Vec<ModelChoice>,
}

impl ModelsListResult {
    /// The result as protocol 3 knows it.
    #[must_use]
    pub fn for_v3(mut self) -> Self {
        for model in &mut self.models {
            model.available = None;
            model.tags = Vec::new();
            model.thinking_levels = None;
            model.thinking_default = None;
            model.input = Vec::new();
        }
        self
    }
}

/// A model in `models.list`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelChoice {
    /// Id at the provider.
    pub id: String,
    /// Display name.
    pub name: String,
    /// The provider.
    pub provider: String,
    /// Tokens it can take in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_window: Option<u64>,
    /// Whether it reasons before it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<bool>,
    /// `default` for the model of the default agent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// How hard it can think.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking_levels: Option<Vec<ThinkingLevel>>,
    /// How hard it thinks unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking_default: Option<String>,
    /// Whether it can be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available: Option<bool>,
    /// What it takes: `text`, `image`, …
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub input: Vec<String>,
}

impl ModelChoice {
    /// A model that can be used.
    pub fn new(model: &ModelRef, name: impl Into<String>) -> Self {
        Self {
            id: (*model.model).to_owned(),
            name: name.into(),
            provider: (*model.provider).to_owned(),
            thinking_levels: Some(ThinkingLevel::all()),
            thinking_default: Some(THINKING_OFF.to_owned()),
            available: Some(true),
            ..Self::default()
        }
    }
}

params! {
    /// Parameters of `webSearch.status`.
    WebSearchStatusParams {
        optional {
            /// The agent that would search.
            agent_id: NonEmpty,
        }
        unused { model_provider: NonEmpty, model_id: NonEmpty }
    }
}

/// The result of `webSearch.status`: the gateway brings no search along.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebSearchStatusResult {
    /// Whether agents can search.
    pub enabled: bool,
    /// Who searches for them.
    pub provider: (),
    /// The agent.
    pub agent_id: String,
    /// Its model.
    pub model: WebSearchModel,
    /// How a search would go.
    pub route: WebSearchRoute,
    /// Who could search.
    pub providers: [(); 0],
}

/// The model of an agent that would search.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebSearchModel {
    /// Its provider.
    pub provider: String,
    /// Its name.
    pub id: String,
    /// The program that runs the agent.
    pub runtime: String,
}

/// How a search would go: not at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebSearchRoute {
    /// What kind of way it is.
    pub kind: String,
    /// Its name to show.
    pub label: String,
    /// Why there is none.
    pub reason: String,
    /// Whether it can be tried.
    pub testable: bool,
}

impl WebSearchStatusResult {
    /// There is no search, for this agent as for every other.
    pub fn none(agent_id: &str, model: Option<&ModelRef>) -> Self {
        let (provider, id) =
            model.map_or(("none", "none"), |model| (&model.provider, &model.model));
        Self {
            enabled: false,
            provider: (),
            agent_id: agent_id.to_owned(),
            model: WebSearchModel {
                provider: provider.to_owned(),
                id: id.to_owned(),
                runtime: "clawport".to_owned(),
            },
            route: WebSearchRoute {
                kind: "unavailable".to_owned(),
                label: "No web search".to_owned(),
                reason: "The gateway brings no web search along; tools of agents may search."
                    .to_owned(),
                testable: false,
            },
            providers: [],
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn model(provider: &str, model: &str) -> ModelRef {
        ModelRef {
            provider: provider.into(),
            model: model.into(),
        }
    }

    #[test]
    fn an_agent_always_tells_its_primary_model() {
        let agents = vec![AgentSummary::new(
            "main",
            &[model("local", "a"), model("local", "b")],
        )];
        let list = AgentsListResult::new("main".to_owned(), "main".to_owned(), agents);
        let value = serde_json::to_value(&list).unwrap();
        assert_eq!(
            value.pointer("/agents/0/model"),
            Some(&json!({"primary": "local/a", "fallbacks": ["local/b"]}))
        );
        assert_eq!(value.get("ownership"), Some(&json!("sole")));
        assert_eq!(
            serde_json::to_value(list.for_v3()).unwrap(),
            json!({"defaultId": "main", "mainKey": "main", "scope": "per-sender",
                   "agents": [{"id": "main"}]})
        );
    }

    #[test]
    fn protocol_3_sees_only_the_members_it_knows() {
        let mut choice = ModelChoice::new(&model("local", "a"), "A");
        choice.context_window = Some(4096);
        choice.reasoning = Some(false);
        choice.input = vec!["text".to_owned()];
        let list = ModelsListResult {
            models: vec![choice],
        };
        assert_eq!(
            serde_json::to_value(list.for_v3()).unwrap(),
            json!({"models": [{"id": "a", "name": "A", "provider": "local",
                               "contextWindow": 4096, "reasoning": false}]})
        );
    }

    #[test]
    fn an_identity_is_never_empty() {
        let check = |identity: Identity, expected: Value| {
            let result = AgentIdentityResult::new("main", identity);
            assert_eq!(serde_json::to_value(result).unwrap(), expected);
        };
        check(
            Identity::default(),
            json!({"agentId": "main", "name": "Assistant", "nameSource": "default",
                   "avatar": "A", "avatarStatus": "none"}),
        );
        check(
            Identity {
                name: Some("Ada".to_owned()),
                avatar: Some("https://example.org/a.png".to_owned()),
                emoji: Some("🦀".to_owned()),
                ..Identity::default()
            },
            json!({"agentId": "main", "name": "Ada", "nameSource": "config",
                   "avatar": "https://example.org/a.png", "avatarStatus": "remote",
                   "emoji": "🦀"}),
        );
    }
}
