//! Whether to wait a moment for a fuller batch. With callers that wait for their answers, each batch holds only half of
//! them: the others' requests arrive while it is synced. Waiting until those who were just answered have asked again brings
//! them all into one sync.
//!
//! Invariants
//! 1. Never after a batch of one, never while something else has to be done, never longer than half a fast sync or
//!    [`WAIT_MAX`], whichever is less.
//! 2. Only while it pays: a wait in which fewer than half came back is a miss. A miss halves the wait; three in a row switch
//!    it off for [`REST_BATCHES`] batches.
//! 3. Whether it pays is measured, not believed: batches with and without the wait are tried in turn, and what answered more
//!    in the same time is used until the next trial.
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
/// Batches of one trial.
const TRIAL_BATCHES: u32 = 64;
/// Batches for which its result holds.
const TERM_BATCHES: u32 = 2_048;
/// Syncs that the estimate of a fast one rests on.
const SYNCS: usize = 32;

/// What is being found out, or was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    TryWithout,
    TryWith,
    Decided { wait: bool },
}

#[derive(Debug)]
pub(crate) struct Gather {
    phase: Phase,
    batches_left: u32,
    phase_began: Option<Duration>,
    phase_answered: u64,
    /// Answers per second without the wait, as the last trial saw it.
    rate_without: u64,
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
            phase: Phase::TryWithout,
            batches_left: TRIAL_BATCHES,
            phase_began: None,
            phase_answered: 0,
            rate_without: 0,
            syncs: Vec::with_capacity(SYNCS),
            fast_sync: Duration::ZERO,
            part: 256,
            misses: 0,
            rest: 0,
            answered: 0,
        }
    }

    /// A sync ended at `now`, took this long and answered so many enqueues.
    pub(crate) fn note_sync(&mut self, now: Duration, took: Duration, answered: usize) {
        self.answered = answered;
        if answered > 1 {
            self.measure(now, answered);
        }
        self.rest = self.rest.saturating_sub(1);
        self.syncs.push(took);
        if self.syncs.len() == SYNCS {
            self.syncs.sort_unstable();
            self.fast_sync = self.syncs.get(SYNCS / 4).copied().unwrap_or_default();
            self.syncs.clear();
        }
    }

    fn measure(&mut self, now: Duration, answered: usize) {
        let began = *self.phase_began.get_or_insert(now);
        self.phase_answered += answered as u64;
        self.batches_left = self.batches_left.saturating_sub(1);
        if self.batches_left > 0 {
            return;
        }
        let micros = u64::try_from(now.saturating_sub(began).as_micros()).unwrap_or(u64::MAX);
        let rate = self.phase_answered.saturating_mul(1_000_000) / micros.max(1);
        (self.phase, self.batches_left) = match self.phase {
            Phase::TryWithout => {
                self.rate_without = rate;
                (Phase::TryWith, TRIAL_BATCHES)
            }
            Phase::TryWith => (
                Phase::Decided {
                    wait: rate > self.rate_without,
                },
                TERM_BATCHES,
            ),
            Phase::Decided { .. } => (Phase::TryWithout, TRIAL_BATCHES),
        };
        (self.phase_began, self.phase_answered) = (Some(now), 0);
    }

    /// For how many arrivals to wait, and how long; `None` to go on at once.
    pub(crate) fn plan(&mut self) -> Option<(usize, Duration)> {
        let answered = std::mem::take(&mut self.answered);
        let wait = (self.fast_sync / 2).min(WAIT_MAX) * self.part / 256;
        let tried = match self.phase {
            Phase::TryWithout => false,
            Phase::TryWith => true,
            Phase::Decided { wait } => wait,
        };
        (tried && answered > 1 && self.rest == 0 && !wait.is_zero()).then_some((answered, wait))
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

    const SYNC: Duration = Duration::from_micros(100);

    /// So many batches of `answered`, each taking `each`.
    fn batches(
        gather: &mut Gather,
        now: &mut Duration,
        count: u32,
        answered: usize,
        each: Duration,
    ) {
        for _ in 0..count {
            *now += each;
            gather.note_sync(*now, SYNC, answered);
        }
    }

    /// A gather that is about to try waiting.
    fn trying() -> (Gather, Duration) {
        let (mut gather, mut now) = (Gather::new(), Duration::ZERO);
        batches(&mut gather, &mut now, TRIAL_BATCHES, 8, SYNC);
        (gather, now)
    }

    #[test]
    fn it_tries_without_first_and_then_waits_half_a_fast_sync() {
        let mut gather = Gather::new();
        let mut now = Duration::ZERO;
        batches(&mut gather, &mut now, TRIAL_BATCHES - 1, 8, SYNC);
        assert_eq!(gather.plan(), None);
        assert_eq!(trying().0.plan(), Some((8, Duration::from_micros(50))));
    }

    #[test]
    fn it_goes_on_waiting_only_if_more_was_answered_in_the_same_time() {
        for (answered, pays) in [(20, true), (9, false)] {
            let (mut gather, mut now) = trying();
            batches(&mut gather, &mut now, TRIAL_BATCHES, answered, SYNC * 3 / 2);
            assert_eq!(
                gather.plan().is_some(),
                pays,
                "{answered} answers in one and a half of the time"
            );
        }
    }

    #[test]
    fn it_never_waits_after_a_batch_of_one() {
        let (mut gather, now) = trying();
        gather.note_sync(now + SYNC, SYNC, 1);
        assert_eq!(gather.plan(), None);
    }

    #[test]
    fn a_slow_disk_does_not_make_it_wait_longer_than_the_limit() {
        let (mut gather, mut now) = (Gather::new(), Duration::ZERO);
        for _ in 0..TRIAL_BATCHES {
            now += Duration::from_millis(10);
            gather.note_sync(now, Duration::from_millis(10), 8);
        }
        assert_eq!(gather.plan(), Some((8, WAIT_MAX)));
    }

    #[test]
    fn misses_shorten_the_wait_and_three_switch_it_off_for_a_while() {
        let (mut gather, mut now) = trying();
        gather.note_arrivals(8, 3);
        assert_eq!(gather.plan(), Some((8, Duration::from_micros(25))));
        gather.note_arrivals(8, 0);
        gather.note_arrivals(8, 0);
        batches(&mut gather, &mut now, 1, 8, SYNC);
        assert_eq!(gather.plan(), None);
    }

    #[test]
    fn a_hit_brings_the_whole_wait_back() {
        let (mut gather, _) = trying();
        gather.note_arrivals(8, 3);
        gather.note_arrivals(8, 4);
        assert_eq!(gather.plan(), Some((8, Duration::from_micros(50))));
    }
}
