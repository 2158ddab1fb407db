//! The table of messages by sequence: pages of 512 entries, shared with images and copied on the first write after one.
//!
//! Invariants: looking up costs one probe of a small tree and two of arrays, whatever the number of messages. A page
//! that is three quarters empty is packed, an empty one is freed, so a few old messages among many newer ones cost
//! their own size and little more. The newest page is left as it is, because it is still filling.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::id::Seq;
use crate::key::KeyHash;

use super::columns::{Column, KeyColumns, Keys, PAGE_LEN};
use super::entry::{Entry, Tag, flag};

#[cfg(test)]
mod tests;

const DIR_LEN: usize = 512;
/// A page is packed when no more than one in so many of its slots is in use …
const PACK_RATIO: usize = 4;
/// … and it has more slots than this.
const PACK_MIN: usize = 2;

/// Where a sequence number is: directory, page in it, slot in that.
#[derive(Clone, Copy)]
struct Address {
    dir: u64,
    page: usize,
    slot: usize,
}

impl Address {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "remainders of 512 fit into any usize"
    )]
    const fn of(seq: Seq) -> Self {
        let position = seq.get().wrapping_sub(1);
        let page = position / PAGE_LEN as u64;
        Self {
            dir: page / DIR_LEN as u64,
            page: (page % DIR_LEN as u64) as usize,
            slot: (position % PAGE_LEN as u64) as usize,
        }
    }

    fn seq(dir: u64, page: usize, slot: usize) -> Seq {
        let page = dir * DIR_LEN as u64 + page as u64;
        Seq::new(page * PAGE_LEN as u64 + slot as u64 + 1).unwrap_or(Seq::MAX)
    }
}

/// 512 consecutive sequence numbers: the entries of all by position, or only of those in use behind a bit map; and their keys.
#[derive(Clone, Debug, Default)]
struct Page {
    live: usize,
    entries: Column<Entry>,
    keys: KeyColumns,
}

impl Page {
    fn get(&self, slot: usize) -> Option<&Entry> {
        let entry = self.entries.get(slot)?;
        (entry.tag != Tag::Vacant).then_some(entry)
    }

    /// The keys of all, if the message in a slot is there and has some.
    fn keys(&self, slot: usize) -> Option<&KeyColumns> {
        let entry = self.entries.get(slot)?;
        (entry.tag != Tag::Vacant && entry.has(flag::KEYED)).then_some(&self.keys)
    }

    fn get_mut(&mut self, slot: usize) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(slot)?;
        (entry.tag != Tag::Vacant).then_some(entry)
    }

    /// Its messages with their slots, ascending.
    fn entries(&self) -> impl Iterator<Item = (usize, &Entry)> {
        let entries = self.entries.iter();
        entries.filter(|(_, entry)| entry.tag != Tag::Vacant)
    }

    /// Puts an entry and its keys into a slot that must be empty; says whether it was.
    fn insert(&mut self, slot: usize, entry: Entry, keys: &Keys) -> bool {
        if self.get(slot).is_some() {
            return false;
        }
        if entry.has(flag::KEYED) {
            self.keys.set(slot, keys);
        }
        if slot == 0 && self.entries.len() == 0 {
            self.entries.reserve_page();
        }
        self.entries.put(slot, entry);
        self.live += 1;
        true
    }

    fn remove(&mut self, slot: usize) -> Option<Entry> {
        let entry = self.get_mut(slot)?;
        let entry = std::mem::replace(entry, Entry::vacant());
        self.live -= 1;
        Some(entry)
    }

    fn wants_packing(&self) -> bool {
        self.entries.len() > PACK_MIN && self.live * PACK_RATIO <= self.entries.len()
    }

    /// Keeps only the entries in use.
    fn pack(&mut self) {
        self.entries.retain(|_, entry| entry.tag != Tag::Vacant);
        let entries = &self.entries;
        self.keys.retain(|slot| entries.get(slot).is_some());
    }
}

/// 512 pages.
#[derive(Clone, Debug)]
struct Dir {
    live: usize,
    pages: Vec<Option<Arc<Page>>>,
}

impl Dir {
    fn new() -> Self {
        Self {
            live: 0,
            pages: vec![None; DIR_LEN],
        }
    }
}

/// All pages. A clone shares them: it costs one reference count for each 262,144 sequence numbers in use.
#[derive(Clone, Debug, Default)]
pub(super) struct Pages {
    dirs: BTreeMap<u64, Arc<Dir>>,
    len: usize,
}

impl Pages {
    /// The message `seq`.
    pub(super) fn get(&self, seq: Seq) -> Option<&Entry> {
        let at = Address::of(seq);
        self.dirs
            .get(&at.dir)?
            .pages
            .get(at.page)?
            .as_ref()?
            .get(at.slot)
    }

    /// The keys of the message `seq`.
    fn keys(&self, seq: Seq) -> Keys {
        let keys = self.columns(seq);
        keys.map_or_else(Keys::default, |(keys, slot)| keys.get(slot))
    }

    /// The keys of the message `seq`, whose entry this is.
    pub(super) fn keys_of(&self, seq: Seq, entry: &Entry) -> Keys {
        if entry.has(flag::KEYED) {
            self.keys(seq)
        } else {
            Keys::default()
        }
    }

    fn columns(&self, seq: Seq) -> Option<(&KeyColumns, usize)> {
        let at = Address::of(seq);
        let page = self.dirs.get(&at.dir)?.pages.get(at.page)?.as_ref()?;
        Some((page.keys(at.slot)?, at.slot))
    }

    /// How many messages there are.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// The messages after `after`, by ascending sequence. Finding the next costs a step for each empty slot between.
    pub(super) fn after(&self, after: Seq) -> impl Iterator<Item = (Seq, &Entry)> {
        let from = Address::of(after.next());
        self.dirs.range(from.dir..).flat_map(move |(&dir, pages)| {
            let first_page = if dir == from.dir { from.page } else { 0 };
            let pages = pages.pages.iter().enumerate().skip(first_page);
            pages
                .filter_map(|(page, shared)| shared.as_ref().map(|shared| (page, shared)))
                .flat_map(move |(page, shared)| {
                    let is_first = dir == from.dir && page == from.page;
                    let first_slot = if is_first { from.slot } else { 0 };
                    shared
                        .entries()
                        .skip_while(move |(slot, _)| *slot < first_slot)
                        .map(move |(slot, entry)| (Address::seq(dir, page, slot), entry))
                })
        })
    }
}

/// The table of the live manager.
#[derive(Debug, Default)]
pub(super) struct Table {
    pages: Pages,
    /// The newest message ever inserted: its page is not packed or freed.
    newest: Seq,
    probes: Cell<u64>,
}

impl Table {
    /// A shared copy for an image.
    pub(super) fn share(&self) -> Pages {
        self.pages.clone()
    }

    /// Counts one step of work; [`Table::steps`] reads the sum.
    pub(super) fn step(&self) {
        self.probes.set(self.probes.get() + 1);
    }

    /// Steps of work since the start: look-ups here and operations on the trees that order messages.
    pub(super) fn steps(&self) -> u64 {
        self.probes.get()
    }

    /// How many messages there are.
    pub(super) const fn len(&self) -> usize {
        self.pages.len()
    }

    /// The message inserted last, if it is still there or not.
    pub(super) const fn newest(&self) -> Seq {
        self.newest
    }

    /// The message `seq`.
    pub(super) fn get(&self, seq: Seq) -> Option<&Entry> {
        self.step();
        self.pages.get(seq)
    }

    /// The keys of the message `seq`, whose entry this is.
    pub(super) fn keys_of(&self, seq: Seq, entry: &Entry) -> Keys {
        if entry.has(flag::KEYED) {
            self.step();
        }
        self.pages.keys_of(seq, entry)
    }

    /// The keys of the message `seq`.
    #[cfg(test)]
    pub(super) fn keys(&self, seq: Seq) -> Keys {
        self.pages.keys(seq)
    }

    /// The ordering key of the message `seq`.
    pub(super) fn ordering(&self, seq: Seq) -> Option<KeyHash> {
        self.step();
        let (keys, slot) = self.pages.columns(seq)?;
        keys.ordering(slot)
    }

    /// The dedup key of the message `seq`.
    pub(super) fn dedup(&self, seq: Seq) -> Option<KeyHash> {
        self.step();
        let (keys, slot) = self.pages.columns(seq)?;
        keys.dedup(slot)
    }

    /// The message `seq`, to be changed; its page is copied if an image shares it.
    pub(super) fn get_mut(&mut self, seq: Seq) -> Option<&mut Entry> {
        self.step();
        let at = Address::of(seq);
        let dir = Arc::make_mut(self.pages.dirs.get_mut(&at.dir)?);
        let page = Arc::make_mut(dir.pages.get_mut(at.page)?.as_mut()?);
        page.get_mut(at.slot)
    }

    /// The messages after `after`, each a step.
    pub(super) fn after(&self, after: Seq) -> impl Iterator<Item = (Seq, &Entry)> {
        self.pages.after(after).inspect(|_| self.step())
    }

    /// Adds a message with its keys; says whether its number was free.
    pub(super) fn insert(&mut self, seq: Seq, entry: Entry, keys: &Keys) -> bool {
        self.step();
        let at = Address::of(seq);
        if seq > self.newest {
            let newest = std::mem::replace(&mut self.newest, seq);
            let old = Address::of(newest);
            if newest != Seq::NONE && (old.dir, old.page) != (at.dir, at.page) {
                self.close(old);
            }
        }
        let dir = self
            .pages
            .dirs
            .entry(at.dir)
            .or_insert_with(|| Arc::new(Dir::new()));
        let dir = Arc::make_mut(dir);
        let Some(slot) = dir.pages.get_mut(at.page) else {
            return false;
        };
        if slot.is_none() {
            dir.live += 1;
        }
        let page = Arc::make_mut(slot.get_or_insert_default());
        let inserted = page.insert(at.slot, entry, keys);
        self.pages.len += usize::from(inserted);
        inserted
    }

    /// Takes a message out.
    pub(super) fn remove(&mut self, seq: Seq) -> Option<Entry> {
        self.step();
        let at = Address::of(seq);
        let dir = Arc::make_mut(self.pages.dirs.get_mut(&at.dir)?);
        let page = Arc::make_mut(dir.pages.get_mut(at.page)?.as_mut()?);
        let entry = page.remove(at.slot)?;
        let untidy = page.live == 0 || page.wants_packing();
        self.pages.len -= 1;
        let newest = Address::of(self.newest);
        if untidy && (newest.dir, newest.page) != (at.dir, at.page) {
            self.tidy(at);
        }
        Some(entry)
    }

    /// A page has had its last message: nothing in it grows any more.
    fn close(&mut self, at: Address) {
        self.tidy(at);
        if let Some(dir) = self.pages.dirs.get_mut(&at.dir)
            && let Some(page) = Arc::make_mut(dir).pages.get_mut(at.page)
            && let Some(page) = page.as_mut().filter(|page| page.keys.has_spare())
        {
            Arc::make_mut(page).keys.give_back();
        }
    }

    /// Frees or packs a page that has become empty or sparse.
    fn tidy(&mut self, at: Address) {
        let Some(shared) = self.pages.dirs.get_mut(&at.dir) else {
            return;
        };
        let dir = Arc::make_mut(shared);
        let Some(slot) = dir.pages.get_mut(at.page) else {
            return;
        };
        let Some(page) = slot.as_mut() else {
            return;
        };
        if page.live == 0 {
            *slot = None;
            dir.live -= 1;
            if dir.live == 0 {
                self.pages.dirs.remove(&at.dir);
            }
        } else if page.wants_packing() {
            Arc::make_mut(page).pack();
        }
    }
}
