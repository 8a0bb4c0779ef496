//! Which session a call of `agent` belongs to (`protocol-facts` §6.4).

use crate::ids::{AgentId, SessionId, SessionKey};
use crate::session::key;

use super::resolve::{bad_key, bad_session_id};
use super::{AgentChoice, AgentRun, Dispatch, DispatchError};

impl Dispatch {
    /// The session of an `agent` call: its key, else what `sessionId` names, else `to` when that is
    /// a key, else the one whose transcript is expected, else the main session of the agent it
    /// names. Only a call that names none of these gets a session of its own.
    pub(super) async fn agent_session(
        &self,
        request: &AgentRun,
    ) -> Result<(SessionKey, AgentId), DispatchError> {
        let agent_id = given(request.agent_id.as_deref());
        let session_id = given(request.session_id.as_deref());
        if let Some(raw) = given(request.session_key.as_deref()) {
            return self.resolve_key(raw, agent_id);
        }
        if let Some(raw) = session_id {
            return self.session_called(raw, agent_id).await;
        }
        if let Some(raw) = given(request.to.as_deref()).filter(|to| key::names_agent(to)) {
            return self.resolve_key(raw, agent_id);
        }
        if let Some(raw) = given(request.expected_session_id.as_deref())
            && let Some(found) = self.by_transcript(raw).await?
        {
            return self.resolve_key(found.as_str(), agent_id);
        }
        if let Some(id) = agent_id {
            let agent = self.named_agent(id)?.id.clone();
            return Ok((self.main_session(&agent), agent));
        }
        let agent = self.agent(&AgentChoice::Default)?.id.clone();
        let session = key::explicit(&agent, &request.idempotency_key)
            .map_err(|error| bad_key(error, &request.idempotency_key))?;
        Ok((session, agent))
    }

    /// The session whose transcript has this id, or that was made under this name, or that is to
    /// be made under it. The name alone decides the key, so that two first calls meet in one
    /// session.
    async fn session_called(
        &self,
        raw: &str,
        agent_id: Option<&str>,
    ) -> Result<(SessionKey, AgentId), DispatchError> {
        if let Some(found) = self.by_transcript(raw).await? {
            return self.resolve_key(found.as_str(), agent_id);
        }
        let under = |agent: &AgentId| {
            let key = key::explicit(agent, raw).map_err(bad_session_id)?;
            Ok::<_, DispatchError>((key, agent.clone()))
        };
        if let Some(id) = agent_id {
            return under(&self.named_agent(id)?.id);
        }
        let default = self
            .agent(&AgentChoice::Default)
            .map(|agent| agent.id.clone());
        let others = self.parts.agents.list();
        let others = others.iter().map(|entry| &entry.id);
        let others = others.filter(|id| default.as_ref().ok() != Some(id));
        for agent in default.iter().chain(others) {
            let found = under(agent)?;
            if self.parts.ledger.session(found.0.clone()).await?.is_some() {
                return Ok(found);
            }
        }
        under(&default?)
    }

    /// The key of the session with this transcript.
    async fn by_transcript(&self, raw: &str) -> Result<Option<SessionKey>, DispatchError> {
        let Ok(id) = uuid::Uuid::parse_str(raw) else {
            return Ok(None);
        };
        let id = SessionId::from_uuid(id);
        let found = self.parts.ledger.session_by_id(id).await?;
        Ok(found.map(|session| session.key))
    }
}

/// What is not blank; clients send blank members for what they do not mean.
pub(super) fn given(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}
