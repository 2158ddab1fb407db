//! Snapshots: two generations, never less than the newest good one, believed whole or not at all.

use std::sync::Arc;

use mq_core::image::ImageRecord;
use mq_core::time::Timestamp;
use mq_persistence::Lsn;
use mq_persistence::keeper::{Keeper, KeeperOptions, Snapshotted};
use mq_persistence::places::{Place, Places};
use mq_persistence::snapshot::{LoadError, Loaded, SLOT_NAMES, Slots, SnapshotFacts, load_best};
use mq_persistence::spares::{SpareOptions, SparePool};
use mq_persistence::storage::Storage;
use mq_testing::random::SplitMix64;
use mq_testing::sim_disk::{CrashMode, Fault, IoKind, SimDisk};

use crate::fixture::{disk, identity, image, now, segments, seq};

/// A keeper over what a load found on a disk.
fn keeper(disk: &SimDisk, slots: Slots) -> Keeper {
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let segments = segments(3);
    let options = SpareOptions {
        size_first: 16 << 10,
        size_max: 16 << 10,
        count: 0,
        in_place: true,
        salt_seed: 1,
        opened: Timestamp::from_ms(1),
    };
    let pool = SparePool::new(Arc::clone(&storage), Arc::clone(&segments), options, 4);
    let options = KeeperOptions {
        snapshot_after_min: 1 << 20,
        compaction_live_percent: 30,
    };
    Keeper::new(storage, segments, Arc::new(pool), slots, options)
}

/// A place for each message, spread over segments and sizes.
fn place_of(number: u64) -> Place {
    let offset = u32::try_from(4096 + number % 100_000).unwrap();
    Place {
        at: Lsn::new(1 + u32::try_from(number % 7 / 3).unwrap(), offset),
        len: u32::try_from(1 + number % 50_000).unwrap(),
    }
}

fn take(
    keeper: &mut Keeper,
    messages: &[u64],
    at: Lsn,
) -> Result<Snapshotted, mq_persistence::JournalError> {
    let mut places = Places::new(segments(3));
    for number in messages {
        places.restore(seq(*number), place_of(*number));
    }
    let records = image(messages.iter().copied());
    keeper.snapshot(
        records.into_iter(),
        places.image(),
        (at, at),
        &now(at.get()),
    )
}

fn taken(keeper: &mut Keeper, messages: &[u64], at: Lsn) -> SnapshotFacts {
    match take(keeper, messages, at).unwrap() {
        Snapshotted::Taken(facts) => facts,
        Snapshotted::NoRoom => panic!("no room on a disk without limit"),
    }
}

fn load(disk: &SimDisk) -> Loaded {
    load_best(disk, &identity()).unwrap()
}

/// Checks that what was loaded is the image of exactly these messages.
fn assert_holds(loaded: &Loaded, messages: &[u64]) {
    let contents = loaded.contents.as_ref().unwrap();
    let records: Vec<ImageRecord> = contents.records().map(Result::unwrap).collect();
    assert_eq!(records, image(messages.iter().copied()));
    let places: Vec<_> = contents.places().map(Result::unwrap).collect();
    let expected: Vec<_> = messages
        .iter()
        .map(|it| (seq(*it), place_of(*it)))
        .collect();
    assert_eq!(places, expected);
}

#[test]
fn what_was_written_is_read_back() {
    let disk = disk();
    // Enough for many blocks, with gaps, and with the largest sequence there is.
    let mut messages: Vec<u64> = (1..20_000).map(|number| number * 3).collect();
    messages.push((1 << 48) - 1);
    let facts = taken(
        &mut keeper(&disk, Slots::default()),
        &messages,
        Lsn::new(3, 4608),
    );
    let loaded = load(&disk);
    assert_holds(&loaded, &messages);
    let contents = loaded.contents.unwrap();
    assert_eq!(contents.facts, facts);
    assert_eq!(
        (facts.generation, facts.at, facts.wall),
        (1, Lsn::new(3, 4608), now(Lsn::new(3, 4608).get()).wall)
    );
    let numbers: Vec<u32> = contents.segments.iter().map(|it| it.number).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert!(loaded.damaged.is_empty());
}

#[test]
fn the_older_of_two_generations_is_replaced() {
    let disk = disk();
    let mut keeper = keeper(&disk, Slots::default());
    for round in 1..=5_u32 {
        taken(&mut keeper, &[u64::from(round)], Lsn::new(round, 4608));
        let loaded = load(&disk);
        assert_holds(&loaded, &[u64::from(round)]);
        let older = loaded.slots.older().map(|older| older.at.segment());
        assert_eq!(
            older,
            (round > 1).then(|| round - 1),
            "both generations are kept"
        );
    }
}

#[test]
fn a_keeper_that_comes_later_goes_on_with_the_generations() {
    let disk = disk();
    taken(
        &mut keeper(&disk, Slots::default()),
        &[1],
        Lsn::new(1, 4608),
    );
    let facts = taken(
        &mut keeper(&disk, load(&disk).slots),
        &[2],
        Lsn::new(2, 4608),
    );
    assert_eq!(facts.generation, 2);
    assert_holds(&load(&disk), &[2]);
}

#[test]
fn a_damaged_snapshot_is_reported_passed_over_and_kept() {
    let disk = disk();
    let mut first = keeper(&disk, Slots::default());
    taken(&mut first, &[1], Lsn::new(1, 4608));
    taken(&mut first, &[2], Lsn::new(2, 4608));
    disk.flip_bit(SLOT_NAMES[1], 400, 3).unwrap();
    let loaded = load(&disk);
    assert_holds(&loaded, &[1]);
    assert_eq!(loaded.damaged.len(), 1);
    assert_eq!(loaded.damaged[0].file, SLOT_NAMES[1]);
    let facts = taken(&mut keeper(&disk, loaded.slots), &[3], Lsn::new(3, 4608));
    assert_eq!(facts.generation, 2);
    let loaded = load(&disk);
    assert_holds(&loaded, &[3]);
    assert_eq!(
        loaded.slots.older().unwrap().at,
        Lsn::new(1, 4608),
        "the good one was not replaced"
    );
    let aside = disk
        .list()
        .unwrap()
        .into_iter()
        .find(|name| name.starts_with("aside-"));
    assert!(aside.is_some(), "the damaged one is still there");
}

#[test]
fn no_flipped_bit_goes_unnoticed() {
    let disk = disk();
    let mut keeper = keeper(&disk, Slots::default());
    let size = taken(&mut keeper, &[1, 2, 3], Lsn::new(1, 4608)).size;
    for offset in 0..size {
        let other = disk.fork();
        other
            .flip_bit(SLOT_NAMES[0], offset, u8::try_from(offset % 8).unwrap())
            .unwrap();
        match load_best(&other, &identity()) {
            Ok(loaded) => {
                assert!(loaded.contents.is_none(), "byte {offset} is not covered");
                assert_eq!(loaded.damaged.len(), 1);
            }
            // The version stands before the checksum and is believed first: a newer program may have moved the checksum.
            Err(LoadError::Newer { .. }) => assert!((10..12).contains(&offset)),
            Err(error) => panic!("byte {offset}: {error}"),
        }
    }
}

#[test]
fn no_cut_and_no_rubbish_is_taken_for_a_snapshot() {
    let whole = disk();
    let size = taken(
        &mut keeper(&whole, Slots::default()),
        &[1, 2, 3],
        Lsn::new(1, 4608),
    )
    .size;
    for cut in 0..size {
        let disk = whole.fork();
        disk.cut(SLOT_NAMES[0], cut).unwrap();
        let loaded = load(&disk);
        assert!(
            loaded.contents.is_none() && loaded.damaged.len() == 1,
            "cut at {cut}"
        );
    }
    let seed = 77;
    println!("seed {seed}");
    let mut random = SplitMix64::new(seed);
    for _ in 0..2_000 {
        let disk = whole.fork();
        let at = random.below(size);
        let len = usize::try_from(1 + random.below((size - at).min(64))).unwrap();
        let mut bytes = vec![0; len];
        random.fill(&mut bytes);
        let before = disk.file_bytes(SLOT_NAMES[0]).unwrap();
        if before[usize::try_from(at).unwrap()..].starts_with(&bytes) {
            continue;
        }
        disk.overwrite(SLOT_NAMES[0], at, &bytes).unwrap();
        match load_best(&disk, &identity()) {
            Ok(loaded) => assert!(loaded.contents.is_none()),
            Err(LoadError::Newer { .. }) => assert!(at < 12),
            Err(error) => panic!("{len} bytes at {at}: {error}"),
        }
    }
}

#[test]
fn a_snapshot_of_another_store_is_refused() {
    let disk = disk();
    taken(
        &mut keeper(&disk, Slots::default()),
        &[1],
        Lsn::new(1, 4608),
    );
    let mut other = identity();
    other.uuid = [9; 16];
    let refused = load_best(&disk, &other);
    assert!(matches!(refused, Err(LoadError::OtherStore { file }) if file == SLOT_NAMES[0]));
}

#[test]
fn a_crash_anywhere_leaves_the_newest_that_was_taken() {
    let modes = [
        CrashMode::LoseAll,
        CrashMode::KeepAll,
        CrashMode::Prefix(5),
        CrashMode::Subset(6),
        CrashMode::Page4k(7),
        CrashMode::MissingOne(8),
    ];
    let messages: Vec<u64> = (1..9_000).collect();
    let steps: [&[u64]; 4] = [&[1], &[1, 2], &messages, &[3]];
    for after in 0.. {
        let disk = disk();
        let before = disk.io_count();
        disk.crash_after(before + after);
        let mut keeper = keeper(&disk, Slots::default());
        let mut done = 0;
        for (round, messages) in (1..).zip(steps) {
            if take(&mut keeper, messages, Lsn::new(round, 4608)).is_err() {
                break;
            }
            done += 1;
        }
        let crashed = disk.has_crashed();
        for mode in modes {
            let left = disk.power_cycle(mode.reseeded(after));
            let loaded = load(&left);
            assert!(
                loaded.damaged.is_empty(),
                "{mode:?} after {after}: a slot is never torn"
            );
            let found = loaded
                .contents
                .as_ref()
                .map_or(0, |it| it.facts.at.segment() as usize);
            assert!(
                found == done || found == done + 1,
                "{mode:?} after {after}: {found} of {done}"
            );
            if found > 0 {
                assert_holds(&loaded, steps[found - 1]);
            }
        }
        if !crashed {
            assert!(
                after > 20,
                "{after} I/Os are fewer than four snapshots need"
            );
            return;
        }
    }
}

#[test]
fn a_failed_call_stops_the_journal_and_leaves_the_older_ones() {
    let kinds = [
        IoKind::Write,
        IoKind::SyncData,
        IoKind::Rename,
        IoKind::SyncDirectory,
    ];
    for kind in kinds {
        let disk = disk();
        let mut keeper = keeper(&disk, Slots::default());
        taken(&mut keeper, &[1], Lsn::new(1, 4608));
        disk.fail_nth(kind, 1, Fault::IoError);
        assert!(
            take(&mut keeper, &[1, 2], Lsn::new(2, 4608)).is_err(),
            "{kind:?}"
        );
        let loaded = load(&disk.power_cycle(CrashMode::LoseAll));
        assert_holds(&loaded, &[1]);
    }
}

#[test]
fn a_full_disk_costs_a_snapshot_and_nothing_else() {
    let disk = disk();
    let mut keeper = keeper(&disk, Slots::default());
    taken(&mut keeper, &[1], Lsn::new(1, 4608));
    disk.set_capacity(Some(64 << 10));
    let messages: Vec<u64> = (1..9_000).collect();
    let outcome = take(&mut keeper, &messages, Lsn::new(2, 4608)).unwrap();
    assert_eq!(outcome, Snapshotted::NoRoom);
    assert_holds(&load(&disk), &[1]);
    disk.set_capacity(None);
    taken(&mut keeper, &messages, Lsn::new(2, 4608));
    assert_holds(&load(&disk), &messages);
}

#[test]
#[should_panic(expected = "durable up to 1:4096 only")]
fn the_journal_is_durable_before_the_snapshot_is_written() {
    let places = Places::new(segments(3));
    let at = (Lsn::new(1, 4608), Lsn::new(1, 4096));
    let records = image([1]).into_iter();
    drop(keeper(&disk(), Slots::default()).snapshot(records, places.image(), at, &now(1)));
}
