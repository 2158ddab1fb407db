//! Statistics as Prometheus text, format 0.0.4.
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats/>.
//!
//! Invariants: every metric of the list is written with its help and type, whether it has a series or not; names and labels
//! are those of the list; a label never has more values than its cap: what is beyond goes by the name of `_other`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Write};
use std::time::Duration;

use mq_core::histogram::Distribution;
use mq_core::state::Outcome;
use mq_core::view::{DeadCount, QueueStats, StateKind};
use mq_dispatch::PoolStats;

use crate::health::HealthCheck;
use crate::metrics::{self, Kind, Metric};
use crate::stats::Stats;

/// Queues that are told apart.
const QUEUES_MAX: usize = 200;
/// Kinds that are told apart.
const KINDS_MAX: usize = 500;
/// The rest.
const OTHER: &str = "_other";
/// Bounds of run and wait times, in microseconds: those of the conventions, and longer ones for jobs that take hours.
pub(crate) const TIMES: [u64; 19] = [
    5_000,
    10_000,
    25_000,
    50_000,
    75_000,
    100_000,
    250_000,
    500_000,
    750_000,
    1_000_000,
    2_500_000,
    5_000_000,
    7_500_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    900_000_000,
    3_600_000_000,
];
/// Bounds of what the disk does, in microseconds.
pub(crate) const DISK_TIMES: [u64; 15] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_000_000, 4_000_000,
];
/// Bounds of plain numbers.
pub(crate) const NUMBERS: [u64; 12] = [1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1_000, 10_000];
const OUTCOMES: [Outcome; 9] = [
    Outcome::Succeeded,
    Outcome::Failed,
    Outcome::Snoozed,
    Outcome::Interrupted,
    Outcome::Cancelled,
    Outcome::LeaseExpired,
    Outcome::Crashed,
    Outcome::Discarded,
    Outcome::DeadLettered,
];

/// One series of a metric at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// A whole number.
    Count(u64),
    /// Any other.
    Real(f64),
    /// Values by size.
    Histogram(Distribution, &'static [u64]),
}

/// What one metric says: its series, by the values of its labels.
pub(crate) type Series = Vec<(Vec<String>, Value)>;

impl Stats {
    /// The statistics as Prometheus text (format 0.0.4; serve it as `text/plain; version=0.0.4`). The names are those of
    /// docs/metrics.md. At most 200 queues and 500 kinds are told apart; the rest goes by the name of `_other`.
    ///
    /// ```
    /// # let engine = mq::Engine::in_memory().open_wait()?;
    /// let text = engine.stats().to_prometheus();
    /// assert!(text.contains("messaging_client_sent_messages_total 0\n"));
    /// # Ok::<(), mq::OpenError>(())
    /// ```
    #[must_use]
    pub fn to_prometheus(&self) -> String {
        let mut text = String::new();
        for (metric, series) in self.series() {
            let written = write_metric(&mut text, metric, &series);
            debug_assert!(written.is_ok(), "a string takes everything");
        }
        text
    }

    /// Each metric with its series, in the order of the list.
    pub(crate) fn series(&self) -> Vec<(&'static Metric, Series)> {
        let mut found: BTreeMap<&'static str, Series> = BTreeMap::new();
        let mut put = |metric: Metric, series: Series| {
            found.entry(metric.name).or_default().extend(series);
        };
        self.messages(&mut put);
        self.queues(&mut put);
        self.workers(&mut put);
        self.room(&mut put);
        self.disk(&mut put);
        let all = metrics::ALL.iter().copied();
        all.map(|metric| (metric, found.remove(metric.name).unwrap_or_default()))
            .collect()
    }

    fn messages(&self, put: &mut impl FnMut(Metric, Series)) {
        let store = &self.store;
        put(metrics::SENT, one(store.enqueued));
        put(metrics::CONSUMED, one(store.checked_out));
        let outcomes = OUTCOMES.iter().zip(store.outcomes);
        let outcomes = outcomes.map(|(outcome, count)| labelled([outcome.as_str()], count));
        put(metrics::OUTCOMES, outcomes.collect());
        put(metrics::DUPLICATES, one(store.duplicates));
        let [_, _, _, _, _, expired, ..] = store.outcomes;
        put(metrics::EXTENSIONS, one(store.extended));
        put(metrics::EXPIRATIONS, one(expired));
        put(metrics::LOST_ACKS, one(store.stale));
        put(metrics::DEAD, one(self.dead.total));
        put(metrics::DEAD_BY, dead_by(&store.dead_counts));
        put(metrics::DEAD_AGE, seconds(self.dead.oldest));
        put(metrics::DIED, one(store.died));
        put(metrics::REPLAYED, one(store.replayed));
    }

    fn queues(&self, put: &mut impl FnMut(Metric, Series)) {
        let mut other: Option<QueueStats> = None;
        for (index, (name, queue)) in self.store.queues.iter().enumerate() {
            if index < QUEUES_MAX {
                put_queue(name.as_str(), queue, put);
                let paused = if queue.paused { "true" } else { "false" };
                put(metrics::QUEUE, vec![labelled([name.as_str(), paused], 1)]);
            } else {
                add_queue(other.get_or_insert_default(), queue);
            }
        }
        if let Some(other) = other {
            put_queue(OTHER, &other, put);
        }
    }

    fn workers(&self, put: &mut impl FnMut(Metric, Series)) {
        for (kind, pool) in by_kind(&self.pools) {
            let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
            let times = |it: &Distribution| Value::Histogram(it.clone(), &TIMES);
            let series = |value: Value| vec![(vec![kind.clone()], value)];
            put(metrics::PROCESS, series(times(&pool.runs)));
            put(metrics::WAIT, series(times(&pool.waits)));
            let attempts = Value::Histogram(pool.attempts.clone(), &NUMBERS);
            put(metrics::ATTEMPTS, series(attempts));
            put(metrics::LIMIT, series(Value::Count(pool.limit.into())));
            put(metrics::USAGE, series(Value::Count(count(pool.running))));
            put(metrics::STUCK, series(Value::Count(count(pool.stuck))));
            let running = u32::try_from(pool.running).unwrap_or(u32::MAX);
            let utilization = f64::from(running) / f64::from(pool.limit.max(1));
            put(metrics::UTILIZATION, series(Value::Real(utilization)));
        }
    }

    fn room(&self, put: &mut impl FnMut(Metric, Series)) {
        let reasons = self.refused.iter();
        let reasons = reasons.map(|(reason, count)| labelled([reason.as_str()], *count));
        put(metrics::REJECTED, reasons.collect());
        put(metrics::WAITING, one(self.waiting_for_room));
        put(metrics::LIVE, one(self.store.live_messages));
        put(metrics::LIVE_LIMIT, one(self.capacity.messages_max()));
        put(metrics::SIZE, one(self.store.live_bytes));
        put(metrics::SIZE_LIMIT, one(self.capacity.bytes_max()));
        put(metrics::KEYS, one(self.store.keys));
        put(metrics::SUSPECTS, one(self.store.suspects));
        put(metrics::BACKWARD_JUMPS, one(self.clock_jumps_backward));
        put(metrics::JUMPS, one(self.clock_jumps));
        let watched = [
            HealthCheck::Unserved,
            HealthCheck::NotTaken,
            HealthCheck::WorkersStuck,
            HealthCheck::Undecodable,
        ];
        let alarms = watched.map(|check| {
            let raised = self.alarms.iter().filter(|alarm| alarm.check == check);
            let raised = u64::try_from(raised.count()).unwrap_or(u64::MAX);
            labelled([check.as_str()], raised)
        });
        put(metrics::ALARMS, alarms.to_vec());
        let version = env!("CARGO_PKG_VERSION");
        put(metrics::BUILD, vec![labelled([version], 1)]);
    }

    fn disk(&self, put: &mut impl FnMut(Metric, Series)) {
        put(metrics::RECOVERY, seconds(Some(self.recovery)));
        if let Some(journal) = &self.journal {
            let times = |it: &Distribution| Value::Histogram(it.clone(), &DISK_TIMES);
            put(metrics::FSYNC, alone(times(&journal.syncs)));
            put(metrics::APPEND, alone(times(&journal.appends)));
            let snapshots = Value::Histogram(journal.snapshots.clone(), &TIMES);
            put(metrics::SNAPSHOT, alone(snapshots));
            let batches = Value::Histogram(journal.batches.clone(), &NUMBERS);
            put(metrics::BATCH, alone(batches));
            put(metrics::LAG, one(journal.lag));
            put(metrics::JOURNAL, one(journal.size));
            let segments = u64::try_from(journal.segments).unwrap_or(u64::MAX);
            put(metrics::SEGMENTS, one(segments));
            put(metrics::SINCE_SNAPSHOT, one(journal.since_snapshot));
            put(metrics::STARVED, one(journal.starved));
            put(metrics::SNAPSHOT_AGE, seconds(journal.snapshot_age));
        }
        if let Some(disk) = self.disk {
            put(metrics::FREE, disk.free.map(one).unwrap_or_default());
            put(metrics::DISK_LIMIT, one(disk.limit));
            put(metrics::FULL_IN, seconds(disk.full_in));
            put(metrics::REFUSES, one(disk.refuses.into()));
        }
    }
}

/// By kind and reason, the queues together; kinds beyond the cap as one.
fn dead_by(counts: &[DeadCount]) -> Series {
    let mut sums: BTreeMap<(&str, &'static str), u64> = BTreeMap::new();
    let mut kinds = BTreeSet::new();
    for dead in counts {
        let kind = dead.kind.as_str();
        if kinds.len() < KINDS_MAX {
            kinds.insert(kind);
        }
        let shown = if kinds.contains(kind) { kind } else { OTHER };
        *sums.entry((shown, dead.reason.as_str())).or_default() += dead.count;
    }
    let sums = sums.into_iter();
    sums.map(|((kind, reason), count)| labelled([kind, reason], count))
        .collect()
}

fn put_queue(name: &str, queue: &QueueStats, put: &mut impl FnMut(Metric, Series)) {
    let states = StateKind::ALL.iter().zip(queue.by_state);
    let depths = states.map(|(state, count)| labelled([name, state.as_str()], count));
    put(metrics::DEPTH, depths.collect());
    let age = queue.oldest_ready.unwrap_or_default().as_secs_f64();
    put(
        metrics::OLDEST,
        vec![(vec![name.to_owned()], Value::Real(age))],
    );
}

fn add_queue(sum: &mut QueueStats, queue: &QueueStats) {
    for (count, more) in sum.by_state.iter_mut().zip(queue.by_state) {
        *count += more;
    }
    sum.oldest_ready = sum.oldest_ready.max(queue.oldest_ready);
}

/// Pools of one kind in several sets of workers together, and those beyond the cap as one.
fn by_kind(pools: &[PoolStats]) -> BTreeMap<String, PoolStats> {
    let mut kinds: BTreeMap<String, PoolStats> = BTreeMap::new();
    for pool in pools {
        let name = if kinds.len() < KINDS_MAX || kinds.contains_key(&pool.kind) {
            pool.kind.as_str()
        } else {
            OTHER
        };
        match kinds.get_mut(name) {
            Some(sum) => {
                sum.limit = sum.limit.saturating_add(pool.limit);
                sum.running += pool.running;
                sum.stuck += pool.stuck;
                sum.waits.add(&pool.waits);
                sum.runs.add(&pool.runs);
                sum.attempts.add(&pool.attempts);
            }
            None => drop(kinds.insert(name.to_owned(), pool.clone())),
        }
    }
    kinds
}

fn one(count: u64) -> Series {
    alone(Value::Count(count))
}

fn real(number: f64) -> Series {
    alone(Value::Real(number))
}

fn seconds(time: Option<Duration>) -> Series {
    time.map(|time| real(time.as_secs_f64()))
        .unwrap_or_default()
}

fn alone(value: Value) -> Series {
    vec![(Vec::new(), value)]
}

fn labelled<const N: usize>(labels: [&str; N], count: u64) -> (Vec<String>, Value) {
    (labels.map(str::to_owned).to_vec(), Value::Count(count))
}

fn write_metric(text: &mut String, metric: &Metric, series: &Series) -> std::fmt::Result {
    let name = metric.prometheus_name();
    let kind = match metric.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    writeln!(text, "# HELP {name} {}", metric.help)?;
    writeln!(text, "# TYPE {name} {kind}")?;
    for (values, value) in series {
        let labels: Vec<(&str, &str)> = metric
            .labels
            .iter()
            .copied()
            .zip(values.iter().map(String::as_str))
            .collect();
        match value {
            Value::Count(count) => write_line(text, &name, &labels, count)?,
            Value::Real(number) => write_line(text, &name, &labels, number)?,
            Value::Histogram(distribution, bounds) => {
                let scale = if metric.unit == "s" { 1e6 } else { 1.0 };
                write_histogram(text, &name, &labels, (distribution, bounds, scale))?;
            }
        }
    }
    Ok(())
}

fn write_histogram(
    text: &mut String,
    name: &str,
    labels: &[(&str, &str)],
    (distribution, bounds, scale): (&Distribution, &[u64], f64),
) -> std::fmt::Result {
    let bucket = format!("{name}_bucket");
    let scaled = |number: u64| approximate(number) / scale;
    for bound in bounds {
        let limit = scaled(*bound).to_string();
        let with_bound: Vec<_> = labels.iter().copied().chain([("le", &*limit)]).collect();
        write_line(text, &bucket, &with_bound, distribution.count_up_to(*bound))?;
    }
    let all: Vec<_> = labels.iter().copied().chain([("le", "+Inf")]).collect();
    let count = distribution.count();
    write_line(text, &bucket, &all, count)?;
    let sum = scaled(distribution.sum());
    write_line(text, &format!("{name}_sum"), labels, sum)?;
    write_line(text, &format!("{name}_count"), labels, count)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus numbers are 64-bit floats: beyond 2⁵³ the last digits do not matter"
)]
const fn approximate(number: u64) -> f64 {
    number as f64
}

fn write_line(
    text: &mut String,
    name: &str,
    labels: &[(&str, &str)],
    value: impl Display,
) -> std::fmt::Result {
    text.push_str(name);
    for (index, (label, value)) in labels.iter().enumerate() {
        let before = if index == 0 { '{' } else { ',' };
        write!(text, "{before}{label}=\"")?;
        for character in value.chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                other => text.push(other),
            }
        }
        text.push('"');
    }
    if !labels.is_empty() {
        text.push('}');
    }
    writeln!(text, " {value}")
}

#[cfg(test)]
mod tests;
