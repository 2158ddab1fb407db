//! What an event does to the state. The same code runs live and in recovery.
//!
//! Invariants: an event that contradicts the state changes nothing and is a typed error. Entries, keys, chains and room
//! change at once; that a message may be handed out waits in limbo for `durable`.

use crate::bulk::BulkId;
use crate::canary;
use crate::command::Notice;
use crate::event::{Enqueued, Event};
use crate::id::{Incarnation, KindId, QueueId, Seq};
use crate::message::Priority;
use crate::queue::QueueSettings;
use crate::state::StoredState;
use crate::time::StoreTime;

use super::QueueManager;
use super::columns::Keys;
use super::dead::Death;
use super::entry::{Entry, Limits, Tag, flag};
use super::keys::Remembered;
use super::leases::Lease;
use super::names::Place;
use super::place::recount;
use super::roles::Roles;

/// An event that contradicts the state: a damaged journal, or a bug. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// A message entered under a number that is not new.
    #[error("message number {seq} was issued before; the last one was {last}")]
    SeqNotNew {
        /// The number.
        seq: Seq,
        /// The last number issued.
        last: Seq,
    },
    /// Something happened to a message that is not in the store.
    #[error("message number {seq} is not in the store")]
    UnknownMessage {
        /// Its number.
        seq: Seq,
    },
    /// A queue's number is not defined.
    #[error("queue number {} is not defined", id.0)]
    UnknownQueue {
        /// The number.
        id: QueueId,
    },
    /// A kind's number is not defined.
    #[error("kind number {} is not defined", id.0)]
    UnknownKind {
        /// The number.
        id: KindId,
    },
    /// A queue or kind was defined twice or out of order.
    #[error("{what} number {number} is not the next one, or its name has one")]
    Definition {
        /// `queue` or `kind`.
        what: &'static str,
        /// The number.
        number: u32,
    },
    /// A message was handed out that did not wait, or not as its next delivery.
    #[error("message number {seq} cannot be handed out as delivery {delivery}")]
    NotWaiting {
        /// Its number.
        seq: Seq,
        /// The delivery.
        delivery: u32,
    },
    /// A lease was given back that does not exist.
    #[error("message number {seq} is not handed out as delivery {delivery}")]
    NotLeased {
        /// Its number.
        seq: Seq,
        /// The delivery.
        delivery: u32,
    },
    /// A message got a state that it cannot have.
    #[error("message number {seq} cannot become {state}")]
    BadState {
        /// Its number.
        seq: Seq,
        /// The word of the state.
        state: &'static str,
    },
    /// Something happened to a schedule that the store does not have.
    #[error("there is no schedule of that name")]
    UnknownSchedule,
    /// Something happened to a bulk job that is not new, does not run, or is further already.
    #[error("bulk job {id} cannot have done that")]
    BulkJob {
        /// Its number.
        id: BulkId,
    },
    /// The store was opened under a number that is not new.
    #[error("opening number {} is not new; the last one was {}", given.0, last.0)]
    Incarnation {
        /// The number.
        given: Incarnation,
        /// The last one.
        last: Incarnation,
    },
}

impl QueueManager {
    pub(super) fn apply_event(&mut self, event: &Event, mark: u64) -> Result<(), ApplyError> {
        match event {
            Event::Enqueued(enqueued) => self.apply_enqueued(enqueued, mark),
            Event::CheckedOut {
                seq,
                delivery,
                solo,
            } => self.apply_checked_out(*seq, *delivery, *solo),
            Event::Finished { seq } => self.apply_finished(*seq, mark),
            Event::Changed(changed) => self.apply_changed(changed, mark),
            Event::Returned { seq, delivery } => self.apply_returned(*seq, *delivery, mark),
            Event::Opened { incarnation, at } => self.apply_opened(*incarnation, *at, mark),
            Event::Closed => self.apply_closed(mark),
            Event::QueueDefined { id, name } => self
                .names
                .define_queue(*id, name, Box::default())
                .map_err(|_| ApplyError::Definition {
                    what: "queue",
                    number: id.0,
                }),
            Event::KindDefined { id, name } => {
                self.names
                    .define_kind(*id, name)
                    .map_err(|_| ApplyError::Definition {
                        what: "kind",
                        number: id.0,
                    })
            }
            Event::QueueSet { queue, settings } => self.apply_queue_set(*queue, settings),
            Event::KindSet { kind, index } => self.apply_kind_set(*kind, index),
            Event::Schedule(event) => self.apply_schedule(event),
            Event::Bulk(event) => self.apply_bulk(event),
        }
    }

    pub(super) fn place_of(
        &mut self,
        queue: QueueId,
        kind: KindId,
        priority: Priority,
    ) -> Result<Place, ApplyError> {
        if self.names.queue(queue).is_none() {
            return Err(ApplyError::UnknownQueue { id: queue });
        }
        self.line_of(queue, kind)
            .and_then(|line| Place::new(line, priority))
            .ok_or(ApplyError::UnknownKind { id: kind })
    }

    fn apply_enqueued(&mut self, new: &Enqueued, mark: u64) -> Result<(), ApplyError> {
        if new.seq <= self.last_seq {
            return Err(ApplyError::SeqNotNew {
                seq: new.seq,
                last: self.last_seq,
            });
        }
        let entry = self.entry_of(new)?;
        if !entry.tag.is_waiting() && entry.tag != Tag::Held {
            return Err(ApplyError::BadState {
                seq: new.seq,
                state: entry.tag.kind().as_str(),
            });
        }
        if let Some((hash, until)) = new.idempotency {
            self.window.insert(Remembered {
                hash: hash.into(),
                seq: new.seq,
                at: new.at,
                payload: new.payload.into(),
                until,
            });
        }
        self.tally.enqueued();
        self.last_seq = new.seq;
        self.last_order = self.last_order.max(new.order);
        self.admit(new.seq, entry, &Keys::of(new), mark);
        Ok(())
    }

    /// The entry of a new message.
    pub(super) fn entry_of(&mut self, new: &Enqueued) -> Result<Entry, ApplyError> {
        let place = self.place_of(new.queue, new.kind, new.priority)?;
        let mut entry = Entry::new(new.at.as_ms(), new.joined.as_ms(), new.order);
        entry.place = place;
        entry.size = new.size;
        entry.set(flag::KEYED, Keys::of(new).are_some());
        entry.set_halt_on_dead(new.halt_on_dead && new.ordering.is_some());
        entry.set_behind(new.behind.filter(|_| new.dedup.is_some()));
        entry.set_limits(Limits {
            expires: new.expires,
            retain_ms: new.retain_ms,
            failures_max: new.failures_max,
        });
        entry.set_terms(new.terms.clone());
        entry.tag = tag_of(&new.state, false);
        if let StoredState::Pending { due } = new.state {
            entry.set_due(due.as_ms());
        } else {
            entry.set_stored_state(new.state.clone());
        }
        Ok(entry)
    }

    /// Puts a new or restored entry into the table and everything that knows of it.
    pub(super) fn admit(&mut self, seq: Seq, mut entry: Entry, keys: &Keys, mark: u64) {
        let (place, tag, roles) = (entry.place, entry.tag, Roles::of(&entry, keys));
        let waits = tag == Tag::Limbo;
        entry.limbo = u16::from(waits);
        self.room.add(&entry);
        self.names.count(place, tag.kind(), true);
        let kind = self.names.count_message(place, true);
        if entry.has_extra() {
            if let Some(kind) = kind {
                self.terms.add(seq, kind, entry.terms(), &self.table);
            }
            if let Some(behind) = entry.behind()
                && tag.is_live()
                && self.leads(behind)
            {
                self.followers.insert(behind.get(), seq);
            }
            if let Some(expires) = entry.limits().expires.filter(|_| tag.is_live()) {
                self.timers.expiry.insert(expires.as_ms(), seq, &self.table);
            }
        }
        if tag == Tag::Completed {
            let until = super::tick::kept_until(&entry);
            self.timers
                .retention
                .insert(until.as_ms(), seq, &self.table);
        }
        let death = Death::of(&entry);
        self.table.insert(seq, entry, keys);
        if let Some(death) = death {
            self.bury(seq, death);
        }
        self.move_roles(seq, Roles::default(), roles, mark);
        if waits {
            let early = canary::sings("handed-out-before-the-sync");
            self.limbo.push(if early { 0 } else { mark }, seq);
        }
    }

    fn apply_checked_out(&mut self, seq: Seq, delivery: u32, solo: bool) -> Result<(), ApplyError> {
        let entry = self
            .table
            .get(seq)
            .ok_or(ApplyError::UnknownMessage { seq })?;
        if !entry.tag.is_waiting() || delivery <= entry.deliveries {
            return Err(ApplyError::NotWaiting { seq, delivery });
        }
        self.displace(seq);
        if let Some(entry) = self.table.get_mut(seq) {
            recount(&mut self.names, entry, Tag::Leased);
            entry.deliveries = delivery;
            entry.set(flag::SOLO, solo);
        }
        let granting = self.granting.take();
        let granting = granting.filter(|granting| granting.seq == seq);
        if let Some(holder) = granting.as_ref().map(|granting| &granting.holder) {
            self.pools.spend(holder.pool);
        }
        let lease = Lease {
            holder: granting.map(|granting| granting.holder),
            ..Lease::default()
        };
        self.leases
            .begin(seq, lease, &mut self.timers.lease, &self.table);
        if solo {
            self.leases.solo = Some(seq);
        }
        self.tally.checked_out();
        Ok(())
    }

    /// Ends the lease of a message that was handed out: its reservations are free, and whoever lost it is told.
    pub(super) fn end_lease(&mut self, seq: Seq) {
        let was_solo = self.leases.solo == Some(seq);
        let lease = self.leases.end(seq, &mut self.timers.lease, &self.table);
        let Some(lease) = lease else {
            return;
        };
        self.room.reserved_messages -= lease.reserved_messages;
        self.room.reserved_bytes -= lease.reserved_bytes;
        if let Some(holder) = lease.holder.filter(|holder| holder.lost.get())
            && let Some(token) = self.token_of(seq)
        {
            self.notices.push(Notice::LeaseLost {
                pool: holder.pool,
                token,
            });
        }
        if was_solo && let Some(entry) = self.table.get_mut(seq) {
            entry.set(flag::SOLO, false);
        }
    }

    fn apply_returned(&mut self, seq: Seq, delivery: u32, mark: u64) -> Result<(), ApplyError> {
        let entry = self
            .table
            .get(seq)
            .ok_or(ApplyError::UnknownMessage { seq })?;
        if entry.tag != Tag::Leased || entry.deliveries != delivery {
            return Err(ApplyError::NotLeased { seq, delivery });
        }
        if let Some(expires) = entry.limits().expires {
            self.timers.expiry.insert(expires.as_ms(), seq, &self.table);
        }
        self.end_lease(seq);
        self.retag(seq, Tag::Limbo);
        self.wait(seq, mark);
        Ok(())
    }

    pub(super) fn apply_finished(&mut self, seq: Seq, mark: u64) -> Result<(), ApplyError> {
        let entry = self
            .table
            .get(seq)
            .ok_or(ApplyError::UnknownMessage { seq })?;
        let roles = self.roles(seq, entry);
        if entry.tag.is_out() {
            self.end_lease(seq);
        } else {
            self.displace(seq);
        }
        if let Some(entry) = self.table.remove(seq) {
            self.room.remove(&entry);
            self.names.count(entry.place, entry.tag.kind(), false);
            if let Some(kind) = self.names.count_message(entry.place, false) {
                self.terms.remove(seq, kind, entry.terms(), &self.table);
            }
            self.forget_expiry(seq, entry.limits().expires);
            if let Some(death) = Death::of(&entry) {
                self.exhume(seq, death);
            }
        }
        self.move_roles(seq, roles, Roles::default(), mark);
        Ok(())
    }

    pub(super) fn forget_expiry(&mut self, seq: Seq, expires: Option<StoreTime>) {
        if let Some(expires) = expires {
            self.timers.expiry.remove(expires.as_ms(), seq, &self.table);
        }
    }

    fn apply_queue_set(&mut self, id: QueueId, settings: &QueueSettings) -> Result<(), ApplyError> {
        let queue = self
            .names
            .queue_mut(id)
            .ok_or(ApplyError::UnknownQueue { id })?;
        *queue.settings = settings.clone();
        for line in queue.lines.clone() {
            self.open_line(line, !settings.paused);
        }
        Ok(())
    }
}

/// What a stored state makes of a message that stays handed out or not.
pub(super) const fn tag_of(state: &StoredState, stays_out: bool) -> Tag {
    match state {
        StoredState::Pending { .. } => {
            if stays_out {
                Tag::Leased
            } else {
                Tag::Limbo
            }
        }
        StoredState::Held { .. } => Tag::Held,
        StoredState::Completed { .. } => Tag::Completed,
        StoredState::Dead { .. } => Tag::Dead,
        StoredState::Superseded { .. } => Tag::Superseded,
    }
}
