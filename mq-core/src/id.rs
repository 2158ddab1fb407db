//! Identities: no bare integer crosses an interface.
//!
//! Invariants: a [`Seq`] is issued once per store and never reused; a [`MessageId`] contains its `Seq`, so that
//! finding a message needs no index by id. Ids are not secrets: do not use them as capabilities.

use std::fmt;
use std::str::FromStr;

/// Position of a message in the order of all enqueues of one store: 1, 2, 3 … up to 2⁴⁸ − 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(u64);

impl Seq {
    /// The largest sequence number an id can carry.
    pub const MAX: Seq = Seq((1 << 48) - 1);
    /// The number before the first message: nobody's.
    pub const NONE: Seq = Seq(0);

    /// Wraps a number; `None` above [`Seq::MAX`].
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        if number <= Self::MAX.0 {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The bare number, for the disk and for arithmetic in tables.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The next one; stays at [`Seq::MAX`], where the queue manager refuses further messages.
    #[must_use]
    pub const fn next(self) -> Self {
        if self.0 < Self::MAX.0 {
            Self(self.0 + 1)
        } else {
            self
        }
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// 26 random bits drawn when a store is created, so that an id of another store is recognised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct StoreTag(u32);

impl StoreTag {
    const BITS: u32 = 26;

    /// Keeps the low 26 bits.
    #[must_use]
    pub const fn new(bits: u32) -> Self {
        Self(bits & ((1 << Self::BITS) - 1))
    }

    /// The bare bits.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// Name of a message: 128 bits in the shape of a version 7 UUID, so that ids sort by time of enqueue.
///
/// Layout, most significant bit first: 48 bits milliseconds since the Unix epoch, 4 bits version (7), the upper 12
/// bits of the sequence, 2 bits variant (binary 10), the lower 36 bits of the sequence, 26 bits store tag.
/// Source: <https://www.rfc-editor.org/rfc/rfc9562#name-uuid-version-7>.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(u128);

impl MessageId {
    /// Builds the id of the message `seq`, enqueued at `unix_ms` (the low 48 bits are kept), in the store `tag`.
    #[must_use]
    pub const fn new(unix_ms: u64, seq: Seq, tag: StoreTag) -> Self {
        let ms = (unix_ms & ((1 << 48) - 1)) as u128;
        let upper = (seq.0 >> 36) as u128;
        let lower = (seq.0 & ((1 << 36) - 1)) as u128;
        Self((ms << 80) | (7 << 76) | (upper << 64) | (0b10 << 62) | (lower << 26) | tag.0 as u128)
    }

    /// Reads 128 bits back; `None` if version or variant are not those of [`MessageId::new`].
    #[must_use]
    pub const fn from_u128(bits: u128) -> Option<Self> {
        if (bits >> 76) & 0xf == 7 && (bits >> 62) & 0b11 == 0b10 {
            Some(Self(bits))
        } else {
            None
        }
    }

    /// All 128 bits.
    #[must_use]
    pub const fn as_u128(self) -> u128 {
        self.0
    }

    /// The sequence inside.
    #[must_use]
    pub const fn seq(self) -> Seq {
        let upper = (self.0 >> 64) & 0xfff;
        let lower = (self.0 >> 26) & ((1 << 36) - 1);
        Seq(low_u64((upper << 36) | lower))
    }

    /// Milliseconds since the Unix epoch at enqueue, modulo 2⁴⁸.
    #[must_use]
    pub const fn unix_ms(self) -> u64 {
        low_u64(self.0 >> 80)
    }

    /// The tag of the store that issued it.
    #[must_use]
    pub const fn tag(self) -> StoreTag {
        StoreTag::new(low_u32(self.0))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "every caller has masked or shifted to at most 64 bits"
)]
const fn low_u64(bits: u128) -> u64 {
    bits as u64
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "keeping the low bits is what is wanted"
)]
const fn low_u32(bits: u128) -> u32 {
    bits as u32
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_u128(self.0).hyphenated().fmt(f)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not the id of a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a message id; expected the form 01890a5d-ac96-7xxx-8xxx-xxxxxxxxxxxx that enqueue printed"
)]
pub struct ParseIdError {
    /// What was given, cut after 64 characters.
    pub text: String,
}

impl FromStr for MessageId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        uuid::Uuid::try_parse(text)
            .ok()
            .and_then(|uuid| Self::from_u128(uuid.as_u128()))
            .ok_or_else(|| ParseIdError {
                text: text.chars().take(64).collect(),
            })
    }
}

/// Number of a queue inside one store, given at its first use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(pub u32);

/// Number of a kind inside one store, given at its first use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KindId(pub u32);

/// Number of a worker pool, valid while the engine is open; never on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolId(pub u32);

/// How often the store has been opened; bumped durably before anything is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u32);

/// Proof of holding a message: refused as stale once the message was handed out again or the store reopened.
///
/// Also a fencing token for systems outside: for one message, later leases compare greater by
/// `(incarnation, delivery)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseToken {
    /// The message.
    pub id: MessageId,
    /// Which hand-out of this message it is: 1, 2, 3 …
    pub delivery: u32,
    /// In which opening of the store it was handed out.
    pub incarnation: Incarnation,
}

impl fmt::Display for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.id, self.incarnation.0, self.delivery)
    }
}
