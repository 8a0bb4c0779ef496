//! Starting runs again that an earlier process accepted and did not bring to an end.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::auth::Role;
use crate::run::{
    Conversation, Front, Message, OnDisconnect, Owner, QueueMode, RunInfo, Sampling, Storage, Tool,
    ToolChoice, Turn,
};
use crate::scheduler::{Accept, Life, Order, Recovered, SubmitError};
use crate::session::{ModeChoice, OpenRun};

use super::Dispatch;
use super::runs::{chat, limits};
use super::views::AgentEntry;

/// How often a run is started over. One that brings the process down must not do so for ever.
const RESTARTS_MAX: u32 = 3;

/// What beside its input is needed to start a run, as it is kept with the run.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Resume {
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<String>,
    /// The model the caller asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
    /// The mode the caller asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    queue_mode: Option<QueueMode>,
    /// The mode when neither it nor its session names one; only of a chat message.
    #[serde(skip_serializing_if = "Option::is_none")]
    queue_fallback: Option<QueueMode>,
    /// The user, device or connection that asked, who may stop it.
    #[serde(skip_serializing_if = "Option::is_none")]
    party: Option<Arc<str>>,
    /// What else an HTTP request asked for, when it may be asked for again.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<Request>,
}

/// The parts of a turn that only HTTP requests have.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Request {
    history: Vec<Message>,
    tools: Vec<Tool>,
    tool_choice: ToolChoice,
    sampling: Sampling,
    channel: Option<String>,
}

impl Resume {
    pub(super) fn of(
        turn: &Turn,
        timeout: Option<Duration>,
        mode: Option<ModeChoice>,
        owner: &Owner,
    ) -> Self {
        let in_ms = |limit: Duration| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        Self {
            system: turn.system.clone(),
            model: turn.model.clone(),
            timeout_ms: timeout.map(in_ms),
            queue_mode: mode.and_then(|mode| mode.own),
            queue_fallback: mode.map(|mode| mode.fallback),
            party: Some(Arc::clone(&owner.party)),
            request: None,
        }
    }

    /// Keeps what an HTTP request asked for as well.
    pub(super) fn with_request(self, turn: &Turn) -> Self {
        let request = Request {
            history: turn.history.clone(),
            tools: turn.tools.clone(),
            tool_choice: turn.tool_choice.clone(),
            sampling: turn.sampling.clone(),
            channel: turn.channel.clone(),
        };
        Self {
            request: Some(request),
            ..self
        }
    }

    /// The JSON to keep; `None` when there is nothing to say.
    pub(super) fn to_json(&self) -> Option<String> {
        if *self == Self::default() {
            return None;
        }
        serde_json::to_string(self).ok()
    }

    /// Reads what was kept; what cannot be read counts as nothing said.
    fn read(json: Option<&str>) -> Self {
        json.and_then(|json| serde_json::from_str(json).ok())
            .unwrap_or_default()
    }

    /// How a chat message is queued; `None` for another run.
    fn mode(&self) -> Option<ModeChoice> {
        // Earlier programs kept the mode in force alone.
        let fallback = self.queue_fallback.or(self.queue_mode)?;
        Some(ModeChoice {
            own: self.queue_mode,
            fallback,
        })
    }

    /// What its agent is to answer.
    fn turn(&self, open: &OpenRun) -> Turn {
        let input: Conversation = open.input.iter().collect();
        let turn = Turn {
            system: self.system.clone(),
            current: input.iter().cloned().collect(),
            model: self.model.clone(),
            ..Turn::default()
        };
        match &self.request {
            None => turn,
            Some(request) => Turn {
                history: request.history.clone(),
                tools: request.tools.clone(),
                tool_choice: request.tool_choice.clone(),
                sampling: request.sampling.clone(),
                channel: request.channel.clone(),
                ..turn
            },
        }
    }
}

/// Why a run that an earlier process left is not started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotResumed {
    /// Its agent is gone, or nobody can ask for its answer any more, or it was started already.
    Impossible,
    /// The device that asked for it was removed or its token revoked.
    Revoked,
}

impl Dispatch {
    /// Schedules a run that an earlier process accepted and never started, or had started for an
    /// agent whose runs may be started over, at most [`RESTARTS_MAX`] times; `folded` are those
    /// that are part of it. An HTTP run is started again only if it never was and its caller gave a
    /// key: nobody else can ask for its answer.
    ///
    /// A run that is not scheduled must be ended.
    ///
    /// # Errors
    /// The scheduler refuses it; a failing ledger.
    pub async fn requeue(
        &self,
        open: &OpenRun,
        folded: &[OpenRun],
    ) -> Result<Result<(), NotResumed>, SubmitError> {
        let record = &open.record;
        let Some(agent) = self.agents().get(&record.agent) else {
            return Ok(Err(NotResumed::Impossible));
        };
        let life = match record.started_at_ms {
            None => Life::First,
            Some(_) => Life::Another,
        };
        let resume = Resume::read(open.resume.as_deref());
        let is_lost = record.front == Front::Http && resume.request.is_none();
        if is_lost || (life == Life::Another && !may_restart(open, &agent)) {
            return Ok(Err(NotResumed::Impossible));
        }
        let info = info(open, &resume);
        if self.is_revoked(&info.owner).await? {
            return Ok(Err(NotResumed::Revoked));
        }
        let session = self.parts.ledger.session(record.session.clone()).await?;
        let folded = folded.iter().map(|part| {
            let info = info_of(part);
            let log = self.logs().open(&info);
            (info, log)
        });
        let turn = resume.turn(open);
        let order = Order {
            log: self.logs().open(&info),
            // A turn that was begun is neither merged into another nor dropped for one.
            chat: resume
                .mode()
                .filter(|_mode| life == Life::First)
                .map(|mode| chat(mode, &turn)),
            turn,
            agent: Arc::clone(&agent.agent),
            limits: limits(&agent, resume.timeout_ms.map(Duration::from_millis)),
            accept: Accept::Recovered(Box::new(Recovered {
                session_id: record.session_id,
                life,
                settings: session.map(|session| session.settings).unwrap_or_default(),
                has_key: resume.request.is_some(),
                folded: folded.collect(),
            })),
            info,
        };
        let submitted = self.parts.scheduler.submit(order).await;
        submitted.map(|_submitted| Ok(()))
    }

    /// Whether the device that asked for a run is none any more.
    async fn is_revoked(&self, owner: &Owner) -> Result<bool, SubmitError> {
        let Some(device) = &owner.device else {
            return Ok(false);
        };
        let row = self.parts.ledger.device(Arc::clone(device)).await?;
        Ok(row.is_none_or(|row| {
            let mut tokens = row.tokens.iter();
            row.pairing.is_none()
                || tokens.any(|token| {
                    *token.role == *Role::Operator.as_str() && token.revoked_at_ms.is_some()
                })
        }))
    }
}

fn info_of(open: &OpenRun) -> Arc<RunInfo> {
    info(open, &Resume::read(open.resume.as_deref()))
}

fn info(open: &OpenRun, resume: &Resume) -> Arc<RunInfo> {
    let record = &open.record;
    Arc::new(RunInfo {
        run_id: record.run_id,
        wire_id: record.wire_id.clone(),
        session: record.session.clone(),
        agent: record.agent.clone(),
        owner: owner(record.principal.as_deref(), resume.party.as_ref()),
        front: record.front,
        storage: Storage::Stored,
        on_disconnect: OnDisconnect::Continue,
        accepted_at_ms: record.accepted_at_ms,
    })
}

/// Whether a run that had started may be started over once more.
fn may_restart(open: &OpenRun, agent: &AgentEntry) -> bool {
    agent.limits.restartable && open.restarts < RESTARTS_MAX
}

/// The owner of a run from an earlier process, whose connections are gone.
fn owner(principal: Option<&str>, party: Option<&Arc<str>>) -> Owner {
    let principal = principal.unwrap_or("none");
    let (credential, device) = match principal.split_once('/') {
        Some((credential, device)) => (credential, Some(device.into())),
        None => (principal, None),
    };
    Owner {
        credential: credential.into(),
        party: party.cloned().unwrap_or_else(|| "recovered".into()),
        device,
        connection: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Role;

    fn somebody() -> Owner {
        owner(Some("token"), Some(&"user:u".into()))
    }

    #[test]
    fn what_is_kept_reads_back() {
        let mode = ModeChoice {
            own: None,
            fallback: QueueMode::Collect,
        };
        let turn = Turn {
            system: Some("be brief".to_owned()),
            ..Turn::default()
        };
        let limit = Duration::from_secs(3);
        let resume = Resume::of(&turn, Some(limit), Some(mode), &somebody());
        let json = resume.to_json().unwrap();
        assert_eq!(
            json,
            r#"{"system":"be brief","timeoutMs":3000,"queueFallback":"collect","party":"user:u"}"#
        );
        let read = Resume::read(Some(&json));
        assert_eq!(read, resume);
        assert_eq!(read.mode(), Some(mode));
        assert_eq!(Resume::default().to_json(), None);
        assert_eq!(Resume::read(Some("{broken")), Resume::default());
    }

    #[test]
    fn what_an_earlier_program_kept_is_understood() {
        let read = Resume::read(Some(r#"{"queueMode":"interrupt"}"#));
        assert_eq!(
            read.mode(),
            Some(ModeChoice {
                own: Some(QueueMode::Interrupt),
                fallback: QueueMode::Interrupt,
            })
        );
        assert_eq!(owner(Some("device/d"), None).device.as_deref(), Some("d"));
    }

    #[test]
    fn an_http_request_is_kept_whole() {
        let turn = Turn {
            history: vec![Message::text(Role::User, "before".to_owned())],
            tool_choice: ToolChoice::Named("t".to_owned()),
            sampling: Sampling {
                temperature: Some(0.5),
                ..Sampling::default()
            },
            ..Turn::default()
        };
        let resume = Resume::of(&turn, None, None, &somebody()).with_request(&turn);
        let json = resume.to_json().unwrap();
        assert_eq!(Resume::read(Some(&json)), resume);
    }
}
