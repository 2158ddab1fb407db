//! Applying `Opened` and `Closed`: what becomes of the messages that were handed out.
//!
//! Invariants: after `Opened` or `Closed` nothing is handed out. Only a crash in a message's own solo run counts against
//! it.

use crate::canary;
use crate::event::LeaseAfter;
use crate::id::{Incarnation, Seq};
use crate::limits::CRASHES_MAX;
use crate::state::{Attempt, DeadReason, Outcome, StoredState};
use crate::time::Timestamp;

use super::QueueManager;
use super::apply::ApplyError;
use super::entry::{Entry, Tag, flag};
use super::settle::remember;
use super::tally::Tally;

impl QueueManager {
    pub(super) fn apply_opened(
        &mut self,
        incarnation: Incarnation,
        at: Timestamp,
        mark: u64,
    ) -> Result<(), ApplyError> {
        if incarnation <= self.incarnation {
            return Err(ApplyError::Incarnation {
                given: incarnation,
                last: self.incarnation,
            });
        }
        self.incarnation = incarnation;
        self.tally = Tally::default();
        for seq in self.leases.all() {
            self.crash(seq, at, mark)?;
        }
        Ok(())
    }

    /// The process died while this message was handed out.
    fn crash(&mut self, seq: Seq, at: Timestamp, mark: u64) -> Result<(), ApplyError> {
        let unknown = ApplyError::UnknownMessage { seq };
        let entry = self.table.get(seq).ok_or(unknown)?;
        if entry.tag == Tag::Superseded {
            return self.apply_finished(seq, mark);
        }
        let mut tail = entry.tail().cloned().unwrap_or_default();
        let counts = entry.has(flag::SOLO) || canary::sings("innocents-pay");
        tail.crashes += u32::from(counts);
        remember(
            &mut tail,
            Attempt {
                delivery: entry.deliveries,
                ended: at,
                outcome: Outcome::Crashed,
                failure: None,
            },
        );
        let is_spent = tail.crashes >= CRASHES_MAX;
        let state = if is_spent {
            let reason = DeadReason::Crashed;
            StoredState::Dead { reason, at }
        } else {
            let due = Timestamp::from_ms(0);
            StoredState::Pending { due }
        };
        self.tally.count(Outcome::Crashed);
        let changed = self.changed(seq, entry, state, LeaseAfter::Ended, tail);
        self.apply_changed(&changed.ok_or(unknown)?, mark)?;
        if !is_spent && let Some(entry) = self.table.get_mut(seq) {
            entry.set(flag::SUSPECT, !canary::sings("no-suspects"));
        }
        Ok(())
    }

    /// The store was closed in order: whatever is still handed out waits again, as if it had been given back.
    pub(super) fn apply_closed(&mut self, mark: u64) -> Result<(), ApplyError> {
        for seq in self.leases.all() {
            let is_over = |entry: &Entry| entry.tag == Tag::Superseded;
            if self.table.get(seq).is_some_and(is_over) {
                self.apply_finished(seq, mark)?;
                continue;
            }
            self.end_lease(seq);
            if let Some(entry) = self.table.get_mut(seq) {
                entry.set(flag::SUSPECT, false);
            }
            self.retag(seq, Tag::Limbo);
            self.wait(seq, mark);
        }
        Ok(())
    }
}
