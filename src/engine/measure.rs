//! A histogram of the engine's own, which a meter of OpenTelemetry can listen to.
//!
//! Recording costs a few atomic adds; a meter that listens costs what its SDK takes.

use std::time::Duration;

use mq_core::histogram::{Distribution, Histogram};

/// Counts values by size.
#[derive(Debug, Default)]
pub(crate) struct Measure {
    own: Histogram,
    #[cfg(feature = "otel")]
    meter: std::sync::OnceLock<opentelemetry::metrics::Histogram<f64>>,
}

impl Measure {
    /// Counts a time.
    pub(crate) fn record(&self, time: Duration) {
        self.own.record(time);
        #[cfg(feature = "otel")]
        if let Some(meter) = self.meter.get() {
            meter.record(time.as_secs_f64(), &[]);
        }
    }

    /// Counts a number of things.
    pub(crate) fn record_number(&self, number: u32) {
        self.own.record_number(u64::from(number));
        #[cfg(feature = "otel")]
        if let Some(meter) = self.meter.get() {
            meter.record(f64::from(number), &[]);
        }
    }

    /// What was counted.
    pub(crate) fn read(&self) -> Distribution {
        self.own.read()
    }

    /// Lets a meter listen from now on; the first one does.
    #[cfg(feature = "otel")]
    pub(crate) fn listen(&self, meter: opentelemetry::metrics::Histogram<f64>) {
        drop(self.meter.set(meter));
    }
}
