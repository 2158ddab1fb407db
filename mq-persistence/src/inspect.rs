//! Looking at a store without opening it: [`verify`] checks all of it, [`dump`] shows every record.
//!
//! Invariants:
//! 1. Nothing is changed, and no lock is taken. On a store that is in use, what its owner changes meanwhile can look like damage: look
//!    again before believing it.
//! 2. Whatever bytes the files hold, the answer is a report. Memory is bounded by the largest segment and what lives in the store.
//!
//! What it does not do: repair, salvage.

mod describe;
mod dump;
mod verify;

use std::io;

use crate::error::Failure;
use crate::identity::{IDENT_NAME, IDENT_SIZE, Identity};
use crate::open::LOCK_NAME;
use crate::room::ROOM_NAME;
use crate::segment;
use crate::snapshot::{ASIDE_PREFIX, NEXT_NAME, SLOT_NAMES};
use crate::storage::{OpenMode, Storage, StorageRefusal, read_up_to_at};

pub use describe::{Fields, Value};
pub use dump::{Dumped, DumpedEnd, DumpedFrame, DumpedRecord, dump};
pub(crate) use verify::verify_while;
pub use verify::{FINDINGS_MAX, Finding, Severity, VerifyReport, verify, verify_into};

/// Why a store could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// There is no store to look at, or it must not be touched.
    #[error(transparent)]
    Refused(#[from] StorageRefusal),
    /// There is a directory, but no store in it. Is it the right one?
    #[error(
        "{directory} holds no store: there is no IDENT in it, and no segment; give the folder that the program opens as its store"
    )]
    NoStore {
        /// The directory.
        directory: String,
    },
    /// The directory could not be read.
    #[error(transparent)]
    Io(#[from] Failure),
}

/// What a file in the directory of a store is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileRole {
    /// Who the store is.
    Identity,
    /// Held by the owner.
    Lock,
    /// A segment of the journal, or one ready to become part of it.
    Segment,
    /// On its way to being a segment; holds nothing.
    Spare,
    /// A snapshot.
    Snapshot,
    /// A snapshot being written, or room for one; holds nothing that counts.
    Scratch,
    /// Could not be read, and was put aside.
    Aside,
    /// Not a file of the journal.
    Other,
}

impl FileRole {
    /// The role that a name stands for.
    #[must_use]
    pub fn of(name: &str) -> Self {
        match name {
            IDENT_NAME => Self::Identity,
            LOCK_NAME => Self::Lock,
            NEXT_NAME | ROOM_NAME => Self::Scratch,
            _ if SLOT_NAMES.contains(&name) => Self::Snapshot,
            _ if segment::number_of(name).is_some() => Self::Segment,
            _ if segment::is_spare_name(name) => Self::Spare,
            _ if name.starts_with(ASIDE_PREFIX) => Self::Aside,
            _ => Self::Other,
        }
    }

    /// The word in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Lock => "lock",
            Self::Segment => "segment",
            Self::Spare => "spare",
            Self::Snapshot => "snapshot",
            Self::Scratch => "scratch",
            Self::Aside => "aside",
            Self::Other => "other",
        }
    }
}

/// A file in the directory of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// Its name.
    pub name: String,
    /// Its size in bytes; `None` if that could not be learned.
    pub size: Option<u64>,
    /// What it is for.
    pub role: FileRole,
}

/// All files, if there is a store.
pub(crate) fn files(storage: &dyn Storage) -> Result<Vec<FileFacts>, InspectError> {
    match storage.inspect() {
        Ok(_) | Err(StorageRefusal::ReadOnly { .. }) => {}
        Err(refusal) => return Err(refusal.into()),
    }
    let names = storage.list().map_err(Failure::of("list", ""))?;
    let files: Vec<FileFacts> = names
        .into_iter()
        .map(|name| FileFacts {
            size: size_of(storage, &name).ok(),
            role: FileRole::of(&name),
            name,
        })
        .collect();
    let is_store = |file: &FileFacts| matches!(file.role, FileRole::Identity | FileRole::Segment);
    if files.iter().any(is_store) {
        Ok(files)
    } else {
        let directory = storage.describe();
        Err(InspectError::NoStore { directory })
    }
}

fn size_of(storage: &dyn Storage, name: &str) -> io::Result<u64> {
    storage.open(name, OpenMode::Read)?.size()
}

/// The identity in `IDENT`, or what is wrong with it in words.
pub(crate) fn read_identity(storage: &dyn Storage) -> Result<Identity, String> {
    let read = || -> io::Result<Vec<u8>> {
        let file = storage.open(IDENT_NAME, OpenMode::Read)?;
        let mut bytes = vec![0; IDENT_SIZE];
        let read = read_up_to_at(&*file, &mut bytes, 0)?;
        bytes.truncate(read);
        Ok(bytes)
    };
    let bytes = read().map_err(|error| error.to_string())?;
    Identity::decode(&bytes).map_err(|error| error.to_string())
}
