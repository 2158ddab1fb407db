//! Work on its way from a caller to the desk: prepared on the caller's thread, carried by a ring.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use mq_core::backend::{Durability, EnqueueError, Receipt, SettleError, SettleReceipt, Stopped};
use mq_core::command::{Accepted, EnqueueBatch, EnqueueRefused, Settle};
use mq_core::few::Few;
use mq_core::pending::Promise;

use super::effects::{Effect, Needs};
use super::prepare::messages_of;

/// Whoever waits for the answer to an enqueue.
#[derive(Debug)]
pub(crate) enum EnqueuePromise {
    /// Sent one message.
    One(Promise<Result<Receipt, EnqueueError>>),
    /// Sent several.
    Many(Promise<Result<Vec<Receipt>, EnqueueError>>),
}

/// An enqueue on its way.
#[derive(Debug)]
pub(crate) struct EnqueueJob {
    /// What the rules decide on.
    pub(crate) batch: EnqueueBatch,
    /// Until when (on the environment's monotonic clock) it waits for room; `None` to be refused at once.
    pub(crate) until: Option<Duration>,
    pub(crate) needs: Needs,
    /// `None` once it is given.
    pub(crate) promise: Option<EnqueuePromise>,
    /// Its span, if it is traced.
    #[cfg(feature = "otel")]
    pub(crate) trace: Option<Box<crate::otel::EnqueueTrace>>,
}

impl EnqueueJob {
    /// Gives the receipts; `accepted` has as many as were sent. The job goes back with them, if somebody waits.
    pub(crate) fn accept(mut self: Box<Self>, accepted: Few<Accepted>, durability: Durability) {
        let mut receipts = accepted.into_iter().map(|accepted| Receipt {
            accepted,
            durability,
        });
        match self.promise.take() {
            Some(EnqueuePromise::One(promise)) => {
                // Without a receipt there is nothing to say: the promise is broken.
                if let Some(only) = receipts.next() {
                    promise.keep_with(Ok(only), self);
                }
            }
            Some(EnqueuePromise::Many(promise)) => promise.keep_with(Ok(receipts.collect()), self),
            None => {}
        }
    }

    /// Says why nothing was stored. Whoever waits takes the messages out again: that is work, and here may be a token.
    pub(crate) fn refuse(mut self: Box<Self>, refused: EnqueueRefused) {
        let promise = self.promise.take();
        let error = move || EnqueueError::Refused {
            messages: messages_of(&self.batch),
            refused,
        };
        match promise {
            Some(EnqueuePromise::One(promise)) => promise.keep_later(move || Err(error())),
            Some(EnqueuePromise::Many(promise)) => promise.keep_later(move || Err(error())),
            None => {}
        }
    }

    /// Says why nobody knows whether it was stored.
    pub(crate) fn stop(mut self: Box<Self>, stopped: &Stopped) {
        let error = stopped.clone().into();
        match self.promise.take() {
            Some(EnqueuePromise::One(promise)) => promise.keep(Err(error)),
            Some(EnqueuePromise::Many(promise)) => promise.keep(Err(error)),
            None => {}
        }
    }

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

/// Settlements on their way; one that was refused in preparation keeps its place.
#[derive(Debug)]
pub(crate) struct SettleJob {
    pub(crate) settles: VecDeque<Result<Settle, SettleError>>,
    /// Of those that are decided.
    pub(crate) answers: Vec<Result<SettleReceipt, SettleError>>,
    /// Cached envelopes that they left behind: a waiter drops them, for most came from a thread of the program.
    pub(crate) spent: Vec<Bytes>,
    /// `None` once it is given.
    pub(crate) promise: Option<Promise<Vec<Result<SettleReceipt, SettleError>>>>,
}

impl SettleJob {
    /// Gives the answers; the job goes back with them, if somebody waits.
    pub(crate) fn answer(mut self: Box<Self>) {
        let answers = std::mem::take(&mut self.answers);
        if let Some(promise) = self.promise.take() {
            promise.keep_with(answers, self);
        }
    }

    /// Says of each settlement why nobody knows whether it was stored.
    pub(crate) fn stop(self, stopped: &Stopped) {
        let len = self.answers.len() + self.settles.len();
        if let Some(promise) = self.promise {
            promise.keep((0..len).map(|_| Err(stopped.clone().into())).collect());
        }
    }
}
