//! A question or an order to the engine that takes work: `.await` it, or `.wait()` for it.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;

/// Nothing happens until it is awaited or waited for. Awaited, the work is done on a thread that may block.
#[must_use = "nothing has happened yet: `.await` it, or call `.wait()`"]
pub struct Call<T> {
    work: Box<dyn FnOnce() -> T + Send>,
}

impl<T: Send + 'static> Call<T> {
    pub(crate) fn new(work: impl FnOnce() -> T + Send + 'static) -> Self {
        Self {
            work: Box::new(work),
        }
    }

    /// Does the work on this thread. Never call it on a thread of an async runtime.
    pub fn wait(self) -> T {
        (self.work)()
    }
}

impl<T: Send + 'static> IntoFuture for Call<T> {
    type Output = T;
    type IntoFuture = Pin<Box<dyn Future<Output = T> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            if tokio::runtime::Handle::try_current().is_err() {
                return self.wait(); // another executor: its thread has to do
            }
            match tokio::task::spawn_blocking(self.work).await {
                Ok(value) => value,
                Err(lost) => match lost.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_shut_down) => std::future::pending().await,
                },
            }
        })
    }
}

impl<T> fmt::Debug for Call<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").finish_non_exhaustive()
    }
}
