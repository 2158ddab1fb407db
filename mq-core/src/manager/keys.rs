//! The tables of keys: an index that grows in small steps, and the window of idempotency keys.
//!
//! Invariants: the window is a line by age in chunks that images share; it forgets from the front only, and only what
//! its time is over for.

use std::collections::VecDeque;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use hashbrown::HashMap;

use crate::id::Seq;
use crate::key::KeyHash;
use crate::time::{StoreTime, Timestamp};

mod index;
#[cfg(test)]
mod tests;

pub(super) use index::Index;

const CHUNK_LEN: usize = 512;

/// Hashes what is a keyed hash already: folds and spreads it, because tests use small numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    /// Source: the finaliser of splitmix64, <https://prng.di.unimi.it/splitmix64.c>.
    fn write_u64(&mut self, number: u64) {
        self.0 = splitmix(self.0 ^ number);
    }

    fn write_u128(&mut self, number: u128) {
        self.write_u64(high_half(number) ^ low_half(number));
    }
}

/// The upper 64 bits.
const fn high_half(bits: u128) -> u64 {
    low_half(bits >> 64)
}

/// The lower 64 bits.
#[expect(
    clippy::cast_possible_truncation,
    reason = "keeping the low half is what is wanted"
)]
const fn low_half(bits: u128) -> u64 {
    bits as u64
}

/// Mixes 64 bits. Source: splitmix64, <https://prng.di.unimi.it/splitmix64.c>.
pub(super) const fn splitmix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A map for numbers that come from ourselves.
pub(super) type NumberMap<K, V> = HashMap<K, V, BuildHasherDefault<Spread>>;

/// A key hash in 16 bytes that need no alignment to 16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Halves(u64, u64);

impl From<KeyHash> for Halves {
    fn from(key: KeyHash) -> Self {
        Self(high_half(key.0), low_half(key.0))
    }
}

impl From<Halves> for KeyHash {
    fn from(Halves(high, low): Halves) -> Self {
        Self(u128::from(high) << 64 | u128::from(low))
    }
}

/// An idempotency key and what it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Remembered {
    /// The key.
    pub(super) hash: Halves,
    /// Its message.
    pub(super) seq: Seq,
    /// Milliseconds in that message's id.
    pub(super) at: Timestamp,
    /// Identity of its payload.
    pub(super) payload: Halves,
    /// When it is forgotten.
    pub(super) until: StoreTime,
}

/// The window's line, as it is and as images share it.
#[derive(Clone, Debug, Default)]
pub(super) struct WindowLine {
    chunks: VecDeque<Arc<Vec<Remembered>>>,
    /// Slots of the first chunk that are forgotten.
    passed: usize,
    len: u64,
}

impl WindowLine {
    /// How many keys it has.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// All keys, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Remembered> {
        let all = self.chunks.iter().flat_map(|chunk| chunk.iter());
        all.skip(self.passed)
    }

    fn first(&self) -> Option<&Remembered> {
        self.chunks.front()?.get(self.passed)
    }

    /// The `nth` key that is not forgotten. Every chunk but the last is full, so that the number says where it is.
    fn get(&self, nth: u64) -> Option<&Remembered> {
        let offset = usize::try_from(nth).ok()? + self.passed;
        self.chunks.get(offset / CHUNK_LEN)?.get(offset % CHUNK_LEN)
    }

    fn push(&mut self, key: Remembered) {
        if self
            .chunks
            .back()
            .is_none_or(|chunk| chunk.len() == CHUNK_LEN)
        {
            self.chunks.push_back(Arc::new(Vec::new()));
        }
        if let Some(chunk) = self.chunks.back_mut() {
            Arc::make_mut(chunk).push(key);
            self.len += 1;
        }
    }

    fn pop(&mut self) -> Option<Remembered> {
        let key = *self.first()?;
        self.passed += 1;
        self.len -= 1;
        if self
            .chunks
            .front()
            .is_some_and(|chunk| chunk.len() == self.passed)
        {
            self.chunks.pop_front();
            self.passed = 0;
        }
        Some(key)
    }
}

/// The idempotency keys within their window.
#[derive(Debug, Default)]
pub(super) struct Window {
    line: WindowLine,
    /// The slot of each key, counted from the first ever pushed.
    slots: Index,
    /// The number of the first slot of the line.
    base: u64,
}

impl Window {
    /// The slot of a key.
    fn slot(&self, hash: KeyHash) -> Option<u64> {
        let wanted = Halves::from(hash);
        let is_it = |slot: u64| self.at(slot).is_some_and(|key| key.hash == wanted);
        self.slots.find(hash, is_it)
    }

    fn at(&self, slot: u64) -> Option<&Remembered> {
        self.line.get(slot.checked_sub(self.base)?)
    }

    /// What a key answers at `now`.
    pub(super) fn get(&self, hash: KeyHash, now: StoreTime) -> Option<&Remembered> {
        let key = self.at(self.slot(hash)?)?;
        (key.until > now).then_some(key)
    }

    /// How many keys it holds, those included that the next `forget` will drop.
    pub(super) const fn len(&self) -> u64 {
        self.line.len()
    }

    /// A shared copy for an image.
    pub(super) fn share(&self) -> WindowLine {
        self.line.clone()
    }

    /// Remembers a key.
    pub(super) fn insert(&mut self, key: Remembered) {
        let hash = key.hash.into();
        let slot = self.base + self.line.len();
        let old = self.slot(hash);
        self.line.push(key);
        if let Some(old) = old {
            self.slots.replace(hash, old, slot);
        } else {
            let (line, base) = (&self.line, self.base);
            let key_of = |slot: u64| line.get(slot - base).map_or(hash, |key| key.hash.into());
            self.slots.insert(hash, slot, key_of);
        }
    }

    /// Forgets the oldest keys whose time is over at `now`, at most `limit`.
    pub(super) fn forget(&mut self, now: StoreTime, limit: usize) {
        for _ in 0..limit {
            if self.line.first().is_none_or(|key| key.until > now) {
                return;
            }
            if let Some(key) = self.line.pop() {
                self.slots.remove(key.hash.into(), self.base);
                self.base += 1;
            }
        }
    }

    /// When the oldest key is forgotten.
    pub(super) fn first_until(&self) -> Option<StoreTime> {
        self.line.first().map(|key| key.until)
    }
}
