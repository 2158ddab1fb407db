//! A journal crashes after every I/O: of its creation, of frames, changes of segment, snapshots, reclaiming, of recovery itself. It
//! opens again each time, with a state that was, nothing promised missing.

use mq_testing::crash_points::{Checked, Crash, Plan, Reopened, crash_everywhere, fail_everywhere};
use mq_testing::oracle::Ending;
use mq_testing::random::SplitMix64;
use mq_testing::sim_disk::{CrashMode, Fault, IoKind, SimDisk};

use crate::journal::{Journal, Known};

const SEED: u64 = 20_261_121;

/// Two lives with everything that a journal does, and a clean close between them.
fn workload(disk: &SimDisk, known: &mut Known) -> Result<(), String> {
    let mut random = SplitMix64::new(SEED);
    let mut journal = Journal::open(disk, known, Ending::Closed)?;
    journal.run(26, &mut random)?;
    journal.close_down()?;
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

/// Calls that fail in some lives.
const FAULTS: [(IoKind, Fault); 7] = [
    (IoKind::SyncData, Fault::SyncLostKept),
    (IoKind::SyncData, Fault::SyncLostReverted),
    (IoKind::SyncDirectory, Fault::IoError),
    (IoKind::Write, Fault::IoError),
    (IoKind::Write, Fault::Short),
    (IoKind::Rename, Fault::IoError),
    (IoKind::Read, Fault::IoError),
];

/// One of the ways for a life to end.
fn any_crash(random: &mut SplitMix64) -> Crash {
    let seed = random.next_u64();
    let modes = [
        CrashMode::LoseAll,
        CrashMode::KeepAll,
        CrashMode::Prefix(seed),
        CrashMode::Subset(seed),
        CrashMode::Page4k(seed),
        CrashMode::MissingOne(seed),
    ];
    match random.pick(&modes) {
        Some(mode) if random.chance(3, 4) => Crash::Power(*mode),
        _ => Crash::Kill,
    }
}

#[test]
fn nothing_promised_is_lost_in_a_row_of_lives_that_all_end_badly() {
    for seed in 0..300 {
        let mut random = SplitMix64::new(SEED ^ (seed << 32));
        let mut disk = SimDisk::new();
        let mut known = Known::default();
        let mut ending = Ending::Closed;
        for life in 0..12 {
            // Some crashes fall into the opening, some far behind it.
            disk.crash_after(disk.io_count() + random.below(if life % 3 == 0 { 400 } else { 60 }));
            if random.chance(1, 3) {
                let (kind, fault) = *random.pick(&FAULTS).unwrap();
                disk.fail_nth(kind, 1 + random.below(30), fault);
            }
            let lived = Journal::open(&disk, &mut known, ending)
                .and_then(|mut journal| journal.run(40, &mut random));
            if let Err(reason) = lived {
                assert!(disk.was_disturbed(), "seed {seed}, life {life}: {reason}");
            }
            disk.clear_faults();
            if random.chance(1, 2) {
                disk.drop_caches();
            }
            let crash = any_crash(&mut random);
            ending = crash.ending(&disk);
            disk = crash.strike(&disk);
        }
        let journal = Journal::open(&disk, &mut known, ending);
        let journal = journal.unwrap_or_else(|reason| panic!("seed {seed}: {reason}"));
        journal.close().unwrap();
    }
}
