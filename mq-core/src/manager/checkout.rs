//! Handing out: pools, permits, the choice of the next message, and what a lease's holder may ask for in between.
//!
//! Invariants: a grant spends one permit, when its event is applied. At most one suspect is handed out at a time.

use crate::canary;
use crate::command::{
    EnqueueRefused, Extend, Granted, PoolSpec, Reserve, SettleRefused, StaleLease,
};
use crate::event::Event;
use crate::id::{LeaseToken, PoolId, Seq};
use crate::limits::LEASE_RANGE;
use crate::message::Priority;
use crate::name::{KindName, QueueName};
use crate::time::Now;

use super::QueueManager;
use super::leases::LeaseHolder;
use super::names::Place;
use super::pools::Choice;
use super::room::Need;

/// A grant that was chosen and whose event is to be applied next.
#[derive(Debug)]
pub(super) struct Granting {
    /// Which message.
    pub(super) seq: Seq,
    /// Who gets it.
    pub(super) holder: LeaseHolder,
}

impl QueueManager {
    /// Adds a pool without permits.
    pub fn attach_pool(&mut self, spec: PoolSpec) -> PoolId {
        let (id, new_group) = self.pools.attach(spec);
        if let Some(group) = new_group {
            for index in 0..self.lines.len() {
                self.join_group(index, group);
            }
        }
        id
    }

    /// Removes a pool; its permits are void. Its leases stay until they are settled, given back or run out.
    pub fn detach_pool(&mut self, pool: PoolId) {
        self.pools.detach(pool);
    }

    /// Lets a pool take so many messages more.
    pub fn add_permits(&mut self, pool: PoolId, permits: u32) {
        self.pools.add_permits(pool, permits);
    }

    /// Takes back up to so many unspent permits; answers how many.
    pub fn withdraw_permits(&mut self, pool: PoolId, permits: u32) -> u32 {
        self.pools.withdraw(pool, permits)
    }

    /// Lists a line's heads with a new group, if the group takes it.
    fn join_group(&mut self, index: usize, group: usize) {
        let names = self.names_of(index);
        let takes = names.is_some_and(|(queue, kind)| self.pools.takes(group, queue, kind));
        let Some(line) = self.lines.get_mut(index).filter(|_| takes) else {
            return;
        };
        line.groups.push(group);
        for place in places(index) {
            let registered = line.lane(place.level()).and_then(|lane| lane.registered);
            self.pools.list_head(&[group], place, None, registered);
        }
        let suspect = line.registered_suspect;
        self.pools.list_suspect(&[group], index, None, suspect);
    }

    fn names_of(&self, line: usize) -> Option<(&QueueName, &KindName)> {
        let (queue, kind) = self.names.of_line(line)?;
        Some((&self.names.queue(queue)?.name, self.names.kind(kind)?))
    }

    /// Opens or closes the lanes of a line when its queue is resumed or paused.
    pub(super) fn open_line(&mut self, index: usize, open: bool) {
        let Some(line) = self.lines.get_mut(index) else {
            return;
        };
        line.open = open;
        for place in places(index) {
            self.list_lane(place);
        }
        self.list_suspects(index);
    }

    /// Chooses the next message for a pool that has a permit; `None` when nothing more can be handed out now. The caller
    /// appends and applies the event, then asks again.
    pub fn next_grant(&mut self, now: &Now) -> Option<(Event, Granted)> {
        let choice = self
            .pools
            .choose(self.leases.solo.is_none() || canary::sings("suspects-side-by-side"))?;
        let (seq, pool, line, solo) = match choice {
            Choice::Suspect { line, pool } => {
                let (_, seq) = self.lines.get(line)?.suspects.first()?;
                (*seq, pool, line, true)
            }
            Choice::Head { place, pool } => {
                let lane = self.lines.get(place.line())?.lane(place.level())?;
                (lane.head(&self.table)?.seq, pool, place.line(), false)
            }
        };
        let (lease, retry) = self.pools.terms(pool, || self.names_of(line))?;
        let entry = self.table.get(seq)?;
        let delivery = entry.deliveries.saturating_add(1);
        let token = LeaseToken {
            id: entry.id(seq, self.config.tag),
            delivery,
            incarnation: self.incarnation,
        };
        self.granting = Some(Granting {
            seq,
            holder: LeaseHolder {
                pool,
                ends: now.monotonic.after(lease),
                retry,
                lost: std::cell::Cell::new(false),
            },
        });
        let event = Event::CheckedOut {
            seq,
            delivery,
            solo,
        };
        Some((event, Granted { pool, seq, token }))
    }

    /// The lease of a message that is handed out.
    pub(super) fn token_of(&self, seq: Seq) -> Option<LeaseToken> {
        let entry = self.table.get(seq)?;
        Some(LeaseToken {
            id: entry.id(seq, self.config.tag),
            delivery: entry.deliveries,
            incarnation: self.incarnation,
        })
    }

    /// Makes a lease last at least until `duration` from now, of which the longest lease allowed counts. It never ends earlier for it: a
    /// renewal may be on its way while its holder asks for more. Volatile.
    ///
    /// # Errors
    /// [`StaleLease`]: nothing was changed.
    pub fn extend(&mut self, now: &Now, command: &Extend) -> Result<(), StaleLease> {
        let (seq, _) = self.held(&command.token)?;
        let ends = now.monotonic.after(command.duration.min(LEASE_RANGE.1));
        let lease = self.leases.get_mut(seq);
        if let Some(holder) = lease
            .and_then(|lease| lease.holder.as_mut())
            .filter(|holder| holder.ends < ends)
        {
            let timer = &mut self.timers.lease;
            timer.remove(holder.ends.as_ms(), seq, &self.table);
            timer.insert(ends.as_ms(), seq, &self.table);
            holder.ends = ends;
        }
        self.tally.extended();
        Ok(())
    }

    /// Reserves room for messages to be staged under a lease. Volatile: given back when the lease ends.
    ///
    /// # Errors
    /// [`SettleRefused::Stale`], or [`SettleRefused::Staged`] with [`EnqueueRefused::Full`]: nothing was changed.
    pub fn reserve(&mut self, command: &Reserve) -> Result<(), SettleRefused> {
        let (seq, _) = self.held(&command.token)?;
        let need = Need {
            messages: command.messages,
            bytes: command.bytes,
            ..Need::default()
        };
        let config = &self.config;
        self.room
            .check(&need, config.capacity_messages, config.capacity_bytes)
            .map_err(|full: EnqueueRefused| SettleRefused::Staged(full))?;
        if let Some(lease) = self.leases.get_mut(seq) {
            lease.reserved_messages += command.messages;
            lease.reserved_bytes += command.bytes;
            self.room.reserved_messages += command.messages;
            self.room.reserved_bytes += command.bytes;
        }
        Ok(())
    }
}

/// All places of a line.
fn places(line: usize) -> impl Iterator<Item = Place> {
    (0..10)
        .filter_map(Priority::new)
        .filter_map(move |priority| Place::new(line, priority))
}
