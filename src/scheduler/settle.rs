//! The end of a run: what is kept of it is committed, then everybody is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::{Instant, timeout};

use crate::events::{Log, Notice, Record};
use crate::ids::EntryId;
use crate::run::{Abort, Entry, EntryBody, Event, Outcome, RunInfo, Storage, Terminal, ToolCall};
use crate::session::{AppendAnswer, EndRun, EndedRow, LedgerError, NewEntry};

use super::order::LEDGER_WAIT_MAX;
use super::run_task::{Part, RunTask, Yield, bounded, stop_reason, store_failed};

impl RunTask {
    /// Commits the end of the run and of those that are part of it, closes their logs and tells
    /// watchers. What is told is what the store says; if that cannot be had the run has failed:
    /// what was not stored must not look complete.
    pub(super) async fn settle(&self, outcome: Outcome, yielded: &Yield) {
        let mut terminal = self.terminal(outcome, yielded);
        match self.order.info.storage {
            Storage::Ephemeral => {}
            Storage::Stored => terminal = self.commit_end(terminal, yielded).await,
        }
        self.tell(&terminal);
    }

    pub(super) fn terminal(&self, outcome: Outcome, yielded: &Yield) -> Terminal {
        Terminal {
            outcome,
            started_at_ms: yielded.started_at_ms,
            ended_at_ms: self.shared.parts.clock.now_ms(),
            usage: yielded.usage,
        }
    }

    /// How the run has ended, as it is stored.
    async fn commit_end(&self, terminal: Terminal, yielded: &Yield) -> Terminal {
        let lost = match self.commit(&terminal, yielded.part).await {
            Ok(row) => {
                self.announce(&yielded.placed, row.entries);
                return row.terminal;
            }
            Err(error) => error,
        };
        // Only the answer may be lost. Behind that write the store tells whether the run has ended,
        // and may accept the failure where it refused the answer.
        let failed = Terminal {
            outcome: Outcome::Error(store_failed(&lost)),
            ..terminal
        };
        match self.commit(&failed, yielded.part).await {
            Ok(row) => {
                self.announce(&yielded.placed, row.entries);
                row.terminal
            }
            Err(_) => failed,
        }
    }

    /// Puts what was answered so far into the transcript, ahead of the messages the agent took. If
    /// that fails the run must fail.
    pub(super) async fn commit_part(&self, yielded: &mut Yield) -> Result<(), LedgerError> {
        let bodies = self.said_since(yielded.part, None);
        if bodies.is_empty() {
            return Ok(());
        }
        let at_ms = self.shared.parts.clock.now_ms();
        let answer = AppendAnswer {
            lease: self.shared.parts.ledger.lease(),
            run_id: self.order.info.run_id,
            entries: self.new_entries(bodies, at_ms),
            at_ms,
        };
        let appended = timeout(
            LEDGER_WAIT_MAX,
            self.shared.parts.ledger.append_answer(answer),
        )
        .await;
        // A write that only takes too long may be stored yet: the end of the run must not say the
        // same again.
        if !matches!(appended, Ok(Err(_))) {
            let log = &self.order.log;
            yielded.part = Part {
                text_from: log.text_bytes(),
                after_seq: log.last_seq(),
            };
            yielded.begins_paragraph = yielded.part.text_from > 0;
        }
        let entries = appended.unwrap_or(Err(LedgerError::Busy))?;
        let placed = std::mem::take(&mut yielded.placed);
        self.announce(&placed, entries);
        Ok(())
    }

    pub(super) async fn commit(
        &self,
        terminal: &Terminal,
        part: Part,
    ) -> Result<EndedRow, LedgerError> {
        let info = &self.order.info;
        let end = EndRun {
            lease: self.shared.parts.ledger.lease(),
            run_id: info.run_id,
            session: info.session.clone(),
            entries: self.new_entries(self.said_since(part, Some(terminal)), terminal.ended_at_ms),
            terminal: terminal.clone(),
        };
        bounded(self.shared.parts.ledger.end_run(end)).await
    }

    fn announce(&self, placed: &[Entry], entries: Vec<Entry>) {
        let info = &self.order.info;
        let Some(session_id) = self.session_id else {
            return;
        };
        self.shared.recent.append(session_id, [placed, &entries]);
        for entry in entries {
            self.shared.parts.bus.publish(Notice::Message {
                session: info.session.clone(),
                agent: info.agent.clone(),
                session_id,
                entry: Arc::new(entry),
            });
        }
    }

    /// Tells how the run has ended, and those that ended with it.
    pub(super) fn tell(&self, terminal: &Terminal) {
        let order = &self.order;
        let folded = self.shared.with(|core, _now| core.ended(order.info.run_id));
        self.tell_of(&order.info, &order.log, terminal.clone());
        for one in folded {
            self.tell_of(&one.info, &one.log, terminal.of_folded());
        }
    }

    pub(super) fn tell_of(&self, info: &RunInfo, log: &Arc<Log>, terminal: Terminal) {
        let parts = &self.shared.parts;
        let metrics = &parts.metrics;
        match &terminal.outcome {
            Outcome::Ok(_) => metrics.runs_ok.add_one(),
            Outcome::Error(_) => metrics.runs_error.add_one(),
            Outcome::Aborted(_) => metrics.runs_aborted.add_one(),
            Outcome::TimedOut(_) => metrics.runs_timeout.add_one(),
            Outcome::Interrupted => metrics.runs_interrupted.add_one(),
        }
        if let Some(started_at_ms) = terminal.started_at_ms {
            let took_ms = terminal.ended_at_ms.saturating_sub(started_at_ms);
            metrics.run_time.observe_ms(took_ms);
        }
        tracing::debug!(run_id = %info.run_id, wire_id = %info.wire_id, lane = %info.session,
            status = terminal.outcome.status(), "run ended");
        log.close(terminal);
        parts.logs.ended(log, Instant::now());
        parts.bus.publish(Notice::RunEnded(Arc::clone(log)));
    }

    /// What the transcript keeps of the answer from `part` on: finished tools, then the text. The
    /// terminal is that of the run, once it has ended.
    fn said_since(&self, part: Part, terminal: Option<&Terminal>) -> Vec<EntryBody> {
        let log = &self.order.log;
        let answer = Answer::read(&log.records(part.after_seq), part.after_seq);
        let text = log.text_after(part.text_from);
        let outcome = terminal.map(|terminal| &terminal.outcome);
        let failed = matches!(outcome, Some(Outcome::Error(_)));
        let mut bodies = answer.tools;
        if !text.is_empty() || !answer.calls.is_empty() || failed {
            bodies.push(EntryBody::Assistant {
                text,
                reasoning: answer.reasoning,
                tool_calls: answer.calls,
                stop_reason: outcome.map_or("stop", stop_reason).into(),
                usage: terminal.and_then(|terminal| terminal.usage),
                model: Some(self.order.agent.model()),
                abort: outcome.and_then(abort),
                error: outcome.and_then(error_text),
            });
        }
        bodies
    }

    fn new_entries(&self, bodies: Vec<EntryBody>, at_ms: u64) -> Vec<NewEntry> {
        let entries = bodies.into_iter().map(|body| NewEntry {
            id: EntryId::from_uuid(self.shared.parts.ids.ordered(at_ms)),
            body,
            at_ms,
        });
        entries.collect()
    }
}

/// The parts of an answer beside its text.
#[derive(Default)]
struct Answer {
    tools: Vec<EntryBody>,
    calls: Vec<ToolCall>,
    reasoning: String,
}

impl Answer {
    /// What the records with a sequence number above `after_seq` say.
    fn read(records: &[(u64, Arc<Record>)], after_seq: u64) -> Self {
        let mut answer = Self::default();
        let mut calls: BTreeMap<u32, ToolCall> = BTreeMap::new();
        let mut arguments_of = BTreeMap::new();
        for (seq, record) in records {
            let Record::Event(event) = &**record else {
                continue;
            };
            if let Event::ToolStart { id, arguments, .. } = event {
                arguments_of.insert(id, arguments);
            }
            if *seq <= after_seq {
                continue;
            }
            match event {
                Event::Reasoning(text) => answer.reasoning.push_str(text),
                Event::ToolResult {
                    id,
                    name,
                    result,
                    is_error,
                } => {
                    answer.tools.push(EntryBody::Tool {
                        id: id.clone(),
                        name: name.clone(),
                        arguments: arguments_of.remove(id).cloned().unwrap_or_default(),
                        result: result.clone(),
                        is_error: *is_error,
                    });
                }
                Event::ToolCall(delta) => {
                    let call = calls.entry(delta.index).or_insert_with(|| ToolCall {
                        id: String::new(),
                        name: String::new(),
                        arguments: String::new(),
                    });
                    call.id.push_str(delta.id.as_deref().unwrap_or_default());
                    call.name
                        .push_str(delta.name.as_deref().unwrap_or_default());
                    call.arguments.push_str(&delta.arguments);
                }
                Event::Text(_)
                | Event::ToolStart { .. }
                | Event::ToolUpdate { .. }
                | Event::Usage(_)
                | Event::Finished(_) => {}
            }
        }
        answer.calls = calls.into_values().collect();
        answer
    }
}

fn abort(outcome: &Outcome) -> Option<Abort> {
    match outcome {
        Outcome::Aborted(cause) => Some(Abort { cause: *cause }),
        Outcome::Ok(_) | Outcome::Error(_) | Outcome::TimedOut(_) | Outcome::Interrupted => None,
    }
}

fn error_text(outcome: &Outcome) -> Option<Arc<str>> {
    match outcome {
        Outcome::Error(error) => Some(Arc::clone(&error.message)),
        Outcome::TimedOut(phase) => Some(format!("timed out ({})", phase.as_str()).into()),
        Outcome::Ok(_) | Outcome::Aborted(_) | Outcome::Interrupted => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tool_that_ends_in_a_later_part_keeps_its_arguments() {
        let (id, name) = ("t".to_owned(), "read".to_owned());
        let start = Event::ToolStart {
            id: id.clone(),
            name: name.clone(),
            arguments: json!({"path": "x"}),
        };
        let result = Event::ToolResult {
            id,
            name,
            result: json!("text"),
            is_error: false,
        };
        let records: Vec<_> = (1..)
            .zip([start, result])
            .map(|(seq, event)| (seq, Arc::new(Record::Event(event))))
            .collect();
        let first = Answer::read(&records[..1], 0);
        assert!(first.tools.is_empty());
        let second = Answer::read(&records, 1);
        let [EntryBody::Tool { arguments, .. }] = &second.tools[..] else {
            panic!("{:?}", second.tools);
        };
        assert_eq!(*arguments, json!({"path": "x"}));
        assert!(Answer::read(&records, 2).tools.is_empty());
    }
}
