//! Making sessions, and reading what was said in several of them.

use sha2::{Digest, Sha256};

use crate::auth::{CallFacts, Operation};
use crate::events::ChangeReason;
use crate::ids::{AgentId, SessionKey};
use crate::run::Entry;
use crate::session::{EntryRange, SessionPatch, SessionRecord, key};

use super::resolve::owner;
use super::{AgentChoice, Caller, Dispatch, DispatchError, SessionCreate, settings};

impl Dispatch {
    /// The key a new session gets: the one asked for, else a fresh one. A call that is repeated
    /// with its key gets the same again.
    ///
    /// # Errors
    /// A malformed key, an unknown or disagreeing agent.
    pub fn key_of_new(
        &self,
        caller: &Caller,
        request: &SessionCreate,
    ) -> Result<(SessionKey, AgentId), DispatchError> {
        if let Some(raw) = &request.key {
            return self.resolve_key(raw, request.agent_id.as_deref());
        }
        let choice = match &request.agent_id {
            Some(id) => AgentChoice::Named(id.clone()),
            None => AgentChoice::Default,
        };
        let agent = self.agent(&choice)?.id.clone();
        let id = match &request.idempotency_key {
            Some(given) => repeatable(caller, &agent, given),
            None => self.parts.ids.random(),
        };
        Ok((key::dashboard(&agent, id), agent))
    }

    /// Makes a session; one that exists already gets the settings asked for and keeps the rest.
    ///
    /// # Errors
    /// A parent that is not there, a bad setting, a label in use, a failing ledger.
    pub async fn sessions_create(
        &self,
        caller: &Caller,
        key: &SessionKey,
        request: SessionCreate,
    ) -> Result<SessionRecord, DispatchError> {
        let patch = SessionPatch {
            label: request.label.map(Some),
            settings: request.settings,
        };
        self.require(caller, create_operation(&patch))?;
        self.accepting()?;
        let (key, agent) = self.resolve_key(key.as_str(), None)?;
        if let Some(parent) = &request.parent {
            let (parent_key, parent_agent) = self.resolve_key(parent, None)?;
            if !self.is_there(&parent_key, &parent_agent).await? {
                return Err(DispatchError::UnknownParent(parent.clone()));
            }
        }
        settings::check(&patch, &agent, &*self.parts.agents)?;
        self.write_settings(key, agent, patch, ChangeReason::Create)
            .await
    }

    /// Whether a session can be written to: it exists, or it is the main one, which is made when
    /// it is needed.
    pub(super) async fn is_there(
        &self,
        key: &SessionKey,
        agent: &AgentId,
    ) -> Result<bool, DispatchError> {
        if key::is_main(key, agent, &self.parts.config.main_key()) {
            return Ok(true);
        }
        Ok(self.parts.ledger.session(key.clone()).await?.is_some())
    }

    /// The newest entries of a session's transcript; `None` when there is no such session.
    ///
    /// # Errors
    /// A failing ledger.
    pub async fn sessions_preview(
        &self,
        caller: &Caller,
        key: &str,
        limit: u32,
    ) -> Result<Option<Vec<Entry>>, DispatchError> {
        self.require(caller, Operation::Method("sessions.preview"))?;
        // A key that cannot be names no session.
        let Ok((key, _agent)) = self.resolve_key(key, None) else {
            return Ok(None);
        };
        let range = EntryRange::Newest { skip: 0, limit };
        let page = self.parts.ledger.entries(key, range).await?;
        Ok(page.map(|page| page.entries))
    }
}

/// The same id for the same call of the same party.
fn repeatable(caller: &Caller, agent: &AgentId, key: &str) -> uuid::Uuid {
    let principal = owner(caller).principal();
    let mut hash = Sha256::new();
    for part in [&*principal, agent.as_str(), key] {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(digest) {
        *to = from;
    }
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

fn create_operation(patch: &SessionPatch) -> Operation<'_> {
    let has_overrides = patch.settings.contains_key("toolOverrides");
    let mode = patch.settings.get("permissionMode");
    Operation::Call(
        "sessions.create",
        CallFacts {
            fields: if has_overrides {
                &["toolOverrides"]
            } else {
                &[]
            },
            permission_mode: mode.and_then(|mode| mode.as_str()),
            ..CallFacts::default()
        },
    )
}
