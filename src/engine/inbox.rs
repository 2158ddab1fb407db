//! The inbox of one worker pool: what the engine has handed out and the pool has not yet taken.
//!
//! Invariant: nothing that was put is lost; a pool's permits bound its leases. They come and go in batches, so a lock taken once for
//! each is cheaper than a ring of boxes (`docs/decisions/0007-leases-come-in-batches.md`).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use mq_core::backend::Wake;
use mq_core::command::Granted;
use mq_core::id::{LeaseToken, PoolId};
use mq_core::manager::GrantFacts;
use mq_persistence::pins::Pinned;
use parking_lot::Mutex;

/// Something for a pool, as it leaves the manager.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are grants")]
pub(crate) enum Handed {
    /// A lease.
    Grant {
        /// Who and which.
        granted: Granted,
        /// What the rules know of the message.
        facts: GrantFacts,
        /// Where its envelope is.
        body: Body,
    },
    /// A user asked for this message to be cancelled.
    CancelRequested(LeaseToken),
    /// This lease ran out.
    LeaseLost(LeaseToken),
}

/// Where an envelope is when its message is handed out.
#[derive(Debug)]
pub(crate) enum Body {
    /// In memory, sealed.
    Cached(Bytes),
    /// On disk; its segment is pinned until it has been read.
    Cold(Pinned),
    /// Nowhere: a bug or a damaged store.
    Missing,
}

pub(crate) struct Inbox {
    handed: Mutex<Vec<Handed>>,
    wake: Wake,
}

impl Inbox {
    pub(crate) fn new(wake: Wake) -> Self {
        Self {
            handed: Mutex::default(),
            wake,
        }
    }

    /// Puts a batch behind what is there, and wakes the pool.
    pub(crate) fn put(&self, mut batch: Vec<Handed>) {
        {
            let mut handed = self.handed.lock();
            if handed.is_empty() {
                *handed = batch;
            } else {
                handed.append(&mut batch);
            }
        }
        (self.wake)();
    }

    /// Everything that was put, in order.
    pub(crate) fn take(&self) -> Vec<Handed> {
        std::mem::take(&mut *self.handed.lock())
    }
}

/// The inboxes of all pools, and what is about to leave for them.
#[derive(Debug, Default)]
pub(crate) struct Inboxes {
    pools: HashMap<PoolId, (Arc<Inbox>, Vec<Handed>)>,
    /// Pools for which something is about to leave.
    filled: Vec<PoolId>,
}

impl Inboxes {
    pub(crate) fn add(&mut self, pool: PoolId, inbox: Inbox) {
        self.pools.insert(pool, (Arc::new(inbox), Vec::new()));
    }

    pub(crate) fn get(&self, pool: PoolId) -> Option<Arc<Inbox>> {
        let (inbox, _) = self.pools.get(&pool)?;
        Some(Arc::clone(inbox))
    }

    pub(crate) fn remove(&mut self, pool: PoolId) -> Option<Arc<Inbox>> {
        let (inbox, _) = self.pools.remove(&pool)?;
        Some(inbox)
    }

    /// Adds to what is about to leave for a pool; a pool that is gone gets nothing.
    pub(crate) fn put(&mut self, pool: PoolId, handed: Handed) {
        if let Some((_, batch)) = self.pools.get_mut(&pool) {
            if batch.is_empty() {
                self.filled.push(pool);
            }
            batch.push(handed);
        }
    }

    /// What is about to leave for one of the pools.
    pub(crate) fn take(&mut self) -> Option<(Arc<Inbox>, Vec<Handed>)> {
        while let Some(pool) = self.filled.pop() {
            if let Some((inbox, batch)) = self.pools.get_mut(&pool) {
                return Some((Arc::clone(inbox), std::mem::take(batch)));
            }
        }
        None
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox")
            .field("len", &self.handed.lock().len())
            .finish_non_exhaustive()
    }
}
