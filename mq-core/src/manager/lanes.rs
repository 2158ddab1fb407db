//! The ready messages: a lane for each queue, kind and priority, each in the order in which it is handed out.
//!
//! Invariants: fresh messages wait in a chunked line of sequence numbers (4 bytes each, counted from the chunk's first, in
//! ascending order); whatever comes back or joins out of order waits in a set. A message that leaves the middle of the line leaves a stale slot,
//! recognised by its entry; the first slot of a line is never stale, and no chunk is mostly stale.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::Seq;
use crate::limits::PRIORITY_STEP;
use crate::message::Priority;

use super::entry::{Entry, Tag, flag};
use super::names::Place;
use super::table::Table;

#[cfg(test)]
mod tests;

const CHUNK_LEN: usize = 512;
/// A closed chunk is packed when no more than one in so many of its slots is in use.
const PACK_RATIO: usize = 2;

/// What decides which lane goes first: the rank (joined, aged by priority), then the place in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// When it joined, later by a step for each priority below the highest.
    pub(super) aged: u64,
    /// Its place in line.
    pub(super) order: u64,
}

impl Rank {
    fn of(joined: u64, order: u64, priority: Priority) -> Self {
        let step = u64::try_from(PRIORITY_STEP.as_millis()).unwrap_or(u64::MAX);
        let steps = 9 - u64::from(priority.get());
        Self {
            aged: joined.saturating_add(steps.saturating_mul(step)),
            order,
        }
    }
}

/// The first message of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// When it joined the line.
    pub(super) joined: u64,
    /// How it compares with the heads of other lanes.
    pub(super) rank: Rank,
    /// Which message it is.
    pub(super) seq: Seq,
}

/// Where a ready message stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    /// Its lane.
    pub(super) place: Place,
    /// When it joined.
    pub(super) joined: u64,
    /// Its place in line.
    pub(super) order: u64,
    in_set: bool,
}

impl Standing {
    /// As its entry says.
    pub(super) fn of(entry: &Entry) -> Self {
        Self {
            place: entry.place,
            joined: entry.joined(),
            order: entry.order(),
            in_set: entry.has(flag::IN_SET),
        }
    }

    /// Its rank.
    pub(super) fn rank(&self) -> Rank {
        Rank::of(self.joined, self.order, self.place.priority())
    }
}

/// Up to 512 slots of a line.
#[derive(Debug)]
struct Chunk {
    /// What the slots are counted from.
    base: Seq,
    slots: Vec<i32>,
    /// The first slot not yet passed.
    first: usize,
    /// Slots that are not stale.
    live: usize,
}

impl Chunk {
    /// A chunk with one message.
    fn new(seq: Seq) -> Self {
        Self {
            base: seq,
            slots: vec![0],
            first: 0,
            live: 1,
        }
    }

    /// The slot of a message, if it is near enough to the first.
    fn slot_of(&self, seq: Seq) -> Option<i32> {
        // Both have 48 bits.
        i32::try_from(seq.get().cast_signed() - self.base.get().cast_signed()).ok()
    }

    /// The message of a slot.
    fn seq_of(base: Seq, slot: i32) -> Option<Seq> {
        Seq::new(base.get().checked_add_signed(slot.into())?)
    }

    /// Adds a message behind the others; says whether there was room.
    fn push(&mut self, seq: Seq) -> bool {
        let slot = self.slot_of(seq).filter(|_| self.slots.len() < CHUNK_LEN);
        self.slots.extend(slot);
        self.live += usize::from(slot.is_some());
        slot.is_some()
    }

    /// The first message that is not passed.
    fn front(&self) -> Option<Seq> {
        Self::seq_of(self.base, *self.slots.get(self.first)?)
    }

    /// Keeps only messages that are there.
    fn pack(&mut self, is_there: impl Fn(Seq) -> bool) {
        let base = self.base;
        self.slots
            .retain(|slot| Self::seq_of(base, *slot).is_some_and(&is_there));
        self.slots.shrink_to_fit();
        self.first = 0;
    }
}

/// Fresh messages by ascending order. Chunks are keyed by the order of their first slot.
#[derive(Debug, Default)]
struct Fresh {
    chunks: BTreeMap<u64, Chunk>,
    /// The order of the last slot; zero if there is none.
    last_order: u64,
}

impl Fresh {
    fn push(&mut self, seq: Seq, order: u64) {
        self.last_order = order;
        let last = self.chunks.last_entry();
        if !last.is_some_and(|mut last| last.get_mut().push(seq)) {
            self.chunks.insert(order, Chunk::new(seq));
        }
    }

    fn first(&self) -> Option<Seq> {
        let (_, chunk) = self.chunks.first_key_value()?;
        chunk.front()
    }

    /// Takes out a message whose entry does not say any more that it is here.
    fn remove(&mut self, seq: Seq, order: u64, place: Place, table: &Table) {
        let Some((&key, chunk)) = self.chunks.range_mut(..=order).next_back() else {
            return;
        };
        table.step();
        chunk.live = chunk.live.saturating_sub(1);
        if chunk.live == 0 {
            self.chunks.remove(&key);
            if self.chunks.is_empty() {
                self.last_order = 0;
            }
        } else if chunk.front() == Some(seq) {
            chunk.first += 1;
        } else if chunk.slots.len() == CHUNK_LEN
            && chunk.live * PACK_RATIO <= chunk.slots.len() - chunk.first
        {
            chunk.pack(|seq| is_fresh_at(seq, place, table));
        }
        self.skip_stale(place, table);
    }

    fn skip_stale(&mut self, place: Place, table: &Table) {
        let Some(mut first) = self.chunks.first_entry() else {
            return;
        };
        let chunk = first.get_mut();
        while let Some(seq) = chunk.front() {
            if is_fresh_at(seq, place, table) {
                return;
            }
            chunk.first += 1;
        }
    }
}

fn is_fresh_at(seq: Seq, place: Place, table: &Table) -> bool {
    table.get(seq).is_some_and(|entry| {
        entry.tag == Tag::Ready && !entry.has(flag::IN_SET) && entry.place == place
    })
}

/// The ready messages of one queue, kind and priority.
#[derive(Debug, Default)]
pub(super) struct Lane {
    fresh: Fresh,
    others: BTreeSet<(u64, u64, Seq)>,
    /// How many messages are in it.
    pub(super) len: u64,
    /// The rank under which pools know it.
    pub(super) registered: Option<Rank>,
}

impl Lane {
    /// Adds a ready message and notes in its entry where it stands.
    pub(super) fn push(&mut self, seq: Seq, entry: &mut Entry) {
        self.len += 1;
        let is_fresh = entry.joined() == entry.at() && entry.order() > self.fresh.last_order;
        entry.set(flag::IN_SET, !is_fresh);
        if is_fresh {
            self.fresh.push(seq, entry.order());
        } else {
            self.others.insert((entry.joined(), entry.order(), seq));
        }
    }

    /// Takes a message out that stood as `stood` says; its entry must not say any more that it is ready.
    pub(super) fn remove(&mut self, seq: Seq, stood: &Standing, table: &Table) {
        self.len = self.len.saturating_sub(1);
        if stood.in_set {
            table.step();
            self.others.remove(&(stood.joined, stood.order, seq));
        } else {
            self.fresh.remove(seq, stood.order, stood.place, table);
        }
    }

    /// Its first message: the earlier one, by joining, of its line and its set.
    pub(super) fn head(&self, table: &Table) -> Option<Head> {
        let head = |seq: Seq| {
            let entry = table.get(seq)?;
            Some(Head {
                joined: entry.joined(),
                rank: Rank::of(entry.joined(), entry.order(), entry.priority()),
                seq,
            })
        };
        let fresh = self.fresh.first().and_then(head);
        let other = self.others.first().and_then(|&(_, _, seq)| head(seq));
        match (fresh, other) {
            (Some(fresh), Some(other)) if other.rank < fresh.rank => Some(other),
            (Some(fresh), Some(_) | None) => Some(fresh),
            (None, other) => other,
        }
    }
}

/// All lanes of a queue and kind.
#[derive(Debug)]
pub(super) struct Line {
    /// Made on first use: most lines use one or two, and there may be many lines.
    lanes: [Option<Box<Lane>>; Priority::LEN],
    /// Suspects that may run, by place in line.
    pub(super) suspects: BTreeSet<(u64, Seq)>,
    /// The first suspect as pools know it.
    pub(super) registered_suspect: Option<u64>,
    /// Groups of pools that take from it.
    pub(super) groups: Vec<usize>,
    /// Its queue is not paused.
    pub(super) open: bool,
}

impl Line {
    /// An empty line.
    pub(super) fn new(groups: Vec<usize>, open: bool) -> Self {
        Self {
            lanes: [const { None }; Priority::LEN],
            suspects: BTreeSet::new(),
            registered_suspect: None,
            groups,
            open,
        }
    }

    /// The lane of a priority, if it was used.
    pub(super) fn lane(&self, level: usize) -> Option<&Lane> {
        self.lanes.get(level)?.as_deref()
    }

    /// The lane of a priority, if it was used.
    pub(super) fn lane_mut(&mut self, level: usize) -> Option<&mut Lane> {
        self.lanes.get_mut(level)?.as_deref_mut()
    }

    /// The lane of a priority, to be used.
    pub(super) fn make_lane(&mut self, level: usize) -> Option<&mut Lane> {
        let lane = self.lanes.get_mut(level)?;
        Some(lane.get_or_insert_default())
    }

    fn used_lanes(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.iter().filter_map(Option::as_deref)
    }

    /// Ready messages in it.
    pub(super) fn ready_len(&self) -> u64 {
        let suspects = u64::try_from(self.suspects.len()).unwrap_or(u64::MAX);
        self.used_lanes().map(|lane| lane.len).sum::<u64>() + suspects
    }

    /// When its longest waiting ready message joined.
    pub(super) fn oldest_joined(&self, table: &Table) -> Option<u64> {
        let heads = self.used_lanes().filter_map(|lane| lane.head(table));
        let suspects = self.suspects.first().and_then(|(_, seq)| table.get(*seq));
        heads
            .map(|head| head.joined)
            .chain(suspects.map(Entry::joined))
            .min()
    }
}
