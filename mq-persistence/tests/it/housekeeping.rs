//! The housekeeper crashes after every I/O: of snapshots, of freeing and recycling segments, of compaction. A second scenario does it on a
//! disk that is full.

use std::ops::ControlFlow;

use mq_core::event::Event;
use mq_core::message::Sealed;
use mq_persistence::frame::Frame;
use mq_persistence::inspect::{Dumped, dump};
use mq_persistence::open::JournalOptions;
use mq_persistence::segment::number_of;
use mq_testing::crash_points::{Checked, Crash, Plan, Reopened, crash_everywhere};
use mq_testing::oracle::Ending;
use mq_testing::random::SplitMix64;
use mq_testing::sim_disk::{CrashMode, IoKind, SimDisk};

use crate::fixture::{enqueued, now, sealed};
use crate::journal::{Journal, Known, Model, SMALL, open};
use crate::store::Store;

const SEED: u64 = 77_001;

/// Long enough for several snapshots, recycled segments and moved records.
fn workload(disk: &SimDisk, known: &mut Known) -> Result<(), String> {
    let mut random = SplitMix64::new(SEED);
    let mut journal = Journal::open(disk, known, Ending::Closed)?;
    for _ in 0..40 {
        journal.run(3, &mut random)?;
        journal.sync()?;
        journal.keep()?;
    }
    Ok(())
}

/// Opens, keeps house, and opens again.
fn check(reopened: Reopened<'_, Known>) -> Result<Checked, String> {
    let disk = reopened.disk;
    let known = reopened.knowledge;
    let mut go = || -> Result<(), String> {
        let mut journal = Journal::open(disk, known, reopened.ending)?;
        for round in 0..3 {
            journal.run(2, &mut SplitMix64::new(SEED ^ round))?;
            journal.sync()?;
            journal.keep()?;
        }
        drop(journal);
        Journal::open(disk, known, Ending::Killed).map(drop)
    };
    match go() {
        Ok(()) => Ok(Checked::Complete),
        Err(_) if disk.was_disturbed() => Ok(Checked::Interrupted),
        Err(reason) => Err(reason),
    }
}

fn relocated(disk: &SimDisk) -> usize {
    let mut relocated = 0;
    dump(disk, &mut |dumped| {
        if let Dumped::Record(record) = dumped {
            relocated += usize::from(record.kind == "relocated");
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    relocated
}

#[test]
fn a_crash_in_housekeeping_loses_nothing() {
    println!("seed {SEED}");
    let disk = SimDisk::new();
    workload(&disk, &mut Known::default()).unwrap();
    let names = disk.file_names();
    let segments: Vec<u32> = names.iter().filter_map(|name| number_of(name)).collect();
    let newest = *segments.last().unwrap();
    assert!(segments.len() < 20 && newest > 30, "freed: {segments:?}");
    let created = disk.count_of(IoKind::Create);
    assert!(
        created < u64::from(newest),
        "recycled: {created} files, {newest} segments"
    );
    assert!(relocated(&disk) > 0, "moved");
    let mut plan = Plan::new(SEED, 97);
    plan.crashes = vec![
        Crash::Kill,
        Crash::Power(CrashMode::LoseAll),
        Crash::Power(CrashMode::Subset(SEED)),
        Crash::Power(CrashMode::Prefix(SEED)),
    ];
    plan.nested = vec![Crash::Power(CrashMode::Subset(!SEED))];
    let report = crash_everywhere(&plan, workload, check).unwrap_or_else(|failure| {
        panic!("{failure}");
    });
    println!("{report:?}");
    assert!(report.workload_ios > 400, "{report:?}");
}

const FULL: JournalOptions = JournalOptions {
    spares: 2,
    snapshot_after_min: 96 << 10,
    ..SMALL
};
const CAPACITY: u64 = 500 << 10;

/// The states after each frame that was begun, and how many of those frames were synced.
#[derive(Clone, Debug)]
struct Seen {
    states: Vec<Model>,
    durable: usize,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            states: vec![Model::default()],
            durable: 0,
        }
    }
}

impl Seen {
    /// Commits the open frame.
    fn commit(&mut self, store: &mut Store) -> Result<(), String> {
        self.states.push(store.opened.manager.clone());
        store.commit().map_err(|error| error.to_string())?;
        self.durable = self.states.len() - 1;
        store.maintain().map_err(|error| error.to_string())
    }

    /// Settles everything, a few messages at a time.
    fn settle_all(&mut self, store: &mut Store) -> Result<(), String> {
        let mut live: Vec<_> = store.live().iter().copied().collect();
        // Every third first: no segment becomes empty before the end.
        live.sort_by_key(|seq| seq.get() % 3);
        for batch in live.chunks(5) {
            batch.iter().for_each(|seq| store.finish(*seq));
            self.commit(store)?;
        }
        Ok(())
    }
}

/// Fills a small disk until the store refuses, and empties it again.
fn fill_and_empty(disk: &SimDisk, seen: &mut Seen) -> Result<(), String> {
    disk.set_capacity(Some(CAPACITY));
    let store = Store::try_open(disk, &FULL, 1_000);
    let mut store = store.map_err(|error| error.to_string())?;
    store.maintain().map_err(|error| error.to_string())?;
    while store.enqueue(1_500).is_some() {
        seen.commit(&mut store)?;
    }
    seen.settle_all(&mut store)
}

/// Opens on the same full disk, and empties the store.
fn empty(reopened: Reopened<'_, Seen>) -> Result<Checked, String> {
    let disk = reopened.disk;
    let seen = reopened.knowledge;
    let mut go = || -> Result<(), String> {
        let store = Store::try_open(disk, &FULL, 90_000);
        let mut store = store.map_err(|error| error.to_string())?;
        let found = seen
            .states
            .iter()
            .position(|state| *state == store.opened.manager);
        let found = found.ok_or("a state that never was")?;
        if found < seen.durable {
            return Err(format!("frame {found} of {} was found", seen.durable));
        }
        seen.states.truncate(found + 1);
        store.maintain().map_err(|error| error.to_string())?;
        seen.settle_all(&mut store)
    };
    match go() {
        Ok(()) => Ok(Checked::Complete),
        Err(_) if disk.was_disturbed() => Ok(Checked::Interrupted),
        Err(reason) => Err(reason),
    }
}

#[test]
fn a_crash_on_a_full_disk_leaves_a_store_that_can_be_emptied() {
    println!("seed {SEED}");
    let mut plan = Plan::new(SEED, 1_000);
    plan.every = 3;
    plan.crashes = vec![Crash::Kill, Crash::Power(CrashMode::Subset(SEED))];
    plan.nested.clear();
    let report = crash_everywhere(&plan, fill_and_empty, empty).unwrap_or_else(|failure| {
        panic!("{failure}");
    });
    println!("{report:?}");
    assert!(report.workload_ios > 500, "{report:?}");
}

#[test]
fn a_file_that_is_filled_ahead_is_synced_every_8_mib_and_not_more_often() {
    // A frame that is larger than any segment gets one of its own.
    let syncs_for = |size: usize| {
        let disk = SimDisk::new();
        let mut opened = open(&disk, &SMALL, 1_000).unwrap();
        let mut frame = Frame::new(&opened.identity);
        let bytes = sealed(1, size).bytes;
        let crc = opened.identity.seed().checksum(&bytes);
        frame.append(&Event::Enqueued(enqueued(1, Some(Sealed { bytes, crc }))));
        opened.log.write(&mut frame, &now(2_000)).unwrap();
        disk.count_of(IoKind::SyncData)
    };
    let once = syncs_for(5 << 20);
    assert_eq!(
        (syncs_for(9 << 20), syncs_for(17 << 20)),
        (once + 1, once + 2)
    );
}
