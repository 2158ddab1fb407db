//! A question or an order to the engine: `.await` it, or `.wait()` for it.
//!
//! It is the one form of everything that is asked of an open engine, requests with options of their own apart: those are
//! awaited and waited for in the same words.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::engine::block_on;

/// Nothing happens until it is awaited or waited for.
#[must_use = "nothing has happened yet: `.await` it, or call `.wait()`"]
pub struct Call<T> {
    work: Work<T>,
}

type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

enum Work<T> {
    /// Holds up the thread that does it: awaited, it is done on a thread that may block.
    Blocking(Box<dyn FnOnce() -> T + Send>),
    /// Waits for the engine and holds up nobody.
    Waiting(Answer<T>),
    /// Being replaced by the above.
    Begun,
}

impl<T: Send + 'static> Call<T> {
    /// Work that may take its thread a while.
    pub(crate) fn new(work: impl FnOnce() -> T + Send + 'static) -> Self {
        Self {
            work: Work::Blocking(Box::new(work)),
        }
    }

    /// What an engine answers.
    pub(crate) fn of(answer: impl Future<Output = T> + Send + 'static) -> Self {
        Self {
            work: Work::Waiting(Box::pin(answer)),
        }
    }

    /// Does it, or waits for it, on this thread. Never call it on a thread of an async runtime.
    pub fn wait(self) -> T {
        match self.work {
            Work::Blocking(work) => work(),
            Work::Waiting(answer) => block_on(answer),
            Work::Begun => unreachable!("a call is replaced within one poll"),
        }
    }
}

impl<T: Send + 'static> Future for Call<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let this = self.get_mut();
        let mut answer = match std::mem::replace(&mut this.work, Work::Begun) {
            Work::Blocking(work) => elsewhere(work),
            Work::Waiting(answer) => answer,
            Work::Begun => return Poll::Pending, // polled after its end
        };
        let polled = answer.as_mut().poll(context);
        if polled.is_pending() {
            this.work = Work::Waiting(answer);
        }
        polled
    }
}

/// The work on a thread that may block; without tokio, on that of the executor.
fn elsewhere<T: Send + 'static>(work: Box<dyn FnOnce() -> T + Send>) -> Answer<T> {
    Box::pin(async move {
        if tokio::runtime::Handle::try_current().is_err() {
            return work();
        }
        match tokio::task::spawn_blocking(work).await {
            Ok(value) => value,
            Err(lost) => match lost.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_shut_down) => std::future::pending().await,
            },
        }
    })
}

impl<T> fmt::Debug for Call<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").finish_non_exhaustive()
    }
}
