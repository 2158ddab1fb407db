//! What happens by itself when time passes: messages fall due, leases run out, messages expire, retentions end.
//!
//! Invariants: leases look at the monotonic clock only, and whatever destroys looks at store time only, so that a wall
//! clock that jumps by years moves due times and nothing else. Each call does a bounded amount of work.

use crate::event::{Event, LeaseAfter};
use crate::id::Seq;
use crate::state::{Completion, DeadReason, Outcome, StoredState};
use crate::time::{Monotonic, Now, StoreTime, Timestamp};

use super::entry::{Entry, Tag, flag};
use super::settle::Ending;
use super::{DeadFull, Deadline, QueueManager};

/// Messages that one `advance` makes due, and keys that it forgets; a later call goes on.
const ADVANCE_LEN_MAX: usize = 16_384;

/// Until when a completed message is kept.
pub(super) fn kept_until(entry: &Entry) -> StoreTime {
    match entry.kept_state() {
        Some(StoredState::Completed { until, .. }) => *until,
        Some(
            StoredState::Pending { .. }
            | StoredState::Held { .. }
            | StoredState::Dead { .. }
            | StoredState::Superseded { .. },
        )
        | None => StoreTime::MAX,
    }
}

impl QueueManager {
    /// Does what the clocks bring that is nobody's command.
    pub(super) fn advance_to(&mut self, now: &Now) {
        self.advanced = now.wall;
        self.fall_due_until(now.wall);
        self.drop_void_expiries(now.store);
        self.window.forget(now.store, ADVANCE_LEN_MAX);
    }

    fn fall_due_until(&mut self, wall: Timestamp) {
        for _ in 0..ADVANCE_LEN_MAX {
            let first = self.timers.due.first();
            let Some((due, seq)) = first.filter(|(due, _)| *due <= wall.as_ms()) else {
                return;
            };
            self.timers.due.remove(due, seq, &self.table);
            self.fall_due(seq);
        }
    }

    /// Drops moments of expiry that have come for messages that have started: they do not expire any more.
    fn drop_void_expiries(&mut self, store: StoreTime) {
        for _ in 0..ADVANCE_LEN_MAX {
            let first = self.timers.expiry.first();
            let Some((at, seq)) = first.filter(|(at, _)| *at <= store.as_ms()) else {
                return;
            };
            if self.expires(seq).is_some() {
                return;
            }
            self.timers.expiry.remove(at, seq, &self.table);
        }
    }

    fn expires(&self, seq: Seq) -> Option<StoreTime> {
        let entry = self.table.get(seq)?;
        entry.expires().filter(|_| !entry.has(flag::CANCEL))
    }

    pub(super) fn tick_events(&self, now: &Now, limit: usize, events: &mut Vec<Event>) {
        let end = events.len().saturating_add(limit);
        for seq in self.cancelling.iter().copied() {
            if events.len() >= end {
                return;
            }
            self.cancel_waiting(seq, now, events);
        }
        for seq in self.timers.lease.come(now.monotonic.as_ms()) {
            if events.len() >= end {
                return;
            }
            self.expire_lease(seq, now, events);
        }
        for seq in self.timers.expiry.come(now.store.as_ms()) {
            if events.len() >= end {
                return;
            }
            self.expire(seq, now, events);
        }
        for seq in self.timers.retention.come(now.store.as_ms()) {
            if events.len() >= end {
                return;
            }
            events.push(Event::Finished { seq });
        }
        self.evict_dead(end, events);
    }

    /// Whether dead letters have to go.
    fn has_dead_to_evict(&self) -> bool {
        self.config.dead_full == DeadFull::EvictOldest
            && self.room.dead_bytes > self.config.dead_bytes
    }

    /// Removes those that have been dead longest, until the others fit, while there are no more than `end` events.
    fn evict_dead(&self, end: usize, events: &mut Vec<Event>) {
        if !self.has_dead_to_evict() {
            return;
        }
        let mut used = self.room.dead_bytes;
        for (_, seq) in self.timers.dead.all() {
            if used <= self.config.dead_bytes || events.len() >= end {
                return;
            }
            used = used.saturating_sub(self.table.get(seq).map_or(0, Entry::kept_size));
            self.tally.evicted();
            events.push(Event::Finished { seq });
        }
    }

    /// Ends a message that does not run.
    pub(super) fn cancel_waiting(&self, seq: Seq, now: &Now, events: &mut Vec<Event>) {
        let Some(entry) = self.table.get(seq) else {
            return;
        };
        let Some(until) = self.kept_until(entry, now) else {
            events.push(Event::Finished { seq });
            return;
        };
        let mut tail = entry.tail().cloned().unwrap_or_default();
        tail.checkpoint = None;
        tail.cancel_requested = false;
        let state = StoredState::Completed {
            how: Completion::Cancelled,
            until,
        };
        let changed = self.changed(seq, entry, state, LeaseAfter::Ended, tail);
        events.extend(changed.map(Event::Changed));
    }

    fn expire_lease(&self, seq: Seq, now: &Now, events: &mut Vec<Event>) {
        let holder = self.leases.get(seq).and_then(|lease| lease.holder.as_ref());
        let (Some(entry), Some(holder)) = (self.table.get(seq), holder) else {
            return;
        };
        if holder.lost.replace(true) {
            return;
        }
        self.tally.count(Outcome::LeaseExpired);
        if entry.tag == Tag::Superseded {
            events.push(Event::Finished { seq });
        } else if entry.has(flag::CANCEL) {
            self.cancel_waiting(seq, now, events);
        } else {
            let outcome = Outcome::LeaseExpired;
            let ending: Ending = self.fail(seq, entry, outcome, None, &holder.retry, None, now);
            self.write_ending(seq, entry, ending, events);
        }
    }

    fn expire(&self, seq: Seq, now: &Now, events: &mut Vec<Event>) {
        if self.expires(seq).is_none() {
            return;
        }
        let Some(entry) = self.table.get(seq) else {
            return;
        };
        let state = StoredState::Dead {
            reason: DeadReason::Expired,
            at: now.wall,
        };
        let tail = entry.tail().cloned().unwrap_or_default();
        let changed = self.changed(seq, entry, state, LeaseAfter::Ended, tail);
        events.extend(changed.map(Event::Changed));
    }

    pub(super) fn deadline(&self) -> Deadline {
        let for_ever = |at: &u64| *at == u64::MAX;
        let store = [
            self.timers
                .expiry
                .first()
                .map(|(at, _)| StoreTime::from_ms(at)),
            self.timers
                .retention
                .first()
                .map(|(at, _)| at)
                .filter(|at| !for_ever(at))
                .map(StoreTime::from_ms),
            self.window.first_until(),
            (!self.cancelling.is_empty()).then_some(StoreTime::from_ms(0)),
            self.has_dead_to_evict().then_some(StoreTime::from_ms(0)),
        ];
        let wall = self.timers.due.first();
        let monotonic = self.timers.lease.first();
        Deadline {
            wall: wall.map(|(at, _)| Timestamp::from_ms(at)),
            monotonic: monotonic.map(|(at, _)| Monotonic::from_ms(at)),
            schedule: self.schedules.first_due(),
            store: store.into_iter().flatten().min(),
        }
    }
}
