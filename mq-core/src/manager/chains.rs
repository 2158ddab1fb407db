//! Ordering keys: the messages of a key one after the other.
//!
//! Invariants: only the first of a chain may be handed out, and only when the departure of everyone before it is durable
//! (`unsettled` is zero). A chain of one costs no tree.

use std::collections::BTreeSet;

use crate::id::Seq;
use crate::key::KeyHash;

use super::keys::KeyMap;

type Member = (u64, Seq);

#[derive(Debug)]
enum Members {
    None,
    One(Member),
    Many(BTreeSet<Member>),
}

impl Members {
    fn first(&self) -> Option<Member> {
        match self {
            Self::None => None,
            Self::One(member) => Some(*member),
            Self::Many(members) => members.first().copied(),
        }
    }

    fn insert(&mut self, member: Member) {
        match self {
            Self::None => *self = Self::One(member),
            Self::One(one) => *self = Self::Many(BTreeSet::from([*one, member])),
            Self::Many(members) => {
                members.insert(member);
            }
        }
    }

    fn remove(&mut self, member: Member) {
        match self {
            Self::One(one) if *one == member => *self = Self::None,
            Self::None | Self::One(_) => {}
            Self::Many(members) => {
                members.remove(&member);
                if members.is_empty() {
                    *self = Self::None;
                }
            }
        }
    }
}

#[derive(Debug)]
struct Chain {
    members: Members,
    /// Departures of a first member that are not durable yet.
    unsettled: u32,
}

/// All chains by ordering key.
#[derive(Debug, Default)]
pub(super) struct Chains {
    chains: KeyMap<Chain>,
    /// Chains that have members; the others only wait for a departure to be durable.
    occupied: u64,
}

impl Chains {
    /// How many keys have messages.
    pub(super) const fn len(&self) -> u64 {
        self.occupied
    }

    /// Whether a key has messages.
    pub(super) fn contains(&self, key: KeyHash) -> bool {
        self.first(key).is_some()
    }

    /// Adds a message at its place in line.
    pub(super) fn join(&mut self, key: KeyHash, order: u64, seq: Seq) {
        if let Some(chain) = self.chains.get_mut(key) {
            self.occupied += u64::from(chain.members.first().is_none());
            chain.members.insert((order, seq));
        } else {
            self.occupied += 1;
            let chain = Chain {
                members: Members::One((order, seq)),
                unsettled: 0,
            };
            self.chains.insert(key, chain);
        }
    }

    /// Takes a message out. If it was the first, the chain stands still until [`Chains::settle`]; says whether that is so.
    pub(super) fn leave(&mut self, key: KeyHash, order: u64, seq: Seq) -> bool {
        let Some(chain) = self.chains.get_mut(key) else {
            return false;
        };
        let was_first = chain.members.first() == Some((order, seq));
        chain.members.remove((order, seq));
        if was_first {
            chain.unsettled += 1;
            self.occupied -= u64::from(chain.members.first().is_none());
        }
        was_first
    }

    /// A departure of a first member is durable: answers the message that is first now, once all departures are.
    pub(super) fn settle(&mut self, key: KeyHash) -> Option<Seq> {
        let chain = self.chains.get_mut(key)?;
        chain.unsettled = chain.unsettled.saturating_sub(1);
        if chain.unsettled > 0 {
            return None;
        }
        let first = chain.members.first();
        if first.is_none() {
            self.chains.remove(key);
        }
        first.map(|(_, seq)| seq)
    }

    /// The first message of a key.
    pub(super) fn first(&self, key: KeyHash) -> Option<Seq> {
        self.chains.get(key)?.members.first().map(|(_, seq)| seq)
    }

    /// Whether `seq` is the first of its key and may be handed out.
    pub(super) fn may_go(&self, key: KeyHash, seq: Seq) -> bool {
        self.chains.get(key).is_none_or(|chain| {
            chain.unsettled == 0 && chain.members.first().is_some_and(|(_, first)| first == seq)
        })
    }
}
