//! Whether the code that runs now runs inside a handler: then it must not wait for room that only handlers can make.

use std::cell::Cell;
use std::future::Future;

tokio::task_local! {
    static ASYNC: ();
}

thread_local! {
    static BLOCKING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this is called from a handler, async or blocking. Tasks and threads that a handler starts are not inside it.
#[must_use]
pub fn inside_handler() -> bool {
    BLOCKING.get() || ASYNC.try_with(|()| ()).is_ok()
}

/// Runs a handler's future as inside.
pub(crate) fn scope<F: Future>(handler: F) -> impl Future<Output = F::Output> {
    ASYNC.scope((), handler)
}

/// Runs a blocking handler as inside; also if it panics, the thread is outside afterwards.
pub(crate) fn scope_blocking<T>(handler: impl FnOnce() -> T) -> T {
    struct Outside;
    impl Drop for Outside {
        fn drop(&mut self) {
            BLOCKING.set(false);
        }
    }
    BLOCKING.set(true);
    let outside = Outside;
    let answer = handler();
    drop(outside);
    answer
}
