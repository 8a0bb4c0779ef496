//! The stored record of a session, as the answers of changes show it (`protocol-facts` §9.1).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ids::SessionKey;
use crate::run::{Compactions, ModelRef};

use super::{RecordFacts, SessionKind, chat_type, was_stopped};

/// The stored record of a session, as the answers of changes show it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionEntry {
    /// Its transcript.
    pub session_id: String,
    /// When it was first used, in wall-clock milliseconds.
    pub created_at: u64,
    /// When it was last changed, in wall-clock milliseconds.
    pub updated_at: u64,
    /// Name given by an operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Whether the last run was stopped.
    pub aborted_last_run: bool,
    /// Prompt tokens of its runs.
    pub input_tokens: u64,
    /// Answer tokens of its runs.
    pub output_tokens: u64,
    /// Tokens of its last context.
    pub total_tokens: u64,
    /// Whether that number is of the last run.
    pub total_tokens_fresh: bool,
    /// The provider of its model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_provider: Option<String>,
    /// Its model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The provider chosen for this session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_override: Option<String>,
    /// The model chosen for this session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_override: Option<String>,
    /// How often its transcript was summed up.
    pub compaction_count: u64,
    /// `direct` or `group`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_type: Option<String>,
    /// Settings that were changed from their defaults.
    #[serde(flatten)]
    pub settings: Map<String, Value>,
}

impl SessionEntry {
    /// The entry of a session that exists.
    pub fn new(key: &SessionKey, record: &RecordFacts<'_>, model: Option<&ModelRef>) -> Self {
        let last = record.last_run.map(|(_run, terminal)| terminal);
        let context = last.and_then(|terminal| terminal.usage);
        let chosen = record.settings.get("model").and_then(Value::as_str);
        let (provider, name) = match chosen.map(|chosen| (chosen.split_once('/'), chosen)) {
            None => (None, None),
            Some((None, name)) => (None, Some(name)),
            Some((Some((provider, name)), _)) => (Some(provider), Some(name)),
        };
        let mut settings = record.settings.clone();
        settings.remove("model");
        settings.remove("label");
        Compactions::hide(&mut settings);
        let compactions = Compactions::of(record.settings, record.session_id);
        Self {
            session_id: record.session_id.to_string(),
            created_at: record.created_at_ms,
            updated_at: record.updated_at_ms,
            label: record.label.map(str::to_owned),
            aborted_last_run: last.is_some_and(|terminal| was_stopped(&terminal.outcome)),
            input_tokens: record.usage.input,
            output_tokens: record.usage.output,
            total_tokens: context.map_or(0, |usage| usage.input),
            total_tokens_fresh: match (context, compactions, last) {
                (Some(_), Some(compactions), Some(last)) => last.ended_at_ms > compactions.at_ms,
                (Some(_), _, _) => true,
                (None, _, _) => record.usage.total() == 0,
            },
            model_provider: model.map(|model| model.provider.as_ref().to_owned()),
            model: model.map(|model| model.model.as_ref().to_owned()),
            provider_override: provider.map(str::to_owned),
            model_override: name.map(str::to_owned),
            compaction_count: compactions.map_or(0, |compactions| compactions.count),
            chat_type: chat_type(SessionKind::of(key)).map(str::to_owned),
            settings,
        }
    }
}
