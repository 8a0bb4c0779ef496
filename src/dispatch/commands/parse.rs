//! Which text command a message is.

use crate::events::ChangeReason;
use crate::run::QueueMode;

use super::table::{Action, Command, TABLE};

/// Words that stop the runs of a session when a whole message is one of them.
const STOP_WORDS: [&str; 2] = ["stop", "abort"];

/// What an agent is told after a bare `/new` or `/reset`.
const GREETING_PROMPT: &str = "A new session was started. Greet the user in one short sentence.";

/// A command and what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dispatch) struct Asked<'a> {
    pub(super) command: &'static Command,
    pub(super) rest: &'a str,
}

/// What a message that is no command to answer has for the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::dispatch) struct ForAgent {
    /// The text; empty behind a bare `/new` or `/reset`.
    pub(in crate::dispatch) text: String,
    /// Why the session begins a new transcript first, if it does.
    pub(in crate::dispatch) reset: Option<ChangeReason>,
    /// Set when it is for the active run.
    pub(in crate::dispatch) steer: Option<QueueMode>,
}

impl Asked<'_> {
    /// Whether the gateway has the last word on it.
    pub(in crate::dispatch) const fn is_answered(&self) -> bool {
        match self.command.action {
            Action::Answer(_) | Action::Unavailable(_) => true,
            Action::Steer => self.rest.is_empty(),
            Action::Stop | Action::New | Action::Reset => false,
        }
    }

    /// Whether it begins a new transcript.
    pub(in crate::dispatch) const fn is_reset(&self) -> bool {
        matches!(self.command.action, Action::New | Action::Reset)
    }
}

impl ForAgent {
    /// A message without a command in front of it.
    pub(in crate::dispatch) const fn plain(text: String) -> Self {
        Self {
            text,
            reset: None,
            steer: None,
        }
    }

    /// What the agent is told.
    pub(in crate::dispatch) fn said(self) -> String {
        if self.reset.is_some() && self.text.is_empty() {
            return GREETING_PROMPT.to_owned();
        }
        self.text
    }

    /// What follows a command that is for the agent; `None` for another command.
    pub(in crate::dispatch) fn behind(asked: Asked<'_>) -> Option<Self> {
        let (reset, steer) = match asked.command.action {
            Action::New => (Some(ChangeReason::New), None),
            Action::Reset => (Some(ChangeReason::Reset), None),
            Action::Steer => (None, Some(QueueMode::Steer)),
            Action::Stop | Action::Answer(_) | Action::Unavailable(_) => return None,
        };
        Some(Self {
            text: asked.rest.to_owned(),
            reset,
            steer,
        })
    }
}

/// The text command a message is; a message that begins with another word is none.
pub(in crate::dispatch) fn find(message: &str) -> Option<Asked<'_>> {
    let text = message.trim_start();
    if !text.starts_with('/') {
        return None;
    }
    let end = text.find(|c: char| c.is_whitespace() || c == ':');
    let (word, rest) = text.split_at_checked(end.unwrap_or(text.len()))?;
    // `/think: high` and `/think:high` are `/think high`.
    let rest = rest.trim_start().trim_start_matches(':').trim();
    let means = |command: &&Command| {
        let mut aliases = command.aliases.iter();
        aliases.any(|alias| alias.eq_ignore_ascii_case(word))
    };
    let command = TABLE.iter().find(means)?;
    // A message that only begins like an order to stop is for the agent.
    let is_message = command.action == Action::Stop && !rest.is_empty();
    (!is_message).then_some(Asked { command, rest })
}

/// Whether the message, in which this command was found, only wants the session's runs to stop.
pub(in crate::dispatch) fn is_stop(message: &str, asked: Option<Asked<'_>>) -> bool {
    let word = message.trim();
    let mut words = STOP_WORDS.iter();
    words.any(|stop| stop.eq_ignore_ascii_case(word))
        || asked.is_some_and(|asked| asked.command.action == Action::Stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_the_command_it_begins_with() {
        for (message, expected) in [
            ("/status", Some(("status", ""))),
            (" /STATUS ", Some(("status", ""))),
            ("/id", Some(("whoami", ""))),
            ("/think high", Some(("think", "high"))),
            ("/t:high", Some(("think", "high"))),
            ("/think: high ", Some(("think", "high"))),
            (
                "/compact heed\nthe names",
                Some(("compact", "heed\nthe names")),
            ),
            ("/goal status", Some(("goal", "status"))),
            ("/statusx", None),
            ("/nonsense", None),
            ("/", None),
            ("//status", None),
            ("status", None),
            ("say /status", None),
            ("/stop", Some(("stop", ""))),
            ("/stop it", None),
            ("", None),
        ] {
            let found = find(message).map(|asked| (asked.command.name, asked.rest));
            assert_eq!(found, expected, "{message:?}");
        }
    }

    #[test]
    fn only_a_whole_message_is_a_stop_command() {
        for (message, expected) in [
            (" /STOP ", true),
            ("stop", true),
            ("/abort", true),
            ("Abort", true),
            ("stop it", false),
            ("/stop it", false),
            ("/stopx", false),
            ("/status", false),
            ("", false),
        ] {
            assert_eq!(is_stop(message, find(message)), expected, "{message:?}");
        }
    }

    #[test]
    fn only_what_has_an_answer_is_answered() {
        for (message, expected) in [
            ("/status", true),
            ("/goal status", true),
            ("/steer", true),
            ("/steer go left", false),
            ("/new", false),
            ("/stop", false),
        ] {
            let asked = find(message).unwrap();
            assert_eq!(asked.is_answered(), expected, "{message}");
        }
    }

    #[test]
    fn the_agent_gets_what_follows_a_command() {
        let (new, reset) = (Some(ChangeReason::New), Some(ChangeReason::Reset));
        for (message, text, reset, is_steered) in [
            ("/New hi you", "hi you", new, false),
            ("/reset", "", reset, false),
            ("/newer", "/newer", None, false),
            ("say /new", "say /new", None, false),
            ("/tell go left", "go left", None, true),
            ("/steer /new", "/new", None, true),
            ("/nonsense ", "/nonsense ", None, false),
        ] {
            let found = find(message).and_then(ForAgent::behind);
            let found = found.unwrap_or_else(|| ForAgent::plain(message.to_owned()));
            let expected = ForAgent {
                text: text.to_owned(),
                reset,
                steer: is_steered.then_some(QueueMode::Steer),
            };
            assert_eq!(found, expected, "{message:?}");
        }
    }
}
