//! Values counted by size, without waiting: ninety classes per power of ten, so that every bound with two significant
//! digits is exact and a percentile is at most a tenth too high.
//!
//! All counters are `Relaxed`: each is a number of its own, and nothing is concluded from one about another. Source of the
//! shape: <https://hdrhistogram.github.io/HdrHistogram/>, in base ten because people read and set bounds in it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Classes per power of ten.
const CLASSES: u64 = 90;
/// Powers of ten above the first ten values: up to 10¹¹, in microseconds more than a day.
const DECADES: u32 = 10;
const LEN: usize = 10 + 90 * 10;
const _: () = assert!(LEN as u64 == 10 + CLASSES * DECADES as u64);

/// Live counts of values: durations in microseconds, or plain numbers.
pub struct Histogram {
    classes: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// What is read of a histogram.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Distribution {
    /// Values by class, up to the last class that has any.
    classes: Vec<u64>,
    sum: u64,
}

/// The usual summary of durations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Percentiles {
    /// How many were counted.
    pub count: u64,
    /// Half took at most so long.
    pub p50: Duration,
    /// 95 % took at most so long.
    pub p95: Duration,
    /// 99 % took at most so long.
    pub p99: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            classes: (0..LEN).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }
}

impl Histogram {
    /// Counts a duration, in microseconds rounded up.
    pub fn record(&self, duration: Duration) {
        let below = u64::from(duration.subsec_nanos().div_ceil(1_000));
        let seconds = duration.as_secs().saturating_mul(1_000_000);
        self.record_number(seconds.saturating_add(below));
    }

    /// Counts a plain number.
    pub fn record_number(&self, number: u64) {
        if let Some(count) = self.classes.get(class_of(number)) {
            count.fetch_add(1, Ordering::Relaxed);
            self.sum.fetch_add(number, Ordering::Relaxed);
        }
    }

    /// What was counted so far.
    #[must_use]
    pub fn read(&self) -> Distribution {
        let counts = self.classes.iter().map(|it| it.load(Ordering::Relaxed));
        let mut classes: Vec<u64> = counts.collect();
        let len = classes.iter().rposition(|count| *count > 0);
        classes.truncate(len.map_or(0, |last| last + 1));
        Distribution {
            classes,
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read().percentiles().fmt(f)
    }
}

impl fmt::Debug for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Distribution")
            .field("count", &self.count())
            .field("sum", &self.sum)
            .finish_non_exhaustive()
    }
}

impl Distribution {
    /// How many values were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.classes.iter().sum()
    }

    /// Their sum; of durations, in microseconds.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.sum
    }

    /// How many are at most `bound` (of durations: microseconds). Exact for bounds with two significant digits.
    #[must_use]
    pub fn count_up_to(&self, bound: u64) -> u64 {
        let within = if largest_of(class_of(bound)) <= bound {
            class_of(bound) + 1
        } else {
            class_of(bound)
        };
        self.classes.iter().take(within).sum()
    }

    /// The value that `per_cent` of all do not exceed; at most a tenth too high.
    #[must_use]
    pub fn percentile(&self, per_cent: u64) -> u64 {
        let rank = self.count().saturating_mul(per_cent).div_ceil(100);
        let mut seen = 0;
        let class = self.classes.iter().position(|class| {
            seen += class;
            seen >= rank && rank > 0
        });
        class.map_or(0, largest_of)
    }

    /// The usual summary, of durations.
    #[must_use]
    pub fn percentiles(&self) -> Percentiles {
        let at = |per_cent| Duration::from_micros(self.percentile(per_cent));
        Percentiles {
            count: self.count(),
            p50: at(50),
            p95: at(95),
            p99: at(99),
        }
    }

    /// Adds what another histogram counted.
    pub fn add(&mut self, other: &Self) {
        if self.classes.len() < other.classes.len() {
            self.classes.resize(other.classes.len(), 0);
        }
        for (count, more) in self.classes.iter_mut().zip(&other.classes) {
            *count += more;
        }
        self.sum = self.sum.saturating_add(other.sum);
    }
}

/// Numbers up to ten are their own classes (0 shares that of 1); above, the first two digits of the number before choose,
/// so that a class ends with its largest round number.
fn class_of(number: u64) -> usize {
    let before = number.saturating_sub(1);
    let class = if before < 10 {
        before
    } else {
        let decade = before.ilog10() - 1;
        let digits = before / 10_u64.pow(decade);
        10 + CLASSES * u64::from(decade) + (digits - 10)
    };
    usize::try_from(class).unwrap_or(usize::MAX).min(LEN - 1)
}

/// The largest number of a class.
fn largest_of(class: usize) -> u64 {
    let class = u64::try_from(class).unwrap_or(0);
    if class < 10 {
        return class + 1;
    }
    let decade = u32::try_from((class - 10) / CLASSES).unwrap_or(DECADES);
    let digits = 10 + (class - 10) % CLASSES;
    (digits + 1) * 10_u64.pow(decade)
}

#[cfg(test)]
mod tests;
