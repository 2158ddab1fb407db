//! Renewal of leases and time limits of handlers, for all pools.
//!
//! Each running lease is looked at when one of them may be over its time, and renewed three times per lease duration;
//! that of an attempt that has ended too, until the store has answered its settlement.
//! Nothing is registered per message: while nothing runs, nothing ticks. Time is tokio's, so that a test that pauses it
//! decides about time limits; the store's leases run on the store's clock, which such a test moves as well.

use std::sync::Arc;

use tokio::time::Instant;

use crate::lease::{ABORT_GRACE, Check};
use crate::pool::{Pool, Shared};

/// Whose threads the timers run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timers {
    /// A thread of their own: a handler that blocks the runtime cannot keep leases from being renewed.
    #[default]
    OwnThread,
    /// The workers' runtime: for tests that pause tokio's time, and for simulations.
    Runtime,
}

/// Looks after all pools until `ended` says so.
pub(crate) async fn run(pools: Vec<Arc<Pool>>, shared: Arc<Shared>, ended: impl Fn() -> bool) {
    let mut renewals: Vec<Option<Instant>> = vec![None; pools.len()];
    while !ended() {
        let now = Instant::now();
        let next = pools
            .iter()
            .zip(&mut renewals)
            .filter_map(|(pool, renewal)| look_after(pool, &shared, renewal, now))
            .min();
        let changed = shared.timers.notified();
        match next {
            Some(moment) => {
                tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(moment) => {}
                }
            }
            None => changed.await,
        }
    }
}

/// Does what is due in one pool; answers when to look again, `None` while nothing runs.
fn look_after(
    pool: &Arc<Pool>,
    shared: &Shared,
    renewal: &mut Option<Instant>,
    now: Instant,
) -> Option<Instant> {
    let leases = pool.leases();
    // In this order: an attempt is announced to the settler before it leaves the pool.
    if leases.is_empty() && shared.settler.is_empty() {
        *renewal = None;
        return None;
    }
    let settings = &pool.settings;
    let due = *renewal.get_or_insert(now + settings.renewal);
    if due <= now {
        let alive = leases
            .iter()
            .filter(|lease| lease.needs_renewal(settings.lease, now));
        let mut tokens: Vec<_> = alive.map(|lease| lease.grant.token).collect();
        tokens.extend(shared.settler.held(pool.line));
        if !tokens.is_empty() {
            drop(tokio::spawn(Arc::clone(pool).renew(tokens, settings.lease)));
        }
        *renewal = Some(now + settings.renewal);
    }
    // From before a lease is claimed until its settlement is asked for.
    let coming = shared.settler.announce();
    let checks = leases.iter().filter_map(|lease| match lease.check(now) {
        Check::Nothing(next) => next,
        Check::Settle => {
            drop(tokio::spawn(pool.settle_for(lease)));
            Some(now + ABORT_GRACE)
        }
    });
    // Whatever starts after this look is not over its time before a whole time limit has passed.
    let later = pool.timeout_min().and_then(|limit| now.checked_add(limit));
    let next = checks.chain(later).chain(*renewal).min();
    drop(coming);
    next
}
