//! Frames: one group commit, all or nothing.
//!
//! [`Frame`] collects records in a buffer while the manager token is held; the log puts the header in front and writes it. The header
//! says where the frame lies, and up to where the journal was synced before it was written: that is what tells a torn tail from damage.
//!
//! Invariants:
//! 1. The buffer has room in front for the header and for the first frame of a segment, so that the log writes a frame with one call
//!    and without copying the records again.
//! 2. `body_crc` runs over the headers of all records in order, `header_crc` over the header from the length on. Every record covers
//!    itself. So a frame is whole if its header, the sequence of its records, and each of them are.
//! 3. Appending allocates nothing once the buffers have grown to the size of usual frames.
//!
//! What it does not do: choose its position, write, or check limits of size ([`Frame::size`] is for the caller to watch).

mod header;

use mq_core::event::Event;
use mq_core::id::Seq;
use mq_core::message::Sealed;
use mq_core::time::{StoreTime, Timestamp};

use crate::checksum::{Seed, go_on};
use crate::identity::Identity;
use crate::lsn::Lsn;
use crate::record::{self, Previous, RECORD_HEADER_SIZE, RawRecord};
use crate::segment::{FRAME_ALIGN, PAGE_SIZE};
pub use header::{FRAME_HEADER_SIZE, FrameFlags, FrameHeader};

/// Where the header goes in the buffer: behind room for the first frame of a segment.
const HEADER_AT: usize = FRAME_ALIGN as usize;
/// Where the records begin in the buffer.
const FRONT_SIZE: usize = HEADER_AT + FRAME_HEADER_SIZE;
/// A buffer that a rare large frame has blown up beyond this is given back.
const BUFFER_SIZE_KEPT: usize = 4 << 20;

/// The copy of a message's envelope that compaction makes, so that the segment it lies in can be freed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relocation {
    /// Whose envelope.
    pub seq: Seq,
    /// Where the record that holds it now begins.
    pub from: Lsn,
    /// The envelope, as read back with its part of the checksum.
    pub sealed: Sealed,
}

/// Where a record of a frame put an envelope, or that a message's envelope is needed no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceChange {
    /// The envelope of a message, new or edited, lies here.
    Placed {
        /// Whose.
        seq: Seq,
        /// Where its record begins.
        at: Lsn,
        /// Bytes of the whole record.
        len: u32,
    },
    /// The envelope was copied. True only if the message's envelope is still the one at `from`.
    Relocated {
        /// Whose.
        seq: Seq,
        /// Where the copied record begins.
        from: Lsn,
        /// Where the copy's record begins.
        at: Lsn,
        /// Bytes of the copy's whole record.
        len: u32,
    },
    /// The message left the store.
    Forgotten {
        /// Which.
        seq: Seq,
    },
}

impl PlaceChange {
    /// Whose envelope lies in the record; `None` if it brings none.
    pub(crate) const fn placed_seq(self) -> Option<Seq> {
        match self {
            Self::Placed { seq, .. } | Self::Relocated { seq, .. } => Some(seq),
            Self::Forgotten { .. } => None,
        }
    }

    /// The change with its record `by` bytes further into the journal.
    fn moved(self, by: Lsn) -> Self {
        let shift = |at: Lsn| Lsn::from_bits(at.get().saturating_add(by.get()));
        match self {
            Self::Placed { seq, at, len } => Self::Placed {
                seq,
                at: shift(at),
                len,
            },
            Self::Relocated { seq, from, at, len } => Self::Relocated {
                seq,
                from,
                at: shift(at),
                len,
            },
            Self::Forgotten { seq } => Self::Forgotten { seq },
        }
    }
}

/// The open frame: records in the order in which they happened.
#[derive(Debug)]
pub struct Frame {
    seed: Seed,
    /// [`FRONT_SIZE`] bytes of room, then the records.
    buffer: Vec<u8>,
    records: u32,
    body_crc: u32,
    base_seq: Seq,
    /// Positions counted from the beginning of the frame.
    changes: Vec<PlaceChange>,
}

impl Frame {
    /// An empty frame of the store `identity`.
    #[must_use]
    pub fn new(identity: &Identity) -> Self {
        let seed = identity.seed();
        Self {
            seed,
            buffer: vec![0; FRONT_SIZE],
            records: 0,
            body_crc: seed.begin(),
            base_seq: Seq::NONE,
            changes: Vec::new(),
        }
    }

    /// Appends an event. The envelope it brings must have been sealed for this store.
    pub fn append(&mut self, event: &Event) {
        let start = self.buffer.len();
        record::encode_event(event, self.seed, &mut self.buffer);
        self.count(start);
        self.note_event(event, start);
    }

    /// Appends the copy of an envelope.
    pub fn append_relocation(&mut self, relocation: &Relocation) {
        let Relocation { seq, from, sealed } = relocation;
        let start = self.buffer.len();
        record::encode_relocated(*seq, *from, sealed, self.seed, &mut self.buffer);
        self.count(start);
        self.changes.push(PlaceChange::Relocated {
            seq: *seq,
            from: *from,
            at: self.position(start),
            len: self.len_from(start),
        });
    }

    /// Whether it has no records.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// How many records it has.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::try_from(self.records).unwrap_or(usize::MAX)
    }

    /// Bytes it takes, header included.
    #[must_use]
    pub fn size(&self) -> usize {
        self.buffer.len() - HEADER_AT
    }

    /// Bytes it would take with these events behind what it has.
    #[must_use]
    pub fn size_with(&self, events: &[Event]) -> usize {
        let mut records = Vec::new();
        for event in events {
            record::encode_event(event, self.seed, &mut records);
        }
        self.size() + records.len()
    }

    /// Takes a list back whose content has been read, so that the next frame need not allocate one.
    pub fn reuse(&mut self, mut changes: Vec<PlaceChange>) {
        if self.changes.capacity() < changes.capacity() && self.changes.is_empty() {
            changes.clear();
            self.changes = changes;
        }
    }

    /// Appends how a segment follows on the one before.
    pub(crate) fn append_previous(&mut self, previous: &Previous) {
        let start = self.buffer.len();
        record::encode_previous(previous, self.seed, &mut self.buffer);
        self.count(start);
    }

    /// Appends where the journal goes on after this segment.
    pub(crate) fn append_next(&mut self, segment: u32) {
        let start = self.buffer.len();
        record::encode_next(segment, self.seed, &mut self.buffer);
        self.count(start);
    }

    /// Appends a copy of a record, byte for byte. If it holds the present envelope of a message, `seq` says whose: its place moves here.
    pub(crate) fn append_copy(&mut self, bytes: &[u8], seq: Option<Seq>) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(bytes);
        self.count(start);
        let (at, len) = (self.position(start), self.len_from(start));
        self.changes
            .extend(seq.map(|seq| PlaceChange::Placed { seq, at, len }));
    }

    /// The header of this frame but for what the log knows.
    pub(crate) fn header(&self) -> FrameHeader {
        FrameHeader {
            size: u32::try_from(self.size()).unwrap_or(u32::MAX),
            records: self.records,
            lsn: Lsn::START,
            durable: Lsn::START,
            base_seq: self.base_seq,
            wall: Timestamp::default(),
            store: StoreTime::default(),
            flags: FrameFlags::NONE,
            body_crc: self.body_crc,
            previous_crc: 0,
        }
    }

    /// Puts the header in front of the records, `before` in front of that, and zeros behind, up to the end of the page when what is
    /// answered is written at `offset`. It begins with `before`.
    pub(crate) fn lay_out(
        &mut self,
        before: &[u8],
        header: &[u8; FRAME_HEADER_SIZE],
        offset: u32,
    ) -> &[u8] {
        let begin = HEADER_AT.saturating_sub(before.len());
        if let Some(room) = self.buffer.get_mut(begin..HEADER_AT) {
            room.copy_from_slice(before);
        }
        if let Some(room) = self.buffer.get_mut(HEADER_AT..FRONT_SIZE) {
            room.copy_from_slice(header);
        }
        let page = PAGE_SIZE as usize;
        let into_page = (offset % PAGE_SIZE) as usize;
        let end = into_page + self.buffer.len() - begin;
        let padding = end.next_multiple_of(page) - end;
        self.buffer.resize(self.buffer.len() + padding, 0);
        self.buffer.get(begin..).unwrap_or_default()
    }

    /// Takes back what [`lay_out`](Self::lay_out) added behind its `size` bytes: it was not written.
    pub(crate) fn take_back(&mut self, size: usize) {
        self.buffer.truncate(HEADER_AT + size);
    }

    /// Empties the frame, which lay at `lsn`, and answers what it did to places.
    pub(crate) fn take_changes(&mut self, lsn: Lsn) -> Vec<PlaceChange> {
        self.buffer.truncate(FRONT_SIZE);
        if self.buffer.capacity() > BUFFER_SIZE_KEPT {
            self.buffer.shrink_to(FRONT_SIZE);
        }
        self.records = 0;
        self.body_crc = self.seed.begin();
        self.base_seq = Seq::NONE;
        let mut changes = std::mem::take(&mut self.changes);
        for change in &mut changes {
            *change = change.moved(lsn);
        }
        changes
    }

    /// Takes the record that begins at `start` in the buffer into the counts.
    fn count(&mut self, start: usize) {
        self.records += 1;
        let header = self.buffer.get(start..start + RECORD_HEADER_SIZE);
        self.body_crc = go_on(self.body_crc, header.unwrap_or_default());
    }

    fn note_event(&mut self, event: &Event, start: usize) {
        let placed = |frame: &mut Self, seq| {
            let (at, len) = (frame.position(start), frame.len_from(start));
            frame.changes.push(PlaceChange::Placed { seq, at, len });
        };
        match event {
            Event::Enqueued(enqueued) => {
                if self.base_seq == Seq::NONE {
                    self.base_seq = enqueued.seq;
                }
                if enqueued.sealed.is_some() {
                    placed(self, enqueued.seq);
                }
            }
            Event::Changed(changed) => {
                if changed.sealed.is_some() {
                    placed(self, changed.seq);
                }
            }
            Event::Finished { seq } => self.changes.push(PlaceChange::Forgotten { seq: *seq }),
            Event::Opened { .. }
            | Event::Closed
            | Event::QueueDefined { .. }
            | Event::KindDefined { .. }
            | Event::QueueSet { .. }
            | Event::KindSet { .. }
            | Event::Schedule(_)
            | Event::Bulk(_)
            | Event::CheckedOut { .. }
            | Event::Returned { .. } => {}
        }
    }

    /// The position of a byte of the buffer, counted from the beginning of the frame.
    fn position(&self, start: usize) -> Lsn {
        Lsn::from_bits((start - HEADER_AT) as u64)
    }

    fn len_from(&self, start: usize) -> u32 {
        u32::try_from(self.buffer.len() - start).unwrap_or(u32::MAX)
    }
}

/// What a record that was read did to its message's place; `at` is where it begins.
#[must_use]
pub fn change_of(raw: &RawRecord<'_>, record: &record::Record, at: Lsn) -> Option<PlaceChange> {
    let len = u32::try_from(raw.size()).unwrap_or(u32::MAX);
    let has_envelope = !raw.envelope().is_empty();
    match record {
        record::Record::Event(Event::Enqueued(enqueued)) if has_envelope => {
            let seq = enqueued.seq;
            Some(PlaceChange::Placed { seq, at, len })
        }
        record::Record::Event(Event::Changed(changed)) if has_envelope => {
            let seq = changed.seq;
            Some(PlaceChange::Placed { seq, at, len })
        }
        record::Record::Event(Event::Finished { seq }) => {
            Some(PlaceChange::Forgotten { seq: *seq })
        }
        record::Record::Relocated { seq, from } => Some(PlaceChange::Relocated {
            seq: *seq,
            from: *from,
            at,
            len,
        }),
        record::Record::Event(_)
        | record::Record::Image(_)
        | record::Record::Previous(_)
        | record::Record::Next { .. }
        | record::Record::Ignored { .. } => None,
    }
}
