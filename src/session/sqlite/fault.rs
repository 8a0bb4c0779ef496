//! What SQLite's failures mean for a caller of the ledger.

use rusqlite::ErrorCode;

use crate::session::ledger::{Fault, LedgerError};

/// Why one step over the database did not succeed.
#[derive(Debug)]
pub(super) enum StepError {
    /// The step itself says no; the store is well.
    Refused(LedgerError),
    /// SQLite failed.
    Sql(rusqlite::Error),
    /// A stored row is not what it should be.
    Row(serde_json::Error),
}

impl From<LedgerError> for StepError {
    fn from(error: LedgerError) -> Self {
        Self::Refused(error)
    }
}

impl From<rusqlite::Error> for StepError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<serde_json::Error> for StepError {
    fn from(error: serde_json::Error) -> Self {
        Self::Row(error)
    }
}

impl From<StepError> for LedgerError {
    fn from(error: StepError) -> Self {
        match error {
            StepError::Refused(refusal) => refusal,
            StepError::Sql(error) => sql(&error),
            StepError::Row(error) => Self::Failed {
                fault: Fault::Corrupt,
                reason: error.to_string().into(),
            },
        }
    }
}

/// The ledger's error for a failure of SQLite.
pub(super) fn sql(error: &rusqlite::Error) -> LedgerError {
    let code = error.sqlite_error_code();
    if matches!(
        code,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    ) {
        return LedgerError::Busy;
    }
    LedgerError::Failed {
        fault: fault(code),
        reason: error.to_string().into(),
    }
}

fn fault(code: Option<ErrorCode>) -> Fault {
    match code {
        Some(ErrorCode::DiskFull) => Fault::DiskFull,
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Fault::ReadOnly,
        Some(
            ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::NoLargeFileSupport,
        ) => Fault::Io,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Fault::Corrupt,
        // SQLite's other codes, and rusqlite's own errors, say that our statements are wrong.
        Some(_) | None => Fault::Internal,
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    fn check(code: i32, expected: Option<Fault>) {
        let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        let fault = match sql(&error) {
            LedgerError::Failed { fault, .. } => Some(fault),
            LedgerError::Busy => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(fault, expected, "{error}");
    }

    #[test]
    fn every_kind_of_failure_has_its_fault() {
        check(ffi::SQLITE_FULL, Some(Fault::DiskFull));
        check(ffi::SQLITE_READONLY, Some(Fault::ReadOnly));
        check(ffi::SQLITE_READONLY_DBMOVED, Some(Fault::ReadOnly));
        check(ffi::SQLITE_IOERR, Some(Fault::Io));
        check(ffi::SQLITE_IOERR_FSYNC, Some(Fault::Io));
        check(ffi::SQLITE_CANTOPEN, Some(Fault::Io));
        check(ffi::SQLITE_CORRUPT, Some(Fault::Corrupt));
        check(ffi::SQLITE_NOTADB, Some(Fault::Corrupt));
        check(ffi::SQLITE_CONSTRAINT, Some(Fault::Internal));
        check(ffi::SQLITE_BUSY, None);
    }
}
