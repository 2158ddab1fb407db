//! Waiting for what a message's handler returned: with its enqueue, or later by its id.
//!
//! Invariants: an answer leaves only when what ended the message is durable. Limits are kept on the environment's clock
//! by the desk, so that no async runtime is needed. Whoever stops waiting changes nothing about the message.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use mq_core::backend::Stopped;
use mq_core::id::MessageId;
use mq_core::limits::WAITERS_LEN_MAX;
use mq_core::pending::{Abandoned, Pending};
use mq_dispatch::DecodeError;

use crate::engine::{EngineBackend, Over, answer, over_by_lookup};
use crate::error::WaitError;
use crate::request::{Request, refuse_on_runtime_thread};

/// A message whose handler succeeded, and what that returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion<T> {
    /// The message.
    pub id: MessageId,
    /// What its handler returned.
    pub output: T,
}

/// Reads what a handler returned from the bytes that were kept of it.
type Read<T> = fn(Option<Bytes>) -> Result<T, DecodeError>;

/// A request together with the wait for its answer. Nothing has happened yet: `.await` it, or call `.wait()`.
#[must_use = "nothing has happened yet: `.await` it, or call `.wait()`"]
pub struct AndWait<T> {
    request: Request,
    limit: Duration,
    read: Read<T>,
}

impl<T> AndWait<T> {
    pub(crate) fn new(request: Request, limit: Duration, read: Read<T>) -> Self {
        Self {
            request,
            limit,
            read,
        }
    }

    /// Sends it and waits on this thread.
    ///
    /// # Errors
    /// [`WaitError`]; after [`WaitError::TimedOut`] the message goes on.
    pub fn wait(self) -> Result<Completion<T>, WaitError> {
        let Self {
            request,
            limit,
            read,
        } = self;
        let backend = request.backend().clone();
        let receipt = request.wait()?;
        let asked = AwaitCompletion::new(backend, receipt.id(), read);
        asked.within(limit).wait()
    }
}

impl<T: 'static> IntoFuture for AndWait<T> {
    type Output = Result<Completion<T>, WaitError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let Self {
            request,
            limit,
            read,
        } = self;
        let backend = request.backend().clone();
        Box::pin(async move {
            let receipt = request.await?;
            let asked = AwaitCompletion::new(backend, receipt.id(), read);
            asked.within(limit).await
        })
    }
}

impl<T> fmt::Debug for AndWait<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AndWait")
            .field("request", &self.request)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// The wait for a message by its id. Nothing has happened yet: `.await` it, or call `.wait()`.
#[must_use = "nothing has happened yet: `.await` it, or call `.wait()`"]
pub struct AwaitCompletion<T> {
    backend: EngineBackend,
    id: MessageId,
    limit: Option<Duration>,
    read: Read<T>,
}

impl<T> AwaitCompletion<T> {
    pub(crate) fn new(backend: EngineBackend, id: MessageId, read: Read<T>) -> Self {
        Self {
            backend,
            id,
            limit: None,
            read,
        }
    }

    /// Waits at most so long. A limit that passes cancels nothing; without one it waits for ever.
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Waits on this thread.
    ///
    /// # Errors
    /// [`WaitError`]; nothing is changed by it.
    pub fn wait(self) -> Result<Completion<T>, WaitError> {
        refuse_on_runtime_thread().map_err(|_| WaitError::OnRuntimeThread)?;
        let waiting = self.into_future();
        crate::engine::block_on(waiting)
    }
}

impl<T> IntoFuture for AwaitCompletion<T> {
    type Output = Result<Completion<T>, WaitError>;
    type IntoFuture = Waiting<T>;

    fn into_future(self) -> Waiting<T> {
        let Self {
            backend,
            id,
            limit,
            read,
        } = self;
        let (pending, ticket) = backend.wait_for_end(id, limit);
        Waiting {
            backend,
            id,
            ticket,
            limit,
            pending,
            read,
        }
    }
}

impl<T> fmt::Debug for AwaitCompletion<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwaitCompletion")
            .field("id", &self.id)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// Waits for the end of a message. Dropped, it gives its place back and changes nothing else.
#[must_use = "futures do nothing unless polled"]
pub struct Waiting<T> {
    backend: EngineBackend,
    id: MessageId,
    ticket: Option<u64>,
    limit: Option<Duration>,
    pending: Pending<Result<Over, Stopped>>,
    read: Read<T>,
}

impl<T> Waiting<T> {
    fn told(&self, told: Result<Result<Over, Stopped>, Abandoned>) -> Result<T, WaitError> {
        let id = self.id;
        let over = told.unwrap_or(Err(Stopped::Closed))?;
        match over {
            Over::Succeeded { result } => {
                (self.read)(result).map_err(|source| WaitError::Output { id, source })
            }
            Over::Discarded { failure } => Err(WaitError::Discarded { id, error: failure }),
            Over::Cancelled => Err(WaitError::Cancelled { id }),
            Over::Dead { reason, failure } => Err(WaitError::Dead {
                id,
                reason,
                error: failure,
            }),
            Over::Replaced { by } => Err(WaitError::Replaced { id, by }),
            Over::NotKept => Err(WaitError::NotKept { id }),
            Over::NeverIssued => Err(WaitError::NeverIssued { id }),
            Over::TimedOut => Err(WaitError::TimedOut {
                id,
                limit: self.limit.unwrap_or_default(),
            }),
            Over::TooMany => Err(WaitError::TooManyWaiters {
                id,
                limit: WAITERS_LEN_MAX,
            }),
        }
    }
}

impl<T> Future for Waiting<T> {
    type Output = Result<Completion<T>, WaitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let told = Pin::new(&mut self.pending).poll(context);
        told.map(|told| {
            self.ticket = None;
            let id = self.id;
            self.told(told).map(|output| Completion { id, output })
        })
    }
}

impl<T> Drop for Waiting<T> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.backend.stop_waiting(self.id, ticket);
        }
    }
}

impl<T> fmt::Debug for Waiting<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl EngineBackend {
    /// Waits for the end of a message: answered at once if it is over, else with a ticket to give up with.
    fn wait_for_end(
        &self,
        id: MessageId,
        limit: Option<Duration>,
    ) -> (Pending<Result<Over, Stopped>>, Option<u64>) {
        let (promise, pending) = Pending::new();
        let shell = self.shell();
        let ticket = shell.look(|desk, now| {
            let closed = desk.is_closed().then_some(&Stopped::Closed);
            if let Some(reason) = shell.stopped().or(closed) {
                promise.keep(Err(reason.clone()));
                return None;
            }
            if let Some(over) = over_by_lookup(&desk.manager.lookup(now, id)) {
                desk.push(self.needs(), answer(promise, over));
                return None;
            }
            let until = limit.map(|limit| now.monotonic.after(limit));
            match desk.waiters.add(id.seq(), until, promise) {
                Ok(ticket) => Some(ticket),
                Err(promise) => {
                    promise.keep(Ok(Over::TooMany));
                    None
                }
            }
        });
        shell.call();
        (pending, ticket)
    }

    fn stop_waiting(&self, id: MessageId, ticket: u64) {
        let promise = self
            .shell()
            .look(|desk, _| desk.waiters.remove(id.seq(), ticket));
        drop(promise);
    }
}
