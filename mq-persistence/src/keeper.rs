//! The housekeeper of a store: snapshots, spares, freeing, compaction.
//!
//! It has no thread and no clock. The owner calls one bounded step after the other, in this order, for as long as there is work:
//!
//! 1. under the manager token: [`Keeper::survey`], which says what is wanted;
//! 2. without it: [`Keeper::close_idle`], [`Keeper::snapshot`] if wanted (the images were taken under the token),
//!    [`Keeper::reclaim`], [`Keeper::prepare_spares`], [`Keeper::read_live`].
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

use mq_core::canary;
use mq_core::image::ImageRecord;
use mq_core::time::Now;

use crate::compaction::Compaction;
use crate::error::{Failure, JournalError};
use crate::lsn::Lsn;
use crate::pins::{SegmentFile, Segments};
use crate::places::PlacesImage;
use crate::snapshot::{self, ASIDE_PREFIX, Content, NEXT_NAME, SegmentEntry, Slots, SnapshotFacts};
use crate::spares::{DiskRoom, Prepared, SparePool, Trouble};
use crate::storage::{OpenMode, Storage, StorageFile};

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
    /// Bytes of [`ROOM_NAME`](crate::room::ROOM_NAME); `None` before it was looked at.
    pub(crate) room: Option<u64>,
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
            room: None,
        }
    }

    /// Takes a snapshot: `records` and `places` as they were when the journal ended at `at`, which is durable by now.
    ///
    /// Spares go on being prepared between its blocks, unless space is scarce: a large snapshot does not leave the log without.
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
        if !self.make_room_for_snapshot()? {
            return Ok(Snapshotted::NoRoom);
        }
        let mut records = records;
        match self.write_snapshot(&mut records, places, at, now) {
            Ok(facts) => {
                self.compaction.try_again();
                Ok(Snapshotted::Taken(facts))
            }
            Err(Trouble::NoRoom) => {
                self.remove_next()?;
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
        self.report_room()?;
        // While space is scarce, what a snapshot gave back belongs to the next one: a new file must not take it.
        if self.pool.is_scarce() && !self.pool.has_material() {
            match self.keep_room()? {
                Prepared::Enough => self.pool.step(),
                prepared @ (Prepared::Progress | Prepared::DiskLow) => Ok(prepared),
            }
        } else {
            match self.pool.step()? {
                Prepared::Enough => self.keep_room(),
                prepared @ (Prepared::Progress | Prepared::DiskLow) => Ok(prepared),
            }
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
            self.slots.clear(slot); // what fails from here on is tried again, and this is done
        }
        if canary::sings("snapshot-deleted-first") {
            for name in snapshot::SLOT_NAMES {
                drop(self.storage.remove(name));
            }
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
            &mut || {
                if pool.is_scarce() {
                    Ok(())
                } else {
                    pool.step().map(drop)
                }
            },
        )?;
        self.rename(NEXT_NAME, slot)?;
        self.slots.put(slot, facts);
        Ok(facts)
    }

    /// The segments that hold the journal up to `at`.
    fn segment_entries(&self, at: Lsn) -> Vec<SegmentEntry> {
        let segments = self.segments.list();
        let before = segments.iter().filter(|it| it.number() <= at.segment());
        before.map(|it| SegmentEntry::of(it)).collect()
    }

    /// Renames and makes that durable.
    fn rename(&self, from: &str, to: &str) -> Result<(), Trouble> {
        let renamed = self.storage.rename(from, to);
        renamed.map_err(|error| Trouble::of(Failure::of("rename", from)(error)))?;
        if canary::sings("snapshot-name-not-synced") {
            return Ok(());
        }
        let synced = self.storage.sync_directory();
        let synced = synced.map_err(Failure::of("sync of the directory", ""));
        synced.map_err(|failure| Trouble::Journal(failure.into()))
    }

    /// The file that the next snapshot is written to, over whatever an interrupted one left in it.
    fn open_next(&self) -> Result<Arc<dyn StorageFile>, Trouble> {
        let opened = open_or_create(&*self.storage, NEXT_NAME);
        self.pool.note_opened(opened).map_err(Trouble::of)
    }

    /// Forgets a snapshot that did not fit, or of which not even the name did.
    fn remove_next(&self) -> Result<(), JournalError> {
        Ok(remove_if_there(&*self.storage, NEXT_NAME)?)
    }
}

/// Opens a file for writing; makes it if it is not there.
pub(crate) fn open_or_create(
    storage: &dyn Storage,
    name: &str,
) -> Result<Arc<dyn StorageFile>, Failure> {
    match storage.open(name, OpenMode::ReadWrite) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => storage
            .open(name, OpenMode::CreateNew)
            .map_err(Failure::of("create", name)),
        opened => opened.map_err(Failure::of("open", name)),
    }
}

/// Removes a file; one that is not there is fine.
pub(crate) fn remove_if_there(storage: &dyn Storage, name: &str) -> Result<(), Failure> {
    match storage.remove(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(Failure::of("remove", name)),
    }
}
