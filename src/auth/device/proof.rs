//! How a device proves that it holds its key (`protocol-facts` §3.4).
//!
//! Pure: the time and everything that was signed are passed in. Says nothing about whether the
//! device is known or what it may do.

use crate::auth::connect::ConnectAuth;
use crate::auth::scope::Rules;
use crate::auth::secret::Offered;

use super::key::DeviceKey;

/// How far the time of a signature may be from the gateway's, in milliseconds.
const SKEW_MAX_MS: u64 = 120_000;

/// What a peer says about its device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceClaim {
    /// `device.id`.
    pub id: String,
    /// `device.publicKey`.
    pub public_key: String,
    /// `device.signature`.
    pub signature: String,
    /// `device.signedAt`, in wall-clock milliseconds.
    pub signed_at_ms: u64,
    /// `device.nonce`.
    pub nonce: String,
    /// The nonce this connection was challenged with.
    pub challenge: String,
}

/// Why a device did not prove itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The id is not that of the key.
    #[error("the device id is not that of its key")]
    IdMismatch,
    /// It was signed too long ago, or in the future.
    #[error("the device signature is not of this time")]
    Stale,
    /// No nonce was signed.
    #[error("no nonce was signed")]
    NonceMissing,
    /// Another nonce was signed than the one this connection was given.
    #[error("another nonce was signed")]
    NonceMismatch,
    /// The signature is not that of the key.
    #[error("the device signature is wrong")]
    Signature,
    /// The key is written in another way than the one there is.
    #[error("the device key is not canonical")]
    PublicKey,
}

/// A device that proved itself on this connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::auth) struct Proven {
    /// Its id.
    pub(in crate::auth) id: String,
    /// Its key, in the form that is kept.
    pub(in crate::auth) public_key: String,
}

/// Checks a claim, in the order of the protocol.
pub(in crate::auth) fn prove(
    claim: &DeviceClaim,
    offer: &ConnectAuth,
    now_ms: u64,
) -> Result<Proven, ProofError> {
    let key = DeviceKey::parse(&claim.public_key).filter(|key| key.device_id() == claim.id);
    let key = key.ok_or(ProofError::IdMismatch)?;
    if now_ms.abs_diff(claim.signed_at_ms) > SKEW_MAX_MS {
        return Err(ProofError::Stale);
    }
    let nonce = trimmed(&claim.nonce);
    if nonce.is_empty() {
        return Err(ProofError::NonceMissing);
    }
    if nonce != claim.challenge {
        return Err(ProofError::NonceMismatch);
    }
    let signed = Signed {
        claim,
        offer,
        nonce,
    };
    let payloads = [signed.v3(), signed.v2()];
    if !payloads
        .iter()
        .any(|payload| key.has_signed(payload, &claim.signature))
    {
        return Err(ProofError::Signature);
    }
    if !key.is_canonical() {
        return Err(ProofError::PublicKey);
    }
    Ok(Proven {
        id: claim.id.clone(),
        public_key: key.canonical(),
    })
}

/// What a device signs.
struct Signed<'a> {
    claim: &'a DeviceClaim,
    offer: &'a ConnectAuth,
    nonce: &'a str,
}

impl Signed<'_> {
    /// The older text. Its name has nothing to do with the version of the protocol.
    fn v2(&self) -> String {
        format!("v2|{}", self.common())
    }

    /// The newer text, which also says what kind of device it is.
    fn v3(&self) -> String {
        let platform = folded(self.offer.platform.as_deref());
        let family = folded(self.offer.device_family.as_deref());
        format!("v3|{}|{platform}|{family}", self.common())
    }

    fn common(&self) -> String {
        [
            &self.claim.id,
            &self.offer.client_id,
            &self.offer.client_mode,
            self.offer.role.as_str(),
            &self.offer.scopes.join(","),
            &self.claim.signed_at_ms.to_string(),
            self.token(),
            self.nonce,
        ]
        .join("|")
    }

    /// The first token that was sent at all; one that is empty counts. Never the password.
    fn token(&self) -> &str {
        let bootstrap = match self.offer.rules {
            Rules::V3 => None,
            Rules::V4 => self.offer.bootstrap_token.as_ref(),
        };
        let token = self.offer.token.as_ref();
        token
            .or(self.offer.device_token.as_ref())
            .or(bootstrap)
            .map_or("", Offered::as_sent)
    }
}

/// Kinds of devices in the form they are signed and compared in: no white space around, lower case
/// in ASCII only.
pub(super) fn folded(text: Option<&str>) -> String {
    trimmed(text.unwrap_or_default()).to_ascii_lowercase()
}

/// The text without what clients take for white space around it, which is not quite what Rust does.
fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| c == '\u{feff}' || (c.is_whitespace() && c != '\u{85}'))
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    use super::*;
    use crate::auth::device::testing::{CHALLENGE, NOW_MS, TestDevice};
    use crate::auth::scope::Role;

    /// A connect of the original's terminal interface, as it was recorded.
    fn recorded() -> (DeviceClaim, ConnectAuth) {
        let nonce = "097623b4-8761-4472-a395-51d3a7633c42";
        let claim = DeviceClaim {
            id: "ae11fc101b70e9f02de4b14b525ddd4383af02d37c9aa6d5d2449e6aa874ad16".to_owned(),
            public_key: "4ulDps_tokis9XqEOYK4Cp6XktH1DPcXhA5nx-kJL-A".to_owned(),
            signature: "o915WXDbxITuFxEzuVKNy9JdyoOxpSyuDXs6RsCkRSfTIoBMOwZ26UPj4ppB2gGRVci3zZL3\
                        VXjdVIsFVJMiBA"
                .to_owned(),
            signed_at_ms: 1_795_343_399_877,
            nonce: nonce.to_owned(),
            challenge: nonce.to_owned(),
        };
        let scopes = ["admin", "read", "write", "approvals"];
        let offer = ConnectAuth {
            token: Some(Offered::new("tok")),
            client_id: "openclaw-tui".to_owned(),
            client_mode: "ui".to_owned(),
            scopes: scopes.map(|scope| format!("operator.{scope}")).into(),
            platform: Some("linux".to_owned()),
            device_family: Some("Linux".to_owned()),
            ..ConnectAuth::default()
        };
        (claim, offer)
    }

    #[test]
    fn a_recorded_proof_is_one() {
        let (claim, offer) = recorded();
        let proven = prove(&claim, &offer, claim.signed_at_ms + 120_000).unwrap();
        assert_eq!((proven.id, proven.public_key), (claim.id, claim.public_key));
    }

    fn offer() -> ConnectAuth {
        ConnectAuth {
            token: Some(Offered::new("shared")),
            device_token: Some(Offered::new("of the device")),
            bootstrap_token: Some(Offered::new("bootstrap")),
            password: Some(Offered::new("never signed")),
            client_id: "cli".to_owned(),
            client_mode: "cli".to_owned(),
            scopes: vec!["operator.read".to_owned(), "operator.write".to_owned()],
            platform: Some(" LINUX ".to_owned()),
            device_family: None,
            ..ConnectAuth::default()
        }
    }

    fn check(claim: &DeviceClaim, offer: &ConnectAuth, expected: Result<(), ProofError>) {
        let found = prove(claim, offer, NOW_MS).map(|_proven| ());
        assert_eq!(found, expected, "{claim:?}");
    }

    fn check_edited(edit: impl FnOnce(&mut DeviceClaim), expected: Result<(), ProofError>) {
        let offer = offer();
        let mut claim = TestDevice::new(1).claim(&offer, NOW_MS);
        edit(&mut claim);
        check(&claim, &offer, expected);
    }

    #[test]
    fn every_fault_is_named_and_the_first_one_counts() {
        check_edited(|_claim| {}, Ok(()));
        let other = TestDevice::new(2);
        let mismatch = Err(ProofError::IdMismatch);
        check_edited(|claim| claim.id = other.id(), mismatch);
        check_edited(|claim| claim.id = claim.id.to_uppercase(), mismatch);
        check_edited(|claim| claim.public_key = other.public_key(), mismatch);
        check_edited(|claim| claim.public_key = "no key".to_owned(), mismatch);
        for (offset, expected) in [(0, Err(ProofError::Signature)), (1, Err(ProofError::Stale))] {
            check_edited(|claim| claim.signed_at_ms -= 120_000 + offset, expected);
            check_edited(|claim| claim.signed_at_ms += 120_000 + offset, expected);
        }
        check_edited(
            |claim| claim.signed_at_ms = u64::MAX,
            Err(ProofError::Stale),
        );
        check_edited(
            |claim| claim.nonce = " \u{feff} ".to_owned(),
            Err(ProofError::NonceMissing),
        );
        check_edited(
            |claim| claim.nonce = "zzz".to_owned(),
            Err(ProofError::NonceMismatch),
        );
        check_edited(|claim| claim.nonce = format!(" {CHALLENGE}\n"), Ok(()));
        let signature = Err(ProofError::Signature);
        check_edited(|claim| claim.signature = other.sign("x"), signature);
        check_edited(|claim| claim.signature = String::new(), signature);
        check_edited(|claim| claim.signature.push('A'), signature);
        check_edited(|claim| claim.signature.push_str("=="), Ok(()));

        let everything_wrong = |claim: &mut DeviceClaim| {
            claim.signed_at_ms = 0;
            claim.nonce = "zzz".to_owned();
            claim.signature = String::new();
        };
        check_edited(everything_wrong, Err(ProofError::Stale));
        let no_key = |claim: &mut DeviceClaim| {
            everything_wrong(claim);
            claim.id = String::new();
        };
        check_edited(no_key, mismatch);
    }

    #[test]
    fn a_key_that_signs_everything_is_refused() {
        // The point of order one: without strict rules it has signed every message.
        let mut key = [0; 32];
        key[0] = 1;
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let public_key = encode(&key);
        let mut signature = [0; 64];
        signature[0] = 1;
        for signature in [signature, [0; 64]] {
            check_edited(
                |claim| {
                    claim.id = DeviceKey::parse(&public_key).unwrap().device_id();
                    claim.public_key = public_key.clone();
                    claim.signature = encode(&signature);
                },
                Err(ProofError::Signature),
            );
        }
    }

    #[test]
    fn the_older_text_is_taken_too_and_says_nothing_of_the_kind() {
        let device = TestDevice::new(3);
        for rules in [Rules::V3, Rules::V4] {
            let mut offer = ConnectAuth { rules, ..offer() };
            let mut claim = device.claim(&offer, NOW_MS);
            let message = format!(
                "v2|{}|cli|cli|operator|operator.read,operator.write|{NOW_MS}|shared|{CHALLENGE}",
                device.id()
            );
            claim.signature = device.sign(&message);
            offer.platform = Some("windows".to_owned());
            check(&claim, &offer, Ok(()));
            // No other text is.
            for message in [
                message.replacen("v2", "v1", 1),
                message.replacen("v2", "v3", 1),
            ] {
                claim.signature = device.sign(&message);
                check(&claim, &offer, Err(ProofError::Signature));
            }
        }
    }

    /// The token that is signed when these are sent.
    fn check_token(sent: [Option<&str>; 3], rules: Rules, expected: &str) {
        let [token, device_token, bootstrap_token] = sent.map(|it| it.map(Offered::new));
        let offer = ConnectAuth {
            token,
            device_token,
            bootstrap_token,
            rules,
            ..offer()
        };
        let device = TestDevice::new(4);
        let mut claim = device.claim(&offer, NOW_MS);
        claim.signature = device.sign(&format!(
            "v3|{}|cli|cli|operator|operator.read,operator.write|{NOW_MS}|{expected}|{CHALLENGE}\
             |linux|",
            device.id()
        ));
        check(&claim, &offer, Ok(()));
    }

    #[test]
    fn the_first_token_that_is_there_at_all_is_signed() {
        let v4 = Rules::V4;
        check_token([Some("a"), Some("b"), Some("c")], v4, "a");
        check_token([None, Some("b"), Some("c")], v4, "b");
        check_token([None, None, Some("c")], v4, "c");
        check_token([None, None, None], v4, "");
        check_token([Some(""), Some("b"), Some("c")], v4, "");
        check_token([None, Some(""), Some("c")], v4, "");
        check_token([Some(" a "), None, None], v4, " a ");
        check_token([None, None, Some("c")], Rules::V3, "");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn whatever_is_signed_cannot_be_changed(at in 0..8_usize, text in "[a-z|,]{1,6}") {
            let device = TestDevice::new(5);
            let signed = offer();
            let claim = device.claim(&signed, NOW_MS);
            let mut changed = signed.clone();
            let change = |field: &mut String| field.push_str(&text);
            let mut claim = claim;
            match at {
                0 => change(&mut changed.client_id),
                1 => change(&mut changed.client_mode),
                2 => changed.scopes.push(text.clone()),
                3 => changed.token = Some(Offered::new(text.clone())),
                4 => changed.platform.get_or_insert_default().push_str(&text),
                5 => changed.device_family = Some(text.clone()),
                6 => changed.role = Role::Node,
                _ => {
                    claim.nonce = text.clone();
                    claim.challenge = text.clone();
                }
            }
            prop_assert_eq!(
                prove(&claim, &changed, NOW_MS).err(),
                Some(ProofError::Signature)
            );
        }

        #[test]
        fn no_claim_makes_the_check_fall_over(
            texts in proptest::array::uniform5(any::<String>()),
            signed_at_ms in any::<u64>(),
        ) {
            let [id, public_key, signature, nonce, challenge] = texts;
            let claim = DeviceClaim { id, public_key, signature, signed_at_ms, nonce, challenge };
            prop_assert!(prove(&claim, &offer(), NOW_MS).is_err());
        }
    }
}
