//! The key the gateway is known by, made when somebody first asks for it and kept in the state
//! directory.

use std::path::Path;
use std::{fs, io};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{SECRET_KEY_LENGTH, SigningKey};
use sha2::{Digest, Sha256};

use crate::dispatch::GatewayIdentity;

use super::token;
use super::view::hex;

/// File of the secret half of the key.
const FILE: &str = "gateway-identity";

/// The identity of a state directory.
///
/// # Errors
/// The file cannot be read or written, or holds no key.
pub(super) fn kept(state_dir: &Path) -> io::Result<GatewayIdentity> {
    let path = state_dir.join(FILE);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            token::put_once(state_dir, &path, &token::random()?)?;
            fs::read_to_string(&path)?
        }
        found => found?,
    };
    let bytes = URL_SAFE_NO_PAD.decode(text.trim());
    let secret: Option<[u8; SECRET_KEY_LENGTH]> = bytes.ok().and_then(|it| it.try_into().ok());
    let secret = secret.ok_or_else(|| {
        let text = "the file holds no key; remove it to get a new one";
        io::Error::new(io::ErrorKind::InvalidData, text)
    })?;
    let public = SigningKey::from_bytes(&secret).verifying_key().to_bytes();
    Ok(GatewayIdentity {
        device_id: hex(&Sha256::digest(public)).into(),
        public_key: URL_SAFE_NO_PAD.encode(public).into(),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_first_question_makes_a_key_and_the_next_finds_it() {
        let home = tempfile::tempdir().unwrap();
        let first = kept(home.path()).unwrap();
        assert_eq!((first.device_id.len(), first.public_key.len()), (64, 43));
        let path = home.path().join(FILE);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
        assert_eq!(kept(home.path()).unwrap(), first);
        fs::write(&path, "no key").unwrap();
        assert!(kept(home.path()).is_err());
    }

    #[test]
    fn the_device_is_the_digest_of_the_key() {
        let home = tempfile::tempdir().unwrap();
        let secret = URL_SAFE_NO_PAD.encode([7; SECRET_KEY_LENGTH]);
        fs::write(home.path().join(FILE), secret).unwrap();
        let found = kept(home.path()).unwrap();
        let public = URL_SAFE_NO_PAD.decode(&*found.public_key).unwrap();
        assert_eq!(*found.device_id, *hex(&Sha256::digest(public)));
    }
}
