//! Opening the state directory: its lock, the checks that the file is ours, and the connections.
//!
//! Nothing is written to a file that is not certainly ours. The lock is the operating system's, so
//! a killed process leaves none behind.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, ffi};

use crate::session::ledger::{Durability, LedgerError};

use super::fault::StepError;
use super::schema::{self, APPLICATION_ID};

/// Name of the database in the state directory.
pub const DATABASE_FILE: &str = "clawport.db";

/// Name of the lock file in the state directory.
pub const LOCK_FILE: &str = "clawport.lock";

/// How long a statement waits for a lock of somebody else, such as an operator's `sqlite3`.
const BUSY_WAIT: Duration = Duration::from_secs(5);

/// Bytes of log file that are kept for reuse after a checkpoint.
const LOG_BYTES_KEPT: i64 = 16 * 1024 * 1024;

const STATEMENTS_CACHED: usize = 64;

/// The magic of an SQLite file, and where its header keeps the application's number.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
const HEADER_BYTES: usize = 100;
const APPLICATION_ID_AT: usize = 68;

/// Why the store could not be opened; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The state directory cannot be made, read or written.
    #[error("cannot use the state directory {}", .path.display())]
    Directory {
        /// The directory, or the file in it.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another process uses the state directory.
    #[error(
        "another clawport{} uses the state directory {}: stop it, or set OPENCLAW_STATE_DIR to \
         another directory",
        owner(.pid.as_deref()),
        .path.display()
    )]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The process that holds it, as far as it said.
        pid: Option<String>,
    },
    /// The file is not a clawport database.
    #[error(
        "{} is not a clawport database: move it away, or set OPENCLAW_STATE_DIR to another \
         directory",
        .path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a newer clawport.
    #[error(
        "{} was written by a newer clawport (version {found}, this one knows {known}): update \
         clawport, or restore a copy of the file from before the update",
        .path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: usize,
        /// The newest version this program knows.
        known: usize,
    },
    /// The file system cannot share memory between connections, as many network file systems
    /// cannot.
    #[error(
        "the file system of {} cannot keep a write-ahead log: set OPENCLAW_STATE_DIR to a \
         directory on a local disk",
        .path.display()
    )]
    NoLog {
        /// The file.
        path: PathBuf,
    },
    /// There is no database in the state directory.
    #[error("there is no database in {}", .path.display())]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// The operating system gave no thread.
    #[error("cannot start the thread that writes to the store")]
    Thread {
        /// What it said.
        source: io::Error,
    },
    /// The database failed.
    #[error("cannot open {}", .path.display())]
    Store {
        /// The file.
        path: PathBuf,
        /// Why.
        source: LedgerError,
    },
}

fn owner(pid: Option<&str>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

/// Where a database is and how it is opened; used again when a connection has to be replaced.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) file: PathBuf,
    pub(super) durability: Durability,
    /// Most pages the file may have; for tests of a full disk.
    pub(super) pages_max: Option<u32>,
}

/// A locked state directory with a database of this version, and the right to write to it.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) lock: File,
    pub(super) place: Place,
    pub(super) conn: Connection,
    pub(super) epoch: u64,
}

/// Tries to take the lock of the state directory, which is made when it does not exist.
pub(super) fn lock(dir: &Path) -> Result<File, OpenError> {
    let directory = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Directory { path, source }
    };
    make_dir(dir).map_err(directory(dir))?;
    let path = dir.join(LOCK_FILE);
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(directory(&path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(OpenError::Locked {
                path: dir.to_owned(),
                pid: holder(&path),
            });
        }
        Err(TryLockError::Error(source)) => return Err(directory(&path)(source)),
    }
    // The number only helps the person who reads the other process's message.
    let written = file
        .set_len(0)
        .and_then(|()| io::Write::write_all(&mut &file, std::process::id().to_string().as_bytes()));
    written.map_err(directory(&path))?;
    Ok(file)
}

fn holder(lock: &Path) -> Option<String> {
    let text = fs::read_to_string(lock).ok()?;
    let pid = text.trim();
    let is_number = !pid.is_empty() && pid.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| pid.to_owned())
}

/// Makes the directory for its owner alone; one that exists keeps its mode.
fn make_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)?;
    // A directory that is not on disk when the power goes would take the database with it.
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

/// Opens the database of a locked state directory, brings it to this version and takes the next
/// epoch, which is stored with the first commit: a process that never writes leaves no trace, and
/// opening does not wait for the disk.
pub(super) fn open(lock: File, place: Place) -> Result<Opened, OpenError> {
    check_header(&place.file)?;
    let store = |error: StepError| store_error(&place.file, error);
    let mut conn = connect(&place).map_err(store)?;
    check_version(&conn, &place.file)?;
    if !use_log(&conn).map_err(store)? {
        return Err(OpenError::NoLog { path: place.file });
    }
    let stored = schema::migrate(&mut conn)
        .and_then(|()| stored_epoch(&conn))
        .map_err(|error| store(error.into()))?;
    Ok(Opened {
        lock,
        place,
        conn,
        epoch: stored.saturating_add(1),
    })
}

/// Opens a database for reading only, whether or not a process writes to it.
pub(super) fn open_read_only(dir: &Path) -> Result<Connection, OpenError> {
    let file = dir.join(DATABASE_FILE);
    if !file.is_file() {
        return Err(OpenError::Missing {
            path: dir.to_owned(),
        });
    }
    let conn = reader(&file).map_err(|error| store_error(&file, error.into()))?;
    let id: i32 = conn
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(|error| store_error(&file, error.into()))?;
    if id != APPLICATION_ID {
        return Err(OpenError::Foreign { path: file });
    }
    check_version(&conn, &file)?;
    Ok(conn)
}

fn store_error(file: &Path, error: StepError) -> OpenError {
    OpenError::Store {
        path: file.to_owned(),
        source: error.into(),
    }
}

/// Looks at the file before SQLite does, so that a file of somebody else is not even recovered.
///
/// Only to be called before this process has a connection to the file: closing our handle would
/// drop the locks of that connection.
fn check_header(file: &Path) -> Result<(), OpenError> {
    let directory = |source| OpenError::Directory {
        path: file.to_owned(),
        source,
    };
    let foreign = || OpenError::Foreign {
        path: file.to_owned(),
    };
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    let mut handle = options.mode(0o600).open(file).map_err(directory)?;
    let mut header = Vec::with_capacity(HEADER_BYTES);
    let bytes = u64::try_from(HEADER_BYTES).unwrap_or(u64::MAX);
    let read = handle.by_ref().take(bytes).read_to_end(&mut header);
    match read.map_err(directory)? {
        // A new file, or one whose first commit never came.
        0 => Ok(()),
        HEADER_BYTES if header.starts_with(MAGIC) => {
            let id = header.get(APPLICATION_ID_AT..APPLICATION_ID_AT + 4);
            let ours = id == Some(APPLICATION_ID.to_be_bytes().as_slice());
            if ours { Ok(()) } else { Err(foreign()) }
        }
        _ => Err(foreign()),
    }
}

fn check_version(conn: &Connection, file: &Path) -> Result<(), OpenError> {
    let found = schema::version(conn).map_err(|error| store_error(file, error.into()))?;
    if found > schema::VERSION {
        return Err(OpenError::Newer {
            path: file.to_owned(),
            found,
            known: schema::VERSION,
        });
    }
    Ok(())
}

/// The connection that writes.
pub(super) fn connect(place: &Place) -> Result<Connection, StepError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let conn = Connection::open_with_flags(&place.file, flags)?;
    common(&conn)?;
    // The writer decides itself when to move the log into the file, and what a failure of that
    // means.
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    conn.pragma_update(None, "journal_size_limit", LOG_BYTES_KEPT)?;
    conn.pragma_update(None, "foreign_keys", true)?;
    conn.pragma_update(None, "cache_size", -8192)?;
    match place.durability {
        Durability::Full => {
            conn.pragma_update(None, "synchronous", "FULL")?;
            conn.pragma_update(None, "fullfsync", true)?;
            conn.pragma_update(None, "checkpoint_fullfsync", true)?;
        }
        Durability::Normal => conn.pragma_update(None, "synchronous", "NORMAL")?,
    }
    if let Some(pages) = place.pages_max {
        conn.pragma_update(None, "max_page_count", pages)?;
    }
    Ok(conn)
}

/// A connection that reads.
pub(super) fn reader(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let conn = Connection::open_with_flags(file, flags)?;
    common(&conn)?;
    conn.pragma_update(None, "cache_size", -1024)?;
    Ok(conn)
}

/// Runs a statement without parameters that is run often.
pub(super) fn execute(conn: &Connection, sql: &str) -> rusqlite::Result<()> {
    conn.prepare_cached(sql)?.execute([]).map(|_rows| ())
}

fn common(conn: &Connection) -> rusqlite::Result<()> {
    conn.busy_timeout(BUSY_WAIT)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    // Else SQLite plans a statement anew whenever a value is bound to it, in case that matters.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "trusted_schema", false)
}

/// Switches to the write-ahead log, after the mark that the file is ours is in its first page.
/// False when the file system does not allow it.
pub(super) fn use_log(conn: &Connection) -> Result<bool, StepError> {
    let id: i32 = conn.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if id == 0 {
        conn.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    let mode =
        conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0));
    match mode {
        Ok(mode) => Ok(mode.eq_ignore_ascii_case("wal")),
        Err(error) if is_about_shared_memory(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn is_about_shared_memory(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(
        code,
        Some(
            ffi::SQLITE_IOERR_SHMOPEN
                | ffi::SQLITE_IOERR_SHMSIZE
                | ffi::SQLITE_IOERR_SHMLOCK
                | ffi::SQLITE_IOERR_SHMMAP
        )
    )
}

/// The epoch in the database a fresh connection sees.
pub(super) fn stored_epoch(conn: &Connection) -> rusqlite::Result<u64> {
    let epoch: i64 = conn.query_row("SELECT epoch FROM meta", [], |row| row.get(0))?;
    Ok(u64::try_from(epoch).unwrap_or(0))
}

/// Stores the epoch of this process, as part of a transaction.
pub(super) fn store_epoch(conn: &Connection, epoch: u64) -> rusqlite::Result<()> {
    let epoch = i64::try_from(epoch).unwrap_or(i64::MAX);
    conn.execute("UPDATE meta SET epoch = ?1", [epoch])
        .map(|_rows| ())
}
