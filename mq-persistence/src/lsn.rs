//! A position in the journal.

use std::fmt;

/// Position of a byte in the journal: segment number in the upper 32 bits, byte offset inside the segment in the lower.
///
/// Positions grow with the journal whatever sizes its segments have, and each names its own file and offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(u64);

impl Lsn {
    /// Before the first byte of the journal: segments are numbered from 1.
    pub const START: Lsn = Lsn(0);

    /// The position `offset` bytes into the segment `segment`.
    #[must_use]
    pub const fn new(segment: u32, offset: u32) -> Self {
        Self(((segment as u64) << 32) | offset as u64)
    }

    /// The position whose bits [`Lsn::get`] gave.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits, for the disk.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of its segment.
    #[must_use]
    pub const fn segment(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Bytes from the beginning of its segment.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the low half is what is wanted"
    )]
    pub const fn offset(self) -> u32 {
        self.0 as u32
    }

    /// The position `size` bytes further in the same segment; stays at the segment's last possible byte.
    #[must_use]
    pub const fn plus(self, size: u32) -> Self {
        Self::new(self.segment(), self.offset().saturating_add(size))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.segment(), self.offset())
    }
}
