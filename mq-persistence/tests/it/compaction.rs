//! Compaction: one old message does not keep the millions around it on disk.

use mq_persistence::open::JournalOptions;
use mq_persistence::pins::ReadFault;
use mq_testing::sim_disk::{Fault, IoKind, SECTOR_SIZE, SimDisk};

use crate::journal::SMALL;
use crate::store::Store;

const OPTIONS: JournalOptions = JournalOptions {
    segment_size_max: 64 << 10,
    ..SMALL
};

fn new_store() -> Store {
    Store::open(&SimDisk::new(), &OPTIONS, 1_000)
}

/// Messages come and go, a few at a time; none stays.
fn pass_through(store: &mut Store, count: u64) {
    for _ in 0..count / 10 {
        let batch: Vec<_> = (0..10).map(|_| store.enqueue(300).unwrap()).collect();
        store.commit().unwrap();
        batch.into_iter().for_each(|seq| store.finish(seq));
        store.commit().unwrap();
        store.maintain().unwrap();
    }
}

/// Messages come and go for some segments, and two snapshots are taken; nothing is moved.
fn age(store: &mut Store) {
    for _ in 0..2 {
        for _ in 0..100 {
            let seq = store.enqueue(300).unwrap();
            store.commit().unwrap();
            store.finish(seq);
            store.commit().unwrap();
        }
        store.snapshot().unwrap();
    }
}

#[test]
fn one_old_message_does_not_pin_the_journal() {
    let mut store = new_store();
    let old = store.enqueue(700).unwrap();
    store.commit().unwrap();
    pass_through(&mut store, 3_000);
    let size = store.disk_size();
    pass_through(&mut store, 9_000);
    // Enough for two snapshots' worth of journal, four segments, the spares.
    assert!(
        store.disk_size() <= 16 * (64 << 10),
        "{} bytes for one message",
        store.disk_size()
    );
    assert!(
        store.disk_size() <= size + 4 * (64 << 10),
        "{size} bytes, then {}",
        store.disk_size()
    );
    assert!(store.counts.relocations > 0);
    assert!(store.holds(old.get(), 700));
    let store = store.reopen(&OPTIONS);
    assert_eq!(store.live().len(), 1);
    assert!(store.holds(old.get(), 700), "and it survives");
}

#[test]
fn old_messages_among_many_keep_little_disk() {
    let mut store = new_store();
    let mut kept = Vec::new();
    for round in 0..60_u64 {
        kept.push(store.enqueue(500).unwrap());
        pass_through(&mut store, 50 + round);
    }
    pass_through(&mut store, 2_000);
    let live = store.opened.places.live_bytes();
    let bound = live * 5 / 2 + 20 * (64 << 10);
    assert!(
        store.disk_size() as u64 <= bound,
        "{} bytes for {live}",
        store.disk_size()
    );
    for seq in &kept {
        assert!(store.holds(seq.get(), 500));
    }
}

#[test]
fn an_idle_store_is_compacted_too() {
    let mut store = new_store();
    let batch: Vec<_> = (0..1_000)
        .map(|_| {
            let seq = store.enqueue(300).unwrap();
            store.commit().unwrap();
            seq
        })
        .collect();
    for seq in batch.iter().skip(1).filter(|seq| seq.get() % 20 != 0) {
        store.finish(*seq);
    }
    store.commit().unwrap();
    store.snapshot().unwrap();
    store.snapshot().unwrap();
    let segments = store.opened.places.segments().list().len();
    for _ in 0..200 {
        if !store.survey().compaction {
            break;
        }
        store.compact(4 << 10).unwrap();
    }
    store.snapshot().unwrap();
    store.snapshot().unwrap();
    store.maintain().unwrap();
    let left = store.opened.places.segments().list().len();
    assert!(
        left * 3 < segments,
        "{left} of {segments} segments are left"
    );
    for seq in store.live() {
        assert!(store.holds(seq.get(), 300));
    }
}

#[test]
fn what_will_soon_be_empty_is_not_copied() {
    let mut store = new_store();
    let mut waiting = std::collections::VecDeque::new();
    for _ in 0..3_000 {
        waiting.push_back(store.enqueue(300).unwrap());
        store.commit().unwrap();
        if waiting.len() > 30 {
            store.finish(waiting.pop_front().unwrap());
        }
        store.maintain().unwrap();
    }
    assert!(store.counts.reclaimed > 10);
    assert_eq!(
        store.counts.relocations, 0,
        "a queue that flows frees its segments by itself"
    );
}

#[test]
fn a_step_reads_no_more_than_it_may() {
    let mut store = new_store();
    let kept: Vec<_> = (0..200).map(|_| store.enqueue(300).unwrap()).collect();
    store.commit().unwrap();
    pass_through(&mut store, 500);
    for seq in kept.iter().skip(20) {
        store.finish(*seq);
    }
    store.commit().unwrap();
    age(&mut store);
    assert!(store.survey().compaction);
    let read = store.opened.keeper.read_live(1_000).unwrap();
    let size: usize = read.iter().map(|it| it.sealed.bytes.len()).sum();
    assert!(!read.is_empty() && size <= 1_000 + 400, "{size} bytes");
}

#[test]
fn an_envelope_is_moved_byte_for_byte_with_its_checksum() {
    let mut store = new_store();
    let old = store.enqueue(700).unwrap();
    store.commit().unwrap();
    let before = store.opened.places.pin(old).unwrap().read().unwrap();
    let place = store.opened.places.find(old).unwrap();
    pass_through(&mut store, 3_000);
    assert_ne!(store.opened.places.find(old), Some(place), "it has moved");
    assert_eq!(
        store.opened.places.pin(old).unwrap().read().unwrap(),
        before
    );
}

#[test]
fn what_ended_meanwhile_is_not_brought_back() {
    let mut store = new_store();
    let old = store.enqueue(700).unwrap();
    store.commit().unwrap();
    age(&mut store);
    assert!(store.survey().compaction);
    let read = store.opened.keeper.read_live(4_000).unwrap();
    assert!(read.iter().any(|it| it.seq == old));
    store.finish(old);
    store.commit().unwrap();
    let lives = |it| mq_persistence::compaction::still_lives(&store.opened.places, it);
    assert!(!read.iter().any(lives));
}

#[test]
fn a_damaged_record_is_reported_and_stays_where_it_is() {
    let mut store = new_store();
    let old = store.enqueue(700).unwrap();
    let other = store.enqueue(20_000).unwrap();
    store.commit().unwrap();
    let place = store.opened.places.find(old).unwrap();
    let name = mq_persistence::segment::name(place.at.segment());
    store
        .disk
        .flip_bit(&name, u64::from(place.at.offset()) + 60, 1)
        .unwrap();
    store.finish(other);
    store.commit().unwrap();
    age(&mut store);
    assert!(store.survey().compaction);
    let failure = store.opened.keeper.read_live(4_000).unwrap_err();
    assert_eq!(
        (failure.seq, failure.file, failure.offset),
        (old, name, place.at.offset())
    );
    assert_eq!(store.opened.places.find(old), Some(place));
    assert!(
        store.opened.keeper.read_live(4_000).unwrap().is_empty(),
        "not tried again"
    );
}

/// The disk answered an error once; nothing is wrong with the bytes.
#[test]
fn a_record_that_the_disk_did_not_deliver_is_moved_later() {
    let mut store = new_store();
    let old = store.enqueue(700).unwrap();
    store.commit().unwrap();
    let place = store.opened.places.find(old).unwrap();
    age(&mut store);
    assert!(store.survey().compaction);
    store.disk.fail_nth(IoKind::Read, 1, Fault::IoError);
    let failure = store.opened.keeper.read_live(4_000).unwrap_err();
    assert!(matches!(failure.reason, ReadFault::Io(_)), "{failure:?}");
    assert!(!store.survey().compaction, "it is not read all the time");
    store.snapshot().unwrap();
    for _ in 0..3 {
        if store.survey().compaction {
            store.compact(4_000).unwrap();
        }
    }
    assert_ne!(store.opened.places.find(old), Some(place), "it has moved");
    assert!(store.holds(old.get(), 700));
}

/// One bad sector must not keep the segments behind it.
#[test]
fn a_record_that_the_disk_never_delivers_keeps_no_other_where_it_is() {
    let mut store = new_store();
    let first = store.enqueue(700).unwrap();
    store.commit().unwrap();
    age(&mut store);
    let second = store.enqueue(700).unwrap();
    store.commit().unwrap();
    age(&mut store);
    let places = [first, second].map(|seq| store.opened.places.find(seq).unwrap());
    assert_ne!(places[0].at.segment(), places[1].at.segment());
    let name = mq_persistence::segment::name(places[0].at.segment());
    let sector = u64::from(places[0].at.offset()) / SECTOR_SIZE as u64;
    store.disk.fail_sector(&name, sector).unwrap();
    for _ in 0..4 {
        if store.survey().compaction {
            store.compact(4_000).unwrap();
        }
    }
    assert_eq!(store.opened.places.find(first), Some(places[0]));
    assert_ne!(store.opened.places.find(second), Some(places[1]));
}
