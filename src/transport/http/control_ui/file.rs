//! Files below one folder: opened, and read piece by piece.
//!
//! Runs on the threads for blocking work. A reader that is slow holds one open file and one piece
//! of it, never more.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use tokio::task::JoinHandle;

/// Bytes of a file that are in memory at once.
const PIECE_BYTES: usize = 64 * 1024;

/// A file that was found.
#[derive(Debug)]
pub(super) struct Found {
    file: File,
    /// Its size in bytes.
    pub(super) size: u64,
    /// Changes when the file does, as far as its size and time tell.
    pub(super) version: String,
}

/// Opens a regular file below `root`; `None` when there is none that can be read, or when a link
/// leads elsewhere.
///
/// # Errors
/// The folder itself cannot be read.
pub(super) fn open(root: &Path, relative: &str) -> io::Result<Option<Found>> {
    let root = fs::canonicalize(root)?;
    // Links inside the folder are followed; what they lead to is looked at again.
    let Ok(path) = fs::canonicalize(root.join(relative)) else {
        return Ok(None);
    };
    // Asked before opening: to open a pipe is to wait for its other end.
    let is_regular = fs::metadata(&path).is_ok_and(|about| about.is_file());
    if !path.starts_with(&root) || !is_regular {
        return Ok(None);
    }
    Ok(File::open(&path).and_then(found).ok().flatten())
}

fn found(file: File) -> io::Result<Option<Found>> {
    let about = file.metadata()?;
    let changed = about.modified()?.duration_since(UNIX_EPOCH);
    let changed = changed.map_or(0, |since| since.as_nanos());
    Ok(about.is_file().then(|| Found {
        size: about.len(),
        version: format!("{:x}-{changed:x}", about.len()),
        file,
    }))
}

impl Found {
    /// The whole file as text.
    ///
    /// # Errors
    /// It cannot be read, is no text, or is longer than `bytes_max`.
    pub(super) fn text(&self, bytes_max: u64) -> io::Result<String> {
        if self.size > bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut text = String::new();
        (&self.file).take(bytes_max).read_to_string(&mut text)?;
        Ok(text)
    }

    /// The file, to be read piece by piece.
    pub(super) fn pieces(self) -> Pieces {
        Pieces {
            left: self.size,
            step: Step::Read(self.file),
        }
    }
}

/// The rest of a file that is being sent.
#[derive(Debug)]
pub(in crate::transport::http) struct Pieces {
    left: u64,
    step: Step,
}

#[derive(Debug)]
enum Step {
    Read(File),
    Reading(JoinHandle<io::Result<(File, Bytes)>>),
    Ended,
}

impl Pieces {
    /// The bytes that are still to come.
    pub(in crate::transport::http) const fn left(&self) -> u64 {
        self.left
    }

    /// The next piece; `None` at the end, or when the file can no longer be read. In the latter
    /// case there is less than was announced, and the connection ends so that its peer sees it.
    pub(in crate::transport::http) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Bytes>> {
        loop {
            match std::mem::replace(&mut self.step, Step::Ended) {
                Step::Ended => return Poll::Ready(None),
                Step::Read(_) if self.left == 0 => return Poll::Ready(None),
                Step::Read(file) => {
                    let bytes = usize::try_from(self.left).unwrap_or(PIECE_BYTES);
                    let bytes = bytes.min(PIECE_BYTES);
                    let reading = tokio::task::spawn_blocking(move || piece(file, bytes));
                    self.step = Step::Reading(reading);
                }
                Step::Reading(mut reading) => {
                    let Poll::Ready(read) = Pin::new(&mut reading).poll(cx) else {
                        self.step = Step::Reading(reading);
                        return Poll::Pending;
                    };
                    let Ok(Ok((file, bytes))) = read else {
                        tracing::debug!("a file was not sent whole: it can no longer be read");
                        return Poll::Ready(None);
                    };
                    let sent = u64::try_from(bytes.len()).unwrap_or(self.left);
                    self.left = self.left.saturating_sub(sent);
                    self.step = Step::Read(file);
                    return Poll::Ready(Some(bytes));
                }
            }
        }
    }
}

fn piece(mut file: File, bytes: usize) -> io::Result<(File, Bytes)> {
    let mut piece = vec![0; bytes];
    file.read_exact(&mut piece)?;
    Ok((file, piece.into()))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("root/assets")).unwrap();
        fs::write(dir.path().join("root/assets/a.js"), "let a;").unwrap();
        fs::write(dir.path().join("secret.js"), "secret").unwrap();
        dir
    }

    #[test]
    fn only_regular_files_below_the_folder_are_opened() {
        let dir = folder();
        let root = dir.path().join("root");
        symlink("assets/a.js", root.join("inside.js")).unwrap();
        symlink("../secret.js", root.join("outside.js")).unwrap();
        symlink("..", root.join("up")).unwrap();
        symlink("loop.js", root.join("loop.js")).unwrap();
        let _socket = UnixListener::bind(root.join("socket.js")).unwrap();
        let check = |name: &str, expected| {
            let found = open(&root, name).unwrap();
            assert_eq!(found.map(|found| found.size), expected, "{name}");
        };
        check("assets/a.js", Some(6));
        check("inside.js", Some(6));
        let long = "x".repeat(5_000);
        for name in [
            "outside.js",
            "up/secret.js",
            "../secret.js",
            "/etc/passwd",
            "loop.js",
            "socket.js",
            "assets",
            "",
            "nothing.js",
            "assets/a.js/b",
            &long,
        ] {
            check(name, None);
        }
    }

    #[test]
    fn a_folder_that_is_gone_is_an_error() {
        let dir = folder();
        let root = dir.path().join("root");
        fs::remove_dir_all(&root).unwrap();
        let error = open(&root, "assets/a.js").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn text_has_a_bound() {
        let dir = folder();
        let open = || open(dir.path(), "secret.js").unwrap().unwrap();
        assert_eq!(open().text(6).unwrap(), "secret");
        assert_eq!(
            open().text(5).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
    }

    async fn rest(mut pieces: Pieces) -> (Vec<usize>, u64) {
        let mut sizes = Vec::new();
        while let Some(piece) = poll_fn(|cx| pieces.poll_piece(cx)).await {
            sizes.push(piece.len());
        }
        (sizes, pieces.left())
    }

    #[tokio::test]
    async fn a_file_is_read_piece_by_piece_and_never_past_its_size() {
        let dir = folder();
        let path = dir.path().join("big.js");
        fs::write(&path, vec![b'x'; PIECE_BYTES * 2 + 5]).unwrap();
        let open = || open(dir.path(), "big.js").unwrap().unwrap().pieces();
        assert_eq!(rest(open()).await, (vec![PIECE_BYTES, PIECE_BYTES, 5], 0));
        let shrinking = open();
        fs::write(&path, "x").unwrap();
        assert_eq!(rest(shrinking).await.0, [0; 0]);
        let growing = open();
        fs::write(&path, "xyz").unwrap();
        assert_eq!(rest(growing).await, (vec![1], 0));
        fs::write(&path, "").unwrap();
        assert_eq!(rest(open()).await, (vec![], 0));
    }
}
