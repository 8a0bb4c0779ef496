//! Reading transcripts, and putting messages into them.

use std::sync::Arc;

use crate::auth::Operation;
use crate::events::Notice;
use crate::ids::{EntryId, SessionKey};
use crate::run::{Entry, EntryBody};
use crate::session::{EntryRange, LedgerError, NewEntry, SessionRecord};

use super::{
    Caller, ChatInject, Dispatch, DispatchError, History, HistoryQuery, InFlight, Injected,
    MessageQuery,
};

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
                    history.waiting.push(Arc::clone(info));
                }
            } else if history.in_flight.is_none() {
                history.in_flight = Some(InFlight {
                    info: Arc::clone(info),
                    text: log.text(),
                    started_at_ms,
                });
            }
        }
        Ok(history)
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
