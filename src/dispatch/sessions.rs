//! Listing, finding, changing, resetting and deleting sessions.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use crate::auth::{CallFacts, Operation};
use crate::events::{ChangeReason, Notice, Subscription};
use crate::ids::{AgentId, SessionId, SessionKey};
use crate::run::{AbortCause, Entry, EntryBody};
use crate::session::{
    EntryRange, LedgerError, SessionPage, SessionPatch, SessionQuery, SessionRecord, SessionTarget,
    key,
};

use super::runs::expected;
use super::{
    Caller, Dispatch, DispatchError, SessionDelete, SessionList, SessionName, SessionReset,
    SessionTexts, SessionView, SessionsPage, settings,
};

/// Most sessions one page has.
const PAGE_MAX: u32 = 1000;

/// How long a reset or delete waits for the session's runs.
const RUNS_END_MAX: Duration = Duration::from_secs(15);

impl Dispatch {
    /// Lists sessions, newest first.
    ///
    /// # Errors
    /// An unknown agent, a failing ledger.
    pub async fn sessions_list(
        &self,
        caller: &Caller,
        list: SessionList,
    ) -> Result<SessionsPage, DispatchError> {
        self.require(caller, Operation::Method("sessions.list"))?;
        let query = self.session_query(&list)?;
        let page = if list.active_only {
            self.active_sessions(&query).await?
        } else {
            self.parts.ledger.list_sessions(query).await?
        };
        let mut sessions = Vec::with_capacity(page.sessions.len());
        for record in page.sessions {
            sessions.push(self.view(record, list.texts).await?);
        }
        Ok(SessionsPage {
            sessions,
            total: page.total,
        })
    }

    /// What a list asks the ledger for.
    pub(super) fn session_query(&self, list: &SessionList) -> Result<SessionQuery, DispatchError> {
        let agent = list
            .agent_id
            .as_deref()
            .map(|id| self.named_agent(id))
            .transpose()?;
        let updated_since_ms = list.active_minutes.map(|minutes| {
            self.parts
                .clock
                .now_ms()
                .saturating_sub(minutes.saturating_mul(60_000))
        });
        Ok(SessionQuery {
            agent: agent.map(|agent| agent.id.clone()),
            updated_since_ms,
            label: list.label.clone(),
            search: list.search.clone(),
            archived: list.archived,
            pinned: list.pinned,
            offset: list.offset,
            limit: list.limit.min(PAGE_MAX),
        })
    }

    /// Sessions whose runs wait or are active, newest first.
    async fn active_sessions(&self, query: &SessionQuery) -> Result<SessionPage, DispatchError> {
        let live = self.parts.logs.live();
        let agent = query.agent.as_ref();
        let infos = live.iter().map(|log| log.info());
        let infos = infos.filter(|info| agent.is_none_or(|agent| info.agent == *agent));
        let keys: BTreeSet<_> = infos.map(|info| info.session.clone()).collect();
        let mut found = Vec::new();
        for key in keys {
            let record = self.parts.ledger.session(key).await?;
            found.extend(record.filter(|record| query.matches(record)));
        }
        found.sort_by_key(|record| Reverse(record.updated_at_ms));
        let total = u64::try_from(found.len()).unwrap_or(u64::MAX);
        let skip = usize::try_from(query.offset).unwrap_or(usize::MAX);
        let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
        Ok(SessionPage {
            sessions: found.into_iter().skip(skip).take(limit).collect(),
            total,
        })
    }

    /// One session with its active runs; `None` when it does not exist.
    ///
    /// # Errors
    /// A malformed key, a failing ledger.
    pub async fn session(
        &self,
        caller: &Caller,
        key: &str,
        agent_id: Option<&str>,
        texts: SessionTexts,
    ) -> Result<Option<SessionView>, DispatchError> {
        self.require(caller, Operation::Method("sessions.describe"))?;
        let (key, _agent) = self.resolve_key(key, agent_id)?;
        match self.parts.ledger.session(key).await? {
            Some(record) => self.view(record, texts).await.map(Some),
            None => Ok(None),
        }
    }

    /// Finds sessions by key, id or label; several only for an ambiguous label or id.
    ///
    /// # Errors
    /// A malformed key, a failing ledger.
    pub async fn sessions_resolve(
        &self,
        caller: &Caller,
        name: SessionName,
        agent_id: Option<&str>,
    ) -> Result<Vec<SessionRecord>, DispatchError> {
        self.require(caller, Operation::Method("sessions.resolve"))?;
        let agent = agent_id.map(|id| self.named_agent(id)).transpose()?;
        let mut found = match name {
            SessionName::Key(raw) => {
                let (key, _agent) = self.resolve_key(&raw, agent_id)?;
                self.parts.ledger.session(key).await?.into_iter().collect()
            }
            SessionName::Id(raw) => match uuid::Uuid::parse_str(&raw) {
                Ok(id) => {
                    let id = SessionId::from_uuid(id);
                    self.parts
                        .ledger
                        .session_by_id(id)
                        .await?
                        .into_iter()
                        .collect()
                }
                Err(_not_an_id) => Vec::new(),
            },
            SessionName::Label(label) => {
                let query = SessionQuery {
                    label: Some(label),
                    limit: PAGE_MAX,
                    ..SessionQuery::default()
                };
                self.parts.ledger.list_sessions(query).await?.sessions
            }
        };
        found.retain(|session| agent.as_ref().is_none_or(|agent| session.agent == agent.id));
        Ok(found)
    }

    /// Changes settings of a session, making it when it does not exist.
    ///
    /// # Errors
    /// A bad setting, a label in use, a failing ledger.
    pub async fn sessions_patch(
        &self,
        caller: &Caller,
        key: &str,
        agent_id: Option<&str>,
        patch: SessionPatch,
    ) -> Result<SessionRecord, DispatchError> {
        self.require(caller, patch_operation(&field_names(&patch), &patch))?;
        self.accepting()?;
        let (key, agent) = self.resolve_key(key, agent_id)?;
        settings::check(&patch, &agent, &*self.parts.agents)?;
        self.write_settings(key, agent, patch, ChangeReason::Patch)
            .await
    }

    /// Writes settings that were checked, making the session when it does not exist.
    pub(super) async fn write_settings(
        &self,
        key: SessionKey,
        agent: AgentId,
        patch: SessionPatch,
        reason: ChangeReason,
    ) -> Result<SessionRecord, DispatchError> {
        let target = self.target(key.clone(), agent.clone(), None);
        let record = self
            .parts
            .ledger
            .patch_session(target, patch)
            .await
            .map_err(of_label)?;
        self.publish_change(key, agent, reason);
        Ok(record)
    }

    /// Stops the session's runs and gives it a new, empty transcript.
    ///
    /// # Errors
    /// Runs that do not end, an unexpected transcript, a failing ledger.
    pub async fn sessions_reset(
        &self,
        caller: &Caller,
        request: SessionReset,
    ) -> Result<SessionRecord, DispatchError> {
        self.require(caller, Operation::Method("sessions.reset"))?;
        self.accepting()?;
        let (key, agent) = self.resolve_key(&request.session_key, request.agent_id.as_deref())?;
        let expected = expected(request.expected_session_id.as_deref(), &key)?;
        self.end_runs(&key).await?;
        let target = self.target(key.clone(), agent.clone(), expected);
        let record = self.parts.ledger.reset_session(target).await;
        let record = record.map_err(|error| of_transcript(error, &key))?;
        self.publish_change(key, agent, request.reason);
        Ok(record)
    }

    /// Stops the session's runs and removes it; `None` when it did not exist, or is not archived
    /// although only an archived one may go.
    ///
    /// # Errors
    /// The main session, runs that do not end, an unexpected transcript, a failing ledger.
    pub async fn sessions_delete(
        &self,
        caller: &Caller,
        request: SessionDelete,
    ) -> Result<Option<SessionRecord>, DispatchError> {
        let facts = CallFacts {
            archived_only: request.archived_only,
            ..CallFacts::default()
        };
        self.require(caller, Operation::Call("sessions.delete", facts))?;
        self.accepting()?;
        let (key, agent) = self.resolve_key(&request.session_key, request.agent_id.as_deref())?;
        if key::is_main(&key, &agent, &self.parts.config.main_key()) {
            return Err(DispatchError::DeleteMain(key));
        }
        let expected = expected(request.expected_session_id.as_deref(), &key)?;
        let ledger = &self.parts.ledger;
        if request.archived_only {
            let found = ledger.session(key.clone()).await?;
            let archived = found.as_ref().and_then(|it| it.settings.get("archived"));
            if archived != Some(&Value::Bool(true)) {
                return Ok(None);
            }
        }
        self.end_runs(&key).await?;
        let removed = ledger
            .delete_session(ledger.lease(), key.clone(), expected)
            .await;
        let removed = removed.map_err(|error| of_transcript(error, &key))?;
        if removed.is_some() {
            self.publish_change(key, agent, ChangeReason::Delete);
        }
        Ok(removed)
    }

    pub(super) fn target(
        &self,
        key: SessionKey,
        agent: AgentId,
        expected_session_id: Option<SessionId>,
    ) -> SessionTarget {
        SessionTarget {
            lease: self.parts.ledger.lease(),
            key,
            agent,
            new_session_id: SessionId::from_uuid(self.parts.ids.random()),
            expected_session_id,
            at_ms: self.parts.clock.now_ms(),
        }
    }

    pub(super) fn publish_change(&self, session: SessionKey, agent: AgentId, reason: ChangeReason) {
        self.parts.bus.publish(Notice::SessionChanged {
            session,
            agent,
            reason,
        });
    }

    /// Stops every run of the session and waits until the last has ended.
    async fn end_runs(&self, key: &SessionKey) -> Result<(), DispatchError> {
        let deadline = Instant::now() + RUNS_END_MAX;
        loop {
            let live = self.parts.logs.live_in(key);
            let Some(first) = live.first() else {
                return Ok(());
            };
            let mut reader = Subscription::from_start(Arc::clone(first));
            self.abort(live.into_iter().rev().collect(), AbortCause::SessionEnded)
                .await;
            tokio::select! {
                biased;
                _ended = reader.ended() => {}
                () = sleep_until(deadline) => {
                    return Err(DispatchError::SessionActive(key.clone()));
                }
            }
            if Instant::now() >= deadline {
                return Err(DispatchError::SessionActive(key.clone()));
            }
            // The log leaves the list right after its terminal.
            tokio::task::yield_now().await;
        }
    }

    pub(super) async fn view(
        &self,
        record: SessionRecord,
        texts: SessionTexts,
    ) -> Result<SessionView, DispatchError> {
        let live = self.parts.logs.live_in(&record.key);
        let active = live.iter().map(|log| Arc::clone(log.info())).collect();
        let wants_title = texts.title && record.label.is_none();
        let first = EntryRange::After { n: 0, limit: 1 };
        let last = EntryRange::Newest { skip: 0, limit: 1 };
        let first_text = self
            .one_text(&record.key, wants_title.then_some(first))
            .await?;
        let last_text = self
            .one_text(&record.key, texts.last_message.then_some(last))
            .await?;
        Ok(SessionView {
            record,
            active,
            first_text,
            last_text,
        })
    }

    async fn one_text(
        &self,
        key: &SessionKey,
        range: Option<EntryRange>,
    ) -> Result<Option<String>, DispatchError> {
        let Some(range) = range else { return Ok(None) };
        let page = self.parts.ledger.entries(key.clone(), range).await?;
        Ok(page
            .and_then(|page| page.entries.into_iter().next())
            .map(text_of))
    }
}

fn text_of(entry: Entry) -> String {
    match entry.body {
        EntryBody::User { text, .. }
        | EntryBody::Assistant { text, .. }
        | EntryBody::ToolResult { text, .. }
        | EntryBody::Injected { text, .. }
        | EntryBody::Command { text, .. } => text,
        EntryBody::Tool { name, .. } => name,
        EntryBody::Compaction { summary, .. } => summary,
    }
}

fn field_names(patch: &SessionPatch) -> Vec<&str> {
    let label = patch.label.as_ref().map(|_label| "label");
    label
        .into_iter()
        .chain(patch.settings.keys().map(String::as_str))
        .collect()
}

fn patch_operation<'a>(fields: &'a [&'a str], patch: &'a SessionPatch) -> Operation<'a> {
    let permission_mode = patch
        .settings
        .get("permissionMode")
        .and_then(|mode| mode.as_str());
    Operation::Call(
        "sessions.patch",
        CallFacts {
            fields,
            permission_mode,
            ..CallFacts::default()
        },
    )
}

fn of_label(error: LedgerError) -> DispatchError {
    match error {
        LedgerError::LabelInUse { label } => DispatchError::LabelInUse(label),
        other => DispatchError::Ledger(other),
    }
}

pub(super) fn of_transcript(error: LedgerError, key: &SessionKey) -> DispatchError {
    match error {
        LedgerError::SessionChanged { .. } | LedgerError::NotFound => {
            DispatchError::SessionChanged(key.clone())
        }
        other => DispatchError::Ledger(other),
    }
}
