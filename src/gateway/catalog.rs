//! The configured agents, as dispatch sees them.

use std::collections::HashMap;
use std::sync::Arc;

use crate::agent::AgentRef;
use crate::config::{AgentConfig, AgentsConfig};
use crate::dispatch::{AgentCatalog, AgentEntry, ModelEntry, NoDefaultAgent};
use crate::ids::AgentId;

/// Agents by id; fixed for the life of a configuration.
#[derive(Debug)]
pub(super) struct Catalog {
    entries: Vec<Arc<AgentEntry>>,
    by_id: HashMap<AgentId, Arc<AgentEntry>>,
    default: Option<AgentId>,
    models: Vec<ModelEntry>,
    aliases: Vec<(Arc<str>, AgentId)>,
}

impl Catalog {
    /// Makes the agents of a configuration; `backend` builds the backend of each.
    pub(super) fn new(
        config: &AgentsConfig,
        mut backend: impl FnMut(&AgentConfig) -> AgentRef,
    ) -> Self {
        let entries: Vec<_> = config
            .list
            .iter()
            .map(|agent| Arc::new(entry(agent, backend(agent))))
            .collect();
        let by_id = entries
            .iter()
            .map(|entry| (entry.id.clone(), Arc::clone(entry)))
            .collect();
        Self {
            entries,
            by_id,
            default: config.default.clone(),
            models: config.models.clone(),
            aliases: config.aliases.clone(),
        }
    }
}

impl AgentCatalog for Catalog {
    fn default_agent(&self) -> Result<AgentId, NoDefaultAgent> {
        self.default.clone().ok_or(NoDefaultAgent)
    }

    fn get(&self, id: &AgentId) -> Option<Arc<AgentEntry>> {
        self.by_id.get(id).cloned()
    }

    fn list(&self) -> Vec<Arc<AgentEntry>> {
        self.entries.clone()
    }

    fn models(&self) -> Vec<ModelEntry> {
        self.models.clone()
    }

    fn alias(&self, model: &str) -> Option<AgentId> {
        self.aliases
            .iter()
            .find(|(name, _)| **name == *model)
            .map(|(_, id)| id.clone())
    }
}

fn entry(config: &AgentConfig, agent: AgentRef) -> AgentEntry {
    AgentEntry {
        id: config.id.clone(),
        name: config.name.clone(),
        identity: config.identity.clone(),
        agent,
        models: config.models.clone(),
        system: config.system.clone(),
        limits: config.limits,
        show_reasoning: config.show_reasoning,
    }
}
