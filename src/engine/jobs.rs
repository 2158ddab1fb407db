//! Work on its way from a caller to the desk: prepared on the caller's thread, carried by a ring.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use mq_core::backend::{SettleError, SettleReceipt};
use mq_core::command::{Accepted, EnqueueRefused, Settle};
use mq_core::message::Envelope;

use super::effects::{Effect, EnqueuePromise, Needs, SettlePromise};
use super::prepare::Prepared;

/// An enqueue on its way.
#[derive(Debug)]
pub(crate) struct EnqueueJob {
    pub(crate) prepared: Prepared,
    /// Until when (on the environment's monotonic clock) it waits for room; `None` to be refused at once.
    pub(crate) until: Option<Duration>,
    pub(crate) needs: Needs,
    pub(crate) promise: EnqueuePromise,
    /// Its span, if it is traced.
    #[cfg(feature = "otel")]
    pub(crate) trace: Option<Box<crate::otel::EnqueueTrace>>,
}

impl EnqueueJob {
    /// What ends its span when the answer has left; `None` if it is not traced.
    #[cfg(feature = "otel")]
    pub(crate) fn end_of_trace(
        &mut self,
        decided: Result<&[Accepted], &EnqueueRefused>,
    ) -> Option<Effect> {
        let mut trace = self.trace.take()?;
        match decided {
            Ok(accepted) => trace.accepted(accepted),
            Err(refused) => trace.refused(refused),
        }
        Some(Effect::Answer(Box::new(move |stopped| trace.end(stopped))))
    }

    /// Without the feature `otel`, nothing is traced.
    #[cfg(not(feature = "otel"))]
    pub(crate) const fn end_of_trace(
        &mut self,
        _decided: Result<&[Accepted], &EnqueueRefused>,
    ) -> Option<Effect> {
        None
    }
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
    pub(crate) settles: VecDeque<Result<PreparedSettle, SettleError>>,
    /// Of those that are decided.
    pub(crate) answers: Vec<Result<SettleReceipt, SettleError>>,
    pub(crate) promise: SettlePromise,
}
