//! Work on its way from a caller to the desk: prepared on the caller's thread, carried by a ring.

use std::sync::Arc;
use std::time::Duration;

use mq_core::backend::SettleError;
use mq_core::command::{EnqueueBatch, Settle};
use mq_core::message::{Envelope, NewMessage};

use super::effects::{EnqueuePromise, Needs, SettlePromise};

/// An enqueue on its way.
#[derive(Debug)]
pub(crate) struct EnqueueJob {
    pub(crate) batch: EnqueueBatch,
    pub(crate) envelopes: Vec<Arc<Envelope>>,
    /// What goes back to the caller if it is refused.
    pub(crate) messages: Vec<NewMessage>,
    /// Until when (on the environment's monotonic clock) it waits for room; `None` to be refused at once.
    pub(crate) until: Option<Duration>,
    pub(crate) needs: Needs,
    pub(crate) promise: EnqueuePromise,
}

/// One settlement with the envelopes of what it stages.
#[derive(Debug)]
pub(crate) struct PreparedSettle {
    pub(crate) settle: Settle,
    pub(crate) envelopes: Vec<Arc<Envelope>>,
}

/// Settlements on their way; one that was refused in preparation keeps its place.
#[derive(Debug)]
pub(crate) struct SettleJob {
    pub(crate) settles: Vec<Result<PreparedSettle, SettleError>>,
    pub(crate) promise: SettlePromise,
}
