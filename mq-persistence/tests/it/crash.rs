//! A journal crashes after every I/O: of its creation, of frames, changes of segment, snapshots, reclaiming, of recovery itself. It
//! opens again each time, with a state that was, nothing promised missing.

use mq_testing::crash_points::{Checked, Plan, Reopened, crash_everywhere, fail_everywhere};
use mq_testing::oracle::Ending;
use mq_testing::random::SplitMix64;
use mq_testing::sim_disk::SimDisk;

use crate::journal::{Journal, Known};

const SEED: u64 = 20_261_121;

/// Two lives with everything that a journal does, and a clean close between them.
fn workload(disk: &SimDisk, known: &mut Known) -> Result<(), String> {
    let mut random = SplitMix64::new(SEED);
    let mut journal = Journal::open(disk, known, Ending::Closed)?;
    journal.run(26, &mut random)?;
    journal.close()?;
    let mut journal = Journal::open(disk, known, Ending::Closed)?;
    journal.run(10, &mut random)?;
    journal.sync()
}

/// Opens, goes on, and opens again.
fn check(reopened: Reopened<'_, Known>) -> Result<Checked, String> {
    let disk = reopened.disk;
    let known = reopened.knowledge;
    let mut go = || -> Result<(), String> {
        let mut journal = Journal::open(disk, known, reopened.ending)?;
        journal.run(3, &mut SplitMix64::new(SEED ^ 1))?;
        journal.sync()?;
        drop(journal);
        let journal = Journal::open(disk, known, Ending::Killed)?;
        journal.close()
    };
    match go() {
        Ok(()) => Ok(Checked::Complete),
        Err(_) if disk.was_disturbed() => Ok(Checked::Interrupted),
        Err(reason) => Err(reason),
    }
}

#[test]
fn nothing_promised_is_lost_whatever_io_a_crash_follows() {
    println!("seed {SEED}");
    let plan = Plan::new(SEED, 61);
    let report = crash_everywhere(&plan, workload, check).unwrap_or_else(|failure| {
        panic!("{failure}");
    });
    println!("{report:?}");
    assert!(report.workload_ios > 150, "{report:?}");
}

#[test]
fn a_call_that_fails_stops_the_journal_and_loses_nothing() {
    println!("seed {SEED}");
    let mut plan = Plan::new(SEED, 11);
    plan.nested.clear();
    plan.every = 3;
    let report = fail_everywhere(&plan, workload, check).unwrap_or_else(|failure| {
        panic!("{failure}");
    });
    println!("{report:?}");
    assert!(report.disturbed > 100, "{report:?}");
}
