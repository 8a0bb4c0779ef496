//! Text hygiene of messages (`protocol-facts` §6.5) and the commands a message can be.

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use crate::run::QueueMode;

use super::error::DispatchError;

/// Words that stop the runs of a session when a whole message is one of them.
const STOP_WORDS: [&str; 4] = ["/stop", "stop", "/abort", "abort"];

/// A command a message can be, as `commands.list` tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// Its name.
    pub name: &'static str,
    /// How a message begins that is this command.
    pub aliases: &'static [&'static str],
    /// What it does.
    pub description: &'static str,
    /// Whether it is about a setting of the session rather than the session.
    pub is_setting: bool,
    /// What may follow it.
    pub argument: Option<CommandArgument>,
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

/// The text behind `/new` and `/reset`.
const FIRST_MESSAGE: CommandArgument = CommandArgument {
    name: "message",
    description: "The first message of the new transcript",
    choices: &[],
};

/// Every command a message can be.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "stop",
        aliases: &["/stop", "/abort"],
        description: "Stop what the session is doing.",
        is_setting: false,
        argument: None,
    },
    Command {
        name: "new",
        aliases: &["/new"],
        description: "Begin a new, empty transcript.",
        is_setting: false,
        argument: Some(FIRST_MESSAGE),
    },
    Command {
        name: "reset",
        aliases: &["/reset"],
        description: "Begin a new, empty transcript.",
        is_setting: false,
        argument: Some(FIRST_MESSAGE),
    },
    Command {
        name: "compact",
        aliases: &["/compact"],
        description: "Sum the conversation up, so that the agent has less to read.",
        is_setting: false,
        argument: Some(CommandArgument {
            name: "instructions",
            description: "What the summary is to heed",
            choices: &[],
        }),
    },
    Command {
        name: "queue",
        aliases: &["/queue"],
        description: "Say or set what happens to a message while the session is busy.",
        is_setting: true,
        argument: Some(CommandArgument {
            name: "mode",
            description: "What happens to it; nothing asks which it is",
            choices: &["steer", "collect", "followup", "interrupt", "default"],
        }),
    },
];

/// A session command at the start of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResetCommand {
    New,
    Reset,
}

/// What a `/queue` command asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueueCommand {
    /// To be told the mode.
    Show,
    /// The session's own mode.
    Set(QueueMode),
    /// The configured mode again.
    Clear,
    /// Something that is not a mode.
    Unknown,
}

/// The `/queue` command a message is.
pub(super) fn queue_command(message: &str) -> Option<QueueCommand> {
    let mut words = message.split_whitespace();
    if !words.next()?.eq_ignore_ascii_case("/queue") {
        return None;
    }
    let command = match words.next().map(str::to_ascii_lowercase).as_deref() {
        None => QueueCommand::Show,
        Some("steer") => QueueCommand::Set(QueueMode::Steer),
        Some("collect") => QueueCommand::Set(QueueMode::Collect),
        Some("followup") => QueueCommand::Set(QueueMode::Followup),
        Some("interrupt") => QueueCommand::Set(QueueMode::Interrupt),
        Some("default" | "reset" | "clear") => QueueCommand::Clear,
        Some(_) => QueueCommand::Unknown,
    };
    Some(if words.next().is_some() {
        QueueCommand::Unknown
    } else {
        command
    })
}

/// The message in Unicode NFC without control characters other than tab and line ends.
///
/// # Errors
/// [`DispatchError::NullByte`].
pub(super) fn clean(message: &str) -> Result<String, DispatchError> {
    if message.contains('\0') {
        return Err(DispatchError::NullByte);
    }
    let keep = |c: &char| !c.is_control() || matches!(c, '\t' | '\n' | '\r');
    if is_nfc_quick(message.chars()) == IsNormalized::Yes {
        return Ok(message.chars().filter(keep).collect());
    }
    Ok(message.nfc().filter(keep).collect())
}

/// Whether the message only wants the session's runs to stop.
pub(super) fn is_stop(message: &str) -> bool {
    let word = message.trim();
    STOP_WORDS
        .iter()
        .any(|stop| stop.eq_ignore_ascii_case(word))
}

/// The first word of a message, and the text after it.
fn first_word(message: &str) -> (&str, &str) {
    let text = message.trim_start();
    match text.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim()),
        None => (text, ""),
    }
}

/// The text after `/compact`, when the message is this command.
pub(super) fn compact_command(message: &str) -> Option<&str> {
    let (word, rest) = first_word(message);
    word.eq_ignore_ascii_case("/compact").then_some(rest)
}

/// The session command a message begins with, and the text after it.
pub(super) fn reset_command(message: &str) -> Option<(ResetCommand, &str)> {
    let (word, rest) = first_word(message);
    let command = match word.to_ascii_lowercase().as_str() {
        "/new" => ResetCommand::New,
        "/reset" => ResetCommand::Reset,
        _other => return None,
    };
    Some((command, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_composed_and_lose_control_characters() {
        assert_eq!(clean("e\u{301}\u{7}\tx\r\n").unwrap(), "é\tx\r\n");
        assert_eq!(clean("plain").unwrap(), "plain");
        assert!(matches!(clean("a\0b"), Err(DispatchError::NullByte)));
    }

    fn is_command(message: &str) -> bool {
        is_stop(message)
            || reset_command(message).is_some()
            || compact_command(message).is_some()
            || queue_command(message).is_some_and(|command| command != QueueCommand::Unknown)
    }

    #[test]
    fn every_command_that_is_listed_is_understood() {
        for command in COMMANDS {
            for alias in command.aliases {
                assert!(is_command(alias), "{alias}");
                let choices = command.argument.map(|argument| argument.choices);
                for choice in choices.into_iter().flatten() {
                    assert!(is_command(&format!("{alias} {choice}")), "{alias} {choice}");
                }
            }
        }
        let listed = |word: &str| COMMANDS.iter().any(|it| it.aliases.contains(&word));
        let stops = STOP_WORDS.iter().filter(|word| word.starts_with('/'));
        for word in stops.chain(&["/new", "/reset", "/compact", "/queue"]) {
            assert!(listed(word), "{word}");
        }
    }

    #[test]
    fn only_a_whole_message_is_a_stop_command() {
        for (message, expected) in [
            (" /STOP ", true),
            ("stop", true),
            ("stop it", false),
            ("/stopx", false),
            ("", false),
        ] {
            assert_eq!(is_stop(message), expected, "{message:?}");
        }
    }

    #[test]
    fn queue_commands_name_a_mode() {
        for (message, expected) in [
            ("/queue", Some(QueueCommand::Show)),
            (
                "/Queue  Collect",
                Some(QueueCommand::Set(QueueMode::Collect)),
            ),
            ("/queue default", Some(QueueCommand::Clear)),
            ("/queue faster", Some(QueueCommand::Unknown)),
            ("/queue steer now", Some(QueueCommand::Unknown)),
            ("queue steer", None),
            ("/queued", None),
        ] {
            assert_eq!(queue_command(message), expected, "{message:?}");
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
