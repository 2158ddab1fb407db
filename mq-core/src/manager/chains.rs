//! Ordering keys: the messages of a key one after the other.
//!
//! Invariants: only the first of a chain may be handed out, and only when the departure of everyone before it is durable
//! (`unsettled` is zero). A chain of one message of which nobody has just left is that message's number in the index
//! and nothing else.

use std::collections::BTreeSet;

use crate::canary;
use crate::id::Seq;
use crate::key::KeyHash;

use super::keys::Index;
use super::table::Table;

type Member = (u64, Seq);

/// Set in the index for a chain that is written out in `long`; the rest is its place there.
const LONG: u64 = 1 << 63;

/// A chain written out.
#[derive(Debug)]
struct Chain {
    key: KeyHash,
    members: BTreeSet<Member>,
    /// Departures of a first member that are not durable yet.
    unsettled: u32,
}

/// All chains by ordering key.
#[derive(Debug, Default)]
pub(super) struct Chains {
    index: Index,
    long: Vec<Chain>,
    /// Places in `long` that are not in use.
    free: Vec<u64>,
    /// Chains that have members; the others only wait for a departure to be durable.
    occupied: u64,
}

impl Chains {
    /// How many keys have messages.
    pub(super) const fn len(&self) -> u64 {
        self.occupied
    }

    /// Whether a key has messages.
    pub(super) fn contains(&self, key: KeyHash, table: &Table) -> bool {
        self.first(key, table).is_some()
    }

    fn find(&self, key: KeyHash, table: &Table) -> Option<u64> {
        self.index
            .find(key, |number| key_of(&self.long, number, table) == Some(key))
    }

    fn long(&self, number: u64) -> Option<&Chain> {
        self.long.get(place_of(number)?)
    }

    fn long_mut(&mut self, number: u64) -> Option<&mut Chain> {
        self.long.get_mut(place_of(number)?)
    }

    /// Writes a chain out; answers its number.
    fn write_out(&mut self, chain: Chain) -> u64 {
        if let Some(number) = self.free.pop()
            && let Some(place) = self.long_mut(number)
        {
            *place = chain;
            return number;
        }
        self.long.push(chain);
        let place = u64::try_from(self.long.len() - 1).unwrap_or(u64::MAX);
        place | LONG
    }

    /// Adds a message at its place in line.
    pub(super) fn join(&mut self, key: KeyHash, order: u64, seq: Seq, table: &Table) {
        let Some(number) = self.find(key, table) else {
            let long = &self.long;
            let key_of = |number: u64| key_of(long, number, table).unwrap_or_default();
            self.index.insert(key, seq.get(), key_of);
            self.occupied += 1;
            return;
        };
        if let Some(chain) = self.long_mut(number) {
            let was_empty = chain.members.is_empty();
            chain.members.insert((order, seq));
            self.occupied += u64::from(was_empty);
            return;
        }
        let first = Seq::new(number).and_then(|first| Some((table.get(first)?.order(), first)));
        let members = first.into_iter().chain([(order, seq)]).collect();
        let unsettled = 0;
        let long = self.write_out(Chain {
            key,
            members,
            unsettled,
        });
        self.index.replace(key, number, long);
    }

    /// Takes a message out. If it was the first, the chain stands still until [`Chains::settle`]; says whether that is
    /// so. Its entry need not be in the table any more.
    pub(super) fn leave(&mut self, key: KeyHash, order: u64, seq: Seq) -> bool {
        let is_it = |number: u64| {
            number == seq.get() || self.long(number).is_some_and(|chain| chain.key == key)
        };
        let Some(number) = self.index.find(key, is_it) else {
            return false;
        };
        if let Some(chain) = self.long_mut(number) {
            let was_first = chain.members.first() == Some(&(order, seq));
            let was_there = chain.members.remove(&(order, seq));
            let is_empty = chain.members.is_empty();
            chain.unsettled += u32::from(was_first);
            self.occupied -= u64::from(was_there && is_empty);
            return was_first;
        }
        let long = self.write_out(Chain {
            key,
            members: BTreeSet::new(),
            unsettled: 1,
        });
        self.index.replace(key, number, long);
        self.occupied -= 1;
        true
    }

    /// A departure of a first member is durable: answers the message that is first now, once all departures are.
    pub(super) fn settle(&mut self, key: KeyHash, table: &Table) -> Option<Seq> {
        let number = self.find(key, table)?;
        let chain = self.long_mut(number)?;
        chain.unsettled = chain.unsettled.saturating_sub(1);
        if chain.unsettled > 0 {
            return None;
        }
        let first = chain.members.first().map(|(_, seq)| *seq);
        if chain.members.len() < 2 {
            chain.members.clear();
            self.free.push(number);
            match first {
                Some(only) => self.index.replace(key, number, only.get()),
                None => self.index.remove(key, number),
            }
        }
        first
    }

    /// The first message of a key.
    pub(super) fn first(&self, key: KeyHash, table: &Table) -> Option<Seq> {
        let number = self.find(key, table)?;
        match self.long(number) {
            Some(chain) => chain.members.first().map(|(_, seq)| *seq),
            None => Seq::new(number),
        }
    }

    /// The messages of a key, if there are no more than `limit`.
    pub(super) fn members(&self, key: KeyHash, table: &Table, limit: usize) -> Option<Vec<Seq>> {
        let Some(number) = self.find(key, table) else {
            return Some(Vec::new());
        };
        match self.long(number) {
            Some(chain) if chain.members.len() > limit => None,
            Some(chain) => Some(chain.members.iter().map(|(_, seq)| *seq).collect()),
            None => Some(Seq::new(number).into_iter().collect()),
        }
    }

    /// Whether `seq` is the first of its key and may be handed out.
    pub(super) fn may_go(&self, key: KeyHash, seq: Seq, table: &Table) -> bool {
        let Some(number) = self.find(key, table) else {
            return true;
        };
        match self.long(number) {
            Some(_) if canary::sings("line-not-kept") => true,
            Some(chain) => {
                chain.unsettled == 0
                    && chain
                        .members
                        .first()
                        .is_some_and(|(_, first)| *first == seq)
            }
            None => number == seq.get(),
        }
    }
}

/// The place of a chain that is written out.
fn place_of(number: u64) -> Option<usize> {
    let place = number.checked_sub(LONG)?;
    usize::try_from(place).ok()
}

/// The key of a chain by its number in the index.
fn key_of(long: &[Chain], number: u64, table: &Table) -> Option<KeyHash> {
    match place_of(number) {
        Some(place) => long.get(place).map(|chain| chain.key),
        None => table.ordering(Seq::new(number)?),
    }
}
