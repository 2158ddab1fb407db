//! Which messages have which values in their indexed fields.
//!
//! Invariants: every term of every message in the table stands here, whatever its state. A field of a kind is *complete* if
//! each of its messages has a term for it: so says a count, whatever was declared when.

use std::collections::BTreeSet;

use hashbrown::HashMap;

use crate::event::Event;
use crate::id::{KindId, Seq};
use crate::index::{Form, PointerHash, SetKind, TermRange, Terms};
use crate::name::KindName;
use crate::time::Now;
use crate::view::Filter;

use super::apply::ApplyError;
use super::table::Table;
use super::{Command, QueueManager, Sealed};
use crate::command::EnqueueRefused;

/// Lines of a queue that are asked one by one whether a field is complete in all of them.
const LINES_MAX: usize = 64;
const SEQ_BITS: u32 = u64::BITS - Seq::MAX.get().leading_zeros();

/// A form and a message, as they sort: a number each for its halves, and one for its hash and the sequence.
type Key = (u64, u64, u64);

/// All terms.
#[derive(Debug, Default)]
pub(super) struct TermTable {
    /// By field.
    fields: HashMap<PointerHash, BTreeSet<Key>>,
    /// Messages with a term for a field.
    counts: HashMap<(KindId, PointerHash), u64>,
}

/// What the index knows of those that can match.
pub(super) enum Candidates {
    /// These, ascending: no others.
    Few(Vec<Seq>),
    /// Many that have one value: [`TermTable::row`] of this range.
    Row(TermRange),
}

const fn key(form: Form, seq: u64) -> Key {
    (form.high, form.low, (form.hash as u64) << SEQ_BITS | seq)
}

const fn seq_of(key: Key) -> Option<Seq> {
    Seq::new(key.2 & Seq::MAX.get())
}

impl TermTable {
    /// A message has terms.
    pub(super) fn add(&mut self, seq: Seq, kind: KindId, terms: &Terms, table: &Table) {
        for term in terms.as_slice() {
            table.step();
            let field = self.fields.entry(term.pointer).or_default();
            if field.insert(key(term.form, seq.get())) {
                *self.counts.entry((kind, term.pointer)).or_default() += 1;
            }
        }
    }

    /// A message has its terms no more.
    pub(super) fn remove(&mut self, seq: Seq, kind: KindId, terms: &Terms, table: &Table) {
        for term in terms.as_slice() {
            table.step();
            let Some(field) = self.fields.get_mut(&term.pointer) else {
                continue;
            };
            if field.remove(&key(term.form, seq.get()))
                && let Some(count) = self.counts.get_mut(&(kind, term.pointer))
            {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&(kind, term.pointer));
                }
            }
            if field.is_empty() {
                self.fields.remove(&term.pointer);
            }
        }
    }

    /// Messages with a term for a field.
    fn len(&self, pointer: PointerHash) -> usize {
        self.fields.get(&pointer).map_or(0, BTreeSet::len)
    }

    /// Messages of a kind with a term for a field.
    pub(super) fn count(&self, kind: KindId, pointer: PointerHash) -> u64 {
        self.counts.get(&(kind, pointer)).copied().unwrap_or(0)
    }

    /// Messages after `after` whose value is the only one in `range`, ascending.
    pub(super) fn row(&self, range: &TermRange, after: Seq) -> impl Iterator<Item = Seq> {
        let last = Seq::MAX.get();
        let from = key(range.from, after.get());
        let keys = self
            .fields
            .get(&range.pointer)
            .filter(|_| after < Seq::MAX)
            .map(|field| field.range((from.0, from.1, from.2 + 1)..=key(range.to, last)));
        keys.into_iter().flatten().copied().filter_map(seq_of)
    }

    /// All messages in a range, if they are at most `limit`; in no order.
    fn few(&self, range: &TermRange, after: Seq, limit: usize, table: &Table) -> Option<Vec<Seq>> {
        let from = if range.is_one() {
            key(range.from, after.get())
        } else {
            key(range.from, 0)
        };
        let to = key(range.to, Seq::MAX.get());
        let Some(field) = self.fields.get(&range.pointer).filter(|_| from <= to) else {
            return Some(Vec::new());
        };
        let mut found = Vec::new();
        for (at, key) in field.range(from..=to).enumerate() {
            if at >= limit {
                return None;
            }
            table.step();
            found.extend(seq_of(*key).filter(|seq| *seq > after));
        }
        Some(found)
    }
}

impl QueueManager {
    /// Those after `after` that can match, if the index knows all of them; looks at no more than `limit`.
    pub(super) fn by_index(&self, filter: &Filter, after: Seq, limit: usize) -> Option<Candidates> {
        let is_complete = |range: &&TermRange| self.has_all_terms(filter, range.pointer);
        let ranges: Vec<&TermRange> = filter.terms.iter().filter(is_complete).collect();
        let limit = limit / ranges.len().max(1);
        let mut best: Option<Vec<Seq>> = None;
        let mut row = None;
        for range in ranges {
            match self.terms.few(range, after, limit, &self.table) {
                Some(few) if best.as_ref().is_none_or(|best| few.len() < best.len()) => {
                    best = Some(few);
                }
                None if range.is_one() => row = Some(Candidates::Row(*range)),
                Some(_) | None => {}
            }
        }
        let few = best.map(|mut few| {
            few.sort_unstable();
            Candidates::Few(few)
        });
        few.or(row)
    }

    /// Whether every message that a filter can mean has a term for a field.
    fn has_all_terms(&self, filter: &Filter, pointer: PointerHash) -> bool {
        let of_kind = |kind: KindId| self.terms.count(kind, pointer) == self.names.messages(kind);
        if let Some(name) = &filter.kind {
            return self.names.kind_id(name).is_none_or(of_kind);
        }
        if self.terms.len(pointer) == self.table.len() {
            return true;
        }
        let Some(name) = &filter.queue else {
            return false;
        };
        let queue = self.names.queue_id(name);
        let Some(queue) = queue.and_then(|id| self.names.queue(id)) else {
            return true;
        };
        let kinds = queue
            .lines
            .iter()
            .filter_map(|line| self.names.of_line(*line));
        queue.lines.len() <= LINES_MAX && kinds.map(|(_, kind)| kind).all(of_kind)
    }

    /// The kinds with an index, and how many of their messages are in it.
    #[must_use]
    pub fn indexes(&self) -> Vec<IndexView> {
        let kinds = self.names.kinds().iter().zip(0..);
        let view = |(name, id): (&KindName, u32)| {
            let (kind, index) = (KindId(id), self.names.index(KindId(id)));
            let indexed = |field: &crate::index::Pointer| self.terms.count(kind, field.hash());
            (!index.is_empty()).then(|| IndexView {
                kind: name.clone(),
                messages: self.names.messages(kind),
                indexed: index.fields().iter().map(indexed).collect(),
                index: index.clone(),
            })
        };
        kinds.filter_map(view).collect()
    }

    pub(super) fn apply_kind_set(
        &mut self,
        id: KindId,
        index: &crate::index::Index,
    ) -> Result<(), ApplyError> {
        let is_known = self.names.set_index(id, index.clone());
        if is_known {
            Ok(())
        } else {
            Err(ApplyError::UnknownKind { id })
        }
    }
}

/// The index of a kind, and how many of its messages are in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexView {
    /// The kind.
    pub kind: KindName,
    /// Its indexed fields.
    pub index: crate::index::Index,
    /// Messages of the kind in the store, in whatever state.
    pub messages: u64,
    /// For each field, those with a term: as many as there are messages, or searches read payloads.
    pub indexed: Vec<u64>,
}

impl Sealed for SetKind {}

impl Command for SetKind {
    type Answer = ();
    type Refused = EnqueueRefused;

    fn decide(
        &self,
        manager: &QueueManager,
        _now: &Now,
        events: &mut Vec<Event>,
    ) -> Result<(), EnqueueRefused> {
        let known = manager.names.kind_id(&self.kind);
        let is_so = known.map_or(self.index.is_empty(), |id| {
            *manager.names.index(id) == self.index
        });
        if is_so {
            return Ok(());
        }
        let kind = match known {
            Some(id) => id,
            None => {
                let id = manager.names.next_kind(0);
                let id = id.ok_or(EnqueueRefused::NumbersUsedUp { what: "kind" })?;
                let name = self.kind.clone();
                events.push(Event::KindDefined { id, name });
                id
            }
        };
        let index = self.index.clone();
        events.push(Event::KindSet { kind, index });
        Ok(())
    }
}
