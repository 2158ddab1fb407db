//! Where the newest envelope of each message lies in the journal.
//!
//! The manager's table says what a message *is*; this one says where its bytes are: segment, offset and length of the record that
//! holds them, 12 bytes per message in pages that are found by sequence.
//!
//! Invariants:
//! 1. A message has at most one place. Placing it again (an edit, a relocation) takes the former place out of its segment's count.
//! 2. For each segment, `Usage` counts exactly the messages whose place is in it and the bytes of their records.
//! 3. A segment is reported empty only up to a durable position: what emptied it cannot come undone.
//! 4. [`Places::note`] and [`Places::find`] are O(1): one hash lookup and one slot, never a scan.
//! 5. An image shares its pages with the table; whichever writes next copies the page it writes ([`Arc::make_mut`]).
//!
//! What it does not do: reading bytes ([`Pinned::read`](crate::pins::Pinned::read)), knowing whether a message is alive (the manager
//! does; it says so by forgetting), any I/O.

mod page;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use hashbrown::HashMap;
use mq_core::id::Seq;

use crate::frame::PlaceChange;
use crate::log::Written;
use crate::lsn::Lsn;
use crate::pins::{Pinned, SegmentFile, Segments};
use page::{Page, Slot};

/// Where the record with a message's envelope lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its first byte.
    pub at: Lsn,
    /// Its length in bytes.
    pub len: u32,
}

/// What lives in one segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Messages whose envelope is in it.
    pub live: u32,
    /// Bytes of their records.
    pub bytes: u64,
    /// The end of the frame that took the last one out; meaningless while `live` is not 0.
    emptied: Lsn,
}

/// The places of all messages. See the head of this file.
#[derive(Debug)]
pub struct Places {
    pages: HashMap<u64, Arc<Page>, BuildHasherDefault<NumberHasher>>,
    usage: BTreeMap<u32, Usage>,
    segments: Arc<Segments>,
    len: u64,
    bytes: u64,
}

impl Places {
    /// An empty table over the segments of one store.
    #[must_use]
    pub fn new(segments: Arc<Segments>) -> Self {
        Self {
            pages: HashMap::default(),
            usage: BTreeMap::new(),
            segments,
            len: 0,
            bytes: 0,
        }
    }

    /// Takes over what a written frame moved.
    pub fn note(&mut self, written: &Written) {
        for change in &written.changes {
            self.apply(change, written.end);
        }
    }

    /// Takes over one change of a frame that ends at `end`; what [`note`](Self::note) does for each, and replay for those it reads.
    ///
    /// A relocation of a message that has meanwhile moved on or gone changes nothing: the copy is dead.
    pub fn apply(&mut self, change: &PlaceChange, end: Lsn) {
        match *change {
            PlaceChange::Placed { seq, at, len } => self.put(seq, Place { at, len }, end),
            PlaceChange::Relocated { seq, from, at, len } => {
                let is_current = self.find(seq).is_some_and(|place| place.at == from);
                if is_current && !mq_core::canary::sings("copy-not-noted") {
                    self.put(seq, Place { at, len }, end);
                }
            }
            PlaceChange::Forgotten { seq } => self.forget(seq, end),
        }
    }

    /// Puts back a place that a snapshot holds.
    pub fn restore(&mut self, seq: Seq, place: Place) {
        self.put(seq, place, Lsn::START);
    }

    /// The place of a message; `None` if it has none (any more).
    #[must_use]
    pub fn find(&self, seq: Seq) -> Option<Place> {
        let page = self.pages.get(&Page::number(seq))?;
        page.get(Page::index(seq)).map(Slot::place)
    }

    /// The place of a message, and its segment kept from being recycled until the answer is dropped.
    #[must_use]
    pub fn pin(&self, seq: Seq) -> Option<Pinned> {
        let place = self.find(seq)?;
        let segment = self.segments.get(place.at.segment())?;
        Some(Pinned::new(
            segment,
            self.segments.identity().clone(),
            seq,
            place,
        ))
    }

    /// Everything as it is now, for a snapshot. Costs one reference per page.
    #[must_use]
    pub fn image(&self) -> PlacesImage {
        PlacesImage {
            pages: self
                .pages
                .iter()
                .map(|(number, page)| (*number, Arc::clone(page)))
                .collect(),
            len: self.len,
        }
    }

    /// How many messages have a place.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether no message has a place.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of all records that have a place.
    #[must_use]
    pub const fn live_bytes(&self) -> u64 {
        self.bytes
    }

    /// What lives in a segment.
    #[must_use]
    pub fn usage(&self, segment: u32) -> Usage {
        self.usage.get(&segment).copied().unwrap_or_default()
    }

    /// The segments this table works over.
    #[must_use]
    pub const fn segments(&self) -> &Arc<Segments> {
        &self.segments
    }

    /// The first segment that holds something living and is not among the segments of the store: bytes are missing.
    #[must_use]
    pub fn missing_segment(&self) -> Option<u32> {
        let living = self.usage.iter().filter(|(_, usage)| usage.live > 0);
        living
            .map(|(segment, _)| *segment)
            .find(|segment| self.segments.get(*segment).is_none())
    }

    /// The segments up to `at` that a copy of the store at `at` needs: those in which something lives, and that of `at` itself.
    #[must_use]
    pub fn lived_in(&self, at: Lsn) -> Vec<Arc<SegmentFile>> {
        let mut segments = self.segments.list();
        segments.retain(|it| {
            let number = it.number();
            number == at.segment() || (number < at.segment() && self.usage(number).live > 0)
        });
        segments
    }

    /// Whether any segment below `below` holds nothing that lives, durably.
    #[must_use]
    pub fn has_empty(&self, durable: Lsn, below: u32) -> bool {
        let segments = self.segments.list();
        let mut older = segments.iter().filter(|it| it.number() < below);
        older.any(|segment| is_empty(&self.usage, segment.number(), durable))
    }

    /// The segments below `below` in which nothing lives, durably: what took the last message out ends at or before `durable`.
    /// They are gone from the segments of the store when this returns; whoever asked recycles or removes their files.
    pub fn take_empty(&mut self, durable: Lsn, below: u32) -> Vec<Arc<SegmentFile>> {
        let usage = &self.usage;
        let segments = &self.segments;
        let taken = segments.take_where(below, |segment| is_empty(usage, segment, durable));
        for segment in &taken {
            self.usage.remove(&segment.number());
        }
        taken
    }

    fn put(&mut self, seq: Seq, place: Place, end: Lsn) {
        let page = self.pages.entry(Page::number(seq)).or_default();
        let former = Arc::make_mut(page).set(Page::index(seq), Slot::of(place));
        let usage = self.usage.entry(place.at.segment()).or_default();
        usage.live += 1;
        usage.bytes += u64::from(place.len);
        self.bytes += u64::from(place.len);
        match former {
            Some(former) => self.leave(former.place(), end),
            None => self.len += 1,
        }
    }

    fn forget(&mut self, seq: Seq, end: Lsn) {
        let number = Page::number(seq);
        let Some(page) = self.pages.get_mut(&number) else {
            return;
        };
        if page.get(Page::index(seq)).is_none() {
            return; // asked first, so that a page shared with an image is not copied for nothing
        }
        let page = Arc::make_mut(page);
        let former = page.clear(Page::index(seq));
        if page.is_empty() {
            self.pages.remove(&number);
        }
        if let Some(former) = former {
            self.len -= 1;
            self.leave(former.place(), end);
        }
    }

    /// Takes a record that lives no more out of its segment's count.
    fn leave(&mut self, place: Place, end: Lsn) {
        self.bytes -= u64::from(place.len);
        if let Some(usage) = self.usage.get_mut(&place.at.segment()) {
            usage.live -= 1;
            usage.bytes -= u64::from(place.len);
            usage.emptied = end;
        }
    }
}

/// Whether nothing lives in a segment, and a crash could not bring anything in it back to life.
fn is_empty(usage: &BTreeMap<u32, Usage>, segment: u32, durable: Lsn) -> bool {
    usage
        .get(&segment)
        .is_none_or(|usage| usage.live == 0 && usage.emptied <= durable)
}

/// The places at one moment, unmoved by what happens to the table afterwards.
#[derive(Debug)]
pub struct PlacesImage {
    pages: Vec<(u64, Arc<Page>)>,
    len: u64,
}

impl PlacesImage {
    /// How many messages have a place in it.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether no message has a place in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All places by ascending sequence. Sorting happens here, not when the image is taken.
    pub fn into_places(mut self) -> impl Iterator<Item = (Seq, Place)> + Send {
        self.pages.sort_unstable_by_key(|(number, _)| *number);
        self.pages.into_iter().flat_map(|(number, page)| {
            let slots: Vec<_> = page.slots().collect();
            slots.into_iter().filter_map(move |(index, slot)| {
                Some((
                    Seq::new(Page::first_of(number) + u64::from(index))?,
                    slot.place(),
                ))
            })
        })
    }
}

/// Spreads page numbers, which count up, over the table. Fixed, so that a run can be repeated bit for bit; page numbers come from
/// our own counter, so nobody can aim at it. Source: Fibonacci hashing, Knuth, TAOCP 3, 6.4.
#[derive(Clone, Copy, Debug, Default)]
struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(32);
    }
}
