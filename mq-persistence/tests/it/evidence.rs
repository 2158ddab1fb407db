//! Each piece of evidence that something is missing or foreign, alone: what no other check would notice.

use mq_core::event::Event;
use mq_core::message::Sealed;
use mq_persistence::frame::Frame;
use mq_persistence::open::OpenError;
use mq_persistence::segment::{self, DATA_START, Header};
use mq_persistence::snapshot::{SLOT_NAMES, load_best};
use mq_testing::oracle::Ending;
use mq_testing::random::SplitMix64;
use mq_testing::sim_disk::SimDisk;

use crate::fixture::{enqueued, now, sealed};
use crate::journal::{Journal, Known, SMALL, open};

const SEED: u64 = 41;

/// The file that a refusal names.
fn refused(disk: &SimDisk) -> String {
    match open(disk, &SMALL, 1_000_000).map(|opened| opened.report) {
        Err(OpenError::Corrupt(corruption)) => corruption.file,
        Err(OpenError::MissingSegment { file, .. }) => file,
        other => panic!("{other:?}"),
    }
}

#[test]
fn records_that_changed_places_within_their_frame_are_noticed() {
    let disk = SimDisk::new();
    let mut opened = open(&disk, &SMALL, 1_000).unwrap();
    let mut frame = Frame::new(&opened.identity);
    for number in [1, 2] {
        let bytes = sealed(number, 40).bytes;
        let crc = opened.identity.seed().checksum(&bytes);
        let event = enqueued(number, Some(Sealed { bytes, crc }));
        frame.append(&Event::Enqueued(event));
    }
    let written = opened.log.write(&mut frame, &now(2_000)).unwrap();
    opened.log.sync().unwrap();
    opened.log.idle_mark(&now(2_001)).unwrap();
    drop(opened);
    let disk = disk.restart_process();
    let name = segment::name(written.start.segment());
    let bytes = disk.file_bytes(&name).unwrap();
    let first = written.start.offset() as usize + 64;
    let size = (bytes[first + 4] as usize) + (bytes[first + 8] as usize) + 13;
    let (one, two) = (
        &bytes[first..first + size],
        &bytes[first + size..first + 2 * size],
    );
    disk.overwrite(&name, first as u64, two).unwrap();
    disk.overwrite(&name, (first + size) as u64, one).unwrap();
    assert_eq!(refused(&disk), name);
}

#[test]
fn the_last_segment_of_a_store_is_missed_because_a_spare_was_made_after_it() {
    let disk = SimDisk::new();
    // Of messages so large that no snapshot is due: it would miss the segment too.
    let mut known = Known::default();
    let mut journal = Journal::open(&disk, &mut known, Ending::Closed).unwrap();
    journal.write(&mut SplitMix64::new(SEED)).unwrap();
    journal.sync().unwrap();
    let name = segment::name(journal.opened.log.written().segment());
    journal.keep().unwrap();
    drop(journal);
    let disk = disk.restart_process();
    disk.delete(&name).unwrap();
    assert_eq!(refused(&disk), name);
}

#[test]
fn bytes_that_cannot_be_read_where_a_first_frame_would_be_are_left_alone() {
    let disk = SimDisk::new();
    let mut known = Known::small();
    let mut journal = Journal::open(&disk, &mut known, Ending::Closed).unwrap();
    journal.write(&mut SplitMix64::new(SEED)).unwrap();
    journal.sync().unwrap();
    let spare = segment::name(journal.opened.log.written().segment() + 1);
    journal.keep().unwrap();
    drop(journal);
    let disk = disk.restart_process();
    disk.overwrite(&spare, u64::from(DATA_START) + 700, b"the rest of a frame")
        .unwrap();
    let before = disk.file_bytes(&spare).unwrap();
    for life in 0..3 {
        let opened = open(&disk, &SMALL, 100_000 + life).unwrap();
        assert_eq!(&opened.manager, known.state());
    }
    assert_eq!(disk.file_bytes(&spare).unwrap(), before);
}

/// A store with a snapshot, and messages in segments before it.
fn with_snapshot(disk: &SimDisk, known: &mut Known) {
    let mut journal = Journal::open(disk, known, Ending::Killed).unwrap();
    let mut random = SplitMix64::new(SEED);
    for _ in 0..30 {
        journal.write(&mut random).unwrap();
        journal.sync().unwrap();
    }
    journal.keep().unwrap();
    journal.write(&mut random).unwrap();
    journal.sync().unwrap();
}

#[test]
fn a_segment_before_the_snapshot_that_is_not_the_one_it_lists_is_noticed() {
    let base = SimDisk::new();
    let mut known = Known::small();
    drop(Journal::open(&base, &mut known, Ending::Closed).unwrap());
    let (disk, other) = (base.restart_process(), base.restart_process());
    with_snapshot(&disk, &mut known.clone());
    // The same store, gone on at another time: its segments have other salts.
    known.shift_time(9);
    with_snapshot(&other, &mut known);
    let disk = disk.restart_process();
    let identity = open(&disk.fork(), &SMALL, 500_000).unwrap().identity;
    let loaded = load_best(&disk, &identity).unwrap().contents.unwrap();
    let header = |disk: &SimDisk, name: &str| {
        let bytes = disk.file_bytes(name).unwrap();
        Header::decode(&bytes).unwrap()
    };
    let before = loaded.facts.at.segment();
    let names = disk.file_names().into_iter();
    let name = names
        .filter(|name| segment::number_of(name).is_some_and(|number| number < before))
        .find(|name| header(&disk, name).salt != header(&other, name).salt)
        .expect("a segment before the snapshot");
    disk.install(&name, &other.file_bytes(&name).unwrap())
        .unwrap();
    assert_eq!(refused(&disk), name);
}

#[test]
fn a_journal_that_ends_before_its_snapshot_is_refused() {
    let disk = SimDisk::new();
    let mut known = Known::small();
    with_snapshot(&disk, &mut known);
    let disk = disk.restart_process();
    assert!(
        disk.file_names()
            .iter()
            .any(|name| SLOT_NAMES.contains(&name.as_str()))
    );
    let identity = open(&disk.fork(), &SMALL, 500_000).unwrap().identity;
    let at = load_best(&disk, &identity)
        .unwrap()
        .contents
        .unwrap()
        .facts
        .at;
    let name = segment::name(at.segment());
    let size = disk.file_bytes(&name).unwrap().len() as u64;
    assert!(at.offset() > DATA_START + 1_024, "something lies before it");
    // From a frame before the snapshot's position on, everything is gone, and with it whatever called it synced.
    for sector in u64::from(DATA_START / 512) + 2..size / 512 {
        disk.zero_sector(&name, sector).unwrap();
    }
    assert_eq!(refused(&disk), name);
}

#[test]
fn a_frame_that_lies_where_it_was_not_written_is_refused_at_that_place() {
    let disk = SimDisk::new();
    let mut known = Known::small();
    let mut journal = Journal::open(&disk, &mut known, Ending::Closed).unwrap();
    journal.write(&mut SplitMix64::new(SEED)).unwrap();
    journal.sync().unwrap();
    let end = journal.opened.log.written();
    journal.idle_mark().unwrap();
    drop(journal);
    let disk = disk.restart_process();
    let name = segment::name(end.segment());
    let first = DATA_START as usize;
    let frame = disk.file_bytes(&name).unwrap()[first..first + 512].to_vec();
    let stray = u64::from(end.offset()) + 4 * 512;
    disk.overwrite(&name, stray, &frame).unwrap();
    match open(&disk, &SMALL, 1_000_000).map(|opened| opened.report) {
        Err(OpenError::Corrupt(corruption)) => {
            assert_eq!((corruption.file, corruption.offset), (name, stray));
        }
        other => panic!("{other:?}"),
    }
}
