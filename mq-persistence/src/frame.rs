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

use mq_core::event::Event;
use mq_core::id::Seq;
use mq_core::message::Sealed;
use mq_core::time::{StoreTime, Timestamp};

use crate::checksum::{Seed, go_on};
use crate::error::DecodeError;
use crate::fields::{Fields, put_u16, put_u32, put_u48, put_u64};
use crate::identity::Identity;
use crate::lsn::Lsn;
use crate::record::{self, Previous, RECORD_HEADER_SIZE, RawRecord};
use crate::segment::{FRAME_ALIGN, PAGE_SIZE};

/// Bytes of a frame's header.
pub const FRAME_HEADER_SIZE: usize = 64;
/// Where the header goes in the buffer: behind room for the first frame of a segment.
const HEADER_AT: usize = FRAME_ALIGN as usize;
/// Where the records begin in the buffer.
const FRONT_SIZE: usize = HEADER_AT + FRAME_HEADER_SIZE;
/// A buffer that a rare large frame has blown up beyond this is given back.
const BUFFER_SIZE_KEPT: usize = 4 << 20;

const MAGIC: [u8; 4] = *b"mqFr";
const CRC_FROM: usize = 8;
const LSN_AT: usize = 16;

/// What is special about a frame, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameFlags(u16);

impl FrameFlags {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// The first of its segment: begins with a [`Previous`] record.
    pub const FIRST: Self = Self(1);
    /// The last of its segment: the journal goes on in the segment it names.
    pub const SEAL: Self = Self(1 << 1);
    /// Written when everything before was synced, so that this is known.
    pub const IDLE: Self = Self(1 << 2);
    /// The store was closed in order.
    pub const CLEAN: Self = Self(1 << 3);
    /// The store was opened: brings copies of what may not have been synced before. Always with [`Self::FIRST`].
    pub const RECOVERY: Self = Self(1 << 4);
    const KNOWN: u16 = (1 << 5) - 1;

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all bits of `other` are set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Bytes of header and records; the next frame begins at the next multiple of [`FRAME_ALIGN`](crate::segment::FRAME_ALIGN).
    pub size: u32,
    /// How many records follow.
    pub records: u32,
    /// Its own position.
    pub lsn: Lsn,
    /// Everything before this was synced before this frame was written.
    pub durable: Lsn,
    /// The first sequence enqueued in it, or [`Seq::NONE`].
    pub base_seq: Seq,
    /// Wall clock when it was written.
    pub wall: Timestamp,
    /// Store time when it was written.
    pub store: StoreTime,
    /// What is special about it.
    pub flags: FrameFlags,
    /// Checksum over the headers of its records.
    pub body_crc: u32,
    /// The `header_crc` of the frame before it; 0 for the first of a store.
    pub previous_crc: u32,
}

impl FrameHeader {
    /// The header's bytes and its checksum, in a segment with this seed.
    #[must_use]
    pub fn encode(&self, seed: Seed) -> ([u8; FRAME_HEADER_SIZE], u32) {
        let mut covered = Vec::with_capacity(FRAME_HEADER_SIZE);
        put_u32(&mut covered, self.size);
        put_u32(&mut covered, self.records);
        put_u64(&mut covered, self.lsn.get());
        put_u64(&mut covered, self.durable.get());
        put_u48(&mut covered, self.base_seq.get());
        put_u48(&mut covered, self.wall.as_ms());
        put_u48(&mut covered, self.store.as_ms());
        put_u16(&mut covered, self.flags.0);
        put_u32(&mut covered, self.body_crc);
        put_u32(&mut covered, self.previous_crc);
        put_u32(&mut covered, 0);
        let crc = seed.checksum(&covered);
        let mut bytes = [0; FRAME_HEADER_SIZE];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..CRC_FROM].copy_from_slice(&crc.to_le_bytes());
        bytes[CRC_FROM..].copy_from_slice(&covered);
        (bytes, crc)
    }

    /// Reads the header at the beginning of `bytes`, out of a segment with this seed; answers it and its checksum. Whether it lies where
    /// it says is for the caller to look at.
    ///
    /// # Errors
    /// [`DecodeError`]: no frame was written there.
    pub fn decode(bytes: &[u8], seed: Seed) -> Result<(Self, u32), DecodeError> {
        let what = "a frame's header";
        let mut fields = Fields::new(bytes);
        if fields.array(what)? != MAGIC {
            return Err(DecodeError::Text {
                what: "the magic number of a frame",
            });
        }
        let crc = fields.u32(what)?;
        let covered = fields.bytes(FRAME_HEADER_SIZE - CRC_FROM, what)?;
        if seed.checksum(covered) != crc {
            return Err(DecodeError::Checksum { what });
        }
        Ok((Self::decode_covered(Fields::new(covered))?, crc))
    }

    /// Whether `bytes` begin as a header at `at` does, whatever its checksum says.
    #[must_use]
    pub fn names(bytes: &[u8], at: Lsn) -> bool {
        let lsn = bytes.get(LSN_AT..LSN_AT + 8);
        bytes.starts_with(&MAGIC) && lsn == Some(&at.get().to_le_bytes()[..])
    }

    fn decode_covered(mut fields: Fields<'_>) -> Result<Self, DecodeError> {
        let header = Self {
            size: fields.u32("the size of a frame")?,
            records: fields.u32("the number of records")?,
            lsn: Lsn::from_bits(fields.u64("the position of a frame")?),
            durable: Lsn::from_bits(fields.u64("the durable position")?),
            base_seq: {
                let found = fields.u48("the first sequence of a frame")?;
                let what = "the first sequence of a frame";
                Seq::new(found).ok_or(DecodeError::Value { what, found })?
            },
            wall: Timestamp::from_ms(fields.u48("the time of a frame")?),
            store: StoreTime::from_ms(fields.u48("the store time of a frame")?),
            flags: FrameFlags(fields.u16("the flags of a frame")?),
            body_crc: fields.u32("the checksum of a body")?,
            previous_crc: fields.u32("the checksum of the frame before")?,
        };
        let reserved = fields.u32("a reserved field")?;
        let unknown = header.flags.0 & !FrameFlags::KNOWN;
        if reserved != 0 || unknown != 0 {
            return Err(DecodeError::Value {
                what: "the flags of a frame",
                found: unknown.into(),
            });
        }
        Ok(header)
    }
}

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
            | Event::QueuePaused { .. }
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
