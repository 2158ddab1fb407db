//! Finds a number by key without keeping keys, in about six bytes for each.
//!
//! A key's hash chooses a bucket of about 32, and more bits of it, 7 to 23, tell those apart: of whom they match, the key
//! is compared where it stands, which is far away. Source: linear hashing, Litwin, "Linear hashing: a new tool for file and
//! table addressing", VLDB 1980.
//!
//! Invariants
//! 1. Buckets are split and merged one at a time, in their order, so that no operation moves more than a bucket or two.
//!    Numbers with equal hashes share one: dead letters of one dedup key may be many, and make theirs long.
//! 2. A bucket has only as many groups as its numbers need, and perhaps one more. All groups with numbers but the last
//!    are full.
//! 3. The numbers of a bucket take four bytes each as long as none is 2³² from another, else six. Bits that are not needed
//!    to tell how far they are apart belong to the hash.
//! 4. The highest bit of a number stands apart, so that numbers of two sorts can be small at once; the rest has 48 bits.

use crate::key::KeyHash;

use super::super::u48::U48;
use super::{high_half, low_half, splitmix};

#[cfg(test)]
mod tests;

const GROUP_LEN: usize = 8;
const SEGMENT_LEN: usize = 1024;
/// Numbers in a bucket on average, at most: what makes a bucket larger makes looking up slower, what makes it smaller
/// makes its header weigh more.
const BUCKET_LEN_AIM: u64 = 32;
/// Buckets are merged when there are so many times fewer numbers than that.
const MERGE_RATIO: u64 = 4;

/// Bits of a number of four bytes that say which it is, at least; the others belong to the hash.
const WIDTH_MIN: u8 = 16;
const WIDTH_MAX: u8 = 32;

/// The bit of a number that stands apart.
const SORT: u64 = 1 << 63;
/// The same bit in a mark.
const SORT_MARK: u8 = 1 << 7;
const EMPTY: u8 = 0;

/// The index.
#[derive(Debug, Default)]
pub(in super::super) struct Index {
    /// Full ones, but for the last.
    segments: Vec<Vec<Bucket>>,
    buckets: u64,
    len: u64,
}

impl Index {
    fn hash(key: KeyHash) -> u64 {
        splitmix(high_half(key.0) ^ low_half(key.0))
    }

    /// How many keys there are.
    pub(in super::super) const fn len(&self) -> u64 {
        self.len
    }

    /// The number of a key; `is_it` says whether a number's key is the one.
    pub(in super::super) fn find(&self, key: KeyHash, is_it: impl Fn(u64) -> bool) -> Option<u64> {
        let hash = Self::hash(key);
        self.bucket(self.bucket_of(hash))?
            .find(Trace::of(hash), is_it)
    }

    /// Adds a key that is not there; `key_of` answers the key of any number that is.
    pub(in super::super) fn insert(
        &mut self,
        key: KeyHash,
        number: u64,
        key_of: impl Fn(u64) -> KeyHash,
    ) {
        if self.len >= self.buckets * BUCKET_LEN_AIM {
            self.split(|number| Self::hash(key_of(number)));
        }
        let hash = Self::hash(key);
        let at = self.bucket_of(hash);
        if let Some(bucket) = self.bucket_mut(at) {
            bucket.insert(Trace::of(hash), number);
            self.len += 1;
        }
    }

    /// Gives a key another number.
    pub(in super::super) fn replace(&mut self, key: KeyHash, old: u64, new: u64) {
        let hash = Self::hash(key);
        let at = self.bucket_of(hash);
        if let Some(bucket) = self.bucket_mut(at) {
            bucket.replace(Trace::of(hash), old, new);
        }
    }

    /// Forgets a key, if its number is this.
    pub(in super::super) fn remove(&mut self, key: KeyHash, number: u64) {
        let hash = Self::hash(key);
        let at = self.bucket_of(hash);
        if self
            .bucket_mut(at)
            .is_some_and(|bucket| bucket.remove(Trace::of(hash), number))
        {
            self.len -= 1;
            if self.len * MERGE_RATIO < (self.buckets - 1) * BUCKET_LEN_AIM {
                self.merge();
            }
        }
    }

    /// The largest power of two that is no larger than the number of buckets.
    fn base(&self) -> u64 {
        1 << self.buckets.checked_ilog2().unwrap_or(0)
    }

    /// The bucket of a hash: by as many bits as say one that there is.
    fn bucket_of(&self, hash: u64) -> u64 {
        let base = self.base();
        let wide = hash & (2 * base - 1);
        if wide < self.buckets {
            wide
        } else {
            hash & (base - 1)
        }
    }

    fn bucket(&self, at: u64) -> Option<&Bucket> {
        let (segment, slot) = address(at)?;
        self.segments.get(segment)?.get(slot)
    }

    fn bucket_mut(&mut self, at: u64) -> Option<&mut Bucket> {
        let (segment, slot) = address(at)?;
        self.segments.get_mut(segment)?.get_mut(slot)
    }

    /// Adds a bucket and moves into it what is its.
    fn split(&mut self, hash_of: impl Fn(u64) -> u64) {
        let base = self.base();
        let mut added = Bucket::default();
        if let Some(old) = self.bucket_mut(self.buckets.wrapping_sub(base)) {
            let (mut stays, mut goes) = (Vec::new(), Vec::new());
            old.each(|_, number| {
                let hash = hash_of(number);
                let goes_over = hash & base != 0;
                let side = if goes_over { &mut goes } else { &mut stays };
                side.push((Trace::of(hash), number));
            });
            *old = Bucket::of(&stays, WIDTH_MIN);
            added = Bucket::of(&goes, WIDTH_MIN);
        }
        if self
            .segments
            .last()
            .is_none_or(|segment| segment.len() == SEGMENT_LEN)
        {
            self.segments.push(Vec::new());
        }
        if let Some(last) = self.segments.last_mut() {
            last.push(added);
            self.buckets += 1;
        }
    }

    /// Takes the last bucket away and what is in it back to where it came from.
    fn merge(&mut self) {
        let Some(last) = self.segments.last_mut().and_then(Vec::pop) else {
            return;
        };
        if self.segments.last().is_some_and(Vec::is_empty) {
            self.segments.pop();
        }
        self.buckets -= 1;
        let from = self.buckets - self.base();
        if let Some(bucket) = self.bucket_mut(from) {
            let mut all = Vec::new();
            bucket.each(|trace, number| all.push((trace, number)));
            last.each(|trace, number| all.push((trace, number)));
            *bucket = Bucket::of(&all, bucket.width().max(last.width()));
        }
    }
}

/// Where a bucket is.
fn address(at: u64) -> Option<(usize, usize)> {
    let at = usize::try_from(at).ok()?;
    Some((at / SEGMENT_LEN, at % SEGMENT_LEN))
}

/// What tells a hash from others in its bucket: bits that do not choose the bucket.
#[derive(Clone, Copy, Debug)]
struct Trace {
    /// Never [`EMPTY`].
    mark: u8,
    /// As many of the lower bits as there is room for.
    more: u16,
}

impl Trace {
    const fn of(hash: u64) -> Self {
        let [high, a, b, ..] = hash.to_be_bytes();
        let mark = high >> 1;
        Self {
            mark: if mark == EMPTY { 1 } else { mark },
            more: u16::from_be_bytes([a, b]),
        }
    }
}

/// A number of a bucket as its group keeps it, in `width` bits beside those of a hash.
trait Kept: Copy + Default {
    /// A number below 2⁴⁸, if it fits.
    fn keep(number: u64, more: u16, width: u8) -> Option<Self>;
    /// That number.
    fn number(self, width: u8) -> u64;
    /// The bits of the hash, as far as there was room for them.
    fn more(self, width: u8) -> u16;
}

impl Kept for u32 {
    fn keep(number: u64, more: u16, width: u8) -> Option<Self> {
        let more = u64::from(more) << width & u64::from(Self::MAX);
        Self::try_from(number | more)
            .ok()
            .filter(|_| number >> width == 0)
    }

    fn number(self, width: u8) -> u64 {
        u64::from(self) & ((1 << width) - 1)
    }

    fn more(self, width: u8) -> u16 {
        u16::try_from(u64::from(self) >> width).unwrap_or_default()
    }
}

impl Kept for U48 {
    fn keep(number: u64, _: u16, _: u8) -> Option<Self> {
        Some(Self::of(number))
    }

    fn number(self, _: u8) -> u64 {
        self.get()
    }

    fn more(self, _: u8) -> u16 {
        0
    }
}

/// Eight numbers and their marks, which are compared at once.
#[derive(Clone, Copy, Debug, Default)]
struct Group<N> {
    marks: [u8; GROUP_LEN],
    kept: [N; GROUP_LEN],
}

impl<N> Group<N> {
    /// The slots with a mark, whatever the sort of their number: a bit in the byte of each.
    const fn hits(&self, mark: u8) -> u64 {
        const ONES: u64 = 0x0101_0101_0101_0101;
        const LOW: u64 = 0x7f * ONES;
        let differ = (u64::from_le_bytes(self.marks) & LOW) ^ (ONES * mark as u64);
        !(differ + LOW) & !LOW
    }

    /// How many slots have a number.
    const fn len(&self) -> usize {
        GROUP_LEN - self.hits(EMPTY).count_ones() as usize
    }
}

/// Slots of a number of hits, ascending.
fn slots(mut hits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let slot = (hits != 0).then(|| hits.trailing_zeros() as usize / GROUP_LEN);
        hits &= hits.wrapping_sub(1);
        slot
    })
}

/// Groups of a bucket.
#[derive(Debug)]
struct Groups<N> {
    /// What numbers are counted from, but for those of the other sort.
    base: U48,
    /// Bits that say which number it is; of the hash there are as many as 32 less these.
    width: u8,
    groups: Box<[Group<N>]>,
}

impl<N: Kept> Groups<N> {
    fn keep(&self, trace: Trace, number: u64) -> Option<N> {
        let number = if number & SORT == 0 {
            number.checked_sub(self.base.get())?
        } else {
            number & !SORT
        };
        N::keep(number, trace.more, self.width)
    }

    fn number(&self, mark: u8, kept: N) -> u64 {
        let number = kept.number(self.width);
        if mark & SORT_MARK == 0 {
            self.base.get() + number
        } else {
            number | SORT
        }
    }

    /// The group, the slot and the number of a key.
    fn find(&self, trace: Trace, is_it: impl Fn(u64) -> bool) -> Option<(usize, usize, u64)> {
        let known = (1u32 << (WIDTH_MAX - self.width)) - 1;
        let more = u32::from(trace.more) & known;
        self.groups.iter().enumerate().find_map(|(at, group)| {
            slots(group.hits(trace.mark)).find_map(|slot| {
                let kept = *group.kept.get(slot)?;
                let number = self.number(*group.marks.get(slot)?, kept);
                let matches = u32::from(kept.more(self.width)) == more && is_it(number);
                matches.then_some((at, slot, number))
            })
        })
    }

    fn each(&self, mut each: impl FnMut(Trace, u64)) {
        for group in &self.groups {
            for (mark, kept) in group.marks.iter().zip(group.kept) {
                if *mark != EMPTY {
                    let trace = Trace {
                        mark: *mark & !SORT_MARK,
                        more: kept.more(self.width),
                    };
                    each(trace, self.number(*mark, kept));
                }
            }
        }
    }

    fn put(&mut self, group: usize, slot: usize, mark: u8, kept: N) {
        if let Some(group) = self.groups.get_mut(group)
            && let Some(old) = group.marks.get_mut(slot)
            && let Some(number) = group.kept.get_mut(slot)
        {
            (*old, *number) = (mark, kept);
        }
    }

    /// Groups that have numbers.
    fn used(&self) -> usize {
        let last = self.groups.iter().rposition(|group| group.len() > 0);
        last.map_or(0, |last| last + 1)
    }

    /// Adds a number; says whether it can be kept here.
    fn insert(&mut self, trace: Trace, number: u64) -> bool {
        let Some(kept) = self.keep(trace, number) else {
            return false;
        };
        let used = self.used();
        let last = used.checked_sub(1).and_then(|last| self.groups.get(last));
        let len = last.map_or(GROUP_LEN, Group::len);
        let (group, slot) = if len < GROUP_LEN {
            (used - 1, len)
        } else {
            (used, 0)
        };
        if group == self.groups.len() {
            self.resize(used + 1);
        }
        self.put(group, slot, with_sort(trace.mark, number), kept);
        true
    }

    /// Gives a key another number; says whether that can be kept here.
    fn replace(&mut self, trace: Trace, old: u64, new: u64) -> bool {
        let found = self.find(trace, |number| number == old);
        match (found, self.keep(trace, new)) {
            (Some((group, slot, _)), Some(kept)) => {
                self.put(group, slot, with_sort(trace.mark, new), kept);
                true
            }
            (None, _) => true,
            (Some(_), None) => false,
        }
    }

    /// Takes a number out and puts the last one into its place; says whether it was there.
    fn remove(&mut self, trace: Trace, number: u64) -> bool {
        let Some((group, slot, _)) = self.find(trace, |other| other == number) else {
            return false;
        };
        let used = self.used();
        let last = used.saturating_sub(1);
        let Some(from) = self.groups.get(last) else {
            return false;
        };
        let from_slot = from.len().saturating_sub(1);
        let moved = from.marks.get(from_slot).zip(from.kept.get(from_slot));
        if let Some((mark, kept)) = moved.map(|(mark, kept)| (*mark, *kept)) {
            self.put(group, slot, mark, kept);
            self.put(last, from_slot, EMPTY, N::default());
        }
        let used = if from_slot == 0 { last } else { used };
        if self.groups.len() > used + 1 {
            self.resize(used + 1);
        }
        true
    }

    fn resize(&mut self, len: usize) {
        let mut groups = std::mem::take(&mut self.groups).into_vec();
        groups.reserve_exact(len.saturating_sub(groups.len()));
        groups.resize(len, Group::default());
        self.groups = groups.into_boxed_slice();
    }
}

const fn with_sort(mark: u8, number: u64) -> u8 {
    if number & SORT == 0 {
        mark
    } else {
        mark | SORT_MARK
    }
}

/// The numbers of about 32 keys.
#[derive(Debug)]
enum Bucket {
    /// None is 2³² from another.
    Near(Groups<u32>),
    /// Wherever they are.
    Far(Box<Groups<U48>>),
}

impl Default for Bucket {
    fn default() -> Self {
        Self::of(&[], WIDTH_MIN)
    }
}

impl Bucket {
    /// A bucket with these; its numbers get at least `width_min` bits, because no more than the other bits of their hashes are known.
    fn of(all: &[(Trace, u64)], width_min: u8) -> Self {
        let numbers = || all.iter().map(|(_, number)| *number);
        let counted = || numbers().filter(|number| number & SORT == 0);
        let least = counted().min().unwrap_or(0);
        let apart = counted().max().unwrap_or(0) - least;
        let others = numbers().filter(|number| number & SORT != 0);
        let most = others.map(|number| number & !SORT).fold(apart, u64::max);
        let needed = most.checked_ilog2().map_or(0, |bit| bit + 1);
        let needed = u8::try_from(needed).ok();
        if let Some(needed) = needed.filter(|needed| *needed <= WIDTH_MAX) {
            let width = (needed + 1).max(width_min).clamp(WIDTH_MIN, WIDTH_MAX);
            // Most that are still to come are larger, some are smaller.
            let room = (1 << width) - 1 - apart;
            let base = U48::of(least.saturating_sub(room / 4));
            Self::Near(filled(base, width, all))
        } else {
            Self::Far(Box::new(filled(U48::of(0), WIDTH_MAX, all)))
        }
    }

    /// Bits of its numbers that are not of a hash.
    fn width(&self) -> u8 {
        match self {
            Self::Near(groups) if groups.used() == 0 => WIDTH_MIN,
            Self::Near(groups) => groups.width,
            Self::Far(groups) => groups.width,
        }
    }

    fn find(&self, trace: Trace, is_it: impl Fn(u64) -> bool) -> Option<u64> {
        let found = match self {
            Self::Near(groups) => groups.find(trace, is_it),
            Self::Far(groups) => groups.find(trace, is_it),
        };
        found.map(|(_, _, number)| number)
    }

    fn each(&self, each: impl FnMut(Trace, u64)) {
        match self {
            Self::Near(groups) => groups.each(each),
            Self::Far(groups) => groups.each(each),
        }
    }

    fn insert(&mut self, trace: Trace, number: u64) {
        let is_kept = match self {
            Self::Near(groups) => groups.insert(trace, number),
            Self::Far(groups) => groups.insert(trace, number),
        };
        if !is_kept {
            let mut all = vec![(trace, number)];
            self.each(|trace, number| all.push((trace, number)));
            *self = Self::of(&all, self.width());
        }
    }

    fn replace(&mut self, trace: Trace, old: u64, new: u64) {
        let is_kept = match self {
            Self::Near(groups) => groups.replace(trace, old, new),
            Self::Far(groups) => groups.replace(trace, old, new),
        };
        if !is_kept {
            self.remove(trace, old);
            self.insert(trace, new);
        }
    }

    fn remove(&mut self, trace: Trace, number: u64) -> bool {
        match self {
            Self::Near(groups) => groups.remove(trace, number),
            Self::Far(groups) => groups.remove(trace, number),
        }
    }
}

/// Groups with these, all of which can be kept.
fn filled<N: Kept>(base: U48, width: u8, all: &[(Trace, u64)]) -> Groups<N> {
    let mut groups = Groups {
        base,
        width,
        groups: Box::default(),
    };
    groups.resize(all.len().div_ceil(GROUP_LEN));
    for (at, (trace, number)) in all.iter().enumerate() {
        if let Some(kept) = groups.keep(*trace, *number) {
            let mark = with_sort(trace.mark, *number);
            groups.put(at / GROUP_LEN, at % GROUP_LEN, mark, kept);
        }
    }
    groups
}
