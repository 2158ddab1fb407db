//! Getting out of a damaged store what is whole: into a new store, with a list of what is lost.
//!
//! The journal is walked as recovery walks it, but over damage instead of up to it: frames that are whole, records that are whole in
//! frames that are not, whatever the snapshots still say. They are replayed into a queue manager, which passes over what contradicts
//! what it knows; every message whose payload can still be read is written, byte for byte, into the new store.
//!
//! Invariants:
//! 1. The source is only read, but for the lock file if the lock can be taken. A store that somebody owns is refused.
//! 2. A message comes out only with its payload, checked. Nothing is invented but names of queues and kinds whose definition is lost.
//! 3. Whatever is not there any more is in the report: where bytes are lost, which messages are lost with them, and which may run again
//!    because the record of their end may be among them.
//! 4. Nothing goes on by itself in the new store whose end or pause may be among what is lost: bulk jobs have ended, schedules are paused.
//! 5. The new store has the identity of the old one, so that ids hold, and later incarnations, as [a copy](crate::backup) has.
//!
//! What it does not do: repair in place, guess payloads.

mod quiet;
mod source;
mod state;
mod walk;
mod write;

use std::sync::Arc;

use mq_core::bulk::BulkId;
use mq_core::id::MessageId;
use mq_core::name::{QueueName, ScheduleName};
use mq_core::queue::QueueSettings;
use mq_core::time::Timestamp;

use crate::backup::{BackupError, must_be_empty, must_be_sound};
use crate::error::{Failure, JournalError};
use crate::identity::IDENT_NAME;
use crate::inspect::{InspectError, files, verify};
use crate::open::{JournalOptions, LOCK_NAME, OpenError, OpenInputs};
use crate::storage::{LockRefusal, Storage};
use source::Source;
use state::State;

/// Messages listed one by one in each list of a report; the others are counted.
pub const LISTED_MAX: usize = 1_000;

/// What came out, and what did not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SalvageReport {
    /// Messages in the new store, each with its payload.
    pub messages: u64,
    /// The snapshot that replay began with.
    pub snapshot: Option<String>,
    /// Records of the journal that were used.
    pub records: u64,
    /// Places where something is lost.
    pub losses: Vec<Loss>,
    /// Messages that are known to be lost, at most [`LISTED_MAX`] of them.
    pub lost: Vec<LostMessage>,
    /// How many there are.
    pub lost_count: u64,
    /// Sequences of messages that were enqueued in what is lost, if any were: first and last of each row. Those that ended before are
    /// not in it as far as that is known. A last of `u64::MAX` is an open end.
    pub unknown: Vec<(u64, u64)>,
    /// Messages that may run again although they were settled, cancelled or held: they lived before the last loss and are not mentioned
    /// after it. At most [`LISTED_MAX`] of them.
    pub may_run_again: Vec<MessageId>,
    /// How many there are.
    pub may_run_again_count: u64,
    /// Bulk jobs that ran, or were not known to have ended: they end as failed, because something is lost.
    pub ended_jobs: Vec<EndedJob>,
    /// If part of the journal is lost: all schedules, at most [`LISTED_MAX`] of them, by name. They are paused: one that was removed
    /// or paused in what is lost must not fire again.
    pub schedules: Vec<ScheduleBefore>,
    /// How many there are.
    pub schedules_count: u64,
    /// If part of the journal is lost: queues whose settings may have been changed in it, at most [`LISTED_MAX`] of them.
    pub queues: Vec<QueueBefore>,
    /// How many there are.
    pub queues_count: u64,
    /// Queues and kinds whose name is lost, with the name they got.
    pub renamed: Vec<String>,
    /// Remarks: a torn tail, which nobody was promised.
    pub notes: Vec<String>,
    /// `IDENT` is lost: ids of messages are new, and keys given before do not match keys given from now on.
    pub identity_lost: bool,
}

impl SalvageReport {
    /// Whether everything that was ever promised came out.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.losses.is_empty() && self.lost_count == 0 && !self.identity_lost
    }

    fn note_lost(&mut self, lost: LostMessage) {
        self.lost_count += 1;
        if self.lost.len() < LISTED_MAX {
            self.lost.push(lost);
        }
    }
}

/// A place where something is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The file.
    pub file: String,
    /// Where in it the loss begins, in bytes, if at any one place.
    pub offset: Option<u64>,
    /// Bytes up to where something is whole again, if that is known.
    pub size: Option<u64>,
    /// What is wrong.
    pub reason: String,
}

/// A message that is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostMessage {
    /// Its sequence.
    pub seq: u64,
    /// Its id, if its facts are known.
    pub id: Option<MessageId>,
    /// Why.
    pub reason: String,
}

/// A bulk job that does not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedJob {
    /// Its number.
    pub id: BulkId,
    /// Who started it.
    pub by: String,
}

/// A schedule as it was before the loss: it may have been changed, paused or removed since. It is paused now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleBefore {
    /// Its name.
    pub name: ScheduleName,
    /// It was paused.
    pub paused: bool,
    /// When it was to fire next.
    pub next: Option<Timestamp>,
}

/// A queue as it was before the loss, and is now: an operator may have set it otherwise since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueBefore {
    /// Its name.
    pub name: QueueName,
    /// Its settings.
    pub settings: QueueSettings,
}

/// Why nothing was salvaged. The source is as it was; what was written of the new store can be removed.
#[derive(Debug, thiserror::Error)]
pub enum SalvageError {
    /// Somebody owns the store, so it works: stop that program first.
    #[error("the store is in use by {}; stop that program first", if owner.is_empty() { "another owner" } else { owner })]
    InUse {
        /// The owner's own words.
        owner: String,
    },
    /// There is no store to look at.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// Neither `IDENT` nor the header of any segment is whole: nothing says where checksums begin, so no byte can be told from damage.
    #[error(
        "neither {IDENT_NAME} nor the header of any segment is whole; nothing can be checked, so nothing is taken"
    )]
    NothingWhole,
    /// The new store could not be made there, or is not sound.
    #[error(transparent)]
    Target(#[from] BackupError),
    /// The new store could not be made.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The new store could not be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The disk of the new store has no room for it.
    #[error(
        "the disk of the new store has no room for it; make room, remove what was written, and run it again"
    )]
    NoRoom,
}

/// Writes what is whole in `source` into a new store in `target`, which must be empty or not there, and checks that.
///
/// # Errors
/// [`SalvageError`]; the source is as it was.
pub fn salvage(
    source: &Arc<dyn Storage>,
    target: &Arc<dyn Storage>,
    options: &JournalOptions,
    inputs: OpenInputs<'_>,
) -> Result<SalvageReport, SalvageError> {
    let files = files(&**source)?;
    let lock = match source.lock(LOCK_NAME, &inputs.owner) {
        Ok(lock) => Some(lock),
        Err(LockRefusal::Held { owner }) => return Err(SalvageError::InUse { owner }),
        Err(LockRefusal::Io(_)) => None, // as on a file system that is mounted read-only
    };
    target
        .create_directory()
        .map_err(Failure::of("creation", &target.describe()))
        .map_err(BackupError::from)?;
    must_be_empty(&**target)?;
    let mut inputs = inputs;
    let source = Source::look(source, &files, &mut inputs)?;
    let mut state = State::new(&source, &inputs.config);
    state.begin(&source);
    state.replay(&source);
    let report = write::write(state, &source, target, options, inputs)?;
    must_be_sound(verify(target).map_err(BackupError::from)?)?;
    drop(lock);
    Ok(report)
}
