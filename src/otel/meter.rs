//! The numbers of `Engine::stats` as observable instruments: read when the exporter asks, and not before.

use std::sync::{Arc, Weak};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use parking_lot::Mutex;

use crate::engine::{Engine, Shell, Sight};
use crate::metrics::{self, Kind, Metric};
use crate::prometheus::{DISK_TIMES, NUMBERS, Series, TIMES, Value};

/// One export asks each instrument: they share what was read within this time.
const SHARED_FOR: Duration = Duration::from_millis(100);

type Read = Arc<Vec<(&'static Metric, Series)>>;

/// What was read last.
struct Reader {
    shell: Weak<Shell>,
    last: Mutex<Option<(Duration, Read)>>,
}

impl Reader {
    fn read(&self) -> Option<Read> {
        let shell = self.shell.upgrade()?;
        let now = shell.clock().monotonic();
        let mut last = self.last.lock();
        if let Some((at, read)) = &*last
            && now.saturating_sub(*at) < SHARED_FOR
        {
            return Some(Arc::clone(read));
        }
        let read = Arc::new(shell.stats().series());
        *last = Some((now, Arc::clone(&read)));
        Some(read)
    }

    /// The numbers of one metric, with their labels.
    fn each(&self, metric: &Metric, mut see: impl FnMut(f64, u64, &[KeyValue])) {
        let read = self.read();
        let series = read.iter().flat_map(|read| read.iter());
        let mine = series.filter(|(known, _)| known.name == metric.name);
        for (labels, value) in mine.flat_map(|(_, series)| series) {
            let names = metric.labels.iter().copied();
            let labels: Vec<KeyValue> = names
                .zip(labels)
                .map(|(name, value)| KeyValue::new(name, value.clone()))
                .collect();
            match value {
                Value::Count(count) => see(whole(*count), *count, &labels),
                Value::Real(number) => see(*number, 0, &labels),
                Value::Histogram(..) => {}
            }
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "beyond 2⁵³ the last digits of a gauge do not matter"
)]
const fn whole(count: u64) -> f64 {
    count as f64
}

/// Gives the engine's counters and gauges to a meter, under the names of docs/metrics.md. Call it once for each engine. The
/// meter keeps no engine open: when that is closed, its numbers end.
///
/// What the disk does (syncs, writes, batches, snapshots) reaches the meter as histograms from this call on; of several
/// meters the first has them. Run and wait times of handlers and the durations of enqueues are histograms of the global meter
/// without this call.
pub fn metrics(engine: &Engine, meter: &Meter) {
    let reader = Arc::new(Reader {
        shell: engine.weak_shell(),
        last: Mutex::new(None),
    });
    if let Some(shell) = reader.shell.upgrade() {
        listen(&shell.sight, meter);
    }
    for metric in metrics::ALL.iter().copied() {
        let reader = Arc::clone(&reader);
        match metric.kind {
            Kind::Counter => drop(
                meter
                    .u64_observable_counter(metric.name)
                    .with_unit(metric.unit)
                    .with_description(metric.help)
                    .with_callback(move |it| {
                        reader.each(metric, |_, count, labels| it.observe(count, labels));
                    })
                    .build(),
            ),
            Kind::Gauge => drop(
                meter
                    .f64_observable_gauge(metric.name)
                    .with_unit(metric.unit)
                    .with_description(metric.help)
                    .with_callback(move |it| {
                        reader.each(metric, |number, _, labels| it.observe(number, labels));
                    })
                    .build(),
            ),
            Kind::Histogram => {}
        }
    }
}

/// What the disk does, for this meter.
fn listen(sight: &Sight, meter: &Meter) {
    for (measure, metric, bounds) in [
        (&sight.sync, metrics::FSYNC, &DISK_TIMES[..]),
        (&sight.append, metrics::APPEND, &DISK_TIMES[..]),
        (&sight.batch, metrics::BATCH, &NUMBERS[..]),
        (&sight.snapshot, metrics::SNAPSHOT, &TIMES[..]),
    ] {
        let scale = if metric.unit == "s" { 1e6 } else { 1.0 };
        let bounds = bounds.iter().map(|bound| whole(*bound) / scale);
        let histogram = meter
            .f64_histogram(metric.name)
            .with_unit(metric.unit)
            .with_description(metric.help)
            .with_boundaries(bounds.collect());
        measure.listen(histogram.build());
    }
}
