//! The lease ring of one worker pool: what the engine has handed out and the pool has not yet taken.
//!
//! Invariant: nothing that was put is lost: what the ring cannot hold waits behind it. A pool's permits bound both.

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;
use mq_core::backend::Wake;
use mq_core::command::Granted;
use mq_core::id::LeaseToken;
use mq_core::manager::GrantFacts;
use mq_core::ring::{Ring, RingCapacityError};
use mq_persistence::pins::Pinned;
use parking_lot::Mutex;

const RING_CAPACITY: usize = 1024;

/// Something for a pool, as it leaves the manager.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all of them are grants, and they are boxed"
)]
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
    ring: Ring<Box<Handed>>,
    overflow: Mutex<VecDeque<Box<Handed>>>,
    wake: Wake,
}

impl Inbox {
    pub(crate) fn new(wake: Wake) -> Result<Self, RingCapacityError> {
        Ok(Self {
            ring: Ring::new(RING_CAPACITY)?,
            overflow: Mutex::new(VecDeque::new()),
            wake,
        })
    }

    pub(crate) fn put(&self, handed: Box<Handed>) {
        {
            // What is in the ring is older than what waits behind it: nothing may go into the ring before that is taken.
            let mut overflow = self.overflow.lock();
            if !overflow.is_empty() {
                overflow.push_back(handed);
            } else if let Err(handed) = self.ring.try_push(handed) {
                overflow.push_back(handed);
            }
        }
        (self.wake)();
    }

    pub(crate) fn take(&self) -> Option<Box<Handed>> {
        self.ring
            .try_pop()
            .or_else(|| self.overflow.lock().pop_front())
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox")
            .field("len", &self.ring.len())
            .finish_non_exhaustive()
    }
}
