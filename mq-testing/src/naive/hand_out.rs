//! Pools, permits and leases; opening and closing, which end all of them.

use std::cmp::Reverse;

use mq_core::command::{Extend, PoolSpec, Reserve, SettleRefused, StaleLease};
use mq_core::id::{Incarnation, LeaseToken, PoolId, Seq};
use mq_core::limits::{CRASHES_MAX, PRIORITY_STEP};
use mq_core::state::{DeadReason, Outcome, State};
use mq_core::time::{Now, Timestamp};

use super::enqueue::AT_ONCE;
use super::message::{Lease, Message};
use super::model::{Model, Pool, Tally};
use super::settle::dead;

impl Model {
    /// Opens a pool without permits.
    pub fn attach(&mut self, spec: PoolSpec) -> PoolId {
        let id = PoolId(self.pools_issued);
        self.pools_issued += 1;
        self.pools.insert(id, Pool { spec, permits: 0 });
        id
    }

    /// Closes a pool; leases it handed out go on.
    pub fn detach(&mut self, pool: PoolId) {
        self.pools.remove(&pool);
    }

    /// Lets a pool take more.
    pub fn add_permits(&mut self, pool: PoolId, permits: u32) {
        if let Some(pool) = self.pools.get_mut(&pool) {
            pool.permits = pool.permits.saturating_add(permits);
        }
    }

    /// Takes back up to so many unspent permits; answers how many.
    pub fn withdraw_permits(&mut self, pool: PoolId, permits: u32) -> u32 {
        let Some(pool) = self.pools.get_mut(&pool) else {
            return 0;
        };
        let taken = permits.min(pool.permits);
        pool.permits -= taken;
        taken
    }

    /// The message `pool` gets next, if it has a permit and there is one.
    #[must_use]
    pub fn choose(&self, pool: PoolId) -> Option<Seq> {
        let spec = &self.pools.get(&pool).filter(|pool| pool.permits > 0)?.spec;
        let takes = |message: &&Message| spec.line_of(&message.queue, &message.kind).is_some();
        let eligible: Vec<&Message> = self
            .messages
            .iter()
            .filter(takes)
            .filter(|message| self.may_go(message))
            .collect();
        let suspect = eligible
            .iter()
            .filter(|message| message.suspect)
            .min_by_key(|message| message.order);
        let next = suspect.or_else(|| {
            eligible
                .iter()
                .filter(|message| !message.suspect)
                .min_by_key(|message| rank(message))
        });
        next.map(|message| message.seq())
    }

    /// Whether `pool` may get the message now, first in line or not.
    #[must_use]
    pub fn could_get(&self, pool: PoolId, seq: Seq) -> bool {
        let Some(pool) = self.pools.get(&pool).filter(|pool| pool.permits > 0) else {
            return false;
        };
        self.find(seq).is_some_and(|message| {
            let line = pool.spec.line_of(&message.queue, &message.kind);
            line.is_some() && self.may_go(message)
        })
    }

    /// The pools that could be given something now.
    #[must_use]
    pub fn hungry(&self) -> Vec<PoolId> {
        let pools = self.pools.keys().copied();
        pools.filter(|pool| self.choose(*pool).is_some()).collect()
    }

    fn may_go(&self, message: &Message) -> bool {
        let mut leases = self
            .messages
            .iter()
            .filter_map(|other| other.lease.as_ref());
        let is_paused = self.settings(&message.queue).paused;
        let must_wait = message.suspect && leases.any(|lease| lease.solo);
        let is_ready = self.state(message) == State::Ready && !message.tail.cancel_requested;
        is_ready && !is_paused && !must_wait
    }

    /// Hands a message to a pool.
    pub fn grant(&mut self, now: &Now, pool: PoolId, seq: Seq) -> Option<LeaseToken> {
        let incarnation = self.incarnation;
        let message = self.find(seq)?;
        let (queue, kind) = (message.queue.clone(), message.kind.clone());
        let taker = self.pools.get_mut(&pool)?;
        let retry = taker.spec.line_of(&queue, &kind)?.retry;
        taker.permits = taker.permits.checked_sub(1)?;
        let ends = now.monotonic.after(taker.spec.lease);
        let message = self.find_mut(seq)?;
        message.deliveries += 1;
        let token = LeaseToken {
            id: message.id,
            delivery: message.deliveries,
            incarnation,
        };
        message.lease = Some(Lease {
            token,
            pool,
            ends,
            retry,
            solo: message.suspect,
            reserved_messages: 0,
            reserved_bytes: 0,
        });
        self.tally.checked_out += 1;
        Some(token)
    }

    /// Makes a lease last at least until `duration` from now.
    ///
    /// # Errors
    /// [`StaleLease`]; nothing was changed.
    pub fn extend(&mut self, now: &Now, command: &Extend) -> Result<(), StaleLease> {
        let seq = self.held(command.token)?.seq();
        if let Some(lease) = self
            .find_mut(seq)
            .and_then(|message| message.lease.as_mut())
        {
            lease.ends = lease.ends.max(now.monotonic.after(command.duration));
        }
        Ok(())
    }

    /// Reserves room for messages that will be staged.
    ///
    /// # Errors
    /// [`SettleRefused`] if the lease is stale or there is no room; nothing was changed.
    pub fn reserve(&mut self, command: &Reserve) -> Result<(), SettleRefused> {
        let seq = self.held(command.token)?.seq();
        let mut next = self.clone();
        if let Some(lease) = next
            .find_mut(seq)
            .and_then(|message| message.lease.as_mut())
        {
            lease.reserved_messages += command.messages;
            lease.reserved_bytes += command.bytes;
        }
        next.check_budgets(self)?;
        *self = next;
        Ok(())
    }

    /// Opens the store; if it was not closed before, the process died.
    pub fn open(&mut self, now: &Now) -> Incarnation {
        self.incarnation = Incarnation(self.incarnation.0 + 1);
        self.tally = Tally::default();
        if !self.was_closed {
            self.lose_leases(now);
        }
        self.was_closed = false;
        self.forget_volatile(now);
        self.cancel_what_came_back(now);
        self.follow_up();
        self.incarnation
    }

    /// Closes the store in order.
    pub fn close(&mut self, now: &Now) {
        self.messages.retain(|message| !message.is_superseded());
        for message in &mut self.messages {
            if message.lease.take().is_some() {
                message.suspect = false;
            }
        }
        self.was_closed = true;
        self.forget_volatile(now);
        self.follow_up();
    }

    fn forget_volatile(&mut self, now: &Now) {
        self.pools.clear();
        self.notices.clear();
        for message in &mut self.messages {
            message.look_again(now);
        }
    }

    fn lose_leases(&mut self, now: &Now) {
        self.messages.retain(|message| !message.is_superseded());
        let mut crashed = 0;
        for message in &mut self.messages {
            let Some(lease) = message.lease.take() else {
                continue;
            };
            crashed += 1;
            message.remember(now.wall, Outcome::Crashed, None);
            message.tail.crashes += u32::from(lease.solo);
            message.suspect = message.tail.crashes < CRASHES_MAX;
            if message.suspect {
                message.wait_until(now, AT_ONCE);
            } else {
                message.stored = dead(DeadReason::Crashed, now.wall);
            }
        }
        for _ in 0..crashed {
            self.count(Outcome::Crashed);
        }
    }
}

/// Who goes first: joined earliest, each step of priority counting for a minute; then the lower place.
fn rank(message: &Message) -> (Timestamp, u64, Reverse<u8>) {
    let steps = u32::from(9 - message.priority.get());
    let aged = message.joined.after(PRIORITY_STEP * steps);
    (aged, message.order, Reverse(message.priority.get()))
}
