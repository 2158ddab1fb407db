//! Who a store is: drawn once when it is created, kept in the file `IDENT`, and repeated (the uuid) in every segment and snapshot.
//!
//! Layout of `IDENT`: docs/journal-format.md. Two equal copies of 512 bytes, so that one damaged sector is survived; the file is
//! written aside and renamed, and never changed afterwards.

use std::fmt;

use mq_core::id::StoreTag;
use mq_core::time::Timestamp;

use crate::checksum::Seed;
use crate::error::DecodeError;
use crate::fields::{Fields, put_u16, put_u32, put_u64};

/// The version of the format this program writes.
pub const FORMAT_VERSION: u16 = 1;
/// The oldest version of this program's format that can read what it writes.
pub const READER_VERSION_MIN: u16 = 1;
/// Bytes of a disk sector: what a disk writes as a whole.
pub const SECTOR_SIZE: usize = 512;
/// Bytes of the file `IDENT`.
pub const IDENT_SIZE: usize = 2 * SECTOR_SIZE;
/// Name of the file.
pub const IDENT_NAME: &str = "IDENT";

const MAGIC: [u8; 8] = *b"mq-ident";
const CRC_AT: usize = 56;

/// The identity of one store.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// 128 random bits that tell it from every other store.
    pub uuid: [u8; 16],
    /// 26 random bits that stand in every message id.
    pub tag: StoreTag,
    /// The secret under which keys are hashed.
    pub secret: [u8; 16],
    /// When it was created.
    pub created: Timestamp,
}

impl Identity {
    /// Draws a new identity.
    #[must_use]
    pub fn draw(random: &mut dyn FnMut() -> u64, created: Timestamp) -> Self {
        let mut wide = || (u128::from(random()) << 64 | u128::from(random())).to_le_bytes();
        let (uuid, secret) = (wide(), wide());
        let [a, b, c, d, ..] = random().to_le_bytes();
        let tag = StoreTag::new(u32::from_le_bytes([a, b, c, d]));
        Self {
            uuid,
            tag,
            secret,
            created,
        }
    }

    /// Where the checksums of this store's records begin.
    #[must_use]
    pub fn seed(&self) -> Seed {
        Seed::of(&self.uuid)
    }

    /// The content of `IDENT`.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut copy = Vec::with_capacity(IDENT_SIZE);
        copy.extend_from_slice(&MAGIC);
        put_u16(&mut copy, FORMAT_VERSION);
        put_u16(&mut copy, READER_VERSION_MIN);
        put_u32(&mut copy, self.tag.get());
        copy.extend_from_slice(&self.uuid);
        copy.extend_from_slice(&self.secret);
        put_u64(&mut copy, self.created.as_ms());
        let crc = Seed::of(&MAGIC).checksum(&copy);
        put_u32(&mut copy, crc);
        copy.resize(SECTOR_SIZE, 0);
        copy.extend_from_within(..);
        copy
    }

    /// Reads the content of `IDENT` back from whichever copy is whole.
    ///
    /// # Errors
    /// [`HeaderError`], of the first copy.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let (first, second) = bytes.split_at(bytes.len().min(SECTOR_SIZE));
        Self::decode_copy(first).or_else(|error| Self::decode_copy(second).map_err(|_| error))
    }

    fn decode_copy(bytes: &[u8]) -> Result<Self, HeaderError> {
        let mut fields = Fields::new(bytes);
        check_versions(&mut fields, MAGIC)?;
        let tag = fields.u32("the store's tag")?;
        let uuid = fields.array("the store's uuid")?;
        let secret = fields.array("the store's secret")?;
        let created = fields.u64("the time of creation")?;
        let crc = fields.u32("the checksum")?;
        let covered = bytes.get(..CRC_AT).unwrap_or_default();
        if Seed::of(&MAGIC).checksum(covered) != crc {
            return Err(DecodeError::Checksum { what: "IDENT" }.into());
        }
        Ok(Self {
            uuid,
            tag: StoreTag::new(tag),
            secret,
            created: Timestamp::from_ms(created),
        })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("uuid", &format_args!("{}", Uuid(&self.uuid)))
            .field("tag", &self.tag)
            .field("created", &self.created)
            .finish_non_exhaustive()
    }
}

/// Shows a store's uuid in the usual form.
#[derive(Debug)]
pub struct Uuid<'a>(pub &'a [u8; 16]);

impl fmt::Display for Uuid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// Why the header of a file was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// It was written by a newer version that says older ones must not read it.
    #[error("needs a reader of format {required}, this one knows format {FORMAT_VERSION}")]
    Newer {
        /// The oldest format version that may read it.
        required: u16,
    },
    /// It is damaged, or no header at all.
    #[error(transparent)]
    Damaged(#[from] DecodeError),
}

/// Reads magic and versions, the first 12 bytes of every file of a store, in all versions of the format; answers the version it was
/// written by.
///
/// # Errors
/// [`HeaderError`]; the versions are believed before the checksum is, because only they say where it stands.
pub(crate) fn check_versions(fields: &mut Fields<'_>, magic: [u8; 8]) -> Result<u16, HeaderError> {
    if fields.array("the magic number")? != magic {
        return Err(DecodeError::Text {
            what: "the magic number",
        }
        .into());
    }
    let written_by = fields.u16("the format version")?;
    let required = fields.u16("the reader version")?;
    if required > FORMAT_VERSION {
        return Err(HeaderError::Newer { required });
    }
    if written_by == 0 || required == 0 || required > written_by {
        return Err(DecodeError::Value {
            what: "the format version",
            found: written_by.into(),
        }
        .into());
    }
    Ok(written_by)
}
