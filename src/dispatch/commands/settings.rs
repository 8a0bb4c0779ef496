//! Commands that say or change a setting of the session: as `sessions.patch` would, with the same
//! checks and scopes.

use serde_json::{Map, Value};

use crate::dispatch::settings::allowed;
use crate::dispatch::{Dispatch, DispatchError};
use crate::session::{SessionPatch, SessionRecord};

use super::{Asking, table::Command};

/// Words that take a setting back to what is configured.
const DEFAULT_WORDS: [&str; 4] = ["default", "inherit", "reset", "clear"];

/// Options of the original that choose whose model is set.
const OTHER_SCOPES: [&str; 4] = ["-a", "--agent", "-g", "--global"];

/// A setting of a session with a closed set of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    Thinking,
    Verbose,
    Reasoning,
    Usage,
    SendPolicy,
    Queue,
}

impl Setting {
    /// Its name in `sessions.patch`.
    const fn name(self) -> &'static str {
        match self {
            Self::Thinking => "thinkingLevel",
            Self::Verbose => "verboseLevel",
            Self::Reasoning => "reasoningLevel",
            Self::Usage => "responseUsage",
            Self::SendPolicy => "sendPolicy",
            Self::Queue => "queueMode",
        }
    }

    /// What people call it.
    const fn title(self) -> &'static str {
        match self {
            Self::Thinking => "thinking level",
            Self::Verbose => "verbose level",
            Self::Reasoning => "reasoning level",
            Self::Usage => "display of tokens",
            Self::SendPolicy => "send policy",
            Self::Queue => "queue mode",
        }
    }

    /// A word of the command as the setting knows it.
    const fn stored(self, word: &str) -> &str {
        match (self, word.as_bytes()) {
            (Self::SendPolicy, b"on") => "allow",
            (Self::SendPolicy, b"off") => "deny",
            (
                Self::Thinking
                | Self::Verbose
                | Self::Reasoning
                | Self::Usage
                | Self::SendPolicy
                | Self::Queue,
                _,
            ) => word,
        }
    }
}

impl Dispatch {
    /// Says what a setting is, or sets it.
    pub(super) async fn answer_setting(
        &self,
        asking: &Asking<'_>,
        command: &Command,
        setting: Setting,
    ) -> Result<String, DispatchError> {
        let title = setting.title();
        let word = asking.rest.to_ascii_lowercase();
        if word.is_empty() {
            let settings = self.settings_of(asking.session).await?;
            return Ok(match settings.get(setting.name()).and_then(Value::as_str) {
                Some(value) => format!("The {title} of this session is {value}."),
                None => format!("This session has no {title} of its own."),
            });
        }
        if setting == Setting::Usage && word == "cost" {
            return Ok("What a model costs is not known here.".to_owned());
        }
        let choices = command.argument.map_or(&[][..], |it| it.choices);
        if DEFAULT_WORDS.contains(&word.as_str()) {
            self.set(asking, setting.name(), Value::Null).await?;
            return Ok(format!("This session uses the configured {title} again."));
        }
        if !choices.contains(&word.as_str()) {
            return Ok(format!(
                "Use /{} with one of {}.",
                command.name,
                choices.join(", ")
            ));
        }
        let value = setting.stored(&word).to_owned();
        let said = format!("The {title} of this session is now {value}.");
        self.set(asking, setting.name(), Value::String(value))
            .await?;
        Ok(said)
    }

    /// Says which model the session uses, or sets it.
    pub(super) async fn answer_model(&self, asking: &Asking<'_>) -> Result<String, DispatchError> {
        let mut words = asking.rest.split_whitespace();
        let wanted = words.clone().find(|word| !word.starts_with('-'));
        if words.any(|word| OTHER_SCOPES.contains(&word)) {
            return Ok("Only the model of this session can be set here.".to_owned());
        }
        let Some(wanted) = wanted.filter(|word| !word.eq_ignore_ascii_case("status")) else {
            return self.say_model(asking).await;
        };
        if wanted.eq_ignore_ascii_case("list") {
            return Ok(self.list_models(""));
        }
        if wanted.eq_ignore_ascii_case("default") {
            self.set(asking, "model", Value::Null).await?;
            return self.say_model(asking).await;
        }
        let Some(model) = allowed(wanted, &asking.agent.id, &*self.parts.agents) else {
            return Ok(format!(
                "There is no model {wanted} here; /models lists them."
            ));
        };
        let said = format!("The model of this session is now {model}.");
        self.set(asking, "model", Value::String(model)).await?;
        Ok(said)
    }

    /// Which model answers in this session, in one line.
    pub(super) fn model_line(&self, asking: &Asking<'_>, record: Option<&SessionRecord>) -> String {
        let own = record.and_then(|record| self.model_of(&record.settings, &asking.agent.id));
        let first = asking.agent.models.first();
        match (own, first) {
            (Some(own), _) => format!("Model: {own} (set for this session)"),
            (None, Some(first)) => format!("Model: {}/{}", first.provider, first.model),
            (None, None) => "Model: chosen by the agent".to_owned(),
        }
    }

    async fn say_model(&self, asking: &Asking<'_>) -> Result<String, DispatchError> {
        let record = self.parts.ledger.session(asking.session.clone()).await?;
        Ok(self.model_line(asking, record.as_ref()))
    }

    /// Says what the session is called, or names it.
    pub(super) async fn answer_name(&self, asking: &Asking<'_>) -> Result<String, DispatchError> {
        let title = asking.rest.trim();
        if title.is_empty() {
            let record = self.parts.ledger.session(asking.session.clone()).await?;
            return Ok(match record.and_then(|record| record.label) {
                Some(label) => format!("This session is called {label}."),
                None => "This session has no name; /name gives it one.".to_owned(),
            });
        }
        let patch = SessionPatch {
            label: Some(Some(title.to_owned())),
            settings: Map::new(),
        };
        match self.patch(asking, patch).await {
            Ok(()) => Ok(format!("This session is now called {title}.")),
            Err(error @ (DispatchError::LabelInUse(_) | DispatchError::InvalidSetting(_))) => {
                Ok(format!("This session keeps its name: {error}."))
            }
            Err(error) => Err(error),
        }
    }

    async fn set(
        &self,
        asking: &Asking<'_>,
        name: &str,
        value: Value,
    ) -> Result<(), DispatchError> {
        let patch = SessionPatch {
            label: None,
            settings: Map::from_iter([(name.to_owned(), value)]),
        };
        self.patch(asking, patch).await
    }

    async fn patch(&self, asking: &Asking<'_>, patch: SessionPatch) -> Result<(), DispatchError> {
        let key = asking.session.as_str();
        self.sessions_patch(asking.caller, key, None, patch)
            .await
            .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use crate::dispatch::commands::table::{Action, Answer, TABLE};
    use crate::dispatch::settings::check_setting;

    use super::*;

    #[test]
    fn every_value_a_command_offers_can_be_set() {
        let mut settings = 0;
        for command in TABLE {
            let Action::Answer(Answer::Setting(setting)) = command.action else {
                continue;
            };
            settings += 1;
            let choices = command.argument.unwrap().choices;
            let (words, values): (Vec<_>, Vec<_>) =
                choices.iter().partition(|it| DEFAULT_WORDS.contains(*it));
            assert_eq!(words.len(), 1, "{choices:?}");
            for value in values {
                let value = Value::from(setting.stored(value));
                check_setting(setting.name(), &value).unwrap();
            }
        }
        assert_eq!(settings, 6);
    }
}
