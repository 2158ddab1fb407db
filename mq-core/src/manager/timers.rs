//! What happens by itself, as data: due times on the wall clock, lease ends on the monotonic clock, expiry and retention
//! on store time.
//!
//! Invariant: nothing here fires; `advance` and `tick` ask what has come, and `next_deadline` says when to ask again.

use std::collections::BTreeSet;

use crate::id::Seq;

use super::table::Table;

/// Messages by a moment in milliseconds.
#[derive(Debug, Default)]
pub(super) struct Timer {
    moments: BTreeSet<(u64, Seq)>,
}

impl Timer {
    /// Adds a moment; adding it again changes nothing.
    pub(super) fn insert(&mut self, at: u64, seq: Seq, table: &Table) {
        table.step();
        self.moments.insert((at, seq));
    }

    /// Takes a moment out, if it is there.
    pub(super) fn remove(&mut self, at: u64, seq: Seq, table: &Table) {
        table.step();
        self.moments.remove(&(at, seq));
    }

    /// The earliest moment.
    pub(super) fn first(&self) -> Option<(u64, Seq)> {
        self.moments.first().copied()
    }

    /// All moments up to `now`, earliest first.
    pub(super) fn come(&self, now: u64) -> impl Iterator<Item = Seq> {
        self.all()
            .take_while(move |(at, _)| *at <= now)
            .map(|(_, seq)| seq)
    }

    /// All moments, earliest first.
    pub(super) fn all(&self) -> impl Iterator<Item = (u64, Seq)> {
        self.moments.iter().copied()
    }
}

/// The timers, and what is kept in order of time beside them.
#[derive(Debug, Default)]
pub(super) struct Timers {
    /// Scheduled messages by due time (wall clock).
    pub(super) due: Timer,
    /// Leases by their end (monotonic clock).
    pub(super) lease: Timer,
    /// Messages by expiry (store time). Some may have started since: `Entry::expires` decides.
    pub(super) expiry: Timer,
    /// Completed messages by the end of their retention (store time).
    pub(super) retention: Timer,
    /// Dead letters by the moment they became ones (wall clock), for readers: nothing happens by it.
    pub(super) dead: Timer,
}
