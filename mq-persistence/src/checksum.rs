//! The one checksum of the format: CRC-32 (IEEE 802.3), always begun from a seed that is not the same everywhere.
//!
//! Invariant: no seed makes a run of zeros or a record of another store validate, except by the 1 in 2³² that any 32-bit checksum
//! leaves open. Source of the code: the crate crc32fast.

/// Where a checksum begins: a number drawn from an identity, so that bytes of another store or of a segment's former life do not
/// validate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(u32);

impl Seed {
    /// The seed drawn from `identity`.
    #[must_use]
    pub fn of(identity: &[u8]) -> Self {
        Self(crc32fast::hash(identity))
    }

    /// The seed of a segment with this salt.
    #[must_use]
    pub fn of_salt(salt: u64) -> Self {
        Self::of(&salt.to_le_bytes())
    }

    /// The checksum of nothing: what a running checksum begins with.
    #[must_use]
    pub const fn begin(self) -> u32 {
        self.0
    }

    /// The checksum of `bytes`.
    #[must_use]
    pub fn checksum(self, bytes: &[u8]) -> u32 {
        go_on(self.0, bytes)
    }
}

/// Carries a running checksum on over `bytes`.
#[must_use]
pub fn go_on(crc: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(crc);
    hasher.update(bytes);
    hasher.finalize()
}
