//! One stretch of load: what was done in it, what it cost, and the median of several.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use mq::environment::SystemClock;
use mq_core::time::Clock;

use crate::counting::{Counted, Counts};
use crate::disk::{self, RawRate};
use crate::instruments::{Reading, Used};
use crate::latency::{Latency, Recorder};
use crate::plan::Plan;

/// Bytes of a write of the yardstick: a message of 256 bytes with its frame and its record.
const RAW_WRITE_SIZE: usize = 512;

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
    Ok(beside_disk(plan, Duration::ZERO, workload)?.0)
}

/// As [`repeated`], with the raw disk measured for `raw` before each run.
///
/// # Errors
/// What the workload or the disk says.
pub fn beside_disk(
    plan: &Plan,
    raw: Duration,
    workload: impl Fn(&Path) -> anyhow::Result<Run>,
) -> anyhow::Result<(Run, Option<RawRate>)> {
    let (mut runs, mut yardsticks) = (Vec::new(), Vec::new());
    for run in 0..plan.runs {
        if !raw.is_zero() {
            yardsticks.push(disk::raw_rate(&plan.folder, RAW_WRITE_SIZE, raw)?);
        }
        let store = plan.store(&format!("store-{run}"));
        runs.push(workload(&store)?);
        forget_store(&store)?;
    }
    let run = middle(runs, Run::rate).context("no run was asked for")?;
    Ok((run, middle(yardsticks, |rate| rate.per_second)))
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
