//! The housekeeper: what is freed when, how spares come to be, what a failed call means.

use mq_persistence::Lsn;
use mq_persistence::open::JournalOptions;
use mq_persistence::segment::{Header, is_spare_name, number_of, spare_name};
use mq_persistence::spares::Prepared;
use mq_persistence::storage::{OpenMode, Storage};
use mq_testing::sim_disk::{Fault, IoKind, SimDisk};

use crate::journal::SMALL;
use crate::store::Store;

/// A page of payload: three such messages fill the smallest segment.
const PAGE: usize = 4000;

fn new_store(options: &JournalOptions) -> Store {
    Store::open(&SimDisk::new(), options, 1_000)
}

/// Enqueues and settles until the log has changed segment `times` times.
fn churn(store: &mut Store, times: u32) {
    let mut at = store.opened.log.written().segment();
    let mut changes = 0;
    while changes < times {
        let seq = store.enqueue(PAGE).unwrap();
        store.commit().unwrap();
        store.finish(seq);
        store.commit().unwrap();
        let now = store.opened.log.written().segment();
        changes += u32::from(now != at);
        at = now;
    }
}

fn segment_numbers(store: &Store) -> Vec<u32> {
    let names = store.disk.file_names();
    names.iter().filter_map(|name| number_of(name)).collect()
}

#[test]
fn a_segment_is_freed_only_when_both_snapshots_were_taken_after_it() {
    let mut store = new_store(&SMALL);
    churn(&mut store, 4);
    let oldest = store.opened.places.segments().list()[0].number();
    assert!(!store.survey().reclaim, "no snapshot at all");
    store.snapshot().unwrap();
    assert!(!store.survey().reclaim, "only one snapshot");
    churn(&mut store, 1);
    store.snapshot().unwrap();
    let survey = store.survey();
    assert!(survey.reclaim);
    assert!(store.opened.keeper.reclaim() >= 4);
    assert!(store.opened.places.segments().get(oldest).is_none());
}

#[test]
fn a_living_message_keeps_its_segment() {
    let mut store = new_store(&SMALL);
    let kept = store.enqueue(100).unwrap();
    store.commit().unwrap();
    let home = store.opened.places.find(kept).unwrap().at.segment();
    churn(&mut store, 3);
    for _ in 0..3 {
        store.snapshot().unwrap();
        store.survey();
        store.opened.keeper.reclaim();
        store.prepare().unwrap();
    }
    assert!(store.opened.places.segments().get(home).is_some());
    assert!(store.holds(kept.get(), 100));
}

#[test]
fn what_is_not_durable_frees_nothing() {
    let mut store = new_store(&SMALL);
    let last = store.enqueue(100).unwrap();
    store.commit().unwrap();
    churn(&mut store, 2);
    store.snapshot().unwrap();
    store.snapshot().unwrap();
    let home = store.opened.places.find(last).unwrap().at.segment();
    store.finish(last);
    store.write().unwrap();
    store.survey();
    assert!(store.opened.places.segments().get(home).is_some());
    store.commit().unwrap();
    store.survey();
    assert!(store.opened.places.segments().get(home).is_none());
}

#[test]
fn a_segment_is_not_recycled_under_a_reader() {
    let mut store = new_store(&SMALL);
    let seq = store.enqueue(100).unwrap();
    store.commit().unwrap();
    let pinned = store.opened.places.pin(seq).unwrap();
    let home = pinned.place().at.segment();
    store.finish(seq);
    store.commit().unwrap();
    churn(&mut store, 2);
    store.snapshot().unwrap();
    store.snapshot().unwrap();
    assert!(store.survey().reclaim);
    // Until everything that may be recycled was.
    for _ in 0..8 {
        store.opened.keeper.reclaim();
        store.prepare().unwrap();
        churn(&mut store, 1);
    }
    assert!(segment_numbers(&store).contains(&home));
    assert_eq!(
        pinned.read().unwrap().bytes,
        crate::fixture::sealed(seq.get(), 100).bytes
    );
    drop(pinned);
    assert_eq!(store.opened.keeper.reclaim(), 1);
    churn(&mut store, 1);
    store.prepare().unwrap();
    assert!(
        !segment_numbers(&store).contains(&home),
        "recycled once the reader is done"
    );
}

#[test]
fn a_steady_store_lives_on_recycled_segments() {
    let mut store = new_store(&SMALL);
    for _ in 0..20 {
        churn(&mut store, 1);
        store.maintain().unwrap();
    }
    let created = store.disk.count_of(IoKind::Create);
    let taken = store.counts.snapshots;
    let size = store.disk_size();
    for _ in 0..60 {
        churn(&mut store, 1);
        store.maintain().unwrap();
    }
    let taken = store.counts.snapshots - taken;
    let created = store.disk.count_of(IoKind::Create) - created;
    assert!(taken > 10);
    assert_eq!(
        created, taken,
        "each snapshot makes one file, and nothing else does"
    );
    assert!(
        store.disk_size() <= size + (64 << 10),
        "{} then {}",
        size,
        store.disk_size()
    );
}

#[test]
fn a_recycled_segment_shows_nothing_of_its_former_life() {
    let mut store = new_store(&SMALL);
    for _ in 0..12 {
        churn(&mut store, 1);
        store.maintain().unwrap();
    }
    let spares: Vec<u32> = segment_numbers(&store)
        .into_iter()
        .filter(|number| *number > store.opened.log.written().segment())
        .collect();
    assert!(!spares.is_empty());
    for number in spares {
        let bytes = store
            .disk
            .file_bytes(&mq_persistence::segment::name(number))
            .unwrap();
        let header = Header::decode(&bytes).unwrap();
        assert_eq!(header.number, number);
        let segment = mq_persistence::scan::SegmentBytes::of_bytes(
            bytes,
            header,
            store.opened.identity.seed(),
        );
        assert!(segment.frame(segment.start()).is_err());
        assert!(segment.headers_after(segment.start()).next().is_none());
    }
}

#[test]
fn segments_grow_with_the_journal() {
    let options = JournalOptions {
        segment_size_max: 64 << 10,
        snapshot_after_min: 1 << 30,
        ..SMALL
    };
    let mut store = new_store(&options);
    for _ in 0..60 {
        churn(&mut store, 1);
        store.maintain().unwrap();
    }
    let sizes: Vec<u32> = store
        .opened
        .places
        .segments()
        .list()
        .iter()
        .map(|it| it.size())
        .collect();
    assert!(sizes.is_sorted(), "{sizes:?}");
    assert_eq!(sizes.first(), Some(&(16 << 10)));
    assert_eq!(sizes.last(), Some(&(64 << 10)));
}

#[test]
fn a_frame_larger_than_the_spares_passes_them_over() {
    let mut store = new_store(&SMALL);
    store.prepare().unwrap();
    let first = store.enqueue(100_000).unwrap();
    store.commit().unwrap();
    assert!(store.holds(first.get(), 100_000));
    churn(&mut store, 6);
    store.prepare().unwrap();
    assert!(
        store
            .disk
            .file_names()
            .iter()
            .all(|name| !is_spare_name(name))
    );
    let store = store.reopen(&SMALL);
    assert!(store.holds(first.get(), 100_000));
}

#[test]
fn a_full_disk_fails_the_making_of_a_spare_and_nothing_else() {
    for nth in 1..8 {
        let mut store = new_store(&SMALL);
        store.disk.fail_nth(IoKind::Write, nth, Fault::NoSpace);
        let before = store.disk.file_names();
        let prepared = store.prepare().unwrap();
        if prepared == Prepared::DiskLow {
            assert_eq!(store.disk.file_names(), before, "what was begun is gone");
        }
        store.disk.clear_faults();
        assert_eq!(store.prepare().unwrap(), Prepared::Enough);
        churn(&mut store, 3);
    }
}

#[test]
fn any_other_failure_means_that_the_journal_must_stop() {
    let kinds = [
        IoKind::Write,
        IoKind::SyncData,
        IoKind::Rename,
        IoKind::SyncDirectory,
        IoKind::Create,
    ];
    for kind in kinds {
        let mut store = new_store(&SMALL);
        store.disk.fail_nth(kind, 1, Fault::IoError);
        assert!(store.prepare().is_err(), "{kind:?}");
    }
}

#[test]
fn debris_of_an_earlier_life_is_used_or_removed() {
    let mut store = new_store(&SMALL);
    churn(&mut store, 2);
    store.prepare().unwrap();
    let used = segment_numbers(&store)[0];
    let disk = store.disk.clone();
    drop(store);
    let disk = disk.restart_process();
    // A file that was being filled, and one that never was a segment of this store.
    let file = disk.open(&spare_name(900), OpenMode::CreateNew).unwrap();
    file.set_size(4096).unwrap();
    let mut foreign = disk
        .file_bytes(&mq_persistence::segment::name(used))
        .unwrap();
    foreign[20] ^= 1;
    disk.install(&spare_name(901), &foreign).unwrap();
    let mut store = Store::open(&disk, &SMALL, 50_000);
    for _ in 0..4 {
        churn(&mut store, 1);
        store.prepare().unwrap();
    }
    let names = disk.file_names();
    assert!(names.iter().all(|name| !is_spare_name(name)), "{names:?}");
    assert!(
        segment_numbers(&store)
            .iter()
            .all(|number| *number != 900 && *number != 901)
    );
}

#[test]
fn a_snapshot_is_wanted_by_the_journal_since_the_last() {
    let mut store = new_store(&SMALL);
    assert!(!store.survey().snapshot);
    churn(&mut store, 4);
    assert!(store.survey().snapshot, "more than 48 KiB of journal");
    store.snapshot().unwrap();
    assert!(!store.survey().snapshot);
    let at = store.opened.keeper.newest_snapshot().unwrap().at;
    assert!(at > Lsn::START && at == store.opened.log.durable());
}
