//! An enqueue on its way: what `.submit()` and `.await` of a request return.
//!
//! Dropping them takes nothing back. A [`Sending`] goes into the ring at its first poll.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use mq_core::backend::{EnqueueError as CoreEnqueueError, WhenFull};
use mq_core::few::Few;
use mq_core::message::NewMessage;
use mq_core::pending::{Abandoned, Pending as CorePending, Promise};

use super::refuse_on_runtime_thread;
use crate::engine::{EngineBackend, EnqueueJob, EnqueuePromise, Needs};
use crate::error::EnqueueError;

pub(super) type Answer<T> = CorePending<Result<T, CoreEnqueueError>>;

/// Says who waits: [`EnqueuePromise::One`] or [`EnqueuePromise::Many`].
pub(super) type Waiter<T> = fn(Promise<Result<T, CoreEnqueueError>>) -> EnqueuePromise;

/// Prepares an enqueue: a job for the ring, and its answer.
pub(super) fn prepare<T>(
    backend: &EngineBackend,
    messages: Few<NewMessage>,
    when_full: WhenFull,
    needs: Needs,
    waiter: Waiter<T>,
) -> Result<(Box<EnqueueJob>, Answer<T>), EnqueueError> {
    let (promise, answer) = CorePending::new();
    let job = backend.job(messages, when_full, needs, waiter(promise))?;
    Ok((job, answer.driven_by(backend.driver())))
}

/// An enqueue that was sent. Dropping it takes nothing back.
#[must_use = "an answer is still to come: `.await` it, or `.wait()` for it"]
pub struct Pending<T, E = EnqueueError> {
    inner: Answer<T>,
    error: PhantomData<fn() -> E>,
}

impl<T, E: From<EnqueueError>> Pending<T, E> {
    pub(super) const fn new(inner: Answer<T>) -> Self {
        Self {
            inner,
            error: PhantomData,
        }
    }

    /// Waits on this thread.
    ///
    /// # Errors
    /// As [`super::Request::wait`].
    pub fn wait(self) -> Result<T, E> {
        refuse_on_runtime_thread()?;
        told(self.inner.wait()).map_err(E::from)
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
        Pin::new(&mut self.inner)
            .poll(context)
            .map(|kept| told(kept).map_err(E::from))
    }
}

impl<T, E> fmt::Debug for Pending<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending")
            .field("is_done", &self.inner.is_done())
            .finish_non_exhaustive()
    }
}

fn told<T>(kept: Result<Result<T, CoreEnqueueError>, Abandoned>) -> Result<T, EnqueueError> {
    Ok(kept??)
}

/// The future of a request: goes into the ring at its first poll, then waits for its answer.
#[must_use = "futures do nothing unless polled"]
pub struct Sending<T, E = EnqueueError> {
    backend: EngineBackend,
    stage: Stage<T>,
    error: PhantomData<fn() -> E>,
}

enum Stage<T> {
    Refused(Option<EnqueueError>),
    Entering(Option<Box<EnqueueJob>>, Option<Answer<T>>),
    Waiting(Answer<T>),
}

impl<T, E> Sending<T, E> {
    pub(super) fn new(
        backend: EngineBackend,
        messages: Result<Few<NewMessage>, EnqueueError>,
        when_full: WhenFull,
        needs: Needs,
        waiter: Waiter<T>,
    ) -> Self {
        let prepared =
            messages.and_then(|messages| prepare(&backend, messages, when_full, needs, waiter));
        let stage = match prepared {
            Ok((job, answer)) => Stage::Entering(Some(job), Some(answer)),
            Err(error) => Stage::Refused(Some(error)),
        };
        Self {
            backend,
            stage,
            error: PhantomData,
        }
    }
}

impl<T, E: From<EnqueueError>> Future for Sending<T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Stage::Entering(job, answer) = &mut this.stage {
            let entered = this.backend.shell().poll_submit(job, context.waker());
            this.backend.shell().call_for_submission();
            let Some(answer) = entered.is_ready().then(|| answer.take()).flatten() else {
                return Poll::Pending;
            };
            this.stage = Stage::Waiting(answer);
        }
        match &mut this.stage {
            Stage::Refused(error) => {
                let error = error.take().unwrap_or(EnqueueError::Abandoned);
                Poll::Ready(Err(error.into()))
            }
            Stage::Entering(..) => Poll::Pending,
            Stage::Waiting(answer) => Pin::new(answer)
                .poll(context)
                .map(|kept| told(kept).map_err(E::from)),
        }
    }
}

impl<T, E> fmt::Debug for Sending<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").finish_non_exhaustive()
    }
}
