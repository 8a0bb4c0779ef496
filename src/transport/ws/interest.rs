//! Counts who follows what, so that nothing is made for nobody.
//!
//! Plain bookkeeping: the lock around it belongs to whoever keeps more under the same lock.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::ids::SessionKey;

/// What can be followed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Scope {
    /// Every session.
    Everything,
    /// One session.
    Session(SessionKey),
}

/// How many follow what.
#[derive(Debug, Default)]
pub(super) struct Interest {
    everything: usize,
    sessions: HashMap<SessionKey, usize>,
}

/// What was followed at some moment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Followed {
    /// Every session.
    Everything,
    /// These.
    Sessions(HashSet<SessionKey>),
}

impl Interest {
    /// Whether somebody follows everything.
    pub(super) const fn covers_everything(&self) -> bool {
        self.everything > 0
    }

    /// Whether somebody follows this session.
    pub(super) fn covers(&self, session: &SessionKey) -> bool {
        self.everything > 0 || self.sessions.contains_key(session)
    }

    /// What is followed now, as far as it overlaps with `scope`.
    pub(super) fn within(&self, scope: &Scope) -> Followed {
        match scope {
            _ if self.everything > 0 => Followed::Everything,
            Scope::Everything => Followed::Sessions(self.sessions.keys().cloned().collect()),
            Scope::Session(session) => {
                let known = self.sessions.get_key_value(session);
                Followed::Sessions(known.map(|(key, _)| key.clone()).into_iter().collect())
            }
        }
    }

    /// Counts one who follows `scope`.
    pub(super) fn add(&mut self, scope: &Scope) {
        match scope {
            Scope::Everything => self.everything += 1,
            Scope::Session(session) => {
                *self.sessions.entry(session.clone()).or_default() += 1;
            }
        }
    }

    /// Counts one less.
    pub(super) fn remove(&mut self, scope: &Scope) {
        match scope {
            Scope::Everything => self.everything -= 1,
            Scope::Session(session) => {
                if let Some(count) = self.sessions.get_mut(session) {
                    *count -= 1;
                    if *count == 0 {
                        self.sessions.remove(session);
                    }
                }
            }
        }
    }
}

impl Followed {
    /// Whether this session was followed.
    pub(super) fn covers(&self, session: &SessionKey) -> bool {
        match self {
            Self::Everything => true,
            Self::Sessions(sessions) => sessions.contains(session),
        }
    }
}

/// Counts who follows the list of sessions, or the messages of one.
#[derive(Debug, Default)]
pub(super) struct Followers(Mutex<Interest>);

impl Followers {
    /// Counts one who follows `scope` until the guard is dropped.
    pub(super) fn follow(self: &Arc<Self>, scope: Scope) -> Follow {
        self.with(|interest| interest.add(&scope));
        Follow {
            followers: Arc::clone(self),
            scope,
        }
    }

    /// Asks the counts.
    pub(super) fn with<T>(&self, ask: impl FnOnce(&mut Interest) -> T) -> T {
        // Nothing in here can panic half-way, so a poisoned lock still guards whole state.
        ask(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One who follows something.
#[derive(Debug)]
pub(super) struct Follow {
    followers: Arc<Followers>,
    scope: Scope,
}

impl Follow {
    /// What is followed.
    pub(super) const fn scope(&self) -> &Scope {
        &self.scope
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        self.followers.with(|interest| interest.remove(&self.scope));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(name: &str) -> SessionKey {
        SessionKey::from_canonical(name)
    }

    #[test]
    fn what_is_followed_is_counted_and_leaves_nothing_behind() {
        let followers = Arc::new(Followers::default());
        let covers = |name| followers.with(|interest| interest.covers(&session(name)));
        let first = followers.follow(Scope::Session(session("a")));
        let second = followers.follow(Scope::Session(session("a")));
        assert!(covers("a") && !covers("b"));
        drop(first);
        assert!(covers("a"));
        let all = followers.follow(Scope::Everything);
        drop(second);
        assert!(covers("a") && covers("b"));
        drop(all);
        assert!(!covers("a"));
        assert!(followers.with(|interest| interest.sessions.is_empty()));
    }

    #[test]
    fn a_newcomer_learns_what_was_followed_before() {
        let mut interest = Interest::default();
        let a = Scope::Session(session("a"));
        assert!(!interest.within(&Scope::Everything).covers(&session("a")));
        interest.add(&a);
        let within = interest.within(&Scope::Everything);
        assert!(within.covers(&session("a")) && !within.covers(&session("b")));
        let b = Scope::Session(session("b"));
        assert!(!interest.within(&b).covers(&session("b")));
        interest.add(&Scope::Everything);
        assert_eq!(interest.within(&b), Followed::Everything);
        assert!(interest.covers_everything());
    }
}
