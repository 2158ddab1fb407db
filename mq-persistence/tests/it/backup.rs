//! Copies of a store that goes on: what they hold, what they are to their source, what is left when making one fails.

use std::ops::ControlFlow;
use std::sync::Arc;

use mq_core::id::Incarnation;
use mq_core::image::ImageRecord;
use mq_persistence::backup::{Backup, BackupError, BackupReport, INCARNATION_GAP};
use mq_persistence::identity::IDENT_NAME;
use mq_persistence::inspect::verify;
use mq_persistence::storage::Storage;
use mq_testing::crash_points::Crash;
use mq_testing::random::SplitMix64;
use mq_testing::sim_disk::{CrashMode, Fault, IoKind, SimDisk};

use crate::manager::Store;

const SEED: u64 = 40_411;

/// A store with a history, on its disk.
fn some_store(disk: &SimDisk, rounds: u64) -> (Store, SplitMix64) {
    let mut random = SplitMix64::new(SEED);
    let mut store = Store::begin(Store::open(disk, 1_000), 1_000);
    live(&mut store, rounds, &mut random);
    (store, random)
}

fn live(store: &mut Store, rounds: u64, random: &mut SplitMix64) {
    for round in 0..rounds {
        store.round(random);
        if round % 5 == 0 {
            store.keep();
        }
    }
}

/// The store at the end of what is written, as an engine takes it.
fn taken(store: &Store) -> Backup<std::vec::IntoIter<ImageRecord>> {
    let at = store.opened.log.written();
    Backup {
        identity: store.opened.identity.clone(),
        records: store.image().into_iter(),
        places: store.opened.places.image(),
        segments: store.opened.places.lived_in(at),
        at,
        now: store.now(),
    }
}

fn write(
    backup: Backup<std::vec::IntoIter<ImageRecord>>,
    target: &SimDisk,
) -> Result<BackupReport, BackupError> {
    let target: Arc<dyn Storage> = Arc::new(target.clone());
    backup.write(&target, &mut |_| ControlFlow::Continue(()))
}

/// Opens the copy, and checks that it is what the source was, but for the number of its next opening.
fn assert_is(copy: &SimDisk, source: &[ImageRecord]) {
    let opened = Store::open(copy, 500_000);
    let image: Vec<ImageRecord> = opened.manager.image().records().collect();
    assert_eq!(image.len(), source.len());
    for (found, wanted) in image.iter().zip(source) {
        match (found, wanted) {
            (
                ImageRecord::Counters { incarnation, .. },
                ImageRecord::Counters {
                    incarnation: before,
                    ..
                },
            ) => assert_eq!(*incarnation, Incarnation(before.0 + INCARNATION_GAP)),
            (found, wanted) => assert_eq!(found, wanted),
        }
        if let ImageRecord::Message(message) = found {
            let pinned = opened.places.pin(message.facts.seq).unwrap();
            let sealed = pinned.read().unwrap();
            assert_eq!(sealed.bytes.len(), message.facts.size as usize);
        }
    }
}

#[test]
fn a_copy_is_the_store_at_one_moment_whatever_the_store_does_meanwhile() {
    println!("seed {SEED}");
    let (mut store, mut random) = some_store(&SimDisk::new(), 120);
    let before = store.image();
    let backup = taken(&store);
    let segments: Vec<String> = backup
        .segments
        .iter()
        .map(|it| it.name().to_owned())
        .collect();
    assert!(segments.len() > 1);
    // Enough for every segment of the copy to be over in the source, and for snapshots to free them.
    live(&mut store, 200, &mut random);
    let target = SimDisk::new();
    let report = write(backup, &target).unwrap();
    let messages = before
        .iter()
        .filter(|it| matches!(it, ImageRecord::Message(_)));
    assert_eq!(report.messages, messages.count() as u64);
    assert!(report.messages > 0);
    assert_is(&target.restart_process(), &before);
    // Once the copy is made, what it held is free.
    live(&mut store, 20, &mut random);
    let names = store.opened.places.segments().list();
    let left = names
        .iter()
        .filter(|it| segments.iter().any(|name| name == it.name()));
    assert!(left.count() < segments.len());
}

#[test]
fn a_copy_of_a_copy_and_one_after_a_clean_close_are_stores_too() {
    let (mut store, mut random) = some_store(&SimDisk::new(), 30);
    let first = SimDisk::new();
    write(taken(&store), &first).unwrap();
    live(&mut store, 3, &mut random);
    let first = first.restart_process();
    let opened = Store::open(&first, 300_000);
    let copy = Store::begin(opened, 300_000);
    let image = copy.image();
    let second = SimDisk::new();
    write(taken(&copy), &second).unwrap();
    assert_is(&second.restart_process(), &image);
}

#[test]
fn a_copy_that_dies_anywhere_is_no_store_and_leaves_its_source_alone() {
    let source = SimDisk::new();
    let (store, _) = some_store(&source, 40);
    let image = store.image();
    let files: Vec<(String, Option<Vec<u8>>)> = contents(&source);
    let crashes = [
        Crash::Kill,
        Crash::Power(CrashMode::LoseAll),
        Crash::Power(CrashMode::Subset(3)),
        Crash::Power(CrashMode::KeepAll),
    ];
    let (mut incomplete, mut complete) = (0, 0);
    for crash in crashes {
        for after in 0.. {
            let target = SimDisk::new();
            target.crash_after(after);
            let written = write(taken(&store), &target);
            let is_over = !target.has_crashed();
            let left = crash.strike(&target);
            if left.file_names().iter().any(|name| name == IDENT_NAME) {
                let storage: Arc<dyn Storage> = Arc::new(left.clone());
                assert!(
                    verify(&storage).unwrap().is_sound(),
                    "{crash:?} after {after}"
                );
                assert_is(&left, &image);
                complete += 1;
            } else {
                assert!(written.is_err(), "{crash:?} after {after}");
                incomplete += 1;
            }
            if is_over {
                break;
            }
        }
    }
    assert!(
        incomplete > 30 && complete > 3,
        "{incomplete} and {complete}"
    );
    assert_eq!(contents(&source), files);
}

fn contents(disk: &SimDisk) -> Vec<(String, Option<Vec<u8>>)> {
    let names = disk.file_names().into_iter();
    names
        .map(|name| {
            let bytes = disk.file_bytes(&name);
            (name, bytes)
        })
        .collect()
}

#[test]
fn a_call_that_fails_is_an_error_that_names_the_file() {
    let (store, _) = some_store(&SimDisk::new(), 20);
    let faults = [
        (IoKind::Write, Fault::NoSpace),
        (IoKind::SyncData, Fault::IoError),
        (IoKind::Rename, Fault::IoError),
        (IoKind::SyncDirectory, Fault::IoError),
        (IoKind::Create, Fault::NoSpace),
    ];
    for (kind, fault) in faults {
        for nth in 1.. {
            let target = SimDisk::new();
            target.fail_nth(kind, nth, fault);
            let written = write(taken(&store), &target);
            if !target.was_disturbed() {
                assert!(nth > 1 && written.is_ok());
                break;
            }
            assert!(written.is_err(), "{kind:?} {nth}");
        }
    }
}

#[test]
fn a_message_that_cannot_be_read_makes_no_copy_that_passes_for_whole() {
    let disk = SimDisk::new();
    let (store, _) = some_store(&disk, 20);
    let living = store.opened.places.image().into_places().next().unwrap().1;
    let name = mq_persistence::segment::name(living.at.segment());
    let last = living.at.offset() + living.len - 1;
    disk.flip_bit(&name, last.into(), 0).unwrap();
    let refused = write(taken(&store), &SimDisk::new()).unwrap_err();
    assert!(matches!(&refused, BackupError::Unsound { .. }), "{refused}");
}

#[test]
fn a_copy_never_goes_where_something_is() {
    let (store, _) = some_store(&SimDisk::new(), 3);
    let target = SimDisk::new();
    target.create_directory().unwrap();
    target.install("notes.txt", b"mine").unwrap();
    let refused = write(taken(&store), &target).unwrap_err();
    assert!(matches!(&refused, BackupError::NotEmpty { file, .. } if file == "notes.txt"));
    assert_eq!(target.file_names(), ["notes.txt"]);
}

#[test]
fn a_copy_can_be_given_up() {
    let (store, _) = some_store(&SimDisk::new(), 20);
    let target: Arc<dyn Storage> = Arc::new(SimDisk::new());
    let mut asked = 0;
    let given_up = taken(&store).write(&target, &mut |progress| {
        asked += 1;
        assert!(progress.copied <= progress.total);
        ControlFlow::Break(())
    });
    assert!(matches!(given_up, Err(BackupError::GivenUp)));
    assert_eq!(asked, 1);
}
