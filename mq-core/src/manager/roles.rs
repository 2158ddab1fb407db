//! What others depend on a message for: its dedup key, its place in the chain of its ordering key, and whoever waits
//! behind it.
//!
//! Invariant: roles are moved at once when an event is applied; what follows for others waits in limbo for its mark.

use crate::canary;
use crate::id::Seq;
use crate::key::KeyHash;
use crate::state::{Completion, StoredState};

use super::QueueManager;
use super::columns::Keys;
use super::entry::{Entry, Tag};
use super::keys::Index;
use super::limbo::Follow;
use super::table::Table;

/// What others depend on a message for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Roles {
    /// The dedup key it holds.
    dedup: Option<KeyHash>,
    /// Whom it has that key from: the key goes back to that message if it is still live.
    behind: Option<Seq>,
    /// Its ordering key and its place in the chain.
    chain: Option<(KeyHash, u64)>,
    /// Somebody may wait behind it.
    leads: bool,
    /// The dedup key whose previous version it is.
    previous: Option<KeyHash>,
    /// The dedup key it died with.
    dead: Option<KeyHash>,
}

impl Roles {
    /// Its roles now.
    pub(super) fn of(entry: &Entry, keys: &Keys) -> Self {
        if !entry.has_extra() {
            return Self::default();
        }
        let chain = keys.ordering.filter(|_| entry.is_in_chain());
        let key = keys.dedup;
        let dedup = key.filter(|_| entry.tag.is_live());
        let is_dead = entry.tag == Tag::Dead;
        Self {
            dedup: dedup.map(|dedup| dedup.key),
            behind: dedup.and_then(|_| entry.behind()),
            chain: chain.map(|key| (key, entry.order())),
            leads: entry.tag.is_live() || entry.tag == Tag::Superseded,
            previous: key.filter(|_| has_succeeded(entry)).map(|key| key.key),
            dead: key.filter(|_| is_dead).map(|key| key.key),
        }
    }
}

impl QueueManager {
    /// The roles of the message `seq`, whose entry this is.
    pub(super) fn roles(&self, seq: Seq, entry: &Entry) -> Roles {
        Roles::of(entry, &self.table.keys_of(seq, entry))
    }

    /// Whether a message is in the store and not over, so that another can wait behind it.
    pub(super) fn leads(&self, seq: Seq) -> bool {
        self.table
            .get(seq)
            .is_some_and(|entry| entry.tag.is_live() || entry.tag == Tag::Superseded)
    }

    /// The live message that holds a dedup key.
    pub(super) fn key_holder(&self, key: KeyHash) -> Option<Seq> {
        let is_it = |number: u64| dedup_key(&self.table, number) == Some(key);
        self.dedup.find(key, is_it).and_then(Seq::new)
    }

    /// The last message of a dedup key that succeeded, if it is retained.
    pub(super) fn previous_version(&self, key: KeyHash) -> Option<Seq> {
        let is_it = |number: u64| dedup_key(&self.table, number) == Some(key);
        self.previous.find(key, is_it).and_then(Seq::new)
    }

    /// Dead letters of a dedup key, at most `limit`, the newest first.
    pub(super) fn dead_of(&self, key: KeyHash, limit: usize) -> Vec<Seq> {
        let mut found: Vec<u64> = Vec::new();
        while found.len() < limit {
            let is_next = |number: u64| {
                !found.contains(&number) && dedup_key(&self.table, number) == Some(key)
            };
            match self.dead_keys.find(key, is_next) {
                Some(number) => found.push(number),
                None => break,
            }
        }
        found.sort_unstable_by(|one, other| other.cmp(one));
        found.into_iter().filter_map(Seq::new).collect()
    }

    /// A message takes a dedup key, from whoever holds it.
    fn take_key(&mut self, key: KeyHash, seq: Seq) {
        if let Some(holder) = self.key_holder(key) {
            self.dedup.replace(key, holder.get(), seq.get());
        } else {
            let table = &self.table;
            let key_of = |number: u64| dedup_key(table, number).unwrap_or_default();
            self.dedup.insert(key, seq.get(), key_of);
        }
    }

    /// A message gives up its dedup key, if it holds it: to the one it waited behind, if that is live, else to nobody.
    fn give_up_key(&mut self, key: KeyHash, seq: Seq, behind: Option<Seq>) {
        let leader = behind.filter(|leader| {
            self.table
                .get(*leader)
                .is_some_and(|entry| self.roles(*leader, entry).dedup == Some(key))
        });
        match leader {
            Some(leader) => self.dedup.replace(key, seq.get(), leader.get()),
            None => self.dedup.remove(key, seq.get()),
        }
    }

    /// Gives up roles that a message had, takes up those it has now, and lets what follows from that wait for `mark`.
    pub(super) fn move_roles(&mut self, seq: Seq, old: Roles, new: Roles, mark: u64) {
        if old == new {
            return;
        }
        if old.dedup != new.dedup {
            if let Some(key) = old.dedup {
                self.give_up_key(key, seq, old.behind);
            }
            if let Some(key) = new.dedup {
                self.take_key(key, seq);
            }
        }
        if old.previous != new.previous {
            move_in(
                &mut self.previous,
                &self.table,
                seq,
                old.previous,
                new.previous,
            );
        }
        if old.dead != new.dead {
            move_in(&mut self.dead_keys, &self.table, seq, old.dead, new.dead);
        }
        if old.chain != new.chain {
            self.table.step();
            if let Some((key, order)) = old.chain
                && self.chains.leave(key, order, seq)
            {
                let early = canary::sings("successor-before-the-sync");
                let mark = if early { 0 } else { mark };
                self.limbo.push_follow(mark, Follow::Chain(key));
            }
            if let Some((key, order)) = new.chain {
                self.chains.join(key, order, seq, &self.table);
            }
        }
        if old.leads && !new.leads && self.followers.contains_key(&seq.get()) {
            self.limbo.push_follow(mark, Follow::Over(seq));
        }
    }
}

/// The dedup key of a message by number.
fn dedup_key(table: &Table, number: u64) -> Option<KeyHash> {
    table.dedup(Seq::new(number)?)
}

/// Whether its handler succeeded, and it is kept.
fn has_succeeded(entry: &Entry) -> bool {
    entry.tag == Tag::Completed
        && matches!(
            entry.kept_state(),
            Some(StoredState::Completed {
                how: Completion::Succeeded,
                ..
            })
        )
}

/// Takes a message out of an index under one key and puts it in under another.
fn move_in(index: &mut Index, table: &Table, seq: Seq, old: Option<KeyHash>, new: Option<KeyHash>) {
    if let Some(key) = old {
        index.remove(key, seq.get());
    }
    if let Some(key) = new {
        let key_of = |number: u64| dedup_key(table, number).unwrap_or_default();
        index.insert(key, seq.get(), key_of);
    }
}
