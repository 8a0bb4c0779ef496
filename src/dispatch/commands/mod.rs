//! Text commands: messages that the gateway answers itself instead of handing them to an agent.
//!
//! [`table`] has a row for each; a command that changes something calls the operation clients call
//! for it, with its checks and scopes. What was asked and answered is in the transcript for people
//! to read; an agent gets neither. Only chat messages are commands: `agent` knows `/new` and
//! `/reset` alone, and what comes over HTTP is text.

mod lists;
mod parse;
mod settings;
mod status;
mod table;

pub(super) use parse::{Asked, ForAgent, find, is_stop};
pub use table::{Command, CommandArgument, CommandGroup};

use std::sync::Arc;

use tokio::time::Instant;

use crate::events::{ChangeReason, Notice, Record};
use crate::ids::{EntryId, RunId, SessionId, SessionKey, WireId};
use crate::run::{
    EntryBody, FinishReason, Front, OnDisconnect, Outcome, QueueMode, RunInfo, Storage, Terminal,
};
use crate::session::{BeginRun, Begun, EndRun, Guard, IdempotencyScope, Ledger, NewEntry, NewRun};

use super::resolve::owner;
use super::sessions::of_transcript;
use super::views::AgentEntry;
use super::{Admitted, Caller, CompactedHow, Dispatch, DispatchError, SessionCompact, Started};

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
    /// Carries a command out and answers it at once. It is a run without an agent: accepted by a
    /// commit that knows its key, so one that is sent twice is carried out once, and ended by
    /// another with what was said.
    pub(super) async fn answer_command(
        &self,
        caller: &Caller,
        given: TextCommand<'_>,
    ) -> Result<Started, DispatchError> {
        let info = self.command_info(caller, &given);
        let open = OpenCommand::new(self, &info);
        let begun = self.parts.ledger.begin_run(self.begin(&info, &given)).await;
        let accepted = match begun.map_err(|error| of_transcript(error, given.session))? {
            Begun::New(accepted) => accepted,
            Begun::Existing(record) => {
                open.let_go();
                return self.known_run(record).await;
            }
            Begun::Conflict(_record) => {
                open.let_go();
                return Err(DispatchError::KeyReused);
            }
        };
        let is_first = accepted
            .placed
            .as_ref()
            .is_some_and(|it| it.entries_before == 0);
        if is_first {
            let (key, agent) = (given.session.clone(), given.agent.id.clone());
            self.publish_change(key, agent, ChangeReason::Create);
        }
        let asking = Asking {
            caller,
            session: given.session,
            agent: &given.agent,
            rest: given.asked.rest,
            queue_mode_default: given.queue_mode_default,
        };
        let text = bounded(self.say(&asking, given.asked.command).await?);
        self.keep(&info, accepted.session_id, &given, &text).await?;
        open.let_go();
        Ok(Started::New(self.answer_at_once(info, &given, &text)))
    }

    fn command_info(&self, caller: &Caller, given: &TextCommand<'_>) -> Arc<RunInfo> {
        let now_ms = self.parts.clock.now_ms();
        Arc::new(RunInfo {
            run_id: RunId::from_uuid(self.parts.ids.ordered(now_ms)),
            wire_id: given.wire_id.clone(),
            session: given.session.clone(),
            agent: given.agent.id.clone(),
            owner: owner(caller),
            front: Front::NativeChat,
            // Its log is that of no agent's run, although the ledger has it.
            storage: Storage::Ephemeral,
            on_disconnect: OnDisconnect::Continue,
            accepted_at_ms: now_ms,
        })
    }

    fn begin(&self, info: &RunInfo, given: &TextCommand<'_>) -> BeginRun {
        BeginRun {
            lease: self.parts.ledger.lease(),
            run: NewRun {
                run_id: info.run_id,
                wire_id: info.wire_id.clone(),
                session: info.session.clone(),
                agent: info.agent.clone(),
                front: info.front,
                principal: Some(info.owner.principal()),
                idempotency: Some(given.idempotency.clone()),
                accepted_at_ms: info.accepted_at_ms,
                started_at_ms: Some(info.accepted_at_ms),
                resume: None,
            },
            input: Vec::new(),
            new_session_id: SessionId::from_uuid(self.parts.ids.random()),
            expected_session_id: given.expected_session_id,
            reset: false,
            guard: Guard::default(),
        }
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

    /// Ends the run of a command with what was asked and said, for people to read.
    async fn keep(
        &self,
        info: &RunInfo,
        session_id: SessionId,
        given: &TextCommand<'_>,
        text: &str,
    ) -> Result<(), DispatchError> {
        let now_ms = self.parts.clock.now_ms();
        let entry = |is_answer: bool, text: &str| NewEntry {
            id: EntryId::from_uuid(self.parts.ids.ordered(now_ms)),
            body: EntryBody::Command {
                wire_id: given.wire_id.clone(),
                is_answer,
                text: text.to_owned(),
            },
            at_ms: now_ms,
        };
        let outcome = Outcome::Ok(FinishReason::Stop);
        let entries = vec![entry(false, given.message), entry(true, text)];
        let end = ended(&*self.parts.ledger, info, outcome, now_ms, entries);
        let row = self.parts.ledger.end_run(end).await?;
        for entry in row.entries {
            self.parts.bus.publish(Notice::Message {
                session: info.session.clone(),
                agent: info.agent.clone(),
                session_id,
                entry: Arc::new(entry),
            });
        }
        Ok(())
    }

    /// A run that has ended already with this text: no lane, no agent.
    fn answer_at_once(&self, info: Arc<RunInfo>, given: &TextCommand<'_>, text: &str) -> Admitted {
        let now_ms = self.parts.clock.now_ms();
        let log = self.parts.logs.open(&info);
        let bus = &self.parts.bus;
        bus.publish(Notice::RunAccepted(Arc::clone(&log)));
        log.append(Record::Started { at_ms: now_ms });
        log.append_text(text);
        log.close(terminal(Outcome::Ok(FinishReason::Stop), &info, now_ms));
        self.parts.logs.ended(&log, Instant::now());
        bus.publish(Notice::RunEnded(Arc::clone(&log)));
        Admitted {
            info,
            log,
            session_id: None,
            user_n: None,
            agent: Arc::clone(&given.agent),
            interrupted: false,
        }
    }
}

/// The run of a command that is being carried out: should nobody bring it to its end, it is ended
/// as interrupted, so that its key stands for an end.
struct OpenCommand<'a> {
    dispatch: &'a Dispatch,
    info: Arc<RunInfo>,
    is_ours: bool,
}

impl<'a> OpenCommand<'a> {
    fn new(dispatch: &'a Dispatch, info: &Arc<RunInfo>) -> Self {
        Self {
            dispatch,
            info: Arc::clone(info),
            is_ours: true,
        }
    }

    /// It has its end, or was never there.
    fn let_go(mut self) {
        self.is_ours = false;
    }
}

impl Drop for OpenCommand<'_> {
    fn drop(&mut self) {
        if !self.is_ours {
            return;
        }
        let parts = &self.dispatch.parts;
        let now_ms = parts.clock.now_ms();
        let end = ended(
            &*parts.ledger,
            &self.info,
            Outcome::Interrupted,
            now_ms,
            Vec::new(),
        );
        parts.scheduler.end_unattended(end);
    }
}

fn ended(
    ledger: &dyn Ledger,
    info: &RunInfo,
    outcome: Outcome,
    now_ms: u64,
    entries: Vec<NewEntry>,
) -> EndRun {
    EndRun {
        lease: ledger.lease(),
        run_id: info.run_id,
        session: info.session.clone(),
        entries,
        terminal: terminal(outcome, info, now_ms),
    }
}

const fn terminal(outcome: Outcome, info: &RunInfo, now_ms: u64) -> Terminal {
    Terminal {
        outcome,
        started_at_ms: Some(info.accepted_at_ms),
        ended_at_ms: now_ms,
        usage: None,
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
