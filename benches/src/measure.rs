//! One stretch of load: what was done in it, what it cost, and the median of several.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use mq::environment::SystemClock;
use mq_core::time::Clock;

use crate::counting::{Counted, Counts};
use crate::instruments::{Reading, Used};
use crate::latency::{Latency, Recorder};
use crate::plan::Plan;

/// What was done in a stretch of load, and what it cost.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Messages that were answered, or jobs that were done.
    pub messages: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// Processor time, bytes, memory.
    pub used: Used,
    /// Syncs and bytes as they left the engine.
    pub counted: Counted,
    /// How long each took for its caller.
    pub latency: Option<Latency>,
}

impl Run {
    /// Messages in a second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    pub fn rate(&self) -> f64 {
        self.messages as f64 / self.elapsed.as_secs_f64()
    }

    /// Both together; `later` was recorded into the same histogram.
    #[must_use]
    pub fn and(mut self, later: &Self) -> Self {
        self.messages += later.messages;
        self.elapsed += later.elapsed;
        self.used.cpu += later.used.cpu;
        self.used.peak_memory = later.used.peak_memory;
        self.counted.syncs += later.counted.syncs;
        self.counted.written += later.counted.written;
        self.counted.zeros += later.counted.zeros;
        self.latency = later.latency;
        self
    }
}

/// A stretch of load that goes on.
#[derive(Debug)]
pub struct Meter {
    clock: SystemClock,
    reading: Reading,
    counts: Arc<Counts>,
    counted: Counted,
}

impl Meter {
    /// Begins now; `counts` are those of the store's disk.
    ///
    /// # Errors
    /// `/proc` is not there.
    pub fn start(counts: &Arc<Counts>) -> anyhow::Result<Self> {
        Ok(Self {
            counted: counts.read(),
            counts: Arc::clone(counts),
            reading: Reading::now()?,
            clock: SystemClock::start(),
        })
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.clock.monotonic()
    }

    /// The clock that began with it.
    #[must_use]
    pub const fn clock(&self) -> SystemClock {
        self.clock
    }

    /// Ends it.
    ///
    /// # Errors
    /// `/proc` is not there.
    pub fn finish(&self, messages: u64, latency: Option<&Recorder>) -> anyhow::Result<Run> {
        Ok(Run {
            messages,
            elapsed: self.clock.monotonic(),
            used: self.reading.used()?,
            counted: self.counts.read().since(self.counted),
            latency: latency.map(Recorder::summary),
        })
    }
}

/// Repeats a workload, each time on a new store, and takes the run in the middle.
///
/// # Errors
/// What the workload says.
pub fn repeated(
    plan: &Plan,
    workload: impl Fn(&Path) -> anyhow::Result<Run>,
) -> anyhow::Result<Run> {
    let mut runs = Vec::new();
    for run in 0..plan.runs {
        let store = plan.store(&format!("store-{run}"));
        runs.push(workload(&store)?);
        forget_store(&store)?;
    }
    middle(runs, Run::rate).context("no run was asked for")
}

/// Removes a store, if there is one.
///
/// # Errors
/// What the file system says.
pub fn forget_store(store: &Path) -> anyhow::Result<()> {
    if store.exists() {
        std::fs::remove_dir_all(store).context("cannot remove the store")?;
    }
    Ok(())
}

/// The one in the middle; of an even number, the lower middle.
pub fn middle<T>(mut values: Vec<T>, of: impl Fn(&T) -> f64) -> Option<T> {
    values.sort_by(|left, right| of(left).total_cmp(&of(right)));
    let middle = values.len().checked_sub(1)? / 2;
    Some(values.swap_remove(middle))
}
