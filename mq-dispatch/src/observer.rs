//! Seeing each attempt from outside: where traces and metrics of a program hook in.
//!
//! Invariants: an observation that began is told its end once, by whichever side settles the attempt; the handler runs only
//! inside [`Observation::within`]. Nothing here is called with a lock held.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use mq_core::backend::Grant;
use mq_core::state::Outcome;

use crate::lease::Lease;

/// Watches attempts.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// An attempt is about to start, so long after its message was due; `None` if the workers do not know the time.
    fn started(&self, grant: &Grant, waited: Option<Duration>) -> Box<dyn Observation>;
}

/// One attempt that is watched.
pub trait Observation: Send + Sync + 'static {
    /// Calls `work`, once: a part of the handler (an async one has many, on changing threads).
    fn within(&self, work: &mut dyn FnMut());

    /// It ended.
    fn ended(&self, ended: &Ended);
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// As the store is told.
    pub outcome: Outcome,
    /// One of [`mq_core::telemetry::error_type`] if it failed.
    pub error_type: Option<&'static str>,
    /// How long it ran.
    pub ran: Duration,
}

/// Calls `work` in sight of `observation`. If that forgets to call it, it is called after it.
pub(crate) fn within<T>(observation: &dyn Observation, work: impl FnOnce() -> T) -> T {
    let mut work = Some(work);
    let mut answer = None;
    observation.within(&mut || {
        if let Some(work) = work.take() {
            answer = Some(work());
        }
    });
    match (answer, work) {
        (Some(answer), _) => answer,
        (None, Some(work)) => work(),
        (None, None) => unreachable!("work that was called has answered, or panicked"),
    }
}

/// A handler's future, each of its steps in sight of whoever watches the lease.
pub(crate) async fn watched<F: Future>(lease: Arc<Lease>, work: F) -> F::Output {
    let mut work = pin!(work);
    poll_fn(|context| lease.within(|| work.as_mut().poll(context))).await
}
