//! Segments: the files the journal consists of, their names and headers.
//!
//! A segment is a file of fixed size: a header in two equal copies, nothing up to [`DATA_START`], then frames. Everything in the header
//! is known before the segment is used, so it is written and durable, under the segment's name, before the first frame.
//!
//! Invariants:
//! 1. A file named [`name`]`(n)` has a whole, durable header that says `n`. Files on their way there have a [`spare_name`].
//! 2. The salt is drawn anew whenever a header is written. The checksums of frames begin with it, so that nothing left over from a
//!    file's former life is ever taken for a frame.
//!
//! What it does not do: make segments (the pool of spares does), read or write frames.

use mq_core::time::Timestamp;

use crate::checksum::Seed;
use crate::error::DecodeError;
use crate::fields::{Fields, put_u16, put_u32, put_u64};
use crate::identity::{
    FORMAT_VERSION, HeaderError, Identity, READER_VERSION_MIN, SECTOR_SIZE, check_versions,
};

/// Where the first frame of a segment begins, in bytes.
pub const DATA_START: u32 = 4096;
/// What the log writes in one piece, in bytes: the size of a page of the page cache. Sizes of segments are multiples of it.
pub const PAGE_SIZE: u32 = 4096;
/// Frames begin at multiples of this, in bytes, so that no sector ever holds synced and unsynced bytes.
pub const FRAME_ALIGN: u32 = 512;
/// Bytes that may be written beyond the last synced position before the log syncs by itself: how far a torn tail can reach.
pub const UNSYNCED_MAX: u32 = 1 << 20;
/// The smallest segment: room for its header, the frames the log writes by itself, and one small frame.
pub const SEGMENT_SIZE_MIN: u32 = 4 * PAGE_SIZE;
/// Bytes of the two copies of the header.
pub const SEGMENT_HEADER_SIZE: usize = 2 * SECTOR_SIZE;

const MAGIC: [u8; 8] = *b"mq-segmt";
const CHECKSUM_CRC32: u8 = 1;
const NO_CIPHER: u8 = 0;
const FRAME_ALIGN_LOG2: u8 = 9;
/// Set aside for the identity and the wrapped key of an encrypted segment.
const KEY_ROOM: usize = 64;
const CRC_AT: usize = 128;

const _: () =
    assert!(1 << FRAME_ALIGN_LOG2 == FRAME_ALIGN && PAGE_SIZE.is_multiple_of(FRAME_ALIGN));

/// The name of the segment `number`.
#[must_use]
pub fn name(number: u32) -> String {
    format!("j-{number:010}.seg")
}

/// The number in the name of a segment; `None` if it is not one.
#[must_use]
pub fn number_of(file: &str) -> Option<u32> {
    let digits = file.strip_prefix("j-")?.strip_suffix(".seg")?;
    let number = digits.parse().ok()?;
    (name(number) == file).then_some(number)
}

/// The name of a file that is being made into a segment; what has it is not part of the journal.
#[must_use]
pub fn spare_name(number: u32) -> String {
    format!("spare-{number:010}.seg")
}

/// The number in the name of a file that was being made into a segment.
#[must_use]
pub fn spare_number_of(file: &str) -> Option<u32> {
    let digits = file.strip_prefix("spare-")?.strip_suffix(".seg")?;
    digits.parse().ok()
}

/// Whether a file is one that was being made into a segment.
#[must_use]
pub fn is_spare_name(file: &str) -> bool {
    file.starts_with("spare-")
}

/// The name under which the segment `file` is taken out of the journal; the same for a name that is one already.
#[must_use]
pub fn spare_name_of(file: &str) -> String {
    number_of(file).map_or_else(|| file.to_owned(), spare_name)
}

/// What the header of a segment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The format it is written in.
    pub format_version: u16,
    /// The store it belongs to.
    pub uuid: [u8; 16],
    /// Its number: the upper half of the position of everything in it.
    pub number: u32,
    /// Its size in bytes, header included.
    pub size: u32,
    /// Random bits of its own.
    pub salt: u64,
    /// See [`UNSYNCED_MAX`], which it was written under.
    pub unsynced_max: u32,
    /// The first segment used in the opening of the store in which the header was written; its own number, if it is that one.
    ///
    /// No other is made before the opening is noted in that one and synced. So if that one is missing, it was removed.
    pub opening: u32,
    /// When the header was written.
    pub created: Timestamp,
}

impl Header {
    /// The header of a new segment.
    #[must_use]
    pub const fn new(
        identity: &Identity,
        number: u32,
        size: u32,
        salt: u64,
        created: Timestamp,
    ) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            uuid: identity.uuid,
            number,
            size,
            salt,
            unsynced_max: UNSYNCED_MAX,
            opening: number,
            created,
        }
    }

    /// The same header, for a segment made later in the opening of the store that began with the segment `opening`.
    #[must_use]
    pub const fn in_opening(mut self, opening: u32) -> Self {
        self.opening = opening;
        self
    }

    /// Whether this version of the program would write the same format.
    #[must_use]
    pub const fn is_current_version(&self) -> bool {
        self.format_version == FORMAT_VERSION
    }

    /// What the checksums of its frames begin with.
    #[must_use]
    pub fn seed(&self) -> Seed {
        Seed::of_salt(self.salt)
    }

    /// Both copies.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut copy = Vec::with_capacity(SEGMENT_HEADER_SIZE);
        copy.extend_from_slice(&MAGIC);
        put_u16(&mut copy, self.format_version);
        put_u16(&mut copy, READER_VERSION_MIN);
        copy.extend_from_slice(&[CHECKSUM_CRC32, NO_CIPHER, FRAME_ALIGN_LOG2, 0]);
        copy.extend_from_slice(&self.uuid);
        put_u32(&mut copy, self.number);
        put_u32(&mut copy, self.size);
        put_u64(&mut copy, self.salt);
        put_u32(&mut copy, self.unsynced_max);
        put_u32(&mut copy, self.opening);
        put_u64(&mut copy, self.created.as_ms());
        copy.extend_from_slice(&[0; KEY_ROOM]);
        let crc = self.seed().checksum(&copy);
        put_u32(&mut copy, crc);
        copy.resize(SECTOR_SIZE, 0);
        copy.extend_from_within(..);
        copy
    }

    /// Reads the header from whichever copy is whole.
    ///
    /// # Errors
    /// [`HeaderError`], of the first copy.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let (first, second) = bytes.split_at(bytes.len().min(SECTOR_SIZE));
        Self::decode_copy(first).or_else(|error| Self::decode_copy(second).map_err(|_| error))
    }

    fn decode_copy(bytes: &[u8]) -> Result<Self, HeaderError> {
        let mut fields = Fields::new(bytes);
        let format_version = check_versions(&mut fields, MAGIC)?;
        let kinds = fields.array("the kinds of a segment")?;
        let header = Self {
            format_version,
            uuid: fields.array("the store's uuid")?,
            number: fields.u32("a segment's number")?,
            size: fields.u32("a segment's size")?,
            salt: fields.u64("a segment's salt")?,
            unsynced_max: fields.u32("the length of a torn tail")?,
            opening: fields.u32("the first segment of an opening")?,
            created: Timestamp::from_ms(fields.u64("the time of creation")?),
        };
        fields.bytes(KEY_ROOM, "a segment's key")?;
        let crc = fields.u32("the checksum")?;
        if header
            .seed()
            .checksum(bytes.get(..CRC_AT).unwrap_or_default())
            != crc
        {
            return Err(DecodeError::Checksum {
                what: "a segment's header",
            }
            .into());
        }
        if kinds != [CHECKSUM_CRC32, NO_CIPHER, FRAME_ALIGN_LOG2, 0] {
            let found = u32::from_le_bytes(kinds).into();
            let what = "the kinds of a segment";
            return Err(DecodeError::Value { what, found }.into());
        }
        header.check_size()
    }

    fn check_size(self) -> Result<Self, HeaderError> {
        if self.size >= SEGMENT_SIZE_MIN && self.size.is_multiple_of(PAGE_SIZE) {
            return Ok(self);
        }
        let found = self.size.into();
        let what = "a segment's size";
        Err(DecodeError::Value { what, found }.into())
    }
}

/// `size` rounded up to where the next frame may begin.
#[must_use]
pub const fn align_frame(size: u32) -> u32 {
    size.saturating_add(FRAME_ALIGN - 1) & !(FRAME_ALIGN - 1)
}

/// `size` rounded up to whole pages.
#[must_use]
pub const fn align_page(size: u32) -> u32 {
    size.saturating_add(PAGE_SIZE - 1) & !(PAGE_SIZE - 1)
}
