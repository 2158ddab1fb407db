//! Damage to what was durable: every bit, every cut, every file. An opening finds the same state, or refuses and says where the damage
//! is; only a last frame that nothing calls synced may be taken for a torn tail. A refusal changes nothing.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use mq_persistence::open::{OpenError, open_into};
use mq_persistence::recovery::JournalEnd;
use mq_persistence::segment::{self, DATA_START};
use mq_persistence::storage::Storage;
use mq_testing::oracle::Ending;
use mq_testing::random::SplitMix64;
use mq_testing::sim_disk::{CrashMode, Fault, IoKind, SimDisk};

use crate::journal::{Journal, Known, Model, SMALL, inputs, open};

const SEED: u64 = 7_311;

/// How the last life ended before the damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Closed in order.
    Clean,
    /// Killed when idle, after a mark.
    Marked,
    /// Killed after a sync, before the mark.
    Unmarked,
}

/// A store of several openings, segments and two snapshots, and what is in it.
fn store(end: End, frames: u64) -> (SimDisk, Known) {
    let disk = SimDisk::new();
    let mut known = Known::small();
    let mut random = SplitMix64::new(SEED);
    let mut journal = Journal::open(&disk, &mut known, Ending::Closed).unwrap();
    journal.run(frames, &mut random).unwrap();
    journal.sync().unwrap();
    journal.keep().unwrap();
    drop(journal);
    let disk = disk.restart_process();
    let mut journal = Journal::open(&disk, &mut known, Ending::Killed).unwrap();
    journal.keep().unwrap();
    // More than fits into a segment, and no snapshot after it.
    for _ in 0..26 {
        journal.write(&mut random).unwrap();
        journal.sync().unwrap();
    }
    match end {
        End::Clean => journal.close().unwrap(),
        End::Marked => journal.idle_mark().unwrap(),
        End::Unmarked => {}
    }
    (disk.restart_process(), known)
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    same: u64,
    refused: u64,
    tail_lost: u64,
}

/// The content of all files but the lock.
pub(crate) fn content(disk: &SimDisk) -> BTreeMap<String, Vec<u8>> {
    let names = disk.file_names().into_iter().filter(|name| name != "LOCK");
    names
        .map(|name| {
            let bytes = disk.file_bytes(&name).unwrap();
            (name, bytes)
        })
        .collect()
}

/// Opens a damaged disk and holds it against what was known. `file` is what was damaged, if it was one.
fn judge(disk: &SimDisk, known: &Known, end: End, file: Option<&str>, tally: &mut Tally) {
    let before = content(disk);
    match open(disk, &SMALL, 1_000_000) {
        Ok(opened) => {
            let missing = known.behind(&opened.manager).expect("a state that was");
            match (missing, end) {
                (0, _) => tally.same += 1,
                (1, End::Unmarked) => {
                    let journal = opened.report.journal.as_ref().unwrap();
                    assert!(
                        matches!(journal.end, JournalEnd::Torn(_) | JournalEnd::Unmarked),
                        "{journal:?}"
                    );
                    tally.tail_lost += 1;
                }
                (missing, _) => panic!("{missing} frames are gone without a word"),
            }
            for seq in &opened.manager.live {
                let pinned = opened.places.pin(*seq).expect("a place for each message");
                // An old record may be damaged: then reading it says so.
                if let Ok(read) = pinned.read() {
                    assert_eq!(read.bytes, known.envelope(*seq), "message {seq}");
                }
            }
        }
        Err(error) => {
            assert_eq!(
                content(disk),
                before,
                "a refusal changed the store: {error}"
            );
            assert!(
                is_precise(&error, file),
                "damage to {file:?} was refused with {error:?}"
            );
            tally.refused += 1;
        }
    }
}

fn is_precise(error: &OpenError, damaged: Option<&str>) -> bool {
    match error {
        OpenError::Corrupt(corruption) => damaged.is_none_or(|file| corruption.file == file),
        OpenError::NewerFormat { file, .. } | OpenError::OtherStore { file } => {
            damaged.is_none_or(|damaged| damaged == file)
        }
        OpenError::MissingSegment { .. } | OpenError::MissingIdentity { .. } => damaged.is_none(),
        _ => false,
    }
}

/// Where in each file something stands: what lies between is zeros, and looked at in samples only.
fn used(name: &str, bytes: &[u8]) -> Vec<usize> {
    let is_segment = segment::number_of(name).is_some();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
    (0..bytes.len())
        .filter(|at| {
            let is_padding = is_segment && (132..512).contains(&(at % 512)) && bytes[*at] == 0;
            let is_behind = *at > last;
            !(is_padding || is_behind) || at.is_multiple_of(499)
        })
        .collect()
}

/// Applies `damage` to each place of each file, on a disk of its own, on two threads.
fn each<D>(disk: &SimDisk, places: &[(String, usize)], damage: D) -> Tally
where
    D: Fn(&SimDisk, &str, usize, &mut Tally) + Sync,
{
    let halves: [Range<usize>; 2] = [0..places.len() / 2, places.len() / 2..places.len()];
    let run = |range: Range<usize>| {
        let mut tally = Tally::default();
        for (name, at) in &places[range] {
            damage(&disk.fork(), name, *at, &mut tally);
        }
        tally
    };
    std::thread::scope(|scope| {
        let threads = halves.map(|range| scope.spawn(|| run(range)));
        let mut total = Tally::default();
        for thread in threads {
            let tally = thread.join().unwrap();
            total.same += tally.same;
            total.refused += tally.refused;
            total.tail_lost += tally.tail_lost;
        }
        total
    })
}

fn places_in(disk: &SimDisk) -> Vec<(String, usize)> {
    content(disk)
        .iter()
        .flat_map(|(name, bytes)| used(name, bytes).into_iter().map(|at| (name.clone(), at)))
        .collect()
}

#[test]
fn a_flipped_bit_is_harmless_or_refused_with_its_place() {
    println!("seed {SEED}");
    for (end, every) in [(End::Marked, 1), (End::Clean, 7)] {
        let (disk, known) = store(end, 20);
        let places: Vec<_> = places_in(&disk).into_iter().step_by(every).collect();
        let tally = each(&disk, &places, |disk, name, at, tally| {
            let bit = u8::try_from((at * 5 + at / 512) % 8).unwrap();
            disk.flip_bit(name, at as u64, bit).unwrap();
            judge(disk, &known, end, Some(name), tally);
        });
        println!("{end:?}: {tally:?}");
        assert!(tally.refused > 500 && tally.same > 500, "{tally:?}");
        assert_eq!(tally.tail_lost, 0);
    }
}

#[test]
fn every_bit_of_every_header_is_harmless_or_refused_with_its_place() {
    let (disk, known) = store(End::Marked, 5);
    let names = disk.file_names().into_iter();
    let places: Vec<_> = names
        .filter(|name| segment::number_of(name).is_some() || name == "IDENT")
        .flat_map(|name| {
            let data = DATA_START as usize;
            // Headers of the file, and of its first frame with its first record.
            let bytes = (0..140).chain(data..data + 110);
            bytes.map(move |at| (name.clone(), at))
        })
        .collect();
    let tally = each(&disk, &places, |disk, name, at, tally| {
        for bit in 0..8 {
            let disk = disk.fork();
            if disk.flip_bit(name, at as u64, bit).is_ok() {
                judge(&disk, &known, End::Marked, Some(name), tally);
            }
        }
    });
    println!("{tally:?}");
    assert!(tally.refused > 1_000 && tally.same > 1_000, "{tally:?}");
}

#[test]
fn damage_behind_the_last_sync_mark_takes_the_last_frame_at_most() {
    let (disk, known) = store(End::Unmarked, 5);
    let tally = each(&disk, &places_in(&disk), |disk, name, at, tally| {
        disk.flip_bit(name, at as u64, 3).unwrap();
        judge(disk, &known, End::Unmarked, Some(name), tally);
    });
    println!("{tally:?}");
    assert!(tally.tail_lost > 0 && tally.refused > 1_000, "{tally:?}");
}

#[test]
fn a_file_cut_anywhere_is_refused_or_was_not_needed() {
    let (disk, known) = store(End::Marked, 5);
    let tally = each(&disk, &places_in(&disk), |disk, name, at, tally| {
        disk.cut(name, at as u64).unwrap();
        judge(disk, &known, End::Marked, Some(name), tally);
    });
    println!("{tally:?}");
    assert!(tally.refused > 300, "{tally:?}");
    assert_eq!(tally.tail_lost, 0);
}

#[test]
fn a_zeroed_sector_is_harmless_or_refused_with_its_place() {
    let (disk, known) = store(End::Marked, 20);
    let sectors: Vec<_> = content(&disk)
        .iter()
        .flat_map(|(name, bytes)| (0..bytes.len() / 512).map(|at| (name.clone(), at)))
        .collect();
    let tally = each(&disk, &sectors, |disk, name, at, tally| {
        disk.zero_sector(name, at as u64).unwrap();
        judge(disk, &known, End::Marked, Some(name), tally);
    });
    println!("{tally:?}");
    assert!(tally.refused > 10, "{tally:?}");
    assert_eq!(tally.tail_lost, 0);
}

#[test]
fn sectors_that_changed_places_are_noticed() {
    println!("seed {SEED}");
    let (disk, known) = store(End::Marked, 20);
    let mut random = SplitMix64::new(SEED);
    let content = content(&disk);
    let names: Vec<_> = content.keys().collect();
    let mut tally = Tally::default();
    for _ in 0..400 {
        let name = *random.pick(&names).unwrap();
        let sectors = content[name].len() as u64 / 512;
        let (one, other) = (random.below(sectors), random.below(sectors));
        let disk = disk.fork();
        disk.swap_sectors(name, one, other).unwrap();
        judge(&disk, &known, End::Marked, Some(name), &mut tally);
    }
    println!("{tally:?}");
    assert!(tally.refused > 10, "{tally:?}");
}

#[test]
fn a_file_that_is_gone_is_missed() {
    let (disk, known) = store(End::Marked, 20);
    let mut refused = Vec::new();
    for name in disk.file_names() {
        let disk = disk.fork();
        disk.delete(&name).unwrap();
        let mut tally = Tally::default();
        judge(&disk, &known, End::Marked, None, &mut tally);
        if tally.refused > 0 {
            refused.push(name);
        }
    }
    println!("{refused:?}");
    // The last segment that was used: only a spare made after it says that there was one.
    let segments = disk.file_names().into_iter();
    let mut used =
        segments.filter(|name| segment::number_of(name).is_some() && !is_spare(&disk, name));
    assert!(refused.contains(&used.next_back().unwrap()));
    assert!(refused.contains(&"IDENT".to_owned()));
}

#[test]
fn files_that_changed_names_are_noticed() {
    let (disk, known) = store(End::Marked, 20);
    let names: Vec<_> = content(&disk).into_keys().collect();
    let mut tally = Tally::default();
    for one in &names {
        for other in names.iter().filter(|other| *other > one) {
            let disk = disk.fork();
            disk.swap_files(one, other).unwrap();
            judge(&disk, &known, End::Marked, None, &mut tally);
        }
    }
    println!("{tally:?}");
    // Snapshots say themselves which is newer: to swap them changes nothing.
    assert!(tally.refused > 10 && tally.same <= 1, "{tally:?}");
}

#[test]
fn a_file_of_another_store_is_told_from_ones_own() {
    let (disk, _) = store(End::Marked, 20);
    let other = SimDisk::new();
    let mut other_known = Known::small();
    other_known.shift_time(99);
    let mut journal = Journal::open(&other, &mut other_known, Ending::Closed).unwrap();
    journal.run(9, &mut SplitMix64::new(SEED)).unwrap();
    journal.keep().unwrap();
    journal.run(30, &mut SplitMix64::new(SEED)).unwrap();
    drop(journal);
    let mut refused = 0;
    for (name, bytes) in content(&other) {
        if name == "IDENT" || !disk.file_names().contains(&name) {
            continue;
        }
        let disk = disk.fork();
        disk.install(&name, &bytes).unwrap();
        let error = open(&disk, &SMALL, 1_000_000).expect_err("a foreign file");
        assert!(
            matches!(&error, OpenError::OtherStore { file } if *file == name),
            "{error:?}"
        );
        refused += 1;
    }
    assert!(refused > 2);
}

#[test]
fn an_old_copy_of_a_segment_is_noticed_once_the_journal_went_on() {
    let disk = SimDisk::new();
    let mut known = Known::small();
    let mut random = SplitMix64::new(SEED);
    let mut journal = Journal::open(&disk, &mut known, Ending::Closed).unwrap();
    journal.write(&mut random).unwrap();
    journal.sync().unwrap();
    let old = content(&disk);
    journal.run(3, &mut random).unwrap();
    journal.sync().unwrap();
    drop(journal);
    drop(Journal::open(&disk.restart_process(), &mut known, Ending::Killed).unwrap());
    let disk = disk.restart_process();
    drop(Journal::open(&disk, &mut known, Ending::Killed).unwrap());
    let disk = disk.restart_process();
    let (name, bytes) = old
        .iter()
        .rfind(|(name, _)| segment::number_of(name).is_some())
        .unwrap();
    disk.install(name, bytes).unwrap();
    let mut tally = Tally::default();
    judge(&disk, &known, End::Marked, Some(name), &mut tally);
    assert_eq!(tally.refused, 1);
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let (disk, _) = store(End::Marked, 3);
    for name in ["IDENT".to_owned(), first_segment(&disk)] {
        let disk = disk.fork();
        for copy in [0, 512] {
            disk.overwrite(&name, copy + 8, &[2, 0, 2, 0]).unwrap();
        }
        let error = open(&disk, &SMALL, 1_000_000).expect_err("a newer format");
        assert!(
            matches!(&error, OpenError::NewerFormat { file, required: 2 } if *file == name),
            "{error:?}"
        );
    }
}

#[test]
fn a_second_owner_is_told_who_the_first_is() {
    let disk = SimDisk::new();
    let first = open(&disk, &SMALL, 1_000).unwrap();
    let error = open(&disk, &SMALL, 2_000).expect_err("the store is open");
    assert!(
        matches!(&error, OpenError::InUse { owner } if owner == "a test"),
        "{error:?}"
    );
    drop(first);
    open(&disk, &SMALL, 3_000).expect("the first one is gone");
}

#[test]
fn what_an_interrupted_creation_left_is_made_again_and_nothing_else_is() {
    let (disk, _) = store(End::Clean, 3);
    disk.delete("IDENT").unwrap();
    let before = content(&disk);
    let error = open(&disk, &SMALL, 1_000_000).expect_err("a store without its identity");
    assert!(
        matches!(error, OpenError::MissingIdentity { .. }),
        "{error:?}"
    );
    assert_eq!(content(&disk), before);
}

#[test]
fn store_time_goes_on_by_a_day_at_most_however_far_the_wall_clock_jumped() {
    let day = 24 * 3_600_000;
    let year = 365 * day;
    let disk = SimDisk::new();
    let opened = open(&disk, &SMALL, 50 * year).unwrap();
    let begun = opened.store_time.as_ms();
    drop(opened);
    let opened = open(&disk, &SMALL, 100 * year).unwrap();
    assert_eq!(opened.store_time.as_ms(), begun + day);
    assert_eq!(opened.report.wall_clock_behind_ms, 0);
    drop(opened);
    let opened = open(&disk, &SMALL, 50 * year).unwrap();
    assert_eq!(opened.store_time.as_ms(), begun + day);
    assert_eq!(opened.report.wall_clock_behind_ms, 50 * year);
}

#[test]
fn a_real_directory_opens_and_opens_again() {
    let directory = tempfile::tempdir().unwrap();
    let storage = || -> Arc<dyn Storage> {
        let path = directory.path().join("store");
        Arc::new(mq_persistence::storage::DirectoryStorage::new(path))
    };
    let mut random = SplitMix64::new(SEED);
    let mut random = || random.next_u64();
    for life in 0..3 {
        let opened = open_into(storage(), &SMALL, inputs(1_000 + life, &mut random), |_| {
            Model::default()
        })
        .unwrap();
        assert_eq!(opened.report.created, life == 0);
        opened
            .log
            .close(&crate::fixture::now(2_000 + life))
            .unwrap();
    }
    let names = storage().list().unwrap();
    assert!(names.iter().any(|name| name == "IDENT"), "{names:?}");
}

fn first_segment(disk: &SimDisk) -> String {
    let mut names = disk.file_names().into_iter();
    names
        .find(|name| segment::number_of(name).is_some())
        .unwrap()
}

/// Whether a segment was never used.
fn is_spare(disk: &SimDisk, name: &str) -> bool {
    let bytes = disk.file_bytes(name).unwrap();
    let data = DATA_START as usize;
    bytes[data..data + 4096].iter().all(|byte| *byte == 0)
}

#[test]
fn a_frame_that_only_the_cache_still_has_is_saved_before_it_is_believed() {
    let disk = SimDisk::new();
    let mut known = Known::small();
    let mut random = SplitMix64::new(SEED);
    let mut journal = Journal::open(&disk, &mut known, Ending::Closed).unwrap();
    journal.write(&mut random).unwrap();
    journal.sync().unwrap();
    journal.write(&mut random).unwrap();
    disk.fail_nth(IoKind::SyncData, 1, Fault::SyncLostKept);
    journal.sync().expect_err("the sync fails");
    drop(journal);
    // The next process still sees what the failed sync lost, and answers on the strength of it.
    let disk = disk.restart_process();
    let opened = open(&disk, &SMALL, 100_000).unwrap();
    assert_eq!(&opened.manager, known.state());
    assert_eq!(opened.report.journal.as_ref().unwrap().copied, 2);
    drop(opened);
    let disk = disk.power_cycle(CrashMode::LoseAll);
    disk.drop_caches();
    let opened = open(&disk, &SMALL, 200_000).unwrap();
    assert_eq!(&opened.manager, known.state());
    for seq in &opened.manager.live {
        let read = opened.places.pin(*seq).unwrap().read().unwrap();
        assert_eq!(read.bytes, known.envelope(*seq));
    }
}

#[test]
fn a_torn_frame_is_reported_with_its_place() {
    let disk = SimDisk::new();
    let mut known = Known::default();
    let mut random = SplitMix64::new(SEED);
    let mut journal = Journal::open(&disk, &mut known, Ending::Closed).unwrap();
    journal.write(&mut random).unwrap();
    journal.sync().unwrap();
    let end = journal.opened.log.written();
    for _ in 0..3 {
        journal.write(&mut random).unwrap();
    }
    drop(journal);
    let disk = disk.restart_process();
    // The first of three frames that were not synced did not get to the disk whole; the two behind it did.
    let name = segment::name(end.segment());
    disk.overwrite(&name, u64::from(end.offset()) + 70, &[0xff; 40])
        .unwrap();
    let opened = open(&disk, &SMALL, 100_000).unwrap();
    let journal = opened.report.journal.unwrap();
    let JournalEnd::Torn(torn) = journal.end else {
        panic!("{journal:?}");
    };
    assert_eq!(
        (torn.file, torn.offset, torn.frames_dropped),
        (name, end.offset(), 3)
    );
    assert_eq!(known.behind(&opened.manager), Some(3));
}

#[test]
fn a_store_on_a_full_disk_opens_as_often_as_it_has_spares() {
    let disk = SimDisk::new();
    let mut known = Known::default();
    let mut journal = Journal::open(&disk, &mut known, Ending::Closed).unwrap();
    journal.run(6, &mut SplitMix64::new(SEED)).unwrap();
    journal.sync().unwrap();
    journal.keep().unwrap();
    drop(journal);
    let disk = disk.restart_process();
    let used: usize = content(&disk).values().map(Vec::len).sum();
    disk.set_capacity(Some(used as u64));
    let opened = open(&disk, &SMALL, 100_000).expect("a spare is there");
    assert_eq!(&opened.manager, known.state());
    drop(opened);
    let before = content(&disk);
    let error = open(&disk, &SMALL, 200_000).expect_err("no spare is left");
    assert!(matches!(error, OpenError::DiskFull { .. }), "{error:?}");
    assert_eq!(content(&disk), before);
}

#[test]
fn a_frame_that_follows_on_another_than_the_one_before_it_is_refused() {
    let base = SimDisk::new();
    let mut known = Known::small();
    let mut journal = Journal::open(&base, &mut known, Ending::Closed).unwrap();
    journal.write(&mut SplitMix64::new(1)).unwrap();
    journal.sync().unwrap();
    // Two futures of one store: the same positions, other frames.
    let write = |disk: &SimDisk, known: &mut Known, seed| {
        let disk = disk.restart_process();
        let mut journal = Journal::open(&disk, known, Ending::Killed).unwrap();
        let start = journal.opened.log.written();
        journal.write(&mut SplitMix64::new(seed)).unwrap();
        journal.write(&mut SplitMix64::new(seed)).unwrap();
        journal.sync().unwrap();
        (disk, start)
    };
    drop(journal);
    let other = base.fork();
    let (disk, start) = write(&base, &mut known.clone(), 2);
    let (other, same) = write(&other, &mut known, 7);
    assert_eq!(start, same);
    let name = segment::name(start.segment());
    let [one, two] = [&disk, &other].map(|disk| disk.file_bytes(&name).unwrap());
    let at = start.offset() as usize;
    assert_ne!(one[at..at + 512], two[at..at + 512]);
    let disk = disk.restart_process();
    disk.overwrite(&name, at as u64, &two[at..at + 512])
        .unwrap();
    let error = open(&disk, &SMALL, 1_000_000).expect_err("a frame of another future");
    assert!(is_precise(&error, Some(&name)), "{error:?}");
}
