//! The five seams between mq and the machine: storage, clock, seed, spawn, park.
//!
//! Everything the engine does to the outside goes through an [`Environment`], so that a simulation can stand in for
//! the machine: a disk that loses power, a clock that jumps, threads that run when told.

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

pub use mq_core::signal::Parker;
use mq_core::time::{Clock, Timestamp};
use mq_persistence::storage::Storage;
use parking_lot::{Condvar, Mutex};

/// The machine as the engine sees it. [`Environment::real`] is the default.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Where the data directory is; `None` takes the real file system at the builder's path.
    pub storage: Option<Arc<dyn Storage>>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Randomness: salts, store identity, jitter. `None` takes the operating system's.
    pub seed: Option<u64>,
    /// How the engine starts its threads.
    pub spawn: Arc<dyn Spawn>,
    /// How those threads sleep.
    pub park: Arc<dyn Park>,
}

impl Environment {
    /// Real files, real clocks, real threads.
    #[must_use]
    pub fn real() -> Self {
        Self {
            storage: None,
            clock: Arc::new(SystemClock::start()),
            seed: None,
            spawn: Arc::new(Threads),
            park: Arc::new(CondvarPark),
        }
    }
}

impl Default for Environment {
    fn default() -> Self {
        Self::real()
    }
}

/// Starts the engine's threads.
pub trait Spawn: Send + Sync + fmt::Debug + 'static {
    /// Runs `work` on a thread of its own, named `name`.
    ///
    /// # Errors
    /// What the operating system says when it has no more threads; `open` then fails and nothing is lost.
    fn spawn(&self, name: &str, work: Box<dyn FnOnce() + Send>) -> std::io::Result<JoinHandle<()>>;
}

/// Makes places for threads to sleep in.
pub trait Park: Send + Sync + fmt::Debug + 'static {
    /// A new place, for one thread.
    fn parker(&self) -> Arc<dyn Parker>;
}

/// The operating system's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: std::time::Instant,
}

impl SystemClock {
    /// A clock whose monotonic zero is now.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the seam that everybody else must go through"
    )]
    pub fn start() -> Self {
        Self {
            start: std::time::Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the seam that everybody else must go through"
    )]
    fn wall(&self) -> Timestamp {
        let since_epoch = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp::from_ms(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

#[derive(Debug)]
struct Threads;

impl Spawn for Threads {
    fn spawn(&self, name: &str, work: Box<dyn FnOnce() + Send>) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(work)
    }
}

#[derive(Debug)]
struct CondvarPark;

impl Park for CondvarPark {
    fn parker(&self) -> Arc<dyn Parker> {
        Arc::new(CondvarParker::default())
    }
}

#[derive(Debug, Default)]
struct CondvarParker {
    called: Mutex<bool>,
    bell: Condvar,
}

impl Parker for CondvarParker {
    fn park(&self, limit: Option<Duration>) {
        let mut called = self.called.lock();
        if !*called {
            match limit {
                Some(limit) => {
                    self.bell.wait_for(&mut called, limit);
                }
                None => self.bell.wait(&mut called),
            }
        }
        *called = false;
    }

    fn unpark(&self) {
        *self.called.lock() = true;
        self.bell.notify_one();
    }
}
