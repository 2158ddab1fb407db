//! Bytes whose checksums are right and whose content is wrong: what neither a disk nor a crash makes, but a mistake in a program, or
//! somebody who means it. Each is refused with the file and the place, and nothing is changed.

use mq_persistence::checksum::go_on;
use mq_persistence::frame::{FRAME_HEADER_SIZE, FrameHeader};
use mq_persistence::lsn::Lsn;
use mq_persistence::open::{Corruption, OpenError};
use mq_persistence::record::RawRecord;
use mq_persistence::segment::{self, DATA_START, Header};
use mq_persistence::snapshot::load_best;
use mq_testing::oracle::Ending;
use mq_testing::random::SplitMix64;
use mq_testing::sim_disk::{Fault, IoKind, SimDisk};

use crate::journal::{Journal, Known, SMALL, open};
use crate::recovery::content;

const SEED: u64 = 43;
/// Checksum, two lengths, type.
const RECORD_HEADER_SIZE: usize = 13;

/// A store of several segments, with a snapshot in the middle of one and segments after it; and where the snapshot was taken, and
/// the last frame.
fn store() -> (SimDisk, Lsn, Lsn) {
    let disk = SimDisk::new();
    let mut known = Known::small();
    let mut random = SplitMix64::new(SEED);
    let mut journal = Journal::open(&disk, &mut known, Ending::Killed).unwrap();
    for _ in 0..40 {
        journal.write(&mut random).unwrap();
        journal.sync().unwrap();
    }
    journal.keep().unwrap();
    // More than a segment holds, less than another snapshot is due after.
    let mut last = Lsn::START;
    for _ in 0..30 {
        last = journal.opened.log.written();
        journal.write(&mut random).unwrap();
        journal.sync().unwrap();
    }
    drop(journal);
    let disk = disk.restart_process();
    let identity = open(&disk.fork(), &SMALL, 500_000).unwrap().identity;
    let loaded = load_best(&disk, &identity).unwrap().contents.unwrap();
    let at = loaded.facts.at;
    assert!(at.segment() < last.segment(), "{at} {last}");
    assert!(
        at.offset() > DATA_START,
        "a frame lies before it in its segment"
    );
    (disk, at, last)
}

/// The frame at `at` says something else, and its checksum is right.
fn reword(disk: &SimDisk, at: Lsn, change: impl FnOnce(&mut FrameHeader)) {
    let name = segment::name(at.segment());
    let bytes = disk.file_bytes(&name).unwrap();
    let seed = Header::decode(&bytes).unwrap().seed();
    let (mut header, _) = FrameHeader::decode(&bytes[at.offset() as usize..], seed).unwrap();
    change(&mut header);
    let (bytes, _) = header.encode(seed);
    disk.overwrite(&name, at.offset().into(), &bytes).unwrap();
}

/// A segment says that the journal before it ends elsewhere, and its checksums are right.
fn follows_on(disk: &SimDisk, number: u32, end: Lsn) {
    let identity = open(&disk.fork(), &SMALL, 500_000).unwrap().identity;
    let (name, start) = (segment::name(number), Lsn::new(number, DATA_START));
    let bytes = disk.file_bytes(&name).unwrap();
    let seed = Header::decode(&bytes).unwrap().seed();
    let from = DATA_START as usize;
    let (header, _) = FrameHeader::decode(&bytes[from..], seed).unwrap();
    let mut body = bytes[from + FRAME_HEADER_SIZE..from + header.size as usize].to_vec();
    let size = RawRecord::split(&body).unwrap().0.size();
    body[RECORD_HEADER_SIZE..RECORD_HEADER_SIZE + 8].copy_from_slice(&end.get().to_le_bytes());
    let store = identity.seed();
    let crc = go_on(store.begin(), &body[RECORD_HEADER_SIZE..size]);
    let crc = go_on(crc, &body[4..RECORD_HEADER_SIZE]);
    body[..4].copy_from_slice(&crc.to_le_bytes());
    let (mut rest, mut body_crc) = (&body[..], store.begin());
    for _ in 0..header.records {
        let (record, after) = RawRecord::split(rest).unwrap();
        record.verify(store).unwrap();
        body_crc = go_on(body_crc, record.header());
        rest = after;
    }
    let body_at = u64::from(DATA_START) + FRAME_HEADER_SIZE as u64;
    disk.overwrite(&name, body_at, &body).unwrap();
    reword(disk, start, |header| header.body_crc = body_crc);
}

/// Opens, is refused, and finds everything as it was.
fn refused(disk: &SimDisk) -> Corruption {
    let before = content(disk);
    let opened = open(disk, &SMALL, 1_000_000).map(|opened| opened.report);
    assert_eq!(content(disk), before, "a refusal changed the store");
    match opened {
        Err(OpenError::Corrupt(corruption)) => *corruption,
        other => panic!("{other:?}"),
    }
}

fn assert_at(corruption: &Corruption, at: Lsn, reason: &str) {
    let place = (corruption.file.as_str(), corruption.offset);
    let expected = segment::name(at.segment());
    assert_eq!(
        place,
        (expected.as_str(), at.offset().into()),
        "{corruption}"
    );
    assert_eq!(corruption.lsn, Some(at));
    assert!(corruption.reason.contains(reason), "{corruption}");
}

#[test]
fn a_frame_that_calls_durable_what_comes_after_it_is_refused() {
    let (disk, _, last) = store();
    reword(&disk, last, |header| header.durable = last.plus(512));
    assert_at(&refused(&disk), last, "calls durable what cannot be");
}

#[test]
fn a_frame_that_calls_less_durable_than_the_one_before_it_is_refused() {
    let (disk, snapshot, last) = store();
    reword(&disk, last, |header| header.durable = snapshot);
    assert_at(&refused(&disk), last, "calls durable what cannot be");
}

#[test]
fn a_segment_that_follows_on_one_with_a_higher_number_is_refused() {
    for ahead in [0, 1, 100] {
        let (disk, _, last) = store();
        let number = last.segment();
        follows_on(&disk, number, Lsn::new(number + ahead, DATA_START));
        let start = Lsn::new(number, DATA_START);
        assert_at(
            &refused(&disk),
            start,
            "follows on a segment with a higher number",
        );
    }
}

#[test]
fn a_journal_that_leaves_a_segment_before_the_snapshot_in_it_was_taken_is_refused() {
    let (disk, snapshot, _) = store();
    let early = Lsn::new(snapshot.segment(), DATA_START);
    follows_on(&disk, snapshot.segment() + 1, early);
    assert_at(&refused(&disk), early, "a snapshot was taken later");
}

#[test]
fn a_journal_that_goes_past_the_segment_of_its_snapshot_is_refused() {
    for before in [1, 0] {
        let (disk, snapshot, _) = store();
        let number = snapshot.segment() + 1;
        let earlier = match before {
            0 => Lsn::START,
            before => Lsn::new(snapshot.segment() - before, DATA_START),
        };
        follows_on(&disk, number, earlier);
        let start = Lsn::new(number, DATA_START);
        let taken = format!("a snapshot was taken at {snapshot}");
        assert_at(&refused(&disk), start, &taken);
    }
}

/// What an interrupted creation left is removed only if it could be read, and is that.
#[test]
fn what_cannot_be_read_while_a_store_is_made_is_left_alone_and_named() {
    let base = SimDisk::new();
    base.crash_at_nth(IoKind::Rename, 2); // of the first segment, of the identity
    assert!(open(&base, &SMALL, 1_000).is_err());
    let base = base.restart_process();
    let names = base.file_names();
    let first = names.iter().find(|name| segment::number_of(name).is_some());
    let first = first
        .expect("its segment was made, its name was not")
        .clone();
    let mut named = 0;
    for (kind, nth) in [(IoKind::Open, 1), (IoKind::Read, 1), (IoKind::Read, 2)] {
        let disk = base.fork();
        disk.fail_nth(kind, nth, Fault::IoError);
        let before = content(&disk);
        match open(&disk, &SMALL, 2_000).map(|opened| opened.report) {
            Err(OpenError::Io(failure)) if failure.file == first => {
                named += 1;
                assert_eq!(failure.operation, "read", "{failure}");
                assert_eq!(content(&disk), before);
            }
            other => panic!("{kind:?} {nth}: {other:?}"),
        }
        disk.clear_faults();
        open(&disk.restart_process(), &SMALL, 3_000).unwrap();
    }
    assert_eq!(named, 3);
}
