//! The yardstick: what the disk itself does, one caller, one write and one sync at a time.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use mq::environment::SystemClock;
use mq_core::time::Clock;

/// Bytes of the file that is written over and over: already allocated, like a recycled segment.
const FILE_SIZE: usize = 4 << 20;

/// `pwrite` + `fdatasync` of `size` bytes per second, for about `time`.
///
/// # Errors
/// What the disk says.
pub fn syncs_per_second(folder: &Path, size: usize, time: Duration) -> anyhow::Result<f64> {
    let path = folder.join("raw");
    let file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .open(&path)
        .context("cannot create the raw file")?;
    file.write_all_at(&vec![0x5a; FILE_SIZE], 0)
        .context("cannot fill the raw file")?;
    file.sync_all().context("cannot sync the raw file")?;
    let bytes = vec![0xa5; size];
    let clock = SystemClock::start();
    let mut count = 0_u64;
    while clock.monotonic() < time {
        let slots = (FILE_SIZE / size.max(1)).max(1) as u64;
        file.write_all_at(&bytes, count % slots * size as u64)
            .context("cannot write")?;
        file.sync_data().context("cannot sync")?;
        count += 1;
    }
    let rate = count as f64 / clock.monotonic().as_secs_f64();
    std::fs::remove_file(&path).context("cannot remove the raw file")?;
    Ok(rate)
}
