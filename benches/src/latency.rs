//! How long things took: a histogram in nanoseconds, three digits, and what is told of it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// The longest time that is told apart from longer ones.
const LONGEST: u64 = 60_000_000_000;

/// Times, recorded from many places. Clones are one histogram.
#[derive(Clone, Debug)]
pub struct Recorder(Arc<Mutex<Histogram<u64>>>);

impl Recorder {
    /// An empty histogram.
    ///
    /// # Errors
    /// Never with these bounds.
    pub fn new() -> anyhow::Result<Self> {
        let histogram = Histogram::new_with_bounds(1, LONGEST, 3).context("histogram bounds")?;
        Ok(Self(Arc::new(Mutex::new(histogram))))
    }

    /// Records one time.
    pub fn record(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(LONGEST);
        self.0.lock().saturating_record(nanos);
    }

    /// What was recorded.
    #[must_use]
    pub fn summary(&self) -> Latency {
        let histogram = self.0.lock();
        #[expect(clippy::cast_precision_loss, reason = "microseconds for people")]
        let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        Latency {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: at(1.0),
        }
    }
}

/// What a histogram of times says, in microseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Latency {
    /// How many were recorded.
    pub count: u64,
    /// Half took at most so long.
    pub p50: f64,
    /// 90 % took at most so long.
    pub p90: f64,
    /// 99 % took at most so long.
    pub p99: f64,
    /// 99.9 % took at most so long.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}
