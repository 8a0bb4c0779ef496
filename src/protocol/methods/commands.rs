//! `commands.list`: what a message can be beside something to answer (`protocol-facts` §6.12).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::protocol::NonEmpty;
use crate::protocol::params::params;

params! {
    /// Parameters of `commands.list`.
    CommandsListParams {
        optional {
            /// The agent whose commands are meant.
            agent_id: NonEmpty,
            /// A session whose commands are meant.
            session_key: NonEmpty,
            /// Only commands that are given this way.
            scope: CommandScope,
            /// Whether arguments are listed; they are unless told.
            include_args: bool,
        }
        unused { provider: NonEmpty }
    }
}

/// The result of `commands.list`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommandsListResult {
    /// The commands.
    pub commands: Vec<CommandEntry>,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommandEntry {
    /// Its name.
    pub name: String,
    /// How a message begins that is this command.
    pub text_aliases: Vec<String>,
    /// What it does.
    pub description: String,
    /// What it is about.
    pub category: CommandCategory,
    /// Who brings it along.
    pub source: CommandSource,
    /// How it is given.
    pub scope: CommandScope,
    /// Whether text may follow it.
    pub accepts_args: bool,
    /// What may follow it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<CommandArg>,
}

/// What a command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CommandCategory {
    /// The session itself.
    Session,
    /// Its settings.
    Options,
    /// What there is, and how it is.
    Status,
}

/// Who brings a command along.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CommandSource {
    /// The gateway.
    Native,
}

/// How a command is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CommandScope {
    /// As the text of a message.
    Text,
    /// Through the menu of a chat channel.
    Native,
    /// Both ways.
    Both,
}

impl CommandScope {
    /// Whether a command given this way is one a caller asks for with `wanted`.
    pub const fn is_among(self, wanted: Self) -> bool {
        match wanted {
            Self::Text => matches!(self, Self::Text | Self::Both),
            Self::Native => matches!(self, Self::Native | Self::Both),
            Self::Both => true,
        }
    }
}

/// What may follow a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommandArg {
    /// Its name.
    pub name: String,
    /// What it is.
    pub description: String,
    /// `string`.
    #[serde(rename = "type")]
    pub kind: CommandArgKind,
    /// The values it can have; empty when it is free text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<CommandChoice>,
}

/// The type of what follows a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CommandArgKind {
    /// Text.
    String,
}

/// A value that may follow a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommandChoice {
    /// The value.
    pub value: String,
    /// Its name.
    pub label: String,
}

impl CommandChoice {
    /// A value that is called what it is.
    pub fn new(value: &str) -> Self {
        Self {
            value: value.to_owned(),
            label: value.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_listed_for_those_who_can_give_them() {
        use CommandScope::{Both, Native, Text};
        for (given, wanted, expected) in [
            (Text, Text, true),
            (Text, Native, false),
            (Text, Both, true),
            (Both, Native, true),
            (Native, Text, false),
        ] {
            assert_eq!(given.is_among(wanted), expected, "{given:?} {wanted:?}");
        }
    }
}
