//! The `/queue` command: a session's own queue mode, answered without an agent.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::events::{Notice, Record};
use crate::ids::{RunId, SessionKey, WireId};
use crate::run::{
    FinishReason, Front, OnDisconnect, Outcome, QueueMode, RunInfo, Storage, Terminal,
};
use crate::session::SessionPatch;

use super::resolve::owner;
use super::text::QueueCommand;
use super::{Admitted, Caller, Dispatch, DispatchError, Started};

impl Dispatch {
    pub(super) async fn queue_command(
        &self,
        caller: &Caller,
        wire_id: &WireId,
        session: &SessionKey,
        command: QueueCommand,
    ) -> Result<Started, DispatchError> {
        let text = match command {
            QueueCommand::Show => {
                let settings = self.settings_of(session).await?;
                match settings.get("queueMode").and_then(Value::as_str) {
                    Some(mode) => format!("Queue mode of this session: {mode}."),
                    None => "This session has no queue mode of its own.".to_owned(),
                }
            }
            QueueCommand::Set(mode) => {
                self.set_queue_mode(caller, session, json!(mode.as_str()))
                    .await?;
                format!("Queue mode of this session is now {}.", mode.as_str())
            }
            QueueCommand::Clear => {
                self.set_queue_mode(caller, session, Value::Null).await?;
                "This session uses the configured queue mode again.".to_owned()
            }
            QueueCommand::Unknown => {
                let modes = [
                    QueueMode::Steer,
                    QueueMode::Collect,
                    QueueMode::Followup,
                    QueueMode::Interrupt,
                ];
                let names = modes.map(QueueMode::as_str).join(", ");
                format!("Use /queue with one of {names}, or default.")
            }
        };
        self.answer_at_once(caller, wire_id, session, &text)
    }

    async fn set_queue_mode(
        &self,
        caller: &Caller,
        session: &SessionKey,
        mode: Value,
    ) -> Result<(), DispatchError> {
        let settings = Map::from_iter([("queueMode".to_owned(), mode)]);
        let patch = SessionPatch {
            label: None,
            settings,
        };
        self.sessions_patch(caller, session.as_str(), None, patch)
            .await
            .map(|_record| ())
    }

    /// A run that has ended already with this text: no lane, no agent, nothing stored.
    pub(super) fn answer_at_once(
        &self,
        caller: &Caller,
        wire_id: &WireId,
        session: &SessionKey,
        text: &str,
    ) -> Result<Started, DispatchError> {
        let (_key, agent_id) = self.resolve_key(session.as_str(), None)?;
        let now_ms = self.parts.clock.now_ms();
        let info = Arc::new(RunInfo {
            run_id: RunId::from_uuid(self.parts.ids.ordered(now_ms)),
            wire_id: wire_id.clone(),
            session: session.clone(),
            agent: agent_id.clone(),
            owner: owner(caller),
            front: Front::NativeChat,
            storage: Storage::Ephemeral,
            on_disconnect: OnDisconnect::Continue,
            accepted_at_ms: now_ms,
        });
        let log = self.parts.logs.open(&info);
        self.parts
            .bus
            .publish(Notice::RunAccepted(Arc::clone(&log)));
        log.append(Record::Started { at_ms: now_ms });
        log.append_text(text);
        log.close(Terminal {
            outcome: Outcome::Ok(FinishReason::Stop),
            started_at_ms: Some(now_ms),
            ended_at_ms: now_ms,
            usage: None,
        });
        self.parts.logs.ended(&log, Instant::now());
        self.parts.bus.publish(Notice::RunEnded(Arc::clone(&log)));
        Ok(Started::New(Admitted {
            info,
            log,
            session_id: None,
            user_n: None,
            agent: self.entry(&agent_id)?,
            interrupted: false,
        }))
    }
}
