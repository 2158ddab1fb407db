//! Who holds what: leases, and the room they reserved. Everything but the fact of the lease is volatile.

use std::cell::Cell;

use crate::id::{PoolId, Seq};
use crate::retry::RetryPolicy;
use crate::time::Monotonic;

use super::keys::NumberMap;
use super::table::Table;
use super::timers::Timer;

/// A lease as far as memory knows. In recovery nobody holds it.
#[derive(Clone, Debug, Default)]
pub(super) struct Lease {
    /// Who holds it, until when, and what happens then.
    pub(super) holder: Option<LeaseHolder>,
    /// Messages it reserved room for.
    pub(super) reserved_messages: u64,
    /// Bytes it reserved room for.
    pub(super) reserved_bytes: u64,
}

/// The live side of a lease.
#[derive(Clone, Debug)]
pub(super) struct LeaseHolder {
    /// The pool.
    pub(super) pool: PoolId,
    /// When it runs out.
    pub(super) ends: Monotonic,
    /// What happens then.
    pub(super) retry: RetryPolicy,
    /// It was found to have run out: whoever holds it must be told when that is applied.
    pub(super) lost: Cell<bool>,
}

/// All leases by message.
#[derive(Debug, Default)]
pub(super) struct Leases {
    leases: NumberMap<u64, Lease>,
    /// The suspect that is handed out.
    pub(super) solo: Option<Seq>,
}

impl Leases {
    /// The lease of a message.
    pub(super) fn get(&self, seq: Seq) -> Option<&Lease> {
        self.leases.get(&seq.get())
    }

    /// The lease of a message.
    pub(super) fn get_mut(&mut self, seq: Seq) -> Option<&mut Lease> {
        self.leases.get_mut(&seq.get())
    }

    /// Begins a lease.
    pub(super) fn begin(&mut self, seq: Seq, lease: Lease, timer: &mut Timer, table: &Table) {
        if let Some(holder) = &lease.holder {
            timer.insert(holder.ends.as_ms(), seq, table);
        }
        self.leases.insert(seq.get(), lease);
    }

    /// Ends a lease.
    pub(super) fn end(&mut self, seq: Seq, timer: &mut Timer, table: &Table) -> Option<Lease> {
        let lease = self.leases.remove(&seq.get())?;
        if let Some(holder) = &lease.holder {
            timer.remove(holder.ends.as_ms(), seq, table);
        }
        if self.solo == Some(seq) {
            self.solo = None;
        }
        Some(lease)
    }

    /// All leased messages by sequence.
    pub(super) fn all(&self) -> Vec<Seq> {
        let mut all: Vec<Seq> = self
            .leases
            .keys()
            .filter_map(|seq| Seq::new(*seq))
            .collect();
        all.sort_unstable();
        all
    }
}
