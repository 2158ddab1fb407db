//! What an engine shows of itself: what was measured on its way, and what its disk held when it was last looked at.
//!
//! Invariant: nothing here decides anything. Whoever works only counts (`Relaxed`: each counter is a number of its own);
//! whoever looks adds up.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use mq_core::time::Now;
use mq_persistence::holdings::Holdings;
use parking_lot::Mutex;

use super::desk::Desk;
use super::measure::Measure;
use super::shell::Shell;
use super::watch::{View, Watch};
use crate::events::Taps;
use crate::options::{Limit, Options};
use crate::stats::{Refusal, Sample, Trends};

/// See the head of this file.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    /// Where the store is, if it is in a real folder.
    pub(crate) folder: OnceLock<PathBuf>,
    /// What the store takes.
    pub(crate) capacity: Limit,
    /// The budget of dead letters in bytes.
    pub(crate) dead_bytes: u64,
    /// How long opening took.
    pub(crate) recovery: Duration,
    /// Syncs of the journal.
    pub(crate) sync: Measure,
    /// Writes of frames.
    pub(crate) append: Measure,
    /// Events in each frame.
    pub(crate) batch: Measure,
    /// Snapshots.
    pub(crate) snapshot: Measure,
    /// Bytes written and not synced.
    pub(crate) lag: AtomicU64,
    /// When the write or sync that runs began, in microseconds of the monotonic clock plus one; 0 if none runs.
    busy_since: AtomicU64,
    /// Who listens.
    pub(crate) taps: Taps,
    /// How traces belong together.
    #[cfg(feature = "otel")]
    pub(crate) trace: crate::otel::TraceMode,
    /// How long enqueues took.
    #[cfg(feature = "otel")]
    pub(crate) enqueues: crate::otel::Durations,
    refused: [AtomicU64; Refusal::ALL.len()],
    /// What the disk held at the last look; `None` in memory.
    pub(crate) holdings: Mutex<Option<Holdings>>,
    /// How the counters moved.
    pub(crate) trends: Mutex<Trends>,
    /// What the watchdog has noticed.
    pub(crate) watch: Mutex<Watch>,
}

impl Sight {
    pub(crate) fn new(options: &Options, recovery: Duration) -> Self {
        Self {
            folder: OnceLock::new(),
            capacity: options.capacity,
            dead_bytes: options.dead_bytes,
            #[cfg(feature = "otel")]
            trace: options.trace,
            recovery,
            ..Self::default()
        }
    }

    /// An enqueue was refused.
    pub(crate) fn count_refusal(&self, refusal: Refusal) {
        if let Some(counter) = self.refused.get(refusal as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// How many enqueues were refused, by reason.
    pub(crate) fn refusals(&self) -> Vec<(Refusal, u64)> {
        let counts = self.refused.iter().map(|count| count.load(Relaxed));
        Refusal::ALL.into_iter().zip(counts).collect()
    }

    /// The disk is asked for something at `now`.
    pub(crate) fn begin_disk(&self, now: Duration) {
        self.busy_since.store(micros(now) + 1, Relaxed);
    }

    /// It has answered.
    pub(crate) fn end_disk(&self) {
        self.busy_since.store(0, Relaxed);
    }

    /// How long the disk has not answered, at `now`; `None` while nothing is asked.
    pub(crate) fn disk_silent_for(&self, now: Duration) -> Option<Duration> {
        let since = self.busy_since.load(Relaxed).checked_sub(1)?;
        Some(now.saturating_sub(Duration::from_micros(since)))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX - 1)
}

impl Shell {
    /// Does something and counts how long it took.
    pub(super) fn stopwatch<T>(&self, histogram: &Measure, work: impl FnOnce() -> T) -> T {
        let began = self.clock().monotonic();
        let answer = work();
        histogram.record(self.clock().monotonic().saturating_sub(began));
        answer
    }

    /// Asks the disk for something, and counts how long it took.
    pub(super) fn timed<T>(&self, histogram: Option<&Measure>, ask: impl FnOnce() -> T) -> T {
        let began = self.clock().monotonic();
        self.sight.begin_disk(began);
        let answer = ask();
        self.sight.end_disk();
        if let Some(histogram) = histogram {
            histogram.record(self.clock().monotonic().saturating_sub(began));
        }
        answer
    }

    /// Keeps what the disk holds for whoever asks later.
    pub(super) fn note_holdings(&self, holdings: Holdings) {
        *self.sight.holdings.lock() = Some(holdings);
    }

    /// Takes a sample of the counters when it is time for one, and lets the watchdog look.
    pub(super) fn sample(&self) {
        let now = self.clock().monotonic();
        if !self.sight.trends.lock().is_due(now) {
            return;
        }
        let holdings = *self.sight.holdings.lock();
        let free = holdings.and_then(|holdings| holdings.free);
        let look =
            |desk: &mut Desk, now: &Now| (desk.manager.stats(now), desk.manager.could_grant());
        let (stats, could_grant) = self.look(look);
        let sample = Sample::of(now, &stats, free);
        self.sight.trends.lock().add(sample);
        let illnesses = self.roster.health().err().map(|it| it.illnesses);
        self.sight.watch.lock().look(View {
            now,
            stats: &stats,
            could_grant,
            illnesses: illnesses.unwrap_or_default(),
        });
    }
}
