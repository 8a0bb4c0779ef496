//! Newtypes for everything that has an identity, and the source that mints them.
//!
//! Owns the syntax of ids that are checked on construction. Must not know what an id is used for.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Longest wire id (idempotency key) a peer may choose, in bytes.
pub const WIRE_ID_BYTES_MAX: usize = 256;

/// Longest session key, in bytes (`design.md` §6).
pub const SESSION_KEY_BYTES_MAX: usize = 512;

/// Longest agent id, in bytes.
pub const AGENT_ID_BYTES_MAX: usize = 64;

/// An id that does not follow its grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is empty.
    #[error("the id is empty")]
    Empty,
    /// The text is longer than the id may be.
    #[error("the id is longer than {0} bytes")]
    TooLong(usize),
    /// The text holds a character the id may not hold.
    #[error("the id holds a character that is not allowed")]
    BadCharacter,
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps an id that was minted by an [`IdSource`] or read back from the ledger.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The id as a UUID.
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

uuid_id!(
    /// One execution of an agent; a UUIDv7, so ids sort by the time they were accepted.
    RunId
);
uuid_id!(
    /// One accepted socket that became a native connection, or one HTTP connection.
    ConnectionId
);
uuid_id!(
    /// One transcript: a session key gets a new one at every reset.
    SessionId
);
uuid_id!(
    /// One transcript entry.
    EntryId
);

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

text_id!(
    /// The id a peer knows a run by: its idempotency key, or `chatcmpl_<uuid>`.
    WireId
);
text_id!(
    /// A configured agent: `[a-z0-9][a-z0-9_-]{0,63}`, lower case.
    AgentId
);
text_id!(
    /// A canonical session key, as `session::key` makes it; it is also the key of the lane.
    SessionKey
);

impl WireId {
    /// Checks a peer's choice: 1 to 256 bytes without control characters.
    ///
    /// # Errors
    /// [`IdError`] when the text breaks that rule.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        bounded(text, WIRE_ID_BYTES_MAX)?;
        Ok(Self(text.into()))
    }
}

impl AgentId {
    /// Checks and lower-cases an agent id.
    ///
    /// # Errors
    /// [`IdError`] when the text is not in the grammar.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        bounded(text, AGENT_ID_BYTES_MAX)?;
        let mut bytes = text.bytes();
        let first = bytes.next().ok_or(IdError::Empty)?;
        let tail_fits = bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if !first.is_ascii_alphanumeric() || !tail_fits {
            return Err(IdError::BadCharacter);
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }
}

impl SessionKey {
    /// Wraps text that `session::key` has made canonical, or that the ledger stored.
    pub fn from_canonical(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }
}

fn bounded(text: &str, bytes_max: usize) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > bytes_max {
        return Err(IdError::TooLong(bytes_max));
    }
    if text.chars().any(char::is_control) {
        return Err(IdError::BadCharacter);
    }
    Ok(())
}

/// Where new ids come from; injected, so that a simulation can replay them.
pub trait IdSource: Send + Sync + fmt::Debug {
    /// A random id (UUIDv4).
    fn random(&self) -> Uuid;

    /// An id that sorts by time (UUIDv7) for the wall-clock millisecond `now_ms`.
    fn ordered(&self, now_ms: u64) -> Uuid;
}

/// Ids from the operating system's random source, asked for many ids at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemIds;

impl IdSource for SystemIds {
    fn random(&self) -> Uuid {
        uuid::Builder::from_random_bytes(Entropy::take()).into_uuid()
    }

    fn ordered(&self, now_ms: u64) -> Uuid {
        let [random @ .., _, _, _, _, _, _] = Entropy::take::<16>();
        uuid::Builder::from_unix_timestamp_millis(now_ms, &random).into_uuid()
    }
}

/// Random bytes in store, for each thread its own: a system call for every id would be a good part
/// of what a short run costs.
struct Entropy {
    store: [u8; Self::BYTES],
    left: usize,
}

impl Entropy {
    const BYTES: usize = 512;

    /// Takes random bytes out of the store and wipes them there.
    fn take<const N: usize>() -> [u8; N] {
        thread_local! {
            static ENTROPY: RefCell<Entropy> = const {
                RefCell::new(Entropy { store: [0; Entropy::BYTES], left: 0 })
            };
        }
        ENTROPY.with_borrow_mut(Self::next)
    }

    fn next<const N: usize>(&mut self) -> [u8; N] {
        if self.left < N {
            getrandom::fill(&mut self.store).expect("the operating system gives random bytes");
            self.left = Self::BYTES;
        }
        let (rest, taken) = self
            .store
            .get_mut(..self.left)
            .and_then(|left| left.split_last_chunk_mut())
            .expect("the store was just filled");
        self.left = rest.len();
        std::mem::replace(taken, [0; N])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_agent(text: &str, expected: Result<&str, IdError>) {
        let parsed = AgentId::parse(text);
        assert_eq!(
            parsed.as_ref().map(AgentId::as_str).map_err(|e| *e),
            expected,
            "{text:?}"
        );
    }

    #[test]
    fn agent_ids_follow_the_grammar_and_are_lower_case() {
        check_agent("main", Ok("main"));
        check_agent("Beta_2-x", Ok("beta_2-x"));
        check_agent("", Err(IdError::Empty));
        check_agent("-x", Err(IdError::BadCharacter));
        check_agent("a b", Err(IdError::BadCharacter));
        check_agent("ä", Err(IdError::BadCharacter));
        check_agent(&"a".repeat(64), Ok(&"a".repeat(64)));
        check_agent(&"a".repeat(65), Err(IdError::TooLong(64)));
    }

    #[test]
    fn wire_ids_are_bounded_and_hold_no_control_characters() {
        assert!(WireId::parse(&"k".repeat(256)).is_ok());
        assert_eq!(
            WireId::parse(&"k".repeat(257)).unwrap_err(),
            IdError::TooLong(256)
        );
        assert_eq!(WireId::parse("a\nb").unwrap_err(), IdError::BadCharacter);
    }

    #[test]
    fn ordered_ids_sort_by_time() {
        let ids = SystemIds;
        assert!(ids.ordered(1_000) < ids.ordered(2_000));
    }

    #[test]
    fn ids_are_of_their_version_and_never_repeat() {
        let ids = SystemIds;
        let mut seen = std::collections::HashSet::new();
        for n in 0..10_000 {
            let (random, ordered) = (ids.random(), ids.ordered(n));
            assert_eq!(
                (random.get_version_num(), ordered.get_version_num()),
                (4, 7)
            );
            assert!(seen.insert(random) && seen.insert(ordered));
        }
    }

    #[test]
    fn random_bytes_are_wiped_once_they_are_taken() {
        let mut entropy = Entropy {
            store: [0; Entropy::BYTES],
            left: 0,
        };
        let first = entropy.next::<16>();
        assert_ne!(first, [0; 16]);
        assert_eq!(entropy.left, Entropy::BYTES - 16);
        assert!(entropy.store.ends_with(&[0; 16]));
    }
}
