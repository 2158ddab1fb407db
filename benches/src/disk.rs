//! The yardstick: what the disk itself does, one caller, one write and one sync at a time, and what a folder holds.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use mq::environment::SystemClock;
use mq_core::time::Clock;
use rustix::fs::{Advice, fadvise};

use crate::latency::{Latency, Recorder};

/// Bytes of the file that is written over and over: already allocated, like a recycled segment.
const FILE_SIZE: usize = 4 << 20;

/// A file to be written over and synced.
#[derive(Debug)]
pub struct RawFile {
    path: PathBuf,
    file: File,
    bytes: Vec<u8>,
    slot: u64,
    clock: SystemClock,
}

/// What writes and syncs of a raw file did.
#[derive(Clone, Copy, Debug)]
pub struct RawRate {
    /// Syncs in a second.
    pub per_second: f64,
    /// How long a write with its sync took.
    pub latency: Latency,
}

impl RawFile {
    /// A file in `folder` for writes of `size` bytes.
    ///
    /// # Errors
    /// What the disk says.
    pub fn create(folder: &Path, size: usize) -> anyhow::Result<Self> {
        let path = folder.join("raw");
        let file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .open(&path)
            .context("cannot create the raw file")?;
        file.write_all_at(&vec![0x5a; FILE_SIZE], 0)?;
        file.sync_all().context("cannot sync the raw file")?;
        Ok(Self {
            path,
            file,
            bytes: vec![0xa5; size],
            slot: 0,
            clock: SystemClock::start(),
        })
    }

    /// One write and its sync; how long it took.
    ///
    /// # Errors
    /// What the disk says.
    pub fn write_and_sync(&mut self) -> anyhow::Result<Duration> {
        let size = self.bytes.len() as u64;
        let slots = (FILE_SIZE as u64 / size.max(1)).max(1);
        let began = self.clock.monotonic();
        self.file
            .write_all_at(&self.bytes, self.slot % slots * size)?;
        self.file.sync_data()?;
        self.slot += 1;
        Ok(self.clock.monotonic().saturating_sub(began))
    }
}

impl Drop for RawFile {
    fn drop(&mut self) {
        // The folder is removed as a whole in the end.
        drop(std::fs::remove_file(&self.path));
    }
}

/// `pwrite` + `fdatasync` of `size` bytes, again and again, for about `time`.
///
/// # Errors
/// What the disk says.
pub fn raw_rate(folder: &Path, size: usize, time: Duration) -> anyhow::Result<RawRate> {
    let mut file = RawFile::create(folder, size)?;
    let recorder = Recorder::new()?;
    let clock = SystemClock::start();
    let mut count = 0_u32;
    while clock.monotonic() < time {
        recorder.record(file.write_and_sync()?);
        count += 1;
    }
    Ok(RawRate {
        per_second: f64::from(count) / clock.monotonic().as_secs_f64(),
        latency: recorder.summary(),
    })
}

/// Bytes that the files of a folder take on the disk.
///
/// # Errors
/// What the file system says.
pub fn allocated(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        bytes += entry?.metadata()?.blocks() * 512;
    }
    Ok(bytes)
}

/// Drops what the page cache holds of a folder's files, so that the next read comes from the disk. What is not synced yet
/// stays.
///
/// # Errors
/// What the file system says.
pub fn forget_cached(folder: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() {
            fadvise(File::open(&path)?, 0, None, Advice::DontNeed)?;
        }
    }
    Ok(())
}

/// Bytes that can still be written to the file system of `folder`.
///
/// # Errors
/// What the file system says.
pub fn free_bytes(folder: &Path) -> anyhow::Result<u64> {
    let facts = rustix::fs::statvfs(folder)?;
    Ok(facts.f_bavail * facts.f_frsize)
}
