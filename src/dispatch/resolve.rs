//! From what callers write to agents, session keys and owners.

use std::sync::Arc;

use crate::ids::{AgentId, SESSION_KEY_BYTES_MAX, SessionKey, WireId};
use crate::run::Owner;
use crate::session::key::{self, KeyError};

use super::views::AgentEntry;
use super::{AgentChoice, Caller, Dispatch, DispatchError};

impl Dispatch {
    /// The canonical form of a session key and the agent it belongs to.
    ///
    /// # Errors
    /// A malformed key, an unknown or disagreeing agent.
    pub fn resolve_key(
        &self,
        raw: &str,
        agent_id: Option<&str>,
    ) -> Result<(SessionKey, AgentId), DispatchError> {
        let named = agent_id.map(|id| self.named_agent(id)).transpose()?;
        let fallback = match &named {
            Some(entry) => entry.id.clone(),
            None => self.parts.agents.default_agent()?,
        };
        let main_key = self.parts.config.main_key();
        let canonical =
            key::canonicalize(raw, &fallback, &main_key).map_err(|error| bad_key(error, raw))?;
        if let (Some(id), Some(entry)) = (agent_id, &named)
            && entry.id != canonical.agent
        {
            return Err(DispatchError::AgentMismatch {
                agent: id.to_owned(),
                key_agent: canonical.agent,
                key: raw.to_owned(),
            });
        }
        if self.parts.agents.get(&canonical.agent).is_none() {
            return Err(DispatchError::UnknownAgent(canonical.agent.to_string()));
        }
        Ok((canonical.key, canonical.agent))
    }

    /// The key of an agent's main session.
    pub fn main_session(&self, agent: &AgentId) -> SessionKey {
        key::main_session(agent, &self.parts.config.main_key())
    }

    /// The agent a request names, or the default one.
    ///
    /// # Errors
    /// An unknown agent, or several without a default.
    pub fn agent(&self, choice: &AgentChoice) -> Result<Arc<AgentEntry>, DispatchError> {
        match choice {
            AgentChoice::Named(id) => self.named_agent(id),
            AgentChoice::Default => {
                let id = self.parts.agents.default_agent()?;
                self.entry(&id)
            }
        }
    }

    pub(super) fn named_agent(&self, id: &str) -> Result<Arc<AgentEntry>, DispatchError> {
        AgentId::parse(id.trim())
            .ok()
            .and_then(|parsed| self.parts.agents.get(&parsed))
            .ok_or_else(|| DispatchError::UnknownAgent(id.to_owned()))
    }

    pub(super) fn entry(&self, id: &AgentId) -> Result<Arc<AgentEntry>, DispatchError> {
        self.parts
            .agents
            .get(id)
            .ok_or_else(|| DispatchError::UnknownAgent(id.to_string()))
    }
}

/// The owner of what this caller starts: fairness counts a user before a device before a
/// connection.
pub(super) fn owner(caller: &Caller) -> Owner {
    let principal = &caller.principal;
    let party: Arc<str> = match (&caller.user, &principal.device, caller.connection) {
        (Some(user), _, _) => format!("user:{user}").into(),
        (None, Some(device), _) => format!("device:{device}").into(),
        (None, None, Some(connection)) => format!("connection:{connection}").into(),
        (None, None, None) => format!("address:{}", principal.address).into(),
    };
    Owner {
        credential: Arc::clone(&principal.credential),
        party,
        device: principal.device.clone(),
        connection: caller.connection,
    }
}

pub(super) fn wire_id(key: &str) -> Result<WireId, DispatchError> {
    WireId::parse(key).map_err(|_bad| DispatchError::BadIdempotencyKey)
}

pub(super) fn bad_key(error: KeyError, raw: &str) -> DispatchError {
    match error {
        KeyError::TooLong | KeyError::ControlCharacter => DispatchError::BadKeyText {
            what: "the session key",
            bytes_max: SESSION_KEY_BYTES_MAX,
        },
        KeyError::Malformed => DispatchError::MalformedKey(raw.to_owned()),
    }
}

pub(super) fn bad_session_id(error: KeyError) -> DispatchError {
    match error {
        KeyError::TooLong | KeyError::ControlCharacter | KeyError::Malformed => {
            DispatchError::BadKeyText {
                what: "sessionId",
                bytes_max: SESSION_KEY_BYTES_MAX,
            }
        }
    }
}

pub(super) fn bad_user(error: KeyError) -> DispatchError {
    match error {
        KeyError::TooLong | KeyError::ControlCharacter | KeyError::Malformed => {
            DispatchError::BadKeyText {
                what: "`user`",
                bytes_max: SESSION_KEY_BYTES_MAX,
            }
        }
    }
}
