//! Inboxes of pools, and what is put into them.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use mq_core::backend::{Delivery, Grant, Wake};
use mq_core::command::Notice;
use mq_core::id::{LeaseToken, PoolId, Seq};
use mq_core::state::StoredState;
use mq_core::time::Now;

use super::Inner;
use super::message::Message;
use super::model::Model;

/// What has arrived for a pool and was not taken yet.
pub(super) struct Inbox {
    deliveries: VecDeque<Delivery>,
    wake: Wake,
    is_new: bool,
}

impl Inbox {
    pub(super) fn new(wake: Wake) -> Self {
        Self {
            deliveries: VecDeque::new(),
            wake,
            is_new: false,
        }
    }

    pub(super) fn take(&mut self, into: &mut Vec<Delivery>) {
        into.extend(self.deliveries.drain(..));
    }

    fn push(&mut self, delivery: Delivery) {
        self.deliveries.push_back(delivery);
        self.is_new = true;
    }

    /// The wake to be called, if something has arrived since the last time.
    pub(super) fn take_wake(&mut self) -> Option<Wake> {
        let is_new = std::mem::take(&mut self.is_new);
        is_new.then(|| Arc::clone(&self.wake))
    }

    /// The leases that were never taken.
    pub(super) fn into_tokens(self) -> Vec<LeaseToken> {
        let token = |delivery| match delivery {
            Delivery::Grant(grant) => Some(grant.token),
            Delivery::CancelRequested(_) | Delivery::LeaseLost(_) => None,
        };
        self.deliveries.into_iter().filter_map(token).collect()
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox")
            .field("deliveries", &self.deliveries)
            .finish_non_exhaustive()
    }
}

impl Inner {
    /// Hands out until no pool has both a permit and a message.
    pub(super) fn hand_out(&mut self, now: &Now) {
        while let Some((pool, seq)) = self.next() {
            let grant = self.grant(now, pool, seq);
            let inbox = self.inboxes.get_mut(&pool);
            let Some((grant, inbox)) = grant.zip(inbox) else {
                return;
            };
            inbox.push(Delivery::Grant(grant));
        }
    }

    fn next(&self) -> Option<(PoolId, Seq)> {
        let pool = *self.model.hungry().first()?;
        Some((pool, self.model.choose(pool)?))
    }

    fn grant(&mut self, now: &Now, pool: PoolId, seq: Seq) -> Option<Grant> {
        let envelope = Arc::clone(self.envelopes.get(&seq)?);
        let token = self.model.grant(now, pool, seq)?;
        let message = self.model.find(seq)?;
        let due = match message.stored {
            StoredState::Pending { due } => due.max(message.enqueued),
            StoredState::Held { .. }
            | StoredState::Completed { .. }
            | StoredState::Dead { .. }
            | StoredState::Superseded { .. } => message.enqueued,
        };
        Some(Grant {
            token,
            queue: message.queue.clone(),
            kind: message.kind.clone(),
            envelope,
            attempt: message.tail.failures + 1,
            enqueued: message.enqueued,
            due,
            suspect: message.suspect,
            checkpoint: message.tail.checkpoint.clone(),
            last: message.tail.history.last().cloned(),
        })
    }

    pub(super) fn notify(&mut self) {
        let mut notices = Vec::new();
        self.model.take_notices(&mut notices);
        for notice in notices {
            let (pool, delivery) = match notice {
                Notice::CancelRequested { pool, token } => (pool, Delivery::CancelRequested(token)),
                Notice::LeaseLost { pool, token } => (pool, Delivery::LeaseLost(token)),
            };
            if let Some(inbox) = self.inboxes.get_mut(&pool) {
                inbox.push(delivery);
            }
        }
    }
}

impl Model {
    pub(super) fn contains(&self, seq: Seq) -> bool {
        self.messages
            .iter()
            .any(|message: &Message| message.seq() == seq)
    }
}
