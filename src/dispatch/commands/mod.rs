//! Text commands: messages that the gateway answers itself instead of handing them to an agent.
//!
//! [`table`] has a row for each; a command that changes something calls the operation clients call
//! for it, with its checks and scopes. What was asked and answered is in the transcript for people
//! to read; an agent gets neither. Only chat messages are commands: `agent` knows `/new` and
//! `/reset` alone, and what comes over HTTP is text.

mod answered;
mod lists;
mod parse;
mod settings;
mod status;
mod table;

pub(super) use answered::Answered;
pub(super) use parse::{Asked, ForAgent, find, is_stop};
pub use table::{Command, CommandArgument, CommandGroup};

use std::sync::Arc;

use tokio::time::Instant;

use crate::events::{ChangeReason, Notice, Record};
use crate::ids::{EntryId, RunId, SessionId, SessionKey, WireId};
use crate::run::{
    EntryBody, FinishReason, Front, OnDisconnect, Outcome, QueueMode, RunInfo, Storage, Terminal,
};
use crate::session::{IdempotencyScope, NewEntry, SessionPatch};

use super::resolve::owner;
use super::runs::RETRY_AFTER_FULL;
use super::sessions::of_transcript;
use super::views::AgentEntry;
use super::{
    Admitted, Caller, CompactedHow, Dispatch, DispatchError, EndedRun, SessionCompact, Started,
};

use answered::Seen;
use table::{Action, Answer, TABLE};

/// Longest answer, in bytes; the rest is left out.
const ANSWER_BYTES_MAX: usize = 32 * 1024;

/// The commands that are there, in the order they are listed.
pub fn available() -> impl Iterator<Item = &'static Command> {
    TABLE.iter().filter(|command| command.is_available())
}

/// A chat message that is a command to answer.
pub(super) struct TextCommand<'a> {
    pub(super) asked: Asked<'a>,
    /// The whole message.
    pub(super) message: &'a str,
    pub(super) wire_id: &'a WireId,
    pub(super) session: &'a SessionKey,
    pub(super) agent: Arc<AgentEntry>,
    pub(super) idempotency: IdempotencyScope,
    /// The transcript the caller expects.
    pub(super) expected_session_id: Option<SessionId>,
    /// The queue mode when nothing names one.
    pub(super) queue_mode_default: Option<QueueMode>,
}

/// What an answer depends on.
struct Asking<'a> {
    caller: &'a Caller,
    session: &'a SessionKey,
    agent: &'a AgentEntry,
    /// What follows the command.
    rest: &'a str,
    queue_mode_default: Option<QueueMode>,
}

impl Dispatch {
    /// Carries a command out and answers it at once; one that is sent twice is carried out once.
    pub(super) async fn answer_command(
        &self,
        caller: &Caller,
        given: TextCommand<'_>,
    ) -> Result<Started, DispatchError> {
        let reserved = match self.answered.begin(&given.idempotency) {
            Seen::New(reserved) => reserved,
            Seen::InFlight => {
                return Ok(Started::InFlight {
                    wire_id: given.wire_id.clone(),
                    session: given.session.clone(),
                    log: None,
                });
            }
            Seen::Answered(ended) => return Ok(Started::Ended(ended)),
            Seen::Conflict => return Err(DispatchError::KeyReused),
            Seen::Full => {
                return Err(DispatchError::Overloaded {
                    what: "the list of commands under way",
                    retry_after: RETRY_AFTER_FULL,
                });
            }
        };
        if let Some(expected) = given.expected_session_id {
            let session = self.parts.ledger.session(given.session.clone()).await?;
            if session.is_none_or(|session| session.session_id != expected) {
                return Err(DispatchError::SessionChanged(given.session.clone()));
            }
        }
        let asking = Asking {
            caller,
            session: given.session,
            agent: &given.agent,
            rest: given.asked.rest,
            queue_mode_default: given.queue_mode_default,
        };
        let text = bounded(self.say(&asking, given.asked.command).await?);
        self.keep(&given, &text).await?;
        let (admitted, ended) = self.answer_at_once(caller, &given, &text);
        reserved.answered(ended);
        Ok(Started::New(admitted))
    }

    /// What the gateway says to a command.
    async fn say(&self, asking: &Asking<'_>, command: &Command) -> Result<String, DispatchError> {
        let answer = match command.action {
            Action::Answer(answer) => answer,
            Action::Unavailable(why) => {
                let name = command.name;
                return Ok(format!("/{name} is not available on this gateway: {why}."));
            }
            Action::Stop | Action::New | Action::Reset | Action::Steer => {
                return Ok(format!("Use {}.", command.usage()));
            }
        };
        Ok(match answer {
            Answer::Help => lists::commands(false),
            Answer::Commands => lists::commands(true),
            Answer::Tools => lists::tools(asking.rest),
            Answer::Agents => self.list_agents(asking),
            Answer::Models => self.list_models(asking.rest),
            Answer::WhoAmI => Self::answer_who(asking),
            Answer::Status => self.answer_status(asking).await?,
            Answer::Context => self.answer_context(asking).await?,
            Answer::Model => self.answer_model(asking).await?,
            Answer::Name => self.answer_name(asking).await?,
            Answer::Compact => self.answer_compact(asking).await?,
            Answer::Setting(setting) => self.answer_setting(asking, command, setting).await?,
        })
    }

    async fn answer_compact(&self, asking: &Asking<'_>) -> Result<String, DispatchError> {
        let request = SessionCompact {
            session_key: asking.session.as_str().to_owned(),
            instructions: (!asking.rest.is_empty()).then(|| asking.rest.to_owned()),
            ..SessionCompact::default()
        };
        let compacted = self.sessions_compact(asking.caller, request).await?;
        Ok(match compacted.how {
            CompactedHow::NotAtAll { .. } => "There was nothing to sum up.".to_owned(),
            CompactedHow::Shortened {
                tokens_before,
                tokens_after,
                summary: Some(_),
                ..
            } => {
                let sizes = format!("about {tokens_before} tokens became {tokens_after}");
                format!("The conversation was summed up: {sizes}.")
            }
            CompactedHow::Shortened {
                kept,
                summary: None,
                ..
            } => {
                format!("There is no summary; the newest {kept} messages are kept.")
            }
        })
    }

    /// Puts command and answer into the transcript, for people to read.
    async fn keep(&self, given: &TextCommand<'_>, text: &str) -> Result<(), DispatchError> {
        let (key, agent) = (given.session, &given.agent.id);
        let ledger = &self.parts.ledger;
        let session = if let Some(session) = ledger.session(key.clone()).await? {
            session
        } else {
            let patch = SessionPatch::default();
            self.write_settings(key.clone(), agent.clone(), patch, ChangeReason::Create)
                .await?
        };
        for (is_answer, text) in [(false, given.message), (true, text)] {
            let now_ms = self.parts.clock.now_ms();
            let entry = NewEntry {
                id: EntryId::from_uuid(self.parts.ids.ordered(now_ms)),
                body: EntryBody::Command {
                    wire_id: given.wire_id.clone(),
                    is_answer,
                    text: text.to_owned(),
                },
                at_ms: now_ms,
            };
            let appended = ledger.append(ledger.lease(), key.clone(), entry).await;
            let entry = appended.map_err(|error| of_transcript(error, key))?;
            self.parts.bus.publish(Notice::Message {
                session: key.clone(),
                agent: agent.clone(),
                session_id: session.session_id,
                entry: Arc::new(entry),
            });
        }
        Ok(())
    }

    /// A run that has ended already with this text: no lane, no agent.
    fn answer_at_once(
        &self,
        caller: &Caller,
        given: &TextCommand<'_>,
        text: &str,
    ) -> (Admitted, EndedRun) {
        let now_ms = self.parts.clock.now_ms();
        let info = Arc::new(RunInfo {
            run_id: RunId::from_uuid(self.parts.ids.ordered(now_ms)),
            wire_id: given.wire_id.clone(),
            session: given.session.clone(),
            agent: given.agent.id.clone(),
            owner: owner(caller),
            front: Front::NativeChat,
            storage: Storage::Ephemeral,
            on_disconnect: OnDisconnect::Continue,
            accepted_at_ms: now_ms,
        });
        let log = self.parts.logs.open(&info);
        let bus = &self.parts.bus;
        bus.publish(Notice::RunAccepted(Arc::clone(&log)));
        log.append(Record::Started { at_ms: now_ms });
        log.append_text(text);
        let terminal = Terminal {
            outcome: Outcome::Ok(FinishReason::Stop),
            started_at_ms: Some(now_ms),
            ended_at_ms: now_ms,
            usage: None,
        };
        log.close(terminal.clone());
        self.parts.logs.ended(&log, Instant::now());
        bus.publish(Notice::RunEnded(Arc::clone(&log)));
        let ended = EndedRun::of_log(&log, Arc::new(terminal), None);
        let admitted = Admitted {
            info,
            log,
            session_id: None,
            user_n: None,
            agent: Arc::clone(&given.agent),
            interrupted: false,
        };
        (admitted, ended)
    }
}

/// The text, cut where an answer has to end.
fn bounded(mut text: String) -> String {
    if text.len() > ANSWER_BYTES_MAX {
        text.truncate(text.floor_char_boundary(ANSWER_BYTES_MAX));
        text.push_str("\n(the rest is left out)");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_answers_are_cut_between_characters() {
        assert_eq!(bounded("short".to_owned()), "short");
        let long = bounded(format!("a{}", "é".repeat(ANSWER_BYTES_MAX)));
        assert!(long.starts_with("aé") && long.ends_with("é\n(the rest is left out)"));
    }
}
