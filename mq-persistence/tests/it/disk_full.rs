//! A full disk is back-pressure: what is there can always be settled, and then there is room again.

use mq_core::id::Seq;
use mq_persistence::keeper::Snapshotted;
use mq_persistence::open::JournalOptions;
use mq_persistence::room::ROOM_NAME;
use mq_persistence::snapshot::SLOT_NAMES;
use mq_persistence::spares::Prepared;
use mq_persistence::storage::Storage;
use mq_testing::random::SplitMix64;
use mq_testing::sim_disk::{Fault, IoKind, SimDisk};

use crate::journal::SMALL;
use crate::store::Store;

const OPTIONS: JournalOptions = JournalOptions {
    spares: 2,
    snapshot_after_min: 256 << 10,
    ..SMALL
};

fn new_store(capacity: u64) -> Store {
    let disk = SimDisk::with_capacity(capacity);
    let mut store = Store::open(&disk, &OPTIONS, 1_000);
    store.prepare().unwrap();
    store
}

/// Stores filled and emptied.
const SEEDS: u64 = 6;
/// Stores kept at their limit.
const LIMIT_SEEDS: u64 = 2;

/// Enqueues until the store refuses, keeping house in between; answers what was taken.
fn fill(store: &mut Store, size: usize) -> Vec<Seq> {
    let mut taken = Vec::new();
    let mut refusals = 0;
    // Housekeeping may find room once or twice more.
    while refusals < 5 {
        while let Some(seq) = store.enqueue(size) {
            store.commit().unwrap();
            taken.push(seq);
            if taken.len() % 7 == 0 {
                store.maintain().unwrap();
            }
        }
        store.maintain().unwrap();
        refusals += 1;
    }
    taken
}

/// Other programs take whatever this one does not hold.
fn take_all_space(store: &Store, capacity: u64) {
    store
        .disk
        .set_capacity(Some(capacity - store.disk.free_bytes().unwrap()));
}

fn settle_all(store: &mut Store, order: &[Seq]) {
    for (count, seq) in order.iter().enumerate() {
        store.finish(*seq);
        let committed = store.commit();
        committed.unwrap_or_else(|error| {
            panic!(
                "after {count} of {}: {error}\n{}",
                order.len(),
                state(store)
            )
        });
        store.maintain().unwrap();
    }
    assert!(store.live().is_empty());
}

/// What there is, for whoever has to find out why it is not enough.
fn state(store: &Store) -> String {
    let segments = store.opened.places.segments().list();
    let lives = segments
        .iter()
        .map(|it| (it.number(), store.opened.places.usage(it.number()).live));
    let names = store.disk.file_names();
    let others = names.iter().filter(|name| !name.starts_with("j-"));
    let others = others.map(|name| (name, store.disk.file_bytes(name).unwrap().len()));
    let free = store.disk.free_bytes().unwrap();
    format!(
        "{:?}\n{:?}\nfree {free}, {} segment files, those of the journal with what lives in them {:?}\n{:?}\n{:?}",
        store.counts,
        store.opened.keeper.room(),
        names.len(),
        lives.collect::<Vec<_>>(),
        others.collect::<Vec<_>>(),
        store.opened.keeper.newest_snapshot(),
    )
}

fn shuffled(mut seqs: Vec<Seq>, seed: u64) -> Vec<Seq> {
    let mut random = SplitMix64::new(seed);
    for index in (1..seqs.len()).rev() {
        let other = usize::try_from(random.below(index as u64 + 1)).unwrap();
        seqs.swap(index, other);
    }
    seqs
}

#[test]
fn a_full_store_is_emptied_on_a_full_disk_and_filled_again() {
    let mut store = new_store(2 << 20);
    let first = fill(&mut store, 900);
    let live = store.opened.places.live_bytes();
    assert!(
        live > 1 << 20,
        "{live} bytes in a store that says it is full"
    );
    take_all_space(&store, 2 << 20);
    settle_all(&mut store, &first);
    store.disk.set_capacity(Some(2 << 20));
    for _ in 0..20 {
        store.maintain().unwrap();
    }
    let second = fill(&mut store, 900);
    assert!(
        second.len() * 10 >= first.len() * 9,
        "{} messages, then {}",
        first.len(),
        second.len()
    );
    for seq in &second {
        assert!(store.holds(seq.get(), 900));
    }
    store.disk.set_capacity(None);
    let store = store.reopen(&OPTIONS);
    assert_eq!(store.live().len(), second.len());
}

#[test]
fn neither_order_nor_sizes_matter() {
    for seed in 1..=SEEDS {
        let mut random = SplitMix64::new(seed);
        let capacity = (1 << 20) + random.below(2 << 20);
        let size = usize::try_from(50 + random.below(2_500)).unwrap();
        println!("seed {seed}: {capacity} bytes of disk, messages of {size}");
        let mut store = new_store(capacity);
        let taken = fill(&mut store, size);
        take_all_space(&store, capacity);
        settle_all(&mut store, &shuffled(taken, seed));
        assert!(store.counts.snapshots > 2, "{:?}", store.counts);
    }
}

#[test]
fn a_full_store_survives_a_crash_and_is_emptied_after_it() {
    let mut store = new_store(2 << 20);
    let taken = fill(&mut store, 900);
    take_all_space(&store, 2 << 20);
    let disk = store.disk.clone();
    drop(store);
    let disk = disk.restart_process();
    let mut store = Store::open(&disk, &OPTIONS, 90_000);
    store.prepare().unwrap();
    assert_eq!(store.live().len(), taken.len());
    settle_all(&mut store, &shuffled(taken, 9));
}

#[test]
fn producers_are_refused_before_settling_is() {
    let mut store = new_store(1 << 20);
    fill(&mut store, 900);
    let room = store.opened.keeper.room();
    assert!(room.low);
    assert!(room.free_spare_bytes >= 2 * (16 << 10), "{room:?}");
}

#[test]
fn one_message_in_each_segment_does_not_keep_a_store_full() {
    let mut store = new_store(2 << 20);
    let taken = fill(&mut store, 900);
    take_all_space(&store, 2 << 20);
    // One message of every segment stays: none becomes empty by settling.
    let (kept, settled): (Vec<Seq>, Vec<Seq>) = taken.iter().partition(|seq| seq.get() % 5 == 0);
    // So many at a time that the segment in use is not filled: no other becomes free by that either.
    for batch in settled.chunks(400) {
        batch.iter().for_each(|seq| store.finish(*seq));
        store.commit().unwrap();
        store.maintain().unwrap();
    }
    let mut rounds = 0;
    while store.opened.keeper.room().low {
        store.maintain().unwrap();
        rounds += 1;
        assert!(rounds < 500, "{}", state(&store));
    }
    let again = fill(&mut store, 900);
    assert!(
        again.len() * 2 > taken.len(),
        "{} messages, then {}",
        taken.len(),
        again.len()
    );
    for seq in kept.iter().chain(&again) {
        assert!(store.holds(seq.get(), 900));
    }
}

#[test]
fn a_store_at_its_limit_goes_on_taking_what_it_settles() {
    for seed in 1..=LIMIT_SEEDS {
        println!("seed {seed}");
        let mut random = SplitMix64::new(seed);
        let mut store = new_store(1_500 << 10);
        fill(&mut store, 700);
        take_all_space(&store, 1_500 << 10);
        let mut taken = 0;
        for step in 0..2_000 {
            let live = store.live().len() as u64;
            let nth = usize::try_from(random.below(live)).unwrap();
            let chosen = *store.live().iter().nth(nth).unwrap();
            store.finish(chosen);
            for _ in 0..random.below(3) {
                taken += u32::from(store.enqueue(700).is_some());
            }
            let committed = store.commit();
            committed.unwrap_or_else(|error| panic!("step {step}: {error}\n{}", state(&store)));
            store.maintain().unwrap();
        }
        assert!(taken > 1_000, "{taken} of about 2000\n{}", state(&store));
        let live: Vec<Seq> = store.live().iter().copied().collect();
        settle_all(&mut store, &live);
    }
}

/// Bytes that the first snapshot of an empty store is expected to take.
const FIRST_SNAPSHOT: u64 = 16 << 10;

#[test]
fn a_snapshot_that_just_fits_needs_no_room_to_be_held() {
    let mut store = new_store(2 << 20);
    assert!(!store.disk.file_names().iter().any(|it| it == ROOM_NAME));
    let used = (2 << 20) - store.disk.free_bytes().unwrap();
    store.disk.set_capacity(Some(used + FIRST_SNAPSHOT));
    assert!(matches!(
        store.snapshot().unwrap(),
        Snapshotted::Taken(_) | Snapshotted::NoRoom
    ));
}

/// Zeros that an operator takes for litter, on a disk on which everything else is needed.
#[test]
fn room_that_an_operator_deletes_is_room_that_is_not_held() {
    for free_again in [0, 32 << 10, 1 << 20] {
        let mut store = new_store(2 << 20);
        fill(&mut store, 900);
        store.prepare().unwrap();
        store.disk.delete(ROOM_NAME).unwrap();
        let used = (2 << 20) - store.disk.free_bytes().unwrap();
        store.disk.set_capacity(Some(used + free_again));
        store.snapshot().unwrap();
        store.disk.set_capacity(None);
        assert_eq!(store.prepare().unwrap(), Prepared::Enough);
        assert!(matches!(store.snapshot().unwrap(), Snapshotted::Taken(_)));
    }
}

#[test]
fn a_snapshot_whose_file_finds_no_room_is_not_taken_and_stops_nothing() {
    let mut store = new_store(2 << 20);
    store.disk.fail_nth(IoKind::Create, 1, Fault::NoSpace);
    assert_eq!(store.snapshot().unwrap(), Snapshotted::NoRoom);
    assert!(matches!(store.snapshot().unwrap(), Snapshotted::Taken(_)));
}

/// A store with spares enough and freed segments beside them.
fn with_material() -> Store {
    let mut store = Store::open(&SimDisk::new(), &OPTIONS, 1_000);
    store.prepare().unwrap();
    for _ in 0..60 {
        let seq = store.enqueue(4_000).unwrap();
        store.commit().unwrap();
        store.finish(seq);
        store.commit().unwrap();
    }
    for _ in 0..2 {
        store.snapshot().unwrap();
    }
    store.maintain().unwrap();
    assert!(store.counts.reclaimed > 4, "there is material");
    store
}

#[test]
fn what_cannot_be_opened_or_named_now_is_made_a_segment_later() {
    let faults = [
        (IoKind::Open, 1, Fault::NoFile),
        (IoKind::Rename, 1, Fault::NoSpace),
        (IoKind::Rename, 2, Fault::NoSpace),
    ];
    for (kind, nth, fault) in faults {
        let mut store = with_material();
        store.disk.fail_from(kind, nth, fault);
        for _ in 0..4 {
            store.enqueue(4_000).unwrap();
            store.commit().unwrap();
        }
        for _ in 0..6 {
            assert_eq!(store.prepare().unwrap(), Prepared::DiskLow);
        }
        store.disk.clear_faults();
        let created = store.disk.count_of(IoKind::Create);
        for count in 0.. {
            assert_eq!(store.prepare().unwrap(), Prepared::Enough);
            if store.disk.count_of(IoKind::Create) > created {
                assert!(
                    count > 3,
                    "{kind:?}: files were made while there was material"
                );
                break;
            }
            store.enqueue(4_000).unwrap();
            store.commit().unwrap();
        }
        let names = store.disk.file_names();
        let left = names.iter().any(|name| name.starts_with("spare-"));
        assert!(!left, "{kind:?}: forgotten: {names:?}");
    }
}

/// Where descriptors are lacking for a moment, space is not scarce: no room is held for snapshots, and nothing is refused for long.
#[test]
fn a_moment_without_files_is_no_lack_of_space() {
    let mut store = Store::open(&SimDisk::new(), &OPTIONS, 1_000);
    store.enqueue(4_000).unwrap();
    store.commit().unwrap();
    for kind in [IoKind::Open, IoKind::Create] {
        store.disk.fail_from(kind, 1, Fault::NoFile);
    }
    assert_eq!(store.prepare().unwrap(), Prepared::DiskLow);
    let room = store.opened.keeper.room();
    assert!(room.lacks_files && room.scarce && room.low, "{room:?}");
    store.disk.clear_faults();
    let removed = store.disk.count_of(IoKind::Remove);
    assert_eq!(store.prepare().unwrap(), Prepared::Enough);
    assert_eq!(store.disk.count_of(IoKind::Remove), removed);
    // Again, with spares enough: it is found out that files may be open.
    for _ in 0..3 {
        let room = store.opened.keeper.room();
        assert!(!room.lacks_files && !room.scarce && !room.low, "{room:?}");
        store.disk.fail_from(IoKind::Open, 1, Fault::NoFile);
        assert_eq!(store.snapshot().unwrap(), Snapshotted::NoRoom);
        assert!(store.opened.keeper.room().lacks_files);
        store.disk.clear_faults();
        assert_eq!(store.prepare().unwrap(), Prepared::Enough);
    }
}

#[test]
fn a_damaged_snapshot_is_put_aside_once_though_the_next_one_finds_no_room() {
    let mut store = new_store(2 << 20);
    for _ in 0..2 {
        store.enqueue(100).unwrap();
        store.commit().unwrap();
        assert!(matches!(store.snapshot().unwrap(), Snapshotted::Taken(_)));
    }
    for name in SLOT_NAMES {
        let disk = store.disk.restart_process();
        disk.flip_bit(name, 100, 0).unwrap();
        let mut store = Store::open(&disk, &OPTIONS, 2_000);
        for (kind, fault) in [
            (IoKind::Create, Fault::NoSpace),
            (IoKind::Create, Fault::NoFile),
        ] {
            disk.fail_nth(kind, 1, fault);
            assert_eq!(store.snapshot().unwrap(), Snapshotted::NoRoom);
        }
        assert!(matches!(store.snapshot().unwrap(), Snapshotted::Taken(_)));
        let names = disk.file_names();
        let aside = names.iter().filter(|name| name.starts_with("aside-"));
        assert_eq!(aside.count(), 1, "{names:?}");
    }
}

/// Writes of an opening.
const WRITES: u64 = 6;

#[test]
fn an_opening_that_meets_a_full_disk_half_way_leaves_a_store_that_opens() {
    let mut went_on = 0;
    for nth in 1..=WRITES {
        let disk = SimDisk::new();
        let mut store = Store::open(&disk, &OPTIONS, 1_000);
        store.enqueue(100).unwrap();
        store.commit().unwrap();
        let disk = disk.restart_process();
        disk.fail_nth(IoKind::Write, nth, Fault::NoSpace);
        let opened = Store::try_open(&disk, &OPTIONS, 2_000);
        if let Ok(mut store) = opened {
            disk.clear_faults();
            went_on += u64::from(disk.was_disturbed());
            store.enqueue(100).unwrap();
            store.commit().unwrap();
            store.prepare().unwrap();
        }
        let disk = disk.restart_process();
        let store = Store::open(&disk, &OPTIONS, 3_000);
        assert!(!store.live().is_empty(), "write {nth}");
    }
    assert!(went_on > 0, "every opening was refused or undisturbed");
}
