//! Secrets and the one comparison every secret goes through.
//!
//! Owns how a secret is kept and compared. Must not know who offers one or what it opens.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A secret of the configuration, kept as a fixed-length digest beside the text; prints as
/// `[secret]`.
///
/// It can be shown only on purpose:
///
/// ```
/// let secret = clawport::internals::auth::Secret::new("hunter2");
/// assert_eq!(secret.expose(), "hunter2");
/// ```
///
/// ```compile_fail
/// let secret = clawport::internals::auth::Secret::new("hunter2");
/// let shown = secret.to_string();
/// ```
///
/// ```compile_fail
/// let secret = clawport::internals::auth::Secret::new("hunter2");
/// let written = serde_json::to_string(&secret);
/// ```
#[derive(Clone)]
pub struct Secret {
    text: Arc<str>,
    digest: [u8; 32],
}

impl Secret {
    /// Takes a secret from the configuration, without the white space around it.
    pub fn new(text: impl AsRef<str>) -> Self {
        let text = text.as_ref().trim();
        Self {
            text: text.into(),
            digest: digest(text),
        }
    }

    /// The secret itself, for the one place that must show it (`quickstart`).
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Whether this is what was offered. Takes as long for every offer, and a blank secret is never
    /// matched.
    pub fn matches(&self, offered: &OfferedDigest) -> bool {
        bool::from(self.digest.ct_eq(&offered.0)) && !self.text.is_empty()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.digest.ct_eq(&other.digest).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// What a peer offers as a secret; prints as `[secret]`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Offered(String);

impl Offered {
    /// Takes what a peer sent.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The form a secret is compared in.
    pub fn digest(&self) -> OfferedDigest {
        OfferedDigest(digest(self.text()))
    }

    /// Whether there is nothing but white space, which counts as no secret at all.
    pub fn is_blank(&self) -> bool {
        self.text().is_empty()
    }

    /// The secret of an `Authorization: Bearer …` value (`http-facts` §2.2): the scheme in any
    /// case, one space, the rest trimmed. `None` for another scheme or nothing after it.
    pub(super) fn bearer(&self) -> Option<Self> {
        const SCHEME: &str = "bearer ";
        let value = self.text();
        let scheme = value.get(..SCHEME.len())?;
        let secret = value.get(SCHEME.len()..)?.trim();
        (scheme.eq_ignore_ascii_case(SCHEME) && !secret.is_empty()).then(|| Self::new(secret))
    }

    /// The text as it came, for what was signed with it.
    pub(super) fn as_sent(&self) -> &str {
        &self.0
    }

    fn text(&self) -> &str {
        self.0.trim()
    }
}

impl fmt::Debug for Offered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// A secret the gateway made and tells its holder once; prints as `[secret]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Minted(Arc<str>);

impl Minted {
    /// Makes a secret of 32 random bytes, written in base64url.
    ///
    /// # Errors
    /// The operating system has no random bytes.
    pub(super) fn new() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self(URL_SAFE_NO_PAD.encode(bytes).into()))
    }

    /// The secret a peer offered, to tell it again.
    pub(super) fn again(offered: &Offered) -> Self {
        Self(offered.text().into())
    }

    /// The secret itself, for the one peer it is for.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The form it is kept in.
    pub(super) fn digest(&self) -> SecretDigest {
        SecretDigest(digest(&self.0))
    }
}

impl fmt::Debug for Minted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// The only thing that is kept of a secret the gateway made; prints as `[secret]`.
#[derive(Clone, Copy)]
pub struct SecretDigest([u8; 32]);

impl SecretDigest {
    /// A digest that was kept.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes to keep.
    pub const fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// Whether this is the digest of what was offered. Takes as long for every offer.
    pub(super) fn matches(self, offered: &OfferedDigest) -> bool {
        self.0.ct_eq(&offered.0).into()
    }
}

impl PartialEq for SecretDigest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretDigest {}

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// The digest of what a peer offers; prints as `[secret]`.
#[derive(Clone, Copy)]
pub struct OfferedDigest([u8; 32]);

impl fmt::Debug for OfferedDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_match(secret: &str, offered: &str, expected: bool) {
        let found = Secret::new(secret).matches(&Offered::new(offered).digest());
        assert_eq!(found, expected, "{secret:?} {offered:?}");
    }

    #[test]
    fn only_the_whole_secret_matches() {
        check_match("YOUR_TOKEN", "YOUR_TOKEN", true);
        check_match("YOUR_TOKEN", "YOUR_TOKE", false);
        check_match("YOUR_TOKEN", "YOUR_TOKENS", false);
        check_match("YOUR_TOKEN", "your_token", false);
        check_match("two words", "two words", true);
        check_match("two words", "two  words", false);
        check_match("pässwörd", "pässwörd", true);
        check_match(" padded\n", "padded", true);
        check_match("padded", "  padded\t", true);
        check_match(&"k".repeat(10_000), &"k".repeat(10_000), true);
    }

    #[test]
    fn a_blank_secret_matches_nothing() {
        for secret in ["", " ", "\t\n"] {
            for offered in ["", " ", "x", "\u{0}"] {
                check_match(secret, offered, false);
            }
        }
    }

    #[test]
    fn secrets_print_as_a_placeholder() {
        let offered = Offered::new("hunter3");
        let digest = offered.digest();
        let shown = format!("{:?} {offered:?} {digest:?}", Secret::new("hunter2"));
        assert_eq!(shown, "[secret] [secret] [secret]");
        assert_eq!(Secret::new("hunter2").expose(), "hunter2");
    }

    #[test]
    fn minted_secrets_are_long_random_and_kept_as_digests() {
        let (one, two) = (Minted::new().unwrap(), Minted::new().unwrap());
        assert_ne!(one, two);
        for minted in [&one, &two] {
            let text = minted.expose();
            assert_eq!(URL_SAFE_NO_PAD.decode(text).unwrap().len(), 32);
            assert_eq!(text.len(), 43);
            let kept = SecretDigest::from_bytes(minted.digest().to_bytes());
            assert!(kept.matches(&Offered::new(format!(" {text} ")).digest()));
            assert!(!kept.matches(&Offered::new(text.split_at(1).1).digest()));
            assert!(!kept.matches(&Offered::new("").digest()));
            assert_eq!(format!("{minted:?} {kept:?}"), "[secret] [secret]");
        }
        assert!(!one.digest().matches(&Offered::new(two.expose()).digest()));
        assert_eq!(Minted::again(&Offered::new(one.expose())), one);
    }

    fn check_bearer(header: &str, expected: Option<&str>) {
        let parsed = Offered::new(header).bearer();
        assert_eq!(parsed, expected.map(Offered::new), "{header:?}");
    }

    #[test]
    fn bearer_takes_any_case_and_needs_one_space() {
        check_bearer("Bearer abc", Some("abc"));
        check_bearer("bEaReR abc", Some("abc"));
        check_bearer("  bearer   abc  ", Some("abc"));
        check_bearer("Bearer a b", Some("a b"));
        check_bearer("Bearer Bearer abc", Some("Bearer abc"));
        check_bearer("Bearer\tabc", None);
        check_bearer("Bearer", None);
        check_bearer("Bearer ", None);
        check_bearer("Bearerabc", None);
        check_bearer("Basic YWJj", None);
        check_bearer("abc", None);
        check_bearer("", None);
        check_bearer("bearér abc", None);
    }
}
