//! How counters moved lately: a sample every few seconds, kept for a quarter of an hour.
//!
//! Invariant: at most [`SAMPLES_MAX`] samples are kept, whatever the clock does.

use std::collections::VecDeque;
use std::time::Duration;

use mq_core::view::{StateKind, Stats as StoreStats};

/// One sample so often.
const SAMPLE_EVERY: Duration = Duration::from_secs(5);
/// A quarter of an hour of them.
const SAMPLES_MAX: usize = 180;
/// What a rate is taken over, if there are samples as old as that.
const RATE_OVER: Duration = Duration::from_secs(60);
/// What a forecast needs at least.
const FORECAST_OVER_MIN: Duration = Duration::from_secs(60);

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    at: Duration,
    enqueued: u64,
    checked_out: u64,
    ended: u64,
    failed: u64,
    dead: u64,
    free: Option<u64>,
}

impl Sample {
    /// The counters at `at` on the monotonic clock.
    pub(crate) fn of(at: Duration, stats: &StoreStats, free: Option<u64>) -> Self {
        let [
            succeeded,
            failed,
            _,
            _,
            cancelled,
            expired,
            _,
            discarded,
            dead_lettered,
        ] = stats.outcomes;
        Self {
            at,
            enqueued: stats.enqueued,
            checked_out: stats.checked_out,
            ended: succeeded + cancelled + discarded + dead_lettered,
            failed: failed + expired + dead_lettered,
            dead: total(stats, StateKind::Dead),
            free,
        }
    }
}

/// Messages in a state, in all queues.
pub(crate) fn total(stats: &StoreStats, state: StateKind) -> u64 {
    let queues = stats.queues.iter();
    let counts = queues.filter_map(|(_, queue)| queue.by_state.get(state as usize));
    counts.sum()
}

/// Per second, over the last minute or since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Rates {
    /// Messages enqueued.
    pub enqueued: f64,
    /// Messages handed out.
    pub checked_out: f64,
    /// Messages that needed no other attempt: succeeded, cancelled, discarded or given up.
    pub ended: f64,
    /// Attempts that failed.
    pub failed: f64,
}

/// The samples.
#[derive(Debug, Default)]
pub(crate) struct Trends {
    samples: VecDeque<Sample>,
}

impl Trends {
    /// Whether it is time for a sample.
    pub(crate) fn is_due(&self, now: Duration) -> bool {
        let last = self.samples.back();
        last.is_none_or(|last| now.saturating_sub(last.at) >= SAMPLE_EVERY)
    }

    /// Keeps a sample.
    pub(crate) fn add(&mut self, sample: Sample) {
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// Rates up to `now`.
    pub(crate) fn rates(&self, now: &Sample) -> Rates {
        let recent = self.samples.iter().rev();
        let then = recent
            .clone()
            .find(|sample| now.at.saturating_sub(sample.at) >= RATE_OVER)
            .or_else(|| self.samples.front());
        let Some(then) = then else {
            return Rates::default();
        };
        let seconds = now.at.saturating_sub(then.at).as_secs_f64();
        let rate = |now: u64, then: u64| {
            if seconds > 0.0 {
                whole(now.saturating_sub(then)) / seconds
            } else {
                0.0
            }
        };
        Rates {
            enqueued: rate(now.enqueued, then.enqueued),
            checked_out: rate(now.checked_out, then.checked_out),
            ended: rate(now.ended, then.ended),
            failed: rate(now.failed, then.failed),
        }
    }

    /// By how many the dead letters grew in the last quarter of an hour; fewer than none if they became fewer.
    pub(crate) fn dead_growth(&self, now: &Sample) -> i64 {
        let then = self.samples.front().map_or(now.dead, |then| then.dead);
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        signed(now.dead).saturating_sub(signed(then))
    }

    /// When the free bytes of the disk fall below `floor`, if they go on falling as in the last quarter of an hour.
    pub(crate) fn full_in(&self, now: Duration, free: u64, floor: u64) -> Option<Duration> {
        let then = self.samples.iter().find(|sample| sample.free.is_some())?;
        let passed = now.saturating_sub(then.at);
        let fallen = then.free?.checked_sub(free).filter(|fallen| *fallen > 0)?;
        if passed < FORECAST_OVER_MIN {
            return None;
        }
        let seconds = whole(free.saturating_sub(floor)) * passed.as_secs_f64() / whole(fallen);
        Duration::try_from_secs_f64(seconds).ok()
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "beyond 2⁵³ the last digits of a count do not matter to a rate"
)]
const fn whole(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(seconds: u64, enqueued: u64, dead: u64, free: u64) -> Sample {
        Sample {
            at: Duration::from_secs(seconds),
            enqueued,
            dead,
            free: Some(free),
            ..Sample::default()
        }
    }

    fn trends(samples: impl IntoIterator<Item = Sample>) -> Trends {
        let mut trends = Trends::default();
        samples.into_iter().for_each(|sample| trends.add(sample));
        trends
    }

    #[test]
    fn a_rate_is_that_of_the_last_minute() {
        let trends = trends([
            sample(0, 0, 0, 0),
            sample(40, 4_000, 0, 0),
            sample(90, 4_000, 0, 0),
        ]);
        let rates = trends.rates(&sample(100, 5_200, 0, 0));
        assert!((rates.enqueued - 20.0).abs() < 1e-9, "{rates:?}");
        assert_eq!(
            Trends::default().rates(&sample(9, 9, 0, 0)),
            Rates::default()
        );
    }

    #[test]
    fn dead_letters_grow_and_shrink() {
        let trends = trends([sample(0, 0, 7, 0)]);
        assert_eq!(trends.dead_growth(&sample(5, 0, 10, 0)), 3);
        assert_eq!(trends.dead_growth(&sample(5, 0, 2, 0)), -5);
    }

    #[test]
    fn a_disk_that_fills_evenly_is_full_when_its_room_is_used_up() {
        let trends = trends([sample(0, 0, 0, 10_000)]);
        let full_in = trends.full_in(Duration::from_secs(100), 9_000, 1_000);
        assert_eq!(full_in, Some(Duration::from_secs(800)));
        assert_eq!(
            trends.full_in(Duration::from_secs(100), 10_000, 0),
            None,
            "it does not fill"
        );
        assert_eq!(
            trends.full_in(Duration::from_secs(9), 9_000, 0),
            None,
            "too early to say"
        );
    }

    #[test]
    fn no_more_than_a_quarter_of_an_hour_is_kept() {
        let all = trends((0..1_000).map(|at| sample(at * 5, 0, 0, 0)));
        assert_eq!(all.samples.len(), SAMPLES_MAX);
        assert!(!all.is_due(Duration::from_secs(999 * 5 + 4)));
        assert!(all.is_due(Duration::from_secs(1_000 * 5)));
    }
}
