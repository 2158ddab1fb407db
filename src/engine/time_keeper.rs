//! Turns the clock seam into the three times of the rules, and notices wall clocks that jump.
//!
//! Store time goes on from what the journal recorded; nothing here is written.

use std::sync::Arc;
use std::time::Duration;

use mq_core::time::{Clock, Monotonic, Now, StoreTime, Timestamp};

/// A wall clock that moves by more than this against the monotonic one is reported.
const JUMP_MIN: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct TimeKeeper {
    clock: Arc<dyn Clock>,
    opened: Duration,
    store_at_open: StoreTime,
    last: Option<(Timestamp, Duration)>,
    jumps: u64,
    jumps_backward: u64,
    /// The wall clock may have gone back: from when on that is to be looked into.
    went_back: Option<Monotonic>,
}

impl TimeKeeper {
    pub(crate) fn new(clock: Arc<dyn Clock>, store_at_open: StoreTime) -> Self {
        let opened = clock.monotonic();
        Self {
            clock,
            opened,
            store_at_open,
            last: None,
            jumps: 0,
            jumps_backward: 0,
            went_back: Some(Monotonic::from_ms(0)), // perhaps while the store was closed
        }
    }

    /// Reads the clocks once.
    pub(crate) fn now(&mut self) -> Now {
        let wall = self.clock.wall();
        let monotonic = self.clock.monotonic();
        self.notice_jump(wall, monotonic);
        let open_for = monotonic.saturating_sub(self.opened);
        Now {
            wall,
            monotonic: Monotonic::from_ms(0).after(open_for),
            store: self.store_at_open.after(open_for),
        }
    }

    /// A moment of the environment's monotonic clock as the rules count it: since the store was opened.
    pub(crate) fn since_open(&self, moment: Duration) -> Monotonic {
        Monotonic::from_ms(0).after(moment.saturating_sub(self.opened))
    }

    /// How often the wall clock has jumped since the open.
    pub(crate) fn jumps(&self) -> u64 {
        self.jumps
    }

    /// How many of these were backwards.
    pub(crate) fn jumps_backward(&self) -> u64 {
        self.jumps_backward
    }

    /// Whether the wall clock may have gone back since this was asked last.
    pub(crate) fn take_went_back(&mut self, now: &Now) -> bool {
        self.went_back
            .take_if(|from| *from <= now.monotonic)
            .is_some()
    }

    /// How long it is until [`TimeKeeper::take_went_back`] says yes, if it will.
    pub(crate) fn went_back_in(&self, now: &Now) -> Option<Duration> {
        self.went_back.map(|from| from.since(now.monotonic))
    }

    /// Not everything could be done yet about a wall clock that went back.
    pub(crate) fn look_again_at(&mut self, from: Monotonic) {
        self.went_back.get_or_insert(from);
    }

    fn notice_jump(&mut self, wall: Timestamp, monotonic: Duration) {
        if let Some((wall_before, monotonic_before)) = self.last {
            let expected = wall_before.after(monotonic.saturating_sub(monotonic_before));
            let moved = wall.since(expected).max(expected.since(wall));
            if moved > JUMP_MIN {
                self.jumps += 1;
                self.jumps_backward += u64::from(wall < expected);
                if wall < expected {
                    self.went_back = Some(Monotonic::from_ms(0));
                }
                tracing::warn!(
                    ?moved,
                    forward = wall > expected,
                    "the wall clock jumped: due times follow it, leases and retention do not"
                );
            }
        }
        self.last = Some((wall, monotonic));
    }
}
