//! `runs.list` and `runs.get`: what is known of runs. Ours alone; the original has no such methods.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{AgentId, SessionKey, WireId};
use crate::protocol::params::params;
use crate::protocol::{Bounded, NonEmpty};
use crate::run::{Front, Outcome, Terminal};

/// Runs `runs.list` returns when the caller names no limit.
pub const RUNS_DEFAULT: u32 = 50;

params! {
    /// Parameters of `runs.list`; closed, because no client is newer than this gateway here.
    #[serde(deny_unknown_fields)]
    RunsListParams {
        optional {
            /// Only runs of this session.
            session_key: NonEmpty,
            /// At most this many, newest first; 50 when absent.
            limit: Bounded<1, 1000>,
        }
    }
}

params! {
    /// Parameters of `runs.get`; closed as well.
    #[serde(deny_unknown_fields)]
    RunsGetParams {
        required {
            /// The run.
            run_id: NonEmpty,
        }
    }
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    /// It waits for its lane.
    Queued,
    /// Its agent works.
    Active,
    /// The agent finished its answer.
    Ok,
    /// It failed.
    Error,
    /// Somebody or something stopped it.
    Aborted,
    /// A deadline passed.
    Timeout,
    /// The process ended while it was active.
    Interrupted,
}

impl RunStatus {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Active => "active",
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Aborted => "aborted",
            Self::Timeout => "timeout",
            Self::Interrupted => "interrupted",
        }
    }
}

/// A run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunRow {
    /// The id peers use.
    pub run_id: String,
    /// Its session.
    pub session_key: String,
    /// Its agent.
    pub agent_id: String,
    /// Which front accepted it: `http`, `agent` or `chat`.
    pub front: String,
    /// Where it stands.
    pub status: RunStatus,
    /// Whether it is kept in the ledger.
    pub stored: bool,
    /// When it was accepted, in wall-clock milliseconds.
    pub accepted_at: u64,
    /// When its agent was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<u64>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<u64>,
    /// Why it ended before its agent was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
    /// What it failed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What a [`RunRow`] is made of.
#[derive(Clone, Copy, Debug)]
pub struct RunParts<'a> {
    /// The id peers use.
    pub run: &'a WireId,
    /// Its session.
    pub session: &'a SessionKey,
    /// Its agent.
    pub agent: &'a AgentId,
    /// Which front accepted it.
    pub front: Front,
    /// Whether it is kept in the ledger.
    pub is_stored: bool,
    /// When it was accepted, in wall-clock milliseconds.
    pub accepted_at_ms: u64,
    /// When its agent was started.
    pub started_at_ms: Option<u64>,
    /// How it ended, once it has.
    pub terminal: Option<&'a Terminal>,
}

impl From<RunParts<'_>> for RunRow {
    fn from(run: RunParts<'_>) -> Self {
        let outcome = run.terminal.map(|terminal| &terminal.outcome);
        let status = match outcome {
            None if run.started_at_ms.is_some() => RunStatus::Active,
            None => RunStatus::Queued,
            Some(Outcome::Ok(_)) => RunStatus::Ok,
            Some(Outcome::Error(_)) => RunStatus::Error,
            Some(Outcome::Aborted(_)) => RunStatus::Aborted,
            Some(Outcome::TimedOut(_)) => RunStatus::Timeout,
            Some(Outcome::Interrupted) => RunStatus::Interrupted,
        };
        let stop_reason = match outcome {
            Some(Outcome::Aborted(cause)) => Some(cause.stop_reason()),
            Some(Outcome::TimedOut(phase)) => Some(phase.as_str()),
            Some(Outcome::Interrupted) => Some("restart"),
            Some(Outcome::Ok(_) | Outcome::Error(_)) | None => None,
        };
        let error = match outcome {
            Some(Outcome::Error(error)) => Some(error.message.as_ref().to_owned()),
            Some(
                Outcome::Ok(_) | Outcome::Aborted(_) | Outcome::TimedOut(_) | Outcome::Interrupted,
            )
            | None => None,
        };
        Self {
            run_id: run.run.as_str().to_owned(),
            session_key: run.session.as_str().to_owned(),
            agent_id: run.agent.as_str().to_owned(),
            front: front_name(run.front).to_owned(),
            status,
            stored: run.is_stored,
            accepted_at: run.accepted_at_ms,
            started_at: run.started_at_ms,
            ended_at: run.terminal.map(|terminal| terminal.ended_at_ms),
            stop_reason: stop_reason.map(str::to_owned),
            error,
        }
    }
}

const fn front_name(front: Front) -> &'static str {
    match front {
        Front::Http => "http",
        Front::NativeAgent => "agent",
        Front::NativeChat => "chat",
    }
}

/// The result of `runs.list`, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunsListResult {
    /// The runs.
    pub runs: Vec<RunRow>,
}

/// The result of `runs.get`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunsGetResult {
    /// The run.
    pub run: RunRow,
    /// What it was asked, once that is in the transcript.
    pub input: Vec<String>,
    /// What it has answered so far.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;
    use crate::run::{AbortCause, FinishReason, RunError, TimeoutPhase};

    fn check(started_at_ms: Option<u64>, outcome: Option<Outcome>, expected: [Option<&str>; 3]) {
        let terminal = outcome.map(|outcome| Terminal {
            outcome,
            started_at_ms,
            ended_at_ms: 9,
            usage: None,
        });
        let row = RunRow::from(RunParts {
            run: &WireId::parse("r").unwrap(),
            session: &SessionKey::from_canonical("agent:main:s"),
            agent: &AgentId::parse("main").unwrap(),
            front: Front::NativeChat,
            is_stored: true,
            accepted_at_ms: 1,
            started_at_ms,
            terminal: terminal.as_ref(),
        });
        let shown = [
            Some(row.status.as_str()),
            row.stop_reason.as_deref(),
            row.error.as_deref(),
        ];
        assert_eq!(shown, expected);
        assert_eq!(row.ended_at, terminal.map(|_ended| 9));
        let status = serde_json::to_value(row.status).unwrap();
        assert_eq!(status, row.status.as_str());
    }

    #[test]
    fn a_row_says_where_a_run_stands_and_why_it_ended() {
        let failed = RunError::new(ErrorCode::UpstreamFailed, "no answer");
        check(None, None, [Some("queued"), None, None]);
        check(Some(2), None, [Some("active"), None, None]);
        let ok = Outcome::Ok(FinishReason::Stop);
        check(Some(2), Some(ok), [Some("ok"), None, None]);
        let error = Outcome::Error(failed);
        check(
            Some(2),
            Some(error),
            [Some("error"), None, Some("no answer")],
        );
        let aborted = Outcome::Aborted(AbortCause::Dropped);
        check(
            None,
            Some(aborted),
            [Some("aborted"), Some("dropped"), None],
        );
        let late = Outcome::TimedOut(TimeoutPhase::Queue);
        check(None, Some(late), [Some("timeout"), Some("queue"), None]);
        let cut = Some(Outcome::Interrupted);
        check(Some(2), cut, [Some("interrupted"), Some("restart"), None]);
    }
}
