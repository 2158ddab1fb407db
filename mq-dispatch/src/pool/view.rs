//! What others see of a pool.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Pause, Pool};
use crate::lease::Lease;
use crate::stats::{PoolStats, Running};

impl Pool {
    /// The leases that have started.
    pub(crate) fn leases(&self) -> Vec<Arc<Lease>> {
        self.state.lock().slots.iter().cloned().collect()
    }

    pub(crate) fn pause_reason(&self) -> Option<Pause> {
        self.state.lock().pause
    }

    /// What readers see.
    pub(crate) fn stats(&self) -> PoolStats {
        let counters = &self.counters;
        let (waits, runs) = (counters.wait.read(), counters.run.read());
        let state = self.state.lock();
        PoolStats {
            kind: self.name.clone(),
            limit: state.permits.limit(),
            running: state.slots.len(),
            stuck: state.slots.iter().filter(|lease| lease.is_stuck()).count(),
            paused: state.pause.is_some(),
            undecodable: state.pause == Some(Pause::Undecodable),
            totals: counters.totals(),
            wait: waits.percentiles(),
            run: runs.percentiles(),
            waits,
            runs,
            attempts: counters.attempts.read(),
        }
    }

    /// What runs now.
    pub(crate) fn running(&self, now: Instant) -> Vec<Running> {
        let leases = self.leases();
        leases
            .iter()
            .map(|lease| Running {
                token: lease.grant.token,
                queue: lease.grant.queue.clone(),
                kind: lease.grant.kind.clone(),
                attempt: lease.grant.attempt,
                since: now.saturating_duration_since(lease.started),
                progress: lease.work.lock().progress.clone(),
                cancel: lease.cancel.reason(),
                stuck: lease.is_stuck(),
            })
            .collect()
    }
}
