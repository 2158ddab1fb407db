//! What can go wrong below the engine, as facts: bytes that are not what they should be, calls to the disk that failed, a journal
//! that stopped for good.
//!
//! Why a store does not open is [`OpenError`](crate::open::OpenError)'s matter.

use std::io;

use rustix::io::Errno;

/// Bytes that are not an encoding of what they should be. Nothing was taken from them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They end too early.
    #[error("the bytes end inside {what}: {wanted} wanted, {left} left")]
    Short {
        /// The field that is cut.
        what: &'static str,
        /// How many bytes it needs.
        wanted: u64,
        /// How many there are.
        left: u64,
    },
    /// There are more of them than the fields account for.
    #[error("{count} bytes are left over")]
    Trailing {
        /// How many.
        count: u64,
    },
    /// A field has a value that no version of the format gives it.
    #[error("{what} cannot be {found}")]
    Value {
        /// The field.
        what: &'static str,
        /// Its value.
        found: u64,
    },
    /// A text is not UTF-8, or not a name.
    #[error("{what} is not a text of the allowed form")]
    Text {
        /// The field.
        what: &'static str,
    },
    /// A record is of a type that this version does not know and must not skip.
    #[error("record type {found} is unknown to this version")]
    UnknownType {
        /// The type's number.
        found: u8,
    },
    /// The checksum does not match.
    #[error("the checksum of {what} does not match")]
    Checksum {
        /// What it covers.
        what: &'static str,
    },
}

/// A call to the disk that failed, with what it was for.
#[derive(Debug, thiserror::Error)]
#[error("{operation} of {file} failed")]
pub struct Failure {
    /// What was being done: `write`, `sync`, `rename` …
    pub operation: &'static str,
    /// The file, by its name in the data directory; empty for the directory itself.
    pub file: String,
    /// What the system answered.
    #[source]
    pub source: io::Error,
}

impl Failure {
    /// For `map_err`: puts operation and file to an error of the storage.
    pub fn of(operation: &'static str, file: &str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self {
            operation,
            file: file.to_owned(),
            source,
        }
    }

    /// Whether there was no room for it now: on the disk, in a quota, or among the files that may be open. Part of a write may have been
    /// done; anything else was not, and all of it may be tried again.
    #[must_use]
    pub fn lacks_room(&self) -> bool {
        let is_full = matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        );
        is_full || self.lacks_files()
    }

    /// Whether the process, or the system, may not have another file open.
    #[must_use]
    pub fn lacks_files(&self) -> bool {
        let too_many = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
        let code = self.source.raw_os_error();
        code.is_some_and(|code| too_many.contains(&code))
    }
}

/// The journal stopped and takes nothing more in this opening of the store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// A write, sync or rename failed, now or earlier. Whether anything that was not durable before survives is unknown; what was
    /// durable is. Nothing is retried. Close the store, look at the disk, and open it again: that decides.
    #[error(
        "the journal stopped because {operation} of {file} failed ({reason}); what was not durable yet may or may not survive. \
         Close the store, check the disk, and open it again"
    )]
    Poisoned {
        /// What failed.
        operation: &'static str,
        /// On which file.
        file: String,
        /// What the system answered.
        reason: String,
    },
}

impl From<Failure> for JournalError {
    fn from(failure: Failure) -> Self {
        Self::Poisoned {
            operation: failure.operation,
            file: failure.file,
            reason: failure.source.to_string(),
        }
    }
}
