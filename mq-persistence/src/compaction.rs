//! Compaction: copies what still lives in old segments to the end of the journal, so that one old message does not keep the millions
//! around it on disk.
//!
//! There is no event and no second file: live records are read a bounded number of bytes at a time, appended to ordinary frames as
//! relocations, and the old segment is freed by the ordinary rule. Envelopes keep their bytes and their part of the checksum.
//!
//! Invariants:
//! 1. What is read may be over by the time it is appended: the owner checks, under the manager token, that the message's place is still
//!    the one it was read from ([`still_lives`]), and replay checks the same.
//! 2. A segment is compacted only when it could be freed at once: both snapshots were taken after it. A queue that flows empties its
//!    segments by itself; copying the rest of one earlier would be in vain.
//! 3. When the disk is low, compaction may be all that can free it: one message may live in each of many segments. Then one segment is
//!    compacted at a time, the next one when the last was freed, and only if what lives in it takes no more than half of what is left of
//!    the segment in use, or of one spare: the rest is for settling. When one spare is left at most, settling waits, and all of it may
//!    be taken.
//! 4. A record that cannot be read stays where it is. If it is damaged, its segment is not tried again: damage is reported, never spread.
//!    If the system did not deliver it, its segment is tried again when the next snapshot is taken.
//!
//! Source of the limit: ActiveMQ Artemis compacts below 30 % (`JournalConstants.JOURNAL_COMPACT_PERCENTAGE`).

use std::collections::{BTreeSet, VecDeque};

use mq_core::id::Seq;

use crate::frame::Relocation;
use crate::keeper::Keeper;
use crate::lsn::Lsn;
use crate::pins::{Pinned, ReadFailure, ReadFault};
use crate::places::{Place, Places, PlacesImage};

/// Segments emptied in one round, oldest first.
const SEGMENTS_PER_ROUND: usize = 8;
/// Places looked up in one round: bounds the memory of a round.
const PLACES_PER_ROUND: usize = 1 << 16;
/// What the frames around copied records take, about.
const FRAME_ROOM: u64 = 2 << 10;
/// Disk that a store may take before compaction becomes eager, in per cent of what lives.
const STORE_SIZE_PERCENT_MAX: u64 = 250;
/// Segments beyond that.
const STORE_SEGMENTS_FREE: u64 = 4;

/// What is being copied.
#[derive(Debug, Default)]
pub(crate) struct Compaction {
    /// Segments to be emptied, and all places when they were chosen; looked through outside the token.
    planned: Option<(Vec<u32>, PlacesImage)>,
    /// Records to be copied, by position.
    queue: VecDeque<(Seq, Place)>,
    /// Bytes that may be read in one step, and that no record may exceed.
    size_max: usize,
    /// The plan is one for a low disk.
    is_low: bool,
    /// Segments with a record that is damaged.
    unreadable: BTreeSet<u32>,
    /// Segments with a record that the system did not deliver: perhaps it does when the next snapshot is taken.
    undelivered: BTreeSet<u32>,
    /// Segments with a record too large to be moved while space is scarce.
    postponed: BTreeSet<u32>,
}

impl Compaction {
    /// What was not delivered is tried once more.
    pub(crate) fn try_again(&mut self) {
        self.undelivered.clear();
    }

    fn has_work(&self) -> bool {
        self.planned.is_some() || !self.queue.is_empty()
    }

    /// Whether a step would find something to do.
    pub(crate) fn is_wanted(&self, low: bool) -> bool {
        self.has_work() && self.is_low == low
    }

    /// Turns the plan into a list of records.
    fn look_up(&mut self) {
        let Some((segments, image)) = self.planned.take() else {
            return;
        };
        let mut found: Vec<_> = image
            .into_places()
            .filter(|(_, place)| segments.contains(&place.at.segment()))
            .take(PLACES_PER_ROUND)
            .collect();
        found.sort_unstable_by_key(|(_, place)| place.at);
        self.queue = found.into();
    }

    /// Gives the present plan up.
    fn clear(&mut self) {
        self.planned = None;
        self.queue.clear();
    }

    /// Nothing more of a segment is read in this round.
    fn leave(&mut self, segment: u32) {
        self.queue
            .retain(|(_, place)| place.at.segment() != segment);
    }
}

/// Whether a relocation still copies the message's newest envelope. To be asked under the manager token, right before it is appended.
#[must_use]
pub fn still_lives(places: &Places, relocation: &Relocation) -> bool {
    let place = places.find(relocation.seq);
    place.is_some_and(|place| place.at == relocation.from)
}

impl Keeper {
    /// Reads records that must move, up to about `size_max` bytes of them (one at least, if there is any). The owner appends those that
    /// [`still_lives`] to its next frame. Empty when there is nothing to do, or too little room to do it.
    ///
    /// # Errors
    /// A record could not be read; the journal goes on, its segment stays. Call again for the others.
    pub fn read_live(&mut self, size_max: usize) -> Result<Vec<Relocation>, ReadFailure> {
        if self.compaction.is_low != self.pool.room().low {
            return Ok(Vec::new()); // the next survey plans anew
        }
        let certain = self.compaction.size_max;
        let size_max = size_max.min(certain);
        self.compaction.look_up();
        let mut relocations = Vec::new();
        let mut size = 0;
        while size < size_max {
            let Some((seq, place)) = self.compaction.queue.pop_front() else {
                break;
            };
            let number = place.at.segment();
            let len = usize::try_from(place.len).unwrap_or(usize::MAX);
            if len > certain {
                self.compaction.postponed.insert(number);
                self.compaction.leave(number);
            } else if let Some(relocation) = self.read_one(seq, place)? {
                size += len;
                relocations.push(relocation);
            }
        }
        Ok(relocations)
    }

    /// Reads one record; `None` if its segment was freed meanwhile, because nothing lived there any more.
    fn read_one(&mut self, seq: Seq, place: Place) -> Result<Option<Relocation>, ReadFailure> {
        let number = place.at.segment();
        let Some(segment) = self.segments.get(number) else {
            return Ok(None);
        };
        let pinned = Pinned::new(segment, self.segments.identity().clone(), seq, place);
        let sealed = pinned.read().inspect_err(|failure| {
            let failed = match failure.reason {
                ReadFault::Io(_) => &mut self.compaction.undelivered,
                ReadFault::Damaged(_) | ReadFault::Outside { .. } | ReadFault::Misplaced => {
                    &mut self.compaction.unreadable
                }
            };
            failed.insert(number);
            self.compaction.leave(number);
        })?;
        let from = place.at;
        Ok(Some(Relocation { seq, from, sealed }))
    }

    /// Chooses segments of which little lives, unless the last choice is still being worked on.
    pub(crate) fn plan_compaction(&mut self, places: &Places, written: Lsn, durable: Lsn) {
        let room = self.pool.room();
        if self.compaction.is_low != room.low {
            self.compaction.clear();
        }
        if self.compaction.has_work() {
            return;
        }
        if !self.pool.is_scarce() {
            self.compaction.postponed.clear();
        }
        let (chosen, size_max) = if room.low {
            let size_max = self.room_on_low_disk(written);
            (self.emptiest(places, written, durable, size_max), size_max)
        } else {
            (self.oldest_sparse(places), room.freeing / 2)
        };
        self.compaction.is_low = room.low;
        self.compaction.size_max = usize::try_from(size_max).unwrap_or(usize::MAX);
        if !chosen.is_empty() {
            self.pool.keep_reserve();
            self.compaction.planned = Some((chosen, places.image()));
        }
    }

    /// Bytes that may be copied although the disk is low: half of what is left of the segment in use, or of a spare. All of the
    /// reserve, when there is nothing else: settling waits then.
    fn room_on_low_disk(&self, written: Lsn) -> u32 {
        let room = self.pool.room();
        if room.last {
            return room.freeing;
        }
        let in_use = self.segments.get(written.segment());
        let left = in_use.map_or(0, |segment| segment.size().saturating_sub(written.offset()));
        left.max(room.freeing) / 2
    }

    /// The oldest of the segments that would be free if nothing lived in them, and of which little lives.
    fn oldest_sparse(&self, places: &Places) -> Vec<u32> {
        let bound = self.slots.older().map_or(0, |older| older.at.segment());
        let percent = self.live_percent(places);
        let sparse = self.sparse(places, bound, percent).into_iter();
        sparse
            .map(|(number, _)| number)
            .take(SEGMENTS_PER_ROUND)
            .collect()
    }

    /// The one segment of which the least lives, if no other is on its way to being free.
    fn emptiest(&self, places: &Places, written: Lsn, durable: Lsn, size_max: u32) -> Vec<u32> {
        if !self.freed.is_empty() || places.has_empty(durable, written.segment()) {
            return Vec::new();
        }
        let percent = self.options.compaction_live_percent.saturating_mul(2);
        let sparse = self.sparse(places, written.segment(), percent);
        let emptiest = sparse.into_iter().min_by_key(|(_, bytes)| *bytes);
        let emptiest = emptiest.filter(|(_, bytes)| bytes + FRAME_ROOM <= u64::from(size_max));
        emptiest.map(|(number, _)| number).into_iter().collect()
    }

    /// The segments below `below` of which something lives, but less than `percent`, with the bytes of it; oldest first.
    fn sparse(&self, places: &Places, below: u32, percent: u64) -> Vec<(u32, u64)> {
        let left_alone = |number: &u32| {
            self.compaction.unreadable.contains(number)
                || self.compaction.undelivered.contains(number)
                || self.compaction.postponed.contains(number)
        };
        let segments = self.segments.list();
        let sparse = segments.iter().filter(|segment| {
            let usage = places.usage(segment.number());
            let limit = u64::from(segment.size()).saturating_mul(percent) / 100;
            let is_sparse = usage.live > 0 && usage.bytes < limit;
            is_sparse && segment.number() < below && !left_alone(&segment.number())
        });
        sparse
            .map(|segment| (segment.number(), places.usage(segment.number()).bytes))
            .collect()
    }

    /// The part of a segment that must live for it to be left alone: twice the usual while the store takes too much disk.
    fn live_percent(&self, places: &Places) -> u64 {
        let segments = self.segments.list();
        let lived_in = segments
            .iter()
            .filter(|segment| places.usage(segment.number()).live > 0);
        let sizes = lived_in.map(|segment| u64::from(segment.size()));
        let (total, largest) = sizes.fold((0, 0), |(total, largest): (u64, u64), size| {
            (total + size, largest.max(size))
        });
        let bound = places.live_bytes().saturating_mul(STORE_SIZE_PERCENT_MAX) / 100
            + STORE_SEGMENTS_FREE * largest;
        let usual = self.options.compaction_live_percent;
        if total > bound {
            usual.saturating_mul(2)
        } else {
            usual
        }
    }
}
