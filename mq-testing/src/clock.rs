//! A clock that stands still until a test moves it.
//!
//! What it does not do: tell anybody that it moved. Whoever waits for a moment is told by the test.

use std::time::Duration;

use mq_core::time::{Clock, Timestamp};
use parking_lot::Mutex;

/// When the wall clock of a new [`ManualClock`] stands: 2026-01-01T00:00:00Z, in milliseconds.
pub const START_MS: u64 = 1_767_225_600_000;

#[derive(Clone, Copy, Debug)]
struct Hands {
    wall_ms: u64,
    monotonic: Duration,
}

/// Wall clock and monotonic clock, moved by hand.
#[derive(Debug)]
pub struct ManualClock {
    hands: Mutex<Hands>,
}

impl Default for ManualClock {
    fn default() -> Self {
        Self {
            hands: Mutex::new(Hands {
                wall_ms: START_MS,
                monotonic: Duration::ZERO,
            }),
        }
    }
}

impl ManualClock {
    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        let mut hands = self.hands.lock();
        hands.monotonic += by;
        hands.wall_ms = Timestamp::from_ms(hands.wall_ms).after(by).as_ms();
    }

    /// Sets the wall clock alone, as an administrator or a leap would.
    pub fn set_wall(&self, wall: Timestamp) {
        self.hands.lock().wall_ms = wall.as_ms();
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> Timestamp {
        Timestamp::from_ms(self.hands.lock().wall_ms)
    }

    fn monotonic(&self) -> Duration {
        self.hands.lock().monotonic
    }
}
