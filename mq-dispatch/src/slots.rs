//! The leases of one pool that have started, by worker.

use std::sync::Arc;

use mq_core::id::LeaseToken;

use crate::lease::Lease;

/// Places for leases; a place is used again once it is free.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    leases: Vec<Option<Arc<Lease>>>,
    free: Vec<usize>,
}

impl Slots {
    /// Puts a lease into a free place and says which.
    pub(crate) fn insert(&mut self, lease: Arc<Lease>) -> usize {
        match self.free.pop() {
            Some(slot) => {
                if let Some(place) = self.leases.get_mut(slot) {
                    *place = Some(lease);
                }
                slot
            }
            None => {
                self.leases.push(Some(lease));
                self.leases.len() - 1
            }
        }
    }

    /// Frees a place.
    pub(crate) fn remove(&mut self, slot: usize) {
        let lease = self.leases.get_mut(slot).and_then(Option::take);
        if lease.is_some() {
            self.free.push(slot);
        }
    }

    /// How many places are taken.
    pub(crate) fn len(&self) -> usize {
        self.leases.len() - self.free.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Lease>> {
        self.leases.iter().flatten()
    }

    /// The lease of this token. Looks at each: only notices ask, and they are rare.
    pub(crate) fn find(&self, token: LeaseToken) -> Option<&Arc<Lease>> {
        self.iter().find(|lease| lease.grant.token == token)
    }
}
