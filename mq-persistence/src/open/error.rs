//! Why a store does not open. Every message says what to do next.

use crate::error::{Failure, JournalError};
use crate::identity::FORMAT_VERSION;
use crate::lsn::Lsn;
use crate::recovery::Contradiction;
use crate::snapshot::{DamagedSnapshot, LoadError};
use crate::storage::StorageRefusal;

/// Why a store was not opened. It is as it was found.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another handle of this one, has it open.
    #[error("the store is in use by {}; stop that program or open another directory", if owner.is_empty() { "another owner" } else { owner })]
    InUse {
        /// The owner's own words.
        owner: String,
    },
    /// No store may live there.
    #[error(transparent)]
    Refused(#[from] StorageRefusal),
    /// It was written by a newer version of this program.
    #[error(
        "{file} needs a reader of format {required}, and this one knows format {FORMAT_VERSION}; open the store with a newer version"
    )]
    NewerFormat {
        /// The file that says so.
        file: String,
        /// The format it needs.
        required: u16,
    },
    /// A file of another store is among this one's.
    #[error("{file} belongs to another store; put this store's own file back")]
    OtherStore {
        /// Which.
        file: String,
    },
    /// Bytes that were promised to be there are not.
    #[error(transparent)]
    Corrupt(Box<Corruption>),
    /// A record is whole, but says what cannot be true after those before it: a mistake in this program, or a forgery.
    #[error(
        "{file} holds a record at offset {offset} that contradicts the ones before it ({contradiction}); keep a copy of the store and \
         report this, and run `mq dump --payloads` on a copy to read its messages"
    )]
    Contradiction {
        /// The segment or snapshot.
        file: String,
        /// Where the record begins.
        offset: u64,
        /// What is contradictory.
        #[source]
        contradiction: Contradiction,
    },
    /// A segment of the journal is not there.
    #[error(
        "{file} is missing; it is needed by {needed_by}. Put it back, or run `mq salvage --to NEW` to get out what is left"
    )]
    MissingSegment {
        /// Its name.
        file: String,
        /// By what it is needed.
        needed_by: String,
    },
    /// There are files of a store, but not the one that says which store it is.
    #[error(
        "IDENT is missing, but {file} is there; put IDENT back, or run `mq salvage --to NEW` to get the messages out"
    )]
    MissingIdentity {
        /// A file of that store.
        file: String,
    },
    /// The folder holds files of somebody else, and no store. None was made among them.
    #[error(
        "there is no store, but {file} is there: a new store needs an empty folder, or one that does not exist"
    )]
    NotAStore {
        /// One of those files.
        file: String,
    },
    /// The disk has no room for what opening must write.
    #[error(
        "the disk has no room for {wanted} bytes, which opening the store needs; make room and open it again"
    )]
    DiskFull {
        /// How many bytes are wanted.
        wanted: u32,
    },
    /// The system failed a call.
    #[error(
        "{0}; see that the folder and the disk are there and in order, then open the store again"
    )]
    Io(#[from] Failure),
    /// The system failed a write or sync. What was durable is; opening again decides about the rest.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl OpenError {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InUse { .. } => "in_use",
            Self::Refused(_) | Self::NotAStore { .. } => "unsuitable",
            Self::NewerFormat { .. } => "newer_format",
            Self::OtherStore { .. }
            | Self::MissingSegment { .. }
            | Self::MissingIdentity { .. } => "incomplete",
            Self::Corrupt(_) | Self::Contradiction { .. } => "corrupt",
            Self::DiskFull { .. } => "no_room",
            Self::Io(_) | Self::Journal(_) => "io",
        }
    }
}

/// Where a store is damaged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{file} is damaged at offset {offset}: {reason}{}. Nothing was changed. Put a good copy back, run `mq verify` for all that is wrong, or \
     `mq salvage --to NEW` to get out what is whole",
    evidence.map(|at| format!(" (the frame at {at} says that this was synced)")).unwrap_or_default()
)]
pub struct Corruption {
    /// The file.
    pub file: String,
    /// The first byte that is not as it must be.
    pub offset: u64,
    /// Its position in the journal, if the file is a segment.
    pub lsn: Option<Lsn>,
    /// The frame that proves that something else was there; what lies before it is lost from `lsn` on.
    pub evidence: Option<Lsn>,
    /// What is wrong there.
    pub reason: String,
}

impl OpenError {
    /// A snapshot that is needed and is not whole.
    pub(crate) fn of_snapshot(damaged: DamagedSnapshot) -> Self {
        Self::Corrupt(Box::new(Corruption {
            file: damaged.file,
            offset: 0,
            lsn: None,
            evidence: None,
            reason: damaged.reason,
        }))
    }
}

impl From<LoadError> for OpenError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Io(failure) => Self::Io(failure),
            LoadError::Newer { file, required } => Self::NewerFormat { file, required },
            LoadError::OtherStore { file } => Self::OtherStore { file },
        }
    }
}
