//! Applying `Changed`: a message has a new state, place, payload or tail.

use crate::command::Notice;
use crate::event::{Changed, LeaseAfter};
use crate::id::{KindId, Seq};
use crate::index::Terms;

use super::QueueManager;
use super::apply::{ApplyError, tag_of};
use super::dead::Death;
use super::entry::{Tag, flag};
use super::names::Place;

impl QueueManager {
    pub(super) fn apply_changed(&mut self, new: &Changed, mark: u64) -> Result<(), ApplyError> {
        let seq = new.seq;
        let entry = self
            .table
            .get(seq)
            .ok_or(ApplyError::UnknownMessage { seq })?;
        let (old, roles, was_cancelled) =
            (entry.tag, self.roles(seq, entry), entry.has(flag::CANCEL));
        let was_dead = Death::of(entry);
        let stays_out = old.is_out() && new.lease == LeaseAfter::Kept;
        let tag = tag_of(&new.state, stays_out);
        let out_and_over = stays_out && !tag.is_out();
        if out_and_over || (tag == Tag::Superseded && !stays_out) {
            let state = tag.kind().as_str();
            return Err(ApplyError::BadState { seq, state });
        }
        let (_, kind) = self
            .names
            .of_line(entry.place.line())
            .ok_or(ApplyError::UnknownMessage { seq })?;
        let place = self.place_of(new.queue, kind, new.priority)?;

        self.displace(seq);
        if old.is_out() && !stays_out {
            self.end_lease(seq);
        }
        self.rewrite(new, place, tag, old.is_out() && !stays_out);
        self.last_order = self.last_order.max(new.order);
        if let Some(terms) = &new.terms {
            self.change_terms(seq, kind, terms);
        }
        self.note_death(seq, was_dead);
        if let Some(entry) = self.table.get(seq) {
            let now = self.roles(seq, entry);
            let is_asked = stays_out && !was_cancelled && entry.has(flag::CANCEL);
            if !entry.tag.is_live() {
                let expires = entry.limits().expires;
                if tag == Tag::Completed {
                    let until = super::tick::kept_until(entry).as_ms();
                    self.timers.retention.insert(until, seq, &self.table);
                }
                self.forget_expiry(seq, expires);
            }
            self.move_roles(seq, roles, now, mark);
            if is_asked {
                self.ask_to_stop(seq);
            }
        }
        if tag == Tag::Limbo {
            self.wait(seq, mark);
        }
        Ok(())
    }

    /// Writes the new facts into the entry, with the sums and counts that go with them.
    fn rewrite(&mut self, new: &Changed, place: Place, tag: Tag, was_settled: bool) {
        let Some(entry) = self.table.get_mut(new.seq) else {
            return;
        };
        self.room.remove(entry);
        self.names.count(entry.place, entry.tag.kind(), false);
        entry.place = place;
        entry.set_joined(new.joined.as_ms());
        entry.set_order(new.order);
        entry.size = new.size;
        entry.tag = tag;
        entry.set_stored_state(new.state.clone());
        entry.set_tail(Some(new.tail.clone()));
        if was_settled || !tag.is_live() {
            entry.set(flag::SUSPECT, false);
        }
        self.room.add(entry);
        self.names.count(place, tag.kind(), true);
    }

    /// A message has a new payload, and with it other values in its indexed fields.
    fn change_terms(&mut self, seq: Seq, kind: KindId, terms: &Terms) {
        let Some(entry) = self.table.get_mut(seq) else {
            return;
        };
        let old = entry.terms().clone();
        entry.set_terms(terms.clone());
        self.terms.remove(seq, kind, &old, &self.table);
        self.terms.add(seq, kind, terms, &self.table);
    }

    /// Keeps the books of dead letters and counts those that come and go. `before` is what it was before this change.
    fn note_death(&mut self, seq: Seq, before: Option<Death>) {
        let now = self.table.get(seq).and_then(Death::of);
        if let Some(death) = before {
            self.exhume(seq, death);
        }
        if let Some(death) = now {
            self.bury(seq, death);
        }
        match (before, now) {
            (None, Some(_)) => self.tally.died(),
            (Some(_), None) => self.tally.replayed(),
            (None, None) | (Some(_), Some(_)) => {}
        }
    }

    fn ask_to_stop(&mut self, seq: Seq) {
        let holder = self.leases.get(seq).and_then(|lease| lease.holder.as_ref());
        if let Some(pool) = holder.map(|holder| holder.pool)
            && let Some(token) = self.token_of(seq)
        {
            self.notices.push(Notice::CancelRequested { pool, token });
        }
    }
}
