//! Commands that list what there is: commands, agents, models, tools.

use crate::dispatch::Dispatch;

use super::Asking;
use super::table::{Command, TABLE};

/// Most models one answer names.
const MODELS_MAX: usize = 100;

/// What is said of tools: the gateway has none, and does not know those of agents.
const NO_TOOLS: &str = "The gateway has no tools of its own. An agent may bring tools along; \
     it uses them by itself.";

/// The commands that are there, and with `all` those that are not.
pub(super) fn commands(all: bool) -> String {
    let here = TABLE.iter().filter(|command| command.is_available());
    let mut lines: Vec<_> = here.map(line).collect();
    lines.insert(0, "The gateway answers these itself:".to_owned());
    if all {
        let elsewhere = TABLE.iter().filter(|command| !command.is_available());
        let names: Vec<_> = elsewhere.map(Command::usage).collect();
        lines.push(format!(
            "Not available on this gateway: {}",
            names.join(", ")
        ));
    } else {
        lines.push("Anything else goes to the agent.".to_owned());
    }
    lines.join("\n")
}

fn line(command: &Command) -> String {
    format!("{} - {}", command.usage(), command.description)
}

pub(super) fn tools(rest: &str) -> String {
    match rest.to_ascii_lowercase().as_str() {
        "" | "compact" | "verbose" => NO_TOOLS.to_owned(),
        _other => "Use /tools with one of compact, verbose.".to_owned(),
    }
}

impl Dispatch {
    pub(super) fn list_agents(&self, asking: &Asking<'_>) -> String {
        let default = self.parts.agents.default_agent().ok();
        let mut lines = vec!["Agents of this gateway:".to_owned()];
        for entry in self.parts.agents.list() {
            let mut line = format!("- {}", entry.id);
            if let Some(name) = &entry.name {
                line = format!("{line} ({name})");
            }
            if Some(&entry.id) == default.as_ref() {
                line.push_str(", the default");
            }
            if entry.id == asking.agent.id {
                line.push_str(", answers here");
            }
            lines.push(line);
        }
        lines.join("\n")
    }

    /// The models of the configuration, or those of one provider.
    pub(super) fn list_models(&self, provider: &str) -> String {
        let models = self.parts.agents.models();
        let is_wanted = |name: &str| provider.is_empty() || name.eq_ignore_ascii_case(provider);
        let mut names: Vec<_> = models
            .iter()
            .filter(|entry| is_wanted(&entry.model.provider))
            .map(|entry| format!("- {}/{}", entry.model.provider, entry.model.model))
            .collect();
        if names.is_empty() {
            return if provider.is_empty() {
                "No models are configured; agents choose their own.".to_owned()
            } else {
                format!("There is no provider {provider} here; /models lists them all.")
            };
        }
        let left = names.len().saturating_sub(MODELS_MAX);
        names.truncate(MODELS_MAX);
        names.insert(0, "Models of this gateway:".to_owned());
        if left > 0 {
            names.push(format!("and {left} more"));
        }
        names.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_what_is_there_and_commands_what_is_not_too() {
        let (help, all) = (commands(false), commands(true));
        for command in TABLE {
            let name = format!("/{}", command.name);
            assert_eq!(help.contains(&name), command.is_available(), "{name}");
            assert!(all.contains(&name), "{name}");
        }
    }

    #[test]
    fn tools_are_told_of_in_either_form_only() {
        assert_eq!(tools("VERBOSE"), NO_TOOLS);
        assert!(tools("json").starts_with("Use /tools"));
    }
}
