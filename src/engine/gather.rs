//! Whether to wait a moment for a fuller batch. With callers that wait for their answers, each batch holds only half of
//! them: the others' requests arrive while it is synced. Waiting until those who were just answered have asked again brings
//! them all into one sync.
//!
//! Invariants
//! 1. Never after a batch of one, never while something else has to be done, never longer than half a fast sync or
//!    [`WAIT_MAX`], whichever is less.
//! 2. Only while it pays: a wait in which fewer than half came back is a miss. A miss halves the wait; three in a row switch
//!    it off for [`REST_BATCHES`] batches.
//!
//! Source of the idea and its limit: `commit_delay` of PostgreSQL, half of a measured flush
//! (<https://www.postgresql.org/docs/current/runtime-config-wal.html>).

use std::time::Duration;

/// The longest wait.
const WAIT_MAX: Duration = Duration::from_micros(500);
/// Misses in a row that switch waiting off.
const MISSES_MAX: u32 = 3;
/// For so many batches.
const REST_BATCHES: u32 = 64;
/// Syncs that the estimate of a fast one rests on.
const SYNCS: usize = 32;

#[derive(Debug)]
pub(crate) struct Gather {
    syncs: Vec<Duration>,
    fast_sync: Duration,
    /// The part of the allowed wait that is used, in 256ths: halved by a miss, doubled by a hit.
    part: u32,
    misses: u32,
    rest: u32,
    answered: usize,
}

impl Gather {
    pub(crate) fn new() -> Self {
        Self {
            syncs: Vec::with_capacity(SYNCS),
            fast_sync: Duration::ZERO,
            part: 256,
            misses: 0,
            rest: 0,
            answered: 0,
        }
    }

    /// A sync took this long and answered so many enqueues.
    pub(crate) fn note_sync(&mut self, took: Duration, answered: usize) {
        self.answered = answered;
        self.rest = self.rest.saturating_sub(1);
        self.syncs.push(took);
        if self.syncs.len() == SYNCS {
            self.syncs.sort_unstable();
            self.fast_sync = self.syncs.get(SYNCS / 4).copied().unwrap_or_default();
            self.syncs.clear();
        }
    }

    /// For how many arrivals to wait, and how long; `None` to go on at once.
    pub(crate) fn plan(&mut self) -> Option<(usize, Duration)> {
        let answered = std::mem::take(&mut self.answered);
        let wait = (self.fast_sync / 2).min(WAIT_MAX) * self.part / 256;
        (answered > 1 && self.rest == 0 && !wait.is_zero()).then_some((answered, wait))
    }

    /// Of `wanted` callers so many came back in time.
    pub(crate) fn note_arrivals(&mut self, wanted: usize, arrived: usize) {
        if arrived * 2 >= wanted {
            self.misses = 0;
            self.part = (self.part * 2).min(256);
            return;
        }
        self.part = (self.part / 2).max(16);
        self.misses += 1;
        if self.misses == MISSES_MAX {
            self.misses = 0;
            self.rest = REST_BATCHES;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warm() -> Gather {
        let mut gather = Gather::new();
        for _ in 0..SYNCS {
            gather.note_sync(Duration::from_micros(100), 8);
        }
        gather
    }

    #[test]
    fn it_waits_half_a_fast_sync_for_those_who_were_answered() {
        assert_eq!(warm().plan(), Some((8, Duration::from_micros(50))));
    }

    #[test]
    fn it_never_waits_after_a_batch_of_one_or_without_an_estimate() {
        let mut gather = warm();
        gather.note_sync(Duration::from_micros(100), 1);
        assert_eq!(gather.plan(), None);
        let mut fresh = Gather::new();
        fresh.note_sync(Duration::from_micros(100), 8);
        assert_eq!(fresh.plan(), None);
    }

    #[test]
    fn a_slow_disk_does_not_make_it_wait_longer_than_the_limit() {
        let mut gather = Gather::new();
        for _ in 0..SYNCS {
            gather.note_sync(Duration::from_millis(10), 8);
        }
        assert_eq!(gather.plan(), Some((8, WAIT_MAX)));
    }

    #[test]
    fn misses_shorten_the_wait_and_three_switch_it_off_for_a_while() {
        let mut gather = warm();
        gather.note_arrivals(8, 3);
        assert_eq!(gather.plan(), Some((8, Duration::from_micros(25))));
        gather.note_arrivals(8, 0);
        gather.note_arrivals(8, 0);
        for _ in 0..REST_BATCHES {
            assert_eq!(gather.plan(), None);
            gather.note_sync(Duration::from_micros(100), 8);
        }
        assert!(gather.plan().is_some());
    }

    #[test]
    fn a_hit_brings_the_whole_wait_back() {
        let mut gather = warm();
        gather.note_arrivals(8, 3);
        gather.note_arrivals(8, 4);
        assert_eq!(gather.plan(), Some((8, Duration::from_micros(50))));
    }
}
