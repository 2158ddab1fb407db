//! The log: one write and one sync for each commit, nothing synced is written again, the first failure is the last word.

use mq_core::event::Event;
use mq_core::time::Now;
use mq_persistence::JournalError;
use mq_persistence::frame::{Frame, FrameFlags};
use mq_persistence::log::{Log, Written};
use mq_persistence::lsn::Lsn;
use mq_persistence::open::Opened;
use mq_persistence::scan::SegmentBytes;
use mq_persistence::segment::{self, FRAME_ALIGN, Header, UNSYNCED_MAX};
use mq_persistence::spares::Prepared;
use mq_testing::sim_disk::{Fault, IoKind, SimDisk};

use crate::fixture::{enqueued, now, sealed};
use crate::journal::{Model, SMALL, open};

struct Fixture {
    disk: SimDisk,
    opened: Opened<Model>,
    frame: Frame,
    next: u64,
}

impl Fixture {
    fn new() -> Self {
        let disk = SimDisk::new();
        let mut opened = open(&disk, &SMALL, 1_000).unwrap();
        while opened.keeper.prepare_spares().unwrap() != Prepared::Enough {}
        let frame = Frame::new(&opened.identity);
        Self {
            disk,
            opened,
            frame,
            next: 1,
        }
    }

    fn log(&mut self) -> &mut Log {
        &mut self.opened.log
    }

    /// Writes a frame with one message of `size` bytes.
    fn write(&mut self, size: usize) -> Result<Written, JournalError> {
        let bytes = sealed(self.next, size).bytes;
        let crc = self.opened.identity.seed().checksum(&bytes);
        let sealed = mq_core::message::Sealed { bytes, crc };
        let event = Event::Enqueued(enqueued(self.next, Some(sealed)));
        self.next += 1;
        self.frame.append(&event);
        self.opened.log.write(&mut self.frame, &self::at(self.next))
    }

    fn segment(&self, number: u32) -> SegmentBytes {
        let bytes = self.disk.file_bytes(&segment::name(number)).unwrap();
        let header = Header::decode(&bytes).unwrap();
        SegmentBytes::of_bytes(bytes, header, self.opened.identity.seed())
    }

    /// Writes and syncs asked for since `before`.
    fn ios(&self, before: (u64, u64)) -> (u64, u64) {
        let now = self.counts();
        (now.0 - before.0, now.1 - before.1)
    }

    fn counts(&self) -> (u64, u64) {
        (
            self.disk.count_of(IoKind::Write),
            self.disk.count_of(IoKind::SyncData),
        )
    }
}

fn at(time: u64) -> Now {
    now(2_000 + time)
}

#[test]
fn a_commit_is_one_write_and_one_sync() {
    let mut it = Fixture::new();
    for size in [10, 600, 3_000] {
        let before = it.counts();
        let written = it.write(size).unwrap();
        assert_eq!(it.ios(before), (1, 0));
        assert!(it.log().durable() < written.end);
        assert_eq!(it.log().sync().unwrap(), written.end);
        assert_eq!(it.ios(before), (1, 1));
    }
}

#[test]
fn a_sync_with_nothing_to_sync_asks_the_disk_nothing() {
    let mut it = Fixture::new();
    let before = it.disk.io_count();
    let durable = it.log().durable();
    assert_eq!(it.log().sync().unwrap(), durable);
    let end = it.log().written();
    let mut empty = Frame::new(&it.opened.identity);
    assert_eq!(it.log().write(&mut empty, &at(0)).unwrap().end, end);
    assert_eq!(it.disk.io_count(), before);
}

#[test]
fn nothing_that_holds_part_of_a_frame_is_written_again() {
    let mut it = Fixture::new();
    let mut end = it.log().written();
    for size in [10, 100, 600, 20, 5_000] {
        let written = it.write(size).unwrap();
        assert_eq!(written.start, end);
        assert_eq!(written.start.offset() % FRAME_ALIGN, 0);
        end = written.end;
        let trace = it.disk.trace();
        let last = trace.lines().last().unwrap();
        let write = format!("[{}, +", written.start.offset());
        assert!(last.contains(&write), "{last} begins at {written:?}");
    }
}

#[test]
fn a_mark_is_written_once_when_nothing_is_unsynced_and_never_synced() {
    let mut it = Fixture::new();
    it.write(10).unwrap();
    let before = it.counts();
    it.log().idle_mark(&at(1)).unwrap();
    assert_eq!(it.ios(before), (0, 0), "something is unsynced");
    let end = it.log().sync().unwrap();
    let before = it.counts();
    it.log().idle_mark(&at(2)).unwrap();
    it.log().idle_mark(&at(3)).unwrap();
    it.log().sync().unwrap();
    assert_eq!(it.ios(before), (1, 0));
    let (mark, _) = it.segment(end.segment()).frame_header(end).unwrap();
    assert!(mark.flags.has(FrameFlags::IDLE));
    assert_eq!(mark.durable, end);
}

#[test]
fn a_segment_is_sealed_and_synced_before_the_next_is_written() {
    let mut it = Fixture::new();
    let first = it.log().written().segment();
    let mut last = it.write(3_000).unwrap();
    let mut before = it.counts();
    while last.end.segment() == first {
        before = it.counts();
        last = it.write(3_000).unwrap();
    }
    // Seal, sync of the old one, and one write for the first frame and the caller's together.
    assert_eq!(it.ios(before), (2, 1));
    assert_eq!(it.log().durable().segment(), first);
    let sealed_end = it.log().durable();
    let old = it.segment(first);
    let seal = Lsn::new(first, sealed_end.offset() - FRAME_ALIGN);
    assert!(
        old.frame(seal)
            .unwrap()
            .header()
            .flags
            .has(FrameFlags::SEAL)
    );
    let new = it.segment(last.end.segment());
    let previous = new.previous().unwrap();
    assert_eq!(previous.end, sealed_end);
    assert_eq!(previous.crc, old.frame(seal).unwrap().crc());
    assert_eq!(new.frame(last.start).unwrap().header().durable, sealed_end);
}

#[test]
fn a_frame_larger_than_any_spare_gets_a_segment_of_its_own() {
    let mut it = Fixture::new();
    let written = it.write(300_000).unwrap();
    it.log().sync().unwrap();
    let segment = it.segment(written.start.segment());
    assert!(segment.header().size > 300_000);
    assert_eq!(segment.frame(written.start).unwrap().header().records, 1);
    // The one after it is in order again.
    let next = it.write(10).unwrap();
    assert_eq!(next.start, written.end);
}

#[test]
fn a_segment_taken_for_a_mark_that_found_no_room_takes_no_frame_that_is_too_large_for_it() {
    let mut it = Fixture::new();
    let full = SMALL.segment_size_first - 2 * FRAME_ALIGN;
    while it.write(10).unwrap().end.offset() <= full {}
    it.log().sync().unwrap();
    it.disk.fail_nth(IoKind::Write, 1, Fault::NoSpace);
    it.log().idle_mark(&at(900)).unwrap();
    assert!(it.disk.was_disturbed(), "the mark needed another segment");
    let written = it.write(40_000).unwrap();
    it.log().sync().unwrap();
    let size = it.segment(written.start.segment()).header().size;
    assert!(written.end.offset() <= size, "{written:?} in {size} bytes");
    let reopened = open(&it.disk.restart_process(), &SMALL, 9_000).unwrap();
    assert_eq!(reopened.manager.last.get(), it.next - 1);
}

#[test]
fn the_log_syncs_by_itself_before_it_gets_too_far_ahead() {
    let disk = SimDisk::new();
    let options = mq_persistence::JournalOptions {
        segment_size_first: 8 << 20,
        segment_size_max: 8 << 20,
        ..SMALL
    };
    let opened = open(&disk, &options, 1_000).unwrap();
    let frame = Frame::new(&opened.identity);
    let mut it = Fixture {
        disk,
        opened,
        frame,
        next: 1,
    };
    for _ in 0..40 {
        let written = it.write(100_000).unwrap();
        let segment = it.segment(written.start.segment());
        let header = *segment.frame(written.start).unwrap().header();
        let ahead = header.lsn.offset() - header.durable.offset();
        assert!(ahead <= UNSYNCED_MAX, "{ahead} bytes ahead");
    }
    assert!(it.log().syncs() >= 3);
    assert!(it.log().unsynced_bytes() <= u64::from(UNSYNCED_MAX) + 101_000);
}

#[test]
fn a_sync_under_way_makes_durable_what_was_written_before_it_began() {
    let mut it = Fixture::new();
    let first = it.write(10).unwrap();
    let pending = it.log().begin_sync().unwrap().unwrap();
    let second = it.write(10).unwrap();
    let answer = pending.run();
    assert_eq!(it.log().end_sync(answer).unwrap(), first.end);
    assert!(it.log().unsynced_bytes() > 0);
    assert_eq!(it.log().sync().unwrap(), second.end);
    assert_eq!(it.log().unsynced_bytes(), 0);
    // An answer that comes late takes nothing back.
    it.write(10).unwrap();
    let late = it.log().begin_sync().unwrap().unwrap();
    let end = it.log().sync().unwrap();
    let late = late.run();
    assert_eq!(it.log().end_sync(late).unwrap(), end);
}

#[test]
fn the_first_failure_is_final_and_nothing_is_tried_again() {
    for (kind, fault) in [
        (IoKind::Write, Fault::IoError),
        (IoKind::Write, Fault::NoSpace),
        (IoKind::SyncData, Fault::SyncLostKept),
    ] {
        let mut it = Fixture::new();
        it.disk.fail_nth(kind, 1, fault);
        let failed = it
            .write(10)
            .map(drop)
            .and_then(|()| it.log().sync().map(drop));
        let first = failed.expect_err("a failed call");
        let before = it.disk.io_count();
        assert_eq!(it.write(10).expect_err("stopped"), first);
        assert_eq!(it.log().sync().expect_err("stopped"), first);
        assert_eq!(it.log().idle_mark(&at(9)).expect_err("stopped"), first);
        assert_eq!(it.log().begin_sync().expect_err("stopped"), first);
        let Fixture { opened, disk, .. } = it;
        assert_eq!(opened.log.close(&at(9)).expect_err("stopped"), first);
        assert_eq!(disk.io_count(), before, "{kind:?} {fault:?}");
    }
}

#[test]
fn a_sync_that_fails_in_the_background_stops_every_later_one() {
    let mut it = Fixture::new();
    it.write(10).unwrap();
    let pending = it.log().begin_sync().unwrap().unwrap();
    it.disk
        .fail_nth(IoKind::SyncData, 1, Fault::SyncLostReverted);
    let answer = pending.run();
    // The log has not been told yet, but no sync may call durable what the failed one lost.
    it.write(10).unwrap();
    let before = it.disk.count_of(IoKind::SyncData);
    let durable = it.log().durable();
    let error = it.log().sync().expect_err("the journal stopped");
    assert_eq!(it.disk.count_of(IoKind::SyncData), before);
    assert_eq!(it.log().end_sync(answer).expect_err("stopped"), error);
    assert_eq!(it.log().durable(), durable);
}

#[test]
fn places_in_a_written_frame_are_where_the_records_lie() {
    let mut it = Fixture::new();
    let written = it.write(700).unwrap();
    let [mq_persistence::PlaceChange::Placed { at, len, .. }] = written.changes[..] else {
        panic!("{written:?}");
    };
    let bytes = it.segment(at.segment());
    let (from, size) = (at.offset() as usize, len as usize);
    let record = bytes::Bytes::copy_from_slice(&bytes.bytes()[from..from + size]);
    let seed = it.opened.identity.seed();
    let (seq, read) = mq_persistence::record::read_sealed(&record, seed).unwrap();
    assert_eq!((seq.get(), read.bytes), (1, sealed(1, 700).bytes));
}
