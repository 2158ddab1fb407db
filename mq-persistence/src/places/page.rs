//! The places of 1024 consecutive messages.
//!
//! Invariants: a page is a plain table while more than a quarter of it is used, and a short sorted list otherwise, so that a few old
//! messages left behind by millions cost their own size and not that of a table. The two limits lie apart: a page at the border does
//! not change its form with each message.

use mq_core::id::Seq;

use super::Place;
use crate::lsn::Lsn;

/// Messages per page.
const PAGE_LEN: u16 = 1024;
/// A list longer than this becomes a table: it would be nearly as large, and slower.
const LIST_LEN_MAX: usize = 384;
/// A table with fewer messages than this becomes a list.
const TABLE_LEN_MIN: u16 = 256;

/// A place in 12 bytes. No record starts at offset 0 of a segment, so all zeros is free for "none".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Slot {
    segment: u32,
    offset: u32,
    len: u32,
}

impl Slot {
    const NONE: Self = Self {
        segment: 0,
        offset: 0,
        len: 0,
    };

    pub(super) const fn of(place: Place) -> Self {
        Self {
            segment: place.at.segment(),
            offset: place.at.offset(),
            len: place.len,
        }
    }

    pub(super) const fn place(self) -> Place {
        Place {
            at: Lsn::new(self.segment, self.offset),
            len: self.len,
        }
    }

    fn taken(self) -> Option<Self> {
        (self != Self::NONE).then_some(self)
    }
}

/// See the head of this file.
#[derive(Clone, Debug)]
pub(super) enum Page {
    /// By ascending index.
    List(Vec<(u16, Slot)>),
    /// One slot for each index.
    Table {
        /// How many slots are taken.
        live: u16,
        /// All of them.
        slots: Box<[Slot]>,
    },
}

impl Default for Page {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl Page {
    /// The page a message belongs to.
    pub(super) const fn number(seq: Seq) -> u64 {
        seq.get() / PAGE_LEN as u64
    }

    /// The place of a message in its page.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the remainder of a division by 1024"
    )]
    pub(super) const fn index(seq: Seq) -> u16 {
        (seq.get() % PAGE_LEN as u64) as u16
    }

    /// The sequence of index 0 in page `number`.
    pub(super) const fn first_of(number: u64) -> u64 {
        number * PAGE_LEN as u64
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::List(list) => list.is_empty(),
            Self::Table { live, .. } => *live == 0,
        }
    }

    pub(super) fn get(&self, index: u16) -> Option<Slot> {
        match self {
            Self::List(list) => {
                let position = list.binary_search_by_key(&index, |(at, _)| *at).ok()?;
                list.get(position).map(|(_, slot)| *slot)
            }
            Self::Table { slots, .. } => slots.get(usize::from(index))?.taken(),
        }
    }

    /// Puts a slot and returns the one that was there.
    pub(super) fn set(&mut self, index: u16, slot: Slot) -> Option<Slot> {
        match self {
            Self::List(list) => match list.binary_search_by_key(&index, |(at, _)| *at) {
                Ok(position) => list
                    .get_mut(position)
                    .map(|(_, old)| std::mem::replace(old, slot)),
                Err(position) => {
                    list.insert(position, (index, slot));
                    self.widen();
                    None
                }
            },
            Self::Table { live, slots } => {
                let former = std::mem::replace(slots.get_mut(usize::from(index))?, slot).taken();
                if former.is_none() {
                    *live += 1;
                }
                former
            }
        }
    }

    /// Empties a slot and returns what was there.
    pub(super) fn clear(&mut self, index: u16) -> Option<Slot> {
        match self {
            Self::List(list) => {
                let position = list.binary_search_by_key(&index, |(at, _)| *at).ok()?;
                let (_, former) = list.remove(position);
                if list.len() <= list.capacity() / 4 {
                    list.shrink_to(list.len() * 2);
                }
                Some(former)
            }
            Self::Table { live, slots } => {
                let former = std::mem::take(slots.get_mut(usize::from(index))?).taken()?;
                *live -= 1;
                self.narrow();
                Some(former)
            }
        }
    }

    /// The taken slots by ascending index.
    pub(super) fn slots(&self) -> impl Iterator<Item = (u16, Slot)> + '_ {
        let (list, table) = match self {
            Self::List(list) => (list.as_slice(), [].as_slice()),
            Self::Table { slots, .. } => ([].as_slice(), slots.as_ref()),
        };
        let table = (0..PAGE_LEN)
            .zip(table)
            .filter_map(|(index, slot)| Some((index, slot.taken()?)));
        list.iter().copied().chain(table)
    }

    fn widen(&mut self) {
        let Self::List(list) = self else { return };
        if list.len() <= LIST_LEN_MAX {
            return;
        }
        let mut slots = vec![Slot::NONE; usize::from(PAGE_LEN)].into_boxed_slice();
        let mut live = 0;
        for (index, slot) in list.iter() {
            if let Some(free) = slots.get_mut(usize::from(*index)) {
                *free = *slot;
                live += 1;
            }
        }
        *self = Self::Table { live, slots };
    }

    fn narrow(&mut self) {
        if matches!(self, Self::Table { live, .. } if *live < TABLE_LEN_MIN) {
            let list: Vec<_> = self.slots().collect();
            *self = Self::List(list);
        }
    }

    /// Bytes this page takes on the heap.
    #[cfg(test)]
    pub(super) fn heap_size(&self) -> usize {
        match self {
            Self::List(list) => list.capacity() * size_of::<(u16, Slot)>(),
            Self::Table { slots, .. } => size_of_val::<[Slot]>(slots),
        }
    }
}
