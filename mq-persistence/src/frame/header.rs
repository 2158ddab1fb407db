//! The header of a frame: where it lies, what was synced before it, what follows.

use mq_core::canary;
use mq_core::id::Seq;
use mq_core::time::{StoreTime, Timestamp};

use crate::checksum::{Seed, go_on};
use crate::error::DecodeError;
use crate::fields::{Fields, put_u16, put_u32, put_u48, put_u64};
use crate::lsn::Lsn;

/// Bytes of a frame's header.
pub const FRAME_HEADER_SIZE: usize = 64;
const MAGIC: [u8; 4] = *b"mqFr";
const CRC_FROM: usize = 8;
const LSN_AT: usize = 16;
const DURABLE_AT: usize = 24;

/// What is special about a frame, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameFlags(u16);

impl FrameFlags {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// The first of its segment: begins with a [`Previous`](crate::record::Previous) record.
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

/// The checksum of the fields behind it: of all of them.
fn checksum(seed: Seed, fields: &[u8]) -> u32 {
    let watermark = DURABLE_AT - CRC_FROM..DURABLE_AT - CRC_FROM + 8;
    if canary::sings("crc-without-watermark")
        && let Some(before) = fields.get(..watermark.start)
        && let Some(behind) = fields.get(watermark.end..)
    {
        return go_on(seed.checksum(before), behind);
    }
    seed.checksum(fields)
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
        let crc = checksum(seed, &covered);
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
        if checksum(seed, covered) != crc && !canary::sings("header-crc-ignored") {
            return Err(DecodeError::Checksum { what });
        }
        Ok((Self::decode_covered(Fields::new(covered))?, crc))
    }

    /// [`FrameHeader::decode`] where the segment's seed is lost: any checksum is believed. Whether the rest of the frame is whole tells
    /// whether it was right.
    pub(crate) fn decode_unchecked(bytes: &[u8]) -> Result<(Self, u32), DecodeError> {
        let what = "a frame's header";
        let mut fields = Fields::new(bytes);
        if fields.array(what)? != MAGIC {
            return Err(DecodeError::Text {
                what: "the magic number of a frame",
            });
        }
        let crc = fields.u32(what)?;
        let covered = fields.bytes(FRAME_HEADER_SIZE - CRC_FROM, what)?;
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
