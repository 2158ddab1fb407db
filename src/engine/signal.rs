//! Calls the commit thread when there is work, without a system call when it is awake.
//!
//! | move | side | ordering | partner | reason |
//! |---|---|---|---|---|
//! | `asleep` := true | sleeper | Release, then fence SeqCst | fence in `call` | either the sleeper sees the work pushed before `call`, or the caller sees `asleep` |
//! | `asleep` := false | caller | fence SeqCst, then AcqRel swap | fence in `sleep` | at most one caller pays for the wake-up |

use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, fence};
use std::time::Duration;

use crate::environment::Parker;

#[derive(Debug)]
pub(crate) struct Signal {
    asleep: AtomicBool,
    parker: Arc<dyn Parker>,
}

impl Signal {
    pub(crate) fn new(parker: Arc<dyn Parker>) -> Self {
        Self {
            asleep: AtomicBool::new(false),
            parker,
        }
    }

    /// Wakes the sleeper if it sleeps. Call it after the work has been made visible.
    pub(crate) fn call(&self) {
        fence(SeqCst);
        if self.asleep.load(Relaxed) && self.asleep.swap(false, AcqRel) {
            self.parker.unpark();
        }
    }

    /// Sleeps until called or until `limit`, unless `has_work` finds some after having announced the sleep.
    pub(crate) fn sleep(&self, limit: Option<Duration>, has_work: impl FnOnce() -> bool) {
        self.asleep.store(true, Release);
        fence(SeqCst);
        if !has_work() {
            self.parker.park(limit);
        }
        self.asleep.store(false, Release);
    }
}
