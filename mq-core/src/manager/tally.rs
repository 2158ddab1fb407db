//! Counters since the store was opened. They decide nothing.

use std::cell::Cell;

use crate::state::Outcome;

/// The counters. Cells, because refusals are counted too and deciding changes nothing else.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    enqueued: Cell<u64>,
    duplicates: Cell<u64>,
    checked_out: Cell<u64>,
    outcomes: [Cell<u64>; 9],
    stale: Cell<u64>,
    died: Cell<u64>,
    replayed: Cell<u64>,
    extended: Cell<u64>,
    evicted: Cell<u64>,
}

fn bump(counter: &Cell<u64>) {
    counter.set(counter.get().wrapping_add(1));
}

impl Tally {
    /// A message was enqueued.
    pub(super) fn enqueued(&self) {
        bump(&self.enqueued);
    }

    /// A duplicate was answered or refused.
    pub(super) fn duplicate(&self) {
        bump(&self.duplicates);
    }

    /// A message was handed out.
    pub(super) fn checked_out(&self) {
        bump(&self.checked_out);
    }

    /// An attempt ended.
    pub(super) fn count(&self, outcome: Outcome) {
        if let Some(counter) = self.outcomes.get(outcome as usize) {
            bump(counter);
        }
    }

    /// A stale lease was refused.
    pub(super) fn stale(&self) {
        bump(&self.stale);
    }

    /// A message became a dead letter.
    pub(super) fn died(&self) {
        bump(&self.died);
    }

    /// A dead letter came back.
    pub(super) fn replayed(&self) {
        bump(&self.replayed);
    }

    /// A dead letter went because there was no room for it.
    pub(super) fn evicted(&self) {
        bump(&self.evicted);
    }

    /// A lease was made to last longer.
    pub(super) fn extended(&self) {
        bump(&self.extended);
    }

    /// Writes the counters into the answer for readers.
    pub(super) fn write(&self, stats: &mut crate::view::Stats) {
        stats.enqueued = self.enqueued.get();
        stats.duplicates = self.duplicates.get();
        stats.checked_out = self.checked_out.get();
        stats.stale = self.stale.get();
        stats.died = self.died.get();
        stats.replayed = self.replayed.get();
        stats.extended = self.extended.get();
        stats.dead_evicted = self.evicted.get();
        for (shown, counter) in stats.outcomes.iter_mut().zip(&self.outcomes) {
            *shown = counter.get();
        }
    }
}
