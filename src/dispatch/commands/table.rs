//! The one table of text commands: a row for each, those of the original that are not available
//! here included.

use super::settings::Setting;

/// A text command, as `commands.list` tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// Its name.
    pub name: &'static str,
    /// How a message begins that is this command.
    pub aliases: &'static [&'static str],
    /// What it does.
    pub description: &'static str,
    /// What it is about.
    pub group: CommandGroup,
    /// What may follow it.
    pub argument: Option<CommandArgument>,
    /// What the gateway does. Who may do it is decided by the operation that is called.
    pub(super) action: Action,
}

/// What a command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandGroup {
    /// The session itself.
    Session,
    /// Its settings.
    Options,
    /// What there is, and how it is.
    Status,
}

/// What may follow a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandArgument {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub description: &'static str,
    /// The values it can have; empty when it is free text.
    pub choices: &'static [&'static str],
}

/// What the gateway does about a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Stops the runs of the session.
    Stop,
    /// Gives the session a new transcript; what follows is its first message.
    New,
    /// As [`Action::New`]; watchers are told another reason.
    Reset,
    /// Hands what follows to the active run.
    Steer,
    /// Says something, perhaps after a change.
    Answer(Answer),
    /// Says that there is no such thing here, and why.
    Unavailable(&'static str),
}

/// What the gateway says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Help,
    Commands,
    Status,
    WhoAmI,
    Context,
    Tools,
    Agents,
    Models,
    Model,
    Name,
    Compact,
    Setting(Setting),
}

const fn command(
    group: CommandGroup,
    aliases: &'static [&'static str],
    action: Action,
    description: &'static str,
) -> Command {
    let name = match aliases {
        [first, ..] => name_of(first),
        [] => "",
    };
    Command {
        name,
        aliases,
        description,
        group,
        argument: None,
        action,
    }
}

/// An alias without the stroke in front of it.
const fn name_of(alias: &'static str) -> &'static str {
    match alias.split_at_checked(1) {
        Some((_stroke, name)) => name,
        None => alias,
    }
}

const fn session(
    aliases: &'static [&'static str],
    action: Action,
    description: &'static str,
) -> Command {
    command(CommandGroup::Session, aliases, action, description)
}

const fn status(
    aliases: &'static [&'static str],
    answer: Answer,
    description: &'static str,
) -> Command {
    let action = Action::Answer(answer);
    command(CommandGroup::Status, aliases, action, description)
}

const fn unavailable(aliases: &'static [&'static str], why: &'static str) -> Command {
    command(CommandGroup::Status, aliases, Action::Unavailable(why), "")
}

impl Command {
    const fn with(
        self,
        name: &'static str,
        description: &'static str,
        choices: &'static [&'static str],
    ) -> Self {
        let argument = CommandArgument {
            name,
            description,
            choices,
        };
        Self {
            argument: Some(argument),
            ..self
        }
    }

    const fn setting(
        aliases: &'static [&'static str],
        setting: Setting,
        description: &'static str,
        choices: &'static [&'static str],
    ) -> Self {
        let action = Action::Answer(Answer::Setting(setting));
        command(CommandGroup::Options, aliases, action, description).with(
            "value",
            "The value; nothing asks which it is",
            choices,
        )
    }

    /// Whether the gateway does what it is for.
    pub(super) const fn is_available(&self) -> bool {
        !matches!(self.action, Action::Unavailable(_))
    }

    /// How it is written: the first alias and what may follow.
    pub(super) fn usage(&self) -> String {
        let name = self.name;
        match self.argument {
            None => format!("/{name}"),
            Some(argument) if argument.choices.is_empty() => {
                format!("/{name} [{}]", argument.name)
            }
            Some(argument) => format!("/{name} [{}]", argument.choices.join("|")),
        }
    }
}

/// Every text command, in the order they are listed.
pub(super) const TABLE: &[Command] = &[
    status(&["/help"], Answer::Help, "Say what can be asked here."),
    status(&["/commands"], Answer::Commands, "List every command."),
    status(
        &["/status"],
        Answer::Status,
        "Say how the gateway and this session are.",
    ),
    status(&["/whoami", "/id"], Answer::WhoAmI, "Say who you are here."),
    status(
        &["/context"],
        Answer::Context,
        "Say how much of the conversation the agent gets.",
    )
    .with("mode", "How much is told", &["list", "detail", "json"]),
    status(&["/tools"], Answer::Tools, "List the tools of the gateway.").with(
        "mode",
        "How much is told",
        &["compact", "verbose"],
    ),
    status(&["/agents"], Answer::Agents, "List the agents."),
    status(&["/models"], Answer::Models, "List the models.").with(
        "provider",
        "Only those of this provider",
        &[],
    ),
    session(
        &["/stop", "/abort"],
        Action::Stop,
        "Stop what the session is doing.",
    ),
    session(&["/new"], Action::New, "Begin a new, empty transcript.").with(
        "message",
        "The first message of the new transcript",
        &[],
    ),
    session(&["/reset"], Action::Reset, "Begin a new, empty transcript.").with(
        "message",
        "The first message of the new transcript",
        &[],
    ),
    session(
        &["/compact"],
        Action::Answer(Answer::Compact),
        "Sum the conversation up, so that the agent has less to read.",
    )
    .with("instructions", "What the summary is to heed", &[]),
    session(
        &["/name"],
        Action::Answer(Answer::Name),
        "Say or set the name of this session.",
    )
    .with("title", "The new name", &[]),
    session(
        &["/steer", "/tell"],
        Action::Steer,
        "Hand a message to the agent while it works.",
    )
    .with("message", "The message", &[]),
    command(
        CommandGroup::Options,
        &["/model"],
        Action::Answer(Answer::Model),
        "Say or set the model of this session.",
    )
    .with(
        "model",
        "A model as in /models, default, or list; nothing asks which it is",
        &[],
    ),
    Command::setting(
        &["/think", "/thinking", "/t"],
        Setting::Thinking,
        "Say or set how much the model reasons.",
        &[
            "off", "minimal", "low", "medium", "high", "xhigh", "max", "adaptive", "default",
        ],
    ),
    Command::setting(
        &["/verbose", "/v"],
        Setting::Verbose,
        "Say or set how much clients show of tools.",
        &["on", "off", "full", "default"],
    ),
    Command::setting(
        &["/reasoning", "/reason"],
        Setting::Reasoning,
        "Say or set whether clients show reasoning.",
        &["on", "off", "stream", "default"],
    ),
    Command::setting(
        &["/usage"],
        Setting::Usage,
        "Say or set what clients show of tokens.",
        &["off", "tokens", "full", "default"],
    ),
    Command::setting(
        &["/send"],
        Setting::SendPolicy,
        "Say or set whether messages may be sent into this session.",
        &["on", "off", "inherit"],
    ),
    Command::setting(
        &["/queue"],
        Setting::Queue,
        "Say or set what happens to a message while the session is busy.",
        &["steer", "collect", "followup", "interrupt", "default"],
    ),
    unavailable(&["/goal"], "it keeps no goals, so this session has none"),
    unavailable(&["/tasks"], "it has no background tasks"),
    unavailable(&["/subagents"], "it does not manage subagents"),
    unavailable(
        &["/btw", "/side"],
        "side questions need a session of their own",
    ),
    unavailable(&["/fast"], "its models have no fast mode"),
    unavailable(&["/trace"], "it has no plugins to trace"),
    unavailable(&["/elevated", "/elev"], "it runs no commands on its host"),
    unavailable(&["/exec"], "it runs no commands on its host"),
    unavailable(&["/bash"], "it runs no commands on its host"),
    unavailable(&["/approve"], "it has no commands to approve"),
    unavailable(&["/activation"], "it has no group chats"),
    unavailable(&["/allowlist"], "it has no chat channels"),
    unavailable(&["/session"], "it binds no chat channels"),
    unavailable(&["/skill"], "it has no skills"),
    unavailable(&["/learn"], "it has no skills"),
    unavailable(&["/dashboard"], "it has no dashboards"),
    unavailable(&["/loop"], "it repeats no prompts"),
    unavailable(&["/tts"], "it does not speak"),
    unavailable(&["/acp"], "ACP agents are set up in its configuration"),
    unavailable(&["/mcp"], "it runs no MCP servers"),
    unavailable(&["/plugins", "/plugin"], "it has no plugins"),
    unavailable(&["/config"], "its configuration is changed in its file"),
    unavailable(&["/debug"], "its configuration is changed in its file"),
    unavailable(
        &["/login"],
        "model providers are set up in its configuration",
    ),
    unavailable(&["/openclaw"], "it has no setup helper"),
    unavailable(&["/diagnostics"], "see its log and its metrics instead"),
    unavailable(
        &["/export-session", "/export"],
        "use `clawport sessions export` where it runs",
    ),
    unavailable(
        &["/export-trajectory", "/trajectory"],
        "use `clawport sessions export` where it runs",
    ),
    unavailable(&["/restart"], "it is restarted where it runs"),
    unavailable(&["/update"], "it is updated where it runs"),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_word_means_one_command() {
        let words = TABLE.iter().flat_map(|command| command.aliases);
        let mut seen = HashSet::new();
        for word in words {
            assert!(seen.insert(word), "{word} twice");
            let name = word.strip_prefix('/').unwrap();
            let is_plain = |c: char| c.is_ascii_lowercase() || c == '-';
            assert!(!name.is_empty() && name.chars().all(is_plain), "{word}");
        }
    }

    #[test]
    fn what_is_listed_says_what_it_does_and_the_rest_says_why_not() {
        for command in TABLE {
            let described = !command.description.is_empty();
            assert_eq!(described, command.is_available(), "{command:?}");
        }
    }
}
