//! The tables of keys: a map that grows in small steps, and the window of idempotency keys.
//!
//! Invariants: growing moves at most a few thousand keys at once. The window is a line by age in chunks that images
//! share; it forgets from the front only, and only what its time is over for.

use std::collections::VecDeque;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use hashbrown::HashMap;

use crate::id::Seq;
use crate::key::KeyHash;
use crate::time::{StoreTime, Timestamp};

use super::entry::{high_half, low_half};

#[cfg(test)]
mod tests;

const SHARDS: usize = 256;
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

/// Mixes 64 bits. Source: splitmix64, <https://prng.di.unimi.it/splitmix64.c>.
pub(super) const fn splitmix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A map for numbers that come from ourselves.
pub(super) type NumberMap<K, V> = HashMap<K, V, BuildHasherDefault<Spread>>;

/// A map by key hash in 256 parts, so that growing one part is quick.
#[derive(Debug)]
pub(super) struct KeyMap<V> {
    shards: Vec<NumberMap<KeyHash, V>>,
    len: u64,
}

impl<V> Default for KeyMap<V> {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| NumberMap::default()).collect();
        Self { shards, len: 0 }
    }
}

impl<V> KeyMap<V> {
    fn index(key: KeyHash) -> usize {
        usize::from(splitmix(high_half(key.0) ^ low_half(key.0)).to_be_bytes()[0])
    }

    /// How many keys there are.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// The value of a key.
    pub(super) fn get(&self, key: KeyHash) -> Option<&V> {
        self.shards.get(Self::index(key))?.get(&key)
    }

    /// The value of a key.
    pub(super) fn get_mut(&mut self, key: KeyHash) -> Option<&mut V> {
        self.shards.get_mut(Self::index(key))?.get_mut(&key)
    }

    /// Sets the value of a key.
    pub(super) fn insert(&mut self, key: KeyHash, value: V) {
        if let Some(shard) = self.shards.get_mut(Self::index(key))
            && shard.insert(key, value).is_none()
        {
            self.len += 1;
        }
    }

    /// Forgets a key.
    pub(super) fn remove(&mut self, key: KeyHash) {
        if let Some(shard) = self.shards.get_mut(Self::index(key))
            && shard.remove(&key).is_some()
        {
            self.len -= 1;
        }
    }
}

/// An idempotency key and what it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Remembered {
    /// The key.
    pub(super) hash: KeyHash,
    /// Its message.
    pub(super) seq: Seq,
    /// Milliseconds in that message's id.
    pub(super) at: Timestamp,
    /// Identity of its payload.
    pub(super) payload: KeyHash,
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
    slots: KeyMap<u64>,
    /// The number of the first slot of the line.
    base: u64,
}

impl Window {
    /// What a key answers at `now`.
    pub(super) fn get(&self, hash: KeyHash, now: StoreTime) -> Option<&Remembered> {
        let slot = *self.slots.get(hash)?;
        let offset = usize::try_from(slot - self.base).ok()? + self.line.passed;
        // Every chunk but the last is full, so that the slot's number says where it is.
        let chunk = self.line.chunks.get(offset / CHUNK_LEN)?;
        chunk.get(offset % CHUNK_LEN).filter(|key| key.until > now)
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
        self.slots.insert(key.hash, self.base + self.line.len());
        self.line.push(key);
    }

    /// Forgets the oldest keys whose time is over at `now`.
    pub(super) fn forget(&mut self, now: StoreTime) {
        while self.line.first().is_some_and(|key| key.until <= now) {
            if let Some(key) = self.line.pop() {
                if self.slots.get(key.hash) == Some(&self.base) {
                    self.slots.remove(key.hash);
                }
                self.base += 1;
            }
        }
    }

    /// When the oldest key is forgotten.
    pub(super) fn first_until(&self) -> Option<StoreTime> {
        self.line.first().map(|key| key.until)
    }
}
