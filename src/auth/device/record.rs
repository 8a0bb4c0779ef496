//! What is kept of a device: its pairing, its tokens and what it asks for. Plain data.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::auth::scope::{Role, ScopeSet};
use crate::auth::secret::{OfferedDigest, SecretDigest};

/// Longest text about a device that is kept, in bytes; the rest is cut off.
const FACT_BYTES_MAX: usize = 256;

/// Texts that are one token at the same time: a device gets a new one whenever it connects without
/// showing its last, and what it got in another window shortly before must still work.
const DIGESTS_MAX: usize = 4;

/// A device, as it is read and written as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its id.
    pub id: Arc<str>,
    /// The change that wrote it; 0 when it is not stored.
    pub revision: u64,
    /// Its pairing, once it is paired.
    pub paired: Option<PairedDevice>,
    /// What it asks for, while that is undecided.
    pub request: Option<PairRequest>,
}

impl Device {
    /// A device that is not stored.
    pub const fn unknown(id: Arc<str>) -> Self {
        Self {
            id,
            revision: 0,
            paired: None,
            request: None,
        }
    }
}

/// What a device says about itself, cut to a length that can be kept and shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceFacts {
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<Arc<str>>,
    /// The operating system or browser platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Arc<str>>,
    /// The family of the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_family: Option<Arc<str>>,
    /// The program that connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<Arc<str>>,
    /// What it connected for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_mode: Option<Arc<str>>,
    /// The origin of the page it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub browser_origin: Option<Arc<str>>,
    /// The address it connected from, unless that is this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_ip: Option<Arc<str>>,
}

/// Makes a text fit to be kept and shown: no control characters, which a terminal would obey, and
/// not too long. `None` when nothing is left.
pub(in crate::auth) fn fact(text: &str) -> Option<Arc<str>> {
    let clean: String = text.chars().filter(|c| !c.is_control()).collect();
    let clean = clean.trim();
    let end = clean.floor_char_boundary(FACT_BYTES_MAX);
    let kept = clean.get(..end).unwrap_or_default();
    (!kept.is_empty()).then(|| kept.into())
}

/// The pairing of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PairedDevice {
    /// Its key, in base64url.
    pub public_key: Arc<str>,
    /// What it says about itself; kind and platform as they were approved.
    pub facts: DeviceFacts,
    /// A name an operator gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<Arc<str>>,
    /// What it was approved to act as, the last one first.
    pub roles: Vec<Role>,
    /// What it was approved to do.
    pub scopes: ScopeSet,
    /// Who approved it last.
    pub approved_via: ApprovedVia,
    /// When it was first paired, in wall-clock milliseconds.
    pub created_at_ms: u64,
    /// When it was last approved.
    pub approved_at_ms: u64,
    /// When it last connected; `None` before it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen_at_ms: Option<u64>,
    /// Its tokens, at most one per role.
    #[serde(skip)]
    pub tokens: Vec<DeviceToken>,
}

impl PairedDevice {
    /// Its token for a role, withdrawn or not.
    pub(in crate::auth) fn token(&self, role: Role) -> Option<&DeviceToken> {
        self.tokens.iter().find(|token| token.role == role)
    }

    pub(in crate::auth) fn token_mut(&mut self, role: Role) -> Option<&mut DeviceToken> {
        self.tokens.iter_mut().find(|token| token.role == role)
    }

    /// Whether it may act as this: approved, and its token for it not withdrawn.
    pub(in crate::auth) fn may_act_as(&self, role: Role) -> bool {
        let is_withdrawn = self.token(role).is_some_and(DeviceToken::is_revoked);
        self.roles.contains(&role) && !is_withdrawn
    }
}

/// Who approved a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApprovedVia {
    /// Nobody: it connected from this machine with the shared secret.
    Silent,
    /// An operator.
    Operator,
}

impl ApprovedVia {
    /// The wire name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Operator => "operator",
        }
    }
}

/// The token of a device for one role. Its text is known to the device only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceToken {
    /// What its bearer acts as.
    pub role: Role,
    /// The digests of every text that is this token, the newest first; none when nobody was told
    /// it.
    pub digests: Vec<SecretDigest>,
    /// What its bearer may do.
    pub scopes: ScopeSet,
    /// When it was made, in wall-clock milliseconds.
    pub created_at_ms: u64,
    /// When it was last replaced.
    pub rotated_at_ms: Option<u64>,
    /// When it was withdrawn.
    pub revoked_at_ms: Option<u64>,
    /// When it was last used.
    pub last_used_at_ms: Option<u64>,
}

impl DeviceToken {
    /// A token that never existed before, or that replaces `old` with all its texts.
    pub(in crate::auth) fn replacing(
        old: Option<&Self>,
        role: Role,
        scopes: &ScopeSet,
        now_ms: u64,
    ) -> Self {
        Self {
            role,
            digests: Vec::new(),
            scopes: scopes.sorted(),
            created_at_ms: old.map_or(now_ms, |old| old.created_at_ms),
            rotated_at_ms: old.map(|_| now_ms),
            revoked_at_ms: None,
            last_used_at_ms: None,
        }
    }

    /// Whether it was withdrawn.
    pub(in crate::auth) const fn is_revoked(&self) -> bool {
        self.revoked_at_ms.is_some()
    }

    /// When the token as it is came to be.
    pub(in crate::auth) fn issued_at_ms(&self) -> u64 {
        self.rotated_at_ms.unwrap_or(self.created_at_ms)
    }

    /// Takes another text as this token; the oldest of too many is forgotten.
    pub(in crate::auth) fn add(&mut self, digest: SecretDigest) {
        self.digests.insert(0, digest);
        self.digests.truncate(DIGESTS_MAX);
    }

    /// Whether what was offered is one of its texts. Looks at every one of them.
    pub(in crate::auth) fn matches(&self, offered: &OfferedDigest) -> bool {
        self.digests
            .iter()
            .fold(false, |found, digest| digest.matches(offered) | found)
    }
}

/// What a device asks for, while that is undecided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PairRequest {
    /// Names the request; another one stands for another request.
    pub request_id: Arc<str>,
    /// Its key, in base64url.
    pub public_key: Arc<str>,
    /// What it says about itself.
    pub facts: DeviceFacts,
    /// What it wants to act as, the last one first.
    pub roles: Vec<Role>,
    /// What it wants to do.
    pub scopes: ScopeSet,
    /// Whether it is paired already.
    pub is_repair: bool,
    /// When it was made or last repeated, in wall-clock milliseconds.
    pub at_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::secret::{Minted, Offered};

    fn check_fact(text: &str, expected: Option<&str>) {
        assert_eq!(fact(text).as_deref(), expected, "{text:?}");
    }

    #[test]
    fn facts_are_short_and_harmless_on_a_terminal() {
        check_fact("Anna's phone", Some("Anna's phone"));
        check_fact("  \u{1b}[31mred\n ", Some("[31mred"));
        check_fact("", None);
        check_fact(" \t\u{7}", None);
        check_fact(&"ä".repeat(200), Some(&"ä".repeat(128)));
        check_fact(&"a".repeat(256), Some(&"a".repeat(256)));
    }

    #[test]
    fn a_token_has_a_few_texts_and_forgets_the_oldest() {
        let mut token = DeviceToken::replacing(None, Role::Operator, &ScopeSet::full(), 5);
        let texts: Vec<_> = (0..6).map(|_| Minted::new().unwrap()).collect();
        for text in &texts {
            token.add(text.digest());
        }
        let works = |text: &Minted| token.matches(&Offered::new(text.expose()).digest());
        let working: Vec<_> = texts.iter().map(works).collect();
        assert_eq!(working, [false, false, true, true, true, true]);
    }

    #[test]
    fn a_replaced_token_knows_when_it_was_first_made_and_no_old_text() {
        let scopes: ScopeSet = ["operator.write", "operator.read"].into_iter().collect();
        let mut first = DeviceToken::replacing(None, Role::Operator, &scopes, 5);
        first.add(Minted::new().unwrap().digest());
        first.revoked_at_ms = Some(6);
        assert_eq!((first.created_at_ms, first.issued_at_ms()), (5, 5));
        let names: Vec<_> = first.scopes.names().collect();
        assert_eq!(names, ["operator.read", "operator.write"]);
        let second = DeviceToken::replacing(Some(&first), Role::Operator, &scopes, 9);
        assert_eq!((second.created_at_ms, second.issued_at_ms()), (5, 9));
        assert!(second.digests.is_empty() && !second.is_revoked());
    }
}
