//! Settings of sessions: what `sessions.patch` may set, and what that does to runs.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::ids::{AgentId, SessionKey};
use crate::run::{ModelRef, QueueMode, Turn};
use crate::scheduler::ApplySettings;
use crate::session::{ModeChoice, SessionPatch};

use super::views::AgentCatalog;
use super::{Dispatch, DispatchError};

/// Longest label, in bytes.
const LABEL_BYTES_MAX: usize = 512;

/// Longest text setting, in bytes.
const TEXT_BYTES_MAX: usize = 500;

/// Largest setting that is neither text nor one of a few values, in bytes of JSON. Their names are
/// a closed list, so this bounds the settings of a session too.
const VALUE_BYTES_MAX: usize = 4096;

/// What the settings of a session say about its runs.
#[derive(Debug)]
pub struct RunSettings {
    /// The agents, whose models may be set.
    pub agents: Arc<dyn AgentCatalog>,
}

impl ApplySettings for RunSettings {
    fn apply(&self, settings: &Map<String, Value>, agent: &AgentId, turn: &mut Turn) {
        if settings.is_empty() {
            return;
        }
        if turn.model.is_none() {
            turn.model = model_of(settings, agent, &*self.agents);
        }
        let level = settings.get("thinkingLevel").and_then(Value::as_str);
        if let Some(level @ ("minimal" | "low" | "medium" | "high")) = level {
            let effort = &mut turn.sampling.reasoning_effort;
            effort.get_or_insert_with(|| level.to_owned());
        }
    }
}

/// The model a session is set to, while its agent may be asked to use it.
fn model_of(
    settings: &Map<String, Value>,
    agent: &AgentId,
    agents: &dyn AgentCatalog,
) -> Option<String> {
    let own = settings.get("model")?.as_str()?;
    allowed(own, agent, agents)
}

impl Dispatch {
    /// The model a session is set to, while its agent may be asked to use it.
    pub(super) fn model_of(
        &self,
        settings: &Map<String, Value>,
        agent: &AgentId,
    ) -> Option<String> {
        model_of(settings, agent, &*self.parts.agents)
    }

    /// How a message is queued: as it or its session says, else as configured, else as is usual for
    /// its caller.
    pub(super) fn queue_mode(
        &self,
        own: Option<QueueMode>,
        default: Option<QueueMode>,
    ) -> ModeChoice {
        let fallback = self.parts.queue.mode.or(default);
        ModeChoice {
            own,
            fallback: fallback.unwrap_or(QueueMode::Followup),
        }
    }

    /// The settings of a session; empty for one that does not exist.
    pub(super) async fn settings_of(
        &self,
        key: &SessionKey,
    ) -> Result<Map<String, Value>, DispatchError> {
        let session = self.parts.ledger.session(key.clone()).await?;
        Ok(session.map(|session| session.settings).unwrap_or_default())
    }
}

/// Checks a patch.
///
/// # Errors
/// [`DispatchError::InvalidSetting`] for the first value a setting cannot have, or a model the
/// agent may not use.
pub(super) fn check(
    patch: &SessionPatch,
    agent: &AgentId,
    agents: &dyn AgentCatalog,
) -> Result<(), DispatchError> {
    if let Some(Some(label)) = &patch.label {
        check_label(label)?;
    }
    for (name, value) in &patch.settings {
        match name.as_str() {
            "model" => check_model(value, agent, agents)?,
            name => check_setting(name, value)?,
        }
    }
    Ok(())
}

fn check_label(label: &str) -> Result<(), DispatchError> {
    if label.len() > LABEL_BYTES_MAX {
        return Err(invalid(format!("label too long (max {LABEL_BYTES_MAX})")));
    }
    if label.trim().is_empty() || label.chars().any(char::is_control) {
        return Err(invalid("invalid label".to_owned()));
    }
    Ok(())
}

fn check_model(
    value: &Value,
    agent: &AgentId,
    agents: &dyn AgentCatalog,
) -> Result<(), DispatchError> {
    match value {
        Value::Null => Ok(()),
        Value::String(model) if model.len() > TEXT_BYTES_MAX => Err(too_long("model")),
        Value::Array(_) | Value::Object(_) => Err(invalid("model must be text".to_owned())),
        Value::String(model) if allowed(model, agent, agents).is_some() => Ok(()),
        other => Err(DispatchError::ModelNotAllowed {
            model: other
                .as_str()
                .map_or_else(|| other.to_string(), str::to_owned),
            agent: agent.clone(),
        }),
    }
}

/// The whole name of a model an agent may be asked to use: one of its own, or one the configuration
/// lists. A name without its provider stands for the first model that has it.
pub(super) fn allowed(model: &str, agent: &AgentId, agents: &dyn AgentCatalog) -> Option<String> {
    let own = agents.get(agent);
    let own = own.iter().flat_map(|entry| entry.models.iter().cloned());
    let listed = agents.models().into_iter().map(|entry| entry.model);
    let known: Vec<ModelRef> = own.chain(listed).collect();
    let whole = known.iter().find(|known| known.is_called(model));
    let found = whole.or_else(|| known.iter().find(|known| *known.model == *model))?;
    Some(format!("{}/{}", found.provider, found.model))
}

/// Settings with a closed set of values, and the values.
const CHOICES: [(&str, &[&str]); 9] = [
    (
        "thinkingLevel",
        &[
            "off", "minimal", "low", "medium", "high", "xhigh", "max", "adaptive",
        ],
    ),
    ("verboseLevel", &["on", "off", "full"]),
    ("traceLevel", &["on", "off", "raw"]),
    ("reasoningLevel", &["on", "off", "stream"]),
    ("responseUsage", &["off", "tokens", "full", "on"]),
    ("elevatedLevel", &["on", "off", "ask", "full"]),
    ("sendPolicy", &["allow", "deny"]),
    ("groupActivation", &["mention", "always"]),
    ("queueMode", &["steer", "collect", "followup", "interrupt"]),
];

pub(super) fn check_setting(name: &str, value: &Value) -> Result<(), DispatchError> {
    let choices = CHOICES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, values)| *values);
    match (value, choices) {
        (Value::Null, _) => Ok(()),
        (Value::String(text), Some(values)) if values.contains(&text.as_str()) => Ok(()),
        (_, Some(values)) if name == "thinkingLevel" => Err(invalid(format!(
            "invalid thinkingLevel (use {})",
            values.join("|")
        ))),
        (_, Some(values)) => {
            let quoted: Vec<String> = values.iter().map(|value| format!("\"{value}\"")).collect();
            Err(invalid(format!(
                "invalid {name} (use {})",
                quoted.join("|")
            )))
        }
        (Value::String(text), None) if text.len() > TEXT_BYTES_MAX => Err(too_long(name)),
        (Value::Array(_) | Value::Object(_), None) if value.to_string().len() > VALUE_BYTES_MAX => {
            Err(invalid(format!(
                "{name} too large (max {VALUE_BYTES_MAX} bytes of JSON)"
            )))
        }
        (_, None) => Ok(()),
    }
}

fn too_long(name: &str) -> DispatchError {
    invalid(format!("{name} too long (max {TEXT_BYTES_MAX})"))
}

fn invalid(text: String) -> DispatchError {
    DispatchError::InvalidSetting(text.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check_one(name: &str, value: &Value, expected: Result<(), &str>) {
        let outcome = check_setting(name, value).map_err(|error| error.to_string());
        assert_eq!(outcome, expected.map_err(str::to_owned), "{name} {value}");
    }

    #[test]
    fn settings_with_choices_refuse_other_values() {
        check_one("sendPolicy", &json!("deny"), Ok(()));
        check_one("sendPolicy", &Value::Null, Ok(()));
        check_one(
            "sendPolicy",
            &json!("maybe"),
            Err("invalid sendPolicy (use \"allow\"|\"deny\")"),
        );
        check_one(
            "queueMode",
            &json!(1),
            Err("invalid queueMode (use \"steer\"|\"collect\"|\"followup\"|\"interrupt\")"),
        );
        check_one("icon", &json!("x"), Ok(()));
    }

    #[test]
    fn a_setting_without_choices_has_a_largest_value() {
        check_one("icon", &json!("x".repeat(500)), Ok(()));
        check_one(
            "icon",
            &json!("x".repeat(501)),
            Err("icon too long (max 500)"),
        );
        // An object of one member is six bytes more than what it holds.
        check_one("toolOverrides", &json!({"a": "x".repeat(4_088)}), Ok(()));
        let refusal = Err("toolOverrides too large (max 4096 bytes of JSON)");
        check_one("toolOverrides", &json!({"a": "x".repeat(4_089)}), refusal);
        check_one("toolOverrides", &json!(vec!["x"; 2_000]), refusal);
    }

    #[test]
    fn labels_are_bounded() {
        assert!(check_label("fine").is_ok());
        assert!(check_label(" ").is_err());
        assert!(check_label(&"l".repeat(513)).is_err());
    }
}
