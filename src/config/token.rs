//! The token made at the first start and kept in the state directory.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::auth::Secret;

/// Random bytes of a token.
const BYTES: usize = 32;

/// What to do when there is no token yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFile {
    /// Make one and keep it: the gateway starts.
    Create,
    /// Leave everything as it is: the configuration is only looked at.
    Look,
}

/// The token of a state directory.
#[derive(Debug)]
pub(super) struct Kept {
    /// The token; one that opens nothing when there is none and none was to be made.
    pub(super) secret: Secret,
    /// Whether other users may read the file.
    pub(super) open: bool,
}

/// Where the token of a state directory is kept.
pub(super) fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("gateway-token")
}

/// Reads the token of a state directory, or makes one.
///
/// # Errors
/// The directory or the file cannot be read or written.
pub(super) fn kept(state_dir: &Path, missing: TokenFile) -> io::Result<Kept> {
    let path = path(state_dir);
    match (read(&path), missing) {
        (Err(error), TokenFile::Create) if error.kind() == io::ErrorKind::NotFound => {
            create(state_dir, &path)?;
            read(&path)
        }
        (Err(error), TokenFile::Look) if error.kind() == io::ErrorKind::NotFound => Ok(Kept {
            secret: Secret::new(random()?),
            open: false,
        }),
        (found, _) => found,
    }
}

/// The token of a state directory, if there is one.
pub fn find(state_dir: &Path) -> Option<Secret> {
    read(&path(state_dir)).ok().map(|kept| kept.secret)
}

fn read(path: &Path) -> io::Result<Kept> {
    let text = fs::read_to_string(path)?;
    if text.trim().is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the file is empty; remove it to get a new token",
        ));
    }
    let mode = fs::metadata(path)?.permissions().mode();
    Ok(Kept {
        secret: Secret::new(text),
        open: mode & 0o077 != 0,
    })
}

/// Writes a new token. The file appears whole or not at all, and one that appeared meanwhile wins,
/// so that two gateways that start at once agree.
fn create(state_dir: &Path, path: &Path) -> io::Result<()> {
    put_once(state_dir, path, &random()?)
}

/// Writes a line only the owner can read into a file that is not there yet.
///
/// # Errors
/// The directory or the file cannot be written.
pub(super) fn put_once(state_dir: &Path, path: &Path, line: &str) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state_dir)?;
    let draft = path.with_extension(random()?);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)?;
    writeln!(file, "{line}")?;
    file.sync_all()?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

pub(super) fn random() -> io::Result<String> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_start_makes_a_token_only_the_owner_can_read() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("a/b");
        let first = kept(&dir, TokenFile::Create).unwrap();
        assert_eq!(first.secret.expose().len(), 43);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path(&dir)), 0o600);
        assert_eq!(mode(&dir), 0o700);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        let second = kept(&dir, TokenFile::Create).unwrap();
        assert_eq!(second.secret, first.secret);
        assert_eq!(find(&dir), Some(first.secret));
    }

    #[test]
    fn looking_leaves_nothing_behind() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("state");
        let looked = kept(&dir, TokenFile::Look).unwrap();
        assert_ne!(looked.secret.expose(), "");
        assert!(!dir.exists());
        assert_eq!(find(&dir), None);
    }

    #[test]
    fn a_file_that_is_empty_or_open_to_others_is_noticed() {
        let home = tempfile::tempdir().unwrap();
        fs::write(path(home.path()), "\n").unwrap();
        assert!(kept(home.path(), TokenFile::Create).is_err());
        fs::write(path(home.path()), "a-token\n").unwrap();
        fs::set_permissions(path(home.path()), fs::Permissions::from_mode(0o644)).unwrap();
        let found = kept(home.path(), TokenFile::Create).unwrap();
        assert!(found.open);
        assert_eq!(found.secret, Secret::new("a-token"));
    }

    #[test]
    fn two_starts_at_once_agree() {
        let home = tempfile::tempdir().unwrap();
        let start = || kept(home.path(), TokenFile::Create).unwrap().secret;
        let made: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert!(made.iter().all(|secret| *secret == made[0]));
    }
}
