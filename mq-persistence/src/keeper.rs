//! The housekeeper of a store: snapshots, spares, freeing, compaction.
//!
//! It has no thread and no clock. The owner calls one bounded step after the other, in this order, for as long as there is work:
//!
//! 1. under the manager token: [`Keeper::survey`], which says what is wanted;
//! 2. without it: [`Keeper::snapshot`] if wanted (the images were taken under the token), [`Keeper::reclaim`],
//!    [`Keeper::prepare_spares`], [`Keeper::read_live`].
//!
//! Invariants:
//! 1. A snapshot replaces the older of two, and the journal is durable up to where it was taken.
//! 2. A segment is freed when nothing lives in it, durably, and both snapshots were taken after it: whichever of them recovery begins
//!    with, it needs nothing from there.
//! 3. A disk that is full stops no journal: the step answers that there is no room, and [`Keeper::room`] says so to producers.
//! 4. Any other error of a write, sync or rename means that the journal must stop: what comes after could rest on what was lost.
//!
//! What it does not do: touch the log or the manager, wait, retry.

use std::io;
use std::sync::Arc;

use mq_core::image::ImageRecord;
use mq_core::time::Now;

use crate::compaction::Compaction;
use crate::error::{Failure, JournalError};
use crate::lsn::Lsn;
use crate::pins::{SegmentFile, Segments};
use crate::places::PlacesImage;
use crate::snapshot::{self, ASIDE_PREFIX, Content, NEXT_NAME, SegmentEntry, Slots, SnapshotFacts};
use crate::spares::{DiskRoom, Prepared, SparePool, Trouble};
use crate::storage::{OpenMode, Storage, StorageFile, write_all_at};

/// Bytes of room for a snapshot written in one step.
const STRETCH: u64 = 1 << 20;
/// What a message is taken to need in a snapshot before one was written.
const MESSAGE_SIZE_GUESS: u64 = 160;
/// Room for a snapshot beyond what its messages need.
const SNAPSHOT_SIZE_BASE: u64 = 16 << 10;

/// What a keeper has to know.
#[derive(Clone, Copy, Debug)]
pub struct KeeperOptions {
    /// Journal written since the last snapshot before another is wanted, in bytes; or twice its size, if that is more.
    pub snapshot_after_min: u64,
    /// A segment with less than this part of it alive is compacted, in per cent.
    pub compaction_live_percent: u64,
}

/// What came of taking a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Snapshotted {
    /// It is durable.
    Taken(SnapshotFacts),
    /// The disk has no room for it. The older ones stand; nothing is lost but time at the next opening.
    NoRoom,
}

/// See the head of this file.
#[derive(Debug)]
pub struct Keeper {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) segments: Arc<Segments>,
    pub(crate) pool: Arc<SparePool>,
    pub(crate) options: KeeperOptions,
    pub(crate) slots: Slots,
    /// Segments taken out of the store whose readers are not done yet.
    pub(crate) freed: Vec<Arc<SegmentFile>>,
    pub(crate) compaction: Compaction,
    /// Messages that had a place at the last survey.
    pub(crate) messages: u64,
    /// Bytes of [`NEXT_NAME`] that were written ahead.
    room: u64,
}

impl Keeper {
    /// A keeper of the store whose snapshots are `slots`.
    #[must_use]
    pub fn new(
        storage: Arc<dyn Storage>,
        segments: Arc<Segments>,
        pool: Arc<SparePool>,
        slots: Slots,
        options: KeeperOptions,
    ) -> Self {
        Self {
            storage,
            segments,
            pool,
            options,
            slots,
            freed: Vec::new(),
            compaction: Compaction::default(),
            messages: 0,
            room: 0,
        }
    }

    /// Takes a snapshot: `records` and `places` as they were when the journal ended at `at`, which is durable by now.
    ///
    /// Spares go on being prepared between its blocks: a large snapshot does not leave the log without.
    ///
    /// # Errors
    /// The journal must stop. The older snapshots are still good.
    ///
    /// # Panics
    /// If the journal is not durable up to `at`: a crash could leave a snapshot of what never was.
    pub fn snapshot(
        &mut self,
        records: impl Iterator<Item = ImageRecord>,
        places: PlacesImage,
        (at, durable): (Lsn, Lsn),
        now: &Now,
    ) -> Result<Snapshotted, JournalError> {
        assert!(
            at <= durable,
            "a snapshot at {at} of a journal that is durable up to {durable} only"
        );
        if !self.has_room_for_snapshot() {
            return Ok(Snapshotted::NoRoom);
        }
        let mut records = records;
        match self.write_snapshot(&mut records, places, at, now) {
            Ok(facts) => Ok(Snapshotted::Taken(facts)),
            Err(Trouble::NoRoom) => {
                self.give_up_room()?;
                Ok(Snapshotted::NoRoom)
            }
            Err(Trouble::Journal(error)) => Err(error),
        }
    }

    /// One bounded step towards enough spares and, when space is scarce, room for the next snapshot.
    ///
    /// # Errors
    /// The journal must stop. A full disk is no error but [`Prepared::DiskLow`].
    pub fn prepare_spares(&mut self) -> Result<Prepared, JournalError> {
        let need = self.snapshot_need();
        self.pool.set_snapshot_room(need, self.room);
        match self.pool.step()? {
            Prepared::Enough if self.pool.is_scarce() && self.room < need => self.widen_room(need),
            prepared @ (Prepared::Enough | Prepared::Progress | Prepared::DiskLow) => Ok(prepared),
        }
    }

    /// How much can be written for certain.
    #[must_use]
    pub fn room(&self) -> DiskRoom {
        self.pool.room()
    }

    /// The pool that the log takes its segments from.
    #[must_use]
    pub const fn pool(&self) -> &Arc<SparePool> {
        &self.pool
    }

    /// The newest snapshot.
    #[must_use]
    pub fn newest_snapshot(&self) -> Option<SnapshotFacts> {
        self.slots.newest()
    }

    fn write_snapshot(
        &mut self,
        records: &mut dyn Iterator<Item = ImageRecord>,
        places: PlacesImage,
        at: Lsn,
        now: &Now,
    ) -> Result<SnapshotFacts, Trouble> {
        let generation = self
            .slots
            .newest()
            .map_or(1, |newest| newest.generation + 1);
        let (slot, is_damaged) = self.slots.target();
        if is_damaged {
            let aside = format!("{ASIDE_PREFIX}{slot}-before-{generation}");
            self.rename(slot, &aside)?;
        }
        let file = self.open_next()?;
        let segments = self.segment_entries(at);
        let content = Content {
            segments: &segments,
            places,
            records,
        };
        let pool = &self.pool;
        let facts = snapshot::write(
            &*file,
            self.segments.identity(),
            (generation, at, now),
            content,
            &mut || pool.step().map(drop),
        )?;
        self.rename(NEXT_NAME, slot)?;
        self.slots.put(slot, facts);
        self.room = 0;
        self.pool.set_snapshot_room(self.snapshot_need(), self.room);
        Ok(facts)
    }

    /// The segments that hold the journal up to `at`.
    fn segment_entries(&self, at: Lsn) -> Vec<SegmentEntry> {
        let segments = self.segments.list();
        let before = segments.iter().filter(|it| it.number() <= at.segment());
        before
            .map(|segment| SegmentEntry {
                number: segment.number(),
                size: segment.size(),
                salt: segment.salt(),
            })
            .collect()
    }

    /// Renames and makes that durable.
    fn rename(&self, from: &str, to: &str) -> Result<(), JournalError> {
        let renamed = self.storage.rename(from, to);
        renamed.map_err(Failure::of("rename", from))?;
        let synced = self.storage.sync_directory();
        Ok(synced.map_err(Failure::of("sync of the directory", ""))?)
    }

    /// The file that the next snapshot is written to, over whatever is in it.
    fn open_next(&self) -> Result<Arc<dyn StorageFile>, Trouble> {
        match self.storage.open(NEXT_NAME, OpenMode::ReadWrite) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let created = self.storage.open(NEXT_NAME, OpenMode::CreateNew);
                created.map_err(|error| Trouble::of(Failure::of("create", NEXT_NAME)(error)))
            }
            opened => opened.map_err(|error| Trouble::of(Failure::of("open", NEXT_NAME)(error))),
        }
    }

    /// Whether trying makes sense. Only a hint, but it saves writing all but the end of a large snapshot again and again.
    fn has_room_for_snapshot(&self) -> bool {
        let free = self.storage.free_bytes().unwrap_or(u64::MAX);
        free.saturating_add(self.room) >= self.snapshot_need()
    }

    /// Bytes the next snapshot may take, a quarter to spare.
    fn snapshot_need(&self) -> u64 {
        let (size, each) = self
            .slots
            .newest()
            .map_or((0, MESSAGE_SIZE_GUESS), |newest| {
                (newest.size, newest.size / newest.records.max(1))
            });
        let need = size.max(each.saturating_mul(self.messages));
        SNAPSHOT_SIZE_BASE + need + need / 4
    }

    /// Writes the next stretch of room for a snapshot.
    fn widen_room(&mut self, need: u64) -> Result<Prepared, JournalError> {
        let stretch = (need - self.room).min(STRETCH);
        let zeros = vec![0; usize::try_from(stretch).unwrap_or_default()];
        let written = self.open_next().and_then(|file| {
            let written = write_all_at(&*file, &zeros, self.room).and_then(|()| file.sync_data());
            written.map_err(|error| Trouble::of(Failure::of("write", NEXT_NAME)(error)))
        });
        match written {
            Ok(()) => {
                self.room += stretch;
                self.pool.set_snapshot_room(need, self.room);
                Ok(Prepared::Progress)
            }
            Err(Trouble::NoRoom) => Ok(Prepared::DiskLow),
            Err(Trouble::Journal(error)) => Err(error),
        }
    }

    /// Gives the space of a snapshot that did not fit back.
    fn give_up_room(&mut self) -> Result<(), JournalError> {
        self.room = 0;
        match self.storage.remove(NEXT_NAME) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Failure::of("remove", NEXT_NAME)(error).into())
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}
