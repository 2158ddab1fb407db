//! An enqueue on its way: what `.submit()` and `.await` of a request return.
//!
//! Dropping them takes nothing back. A [`Sending`] goes into the ring at its first poll.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use mq_core::backend::{EnqueueError as CoreEnqueueError, Receipt, WhenFull};
use mq_core::message::NewMessage;

use super::refuse_on_runtime_thread;
use crate::engine::{EngineBackend, EnqueueJob, EnqueuePending, Needs};
use crate::error::EnqueueError;

/// Takes the answer of one message, or of all of a batch, out of the receipts.
pub(super) type Pick<T> = fn(Vec<Receipt>) -> Option<T>;

pub(super) fn first(receipts: Vec<Receipt>) -> Option<Receipt> {
    receipts.into_iter().next()
}

pub(super) fn all(receipts: Vec<Receipt>) -> Option<Vec<Receipt>> {
    Some(receipts)
}

/// An enqueue that was sent. Dropping it takes nothing back.
#[must_use = "an answer is still to come: `.await` it, or `.wait()` for it"]
pub struct Pending<T, E = EnqueueError> {
    inner: EnqueuePending,
    pick: Pick<T>,
    error: PhantomData<fn() -> E>,
}

impl<T, E: From<EnqueueError>> Pending<T, E> {
    pub(super) fn new(inner: EnqueuePending, pick: Pick<T>) -> Self {
        Self {
            inner,
            pick,
            error: PhantomData,
        }
    }

    /// Waits on this thread.
    ///
    /// # Errors
    /// As [`super::Request::wait`].
    pub fn wait(self) -> Result<T, E> {
        refuse_on_runtime_thread()?;
        answer(self.inner.wait(), self.pick).map_err(E::from)
    }

    /// Whether the answer is there.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.inner.is_done()
    }
}

impl<T, E: From<EnqueueError>> Future for Pending<T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let pick = self.pick;
        Pin::new(&mut self.inner)
            .poll(context)
            .map(|kept| answer(kept, pick).map_err(E::from))
    }
}

impl<T, E> fmt::Debug for Pending<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending")
            .field("is_done", &self.inner.is_done())
            .finish_non_exhaustive()
    }
}

type Kept = Result<Result<Vec<Receipt>, CoreEnqueueError>, mq_core::pending::Abandoned>;

fn answer<T>(kept: Kept, pick: Pick<T>) -> Result<T, EnqueueError> {
    let receipts = kept
        .map_err(EnqueueError::from)?
        .map_err(EnqueueError::from)?;
    pick(receipts).ok_or(EnqueueError::Abandoned)
}

/// The future of a request: goes into the ring at its first poll, then waits for its answer.
#[must_use = "futures do nothing unless polled"]
pub struct Sending<T, E = EnqueueError> {
    backend: EngineBackend,
    stage: Stage,
    pick: Pick<T>,
    error: PhantomData<fn() -> E>,
}

enum Stage {
    Refused(Option<EnqueueError>),
    Entering(Option<Box<EnqueueJob>>, Option<EnqueuePending>),
    Waiting(EnqueuePending),
}

impl<T, E> Sending<T, E> {
    pub(super) fn new(
        backend: EngineBackend,
        messages: Result<Vec<NewMessage>, EnqueueError>,
        when_full: WhenFull,
        needs: Needs,
        pick: Pick<T>,
    ) -> Self {
        let prepared = messages.and_then(|messages| {
            backend
                .job(messages, when_full, needs)
                .map_err(EnqueueError::from)
        });
        let stage = match prepared {
            Ok((job, pending)) => Stage::Entering(Some(job), Some(pending)),
            Err(error) => Stage::Refused(Some(error)),
        };
        Self {
            backend,
            stage,
            pick,
            error: PhantomData,
        }
    }
}

impl<T, E: From<EnqueueError>> Future for Sending<T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Stage::Entering(job, pending) = &mut this.stage {
            let entered = this.backend.shell().poll_submit(job, context.waker());
            this.backend.shell().call_for_submission();
            let Some(pending) = entered.is_ready().then(|| pending.take()).flatten() else {
                return Poll::Pending;
            };
            this.stage = Stage::Waiting(pending);
        }
        match &mut this.stage {
            Stage::Refused(error) => {
                let error = error.take().unwrap_or(EnqueueError::Abandoned);
                Poll::Ready(Err(error.into()))
            }
            Stage::Entering(..) => Poll::Pending,
            Stage::Waiting(pending) => Pin::new(pending)
                .poll(context)
                .map(|kept| answer(kept, this.pick).map_err(E::from)),
        }
    }
}

impl<T, E> fmt::Debug for Sending<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").finish_non_exhaustive()
    }
}
