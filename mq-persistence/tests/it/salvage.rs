//! Damaged stores: whatever is whole comes out, whatever is lost is listed, and not a byte of them changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use mq_core::image::{ImageRecord, MessageImage};
use mq_core::state::StoredState;
use mq_persistence::identity::IDENT_NAME;
use mq_persistence::inspect::verify;
use mq_persistence::open::LOCK_NAME;
use mq_persistence::places::Place;
use mq_persistence::salvage::{SalvageError, SalvageReport, salvage};
use mq_persistence::segment::{self, SEGMENT_HEADER_SIZE};
use mq_persistence::storage::{OpenMode, Storage, read_over_gaps, write_all_at};
use mq_testing::random::SplitMix64;
use mq_testing::sim_disk::SimDisk;

use crate::journal::{SMALL, inputs};
use crate::manager::Store;

const SEED: u64 = 71_120;
const SECTOR: u64 = 512;

/// A message as the whole store has it.
struct Message {
    image: MessageImage,
    payload: Vec<u8>,
    place: Place,
}

/// A store with a history, its process killed; and what is in it.
struct Whole {
    disk: SimDisk,
    messages: BTreeMap<u64, Message>,
    /// Everything before this is in the newest snapshot.
    from: mq_persistence::Lsn,
}

impl Whole {
    fn new(seed: u64, rounds: u64) -> Self {
        let mut random = SplitMix64::new(seed);
        let disk = SimDisk::new();
        let mut store = Store::begin(Store::open(&disk, 1_000), 1_000);
        for round in 0..rounds {
            store.round(&mut random);
            if round % 5 == 0 && round + 12 < rounds {
                store.keep();
            }
        }
        let now = store.now();
        store.opened.log.idle_mark(&now).unwrap();
        drop(store);
        let disk = disk.restart_process();
        let opened = Store::open(&disk.fork(), 400_000);
        let from = opened.keeper.newest_snapshot().map(|it| it.at);
        let image = opened.manager.image();
        let messages = image.records().filter_map(|record| {
            let ImageRecord::Message(image) = record else {
                return None;
            };
            let seq = image.facts.seq;
            let payload = opened.places.pin(seq).unwrap().read().unwrap();
            let message = Message {
                image,
                payload: payload.bytes.to_vec(),
                place: opened.places.find(seq).unwrap(),
            };
            Some((seq.get(), message))
        });
        Self {
            messages: messages.collect(),
            from: from.unwrap_or_default(),
            disk,
        }
    }

    /// The last segment that was used.
    fn top(&self) -> u32 {
        let names = self.disk.file_names();
        let numbers = names.iter().filter_map(|name| segment::number_of(name));
        let used = |number: &u32| {
            let bytes = self.disk.file_bytes(&segment::name(*number)).unwrap();
            bytes[4096..8192].iter().any(|byte| *byte != 0)
        };
        numbers.filter(used).max().unwrap()
    }

    /// Whether the bytes of a message's record are the same on `damaged`.
    fn is_intact(&self, damaged: &SimDisk, place: Place) -> bool {
        let name = segment::name(place.at.segment());
        let range = place.at.offset() as usize..(place.at.offset() + place.len) as usize;
        let bytes = |disk: &SimDisk| Some(disk.file_bytes(&name)?.get(range.clone())?.to_vec());
        bytes(&self.disk) == bytes(damaged)
    }
}

pub(crate) fn run(source: &SimDisk, target: &SimDisk) -> Result<SalvageReport, SalvageError> {
    let source: Arc<dyn Storage> = Arc::new(source.clone());
    let target: Arc<dyn Storage> = Arc::new(target.clone());
    let mut random = SplitMix64::new(SEED);
    let mut random = || random.next_u64();
    salvage(&source, &target, &SMALL, inputs(600_000, &mut random))
}

fn contents(disk: &SimDisk) -> Vec<(String, Option<Vec<u8>>)> {
    let names = disk.file_names().into_iter();
    names
        .filter(|name| name != LOCK_NAME)
        .map(|name| {
            let bytes = disk.file_bytes(&name);
            (name, bytes)
        })
        .collect()
}

/// Salvages what is left, and holds it to the promise: what is whole is there, what is not is listed, nothing is invented, and the
/// source is as it was.
fn salvaged(whole: &Whole, damaged: &SimDisk) -> SalvageReport {
    salvaged_as(whole, damaged, damaged)
}

/// [`salvaged`] of a disk that does not deliver what is damaged on `twin`.
fn salvaged_as(whole: &Whole, damaged: &SimDisk, twin: &SimDisk) -> SalvageReport {
    let before = contents(damaged);
    let target = SimDisk::new();
    let report = run(damaged, &target).unwrap();
    assert_eq!(contents(damaged), before, "the source was changed");
    let opened = Store::open(&target.restart_process(), 700_000);
    let image = opened.manager.image();
    let out: BTreeMap<u64, MessageImage> = image
        .records()
        .filter_map(|record| match record {
            ImageRecord::Message(message) => Some((message.facts.seq.get(), message)),
            _ => None,
        })
        .collect();
    assert_eq!(out.len() as u64, report.messages);
    let is_listed = |seq: &u64| {
        report.lost.iter().any(|lost| lost.seq == *seq)
            || report
                .unknown
                .iter()
                .any(|(first, last)| (first..=last).contains(&seq))
    };
    for (seq, message) in &whole.messages {
        let Some(found) = out.get(seq) else {
            assert!(is_listed(seq), "{seq} is lost and not listed: {report:?}");
            assert!(
                !whole.is_intact(twin, message.place),
                "{seq} is whole and did not come out: {report:?}"
            );
            continue;
        };
        assert_eq!(found.facts.at, message.image.facts.at);
        let pinned = opened.places.pin(found.facts.seq).unwrap();
        assert_eq!(pinned.read().unwrap().bytes, message.payload);
    }
    for (seq, message) in &out {
        // What was completed or dead and is gone since does not run again.
        let runs = matches!(message.state, StoredState::Pending { .. });
        if whole.messages.contains_key(seq) || !runs {
            continue;
        }
        let mut again = report.may_run_again.iter();
        assert!(
            again.any(|id| id.seq().get() == *seq),
            "{seq} was over and came back unsaid: {report:?}"
        );
    }
    report
}

/// A segment other than the last in which something lives.
fn lived_in(whole: &Whole, choose: impl Fn(&Message) -> bool) -> u32 {
    let mut messages = whole.messages.values();
    let found =
        messages.find(|message| message.place.at.segment() < whole.top() && choose(message));
    found.unwrap().place.at.segment()
}

#[test]
fn a_store_without_damage_comes_out_as_it_is() {
    let whole = Whole::new(SEED, 120);
    let report = salvaged(&whole, &whole.disk.fork());
    assert!(report.is_complete(), "{report:?}");
    assert!(report.snapshot.is_some() && report.records > 0);
    assert_eq!(report.messages, whole.messages.len() as u64);
    assert_eq!(report.may_run_again_count, 0);
}

#[test]
fn a_damaged_header_loses_nothing() {
    let whole = Whole::new(SEED, 120);
    let mut numbers = vec![whole.top(), lived_in(&whole, |_| true)];
    numbers.dedup();
    for number in numbers {
        let damaged = whole.disk.fork();
        let zeros = [0; SEGMENT_HEADER_SIZE];
        damaged
            .overwrite(&segment::name(number), 0, &zeros)
            .unwrap();
        let report = salvaged(&whole, &damaged);
        assert_eq!(report.messages, whole.messages.len() as u64, "{report:?}");
        assert_eq!(report.losses.len(), 1);
        assert_eq!(report.losses[0].file, segment::name(number));
        assert_eq!(report.losses[0].offset, Some(0));
    }
}

#[test]
fn a_damaged_payload_costs_its_message_and_no_other() {
    let whole = Whole::new(SEED, 120);
    for (seq, message) in &whole.messages {
        let damaged = whole.disk.fork();
        let last = message.place.at.offset() + message.place.len - 1;
        let file = segment::name(message.place.at.segment());
        damaged.flip_bit(&file, last.into(), 3).unwrap();
        let report = salvaged(&whole, &damaged);
        assert_eq!(
            report.messages,
            whole.messages.len() as u64 - 1,
            "{report:?}"
        );
        assert!(!report.is_complete());
        if message.place.at < whole.from {
            assert_eq!(report.lost.len(), 1);
            assert_eq!(report.lost[0].seq, *seq);
            assert!(report.lost[0].id.is_some());
        }
    }
}

#[test]
fn a_torn_page_in_the_middle_of_the_journal_is_walked_over() {
    let whole = Whole::new(SEED, 120);
    let number = whole.top();
    let file = segment::name(number);
    let size = whole.disk.file_bytes(&file).unwrap().len() as u64;
    let mut with_losses = 0;
    for sector in 8..size / 512 {
        let damaged = whole.disk.fork();
        damaged.zero_sector(&file, sector).unwrap();
        let report = salvaged(&whole, &damaged);
        with_losses += u32::from(!report.is_complete());
    }
    assert!(with_losses > 5, "{with_losses}");
}

#[test]
fn a_sector_that_is_not_delivered_costs_what_lies_in_it() {
    let whole = Whole::new(SEED, 120);
    let end = verify(&(Arc::new(whole.disk.fork()) as Arc<dyn Storage>)).unwrap();
    let end = end.journal.unwrap().read_end;
    assert_eq!(end.segment(), whole.top());
    for number in [whole.top(), lived_in(&whole, |_| true)] {
        let file = segment::name(number);
        let size = whole.disk.file_bytes(&file).unwrap().len() as u64;
        for sector in 0..size / SECTOR {
            let (damaged, twin) = (whole.disk.fork(), whole.disk.fork());
            damaged.fail_sector(&file, sector).unwrap();
            twin.zero_sector(&file, sector).unwrap();
            let report = salvaged_as(&whole, &damaged, &twin);
            let zeroed = salvaged(&whole, &twin);
            assert!(report.messages >= zeroed.messages, "{report:?}\n{zeroed:?}");
            assert!(zeroed.is_complete() || !report.is_complete());
            let at = mq_persistence::Lsn::new(number, u32::try_from(sector * SECTOR).unwrap());
            if number == whole.top() && at >= whole.from && at.offset() >= 4096 && at <= end {
                let said = report
                    .losses
                    .iter()
                    .any(|loss| loss.file == file && loss.reason.contains("does not deliver"));
                assert!(said, "sector {sector} of {file}: {report:?}");
            }
            if at > end || (0..8).contains(&sector) {
                assert!(
                    report.is_complete(),
                    "sector {sector} of {file}: {report:?}"
                );
            }
        }
    }
}

#[test]
fn what_is_not_delivered_is_zeros_and_said() {
    let disk = SimDisk::new();
    disk.create_directory().unwrap();
    let file = disk.open("some", OpenMode::CreateNew).unwrap();
    let bytes: Vec<u8> = (0..200_100_u32).map(|at| (at % 251) as u8 + 1).collect();
    write_all_at(&*file, &bytes, 0).unwrap();
    assert_eq!(read_over_gaps(&*file, 300_000), (bytes.clone(), vec![]));
    for sector in [0, 127, 128, 200, 390] {
        disk.fail_sector("some", sector).unwrap();
    }
    let gaps = [
        0..512,
        127 * 512..129 * 512,
        200 * 512..201 * 512,
        390 * 512..200_100,
    ];
    let mut expected = bytes;
    for gap in &gaps {
        let range = [gap.start, gap.end].map(|at| usize::try_from(at).unwrap());
        expected[range[0]..range[1]].fill(0);
    }
    let (read, said) = read_over_gaps(&*file, 200_100);
    assert_eq!(said, gaps);
    assert!(read == expected);
}

#[test]
fn a_cut_tail_comes_out_up_to_the_cut() {
    let whole = Whole::new(SEED, 120);
    let file = segment::name(whole.top());
    for size in (4096..16 << 10).step_by(512) {
        let damaged = whole.disk.fork();
        damaged.cut(&file, size).unwrap();
        let report = salvaged(&whole, &damaged);
        assert!(report.losses.iter().any(|loss| loss.reason.contains("cut")));
    }
}

#[test]
fn without_any_snapshot_the_journal_says_what_it_can() {
    let whole = Whole::new(SEED, 120);
    let damaged = whole.disk.fork();
    for slot in ["snap-A", "snap-B"] {
        let size = whole.disk.file_bytes(slot).unwrap().len() as u64;
        damaged.flip_bit(slot, size / 2, 1).unwrap();
    }
    let report = salvaged(&whole, &damaged);
    assert!(report.snapshot.is_none());
    assert!(report.losses.len() >= 2, "{report:?}");
    // One of them is enough for everything.
    let damaged = whole.disk.fork();
    damaged.flip_bit("snap-A", 200, 1).unwrap();
    let report = salvaged(&whole, &damaged);
    assert_eq!(report.messages, whole.messages.len() as u64);
}

#[test]
fn a_missing_segment_costs_what_was_in_it() {
    let whole = Whole::new(SEED, 120);
    let names = whole.disk.file_names();
    for number in names.iter().filter_map(|name| segment::number_of(name)) {
        let damaged = whole.disk.fork();
        damaged.delete(&segment::name(number)).unwrap();
        let report = salvaged(&whole, &damaged);
        let living = whole.messages.values();
        let in_it = living.filter(|it| it.place.at.segment() == number).count() as u64;
        assert!(report.messages + in_it >= whole.messages.len() as u64);
    }
}

#[test]
fn without_ident_the_messages_come_out_under_new_ids() {
    let whole = Whole::new(SEED, 60);
    let damaged = whole.disk.fork();
    damaged.delete(IDENT_NAME).unwrap();
    let target = SimDisk::new();
    let report = run(&damaged, &target).unwrap();
    assert!(report.identity_lost && !report.is_complete());
    assert_eq!(report.messages, whole.messages.len() as u64);
    Store::open(&target.restart_process(), 700_000);
}

#[test]
fn whatever_bit_or_sector_is_damaged_the_promise_holds() {
    println!("seed {SEED}");
    let whole = Whole::new(SEED ^ 5, 100);
    let mut random = SplitMix64::new(SEED);
    let names: Vec<String> = whole
        .disk
        .file_names()
        .into_iter()
        .filter(|name| name != LOCK_NAME && name != IDENT_NAME)
        .collect();
    for _ in 0..300 {
        let damaged = whole.disk.fork();
        for _ in 0..=random.below(3) {
            let name = random.pick(&names).unwrap();
            let size = whole.disk.file_bytes(name).unwrap().len() as u64;
            if size == 0 {
                continue;
            }
            if random.chance(1, 2) {
                damaged.flip_bit(name, random.below(size), 2).unwrap();
            } else if size >= 512 {
                damaged.zero_sector(name, random.below(size / 512)).unwrap();
            }
        }
        salvaged(&whole, &damaged);
    }
}

#[test]
fn a_store_that_somebody_owns_is_left_alone() {
    let whole = Whole::new(SEED, 10);
    let _held = whole.disk.lock(LOCK_NAME, "pid 7 (test)").unwrap();
    let refused = run(&whole.disk, &SimDisk::new()).unwrap_err();
    assert!(matches!(refused, SalvageError::InUse { owner } if owner.contains("pid 7")));
}

#[test]
fn nothing_is_written_where_something_is() {
    let whole = Whole::new(SEED, 10);
    let target = SimDisk::new();
    target.create_directory().unwrap();
    target.install("notes.txt", b"mine").unwrap();
    let refused = run(&whole.disk, &target).unwrap_err();
    assert!(matches!(refused, SalvageError::Target(_)), "{refused}");
    assert_eq!(target.file_names(), ["notes.txt"]);
}

/// Bytes that look like lengths of what follows, again and again: no checksum is worth computing over them.
#[test]
fn a_large_damaged_payload_is_looked_through_quickly() {
    let disk = SimDisk::new();
    let mut store = crate::store::Store::open(&disk, &SMALL, 1_000);
    let large = store.enqueue(16 << 20).unwrap();
    store.commit().unwrap();
    let place = store.opened.places.find(large).unwrap();
    let small = store.enqueue(100).unwrap();
    store.commit().unwrap();
    drop(store);
    let disk = disk.restart_process();
    let name = segment::name(place.at.segment());
    let spot = u64::from(place.at.offset()) + 200;
    disk.flip_bit(&name, spot, 1).unwrap();
    let report = run(&disk, &SimDisk::new()).unwrap();
    assert_eq!(report.messages, 1, "{report:?}");
    assert_eq!(report.unknown, [(large.get(), small.get() - 1)]);
}
