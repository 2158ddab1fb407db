//! What an event does to the state. The same code runs live and in recovery.
//!
//! Invariants: an event that contradicts the state changes nothing and is a typed error. Entries, keys, chains and room
//! change at once; that a message may be handed out waits in limbo for `durable`.

use crate::event::{Changed, Enqueued, Event, LeaseAfter};
use crate::id::{Incarnation, KindId, QueueId, Seq};
use crate::key::KeyHash;
use crate::state::{Attempt, Outcome, StoredState};
use crate::time::Timestamp;

use super::QueueManager;
use super::entry::{DedupFacts, Entry, Limits, Tag, flag};
use super::keys::Remembered;
use super::leases::Lease;
use super::limbo::Follow;
use super::names::Place;

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
    /// The store was opened under a number that is not new.
    #[error("opening number {} is not new; the last one was {}", given.0, last.0)]
    Incarnation {
        /// The number.
        given: Incarnation,
        /// The last one.
        last: Incarnation,
    },
}

/// What others depend on a message for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Roles {
    /// The dedup key it holds.
    dedup: Option<KeyHash>,
    /// Its ordering key and its place in the chain.
    chain: Option<(KeyHash, u64)>,
    /// Somebody may wait behind it.
    leads: bool,
}

impl Roles {
    fn of(entry: &Entry) -> Self {
        if entry.extra.is_none() {
            return Self::default();
        }
        let chain = entry.ordering().filter(|_| entry.is_in_chain());
        Self {
            dedup: entry
                .dedup()
                .filter(|_| entry.tag.is_live())
                .map(|dedup| dedup.key),
            chain: chain.map(|key| (key, entry.order)),
            leads: entry.tag.is_live() || entry.tag == Tag::Superseded,
        }
    }
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
            Event::Closed => {
                self.apply_closed(mark);
                Ok(())
            }
            Event::QueueDefined { id, name } => {
                self.names
                    .define_queue(*id, name, false)
                    .map_err(|_| ApplyError::Definition {
                        what: "queue",
                        number: id.0,
                    })
            }
            Event::KindDefined { id, name } => {
                self.names
                    .define_kind(*id, name)
                    .map_err(|_| ApplyError::Definition {
                        what: "kind",
                        number: id.0,
                    })
            }
            Event::QueuePaused { queue, paused } => self.apply_paused(*queue, *paused),
        }
    }

    fn place_of(
        &mut self,
        queue: QueueId,
        kind: KindId,
        priority: crate::message::Priority,
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
                hash,
                seq: new.seq,
                at: new.at,
                payload: new.payload,
                until,
            });
        }
        self.tally.enqueued();
        self.last_seq = new.seq;
        self.last_order = self.last_order.max(new.order);
        self.admit(new.seq, entry, mark);
        Ok(())
    }

    /// The entry of a new message.
    pub(super) fn entry_of(&mut self, new: &Enqueued) -> Result<Entry, ApplyError> {
        let place = self.place_of(new.queue, new.kind, new.priority)?;
        let mut entry = Entry {
            at: new.at.as_ms(),
            joined: new.joined.as_ms(),
            order: new.order,
            place,
            size: new.size,
            ..Entry::vacant()
        };
        if new.ordering.is_some() || new.dedup.is_some() {
            let extra = entry.extra_mut();
            extra.set_ordering(new.ordering);
            extra.halt_on_dead = new.halt_on_dead;
            extra.dedup = new.dedup.map(|key| {
                Box::new(DedupFacts {
                    key,
                    payload: new.payload,
                    behind: new.behind,
                })
            });
        }
        if new.expires.is_some() || new.retain_ms.is_some() || new.failures_max.is_some() {
            entry.extra_mut().limits = Some(Box::new(Limits {
                expires: new.expires,
                retain_ms: new.retain_ms,
                failures_max: new.failures_max,
            }));
        }
        entry.tag = tag_of(&new.state, false);
        if let StoredState::Pending { due } = new.state {
            entry.set_due(due.as_ms());
        } else {
            entry.set_stored_state(new.state.clone());
        }
        Ok(entry)
    }

    /// Puts a new or restored entry into the table and everything that knows of it.
    pub(super) fn admit(&mut self, seq: Seq, entry: Entry, mark: u64) {
        let (place, tag, roles) = (entry.place, entry.tag, Roles::of(&entry));
        self.room.add(&entry);
        self.names.count(place, tag.kind(), true);
        if entry.extra.is_some() {
            if let Some(behind) = entry.dedup().and_then(|dedup| dedup.behind)
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
        self.table.insert(seq, entry);
        self.move_roles(seq, Roles::default(), roles, mark);
        if tag == Tag::Limbo {
            self.wait(seq, mark);
        }
    }

    /// Whether a message is in the store and not over, so that another can wait behind it.
    pub(super) fn leads(&self, seq: Seq) -> bool {
        self.table
            .get(seq)
            .is_some_and(|entry| entry.tag.is_live() || entry.tag == Tag::Superseded)
    }

    /// Gives up roles that a message had, takes up those it has now, and lets what follows from that wait for `mark`.
    fn move_roles(&mut self, seq: Seq, old: Roles, new: Roles, mark: u64) {
        if old == new {
            return;
        }
        if old.dedup != new.dedup {
            if let Some(key) = old.dedup
                && self.dedup.get(key) == Some(&seq)
            {
                self.dedup.remove(key);
            }
            if let Some(key) = new.dedup {
                self.dedup.insert(key, seq);
            }
        }
        if old.chain != new.chain {
            self.table.step();
            if let Some((key, order)) = new.chain {
                self.chains.join(key, order, seq);
            }
            if let Some((key, order)) = old.chain
                && self.chains.leave(key, order, seq)
            {
                self.limbo.push_follow(mark, Follow::Chain(key));
            }
        }
        if old.leads && !new.leads && self.followers.contains_key(&seq.get()) {
            self.limbo.push_follow(mark, Follow::Over(seq));
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
        self.retag(seq, Tag::Leased);
        if let Some(entry) = self.table.get_mut(seq) {
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
    fn end_lease(&mut self, seq: Seq) {
        let lease = self.leases.end(seq, &mut self.timers.lease, &self.table);
        let Some(lease) = lease else {
            return;
        };
        self.room.reserved_messages -= lease.reserved_messages;
        self.room.reserved_bytes -= lease.reserved_bytes;
        if let Some(holder) = lease.holder.filter(|holder| holder.lost.get())
            && let Some(token) = self.token_of(seq)
        {
            self.notices.push(crate::command::Notice::LeaseLost {
                pool: holder.pool,
                token,
            });
        }
        if let Some(entry) = self.table.get_mut(seq) {
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

    fn apply_finished(&mut self, seq: Seq, mark: u64) -> Result<(), ApplyError> {
        let entry = self
            .table
            .get(seq)
            .ok_or(ApplyError::UnknownMessage { seq })?;
        let roles = Roles::of(entry);
        let is_out = entry.tag.is_out();
        self.displace(seq);
        if is_out {
            self.end_lease(seq);
        }
        if let Some(entry) = self.table.remove(seq) {
            self.room.remove(&entry);
            self.names.count(entry.place, entry.tag.kind(), false);
            self.forget_expiry(seq, &entry);
            self.stop_following(seq, &entry);
        }
        self.move_roles(seq, roles, Roles::default(), mark);
        Ok(())
    }

    fn forget_expiry(&mut self, seq: Seq, entry: &Entry) {
        if let Some(expires) = entry.limits().expires {
            self.timers.expiry.remove(expires.as_ms(), seq, &self.table);
        }
    }

    fn stop_following(&mut self, seq: Seq, entry: &Entry) {
        if let Some(behind) = entry.dedup().and_then(|dedup| dedup.behind)
            && self.followers.get(&behind.get()) == Some(&seq)
        {
            self.followers.remove(&behind.get());
        }
    }

    fn apply_changed(&mut self, new: &Changed, mark: u64) -> Result<(), ApplyError> {
        let seq = new.seq;
        let entry = self
            .table
            .get(seq)
            .ok_or(ApplyError::UnknownMessage { seq })?;
        let (old, roles, was_cancelled) = (entry.tag, Roles::of(entry), entry.has(flag::CANCEL));
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
        if let Some(entry) = self.table.get(seq) {
            let now = Roles::of(entry);
            let is_asked = stays_out && !was_cancelled && entry.has(flag::CANCEL);
            if !entry.tag.is_live() {
                let entry = entry.clone();
                self.forget_expiry(seq, &entry);
                self.stop_following(seq, &entry);
                if tag == Tag::Completed {
                    let until = super::tick::kept_until(&entry);
                    self.timers
                        .retention
                        .insert(until.as_ms(), seq, &self.table);
                }
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
        let is_replayed = entry.tag == Tag::Dead && tag.is_live();
        let forget_expiry = is_replayed && entry.limits().expires.is_some();
        if forget_expiry && let Some(limits) = entry.extra_mut().limits.as_mut() {
            limits.expires = None;
        }
        entry.place = place;
        entry.joined = new.joined.as_ms();
        entry.order = new.order;
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

    fn ask_to_stop(&mut self, seq: Seq) {
        let holder = self.leases.get(seq).and_then(|lease| lease.holder.as_ref());
        if let Some(pool) = holder.map(|holder| holder.pool)
            && let Some(token) = self.token_of(seq)
        {
            self.notices
                .push(crate::command::Notice::CancelRequested { pool, token });
        }
    }

    fn apply_paused(&mut self, id: QueueId, paused: bool) -> Result<(), ApplyError> {
        let queue = self
            .names
            .queue_mut(id)
            .ok_or(ApplyError::UnknownQueue { id })?;
        queue.paused = paused;
        for line in queue.lines.clone() {
            self.open_line(line, !paused);
        }
        Ok(())
    }

    fn apply_opened(
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
        self.tally = super::tally::Tally::default();
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
        let is_spent = tail.crashes >= crate::limits::CRASHES_MAX;
        self.end_lease(seq);
        self.tally.count(Outcome::Crashed);
        if let Some(entry) = self.table.get_mut(seq) {
            self.room.remove(entry);
            entry.set_tail(Some(Box::new(tail)));
            entry.set(flag::SUSPECT, !is_spent);
            entry.set_stored_state(if is_spent {
                StoredState::Dead {
                    reason: crate::state::DeadReason::Crashed,
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
            let entry = entry.clone();
            self.forget_expiry(seq, &entry);
            if is_spent {
                self.stop_following(seq, &entry);
            }
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
    fn apply_closed(&mut self, mark: u64) {
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
