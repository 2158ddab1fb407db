//! One answer of dispatch that will come: `.await` it, or `.wait()` for it.
//!
//! It never fails to come: when the engine goes away first, the answer says so. Dropping it takes nothing back. A wait
//! that would block a thread of an async runtime, and so perhaps the very work it waits for, is answered at once.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use mq_core::pending::{Abandoned, Pending};

/// An answer that will come.
#[must_use = "an answer is still to come: `.await` it, or `.wait()` for it"]
pub struct Reply<T>(Box<dyn Answer<T>>);

/// What a wait answers that would block a thread of an async runtime.
pub trait OnRuntimeThread {
    /// That answer.
    fn on_runtime_thread() -> Self;
}

impl<T, E: OnRuntimeThread> OnRuntimeThread for Result<T, E> {
    fn on_runtime_thread() -> Self {
        Err(E::on_runtime_thread())
    }
}

trait Answer<T>: Send {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<T>;
    fn wait(self: Box<Self>) -> T;
}

/// What the engine answers, and what that means to the caller. `None` once it was given.
struct Translated<S, T> {
    pending: Pending<S>,
    meaning: Option<Meaning<S, T>>,
}

type Meaning<S, T> = Box<dyn FnOnce(Result<S, Abandoned>) -> T + Send>;

impl<S: Send, T> Answer<T> for Translated<S, T> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<T> {
        match Pin::new(&mut self.pending).poll(context) {
            Poll::Pending => Poll::Pending,
            // A future that is polled after its end may stay pending for ever.
            Poll::Ready(answer) => match self.meaning.take() {
                Some(meaning) => Poll::Ready(meaning(answer)),
                None => Poll::Pending,
            },
        }
    }

    fn wait(self: Box<Self>) -> T {
        let Self { pending, meaning } = *self;
        let answer = pending.wait();
        match meaning {
            Some(meaning) => meaning(answer),
            None => unreachable!("a reply was waited for after it had been polled to its end"),
        }
    }
}

impl<T: 'static> Reply<T> {
    pub(crate) fn new<S: Send + 'static>(
        pending: Pending<S>,
        meaning: impl FnOnce(Result<S, Abandoned>) -> T + Send + 'static,
    ) -> Self {
        Self(Box::new(Translated {
            pending,
            meaning: Some(Box::new(meaning)),
        }))
    }

    pub(crate) fn ready(value: T) -> Self
    where
        T: Send,
    {
        Self::new(Pending::ready(()), move |_| value)
    }

    /// Blocks this thread until the answer is there. For [`crate::WorkersBuilder::handle_blocking`] and programs without
    /// async. On a thread of an async runtime it does not block and answers that it would have: `.await` it there. What
    /// was asked for happens all the same.
    ///
    /// # Panics
    /// If it was polled to its end before.
    pub fn wait(self) -> T
    where
        T: OnRuntimeThread,
    {
        if tokio::runtime::Handle::try_current().is_ok() {
            return T::on_runtime_thread();
        }
        self.0.wait()
    }
}

impl<T> Future for Reply<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        self.0.poll(context)
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").finish_non_exhaustive()
    }
}
