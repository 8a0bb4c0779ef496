//! Who asked for a run, where it belongs, and what happens when the asker leaves.

use std::sync::Arc;

use crate::ids::{AgentId, ConnectionId, RunId, SessionKey, WireId};

/// The identity card of a run: fixed at acceptance, shared by everybody who handles the run.
#[derive(Clone, Debug)]
pub struct RunInfo {
    /// Internal id; primary key in the ledger.
    pub run_id: RunId,
    /// The id peers use.
    pub wire_id: WireId,
    /// Canonical session key; also the lane.
    pub session: SessionKey,
    /// The agent that runs.
    pub agent: AgentId,
    /// Who asked, for fairness, idempotency and the right to abort.
    pub owner: Owner,
    /// Which front accepted it.
    pub front: Front,
    /// Whether the session is kept.
    pub storage: Storage,
    /// What a disconnect of the asker does.
    pub on_disconnect: OnDisconnect,
    /// Wall-clock time of acceptance, in milliseconds.
    pub accepted_at_ms: u64,
}

impl RunInfo {
    /// Whether the gateway answers it itself: a message to a session is stored with its run, unless
    /// it is a text command.
    pub fn is_command(&self) -> bool {
        self.front == Front::NativeChat && self.storage == Storage::Ephemeral
    }
}

/// The asker of a run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The credential, as a stable digest name (`token`, `password`, `none`, `device`).
    pub credential: Arc<str>,
    /// The user, device or connection inside that credential.
    pub party: Arc<str>,
    /// The device that connected, if it proved itself.
    pub device: Option<Arc<str>>,
    /// The connection the request came in on.
    pub connection: Option<ConnectionId>,
}

impl Owner {
    /// Who may repeat a request and see its run, whatever connection it comes in on: the credential
    /// and, when one proved itself, the device.
    pub fn principal(&self) -> Arc<str> {
        match &self.device {
            Some(device) => format!("{}/{device}", self.credential).into(),
            None => Arc::clone(&self.credential),
        }
    }

    /// Whether `other` is the same party: the same device, or without devices the same party of the
    /// same credential.
    pub fn is_same_party(&self, other: &Self) -> bool {
        match (&self.device, &other.device) {
            (Some(ours), Some(theirs)) => ours == theirs,
            (None, None) => self.credential == other.credential && self.party == other.party,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// Whether nobody in particular owns the run, so that everybody who may write may stop it.
    pub const fn is_nobody(&self) -> bool {
        self.device.is_none() && self.connection.is_none()
    }
}

/// The dialect a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Front {
    /// The OpenAI-compatible HTTP adapter.
    Http,
    /// The native protocol, method `agent`.
    NativeAgent,
    /// The native protocol, method `chat.send` and its relatives.
    NativeChat,
}

/// Whether a session outlives its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Storage {
    /// Transcript and run row are in the ledger.
    Stored,
    /// Lane and log like any run, nothing stored (`design.md` §6).
    Ephemeral,
}

/// What happens to a run when the connection that asked for it goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnDisconnect {
    /// The run is cancelled: nobody else waits for the answer.
    CancelRun,
    /// The run goes on for the session.
    Continue,
}
