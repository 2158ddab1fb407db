//! Applying `Opened` and `Closed`: what becomes of the messages that were handed out.
//!
//! Invariants: after `Opened` or `Closed` nothing is handed out. Only a crash in a message's own solo run counts against
//! it.

use crate::id::{Incarnation, Seq};
use crate::limits::CRASHES_MAX;
use crate::state::{Attempt, DeadReason, Outcome, StoredState};
use crate::time::Timestamp;

use super::QueueManager;
use super::apply::ApplyError;
use super::entry::{Tag, flag};
use super::roles::Roles;
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
            self.crash(seq, at, mark);
        }
        Ok(())
    }

    /// The process died while this message was handed out.
    fn crash(&mut self, seq: Seq, at: Timestamp, mark: u64) {
        let Some(entry) = self.table.get(seq) else {
            return;
        };
        if entry.tag == Tag::Superseded {
            self.drop_superseded(seq, mark);
            return;
        }
        let was_solo = entry.has(flag::SOLO);
        let old = Roles::of(entry);
        let mut tail = entry.tail().cloned().unwrap_or_default();
        tail.crashes += u32::from(was_solo);
        super::settle::remember(
            &mut tail,
            Attempt {
                delivery: entry.deliveries,
                ended: at,
                outcome: Outcome::Crashed,
                failure: None,
            },
        );
        let is_spent = tail.crashes >= CRASHES_MAX;
        self.end_lease(seq);
        self.tally.count(Outcome::Crashed);
        if let Some(entry) = self.table.get_mut(seq) {
            self.room.remove(entry);
            entry.set_tail(Some(Box::new(tail)));
            entry.set(flag::SUSPECT, !is_spent);
            entry.set_stored_state(if is_spent {
                StoredState::Dead {
                    reason: DeadReason::Crashed,
                    at,
                }
            } else {
                StoredState::Pending {
                    due: Timestamp::from_ms(0),
                }
            });
        }
        self.retag(seq, if is_spent { Tag::Dead } else { Tag::Limbo });
        if let Some(entry) = self.table.get(seq) {
            self.room.add(entry);
            let now = Roles::of(entry);
            let expires = entry.limits().expires;
            self.forget_expiry(seq, expires);
            self.move_roles(seq, old, now, mark);
        }
        if !is_spent {
            self.wait(seq, mark);
        }
    }

    fn drop_superseded(&mut self, seq: Seq, mark: u64) {
        // It was found in the table a moment ago, which is all that this event needs.
        let gone = self.apply_finished(seq, mark);
        debug_assert!(gone.is_ok(), "a superseded message is in the table");
    }

    /// The store was closed in order: whatever is still handed out waits again, as if it had been given back.
    pub(super) fn apply_closed(&mut self, mark: u64) {
        for seq in self.leases.all() {
            if self
                .table
                .get(seq)
                .is_some_and(|entry| entry.tag == Tag::Superseded)
            {
                self.drop_superseded(seq, mark);
                continue;
            }
            self.end_lease(seq);
            if let Some(entry) = self.table.get_mut(seq) {
                entry.set(flag::SUSPECT, false);
            }
            self.retag(seq, Tag::Limbo);
            self.wait(seq, mark);
        }
    }
}
