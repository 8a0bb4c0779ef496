//! Starting runs again that an earlier process accepted and did not bring to an end.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::run::{Conversation, Front, OnDisconnect, Owner, QueueMode, RunInfo, Storage, Turn};
use crate::scheduler::{Accept, Life, Order, SubmitError};
use crate::session::OpenRun;

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
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue_mode: Option<QueueMode>,
}

impl Resume {
    pub(super) fn of(turn: &Turn, timeout: Option<Duration>, mode: Option<QueueMode>) -> Self {
        let in_ms = |limit: Duration| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        Self {
            system: turn.system.clone(),
            model: turn.model.clone(),
            timeout_ms: timeout.map(in_ms),
            queue_mode: mode,
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
}

impl Dispatch {
    /// Schedules a run that an earlier process accepted and never started, or had started for an
    /// agent whose runs may be started over, at most [`RESTARTS_MAX`] times. HTTP runs are not
    /// started again: nobody waits for their answer any more.
    ///
    /// Returns false when it cannot be started again; then it must be ended.
    ///
    /// # Errors
    /// The scheduler refuses it.
    pub async fn requeue(&self, open: &OpenRun) -> Result<bool, SubmitError> {
        let record = &open.record;
        let Some(agent) = self.agents().get(&record.agent) else {
            return Ok(false);
        };
        let life = match record.started_at_ms {
            None => Life::First,
            Some(_) => Life::Another,
        };
        if record.front == Front::Http || (life == Life::Another && !may_restart(open, &agent)) {
            return Ok(false);
        }
        let resume = Resume::read(open.resume.as_deref());
        let info = Arc::new(RunInfo {
            run_id: record.run_id,
            wire_id: record.wire_id.clone(),
            session: record.session.clone(),
            agent: record.agent.clone(),
            owner: owner(record.principal.as_deref()),
            front: record.front,
            storage: Storage::Stored,
            on_disconnect: OnDisconnect::Continue,
            accepted_at_ms: record.accepted_at_ms,
        });
        let input: Conversation = open.input.iter().collect();
        let turn = Turn {
            system: resume.system,
            current: input.iter().cloned().collect(),
            model: resume.model,
            ..Turn::default()
        };
        let timeout = resume.timeout_ms.map(Duration::from_millis);
        let order = Order {
            log: self.logs().open(&info),
            // A turn that was begun is neither merged into another nor dropped for one.
            chat: resume
                .queue_mode
                .filter(|_mode| life == Life::First)
                .map(|mode| chat(mode, &turn)),
            turn,
            agent: Arc::clone(&agent.agent),
            limits: limits(&agent, timeout),
            accept: Accept::Recovered {
                session_id: record.session_id,
                life,
            },
            info,
        };
        self.parts
            .scheduler
            .submit(order)
            .await
            .map(|_submitted| true)
    }
}

/// Whether a run that had started may be started over once more.
fn may_restart(open: &OpenRun, agent: &AgentEntry) -> bool {
    agent.limits.restartable && open.restarts < RESTARTS_MAX
}

/// The owner of a run from an earlier process, whose connections are gone.
fn owner(principal: Option<&str>) -> Owner {
    let principal = principal.unwrap_or("none");
    let (credential, device) = match principal.split_once('/') {
        Some((credential, device)) => (credential, Some(device.into())),
        None => (principal, None),
    };
    Owner {
        credential: credential.into(),
        party: "recovered".into(),
        device,
        connection: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_reads_back() {
        let turn = Turn {
            system: Some("be brief".to_owned()),
            ..Turn::default()
        };
        let resume = Resume::of(
            &turn,
            Some(Duration::from_secs(3)),
            Some(QueueMode::Collect),
        );
        let json = resume.to_json().unwrap();
        assert_eq!(
            json,
            r#"{"system":"be brief","timeoutMs":3000,"queueMode":"collect"}"#
        );
        assert_eq!(Resume::read(Some(&json)), resume);
        assert_eq!(Resume::of(&Turn::default(), None, None).to_json(), None);
        assert_eq!(Resume::read(Some("{broken")), Resume::default());
    }
}
