//! What a workload took, as the kernel tells it: processor time, memory, and what its disk wrote.
//!
//! Nothing here asks the engine. Processor time is the process's own clock (all threads, user and system), memory is `VmRSS`
//! and `VmHWM`. `write_bytes` of `/proc/self/io` is not used: where files have large folios, it counts a whole folio, up to
//! 2 MiB, for each small write. What the disk wrote is told by the disk, for everybody who uses it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use rustix::fs::{major, minor};
use rustix::time::{ClockId, clock_gettime};

/// What the process has used so far.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    cpu: Duration,
}

/// What a stretch of work used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    /// Processor time of all threads.
    pub cpu: Duration,
    /// The largest resident size of the process in bytes, whenever it was.
    pub peak_memory: u64,
}

impl Reading {
    /// Reads the clocks and counters.
    ///
    /// # Errors
    /// `/proc` is not there or not as expected.
    pub fn now() -> anyhow::Result<Self> {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let seconds = u64::try_from(cpu.tv_sec).context("processor time is negative")?;
        let nanos = u32::try_from(cpu.tv_nsec).context("processor time is negative")?;
        Ok(Self {
            cpu: Duration::new(seconds, nanos),
        })
    }

    /// What was used since.
    ///
    /// # Errors
    /// `/proc` is not there or not as expected.
    pub fn used(&self) -> anyhow::Result<Used> {
        let now = Self::now()?;
        Ok(Used {
            cpu: now.cpu.saturating_sub(self.cpu),
            peak_memory: peak_memory()?,
        })
    }
}

/// Resident bytes of this process now.
///
/// # Errors
/// `/proc` is not there or not as expected.
pub fn resident_memory() -> anyhow::Result<u64> {
    Ok(number_in("/proc/self/status", "VmRSS:")? * 1024)
}

/// The most resident bytes this process had since it began or since [`forget_peak_memory`].
///
/// # Errors
/// `/proc` is not there or not as expected.
pub fn peak_memory() -> anyhow::Result<u64> {
    Ok(number_in("/proc/self/status", "VmHWM:")? * 1024)
}

/// Lets [`peak_memory`] count from now on.
///
/// # Errors
/// The kernel does not offer it.
pub fn forget_peak_memory() -> anyhow::Result<()> {
    std::fs::write("/proc/self/clear_refs", "5").context("cannot reset VmHWM")
}

/// Bytes that the disk under `folder` has written since the machine started, for whomever; `None` where it is not told.
#[must_use]
pub fn written_by_disk(folder: &Path) -> Option<u64> {
    let device = std::fs::metadata(folder).ok()?.dev();
    let file = format!("/sys/dev/block/{}:{}/stat", major(device), minor(device));
    let text = std::fs::read_to_string(file).ok()?;
    let sectors: u64 = text.split_whitespace().nth(6)?.parse().ok()?;
    Some(sectors * 512)
}

fn number_in(file: &str, name: &str) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    let value = value.with_context(|| format!("no {name} in {file}"))?;
    let digits = value.trim().trim_end_matches("kB").trim();
    digits
        .parse()
        .with_context(|| format!("{name} in {file} is {digits:?}"))
}
