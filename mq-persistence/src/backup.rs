//! A copy of a store that goes on being used: the state at one position of the journal, as a snapshot, and the segments in which the
//! messages of that state lie. The copy is a store; it opens as one.
//!
//! Invariants:
//! 1. The source is only read. Whoever holds a [`Backup`] holds its segments: none of them is recycled meanwhile.
//! 2. `IDENT` is written last, when everything else is durable: a copy that was interrupted is no store, and opening it says so.
//! 3. Nothing behind the position is copied: what was written there later is not in the copy, not even as a torn tail.
//! 4. A finished copy was checked from end to end, as it lies there.
//!
//! The copy is a *fork*: it has the identity of its source, so that the ids of messages hold in it. Its incarnations begin
//! [`INCARNATION_GAP`] above those of the source, so that leases handed out by the copy compare greater than any lease the source hands
//! out in that many further openings: what is fenced with lease tokens outside takes the copy for the later one.
//!
//! What it does not do: choose the position (the owner of manager and log does), name the directory that is being filled.

use std::ops::ControlFlow;
use std::sync::Arc;

use mq_core::image::ImageRecord;
use mq_core::manager::{Config, QueueManager};
use mq_core::time::Now;

use crate::error::{Failure, JournalError};
use crate::identity::Identity;
use crate::inspect::{InspectError, Severity, VerifyReport, verify_while};
use crate::lsn::Lsn;
use crate::open::{LOCK_NAME, write_identity};
use crate::pins::SegmentFile;
use crate::places::PlacesImage;
use crate::snapshot::{self, Content, NEXT_NAME, SLOT_NAMES, SegmentEntry};
use crate::spares::Trouble;
use crate::storage::{LockRefusal, OpenMode, Storage, StorageFile, read_up_to_at, write_all_at};

/// By how much the incarnations of a copy are above those of its source.
pub const INCARNATION_GAP: u32 = 1 << 16;
/// Bytes copied between two looks at whether to go on.
const STRETCH: usize = 1 << 20;

/// What is to be copied: the store as it was at one position, which is durable.
#[derive(Debug)]
pub struct Backup<R> {
    /// Who the store is.
    pub identity: Identity,
    /// The facts of the manager there.
    pub records: R,
    /// The places there.
    pub places: PlacesImage,
    /// The segments in which they lie, and the one of the position: [`Places::lived_in`](crate::places::Places::lived_in).
    pub segments: Vec<Arc<SegmentFile>>,
    /// The position.
    pub at: Lsn,
    /// Both clocks then.
    pub now: Now,
}

/// How far a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupProgress {
    /// Bytes of segments copied.
    pub copied: u64,
    /// Bytes of segments to be copied.
    pub total: u64,
}

/// What was copied, and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupReport {
    /// The copy holds the store up to here.
    pub at: Lsn,
    /// Segments copied.
    pub segments: u64,
    /// Bytes of them and of the snapshot.
    pub bytes: u64,
    /// Messages in the copy, each read back from it.
    pub messages: u64,
}

/// Why there is no copy. The source is untouched; what was written of the copy is no store and can be removed.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Something is in the target already. Choose a directory that is not there, or empty.
    #[error(
        "{directory} is not empty ({file} is in it); choose a directory that is empty or not there"
    )]
    NotEmpty {
        /// The directory.
        directory: String,
        /// One of the files in it.
        file: String,
    },
    /// Somebody else writes into the target.
    #[error(transparent)]
    Lock(#[from] LockRefusal),
    /// A file of the source could not be read, or one of the copy not be written: its disk is full, say.
    #[error("{failure}")]
    Io {
        /// Which, and what the system answered.
        #[source]
        failure: Failure,
    },
    /// The copy could not be looked at.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// The copy is not sound: a message of the source cannot be read, or the target does not hold what is written to it.
    #[error(
        "the copy is not sound: {file}: {reason}; run `mq verify` on the store that was copied, and look at the disk of the copy"
    )]
    Unsound {
        /// Where.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// Whoever asked for it gave it up, or its source stopped.
    #[error("the copy was given up")]
    GivenUp,
}

impl From<Failure> for BackupError {
    fn from(failure: Failure) -> Self {
        Self::Io { failure }
    }
}

impl<R: Iterator<Item = ImageRecord>> Backup<R> {
    /// Writes the copy into `target`, a directory that is empty or not there, and checks it. `go_on` is asked after each MiB, and
    /// now and then while the copy is checked.
    ///
    /// # Errors
    /// [`BackupError`]; the source is untouched.
    pub fn write(
        self,
        target: &Arc<dyn Storage>,
        go_on: &mut dyn FnMut(BackupProgress) -> ControlFlow<()>,
    ) -> Result<BackupReport, BackupError> {
        target
            .create_directory()
            .map_err(Failure::of("creation", &target.describe()))?;
        must_be_empty(&**target)?;
        let lock = target.lock(LOCK_NAME, "a copy that is being made")?;
        let (at, segments) = (self.at, self.segments.len() as u64);
        let tag = self.identity.tag;
        let mut progress = BackupProgress {
            copied: 0,
            total: self.segments.iter().map(|it| u64::from(it.size())).sum(),
        };
        for segment in &self.segments {
            copy(segment, at, &**target, &mut progress, go_on)?;
        }
        let bytes = self.finish(&**target)? + progress.copied;
        let config = Config {
            tag,
            ..Config::default()
        };
        let replay = |_: &Identity| QueueManager::new(config);
        let report = verify_while(target, replay, &mut || go_on(progress))?;
        if go_on(progress).is_break() {
            return Err(BackupError::GivenUp);
        }
        drop(lock);
        let messages = report.messages;
        must_be_sound(report)?;
        Ok(BackupReport {
            at,
            segments,
            bytes,
            messages,
        })
    }

    /// The snapshot, and then `IDENT`, which makes it a store; answers the size of the snapshot.
    fn finish(self, target: &dyn Storage) -> Result<u64, BackupError> {
        let segments: Vec<SegmentEntry> = self
            .segments
            .iter()
            .map(|it| SegmentEntry::of(it))
            .collect();
        let created = target.open(NEXT_NAME, OpenMode::CreateNew);
        let file = created.map_err(Failure::of("create", NEXT_NAME))?;
        let content = Content {
            segments: &segments,
            places: self.places,
            records: &mut self.records.map(later),
        };
        let written = snapshot::write(
            &*file,
            &self.identity,
            (1, self.at, &self.now),
            content,
            &mut || Ok(()),
        );
        let facts = written.map_err(of_trouble)?;
        let [slot, _] = SLOT_NAMES;
        target
            .rename(NEXT_NAME, slot)
            .map_err(Failure::of("rename", NEXT_NAME))?;
        target
            .sync_directory()
            .map_err(Failure::of("sync of the directory", ""))?;
        write_identity(target, &self.identity)?;
        Ok(facts.size)
    }
}

/// A fact of the source as a fact of the copy: its incarnations are later.
pub(crate) fn later(mut record: ImageRecord) -> ImageRecord {
    if let ImageRecord::Counters { incarnation, .. } = &mut record {
        incarnation.0 = incarnation.0.saturating_add(INCARNATION_GAP);
    }
    record
}

pub(crate) fn must_be_empty(target: &dyn Storage) -> Result<(), BackupError> {
    let names = target.list().map_err(Failure::of("list", ""))?;
    match names.into_iter().next() {
        None => Ok(()),
        Some(file) => Err(BackupError::NotEmpty {
            directory: target.describe(),
            file,
        }),
    }
}

pub(crate) fn must_be_sound(report: VerifyReport) -> Result<(), BackupError> {
    let damage = |it: &crate::inspect::Finding| it.severity == Severity::Damage;
    match report.findings.into_iter().find(damage) {
        None => Ok(()),
        Some(finding) => Err(BackupError::Unsound {
            file: finding.file,
            reason: finding.text,
        }),
    }
}

fn of_trouble(trouble: Trouble) -> BackupError {
    let (operation, file, reason) = match trouble {
        Trouble::NoRoom => (
            "write",
            NEXT_NAME.to_owned(),
            std::io::ErrorKind::StorageFull.into(),
        ),
        Trouble::Journal(JournalError::Poisoned {
            operation,
            file,
            reason,
        }) => (operation, file, std::io::Error::other(reason)),
    };
    Failure::of(operation, &file)(reason).into()
}

/// Copies a segment and syncs the copy: all of it, or what lies before `at`, and zeros.
fn copy(
    segment: &SegmentFile,
    at: Lsn,
    target: &dyn Storage,
    progress: &mut BackupProgress,
    go_on: &mut dyn FnMut(BackupProgress) -> ControlFlow<()>,
) -> Result<(), BackupError> {
    let name = segment.name();
    let from = segment.file().map_err(Failure::of("open", name))?;
    let created = target.open(name, OpenMode::CreateNew);
    let to = created.map_err(Failure::of("create", name))?;
    let size = u64::from(segment.size());
    let end = if segment.number() == at.segment() {
        u64::from(at.offset())
    } else {
        size
    };
    let mut stretch = vec![0; STRETCH];
    let mut position = 0;
    while position < size {
        let len = STRETCH.min(usize::try_from(size - position).unwrap_or(STRETCH));
        let bytes = stretch.get_mut(..len).unwrap_or_default();
        read_or_zero(&*from, bytes, position, end).map_err(Failure::of("read", name))?;
        write_all_at(&*to, bytes, position).map_err(Failure::of("write", name))?;
        position += len as u64;
        progress.copied += len as u64;
        if go_on(*progress).is_break() {
            return Err(BackupError::GivenUp);
        }
    }
    Ok(to.sync_data().map_err(Failure::of("sync", name))?)
}

/// Reads what lies before `end`; what lies behind is zero.
fn read_or_zero(
    file: &dyn StorageFile,
    bytes: &mut [u8],
    position: u64,
    end: u64,
) -> std::io::Result<()> {
    bytes.fill(0);
    let wanted = usize::try_from(end.saturating_sub(position)).unwrap_or(usize::MAX);
    let wanted = wanted.min(bytes.len());
    let bytes = bytes.get_mut(..wanted).unwrap_or_default();
    if read_up_to_at(file, bytes, position)? < wanted {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}
