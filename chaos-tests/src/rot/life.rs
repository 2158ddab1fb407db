//! The lives of the specimens: several segments, two snapshots, recycled segments, every kind of record, and one of many ends.

use std::time::Duration;

use mq_core::backend::OperateRequest;
use mq_core::command::Settlement;
use mq_core::key::{DedupPolicy, Key};
use mq_core::message::Due;
use mq_persistence::lsn::Lsn;
use mq_testing::oracle::Ending;
use mq_testing::sim_disk::{CrashMode, SimDisk};

use super::Specimen;
use super::judge::journal_end;
use crate::machine::{Machine, text};
use crate::workload::{Knowledge, Script};

/// How the last life of a specimen ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Closed in order.
    Closed,
    /// Closed in order after a moment, before housekeeping had begun.
    Brief,
    /// Killed when it had been idle long enough for the mark.
    Marked,
    /// Killed right after an answer, before anything was written behind it.
    Unmarked,
    /// Killed after settlements that were answered when written, before their sync.
    Unsynced,
    /// The power went in the middle of a write.
    Torn,
}

impl End {
    /// Every end.
    pub const ALL: [Self; 6] = [
        Self::Closed,
        Self::Brief,
        Self::Marked,
        Self::Unmarked,
        Self::Unsynced,
        Self::Torn,
    ];
}

/// A store that lived three lives, the last of which ended so.
///
/// # Errors
/// Something in its life failed.
pub fn specimen(end: End, seed: u64) -> Result<Specimen, String> {
    let (disk, mut known, mut earlier) = (SimDisk::new(), Knowledge::default(), Vec::new());
    full_life(&disk, &mut known, &mut earlier)?;
    let disk = disk.restart_process();
    let mut script = open(&disk, &mut known)?;
    script.enqueue(90, |_| Ok(()))?;
    script.machine().maintain();
    drop(script);
    known.ended(Ending::Killed);
    earlier.push(disk.fork());
    let disk = disk.restart_process();
    let (disk, ends) = last_life(&disk, &mut known, &mut earlier, end, seed)?;
    let mut specimen = Specimen::new(format!("{end:?}"), disk, &earlier, ends)?;
    specimen.is_lonely = end == End::Brief;
    Ok(specimen)
}

fn open<'a>(disk: &SimDisk, known: &'a mut Knowledge) -> Result<Script<'a>, String> {
    let life = known.next_life();
    let machine = Machine::open_with(disk, life, |builder| builder.snapshot_after(1 << 30))?;
    Ok(Script::new(machine, known))
}

/// Every kind of record; two snapshots, a segment between them in which nothing lives any more; recycled segments in use.
fn full_life(
    disk: &SimDisk,
    known: &mut Knowledge,
    earlier: &mut Vec<SimDisk>,
) -> Result<(), String> {
    let mut script = open(disk, known)?;
    every_kind(&mut script)?;
    earlier.push(disk.fork());
    script.machine().maintain();
    for round in 0..3 {
        fill(&mut script, 14)?;
        script.machine().pass(Duration::from_millis(15));
        earlier.push(disk.fork());
        if round > 0 {
            script.machine().snapshot()?;
        }
        script.machine().maintain();
        script.machine().maintain();
    }
    fill(&mut script, 2)?;
    script.machine().pass(Duration::from_millis(15));
    drop(script);
    known.ended(Ending::Killed);
    earlier.push(disk.fork());
    Ok(())
}

fn every_kind(script: &mut Script<'_>) -> Result<(), String> {
    for size in [64, 300, 1_500] {
        script.enqueue(size, |_| Ok(()))?;
    }
    script.batch(&[100, 700, 70])?;
    let grants = script.take(4);
    let [first, second, third, ..] = grants.as_slice() else {
        return Err(format!("only {} grants", grants.len()));
    };
    script.end(first, Settlement::Succeed { result: None }, 2)?;
    script.fail(second)?;
    script.dead_letter(third)?;
    for key in ["customer-3", "customer-3", "customer-4"] {
        script.enqueue(80, |message| {
            message.envelope.ordering_key = Some(Key::new(key).map_err(text)?);
            Ok(())
        })?;
    }
    script.enqueue(80, |message| {
        message.envelope.dedup_key = Some(Key::new("sku-1").map_err(text)?);
        message.dedup = Some(DedupPolicy::Keep);
        message.due = Due::After(Duration::from_secs(500_000));
        Ok(())
    })?;
    let held = script.enqueue(80, |message| {
        message.envelope.idempotency_key = Some(Key::new("order-17").map_err(text)?);
        Ok(())
    })?;
    let label = "aside".parse().map_err(text)?;
    let operated = script
        .machine()
        .backend()
        .operate(held, OperateRequest::Hold(label));
    operated.wait().map_err(text)?.map_err(text)?;
    script.pause("letters", true)
}

/// Messages that come and go, about four to a segment.
fn fill(script: &mut Script<'_>, messages: usize) -> Result<(), String> {
    for _ in 0..messages {
        script.enqueue(13_000, |_| Ok(()))?;
        script.succeed_all(64)?;
    }
    Ok(())
}

/// Where the journal was proven to be synced, and where it was synced; `None` is to the end.
type Ends = (Option<Lsn>, Option<Lsn>);

fn last_life(
    disk: &SimDisk,
    known: &mut Knowledge,
    earlier: &mut Vec<SimDisk>,
    end: End,
    seed: u64,
) -> Result<(SimDisk, Ends), String> {
    let mut script = open(disk, known)?;
    if end == End::Brief {
        script.enqueue(120, |_| Ok(()))?;
        script.close()?;
        return Ok((disk.restart_process(), (None, None)));
    }
    script.machine().maintain();
    script.enqueue(120, |_| Ok(()))?;
    script.enqueue(700, |_| Ok(()))?;
    let grants = script.take(2);
    script.machine().pass(Duration::from_millis(15));
    earlier.push(disk.fork());
    let before = journal_end(disk)?;
    match end {
        End::Closed | End::Brief => {
            script.enqueue(200, |_| Ok(()))?;
            script.close()?;
            Ok((disk.restart_process(), (None, None)))
        }
        End::Marked => {
            script.enqueue(200, |_| Ok(()))?;
            for _ in 0..3 {
                script.machine().pass(Duration::from_millis(25));
            }
            drop(script);
            Ok((disk.restart_process(), (None, None)))
        }
        End::Unmarked => {
            script.enqueue(200, |_| Ok(()))?;
            drop(script);
            Ok((disk.restart_process(), (Some(before), None)))
        }
        End::Unsynced => {
            script.enqueue(200, |_| Ok(()))?;
            let synced = journal_end(disk)?;
            for grant in &grants {
                script.end(grant, Settlement::Succeed { result: None }, 0)?;
            }
            drop(script);
            Ok((disk.restart_process(), (Some(synced), Some(synced))))
        }
        End::Torn => {
            disk.crash_after(disk.io_count() + 1);
            let torn = script.batch(&[900, 900, 900]);
            if torn.is_ok() {
                return Err("the write was not torn".to_owned());
            }
            drop(script);
            let left = disk.power_cycle(CrashMode::MissingOne(seed));
            Ok((left, (Some(before), Some(before))))
        }
    }
}
