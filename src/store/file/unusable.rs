//! Why the file cannot be used: the disk, the file, or its version.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "redb's errors may become more"
)]

use std::io;

use redb::{CommitError, DatabaseError, StorageError, TableError, TransactionError};

use super::VERSION;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(in crate::store) enum Unusable {
    /// The disk, not the file.
    #[error("{0}")]
    Disk(String),
    /// It is not what was written.
    #[error("damaged: {0}")]
    Damaged(String),
    /// A later version of Pinfold has written it.
    #[error("written by a later version (format {0}, and this one knows {VERSION})")]
    Newer(u64),
}

impl From<StorageError> for Unusable {
    fn from(error: StorageError) -> Self {
        let is_damage = match &error {
            // What ends too soon, and what is no database at all.
            StorageError::Io(cause) => matches!(
                cause.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData
            ),
            StorageError::Corrupted(_) | StorageError::LockPoisoned(_) => true,
            _ => false,
        };
        let text = error.to_string();
        if is_damage {
            Self::Damaged(text)
        } else {
            Self::Disk(text.trim_start_matches("I/O error: ").into())
        }
    }
}

impl From<DatabaseError> for Unusable {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Storage(error) => error.into(),
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
                Self::Disk(error.to_string())
            }
            _ => Self::Damaged(error.to_string()),
        }
    }
}

impl From<TransactionError> for Unusable {
    fn from(error: TransactionError) -> Self {
        match error {
            TransactionError::Storage(error) => error.into(),
            _ => Self::Disk(error.to_string()),
        }
    }
}

impl From<TableError> for Unusable {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Storage(error) => error.into(),
            _ => Self::Damaged(error.to_string()),
        }
    }
}

impl From<CommitError> for Unusable {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Storage(error) => error.into(),
            _ => Self::Disk(error.to_string()),
        }
    }
}
