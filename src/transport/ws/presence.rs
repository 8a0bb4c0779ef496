//! Who is connected, as `presence` events and snapshots show it (`protocol-facts` §2.6).
//!
//! Bounded: at most a fixed number of entries, oldest out first, and entries of clients that have
//! gone expire. Owns the version of the list.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::protocol::PresenceEntry;

/// How long the entry of a client that has gone stays.
const KEEP: Duration = Duration::from_mins(5);

/// Most entries beside the gateway's own.
const ENTRIES_MAX: usize = 200;

/// The list of who is connected.
#[derive(Debug)]
pub(super) struct Presence {
    own: PresenceEntry,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    /// Oldest first.
    slots: Vec<Slot>,
    version: u64,
    is_changed: bool,
}

#[derive(Debug)]
struct Slot {
    key: Arc<str>,
    entry: PresenceEntry,
    /// When the client went; `None` while it is connected.
    gone: Option<Instant>,
}

impl Presence {
    /// A list with only the gateway's own entry.
    pub(super) fn new(own: PresenceEntry) -> Self {
        Self {
            own,
            state: Mutex::new(State {
                slots: Vec::new(),
                version: 1,
                is_changed: false,
            }),
            changed: Notify::new(),
        }
    }

    /// Enters a client, or replaces its entry.
    pub(super) fn connect(&self, key: &Arc<str>, entry: PresenceEntry) {
        self.put(key, entry, None);
    }

    /// Enters somebody without a connection; the entry goes when it is not renewed.
    pub(super) fn note(&self, key: &Arc<str>, entry: PresenceEntry) {
        self.put(key, entry, Some(Instant::now()));
    }

    /// Notes that a client has gone.
    pub(super) fn disconnect(&self, key: &Arc<str>, now_ms: u64, now: Instant) {
        let mut state = self.lock();
        let Some(slot) = state.slots.iter_mut().find(|slot| slot.key == *key) else {
            return;
        };
        slot.entry.reason = Some("disconnect".into());
        slot.entry.ts = now_ms;
        slot.gone = Some(now);
        self.mark_changed(&mut state);
    }

    fn put(&self, key: &Arc<str>, entry: PresenceEntry, gone: Option<Instant>) {
        let mut state = self.lock();
        state.slots.retain(|slot| slot.key != *key);
        if state.slots.len() >= ENTRIES_MAX {
            let gone = state.slots.iter().position(|slot| slot.gone.is_some());
            state.slots.remove(gone.unwrap_or(0));
        }
        state.slots.push(Slot {
            key: Arc::clone(key),
            entry,
            gone,
        });
        self.mark_changed(&mut state);
    }

    fn mark_changed(&self, state: &mut State) {
        state.is_changed = true;
        self.changed.notify_one();
    }

    /// Waits until there is a change to be told.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn changed(&self) {
        while !self.lock().is_changed {
            self.changed.notified().await;
        }
    }

    /// Removes those who have gone for long.
    pub(super) fn expire(&self, now: Instant) {
        let mut state = self.lock();
        let before = state.slots.len();
        state
            .slots
            .retain(|slot| slot.gone.is_none_or(|gone| now < gone + KEEP));
        if state.slots.len() < before {
            self.mark_changed(&mut state);
        }
    }

    /// The entries, newest first, and the version of the list.
    pub(super) fn list(&self) -> (Vec<PresenceEntry>, u64) {
        let state = self.lock();
        let version = state.version;
        let mut entries = vec![self.own.clone()];
        entries.extend(state.slots.iter().map(|slot| slot.entry.clone()));
        drop(state);
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.ts));
        (entries, version)
    }

    /// The version of the list.
    pub(super) fn version(&self) -> u64 {
        self.lock().version
    }

    /// The list with its new version, if it has changed since the last call.
    pub(super) fn take_change(&self) -> Option<(Vec<PresenceEntry>, u64)> {
        let mut state = self.lock();
        if !state.is_changed {
            return None;
        }
        state.is_changed = false;
        state.version += 1;
        drop(state);
        Some(self.list())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(host: &str, ts: u64) -> PresenceEntry {
        PresenceEntry {
            host: Some(host.into()),
            ts,
            ..PresenceEntry::default()
        }
    }

    fn hosts(presence: &Presence) -> Vec<String> {
        let (entries, _version) = presence.list();
        entries
            .iter()
            .map(|entry| entry.host.as_deref().unwrap().to_owned())
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_comes_first_and_the_gateway_is_always_there() {
        let presence = Presence::new(entry("gateway", 1));
        assert_eq!(presence.take_change(), None);
        presence.connect(&"a".into(), entry("a", 2));
        presence.connect(&"b".into(), entry("b", 3));
        presence.connect(&"a".into(), entry("a2", 4));
        assert_eq!(hosts(&presence), ["a2", "b", "gateway"]);
        let (entries, version) = presence.take_change().unwrap();
        assert_eq!((entries.len(), version), (3, 2));
        assert_eq!(presence.take_change(), None);
        assert_eq!(presence.version(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_gone_expires_and_who_is_there_does_not() {
        let start = Instant::now();
        let presence = Presence::new(entry("gateway", 1));
        presence.connect(&"stays".into(), entry("stays", 2));
        presence.connect(&"goes".into(), entry("goes", 3));
        presence.disconnect(&"goes".into(), 5, start);
        presence.disconnect(&"unknown".into(), 5, start);
        let (entries, _version) = presence.take_change().unwrap();
        assert_eq!(entries[0].reason.as_deref(), Some("disconnect"));
        presence.expire(start + KEEP / 2);
        assert_eq!(presence.take_change(), None);
        presence.expire(start + KEEP);
        presence.changed().await;
        let (entries, version) = presence.take_change().unwrap();
        assert_eq!((entries.len(), version), (2, 3));
        assert_eq!(hosts(&presence), ["stays", "gateway"]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_list_is_bounded_and_those_who_have_gone_leave_first() {
        let presence = Presence::new(entry("gateway", 0));
        for (at, ts) in (0..ENTRIES_MAX).zip(0..) {
            presence.connect(&at.to_string().into(), entry(&at.to_string(), ts));
        }
        presence.disconnect(&"7".into(), 900, Instant::now());
        presence.connect(&"x".into(), entry("x", 901));
        presence.connect(&"y".into(), entry("y", 902));
        let hosts = hosts(&presence);
        assert_eq!(hosts.len(), ENTRIES_MAX + 1);
        for left in ["7", "0"] {
            assert!(!hosts.contains(&left.to_owned()), "{left}");
        }
    }
}
