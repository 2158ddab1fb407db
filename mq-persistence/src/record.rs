//! A record: one event, one fact of an image, or one of the journal's own notes, as bytes with a checksum.
//!
//! Layout: a header of 13 bytes (checksum, length of the envelope, length of the fields, type), the fields, the envelope.
//! docs/journal-format.md has every field.
//!
//! Invariants:
//! 1. The checksum begins with the store's seed and runs over envelope, fields, header, in that order. The part over the envelope is
//!    what [`seal`](crate::envelope::seal) computed on the caller's thread; it is carried on here, never computed again, and kept when
//!    the envelope is relocated.
//! 2. Decoding takes any bytes: it answers a value or a [`DecodeError`], and allocates no more than the bytes given are worth.
//! 3. `decode(encode(x)) == x`, but for `sealed`, which is always `None` in what was read: envelopes are read by their place.
//!
//! What it does not do: know where a record lies, or what it means.

mod bulk;
mod edit;
mod event;
mod image;
mod index;
mod queue;
mod schedule;
mod state;

use bytes::Bytes;
use mq_core::canary;
use mq_core::event::Event;
use mq_core::id::Seq;
use mq_core::image::ImageRecord;
use mq_core::limits::COMMAND_SIZE_MAX;
use mq_core::message::Sealed;

use crate::checksum::{Seed, go_on};
use crate::error::DecodeError;
use crate::fields::{Fields, len_u32, put_u32, put_u64};
use crate::lsn::Lsn;

/// Bytes of a record's header.
pub const RECORD_HEADER_SIZE: usize = 13;
/// A reader may skip records whose type has this bit, if it does not know them.
pub const IGNORABLE: u8 = 0x80;

/// The type byte of each record. Numbers are never used again.
pub(crate) mod kind {
    pub(crate) const OPENED: u8 = 1;
    pub(crate) const CLOSED: u8 = 2;
    pub(crate) const QUEUE_DEFINED: u8 = 3;
    pub(crate) const KIND_DEFINED: u8 = 4;
    pub(crate) const QUEUE_SET: u8 = 5;
    pub(crate) const ENQUEUED: u8 = 6;
    pub(crate) const CHECKED_OUT: u8 = 7;
    pub(crate) const RETURNED: u8 = 8;
    pub(crate) const CHANGED: u8 = 9;
    pub(crate) const FINISHED: u8 = 10;
    pub(crate) const KIND_SET: u8 = 11;
    pub(crate) const SCHEDULE_SET: u8 = 16;
    pub(crate) const SCHEDULE_PAUSED: u8 = 17;
    pub(crate) const SCHEDULE_REMOVED: u8 = 18;
    pub(crate) const SCHEDULE_FIRED: u8 = 19;
    pub(crate) const BULK_STARTED: u8 = 24;
    pub(crate) const BULK_STEPPED: u8 = 25;
    pub(crate) const BULK_ENDED: u8 = 26;
    pub(crate) const RELOCATED: u8 = 32;
    pub(crate) const PREVIOUS: u8 = 33;
    pub(crate) const NEXT: u8 = 34;
    pub(crate) const COUNTERS: u8 = 64;
    pub(crate) const QUEUE: u8 = 65;
    pub(crate) const KIND: u8 = 66;
    pub(crate) const MESSAGE: u8 = 67;
    pub(crate) const KEY: u8 = 68;
    pub(crate) const SCHEDULE: u8 = 72;
    pub(crate) const BULK: u8 = 80;
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An event of the queue manager.
    Event(Event),
    /// A fact of its image; stands in snapshots only.
    Image(ImageRecord),
    /// The envelope of a message was copied here so that the segment it lay in can be freed.
    Relocated {
        /// Whose envelope.
        seq: Seq,
        /// Where the record it was copied from begins.
        from: Lsn,
    },
    /// How this segment follows on the one before.
    Previous(Previous),
    /// The segment in which the journal goes on; stands in the last frame of the one before.
    Next {
        /// Its number.
        segment: u32,
    },
    /// Of a type that newer versions write and older ones may skip.
    Ignored {
        /// The type's number.
        kind: u8,
    },
}

/// How a segment follows on the one before: the first record of its first frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Previous {
    /// Where the journal before this segment ends: nothing at or after this position in that segment, and nothing in any segment
    /// numbered between, belongs to it. [`Lsn::START`] in a new store.
    pub end: Lsn,
    /// The checksum of the header of the frame that ends there; 0 in a new store.
    pub crc: u32,
    /// How far recovery could read; equal to `end` if the store was not recovered here.
    pub read_end: Lsn,
    /// Frames between `end` and `read_end`, whose records follow as copies.
    pub frames: u32,
}

impl Previous {
    fn encode(&self, buffer: &mut Vec<u8>) {
        put_u64(buffer, self.end.get());
        put_u32(buffer, self.crc);
        put_u64(buffer, self.read_end.get());
        put_u32(buffer, self.frames);
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            end: Lsn::from_bits(fields.u64("the end of the previous segment")?),
            crc: fields.u32("the checksum of the previous segment")?,
            read_end: Lsn::from_bits(fields.u64("the end of what was read")?),
            frames: fields.u32("the number of frames copied")?,
        })
    }
}

/// A record as it lies in a buffer, split but neither checked nor decoded.
#[derive(Clone, Copy, Debug)]
pub struct RawRecord<'a> {
    kind: u8,
    header: &'a [u8; RECORD_HEADER_SIZE],
    fields: &'a [u8],
    envelope: &'a [u8],
    bytes: &'a [u8],
}

impl<'a> RawRecord<'a> {
    /// Splits the record at the beginning of `bytes` off from what follows it.
    ///
    /// # Errors
    /// [`DecodeError::Short`] if its lengths reach beyond the end.
    pub fn split(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), DecodeError> {
        let Some((header, _)) = bytes.split_first_chunk::<RECORD_HEADER_SIZE>() else {
            return Err(DecodeError::Short {
                what: "a record's header",
                wanted: RECORD_HEADER_SIZE as u64,
                left: bytes.len() as u64,
            });
        };
        let mut fields = Fields::new(bytes);
        fields.u32("a record's checksum")?;
        let envelope_len = fields.u32("the length of an envelope")?;
        let fields_len = fields.u32("the length of a record's fields")?;
        let kind = fields.u8("a record's type")?;
        let to_size = |len: u32| usize::try_from(len).unwrap_or(usize::MAX);
        let body = fields.bytes(to_size(fields_len), "a record's fields")?;
        let envelope = fields.bytes(to_size(envelope_len), "a record's envelope")?;
        let rest = fields.rest();
        let (whole, _) = bytes.split_at(bytes.len() - rest.len());
        let record = Self {
            kind,
            header,
            fields: body,
            envelope,
            bytes: whole,
        };
        Ok((record, rest))
    }

    /// Its header's bytes.
    #[must_use]
    pub const fn header(&self) -> &'a [u8; RECORD_HEADER_SIZE] {
        self.header
    }

    /// All its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Its envelope's bytes; empty if it has none.
    #[must_use]
    pub const fn envelope(&self) -> &'a [u8] {
        self.envelope
    }

    /// Bytes of the whole record.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Whether a journal may hold a record of this type with these lengths. Asked of bytes that may be anything, before more is.
    pub(crate) const fn is_plausible(&self) -> bool {
        let envelope_max = match self.kind {
            kind::ENQUEUED | kind::CHANGED | kind::RELOCATED => COMMAND_SIZE_MAX,
            kind::OPENED..=kind::KIND_SET
            | kind::SCHEDULE_SET..=kind::SCHEDULE_FIRED
            | kind::BULK_STARTED..=kind::BULK_ENDED
            | kind::PREVIOUS
            | kind::NEXT => 0,
            _ => return false,
        };
        self.envelope.len() <= envelope_max && self.fields.len() <= COMMAND_SIZE_MAX
    }

    /// Checks the whole record against its checksum, and answers the part of it that covers the envelope.
    ///
    /// # Errors
    /// [`DecodeError::Checksum`].
    pub fn verify(&self, seed: Seed) -> Result<u32, DecodeError> {
        let (crc, covered) = split_crc(self.header);
        let part = go_on(seed.begin(), self.envelope);
        if go_on(go_on(part, self.fields), covered) == crc || canary::sings("record-crc-ignored") {
            Ok(part)
        } else {
            Err(DecodeError::Checksum { what: "a record" })
        }
    }

    /// Reads what it says, if it is a fact of an image. Call [`verify`](Self::verify) first.
    ///
    /// # Errors
    /// [`DecodeError`] if it is another record, or the fields are not those of its type.
    #[inline]
    pub fn decode_image(&self) -> Result<ImageRecord, DecodeError> {
        let mut fields = Fields::new(self.fields);
        let image = image::decode(self.kind, &mut fields)?;
        fields.end()?;
        Ok(image)
    }

    /// Reads what it says. Call [`verify`](Self::verify) first.
    ///
    /// # Errors
    /// [`DecodeError`] if the fields are not those of a record of its type.
    pub fn decode(&self) -> Result<Record, DecodeError> {
        let mut fields = Fields::new(self.fields);
        let record = match self.kind {
            kind::RELOCATED => Record::Relocated {
                seq: fields.seq("a sequence")?,
                from: Lsn::from_bits(fields.u64("the position relocated from")?),
            },
            kind::PREVIOUS => Record::Previous(Previous::decode(&mut fields)?),
            kind::NEXT => Record::Next {
                segment: fields.u32("the number of the next segment")?,
            },
            kind::COUNTERS..=kind::BULK => Record::Image(image::decode(self.kind, &mut fields)?),
            kind::OPENED..=kind::BULK_ENDED => {
                Record::Event(event::decode(self.kind, &mut fields)?)
            }
            kind if kind & IGNORABLE != 0 => return Ok(Record::Ignored { kind }),
            found => return Err(DecodeError::UnknownType { found }),
        };
        fields.end()?;
        Ok(record)
    }
}

/// Appends an event, with its envelope if it carries one.
pub(crate) fn encode_event(event: &Event, seed: Seed, buffer: &mut Vec<u8>) {
    let (kind, sealed) = event::kind_and_envelope(event);
    append(buffer, seed, kind, sealed, |buffer| {
        event::encode(event, buffer);
    });
}

/// Appends a fact of an image.
pub fn encode_image(record: &ImageRecord, seed: Seed, buffer: &mut Vec<u8>) {
    append(buffer, seed, image::kind_of(record), None, |buffer| {
        image::encode(record, buffer);
    });
}

/// Appends the note that an envelope was copied here, and the envelope.
pub(crate) fn encode_relocated(
    seq: Seq,
    from: Lsn,
    sealed: &Sealed,
    seed: Seed,
    buffer: &mut Vec<u8>,
) {
    append(buffer, seed, kind::RELOCATED, Some(sealed), |buffer| {
        put_u64(buffer, seq.get());
        put_u64(buffer, from.get());
    });
}

/// Appends the note how a segment follows on the one before.
pub(crate) fn encode_previous(previous: &Previous, seed: Seed, buffer: &mut Vec<u8>) {
    append(buffer, seed, kind::PREVIOUS, None, |buffer| {
        previous.encode(buffer);
    });
}

/// Appends the note where the journal goes on after this segment.
pub(crate) fn encode_next(segment: u32, seed: Seed, buffer: &mut Vec<u8>) {
    append(buffer, seed, kind::NEXT, None, |buffer| {
        put_u32(buffer, segment);
    });
}

/// Checks and reads the record at the beginning of `bytes`; answers it and its size.
///
/// # Errors
/// [`DecodeError`]; nothing was taken.
pub fn decode(bytes: &[u8], seed: Seed) -> Result<(Record, usize), DecodeError> {
    let (raw, _) = RawRecord::split(bytes)?;
    raw.verify(seed)?;
    Ok((raw.decode()?, raw.size()))
}

/// Checks a whole record, exactly `bytes`, and answers whose envelope it holds and the envelope, without copying it.
///
/// # Errors
/// [`DecodeError`] if the checksum does not match, or `bytes` is not one record with an envelope.
pub fn read_sealed(bytes: &Bytes, seed: Seed) -> Result<(Seq, Sealed), DecodeError> {
    let (raw, rest) = RawRecord::split(bytes)?;
    Fields::new(rest).end()?;
    let crc = raw.verify(seed)?;
    if raw.envelope.is_empty() {
        return Err(DecodeError::Short {
            what: "a record's envelope",
            wanted: 1,
            left: 0,
        });
    }
    // Every record that brings an envelope begins its fields with the sequence of its message.
    let seq = Fields::new(raw.fields).seq("a sequence")?;
    let bytes = bytes.slice_ref(raw.envelope);
    Ok((seq, Sealed { bytes, crc }))
}

/// Appends one record: room for its header, the fields that `put` writes, the envelope, and then the header.
#[inline]
fn append(
    buffer: &mut Vec<u8>,
    seed: Seed,
    kind: u8,
    sealed: Option<&Sealed>,
    put: impl FnOnce(&mut Vec<u8>),
) {
    let (envelope, part) = match sealed {
        Some(sealed) => (sealed.bytes.as_ref(), sealed.crc),
        None => (&[][..], seed.begin()),
    };
    let start = buffer.len();
    buffer.extend_from_slice(&[0; RECORD_HEADER_SIZE]);
    put(buffer);
    let Some((room, fields)) = buffer
        .get_mut(start..)
        .and_then(|record| record.split_first_chunk_mut::<RECORD_HEADER_SIZE>())
    else {
        return; // the room was made above
    };
    let crc = go_on(part, fields);
    *room = header(crc, len_u32(envelope), len_u32(fields), kind);
    buffer.extend_from_slice(envelope);
}

/// A header whose checksum carries `crc` on over the header itself.
fn header(crc: u32, envelope_len: u32, fields_len: u32, kind: u8) -> [u8; RECORD_HEADER_SIZE] {
    let mut bytes = [0; RECORD_HEADER_SIZE];
    bytes[4..8].copy_from_slice(&envelope_len.to_le_bytes());
    bytes[8..12].copy_from_slice(&fields_len.to_le_bytes());
    bytes[12] = kind;
    let crc = go_on(crc, split_crc(&bytes).1);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The checksum in a header, and the rest of the header, which it covers.
fn split_crc(header: &[u8; RECORD_HEADER_SIZE]) -> (u32, &[u8]) {
    let [a, b, c, d, covered @ ..] = header;
    (u32::from_le_bytes([*a, *b, *c, *d]), covered)
}
