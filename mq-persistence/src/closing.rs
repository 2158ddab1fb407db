//! What a store does when it closes: a snapshot if that pays, and giving back what is then over. So a program that opens a store for a
//! moment, again and again, leaves it no larger than it found it.
//!
//! Invariants: those of [the keeper](crate::keeper). All of it happens behind the mark of an orderly close: a crash in here leaves a
//! store that was closed in order.
//!
//! What it does not do: wait for readers (what they hold is found again at the next opening), make spares that are missing.

use crate::error::JournalError;
use crate::frame::Relocation;
use crate::keeper::Keeper;
use crate::lsn::Lsn;
use crate::pins::ReadFailure;
use crate::places::Places;

/// Segments that a store may consist of before a close copies what lives in old ones.
const SEGMENTS_MAX: usize = 4;
/// Bytes that it copies.
const COPY_SIZE: usize = 256 << 10;

impl Keeper {
    /// What to copy to the end of the journal before it is closed, at most 256 KiB: what lives in segments that hold little else, if
    /// there are more than a few. Openings that are too short for compaction would else leave one segment each.
    ///
    /// To be called under the manager token, after a [`survey`](Self::survey).
    ///
    /// # Errors
    /// A record could not be read and stays where it is.
    pub fn read_live_at_close(&mut self) -> Result<Vec<Relocation>, ReadFailure> {
        let is_small = self.segments.list().len() <= SEGMENTS_MAX;
        if is_small || self.pool.room().low {
            return Ok(Vec::new());
        }
        self.read_live(COPY_SIZE)
    }

    /// Whether a snapshot of a journal that ends at `end` pays: the segments begun since the last one take more of the disk, and more to
    /// read at the next opening, than the snapshot will.
    #[must_use]
    pub fn pays_at_close(&mut self, places: &Places, end: Lsn) -> bool {
        self.messages = places.len();
        let newest = self.newest_snapshot().map_or(Lsn::START, |it| it.at);
        self.journal_between(newest, end) >= self.snapshot_estimate()
    }

    /// Takes the segments that nothing needs out of the store, under the manager token. The journal is closed and durable up to `end`.
    pub fn take_at_close(&mut self, places: &mut Places, end: Lsn) {
        let bound = self.slots.older().map_or(0, |older| older.at.segment());
        self.freed.extend(places.take_empty(end, bound));
    }

    /// Makes the spares that are missing out of what was taken, and removes the rest.
    ///
    /// # Errors
    /// A rename, removal or sync failed. The store is closed all the same, and opens again.
    pub fn give_back_at_close(&mut self) -> Result<(), JournalError> {
        self.reclaim();
        self.pool.use_up_material()
    }
}
