//! Which version of the dialect a connection speaks.

use serde::{Deserialize, Serialize};

/// A version of the dialect; ordered by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum Protocol {
    /// Version 3, as clients of early 2026 speak it.
    V3,
    /// Version 4, the current one.
    V4,
}

impl Protocol {
    /// The version a mismatch names as expected.
    pub const CURRENT: Self = Self::V4;

    /// The oldest version that is served.
    pub const OLDEST: Self = Self::V3;

    /// The number on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Self::V3 => 3,
            Self::V4 => 4,
        }
    }

    /// The newest version inside a client's range, both ends included (`protocol-facts` §2.4).
    pub fn negotiate(min: u64, max: u64) -> Option<Self> {
        [Self::V4, Self::V3]
            .into_iter()
            .find(|version| (min..=max).contains(&u64::from(version.number())))
    }
}

impl From<Protocol> for u8 {
    fn from(version: Protocol) -> Self {
        version.number()
    }
}

/// A version number that is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("protocol version {0} is not served")]
pub struct UnknownProtocol(u8);

impl TryFrom<u8> for Protocol {
    type Error = UnknownProtocol;

    fn try_from(number: u8) -> Result<Self, UnknownProtocol> {
        match number {
            3 => Ok(Self::V3),
            4 => Ok(Self::V4),
            other => Err(UnknownProtocol(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(min: u64, max: u64, expected: Option<Protocol>) {
        assert_eq!(Protocol::negotiate(min, max), expected, "{min}..={max}");
    }

    #[test]
    fn the_newest_common_version_is_chosen() {
        check(4, 4, Some(Protocol::V4));
        check(3, 5, Some(Protocol::V4));
        check(1, u64::MAX, Some(Protocol::V4));
        check(3, 3, Some(Protocol::V3));
        check(1, 3, Some(Protocol::V3));
        check(1, 2, None);
        check(5, 99, None);
        check(5, 3, None);
    }
}
