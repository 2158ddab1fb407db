//! Dead letters: in order of time, and counted by queue, kind and reason.
//!
//! Invariant: [`QueueManager::bury`] and [`QueueManager::exhume`] are called in pairs, with what the message was then.

use crate::id::Seq;
use crate::state::{DeadReason, StoredState};
use crate::view::DeadCount;

use super::QueueManager;
use super::entry::Entry;

/// What is counted of one dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Death {
    /// In milliseconds of the wall clock.
    at: u64,
    line: usize,
    reason: DeadReason,
}

/// Dead letters of one line by reason, in the order of [`DeadReason::ALL`].
pub(super) type Reasons = [u64; DeadReason::ALL.len()];

impl Death {
    /// How it died, if it is dead.
    pub(super) fn of(entry: &Entry) -> Option<Self> {
        match entry.kept_state()? {
            StoredState::Dead { at, reason } => Some(Self {
                at: at.as_ms(),
                line: entry.place.line(),
                reason: *reason,
            }),
            StoredState::Pending { .. }
            | StoredState::Held { .. }
            | StoredState::Completed { .. }
            | StoredState::Superseded { .. } => None,
        }
    }
}

impl QueueManager {
    /// Takes a message, which is in the table, up among the dead letters.
    pub(super) fn bury(&mut self, seq: Seq, death: Death) {
        self.timers.dead.insert(death.at, seq, &self.table);
        if let Some(count) = self.dead_count(death) {
            *count += 1;
        }
    }

    /// Strikes it off.
    pub(super) fn exhume(&mut self, seq: Seq, death: Death) {
        self.timers.dead.remove(death.at, seq, &self.table);
        if let Some(count) = self.dead_count(death) {
            *count = count.saturating_sub(1);
        }
    }

    fn dead_count(&mut self, death: Death) -> Option<&mut u64> {
        if self.dead.len() <= death.line {
            self.dead.resize(death.line + 1, Reasons::default());
        }
        self.dead
            .get_mut(death.line)?
            .get_mut(death.reason as usize)
    }

    /// How many there are of each queue, kind and reason, sorted by these.
    pub(super) fn dead_counts(&self) -> Vec<DeadCount> {
        let mut counts = Vec::new();
        for (reasons, (queue, kind)) in self.dead.iter().zip(self.names.lines()) {
            let (Some(queue), Some(kind)) = (self.names.queue(*queue), self.names.kind(*kind))
            else {
                continue;
            };
            for (reason, count) in DeadReason::ALL.into_iter().zip(*reasons) {
                if count > 0 {
                    counts.push(DeadCount {
                        queue: queue.name.clone(),
                        kind: kind.clone(),
                        reason,
                        count,
                    });
                }
            }
        }
        counts.sort_unstable();
        counts
    }
}
