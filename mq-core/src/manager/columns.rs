//! The columns of a page: its entries, and what only some of its messages have, which are keys.
//!
//! Invariants: a column of keys has no more values than its page has had messages with one; what belongs to no message any
//! more leaves it with the next packing of the page. Whether a message has a key stands in its entry, not here.

use crate::event::Enqueued;
use crate::key::KeyHash;

use super::keys::Halves;

/// Slots of a page.
pub(super) const PAGE_LEN: usize = 512;
const WORD_BITS: usize = 64;
const WORDS: usize = PAGE_LEN / WORD_BITS;

/// Some slots of a page.
#[derive(Clone, Debug, Default)]
struct Slots {
    bits: [u64; WORDS],
    /// Slots before each word of `bits`.
    ranks: [u16; WORDS],
}

impl Slots {
    /// The slots before `len`.
    fn below(len: usize) -> Self {
        let mut slots = Self::default();
        for (word, bits) in slots.bits.iter_mut().enumerate() {
            let filled = len.saturating_sub(word * WORD_BITS).min(WORD_BITS);
            *bits = if filled == WORD_BITS {
                u64::MAX
            } else {
                (1 << filled) - 1
            };
        }
        slots.count_ranks();
        slots
    }

    /// How many come before `slot`, and whether it is one of them.
    fn rank(&self, slot: usize) -> (usize, bool) {
        let (word, bit) = (slot / WORD_BITS, slot % WORD_BITS);
        let bits = self.bits.get(word).copied().unwrap_or(0);
        let before = self.ranks.get(word).copied().unwrap_or(0);
        let below = (bits & ((1 << bit) - 1)).count_ones() as usize;
        (usize::from(before) + below, bits >> bit & 1 == 1)
    }

    /// Adds one.
    fn add(&mut self, slot: usize) {
        if let Some(bits) = self.bits.get_mut(slot / WORD_BITS) {
            *bits |= 1 << (slot % WORD_BITS);
        }
        self.count_ranks();
    }

    /// Takes one out.
    fn remove(&mut self, slot: usize) {
        if let Some(bits) = self.bits.get_mut(slot / WORD_BITS) {
            *bits &= !(1 << (slot % WORD_BITS));
        }
        self.count_ranks();
    }

    /// All of them, ascending.
    fn iter(&self) -> impl Iterator<Item = usize> {
        self.bits.iter().enumerate().flat_map(|(word, bits)| {
            let set = (0..WORD_BITS).filter(move |bit| bits >> bit & 1 == 1);
            set.map(move |bit| word * WORD_BITS + bit)
        })
    }

    fn count_ranks(&mut self) {
        let mut before = 0u16;
        for (bits, rank) in self.bits.iter().zip(self.ranks.iter_mut()) {
            *rank = before;
            before += u16::try_from(bits.count_ones()).unwrap_or(0);
        }
    }
}

/// What a message with a dedup key has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DedupFacts {
    /// The key.
    pub(super) key: KeyHash,
    /// Identity of its payload.
    pub(super) payload: KeyHash,
}

/// The keys of a message; usually it has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Keys {
    /// Its ordering key.
    pub(super) ordering: Option<KeyHash>,
    /// Its dedup key.
    pub(super) dedup: Option<DedupFacts>,
}

impl Keys {
    /// Those of a new message.
    pub(super) fn of(new: &Enqueued) -> Self {
        Self {
            ordering: new.ordering,
            dedup: new.dedup.map(|key| DedupFacts {
                key,
                payload: new.payload,
            }),
        }
    }

    /// Whether there is one.
    pub(super) const fn are_some(&self) -> bool {
        self.ordering.is_some() || self.dedup.is_some()
    }
}

/// Values of slots: of all below its length, or of some.
#[derive(Clone, Debug)]
pub(super) struct Column<T> {
    values: Vec<T>,
    /// Which have one, if those are not the first.
    some: Option<Box<Slots>>,
}

impl<T> Default for Column<T> {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            some: None,
        }
    }
}

impl<T> Column<T> {
    /// Values before `slot`, and whether it has one itself.
    fn rank(&self, slot: usize) -> (usize, bool) {
        match &self.some {
            None => (slot.min(self.values.len()), slot < self.values.len()),
            Some(slots) => slots.rank(slot),
        }
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.values.len()
    }

    /// Makes room for a whole page.
    pub(super) fn reserve_page(&mut self) {
        self.values.reserve_exact(PAGE_LEN);
    }

    /// The value of a slot.
    pub(super) fn get(&self, slot: usize) -> Option<&T> {
        let (rank, is_there) = self.rank(slot);
        self.values.get(rank).filter(|_| is_there)
    }

    /// The value of a slot, to be changed.
    pub(super) fn get_mut(&mut self, slot: usize) -> Option<&mut T> {
        let (rank, is_there) = self.rank(slot);
        self.values.get_mut(rank).filter(|_| is_there)
    }

    /// All of them with their slots, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        self.slots().zip(&self.values)
    }

    fn slots(&self) -> impl Iterator<Item = usize> {
        let first = self.some.is_none().then_some(0..PAGE_LEN);
        let some = self.some.iter().flat_map(|slots| slots.iter());
        first.into_iter().flatten().chain(some)
    }

    fn some(&mut self) -> &mut Slots {
        let len = self.values.len();
        self.some.get_or_insert_with(|| Box::new(Slots::below(len)))
    }

    /// Sets the value of a slot.
    pub(super) fn put(&mut self, slot: usize, value: T) {
        match self.rank(slot) {
            (rank, true) => {
                if let Some(old) = self.values.get_mut(rank) {
                    *old = value;
                }
            }
            (_, false) if self.some.is_none() && slot == self.values.len() => {
                self.grow();
                self.values.push(value);
            }
            (rank, false) => {
                self.some().add(slot);
                self.grow();
                self.values.insert(rank, value);
            }
        }
    }

    /// Makes room for another value: for a page in three steps.
    fn grow(&mut self) {
        let len = self.values.len();
        if len == self.values.capacity() {
            let more = (len * 3).clamp(PAGE_LEN / 16, PAGE_LEN);
            self.values.reserve_exact(more);
        }
    }

    /// Takes away the value of a slot.
    fn clear(&mut self, slot: usize) {
        if let (rank, true) = self.rank(slot) {
            self.some().remove(slot);
            self.values.remove(rank);
        }
    }

    /// Keeps only the values that are wanted, and no room for others.
    pub(super) fn retain(&mut self, is_wanted: impl Fn(usize, &T) -> bool) {
        let count = self.iter().filter(|(slot, value)| is_wanted(*slot, value));
        let mut kept = Vec::with_capacity(count.count());
        let mut some = Slots::default();
        let slots: Vec<usize> = self.slots().take(self.values.len()).collect();
        for (slot, value) in slots.into_iter().zip(std::mem::take(&mut self.values)) {
            if is_wanted(slot, &value) {
                some.add(slot);
                kept.push(value);
            }
        }
        self.some = (!kept.is_empty()).then(|| Box::new(some));
        self.values = kept;
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        let slots = self.some.as_deref().map_or(0, size_of_val);
        slots + self.values.capacity() * size_of::<T>()
    }
}

/// The keys of a page: 16 bytes for an ordering key, 32 for a dedup key with the identity of its payload.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyColumns {
    ordering: Column<Halves>,
    dedup: Column<[Halves; 2]>,
}

impl KeyColumns {
    /// The keys of the message in a slot.
    pub(super) fn get(&self, slot: usize) -> Keys {
        let ordering = self.ordering.get(slot);
        let dedup = self.dedup.get(slot);
        Keys {
            ordering: ordering.map(|key| (*key).into()),
            dedup: dedup.map(|[key, payload]| DedupFacts {
                key: (*key).into(),
                payload: (*payload).into(),
            }),
        }
    }

    /// The ordering key of the message in a slot.
    pub(super) fn ordering(&self, slot: usize) -> Option<KeyHash> {
        self.ordering.get(slot).map(|key| (*key).into())
    }

    /// The dedup key of the message in a slot.
    pub(super) fn dedup(&self, slot: usize) -> Option<KeyHash> {
        self.dedup.get(slot).map(|[key, _]| (*key).into())
    }

    /// Whether there is room for more than there are.
    pub(super) const fn has_spare(&self) -> bool {
        self.ordering.values.capacity() > self.ordering.values.len()
            || self.dedup.values.capacity() > self.dedup.values.len()
    }

    /// Gives that room back.
    pub(super) fn give_back(&mut self) {
        self.ordering.values.shrink_to_fit();
        self.dedup.values.shrink_to_fit();
    }

    /// Sets the keys of the message in a slot.
    pub(super) fn set(&mut self, slot: usize, keys: &Keys) {
        match keys.ordering {
            Some(key) => self.ordering.put(slot, key.into()),
            None => self.ordering.clear(slot),
        }
        match keys.dedup {
            Some(DedupFacts { key, payload }) => {
                self.dedup.put(slot, [key.into(), payload.into()]);
            }
            None => self.dedup.clear(slot),
        }
    }

    /// Keeps only the keys of messages that are wanted.
    pub(super) fn retain(&mut self, is_wanted: impl Fn(usize) -> bool) {
        self.ordering.retain(|slot, _| is_wanted(slot));
        self.dedup.retain(|slot, _| is_wanted(slot));
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.ordering.size() + self.dedup.size()
    }
}
