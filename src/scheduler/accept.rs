//! How a run is accepted: committed, put into force, acknowledged – or refused without a trace.

use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::events::Notice;
use crate::run::{AbortCause, OnDisconnect, Outcome, QueueMode, Storage};
use crate::session::{Accepted, BeginRun, Begun, Guard, Guarded, LedgerError, NewRun, Placed};

use super::core::Terms;
use super::lanes::Standing;
use super::order::{Accept, Commit, LEDGER_WAIT_MAX, SubmitError, Submitted};
use super::queueing;
use super::run_task::{Part, RunTask, Yield, store_failed};
use super::verdict::Stop;

impl RunTask {
    /// Commits the run if its session is stored, carries out what it does to others, and answers
    /// the caller.
    pub(super) async fn accept(
        &mut self,
    ) -> Result<Option<Placed>, Result<Submitted, SubmitError>> {
        let commit = match std::mem::replace(&mut self.order.accept, Accept::Ephemeral) {
            Accept::Commit(commit) => commit,
            Accept::Ephemeral => {
                self.take_effect(&Map::new(), false);
                self.acknowledge(None, false);
                return Ok(None);
            }
            Accept::Recovered(recovered) => {
                self.session_id = Some(recovered.session_id);
                self.life = recovered.life;
                self.has_key = recovered.has_key;
                self.take_effect(&recovered.settings, false);
                self.acknowledge(None, false);
                return Ok(None);
            }
        };
        let resets = commit.resets;
        let begin = self.begin(commit);
        match timeout(LEDGER_WAIT_MAX, self.shared.parts.ledger.begin_run(begin)).await {
            Ok(Ok(Begun::New(accepted))) => {
                self.session_id = Some(accepted.session_id);
                if let Some(placed) = &accepted.placed {
                    self.announce_input(placed);
                }
                let interrupted = self.take_effect(&accepted.settings, resets);
                let placed = accepted.placed.clone();
                self.acknowledge(Some(accepted), interrupted);
                Ok(placed)
            }
            Ok(Ok(Begun::Existing(record))) => Err(Ok(Submitted::Existing(record))),
            Ok(Ok(Begun::Conflict(record))) => Err(Ok(Submitted::Conflict(record))),
            Ok(Err(LedgerError::Guarded(Guarded::QueueFull))) => Err(Err(SubmitError::LaneFull)),
            Ok(Err(error)) => Err(Err(error.into())),
            Err(_elapsed) => Err(Err(self.withdraw().await.into())),
        }
    }

    /// Ends a run of which it is not known whether it was committed, behind that in the order of
    /// writes: what is refused must not be there later.
    async fn withdraw(&self) -> LedgerError {
        let outcome = Outcome::Error(store_failed(&LedgerError::Busy));
        let terminal = self.terminal(outcome, &Yield::default());
        match self.commit(&terminal, Part::default()).await {
            Ok(_ended) => LedgerError::Ended,
            Err(_never_there) => LedgerError::Busy,
        }
    }

    /// Applies the settings of the session and carries out what the run, now accepted, does to
    /// others; true when it made an active run end.
    fn take_effect(&mut self, settings: &Map<String, Value>, resets: bool) -> bool {
        let order = &mut self.order;
        let (agent, turn) = (&order.info.agent, &mut order.turn);
        if order.info.storage == Storage::Stored {
            self.shared.parts.settings.apply(settings, agent, turn);
        }
        let mode = order.chat.as_ref().map(|chat| chat.mode.resolve(settings));
        let merges = mode == Some(QueueMode::Collect) && self.standing != Standing::Active;
        let terms = Terms {
            mode,
            resets,
            messages: merges.then(|| Arc::new(order.turn.current.clone())),
        };
        let run = order.info.run_id;
        let effects = self.shared.with(|core, now| core.accepted(run, terms, now));
        queueing::mention(&effects.dropped, &mut self.order.turn);
        effects.interrupted
    }

    fn begin(&self, commit: Commit) -> BeginRun {
        let parts = &self.shared.parts;
        let info = &self.order.info;
        let starts_now = self.standing == Standing::Active;
        let claims = matches!(self.standing, Standing::Claiming(_));
        let chat = self.order.chat.as_ref().filter(|_chat| claims);
        let drops = self.shared.with(|core, _now| core.drops());
        BeginRun {
            lease: parts.ledger.lease(),
            run: NewRun {
                run_id: info.run_id,
                wire_id: info.wire_id.clone(),
                session: info.session.clone(),
                agent: info.agent.clone(),
                front: info.front,
                principal: Some(info.owner.principal()),
                idempotency: commit.idempotency,
                accepted_at_ms: info.accepted_at_ms,
                started_at_ms: starts_now.then(|| parts.clock.now_ms()),
                resume: commit.resume,
            },
            input: commit.input,
            new_session_id: commit.new_session_id,
            expected_session_id: commit.expected_session_id,
            reset: commit.resets,
            guard: Guard {
                sends: true,
                full_unless_interrupt: chat.filter(|_chat| !drops).map(|chat| chat.mode),
            },
        }
    }

    pub(super) fn refuse(mut self, answer: Result<Submitted, SubmitError>) {
        let parts = &self.shared.parts;
        if let Err(error) = &answer {
            tracing::debug!(run_id = %self.order.info.run_id, %error, "run not accepted");
            parts.metrics.runs_refused.add_one();
        }
        // First: whoever hears the answer must find neither the place nor the log any more, which
        // never ends.
        parts.logs.forget(&self.order.info);
        drop(self.place);
        if let Some(reply) = self.reply.take() {
            reply.send(answer).ok();
        }
    }

    fn acknowledge(&mut self, accepted: Option<Accepted>, interrupted: bool) {
        let parts = &self.shared.parts;
        parts.metrics.runs_accepted.add_one();
        let log = Arc::clone(&self.order.log);
        parts.bus.publish(Notice::RunAccepted(log));
        let submitted = Submitted::New {
            accepted,
            interrupted,
        };
        let heard = self
            .reply
            .take()
            .is_some_and(|reply| reply.send(Ok(submitted)).is_ok());
        if !heard && self.order.info.on_disconnect == OnDisconnect::CancelRun {
            self.verdict.stop(Stop::Abort(AbortCause::ClientGone));
        }
    }
}
