//! The bytes of a snapshot: a head, blocks, and a last block that says what came before it.
//!
//! ```text
//! head   128  magic 8 · version 2 · oldest reader 2 · 0 4 · store 16 · generation 8 · at 8 · wall 8 · store time 8 · 0 60 · crc 4
//! block   20  crc 4 · size of body 4 · index 4 · kind 1 · 0 3 · entries 4    then the body
//! end     44  (body of the last block) segments 8 · places 8 · records 8 · offset of the first place block 8 · of the first record
//!             block 8 · crc of the crcs of all blocks before 4
//! ```
//!
//! All little-endian. A block's checksum covers the rest of its head and its body and is seeded with the file's head, so that a block
//! of another generation or another store, or a run of zeros, does not pass. The index makes a missing or doubled block stand out.
//!
//! Invariant: nothing here trusts a length before the checksum over it was checked, except to read at most [`BLOCK_SIZE_MAX`] bytes.

use mq_core::time::{StoreTime, Timestamp};

use crate::checksum::{Seed, go_on};
use crate::error::DecodeError;
use crate::fields::{Fields, put_u16, put_u32, put_u64};
use crate::identity::{FORMAT_VERSION, HeaderError, READER_VERSION_MIN, check_versions};
use crate::lsn::Lsn;

/// Size of the head of the file.
pub(super) const HEAD_SIZE: usize = 128;
/// Size of the head of a block.
pub(super) const BLOCK_HEAD_SIZE: usize = 20;
/// Size of the body of the last block.
pub(super) const END_SIZE: usize = 44;
/// A block is written when it has reached this size.
pub(super) const BLOCK_SIZE: usize = 256 << 10;
/// No block is larger: the largest single record is a tail with its history, checkpoint and result, below 1 MiB.
pub(super) const BLOCK_SIZE_MAX: usize = 4 << 20;

const MAGIC: [u8; 8] = *b"mq-snap\0";

/// What a snapshot says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) uuid: [u8; 16],
    pub(super) generation: u64,
    pub(super) at: Lsn,
    pub(super) wall: Timestamp,
    pub(super) store: StoreTime,
}

impl Head {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_SIZE);
        bytes.extend_from_slice(&MAGIC);
        put_u16(&mut bytes, FORMAT_VERSION);
        put_u16(&mut bytes, READER_VERSION_MIN);
        put_u32(&mut bytes, 0);
        bytes.extend_from_slice(&self.uuid);
        put_u64(&mut bytes, self.generation);
        put_u64(&mut bytes, self.at.get());
        put_u64(&mut bytes, self.wall.as_ms());
        put_u64(&mut bytes, self.store.as_ms());
        bytes.resize(HEAD_SIZE - 4, 0);
        let crc = Seed::of(&MAGIC).checksum(&bytes);
        put_u32(&mut bytes, crc);
        bytes
    }

    /// Reads a head, and the seed for the checksums of its blocks.
    pub(super) fn decode(bytes: &[u8]) -> Result<(Self, Seed), HeaderError> {
        let mut fields = Fields::new(bytes);
        check_versions(&mut fields, MAGIC)?;
        fields.u32("nothing")?;
        let head = Self {
            uuid: fields.array("the store's uuid")?,
            generation: fields.u64("a generation")?,
            at: Lsn::from_bits(fields.u64("a position")?),
            wall: Timestamp::from_ms(fields.u64("a time")?),
            store: StoreTime::from_ms(fields.u64("a time")?),
        };
        let (covered, crc) = bytes
            .split_at_checked(HEAD_SIZE - 4)
            .unwrap_or((bytes, &[]));
        if Fields::new(crc).u32("a checksum")? != Seed::of(&MAGIC).checksum(covered) {
            let what = "a snapshot's head";
            return Err(DecodeError::Checksum { what }.into());
        }
        Ok((head, Seed::of(bytes)))
    }
}

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockKind {
    /// The segments of the store.
    Segments = 1,
    /// Places, ascending.
    Places = 2,
    /// Records of the manager's image, in its order.
    Records = 3,
    /// The last one.
    End = 255,
}

impl BlockKind {
    const fn of(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Segments),
            2 => Some(Self::Places),
            3 => Some(Self::Records),
            255 => Some(Self::End),
            _ => None,
        }
    }
}

/// The head of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockHead {
    pub(super) crc: u32,
    pub(super) size: u32,
    pub(super) index: u32,
    pub(super) kind: BlockKind,
    pub(super) entries: u32,
}

impl BlockHead {
    /// The bytes of the head for `body`, and the checksum in them.
    pub(super) fn encode(
        body: &[u8],
        seed: Seed,
        (index, kind, entries): (u32, BlockKind, u32),
    ) -> ([u8; BLOCK_HEAD_SIZE], u32) {
        let mut rest = Vec::with_capacity(BLOCK_HEAD_SIZE);
        put_u32(&mut rest, u32::try_from(body.len()).unwrap_or(u32::MAX));
        put_u32(&mut rest, index);
        rest.extend_from_slice(&[kind as u8, 0, 0, 0]);
        put_u32(&mut rest, entries);
        let crc = go_on(seed.checksum(&rest), body);
        let mut head = [0; BLOCK_HEAD_SIZE];
        let (front, back) = head.split_at_mut(4);
        front.copy_from_slice(&crc.to_le_bytes());
        back.copy_from_slice(&rest);
        (head, crc)
    }

    pub(super) fn decode(bytes: &[u8; BLOCK_HEAD_SIZE]) -> Result<Self, DecodeError> {
        let mut fields = Fields::new(bytes);
        let crc = fields.u32("a checksum")?;
        let size = fields.u32("the size of a block")?;
        let index = fields.u32("the index of a block")?;
        let found = fields.u8("the kind of a block")?;
        fields.bytes(3, "nothing")?;
        let entries = fields.u32("the number of entries")?;
        let kind = BlockKind::of(found).ok_or(DecodeError::Value {
            what: "the kind of a block",
            found: found.into(),
        })?;
        Ok(Self {
            crc,
            size,
            index,
            kind,
            entries,
        })
    }

    /// Whether `bytes`, this head as it was read, and `body` are what was written.
    pub(super) fn matches(&self, seed: Seed, bytes: &[u8; BLOCK_HEAD_SIZE], body: &[u8]) -> bool {
        let (_, rest) = bytes.split_at(4);
        go_on(seed.checksum(rest), body) == self.crc
    }
}

/// The body of the last block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct End {
    pub(super) segments: u64,
    pub(super) places: u64,
    pub(super) records: u64,
    pub(super) places_at: u64,
    pub(super) records_at: u64,
    pub(super) chain: u32,
}

impl End {
    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        put_u64(bytes, self.segments);
        put_u64(bytes, self.places);
        put_u64(bytes, self.records);
        put_u64(bytes, self.places_at);
        put_u64(bytes, self.records_at);
        put_u32(bytes, self.chain);
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields::new(bytes);
        let end = Self {
            segments: fields.u64("the number of segments")?,
            places: fields.u64("the number of places")?,
            records: fields.u64("the number of records")?,
            places_at: fields.u64("an offset")?,
            records_at: fields.u64("an offset")?,
            chain: fields.u32("a checksum")?,
        };
        fields.end()?;
        Ok(end)
    }
}

/// The checksum over all checksums so far.
pub(super) fn chain(before: u32, crc: u32) -> u32 {
    go_on(before, &crc.to_le_bytes())
}
