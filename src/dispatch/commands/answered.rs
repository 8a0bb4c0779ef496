//! The commands that were answered lately, so that one sent twice is carried out once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::dispatch::EndedRun;
use crate::session::IdempotencyScope;

/// Commands that are remembered. Beyond that those that were answered are forgotten; when none
/// was, no other command is taken.
const ANSWERED_MAX: usize = 256;

/// Who asked for which operation, and the key that was used.
type Key = (&'static str, Arc<str>, Arc<str>);

/// Commands by who asked and with which key.
#[derive(Clone, Debug, Default)]
pub(in crate::dispatch) struct Answered(Arc<Mutex<HashMap<Key, Given>>>);

#[derive(Clone, Debug)]
struct Given {
    fingerprint: [u8; 32],
    /// The answer; `None` while the command is carried out.
    answer: Option<EndedRun>,
}

/// What is known of a key.
#[derive(Debug)]
pub(super) enum Seen {
    /// Nothing; it is this caller's now.
    New(Reserved),
    /// Its command is being carried out.
    InFlight,
    /// Its command was answered.
    Answered(EndedRun),
    /// It was used for something else.
    Conflict,
    /// Too many commands are being carried out.
    Full,
}

/// A key whose command is being carried out; it is free again when this is dropped before there is
/// an answer.
#[derive(Debug)]
pub(super) struct Reserved {
    all: Answered,
    key: Key,
}

impl Answered {
    /// Looks a key up and takes it when it is new.
    pub(super) fn begin(&self, scope: &IdempotencyScope) -> Seen {
        let key = key_of(scope);
        let mut all = self.lock();
        if let Some(given) = all.get(&key) {
            return match &given.answer {
                _ if given.fingerprint != scope.fingerprint => Seen::Conflict,
                Some(answer) => Seen::Answered(answer.clone()),
                None => Seen::InFlight,
            };
        }
        if all.len() >= ANSWERED_MAX {
            all.retain(|_key, given| given.answer.is_none());
        }
        if all.len() >= ANSWERED_MAX {
            return Seen::Full;
        }
        let given = Given {
            fingerprint: scope.fingerprint,
            answer: None,
        };
        all.insert(key.clone(), given);
        Seen::New(Reserved {
            all: self.clone(),
            key,
        })
    }

    /// Whether the key was used for another command than this input.
    pub(in crate::dispatch) fn is_used_otherwise(&self, scope: &IdempotencyScope) -> bool {
        let all = self.lock();
        let given = all.get(&key_of(scope));
        given.is_some_and(|given| given.fingerprint != scope.fingerprint)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Given>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reserved {
    /// The command has its answer.
    pub(super) fn answered(self, answer: EndedRun) {
        let mut all = self.all.lock();
        if let Some(given) = all.get_mut(&self.key) {
            given.answer = Some(answer);
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let mut all = self.all.lock();
        if all
            .get(&self.key)
            .is_some_and(|given| given.answer.is_none())
        {
            all.remove(&self.key);
        }
    }
}

fn key_of(scope: &IdempotencyScope) -> Key {
    let (principal, key) = (Arc::clone(&scope.principal), Arc::clone(&scope.key));
    (scope.operation, principal, key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{SessionKey, WireId};
    use crate::run::{FinishReason, Outcome, Terminal};

    fn scope(key: &str, input: u8) -> IdempotencyScope {
        IdempotencyScope {
            operation: "chat",
            principal: "token".into(),
            key: key.into(),
            fingerprint: [input; 32],
        }
    }

    fn answer() -> EndedRun {
        let terminal = Terminal {
            outcome: Outcome::Ok(FinishReason::Stop),
            started_at_ms: Some(0),
            ended_at_ms: 0,
            usage: None,
        };
        EndedRun {
            wire_id: WireId::parse("r").unwrap(),
            session: SessionKey::from_canonical("agent:main:main"),
            terminal: Arc::new(terminal),
            text: "yes".to_owned(),
            calls: Vec::new(),
            reasoning: String::new(),
            record: None,
        }
    }

    #[test]
    fn a_key_stands_for_one_command_until_that_is_given_up() {
        let all = Answered::default();
        let Seen::New(reserved) = all.begin(&scope("k", 1)) else {
            panic!("the key is new");
        };
        assert!(matches!(all.begin(&scope("k", 1)), Seen::InFlight));
        assert!(matches!(all.begin(&scope("k", 2)), Seen::Conflict));
        assert!(all.is_used_otherwise(&scope("k", 2)));
        assert!(!all.is_used_otherwise(&scope("k", 1)));
        drop(reserved);
        assert!(matches!(all.begin(&scope("k", 2)), Seen::New(_)));
    }

    #[test]
    fn the_memory_is_bounded_and_keeps_what_is_under_way() {
        let all = Answered::default();
        let begin = |n: usize| all.begin(&scope(&n.to_string(), 1));
        let mut under_way: Vec<_> = (0..ANSWERED_MAX).map(begin).collect();
        assert!(matches!(begin(ANSWERED_MAX), Seen::Full));
        assert!(matches!(begin(0), Seen::InFlight));
        let Some(Seen::New(reserved)) = under_way.pop() else {
            panic!("every key was new");
        };
        reserved.answered(answer());
        let last = ANSWERED_MAX - 1;
        assert!(matches!(begin(last), Seen::Answered(_)));
        let next = begin(ANSWERED_MAX);
        assert!(matches!(next, Seen::New(_)));
        assert!(
            matches!(begin(last), Seen::Full),
            "the answered one is forgotten"
        );
        assert!(matches!(begin(0), Seen::InFlight));
        assert_eq!(all.lock().len(), ANSWERED_MAX);
    }
}
