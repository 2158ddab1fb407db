//! What a store needs done, and freeing what it no longer needs.
//!
//! Invariants: those of [the keeper](crate::keeper), of which this is the half that looks at the places.

use std::sync::Arc;

use mq_core::canary;

use crate::keeper::Keeper;
use crate::lsn::Lsn;
use crate::pins::SegmentFile;
use crate::places::Places;
use crate::spares::Material;

/// What is wanted, after a look under the manager token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// A snapshot: take the images of manager and places now, sync the journal, and hand them to [`Keeper::snapshot`].
    pub snapshot: bool,
    /// Call [`Keeper::reclaim`]: segments are free.
    pub reclaim: bool,
    /// Call [`Keeper::read_live`]: records must move for their segments to become free.
    pub compaction: bool,
}

impl Keeper {
    /// Looks at the places, takes the segments nothing needs any more out of the store, and says what else is wanted. To be called
    /// under the manager token, at a frame boundary: the journal was written up to `written` and is durable up to `durable`.
    ///
    /// Takes as long as there are segments, not messages.
    pub fn survey(&mut self, places: &mut Places, written: Lsn, durable: Lsn) -> Survey {
        self.messages = places.len();
        let bound = self.slots.older().map_or(0, |older| older.at.segment());
        let bound = match self.slots.newest() {
            Some(newest) if canary::sings("segment-freed-for-the-newest") => newest.at.segment(),
            Some(_) | None => bound,
        };
        let settled = if canary::sings("segment-freed-before-the-sync") {
            written
        } else {
            durable
        };
        self.freed.extend(places.take_empty(settled, bound));
        self.plan_compaction(places, written, durable);
        Survey {
            snapshot: self.wants_snapshot(places, written, durable),
            reclaim: !self.freed.is_empty(),
            compaction: self.compaction.is_wanted(self.pool.room().low),
        }
    }

    /// Closes the files of old segments beyond those that may be open. To be called under no token: closing one may take long.
    pub fn close_idle(&self) {
        self.segments.close_idle();
    }

    /// Hands freed segments that nobody reads any more to the pool, to become spares; answers how many. The others wait.
    pub fn reclaim(&mut self) -> usize {
        let under_a_reader = canary::sings("segment-freed-under-a-reader");
        let is_free = |segment: &Arc<SegmentFile>| SegmentFile::sole(segment) || under_a_reader;
        let (free, read): (Vec<_>, Vec<_>) = self.freed.drain(..).partition(is_free);
        self.freed = read;
        for segment in &free {
            self.pool.add_material(Material::from(&**segment));
        }
        free.len()
    }

    /// Whether segments are free that somebody still reads.
    #[must_use]
    pub const fn awaits_readers(&self) -> bool {
        !self.freed.is_empty()
    }

    fn wants_snapshot(&self, places: &Places, written: Lsn, durable: Lsn) -> bool {
        let newest = self.slots.newest();
        let (at, size) = newest.map_or((Lsn::START, 0), |newest| (newest.at, newest.size));
        let due = self.options.snapshot_after_min.max(size.saturating_mul(2));
        let grown = self.journal_between(at, written) >= due;
        // Segments are full of what is over and wait for nothing but two snapshots after them: with space this scarce, now.
        let frees = || places.has_empty(durable, written.segment());
        grown || (self.pool.room().low && frees())
    }

    /// Bytes of journal from one position to another.
    pub(crate) fn journal_between(&self, from: Lsn, to: Lsn) -> u64 {
        let segments: Vec<Arc<SegmentFile>> = self.segments.list();
        let between = segments
            .iter()
            .filter(|it| (from.segment()..to.segment()).contains(&it.number()));
        let bytes: u64 = between.map(|segment| u64::from(segment.size())).sum();
        (bytes + u64::from(to.offset())).saturating_sub(from.offset().into())
    }
}
