//! One answer that will come: `.await` it or `.wait()` for it.
//!
//! Invariants: the [`Promise`] is kept exactly once or broken by dropping it, and a broken promise wakes the waiter
//! too. What a promise gives back with the answer ([`Promise::keep_with`]) goes to a waiter that is there, else whoever keeps
//! the promise drops it; not under the lock of the answer. Dropping a [`Pending`] takes nothing back: what was asked for still
//! happens. Only work that is left to the waiter ([`Promise::keep_later`]) is dropped with it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// The side that owed the answer went away without giving it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the engine stopped before it could answer; whether the request took effect is decided when the store is opened again"
)]
pub struct Abandoned;

/// Work that a blocking waiter can do itself to bring its answer nearer, such as committing its own frame.
pub trait Drive: Send + Sync + 'static {
    /// Works until `is_done` says so or until nothing useful is left to do; then the waiter parks.
    fn drive(&self, is_done: &dyn Fn() -> bool);
}

enum Cell<T> {
    Empty,
    /// A thread waits, or works for it.
    Blocked,
    Waiting(Waker),
    Kept(T, Spent),
    Later(Work<T>),
    Broken,
    Taken,
}

/// What was asked with, to be dropped by whoever asked: memory goes back to the thread that it came from, which is cheap for the
/// allocator.
type Spent = Option<Box<dyn Send>>;

/// What has to be done for an answer, by whoever waits for it.
type Work<T> = Box<dyn FnOnce() -> T + Send>;

/// What a waiter found.
enum Found<T> {
    Kept(T, Spent),
    Later(Work<T>),
    Broken,
}

impl<T> Found<T> {
    /// The answer; never under the lock of the cell, for it may take a while.
    fn finish(self) -> Result<T, Abandoned> {
        match self {
            Self::Kept(value, spent) => {
                drop(spent);
                Ok(value)
            }
            Self::Later(work) => Ok(work()),
            Self::Broken => Err(Abandoned),
        }
    }
}

struct Shared<T> {
    cell: Mutex<Cell<T>>,
    changed: Condvar,
}

/// The waiting side.
#[must_use = "an answer is still to come: `.await` it, or `.wait()` for it"]
pub struct Pending<T> {
    shared: Arc<Shared<T>>,
    driver: Option<Arc<dyn Drive>>,
}

/// The answering side.
#[must_use = "a promise that is dropped is broken"]
pub struct Promise<T> {
    shared: Option<Arc<Shared<T>>>,
}

impl<T> Pending<T> {
    /// A promise and the side that waits for it.
    pub fn new() -> (Promise<T>, Self) {
        let shared = Arc::new(Shared {
            cell: Mutex::new(Cell::Empty),
            changed: Condvar::new(),
        });
        (
            Promise {
                shared: Some(Arc::clone(&shared)),
            },
            Self {
                shared,
                driver: None,
            },
        )
    }

    /// An answer that is there already.
    pub fn ready(value: T) -> Self {
        let shared = Arc::new(Shared {
            cell: Mutex::new(Cell::Kept(value, None)),
            changed: Condvar::new(),
        });
        Self {
            shared,
            driver: None,
        }
    }

    /// Lets [`Pending::wait`] call `driver` before it parks.
    pub fn driven_by(mut self, driver: Arc<dyn Drive>) -> Self {
        self.driver = Some(driver);
        self
    }

    /// Whether nothing has to be waited for any more: the answer is there, or only work of the waiter's own is left, or the promise
    /// is broken.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(
            *self.shared.cell.lock(),
            Cell::Kept(..) | Cell::Later(_) | Cell::Broken
        )
    }

    /// Blocks this thread until the answer is there. Never call it on a thread of an async runtime.
    ///
    /// # Errors
    /// [`Abandoned`] if the promise was broken.
    pub fn wait(self) -> Result<T, Abandoned> {
        self.begin_to_block();
        self.help();
        let mut cell = self.shared.cell.lock();
        loop {
            if let Some(found) = take(&mut cell) {
                drop(cell);
                return found.finish();
            }
            self.shared.changed.wait(&mut cell);
        }
    }

    /// As [`Pending::wait`], but gives itself back when `limit` has passed. Work that is left to the waiter may take longer.
    ///
    /// # Errors
    /// `Err(self)` after `limit`; what was asked for still happens.
    pub fn wait_for(self, limit: Duration) -> Result<Result<T, Abandoned>, Self> {
        self.begin_to_block();
        self.help();
        {
            let mut cell = self.shared.cell.lock();
            loop {
                if let Some(found) = take(&mut cell) {
                    drop(cell);
                    return Ok(found.finish());
                }
                if self.shared.changed.wait_for(&mut cell, limit).timed_out() {
                    if let Some(found) = take(&mut cell) {
                        drop(cell);
                        return Ok(found.finish());
                    }
                    if matches!(*cell, Cell::Blocked) {
                        *cell = Cell::Empty;
                    }
                    break;
                }
            }
        }
        Err(self)
    }

    fn begin_to_block(&self) {
        let mut cell = self.shared.cell.lock();
        if matches!(*cell, Cell::Empty) {
            *cell = Cell::Blocked;
        }
    }

    /// Does what a waiter can do itself to bring the answer nearer, without waiting. [`Pending::wait`] begins with it.
    pub fn help(&self) {
        if let Some(driver) = self.driver.as_ref().filter(|_| !self.is_done()) {
            driver.drive(&|| self.is_done());
        }
    }
}

fn take<T>(cell: &mut Cell<T>) -> Option<Found<T>> {
    match std::mem::replace(cell, Cell::Taken) {
        Cell::Kept(value, spent) => Some(Found::Kept(value, spent)),
        Cell::Later(work) => Some(Found::Later(work)),
        Cell::Broken | Cell::Taken => Some(Found::Broken),
        waiting @ (Cell::Empty | Cell::Blocked | Cell::Waiting(_)) => {
            *cell = waiting;
            None
        }
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, Abandoned>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut cell = self.shared.cell.lock();
        if let Some(found) = take(&mut cell) {
            drop(cell);
            return Poll::Ready(found.finish());
        }
        let same = matches!(&*cell, Cell::Waiting(waker) if waker.will_wake(context.waker()));
        if !same {
            *cell = Cell::Waiting(context.waker().clone());
        }
        Poll::Pending
    }
}

impl<T> Promise<T> {
    /// Gives the answer and wakes whoever waits.
    pub fn keep(mut self, value: T) {
        if let Some(shared) = self.shared.take() {
            settle(&shared, Cell::Kept(value, None));
        }
    }

    /// As [`Promise::keep`]; a waiter that is there drops `spent`, too. An answer that nobody has waited for yet keeps nothing alive.
    pub fn keep_with(mut self, value: T, spent: Box<dyn Send>) {
        let Some(shared) = self.shared.take() else {
            return;
        };
        let mut cell = shared.cell.lock();
        let is_awaited = matches!(*cell, Cell::Blocked | Cell::Waiting(_));
        let mut spent = Some(spent);
        let given = if is_awaited { spent.take() } else { None };
        let before = std::mem::replace(&mut *cell, Cell::Kept(value, given));
        drop(cell);
        wake(&shared, before);
        drop(spent);
    }

    /// As [`Promise::keep`], for an answer that takes work such as reading: whoever waits does it, on its own thread.
    pub fn keep_later(mut self, work: impl FnOnce() -> T + Send + 'static) {
        if let Some(shared) = self.shared.take() {
            settle(&shared, Cell::Later(Box::new(work)));
        }
    }
}

fn settle<T>(shared: &Shared<T>, end: Cell<T>) {
    let before = std::mem::replace(&mut *shared.cell.lock(), end);
    wake(shared, before);
}

fn wake<T>(shared: &Shared<T>, before: Cell<T>) {
    shared.changed.notify_all();
    if let Cell::Waiting(waker) = before {
        waker.wake();
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            settle(&shared, Cell::Broken);
        }
    }
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending")
            .field("is_done", &self.is_done())
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Promise<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promise").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pending answer, kept with something; whether that is still there.
    fn kept(before: impl FnOnce(&mut Pending<u8>)) -> (Pending<u8>, std::sync::Weak<()>) {
        let (promise, mut pending) = Pending::new();
        before(&mut pending);
        let spent = Arc::new(());
        let there = Arc::downgrade(&spent);
        promise.keep_with(7, Box::new(spent));
        (pending, there)
    }

    #[test]
    fn an_answer_that_nobody_waits_for_keeps_nothing_of_the_question() {
        let (pending, there) = kept(|_| {});
        assert!(there.upgrade().is_none());
        assert_eq!(pending.wait(), Ok(7));
        let (pending, there) = kept(|pending| {
            let (_promise, other) = Pending::new();
            let given_up = std::mem::replace(pending, other).wait_for(Duration::from_millis(1));
            *pending = given_up.unwrap_err();
        });
        assert!(there.upgrade().is_none(), "nobody waits any more");
        assert_eq!(pending.wait(), Ok(7));
    }

    /// Says on which thread it is dropped.
    struct Told(std::sync::mpsc::Sender<std::thread::ThreadId>);

    impl Drop for Told {
        fn drop(&mut self) {
            self.0.send(std::thread::current().id()).unwrap();
        }
    }

    #[test]
    fn a_thread_that_blocks_drops_what_was_asked_with() {
        let (promise, pending) = Pending::<u8>::new();
        let shared = Arc::clone(&pending.shared);
        let waiter = std::thread::spawn(move || pending.wait());
        while !matches!(*shared.cell.lock(), Cell::Blocked) {
            std::thread::yield_now();
        }
        let (sender, dropped) = std::sync::mpsc::channel();
        promise.keep_with(7, Box::new(Told(sender)));
        assert_eq!(dropped.recv(), Ok(waiter.thread().id()));
        assert_eq!(waiter.join().unwrap(), Ok(7));
    }

    #[test]
    fn who_waits_drops_what_was_asked_with() {
        let poll = |pending: &mut Pending<u8>| {
            Pin::new(pending).poll(&mut Context::from_waker(Waker::noop()))
        };
        let (mut pending, there) = kept(|pending| assert!(poll(pending).is_pending()));
        assert!(there.upgrade().is_some());
        assert_eq!(poll(&mut pending), Poll::Ready(Ok(7)));
        assert!(there.upgrade().is_none());
    }
}
