//! A clock that moves when told, both of its hands at once or the wall alone.

use std::time::Duration;

use mq_core::time::{Clock, Timestamp};
use parking_lot::Mutex;

/// Wall and monotonic time under the test's control.
#[derive(Debug)]
pub struct ManualClock {
    hands: Mutex<(u64, Duration)>,
}

impl ManualClock {
    /// A clock whose wall shows `unix_ms`.
    #[must_use]
    pub fn at(unix_ms: u64) -> Self {
        Self { hands: Mutex::new((unix_ms, Duration::ZERO)) }
    }

    /// Time passes.
    pub fn advance(&self, by: Duration) {
        let mut hands = self.hands.lock();
        hands.0 += u64::try_from(by.as_millis()).unwrap_or_default();
        hands.1 += by;
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> Timestamp {
        Timestamp::from_ms(self.hands.lock().0)
    }

    fn monotonic(&self) -> Duration {
        self.hands.lock().1
    }
}
