//! What was measured: a sample every few seconds, latencies by minute, and straight lines through them.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::line::Figures;
use crate::process::Usage;

/// The longest latency that is told apart from longer ones.
const HOUR_MICROS: u64 = 3_600_000_000;

/// One look at the child.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    /// Since the start of the run.
    pub(crate) at: Duration,
    /// Since this child opened its store.
    pub(crate) age: Duration,
    /// Which child it is.
    pub(crate) life: u64,
    pub(crate) usage: Usage,
    /// Bytes of the store's folder.
    pub(crate) disk: u64,
    pub(crate) figures: Figures,
}

/// Latencies in microseconds.
#[derive(Clone, Debug)]
pub(crate) struct Latency {
    all: Histogram<u64>,
    minute: Histogram<u64>,
    /// For each minute: its end, and the 99.9th percentile.
    pub(crate) by_minute: Vec<(Duration, u64)>,
    /// Left out: a stop or a restart came in between.
    pub(crate) disturbed: u64,
}

impl Latency {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            all: Histogram::new_with_bounds(1, HOUR_MICROS, 3)?,
            minute: Histogram::new_with_bounds(1, HOUR_MICROS, 3)?,
            by_minute: Vec::new(),
            disturbed: 0,
        })
    }

    pub(crate) fn record(&mut self, micros: u64) {
        self.all.saturating_record(micros.max(1));
        self.minute.saturating_record(micros.max(1));
    }

    pub(crate) fn end_minute(&mut self, at: Duration) {
        if !self.minute.is_empty() {
            let value = self.minute.value_at_quantile(0.999);
            self.by_minute.push((at, value));
            self.minute.reset();
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.all.len()
    }

    /// In milliseconds.
    pub(crate) fn quantile_ms(&self, quantile: f64) -> f64 {
        ms(self.all.value_at_quantile(quantile))
    }

    pub(crate) fn max_ms(&self) -> f64 {
        ms(self.all.max())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
pub(crate) const fn float(number: u64) -> f64 {
    number as f64
}

pub(crate) const fn ms(micros: u64) -> f64 {
    float(micros) / 1_000.0
}

/// Slope of the straight line through the points, per unit of the first coordinate; `None` for fewer than three.
pub(crate) fn slope(points: &[(f64, f64)]) -> Option<f64> {
    if points.len() < 3 {
        return None;
    }
    let len = float(points.len() as u64);
    let (sum_x, sum_y) = points
        .iter()
        .fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
    let (mean_x, mean_y) = (sum_x / len, sum_y / len);
    let (mut above, mut below) = (0.0, 0.0);
    for (x, y) in points {
        above += (x - mean_x) * (y - mean_y);
        below += (x - mean_x) * (x - mean_x);
    }
    (below > 0.0).then(|| above / below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_straight_line_has_its_slope_and_two_points_have_none() {
        let line: Vec<(f64, f64)> = (0..10)
            .map(|x| (f64::from(x), 3.0 * f64::from(x)))
            .collect();
        assert!((slope(&line).unwrap() - 3.0).abs() < 1e-9);
        assert_eq!(slope(&[(0.0, 1.0), (1.0, 2.0)]), None);
        assert_eq!(slope(&[(1.0, 1.0); 5]), None);
    }
}
