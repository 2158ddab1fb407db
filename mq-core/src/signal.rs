//! Calls a sleeping thread when there is work, without a system call when it is awake. A call is remembered: one that comes
//! between the sleeper's last look and its sleep ends that sleep at once.
//!
//! | move | side | ordering | partner | reason |
//! |---|---|---|---|---|
//! | any → CALLED | caller | fence SeqCst, then AcqRel swap | fence in `sleep` | the work was made visible before; whoever finds ASLEEP pays for the wake-up, once |
//! | AWAKE → ASLEEP | sleeper | AcqRel exchange, then fence SeqCst | fence in `call` | either the sleeper sees the work pushed before `call`, or the caller sees ASLEEP |
//! | any → AWAKE | sleeper | AcqRel swap | swap in `call` | the call is consumed; the sleeper looks at everything after it |

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::sync::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use crate::sync::{AtomicU8, fence};

/// Where one thread sleeps until it is called.
///
/// A call before the sleep is not lost: the next [`Parker::park`] returns at once.
pub trait Parker: Send + Sync + fmt::Debug + 'static {
    /// Sleeps until called, or until `limit` has passed on the environment's monotonic clock.
    fn park(&self, limit: Option<Duration>);
    /// Calls the sleeper, from any thread.
    fn unpark(&self);
}

const AWAKE: u8 = 0;
const ASLEEP: u8 = 1;
const CALLED: u8 = 2;

/// What calls one thread, which sleeps in its [`Parker`].
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use mq_core::signal::{Parker, Signal};
///
/// #[derive(Debug)]
/// struct NeverSleeps;
///
/// impl Parker for NeverSleeps {
///     fn park(&self, _limit: Option<Duration>) {
///         unreachable!("it was called before");
///     }
///
///     fn unpark(&self) {}
/// }
///
/// let signal = Signal::new(Arc::new(NeverSleeps));
/// signal.call();
/// signal.sleep(None, || false);
/// ```
#[derive(Debug)]
pub struct Signal {
    state: AtomicU8,
    parker: Arc<dyn Parker>,
}

impl Signal {
    /// A signal for the thread that sleeps in `parker`.
    pub fn new(parker: Arc<dyn Parker>) -> Self {
        Self {
            state: AtomicU8::new(AWAKE),
            parker,
        }
    }

    /// Wakes the sleeper, or keeps it from sleeping. Call it after the work has been made visible.
    pub fn call(&self) {
        fence(SeqCst);
        if self.state.load(Relaxed) != CALLED && self.state.swap(CALLED, AcqRel) == ASLEEP {
            self.parker.unpark();
        }
    }

    /// Takes back a call that was not slept through: the caller is about to look at everything anyway.
    pub fn forget(&self) {
        self.state.swap(AWAKE, AcqRel);
        fence(SeqCst);
    }

    /// Sleeps until called or until `limit`, unless it was called already or `has_work` finds some.
    pub fn sleep(&self, limit: Option<Duration>, has_work: impl FnOnce() -> bool) {
        let asleep = self.state.compare_exchange(AWAKE, ASLEEP, AcqRel, Acquire);
        if asleep.is_ok() {
            fence(SeqCst);
            if !has_work() {
                self.parker.park(limit);
            }
        }
        self.state.swap(AWAKE, AcqRel);
    }
}

#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct NeverSleeps;

    impl Parker for NeverSleeps {
        fn park(&self, _limit: Option<Duration>) {
            panic!("slept through a call");
        }

        fn unpark(&self) {}
    }

    #[test]
    fn a_call_before_the_sleep_ends_it_at_once() {
        let signal = Signal::new(Arc::new(NeverSleeps));
        signal.call();
        signal.sleep(None, || false);
    }

    #[test]
    fn work_that_came_while_falling_asleep_ends_it_at_once() {
        let signal = Signal::new(Arc::new(NeverSleeps));
        signal.sleep(None, || true);
    }
}
