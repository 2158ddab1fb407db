//! What stands in the blocks of a snapshot: segments, places, records.
//!
//! A place takes about 8 bytes: its sequence and segment are written as differences to the place before it in the block, in as few
//! bytes as the number needs. Source of the variable-length numbers: LEB128, DWARF 5, 7.6.

use bytes::{Buf, Bytes};
use mq_core::id::Seq;
use mq_core::image::ImageRecord;

use super::reader::{Blocks, Fault, SnapshotFile};
use super::{DamagedSnapshot, described};
use crate::error::DecodeError;
use crate::fields::{Fields, put_u32, put_u64};
use crate::lsn::Lsn;
use crate::pins::SegmentFile;
use crate::places::Place;
use crate::record::RawRecord;

/// A segment as a snapshot lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentEntry {
    /// Its number.
    pub number: u32,
    /// Its size in bytes.
    pub size: u32,
    /// What its checksums are seeded with.
    pub salt: u64,
}

impl SegmentEntry {
    /// As the store knows it.
    pub(crate) fn of(segment: &SegmentFile) -> Self {
        Self {
            number: segment.number(),
            size: segment.size(),
            salt: segment.salt(),
        }
    }

    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        put_u32(bytes, self.number);
        put_u32(bytes, self.size);
        put_u64(bytes, self.salt);
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            number: fields.u32("a segment's number")?,
            size: fields.u32("a segment's size")?,
            salt: fields.u64("a segment's salt")?,
        })
    }
}

/// All segments listed. They are few, and their blocks were checked: the number of bytes read bounds what is allocated.
pub(super) fn segments(file: &SnapshotFile) -> Result<Vec<SegmentEntry>, Fault> {
    let mut segments = Vec::new();
    let mut blocks = file.segments();
    while let Some(block) = blocks.next()? {
        let mut fields = Fields::new(&block.body);
        for _ in 0..block.entries {
            let offset = block.offset;
            let entry = SegmentEntry::decode(&mut fields);
            segments.push(entry.map_err(|reason| Fault::Damaged { offset, reason })?);
        }
    }
    Ok(segments)
}

/// Reads one entry off the front of a block's body.
pub(super) trait Coder {
    /// What it reads.
    type Entry;

    /// Reads the next one. `first` says that a block begins.
    fn decode(&mut self, first: bool, body: &mut Bytes) -> Result<Self::Entry, DecodeError>;
}

/// Records of the manager's image, as in the journal.
pub(super) struct RecordCoder;

impl Coder for RecordCoder {
    type Entry = ImageRecord;

    #[inline]
    fn decode(&mut self, _first: bool, body: &mut Bytes) -> Result<ImageRecord, DecodeError> {
        // The block's checksum was checked, and covers the record.
        let (raw, _) = RawRecord::split(body)?;
        let (record, size) = (raw.decode_image()?, raw.size());
        body.advance(size);
        Ok(record)
    }
}

/// Places by ascending sequence.
#[derive(Default)]
pub(super) struct PlaceCoder {
    seq: u64,
    segment: u32,
}

impl PlaceCoder {
    pub(super) fn encode(&mut self, first: bool, seq: Seq, place: Place, bytes: &mut Vec<u8>) {
        if first {
            *self = Self::default();
        }
        put_varint(bytes, seq.get().wrapping_sub(self.seq));
        put_varint(bytes, place.at.segment().wrapping_sub(self.segment).into());
        put_u32(bytes, place.at.offset());
        put_varint(bytes, place.len.into());
        self.seq = seq.get();
        self.segment = place.at.segment();
    }
}

impl Coder for PlaceCoder {
    type Entry = (Seq, Place);

    #[inline]
    fn decode(&mut self, first: bool, body: &mut Bytes) -> Result<(Seq, Place), DecodeError> {
        if first {
            *self = Self::default();
        }
        let mut fields = Fields::new(body);
        let found = self.seq.wrapping_add(varint(&mut fields)?);
        let segment = self.segment.wrapping_add(varint_u32(&mut fields)?);
        let offset = fields.u32("an offset")?;
        let len = varint_u32(&mut fields)?;
        let left = fields.rest().len();
        body.advance(body.len() - left);
        let what = "a sequence";
        let seq = Seq::new(found).ok_or(DecodeError::Value { what, found })?;
        (self.seq, self.segment) = (found, segment);
        let at = Lsn::new(segment, offset);
        Ok((seq, Place { at, len }))
    }
}

/// The entries of one kind, read as they are asked for. Ends after the first fault.
pub(super) struct Entries<C> {
    blocks: Blocks,
    coder: C,
    name: &'static str,
    body: Bytes,
    offset: u64,
    left: u32,
    first: bool,
    over: bool,
}

impl<C: Coder> Entries<C> {
    /// The entries in `blocks` of the snapshot `name`.
    pub(super) const fn new(blocks: Blocks, coder: C, name: &'static str) -> Self {
        Self {
            blocks,
            coder,
            name,
            body: Bytes::new(),
            offset: 0,
            left: 0,
            first: false,
            over: false,
        }
    }

    /// Goes on to the next block; `false` after the last.
    fn next_block(&mut self) -> Result<bool, Fault> {
        let Some(block) = self.blocks.next()? else {
            return Ok(false);
        };
        self.offset = block.offset;
        self.left = block.entries;
        self.body = block.body;
        self.first = true;
        Ok(true)
    }

    #[cold]
    fn fail(&mut self, fault: &Fault) -> DamagedSnapshot {
        self.over = true;
        described(self.name, fault)
    }
}

impl<C: Coder> Iterator for Entries<C> {
    type Item = Result<C::Entry, DamagedSnapshot>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        if self.left == 0 {
            match self.next_block() {
                Ok(true) => {}
                Ok(false) => {
                    self.over = true;
                    return None;
                }
                Err(fault) => return Some(Err(self.fail(&fault))),
            }
        }
        self.left -= 1;
        let first = std::mem::take(&mut self.first);
        match self.coder.decode(first, &mut self.body) {
            Ok(entry) => Some(Ok(entry)),
            Err(reason) => {
                let offset = self.offset;
                Some(Err(self.fail(&Fault::Damaged { offset, reason })))
            }
        }
    }
}

fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            bytes.push(low & 0x7f);
            return;
        }
        bytes.push(low | 0x80);
    }
}

fn varint(fields: &mut Fields<'_>) -> Result<u64, DecodeError> {
    let what = "a number of variable length";
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = fields.u8(what)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(DecodeError::Text { what })
}

fn varint_u32(fields: &mut Fields<'_>) -> Result<u32, DecodeError> {
    let found = varint(fields)?;
    let what = "a number of 32 bits";
    u32::try_from(found).map_err(|_| DecodeError::Value { what, found })
}
