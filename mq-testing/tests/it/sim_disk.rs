//! What the simulated disk loses, and what it never loses.

use std::io;
use std::sync::Arc;

use mq_persistence::storage::{
    LockRefusal, OpenMode, Storage, StorageFile, StorageRefusal, write_all_at,
};
use mq_testing::sim_disk::{CrashMode, Fault, IoKind, SimDisk, is_caused_by_crash, is_crash};

const SECTOR: usize = 512;

/// A disk whose data directory is durable and empty.
fn disk() -> SimDisk {
    let disk = SimDisk::new();
    disk.create_directory().unwrap();
    disk
}

/// A file whose name and bytes are durable.
fn durable_file(disk: &SimDisk, name: &str, bytes: &[u8]) -> Arc<dyn StorageFile> {
    let file = disk.open(name, OpenMode::CreateNew).unwrap();
    write_all_at(file.as_ref(), bytes, 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_directory().unwrap();
    file
}

fn every_mode(seed: u64) -> [CrashMode; 6] {
    [
        CrashMode::LoseAll,
        CrashMode::KeepAll,
        CrashMode::Prefix(seed),
        CrashMode::Subset(seed),
        CrashMode::Page4k(seed),
        CrashMode::MissingOne(seed),
    ]
}

/// What becomes of `name` under 200 seeds of a mode.
fn futures(disk: &SimDisk, name: &str, mode: impl Fn(u64) -> CrashMode) -> Vec<Option<Vec<u8>>> {
    (0..200)
        .map(|seed| disk.power_cycle(mode(seed)).file_bytes(name))
        .collect()
}

#[test]
fn what_was_synced_survives_every_crash() {
    let disk = disk();
    durable_file(&disk, "a", &[7; 3000]);
    assert!(disk.is_synced());
    for mode in (0..50).flat_map(every_mode) {
        assert_eq!(
            disk.power_cycle(mode).file_bytes("a"),
            Some(vec![7; 3000]),
            "{mode:?}"
        );
    }
}

#[test]
fn what_was_not_synced_is_lost_or_kept_as_the_mode_says() {
    let disk = disk();
    let file = durable_file(&disk, "a", &[1; 1024]);
    write_all_at(file.as_ref(), &[2; 1024], 0).unwrap();
    assert!(!disk.is_synced());
    assert_eq!(
        disk.power_cycle(CrashMode::LoseAll).file_bytes("a"),
        Some(vec![1; 1024])
    );
    assert_eq!(
        disk.power_cycle(CrashMode::KeepAll).file_bytes("a"),
        Some(vec![2; 1024])
    );
}

#[test]
fn each_pending_sector_is_old_or_new_or_spoiled_and_no_other_is_touched() {
    let disk = disk();
    let file = durable_file(&disk, "a", &[1; 4 * SECTOR]);
    write_all_at(file.as_ref(), &[2; 2 * SECTOR], SECTOR as u64).unwrap();
    let (mut old_new, mut new_old, mut torn, mut garbage) = (false, false, false, false);
    for future in futures(&disk, "a", CrashMode::Subset) {
        let future = future.unwrap();
        let sectors: Vec<&[u8]> = future.chunks(SECTOR).collect();
        assert!(
            sectors[0] == [1; SECTOR] && sectors[3] == [1; SECTOR],
            "a neighbour was hit"
        );
        old_new |= sectors[1] == [1; SECTOR] && sectors[2] == [2; SECTOR];
        new_old |= sectors[1] == [2; SECTOR] && sectors[2] == [1; SECTOR];
        torn |= sectors[1][0] == 2 && sectors[1][SECTOR - 1] == 1;
        garbage |= sectors[1].iter().any(|byte| !matches!(byte, 1 | 2));
    }
    assert!(old_new && new_old && torn && garbage);
}

#[test]
fn a_sector_written_twice_may_keep_the_version_between() {
    let disk = disk();
    let file = durable_file(&disk, "a", &[1; SECTOR]);
    for byte in [2, 3] {
        write_all_at(file.as_ref(), &[byte; SECTOR], 0).unwrap();
    }
    let between = Some(vec![2; SECTOR]);
    for mode in [CrashMode::Subset, CrashMode::Page4k, CrashMode::Prefix] {
        assert!(futures(&disk, "a", mode).contains(&between));
    }
}

#[test]
fn a_page_is_kept_or_lost_as_one_in_page_mode() {
    let disk = disk();
    let file = durable_file(&disk, "a", &[1; 8192]);
    write_all_at(file.as_ref(), &[2; 8192], 0).unwrap();
    let futures = futures(&disk, "a", CrashMode::Page4k);
    for future in &futures {
        for page in future.as_ref().unwrap().chunks(4096) {
            assert!(page == [1; 4096] || page == [2; 4096]);
        }
    }
    assert!(
        futures
            .iter()
            .flatten()
            .any(|future| future[0] != future[8191])
    );
}

#[test]
fn a_prefix_never_keeps_a_later_write_without_the_earlier() {
    let disk = disk();
    let file = durable_file(&disk, "a", &[0; 8 * SECTOR]);
    for sector in (0..8).rev() {
        write_all_at(file.as_ref(), &[1; SECTOR], sector * SECTOR as u64).unwrap();
    }
    let mut lengths = std::collections::BTreeSet::new();
    for future in futures(&disk, "a", CrashMode::Prefix) {
        let written: Vec<u8> = future
            .unwrap()
            .chunks(SECTOR)
            .rev()
            .map(|sector| sector[0])
            .collect();
        assert!(
            written.is_sorted_by(|one, other| one >= other),
            "{written:?}"
        );
        lengths.insert(written.iter().filter(|byte| **byte == 1).count());
    }
    assert_eq!(lengths.len(), 9, "every prefix occurs");
}

#[test]
fn the_last_write_of_a_prefix_may_be_cut_between_its_sectors() {
    let disk = disk();
    let file = durable_file(&disk, "a", &[0; 4 * SECTOR]);
    write_all_at(file.as_ref(), &[1; 4 * SECTOR], 0).unwrap();
    let mut lengths = std::collections::BTreeSet::new();
    for future in futures(&disk, "a", CrashMode::Prefix) {
        let future = future.unwrap();
        assert!(
            future.is_sorted_by(|one, other| one >= other),
            "not from its beginning"
        );
        lengths.insert(future.iter().filter(|byte| **byte == 1).count() / SECTOR);
    }
    assert_eq!(lengths.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
}

#[test]
fn exactly_one_sector_is_missing_when_one_is() {
    let disk = disk();
    let file = durable_file(&disk, "a", &[0; 8 * SECTOR]);
    write_all_at(file.as_ref(), &[1; 8 * SECTOR], 0).unwrap();
    for future in futures(&disk, "a", CrashMode::MissingOne) {
        assert_eq!(
            future.unwrap().iter().filter(|byte| **byte == 0).count(),
            SECTOR
        );
    }
}

#[test]
fn a_size_may_be_durable_before_its_data_and_after() {
    let disk = disk();
    let file = durable_file(&disk, "a", &[]);
    write_all_at(file.as_ref(), &[1; 2 * SECTOR], 0).unwrap();
    let futures = futures(&disk, "a", CrashMode::Subset);
    assert!(
        futures.contains(&Some(vec![0; 2 * SECTOR])),
        "size without data"
    );
    assert!(futures.contains(&Some(Vec::new())), "data without size");
}

#[test]
fn a_cut_that_was_not_synced_may_not_have_happened() {
    let disk = disk();
    let file = durable_file(&disk, "a", &[1; 2000]);
    file.set_size(100).unwrap();
    file.set_size(2000).unwrap();
    assert_eq!(
        disk.file_bytes("a"),
        Some([vec![1; 100], vec![0; 1900]].concat())
    );
    assert_eq!(
        disk.power_cycle(CrashMode::LoseAll).file_bytes("a"),
        Some(vec![1; 2000])
    );
    file.sync_data().unwrap_err();
}

#[test]
fn a_new_name_is_lost_until_the_directory_is_synced_however_its_file_was() {
    let disk = disk();
    let file = disk.open("a", OpenMode::CreateNew).unwrap();
    write_all_at(file.as_ref(), &[1; SECTOR], 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(disk.power_cycle(CrashMode::LoseAll).file_bytes("a"), None);
    assert_eq!(
        disk.fork().power_cycle(CrashMode::KeepAll).file_bytes("a"),
        Some(vec![1; SECTOR])
    );
}

#[test]
fn a_rename_may_be_durable_before_the_data_of_its_file() {
    let disk = disk();
    durable_file(&disk, "log", b"old");
    let file = disk.open("log.new", OpenMode::CreateNew).unwrap();
    write_all_at(file.as_ref(), b"new", 0).unwrap();
    disk.rename("log.new", "log").unwrap();
    let futures = futures(&disk, "log", CrashMode::Subset);
    for expected in [&b"old"[..], b"new", b""] {
        assert!(
            futures.iter().flatten().any(|bytes| bytes == expected),
            "{expected:?}"
        );
    }
}

#[test]
fn a_rename_never_shows_two_names_or_none() {
    let disk = disk();
    durable_file(&disk, "a", b"1");
    disk.rename("a", "b").unwrap();
    disk.rename("b", "c").unwrap();
    for mode in (0..200).flat_map(every_mode) {
        assert_eq!(disk.power_cycle(mode).file_names().len(), 1, "{mode:?}");
    }
}

#[test]
fn names_change_independently_until_the_directory_is_synced() {
    let disk = disk();
    durable_file(&disk, "a", b"1");
    disk.remove("a").unwrap();
    disk.open("b", OpenMode::CreateNew).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        seen.insert(
            disk.power_cycle(CrashMode::Subset(seed))
                .file_names()
                .concat(),
        );
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["", "a", "ab", "b"]);
}

#[test]
fn a_directory_is_lost_until_its_parent_is_synced() {
    let disk = SimDisk::new();
    assert!(matches!(
        disk.inspect(),
        Err(StorageRefusal::Missing { .. })
    ));
    assert_eq!(disk.list().unwrap_err().kind(), io::ErrorKind::NotFound);
    disk.crash_after(1);
    assert!(is_crash(&disk.create_directory().unwrap_err()));
    assert!(disk.power_cycle(CrashMode::LoseAll).inspect().is_err());
    assert!(disk.power_cycle(CrashMode::KeepAll).inspect().is_ok());
}

#[test]
fn a_failed_sync_loses_its_bytes_although_the_next_one_succeeds() {
    let disk = disk();
    let file = durable_file(&disk, "a", &[1; SECTOR]);
    write_all_at(file.as_ref(), &[2; SECTOR], 0).unwrap();
    disk.fail_nth(IoKind::SyncData, 1, Fault::SyncLostKept);
    assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(5));
    file.sync_data().unwrap();
    assert_eq!(
        disk.file_bytes("a"),
        Some(vec![2; SECTOR]),
        "the cache still has them"
    );
    let restarted = disk.restart_process();
    assert_eq!(
        restarted.file_bytes("a"),
        Some(vec![2; SECTOR]),
        "also for the next process"
    );
    restarted.drop_caches();
    assert_eq!(restarted.file_bytes("a"), Some(vec![1; SECTOR]));
    for mode in (0..20).flat_map(every_mode) {
        assert_eq!(
            disk.power_cycle(mode).file_bytes("a"),
            Some(vec![1; SECTOR]),
            "{mode:?}"
        );
    }
}

#[test]
fn bytes_lost_by_a_failed_sync_are_safe_once_written_and_synced_again() {
    let disk = disk();
    let file = durable_file(&disk, "a", &[1; SECTOR]);
    write_all_at(file.as_ref(), &[2; SECTOR], 0).unwrap();
    disk.fail_nth(IoKind::SyncData, 1, Fault::SyncLostKept);
    file.sync_data().unwrap_err();
    write_all_at(file.as_ref(), &[2; SECTOR], 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(
        disk.power_cycle(CrashMode::LoseAll).file_bytes("a"),
        Some(vec![2; SECTOR])
    );
}

#[test]
fn a_failed_sync_may_show_the_old_bytes_at_once() {
    let disk = disk();
    let file = durable_file(&disk, "a", &[1; SECTOR]);
    write_all_at(file.as_ref(), &[2; 2 * SECTOR], 0).unwrap();
    disk.fail_nth(IoKind::SyncData, 1, Fault::SyncLostReverted);
    file.sync_data().unwrap_err();
    assert_eq!(disk.file_bytes("a"), Some(vec![1; SECTOR]));
}

#[test]
fn a_lying_sync_answers_well_and_writes_nothing() {
    let disk = disk();
    let file = durable_file(&disk, "a", &[1; SECTOR]);
    write_all_at(file.as_ref(), &[2; SECTOR], 0).unwrap();
    disk.open("b", OpenMode::CreateNew).unwrap();
    disk.fail_nth(IoKind::SyncData, 1, Fault::Lie);
    disk.fail_nth(IoKind::SyncDirectory, 1, Fault::Lie);
    file.sync_data().unwrap();
    disk.sync_directory().unwrap();
    let left = disk.power_cycle(CrashMode::KeepAll);
    assert_eq!(
        (left.file_bytes("a"), left.file_bytes("b")),
        (Some(vec![1; SECTOR]), None)
    );
}

#[test]
fn the_call_that_was_aimed_at_fails_and_no_other() {
    let disk = disk();
    let file = durable_file(&disk, "a", &[1; 10]);
    disk.fail_nth(IoKind::Write, 2, Fault::NoSpace);
    disk.fail_nth(IoKind::Write, 3, Fault::Interrupted);
    disk.fail_nth(IoKind::Write, 4, Fault::Short);
    disk.fail_from(IoKind::Read, 2, Fault::IoError);
    assert_eq!(file.write_at(&[2; 10], 0).unwrap(), 10);
    assert_eq!(
        file.write_at(&[3; 10], 0).unwrap_err().kind(),
        io::ErrorKind::StorageFull
    );
    assert_eq!(
        file.write_at(&[3; 10], 0).unwrap_err().kind(),
        io::ErrorKind::Interrupted
    );
    assert_eq!(file.write_at(&[4; 10], 0).unwrap(), 5);
    assert_eq!(
        disk.file_bytes("a").unwrap(),
        [4, 4, 4, 4, 4, 2, 2, 2, 2, 2]
    );
    assert_eq!(file.read_at(&mut [0; 10], 0).unwrap(), 10);
    for _ in 0..3 {
        assert_eq!(
            file.read_at(&mut [0; 10], 0).unwrap_err().raw_os_error(),
            Some(5)
        );
    }
    disk.clear_faults();
    assert_eq!(file.read_at(&mut [0; 10], 0).unwrap(), 10);
}

#[test]
fn a_full_disk_takes_what_fits_and_then_nothing() {
    let disk = SimDisk::with_capacity(3 * 4096);
    disk.create_directory().unwrap();
    let file = disk.open("a", OpenMode::CreateNew).unwrap();
    assert_eq!(file.write_at(&[1; 8192], 100).unwrap(), 8192);
    assert_eq!(disk.free_bytes().unwrap(), 0);
    assert_eq!(file.write_at(&[2; 8192], 8000).unwrap(), 3 * 4096 - 8000);
    assert_eq!(
        file.write_at(&[2; 10], 3 * 4096).unwrap_err().kind(),
        io::ErrorKind::StorageFull
    );
    assert_eq!(
        file.write_at(&[3; 4096], 0).unwrap(),
        4096,
        "space that is taken can be written again"
    );
    file.set_size(1 << 20).unwrap();
    assert_eq!(
        file.write_at(&[2; 10], 1 << 19).unwrap_err().kind(),
        io::ErrorKind::StorageFull,
        "a hole"
    );
    disk.remove("a").unwrap();
    assert_eq!(disk.free_bytes().unwrap(), 3 * 4096);
}

#[test]
fn a_crash_comes_after_the_given_io_and_stops_every_handle() {
    let disk = disk();
    let file = durable_file(&disk, "a", &[1; 10]);
    let before = disk.io_count();
    disk.crash_after(before + 2);
    file.write_at(&[2; 10], 0).unwrap();
    file.read_at(&mut [0; 10], 0).unwrap();
    file.sync_data().unwrap();
    assert!(!disk.has_crashed());
    assert!(is_crash(&file.read_at(&mut [0; 10], 0).unwrap_err()));
    assert!(is_crash(&file.write_at(&[3; 10], 0).unwrap_err()));
    assert!(is_crash(&disk.sync_directory().unwrap_err()));
    let refusal = disk.inspect().unwrap_err();
    assert!(is_caused_by_crash(&refusal));
    assert!(disk.has_crashed());
    assert_eq!(
        disk.power_cycle(CrashMode::LoseAll).file_bytes("a"),
        Some(vec![2; 10])
    );
}

#[test]
fn a_killed_process_leaves_its_bytes_and_loses_its_locks_and_handles() {
    let disk = disk();
    let file = durable_file(&disk, "a", &[1; 10]);
    let lock = disk.lock("LOCK", "pid 7 of test").unwrap();
    let Err(LockRefusal::Held { owner }) = disk.lock("LOCK", "pid 8") else {
        panic!("two owners")
    };
    assert_eq!(owner, "pid 7 of test");
    file.write_at(&[2; 10], 0).unwrap();
    let next = disk.restart_process();
    assert!(is_crash(&file.write_at(&[3; 10], 0).unwrap_err()));
    assert!(is_crash(&lock.verify().unwrap_err()));
    assert!(!disk.has_crashed());
    assert_eq!(next.file_bytes("a"), Some(vec![2; 10]));
    assert!(!next.is_synced());
    let held = next.lock("LOCK", "pid 9").unwrap();
    drop(lock);
    assert!(
        next.lock("LOCK", "pid 10").is_err(),
        "the dead process must not unlock"
    );
    drop(held);
    assert!(next.lock("LOCK", "pid 10").is_ok());
}

#[test]
fn a_fork_and_its_origin_go_their_own_ways() {
    let disk = disk();
    let file = durable_file(&disk, "a", &[1; 10]);
    file.write_at(&[2; 10], 0).unwrap();
    let fork = disk.fork();
    file.sync_data().unwrap();
    fork.open("a", OpenMode::ReadWrite)
        .unwrap()
        .write_at(&[3; 10], 0)
        .unwrap();
    assert_eq!(
        disk.power_cycle(CrashMode::LoseAll).file_bytes("a"),
        Some(vec![2; 10])
    );
    assert_eq!(
        fork.power_cycle(CrashMode::LoseAll).file_bytes("a"),
        Some(vec![1; 10])
    );
}

#[test]
fn damage_is_durable() {
    let disk = disk();
    durable_file(&disk, "a", &[1; 4 * SECTOR]);
    durable_file(&disk, "b", &[9; 10]);
    disk.flip_bit("a", 3, 7).unwrap();
    disk.zero_sector("a", 1).unwrap();
    disk.overwrite("a", 2 * SECTOR as u64, b"stale").unwrap();
    disk.swap_sectors("a", 0, 3).unwrap();
    let left = disk
        .power_cycle(CrashMode::LoseAll)
        .file_bytes("a")
        .unwrap();
    assert_eq!(left[3 * SECTOR + 3], 1 ^ 128);
    assert_eq!(left[SECTOR..2 * SECTOR], [0; SECTOR]);
    assert_eq!(left[2 * SECTOR..2 * SECTOR + 5], *b"stale");
    disk.cut("a", 100).unwrap();
    disk.swap_files("a", "b").unwrap();
    disk.install("c", b"foreign").unwrap();
    disk.delete("a").unwrap();
    let left = disk.power_cycle(CrashMode::LoseAll);
    assert_eq!(left.file_names(), ["b", "c"]);
    assert_eq!(
        (
            left.file_bytes("b").unwrap().len(),
            left.file_bytes("c").unwrap()
        ),
        (100, b"foreign".to_vec())
    );
    assert_eq!(
        disk.zero_sector("b", 1).unwrap_err().kind(),
        io::ErrorKind::UnexpectedEof
    );
    assert_eq!(
        disk.flip_bit("a", 0, 0).unwrap_err().kind(),
        io::ErrorKind::NotFound
    );
}

#[test]
fn the_trace_tells_the_story_through_a_crash() {
    let disk = disk();
    let file = durable_file(&disk, "a", &[1; 10]);
    disk.fail_nth(IoKind::Write, 1, Fault::IoError);
    file.write_at(&[1; 7], 40).unwrap_err();
    let trace = disk.power_cycle(CrashMode::Subset(3)).trace();
    for line in [
        "3 Create a",
        "4 Write a [0, +10]",
        "Write a [40, +7]  ! IoError",
        "power lost: Subset(3)",
    ] {
        assert!(trace.contains(line), "{line} is not in\n{trace}");
    }
}
