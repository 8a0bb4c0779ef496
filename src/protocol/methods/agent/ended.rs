//! How the end of a run is answered: the last answer of `agent`, and `agent.wait`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{SessionId, WireId};
use crate::protocol::outcome::{is_interrupted, stop_reason, timeout_phase, visible_text};
use crate::run::{ModelRef, Outcome, Terminal, Usage};

use super::RunStatus;

/// What is known of a run that ended, for the answers below.
#[derive(Clone, Copy, Debug)]
pub struct FinishedRun<'a> {
    /// The run.
    pub run: &'a WireId,
    /// How it ended.
    pub terminal: &'a Terminal,
    /// The answer text.
    pub text: &'a str,
    /// Its transcript; `None` for a run that is not stored.
    pub session_id: Option<SessionId>,
    /// The model that answered, when it is known.
    pub model: Option<&'a ModelRef>,
}

/// The last answer of `agent`. For a failed run the frame says `ok: false` and carries this
/// payload beside the error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentFinal {
    /// The run.
    pub run_id: String,
    /// `ok`, `error` or `timeout`.
    pub status: RunStatus,
    /// `completed`, `aborted`, `interrupted` or what went wrong.
    pub summary: String,
    /// Why a run that was stopped ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
    /// Which deadline passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_phase: Option<String>,
    /// Whether the agent had been started when a deadline passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_started: Option<bool>,
    /// The answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<AgentResult>,
}

impl AgentFinal {
    /// The answer for a run that ended.
    pub fn new(run: &FinishedRun<'_>) -> Self {
        let outcome = &run.terminal.outcome;
        let summary = match outcome {
            Outcome::Ok(_) => "completed".to_owned(),
            Outcome::Error(error) => error.message.as_ref().to_owned(),
            Outcome::Aborted(_) | Outcome::TimedOut(_) | Outcome::Interrupted
                if is_interrupted(outcome) =>
            {
                "interrupted".to_owned()
            }
            Outcome::Aborted(_) | Outcome::TimedOut(_) | Outcome::Interrupted => {
                "aborted".to_owned()
            }
        };
        let status = RunStatus::of(outcome);
        let stopped = status == RunStatus::Timeout;
        let phase = timeout_phase(outcome);
        Self {
            run_id: run.run.as_str().to_owned(),
            status,
            summary,
            stop_reason: stopped.then(|| stop_reason(outcome).to_owned()),
            timeout_phase: phase.map(|phase| phase.as_str().to_owned()),
            provider_started: phase.map(|_| run.terminal.started_at_ms.is_some()),
            result: (status == RunStatus::Ok).then(|| AgentResult::new(run)),
        }
    }

    /// The message of the error that stands beside this payload; `None` when the frame is `ok`.
    pub fn error_message(&self) -> Option<&str> {
        (self.status == RunStatus::Error).then_some(self.summary.as_str())
    }
}

/// What an agent answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AgentResult {
    /// The parts of the answer; none for a silent one.
    pub payloads: Vec<AgentPayload>,
    /// How it came about.
    pub meta: AgentResultMeta,
}

impl AgentResult {
    fn new(run: &FinishedRun<'_>) -> Self {
        let started = run
            .terminal
            .started_at_ms
            .unwrap_or(run.terminal.ended_at_ms);
        Self {
            payloads: visible_text(run.text)
                .map(|text| AgentPayload {
                    text: Some(text.to_owned()),
                    media_url: None,
                })
                .into_iter()
                .collect(),
            meta: AgentResultMeta {
                duration_ms: run.terminal.ended_at_ms.saturating_sub(started),
                agent_meta: AgentMeta {
                    session_id: run.session_id.map(|id| id.to_string()),
                    provider: run.model.map(|model| model.provider.as_ref().to_owned()),
                    model: run.model.map(|model| model.model.as_ref().to_owned()),
                    usage: run.terminal.usage.as_ref().map(AgentUsage::new),
                },
                aborted: false,
                stop_reason: stop_reason(&run.terminal.outcome).to_owned(),
            },
        }
    }
}

/// One part of an answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentPayload {
    /// Text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// A medium: none here.
    pub media_url: Option<String>,
}

/// How an answer came about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentResultMeta {
    /// How long the agent worked, in milliseconds.
    pub duration_ms: u64,
    /// Session, model and tokens.
    pub agent_meta: AgentMeta,
    /// Always false: a stopped run has no result.
    pub aborted: bool,
    /// Why the answer ended.
    pub stop_reason: String,
}

/// Session, model and tokens of an answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentMeta {
    /// The transcript.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// The provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<AgentUsage>,
}

/// Tokens of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentUsage {
    /// Of the prompt, without those from a cache.
    pub input: u64,
    /// Of the answer.
    pub output: u64,
    /// Of the prompt, from a cache.
    pub cache_read: u64,
    /// Written to a cache: not reported by the servers we speak to.
    pub cache_write: u64,
    /// Together.
    pub total: u64,
}

impl AgentUsage {
    /// The numbers of a run.
    pub fn new(usage: &Usage) -> Self {
        Self {
            input: usage.input.saturating_sub(usage.cached),
            output: usage.output,
            cache_read: usage.cached,
            cache_write: 0,
            total: usage.total(),
        }
    }
}

/// The result of `agent.wait`. `timeout` without `endedAt` means that the run goes on or is not
/// known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentWaitResult {
    /// The run.
    pub run_id: String,
    /// `ok`, `error`, `timeout` or `pending`.
    pub status: RunStatus,
    /// When the agent was started, in wall-clock milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<u64>,
    /// When the run ended, in wall-clock milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<u64>,
    /// Why it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Which deadline passed, or `queue` for a run that waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_phase: Option<String>,
    /// Whether the agent was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_started: Option<bool>,
    /// `working` for a run that ended well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness_state: Option<String>,
    /// The answer, when there is one to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal_reply: Option<TerminalReply>,
}

impl AgentWaitResult {
    /// A run that ended.
    pub fn ended(run: &FinishedRun<'_>) -> Self {
        let terminal = run.terminal;
        let outcome = &terminal.outcome;
        let status = RunStatus::of(outcome);
        let phase = timeout_phase(outcome);
        let ok = status == RunStatus::Ok;
        Self {
            started_at: terminal.started_at_ms,
            ended_at: Some(terminal.ended_at_ms),
            stop_reason: (status != RunStatus::Error).then(|| stop_reason(outcome).to_owned()),
            error: match outcome {
                Outcome::Error(error) => Some(error.message.as_ref().to_owned()),
                Outcome::Ok(_)
                | Outcome::Aborted(_)
                | Outcome::TimedOut(_)
                | Outcome::Interrupted => None,
            },
            timeout_phase: phase.map(|phase| phase.as_str().to_owned()),
            provider_started: phase.map(|_| terminal.started_at_ms.is_some()),
            liveness_state: ok.then(|| LIVENESS_WORKING.to_owned()),
            terminal_reply: ok.then(|| TerminalReply::new(run.text)).flatten(),
            ..Self::bare(run.run.as_str(), status)
        }
    }

    /// A run that goes on, or that nobody knows.
    pub fn running(run_id: &str) -> Self {
        Self::bare(run_id, RunStatus::Timeout)
    }

    /// A run that waits for its lane.
    pub fn queued(run_id: &str) -> Self {
        Self {
            timeout_phase: Some("queue".to_owned()),
            provider_started: Some(false),
            ..Self::bare(run_id, RunStatus::Pending)
        }
    }

    /// The result as protocol 3 knows it.
    #[must_use]
    pub fn for_v3(self) -> Self {
        let status = match self.status {
            RunStatus::Pending => RunStatus::Timeout,
            known @ (RunStatus::Accepted
            | RunStatus::Started
            | RunStatus::InFlight
            | RunStatus::Ok
            | RunStatus::Error
            | RunStatus::Timeout) => known,
        };
        Self {
            started_at: self.started_at,
            ended_at: self.ended_at,
            error: self.error,
            ..Self::bare(&self.run_id, status)
        }
    }

    fn bare(run_id: &str, status: RunStatus) -> Self {
        Self {
            run_id: run_id.to_owned(),
            status,
            started_at: None,
            ended_at: None,
            stop_reason: None,
            error: None,
            timeout_phase: None,
            provider_started: None,
            liveness_state: None,
            terminal_reply: None,
        }
    }
}

/// The `livenessState` of a run that ended well.
pub const LIVENESS_WORKING: &str = "working";

/// Longest answer that is repeated in a `terminalReply`, in bytes; a longer one is left out,
/// because the `final` chat event and the transcript have it.
pub const TERMINAL_REPLY_BYTES_MAX: usize = 64 * 1024;

/// The answer, as `agent.wait` and the lifecycle end repeat it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TerminalReply {
    /// `visible`.
    pub disposition: String,
    /// The text.
    pub text: String,
}

impl TerminalReply {
    /// The reply for an answer; `None` for an empty, silent or very long one.
    pub fn new(text: &str) -> Option<Self> {
        let text = visible_text(text).filter(|text| text.len() <= TERMINAL_REPLY_BYTES_MAX)?;
        Some(Self {
            disposition: "visible".to_owned(),
            text: text.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::error::ErrorCode;
    use crate::run::{AbortCause, FinishReason, RunError, TimeoutPhase};

    use super::*;

    fn terminal(outcome: Outcome) -> Terminal {
        Terminal {
            outcome,
            started_at_ms: Some(1_000),
            ended_at_ms: 1_250,
            usage: Some(Usage {
                input: 10,
                output: 3,
                cached: 4,
                ..Usage::default()
            }),
        }
    }

    fn check(outcome: Outcome, last: &Value, wait: &Value) {
        let terminal = terminal(outcome);
        let wire_id = WireId::parse("r1").unwrap();
        let run = FinishedRun {
            run: &wire_id,
            terminal: &terminal,
            text: "Hello \n",
            session_id: None,
            model: None,
        };
        assert_eq!(serde_json::to_value(AgentFinal::new(&run)).unwrap(), *last);
        let waited = AgentWaitResult::ended(&run);
        assert_eq!(serde_json::to_value(waited).unwrap(), *wait);
    }

    #[test]
    fn a_finished_run_answers_with_its_text() {
        check(
            Outcome::Ok(FinishReason::Stop),
            &json!({"runId": "r1", "status": "ok", "summary": "completed", "result": {
                "payloads": [{"text": "Hello", "mediaUrl": null}],
                "meta": {"durationMs": 250, "aborted": false, "stopReason": "stop",
                    "agentMeta": {"usage": {"input": 6, "output": 3, "cacheRead": 4,
                                            "cacheWrite": 0, "total": 13}}}}}),
            &json!({"runId": "r1", "status": "ok", "startedAt": 1000, "endedAt": 1250,
                   "stopReason": "stop", "livenessState": "working",
                   "terminalReply": {"disposition": "visible", "text": "Hello"}}),
        );
    }

    #[test]
    fn a_failed_run_never_looks_complete() {
        let error = RunError::new(ErrorCode::UpstreamFailed, "the model server failed");
        check(
            Outcome::Error(error),
            &json!({"runId": "r1", "status": "error", "summary": "the model server failed"}),
            &json!({"runId": "r1", "status": "error", "startedAt": 1000, "endedAt": 1250,
                   "error": "the model server failed"}),
        );
    }

    #[test]
    fn a_stopped_run_says_why() {
        check(
            Outcome::Aborted(AbortCause::Rpc),
            &json!({"runId": "r1", "status": "timeout", "summary": "aborted",
                   "stopReason": "rpc"}),
            &json!({"runId": "r1", "status": "timeout", "startedAt": 1000, "endedAt": 1250,
                   "stopReason": "rpc"}),
        );
        check(
            Outcome::TimedOut(TimeoutPhase::Idle),
            &json!({"runId": "r1", "status": "timeout", "summary": "aborted",
                   "stopReason": "timeout", "timeoutPhase": "idle", "providerStarted": true}),
            &json!({"runId": "r1", "status": "timeout", "startedAt": 1000, "endedAt": 1250,
                   "stopReason": "timeout", "timeoutPhase": "idle", "providerStarted": true}),
        );
    }

    #[test]
    fn crash_and_drain_look_the_same() {
        for outcome in [Outcome::Interrupted, Outcome::Aborted(AbortCause::Restart)] {
            check(
                outcome,
                &json!({"runId": "r1", "status": "timeout", "summary": "interrupted",
                       "stopReason": "restart"}),
                &json!({"runId": "r1", "status": "timeout", "startedAt": 1000, "endedAt": 1250,
                       "stopReason": "restart"}),
            );
        }
    }

    #[test]
    fn a_wait_that_was_too_short_has_no_end() {
        let value = |result| serde_json::to_value(result).unwrap();
        assert_eq!(
            value(AgentWaitResult::running("r")),
            json!({"runId": "r", "status": "timeout"})
        );
        assert_eq!(
            value(AgentWaitResult::queued("r")),
            json!({"runId": "r", "status": "pending", "timeoutPhase": "queue",
                   "providerStarted": false})
        );
        assert_eq!(
            value(AgentWaitResult::queued("r").for_v3()),
            json!({"runId": "r", "status": "timeout"})
        );
    }
}
