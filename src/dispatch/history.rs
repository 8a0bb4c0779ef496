//! Reading transcripts, and putting messages into them.

use std::sync::Arc;

use crate::auth::Operation;
use crate::events::{ChangeReason, Notice};
use crate::ids::{EntryId, SessionKey};
use crate::run::{Entry, EntryBody};
use crate::session::{EntryRange, LedgerError, NewEntry, SessionPatch, SessionRecord};

use super::{
    Caller, ChatInject, Dispatch, DispatchError, History, HistoryQuery, InFlight, Injected,
    MessageQuery, WaitingInput,
};

/// Runs without an end whose input is read for a transcript: more than a client is shown.
const INPUTS_MAX: u32 = 32;

/// What stands before a message about something that happened elsewhere.
const SYSTEM_LABEL: &str = "System";

impl Dispatch {
    /// Reads part of a transcript. A session that does not exist is an empty one.
    ///
    /// # Errors
    /// A malformed key, a failing ledger.
    pub async fn chat_history(
        &self,
        caller: &Caller,
        query: HistoryQuery,
    ) -> Result<History, DispatchError> {
        self.require(caller, Operation::Method("chat.history"))?;
        let (key, _agent) = self.resolve_key(&query.session_key, query.agent_id.as_deref())?;
        // Live runs are looked at first: one that starts or ends meanwhile is then in the
        // transcript too, so that no message is in neither.
        let live = self.parts.logs.live_in(&key).into_iter();
        let live: Vec<_> = live.map(|log| (log.started_at_ms(), log)).collect();
        let skip = match &query.around {
            Some(message) => self.skip_to(&key, message, query.limit).await?,
            None => query.skip,
        };
        let limit = query.limit;
        let range = match query.after {
            Some(cursor) => EntryRange::After { n: cursor.n, limit },
            None => EntryRange::Newest { skip, limit },
        };
        let page = self.parts.ledger.entries(key.clone(), range).await?;
        let session = self.parts.ledger.session(key.clone()).await?;
        let mut history = History {
            key,
            session,
            entries: Vec::new(),
            total: 0,
            skip,
            in_flight: None,
            waiting: Vec::new(),
            reset: query.after.is_some(),
        };
        if let Some(page) = page {
            history.reset = query.after.is_some_and(|cursor| {
                cursor.session_id != page.session_id || cursor.n > page.total
            });
            history.total = page.total;
            history.entries = page.entries;
        }
        for (started_at_ms, log) in live {
            let info = log.info();
            if started_at_ms.is_none() {
                let is_placed = |entry: &Entry| entry.run == Some(info.run_id);
                if !history.entries.iter().any(is_placed) {
                    history.waiting.push(WaitingInput {
                        info: Arc::clone(info),
                        id: None,
                        text: String::new(),
                    });
                }
            } else if history.in_flight.is_none() {
                history.in_flight = Some(InFlight {
                    info: Arc::clone(info),
                    text: log.text(),
                    started_at_ms,
                });
            }
        }
        if !history.waiting.is_empty() {
            self.read_inputs(&mut history).await?;
        }
        Ok(history)
    }

    /// Reads what the first runs that wait were asked.
    async fn read_inputs(&self, history: &mut History) -> Result<(), DispatchError> {
        let key = history.key.clone();
        let open = self.parts.ledger.open_runs_of(key, INPUTS_MAX).await?;
        for waiting in &mut history.waiting {
            let run_id = waiting.info.run_id;
            let stored = open.iter().find(|run| run.record.run_id == run_id);
            let input = stored.map(|run| run.input.as_slice()).unwrap_or_default();
            waiting.id = input.first().map(|entry| entry.id);
            let texts = input.iter().filter_map(|entry| match &entry.body {
                EntryBody::User { text, .. } => Some(text.as_str()),
                EntryBody::Assistant { .. }
                | EntryBody::Tool { .. }
                | EntryBody::ToolResult { .. }
                | EntryBody::Injected { .. }
                | EntryBody::Command { .. }
                | EntryBody::Compaction { .. } => None,
            });
            waiting.text = texts.collect::<Vec<_>>().join("\n\n");
        }
        Ok(())
    }

    /// One entry of a session's transcript; `None` when it is not there.
    ///
    /// # Errors
    /// A malformed key, a failing ledger.
    pub async fn chat_message(
        &self,
        caller: &Caller,
        query: MessageQuery,
    ) -> Result<Option<Entry>, DispatchError> {
        self.require(caller, Operation::Method("chat.message.get"))?;
        let (key, _agent) = self.resolve_key(&query.session_key, query.agent_id.as_deref())?;
        let Some((_session, n)) = self.place_of(&key, &query).await? else {
            return Ok(None);
        };
        let range = EntryRange::After {
            n: n.saturating_sub(1),
            limit: 1,
        };
        let page = self.parts.ledger.entries(key, range).await?;
        let entry = page.and_then(|page| page.entries.into_iter().next());
        // Between the two reads the session may have got another transcript.
        Ok(entry.filter(|entry| entry.id.to_string() == query.entry_id))
    }

    /// How many of the newest entries come behind a page with this message in its middle.
    async fn skip_to(
        &self,
        key: &SessionKey,
        message: &MessageQuery,
        limit: u32,
    ) -> Result<u64, DispatchError> {
        let place = self.place_of(key, message).await?;
        Ok(place.map_or(0, |(session, n)| {
            let behind = session.entries.saturating_sub(n);
            behind.saturating_sub(u64::from(limit / 2))
        }))
    }

    /// The session a message is in, and where it stands.
    async fn place_of(
        &self,
        key: &SessionKey,
        message: &MessageQuery,
    ) -> Result<Option<(SessionRecord, u64)>, DispatchError> {
        let Ok(id) = uuid::Uuid::parse_str(&message.entry_id) else {
            return Ok(None);
        };
        let ledger = &self.parts.ledger;
        let session = ledger.session(key.clone()).await?;
        let expected = message.session_id.as_deref();
        let is_meant = |session: &SessionRecord| {
            expected.is_none_or(|expected| session.session_id.to_string() == expected)
        };
        let Some(session) = session.filter(is_meant) else {
            return Ok(None);
        };
        let place = ledger.position(key.clone(), EntryId::from_uuid(id)).await?;
        Ok(place.map(|n| (session, n)))
    }

    /// Puts what happened elsewhere into a session, so that its agent knows of it with the next
    /// turn; the session is made when it does not exist. `operation` is the method that tells it.
    ///
    /// # Errors
    /// A missing scope, a failing ledger.
    pub async fn system_event(
        &self,
        caller: &Caller,
        operation: Operation<'_>,
        session: &SessionKey,
        text: String,
    ) -> Result<(), DispatchError> {
        self.require(caller, operation)?;
        self.accepting()?;
        let (key, agent) = self.resolve_key(session.as_str(), None)?;
        if self.parts.ledger.session(key.clone()).await?.is_none() {
            let patch = SessionPatch::default();
            self.write_settings(key.clone(), agent, patch, ChangeReason::Create)
                .await?;
        }
        let request = ChatInject {
            session_key: key.as_str().to_owned(),
            agent_id: None,
            message: text,
            label: Some(SYSTEM_LABEL.to_owned()),
        };
        self.inject(request).await.map(drop)
    }

    /// Appends an assistant message to a transcript.
    ///
    /// # Errors
    /// No such session, a failing ledger.
    pub async fn chat_inject(
        &self,
        caller: &Caller,
        request: ChatInject,
    ) -> Result<Injected, DispatchError> {
        self.require(caller, Operation::Method("chat.inject"))?;
        self.accepting()?;
        self.inject(request).await
    }

    async fn inject(&self, request: ChatInject) -> Result<Injected, DispatchError> {
        let (key, agent) = self.resolve_key(&request.session_key, request.agent_id.as_deref())?;
        let now_ms = self.parts.clock.now_ms();
        let entry = NewEntry {
            id: EntryId::from_uuid(self.parts.ids.ordered(now_ms)),
            body: EntryBody::Injected {
                label: request.label,
                text: request.message,
            },
            at_ms: now_ms,
        };
        let ledger = &self.parts.ledger;
        let appended = ledger.append(ledger.lease(), key.clone(), entry).await;
        let entry = match appended {
            Ok(entry) => Arc::new(entry),
            Err(LedgerError::NotFound) => {
                return Err(DispatchError::SessionNotFound(request.session_key));
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(session) = ledger.session(key.clone()).await? {
            self.parts.bus.publish(Notice::Message {
                session: key.clone(),
                agent,
                session_id: session.session_id,
                entry: Arc::clone(&entry),
            });
        }
        Ok(Injected {
            id: entry.id,
            key,
            entry,
        })
    }
}
