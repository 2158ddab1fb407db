//! The operating system's clocks, with a wall clock that the test moves.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use mq::Timestamp;
use mq::environment::SystemClock;
use mq_core::time::Clock;

/// A wall clock that is off by so many milliseconds; the monotonic clock is the machine's.
#[derive(Debug)]
pub(crate) struct ShiftedClock {
    real: SystemClock,
    offset_ms: AtomicI64,
}

impl ShiftedClock {
    pub(crate) fn new(offset_ms: i64) -> Self {
        Self {
            real: SystemClock::start(),
            offset_ms: AtomicI64::new(offset_ms),
        }
    }

    /// The wall clock jumps.
    pub(crate) fn set_offset(&self, offset_ms: i64) {
        self.offset_ms.store(offset_ms, Relaxed);
    }

    pub(crate) fn offset(&self) -> i64 {
        self.offset_ms.load(Relaxed)
    }
}

impl Clock for ShiftedClock {
    fn wall(&self) -> Timestamp {
        let now = self.real.wall().as_ms();
        Timestamp::from_ms(now.saturating_add_signed(self.offset()))
    }

    fn monotonic(&self) -> Duration {
        self.real.monotonic()
    }
}
