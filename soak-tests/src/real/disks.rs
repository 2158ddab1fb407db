//! Real file systems on loop devices: power cuts, write-back that fails, a disk that is full.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::mount::{self, Mount};
use super::{Order, Problem, folder};
use crate::lives::{Lives, Start, ended_in_order};
use crate::plan::{Dice, Plan};

const RATE: u64 = 1_500;
/// A child whose disk has failed ends within this time.
const NOTICES: Duration = Duration::from_secs(30);

/// Cuts the power of a file system (`ext4` or `xfs`) `cases` times under a running child, then mounts it again.
///
/// # Errors
/// A promise was broken; or such file systems cannot be mounted here.
pub fn power_cuts(kind: &str, order: &Order<'_>) -> Result<(), Problem> {
    mount::need_loop(kind)?;
    let folder = folder("power")?;
    let (image, point) = (folder.path().join("image"), folder.path().join("disk"));
    mount::make(kind, &image, if kind == "xfs" { 400 } else { 200 })?;
    let plan = Plan { cold: 400 };
    let errors = folder.path().join("errors");
    let mut lives = Lives::new(point.join("store"), errors, plan, RATE, order.seed);
    let mut dice = Dice::new(order.seed);
    for case in 0..order.cases {
        let moment = Duration::from_micros(dice.between(30_000, 700_000));
        cut_once(&mut lives, &image, &point, moment)
            .map_err(|error| error.context(format!("cut {case} on {kind}")))?;
        (order.tried)(1);
    }
    let disk = Mount::image(&image, &point)?;
    lives.look(Duration::from_millis(50))?;
    lives.work_off()?;
    disk.unmount()?;
    Ok(())
}

fn cut_once(lives: &mut Lives, image: &Path, point: &Path, moment: Duration) -> anyhow::Result<()> {
    let disk = Mount::image(image, point)?;
    let child = lives.start(&Start::default())?;
    let speaks = lives.hear_for(&child, moment)?;
    lives.so_far()?;
    ensure!(speaks, "the child ended by itself");
    // From here on the child may complain, and what it says must still be true.
    lives.judge.set_machine_fails(true);
    disk.cut_power()?;
    lives.kill(child)?;
    lives.so_far()?;
    disk.unmount()
}

/// Lets write-back fail for want of memory behind the device: ext4 in an image on a tmpfs that fills up. The engine
/// must stop, and nothing that it answered may be missing when the device has room again.
///
/// # Errors
/// A promise was broken; or such file systems cannot be mounted here.
pub fn lost_write_back(order: &Order<'_>) -> Result<(), Problem> {
    mount::need_loop("ext4")?;
    for case in 0..order.cases {
        fill_behind(order.seed + case).map_err(|error| error.context(format!("case {case}")))?;
        (order.tried)(1);
    }
    Ok(())
}

fn fill_behind(seed: u64) -> anyhow::Result<()> {
    let folder = folder("writeback")?;
    let memory = Mount::memory("24m", &folder.path().join("memory"))?;
    let image = memory.point().join("image");
    mount::make("ext4", &image, 200)?;
    let point = folder.path().join("disk");
    let disk = Mount::image(&image, &point)?;
    let errors = folder.path().join("errors");
    let plan = Plan { cold: 1 << 40 };
    let mut lives = Lives::new(point.join("store"), errors, plan, RATE, seed);
    let start = Start {
        frail: true,
        ..Start::default()
    };
    let mut child = lives.start(&start)?;
    let speaks = lives.hear_for(&child, NOTICES)?;
    ensure!(!speaks, "the device failed, and the child goes on");
    let status = lives.bury(&mut child)?;
    ensure!(ended_in_order(status), "the child ended with {status}");
    lives.so_far()?;
    ensure!(
        lives.judge.counts().answered > 0,
        "nothing was ever answered"
    );
    disk.unmount()?;
    memory.resize("300m")?;
    let disk = Mount::image(&image, &point).context("after the device had failed")?;
    lives.look(Duration::from_millis(50))?;
    lives.work_off()?;
    disk.unmount()?;
    memory.unmount()
}

/// Fills a small disk, works everything off while it is full, and goes on; `cases` times on one store.
///
/// # Errors
/// A promise was broken; or such file systems cannot be mounted here.
pub fn full_disk(order: &Order<'_>) -> Result<(), Problem> {
    mount::need_loop("ext4")?;
    let folder = folder("full")?;
    let (image, point) = (folder.path().join("image"), folder.path().join("disk"));
    mount::make("ext4", &image, 64)?;
    let disk = Mount::image(&image, &point)?;
    let errors = folder.path().join("errors");
    let plan = Plan { cold: 1 << 40 };
    let mut lives = Lives::new(point.join("store"), errors, plan, RATE, order.seed);
    for case in 0..order.cases {
        fill_and_drain(&mut lives).map_err(|error| error.context(format!("case {case}")))?;
        (order.tried)(1);
    }
    disk.unmount()?;
    Ok(())
}

fn fill_and_drain(lives: &mut Lives) -> anyhow::Result<()> {
    let (answered, refused) = (lives.judge.counts().answered, lives.judge.counts().refused);
    let start = Start {
        frail: true,
        ..Start::default()
    };
    let child = lives.start(&start)?;
    let speaks = lives.hear_until(&child, NOTICES * 2, |_, judge| {
        judge.counts().refused > refused + 1_000
    })?;
    ensure!(
        speaks,
        "a full disk stopped the engine: {}",
        lives.judge.last_trouble()
    );
    ensure!(
        lives.judge.counts().refused > refused + 1_000,
        "the disk never became full"
    );
    ensure!(
        lives.judge.counts().answered > answered + 1_000,
        "an empty store takes nothing"
    );
    let status = lives.close(child)?;
    ensure!(status.success(), "the child ended with {status}");
    lives.so_far()?;
    lives.work_off()
}
