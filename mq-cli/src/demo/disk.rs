//! How fast the disk is by itself: the yardstick beside every rate.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::Context;

use crate::clock::Stopwatch;
use crate::exit::Result;

const PAGE: [u8; 4096] = [0x5a; 4096];
const PAGES: u64 = 64;
const SYNCS: u64 = 256;

/// Writes and syncs 4 KiB at a time into a file that was written before, and counts per second.
pub(crate) fn syncs_per_second(folder: &Path) -> Result<f64> {
    let path = folder.join("sync-rate");
    let file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .open(&path)
        .context("cannot create a file to measure the disk with")?;
    for page in 0..PAGES {
        file.write_all_at(&PAGE, page * PAGE.len() as u64)
            .context("cannot write to the disk")?;
    }
    file.sync_all().context("cannot sync the disk")?;
    let started = Stopwatch::start();
    for sync in 0..SYNCS {
        file.write_all_at(&PAGE, sync % PAGES * PAGE.len() as u64)
            .context("cannot write to the disk")?;
        file.sync_data().context("cannot sync the disk")?;
    }
    let rate = SYNCS as f64 / started.elapsed().as_secs_f64().max(1e-9);
    std::fs::remove_file(&path).context("cannot remove the file the disk was measured with")?;
    Ok(rate)
}
