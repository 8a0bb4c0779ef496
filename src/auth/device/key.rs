//! Public keys of devices: the forms they come in, and the id that follows from one.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};

/// Bytes of an Ed25519 public key.
const KEY_BYTES: usize = 32;

/// What stands before the key in its DER form (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

const PEM_HEAD: &str = "-----BEGIN PUBLIC KEY-----";
const PEM_TAIL: &str = "-----END PUBLIC KEY-----";

/// The bytes of a device's public key. They may be no point anybody can sign with; only a signature
/// shows that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DeviceKey([u8; KEY_BYTES]);

impl DeviceKey {
    /// Reads a key as base64url, as base64 or as PEM; `None` when it is not 32 bytes in one of
    /// these.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let bytes = match text.strip_prefix(PEM_HEAD) {
            Some(rest) => {
                let body = rest.strip_suffix(PEM_TAIL)?;
                let body: String = body.split_ascii_whitespace().collect();
                decode(&body)?.strip_prefix(&SPKI_PREFIX)?.to_vec()
            }
            None => decode(text)?,
        };
        bytes.try_into().ok().map(Self)
    }

    /// The one form keys are kept and shown in: base64url without padding.
    pub(super) fn canonical(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// The id of the device: the SHA-256 of the key in lower-case hexadecimal.
    pub(super) fn device_id(&self) -> String {
        hex(&Sha256::digest(self.0))
    }

    /// Whether `signature`, in either base64, is this key's over `message`. Keys and signatures
    /// that more than one message or key would satisfy are refused.
    pub(super) fn has_signed(&self, message: &str, signature: &str) -> bool {
        let signature = decode(signature.trim()).and_then(|bytes| bytes.try_into().ok());
        let signature: Option<[u8; 64]> = signature;
        let (Some(signature), Ok(key)) = (signature, VerifyingKey::from_bytes(&self.0)) else {
            return false;
        };
        let signature = Signature::from_bytes(&signature);
        key.verify_strict(message.as_bytes(), &signature).is_ok()
    }

    /// Whether the bytes are the one encoding of their point, so that a device has one id.
    pub(super) fn is_canonical(&self) -> bool {
        let key = VerifyingKey::from_bytes(&self.0);
        key.is_ok_and(|key| key.to_edwards().compress().to_bytes() == self.0)
    }
}

/// Decodes base64 in either alphabet, with or without padding.
fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let engine = if text.contains(['+', '/']) {
        &STANDARD_NO_PAD
    } else {
        &URL_SAFE_NO_PAD
    };
    engine.decode(text).ok()
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| {
        let digit = DIGITS.get(usize::from(nibble)).copied();
        char::from(digit.unwrap_or(b'0'))
    };
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 0x0f)])
        .collect()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    use super::*;

    const KEY: &str = "4ulDps_tokis9XqEOYK4Cp6XktH1DPcXhA5nx-kJL-A";
    const ID: &str = "ae11fc101b70e9f02de4b14b525ddd4383af02d37c9aa6d5d2449e6aa874ad16";

    fn pem(body: &str) -> String {
        format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
    }

    fn raw() -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(KEY).unwrap()
    }

    fn spki() -> Vec<u8> {
        [SPKI_PREFIX.as_slice(), &raw()].concat()
    }

    fn check(text: &str, expected: Option<&str>) {
        let key = DeviceKey::parse(text);
        let found = key.map(|key| (key.canonical(), key.device_id()));
        assert_eq!(
            found,
            expected.map(|id| (KEY.to_owned(), id.to_owned())),
            "{text:?}"
        );
    }

    #[test]
    fn a_key_comes_in_three_forms_and_has_one_id() {
        check(KEY, Some(ID));
        check(&format!(" {KEY}\n"), Some(ID));
        check(&URL_SAFE.encode(raw()), Some(ID));
        check(&STANDARD.encode(raw()), Some(ID));
        check(&STANDARD_NO_PAD.encode(raw()), Some(ID));
        check(&pem(&STANDARD.encode(spki())), Some(ID));
        let broken = STANDARD.encode(spki());
        let (one, two) = broken.split_at(30);
        check(&pem(&format!("{one}\r\n{two}")), Some(ID));
    }

    #[test]
    fn what_is_not_32_bytes_is_no_key() {
        for text in ["", "=", "not base64!", "AAAA", "a+b/c_d-"] {
            check(text, None);
        }
        check(&STANDARD.encode(spki()), None);
        check(&STANDARD.encode(&raw()[1..]), None);
        check(&STANDARD.encode([raw(), vec![0]].concat()), None);
        check(&pem(KEY), None);
        check(&pem(&STANDARD.encode(&spki()[1..])), None);
        let mut other_kind = spki();
        other_kind[8] = 0x6e;
        check(&pem(&STANDARD.encode(other_kind)), None);
        let whole = pem(&STANDARD.encode(spki()));
        check(whole.trim_end().trim_end_matches('-'), None);
    }

    #[test]
    fn only_one_encoding_of_a_point_is_canonical() {
        assert!(DeviceKey::parse(KEY).unwrap().is_canonical());
        // The point with y = 3, written with y and with y + p.
        let mut least = [0_u8; KEY_BYTES];
        least[0] = 3;
        assert!(DeviceKey(least).is_canonical());
        let mut again = [0xff_u8; KEY_BYTES];
        again[0] = 0xed + 3;
        again[31] = 0x7f;
        assert!(VerifyingKey::from_bytes(&again).is_ok());
        assert!(!DeviceKey(again).is_canonical());
        // No point at all.
        let mut none = [0_u8; KEY_BYTES];
        none[0] = 2;
        assert!(!DeviceKey(none).is_canonical());
    }
}
