//! Durations counted by size: eight classes per power of two of microseconds, so that a percentile is at most an
//! eighth too high. Source of the shape: <https://hdrhistogram.github.io/HdrHistogram/>.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Classes per power of two.
const CLASSES: u64 = 8;
/// Powers of two above the first eight microseconds: up to 2³⁷ µs, a day and a half.
const OCTAVES: u64 = 35;
const LEN: usize = 8 * 36;
const _: () = assert!(LEN as u64 == CLASSES * (OCTAVES + 1));

/// Counts of durations.
pub(crate) struct Histogram(Box<[AtomicU64]>);

/// What is read of a histogram.
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
        Self((0..LEN).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Histogram {
    pub(crate) fn record(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        if let Some(count) = self.0.get(class_of(micros)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn percentiles(&self) -> Percentiles {
        let counts: Vec<u64> = self
            .0
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .collect();
        let count: u64 = counts.iter().sum();
        let at = |per_cent: u64| Duration::from_micros(percentile(&counts, count, per_cent));
        Percentiles {
            count,
            p50: at(50),
            p95: at(95),
            p99: at(99),
        }
    }
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.percentiles().fmt(f)
    }
}

fn percentile(counts: &[u64], count: u64, per_cent: u64) -> u64 {
    let rank = count.saturating_mul(per_cent).div_ceil(100);
    let mut seen = 0;
    let class = counts.iter().position(|class| {
        seen += class;
        seen >= rank && rank > 0
    });
    class.map_or(0, largest_of)
}

/// 0 to 7 are their own classes; above, the three bits below the highest one choose among eight.
fn class_of(micros: u64) -> usize {
    let class = if micros < CLASSES {
        micros
    } else {
        let octave = u64::from(micros.ilog2()) - 3;
        let within = (micros >> octave) - CLASSES;
        CLASSES * (octave + 1) + within
    };
    usize::try_from(class).unwrap_or(usize::MAX).min(LEN - 1)
}

/// The largest number of microseconds in a class.
fn largest_of(class: usize) -> u64 {
    let class = u64::try_from(class).unwrap_or(0);
    if class < CLASSES {
        return class;
    }
    let octave = class / CLASSES - 1;
    let within = class % CLASSES;
    ((CLASSES + within + 1) << octave) - 1
}

#[cfg(test)]
mod tests;
