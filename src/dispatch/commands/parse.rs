//! Which text command a message is.

use super::table::{Action, Command, TABLE};

/// Words that stop the runs of a session when a whole message is one of them.
const STOP_WORDS: [&str; 2] = ["stop", "abort"];

/// A command and what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dispatch) struct Asked<'a> {
    pub(super) command: &'static Command,
    pub(super) rest: &'a str,
}

/// A command that begins a new transcript.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dispatch) enum ResetCommand {
    New,
    Reset,
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

/// Whether the message only wants the session's runs to stop.
pub(in crate::dispatch) fn is_stop(message: &str) -> bool {
    let word = message.trim();
    let is_word = STOP_WORDS
        .iter()
        .any(|stop| stop.eq_ignore_ascii_case(word));
    is_word || find(message).is_some_and(|asked| asked.command.action == Action::Stop)
}

/// The session command a message begins with, and the text after it.
pub(in crate::dispatch) fn reset_command(message: &str) -> Option<(ResetCommand, &str)> {
    let asked = find(message)?;
    match asked.command.action {
        Action::New => Some((ResetCommand::New, asked.rest)),
        Action::Reset => Some((ResetCommand::Reset, asked.rest)),
        Action::Stop | Action::Steer | Action::Answer(_) | Action::Unavailable(_) => None,
    }
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
            assert_eq!(is_stop(message), expected, "{message:?}");
        }
    }

    #[test]
    fn reset_commands_carry_the_text_after_them() {
        assert_eq!(
            reset_command("/New hi you"),
            Some((ResetCommand::New, "hi you"))
        );
        assert_eq!(reset_command("/reset"), Some((ResetCommand::Reset, "")));
        assert_eq!(reset_command("/newer"), None);
        assert_eq!(reset_command("say /new"), None);
    }
}
