//! How many files a large store holds open, and what a wrong place costs.

use std::sync::Arc;

use mq_core::id::{Seq, StoreTag};
use mq_core::time::Timestamp;

use super::{OPEN_SEGMENTS_MAX, Pinned, ReadFault, SegmentFile, Segments};
use crate::identity::Identity;
use crate::lsn::Lsn;
use crate::places::Place;
use crate::storage::{DirectoryStorage, OpenMode, Storage};

fn identity() -> Identity {
    Identity {
        uuid: [1; 16],
        tag: StoreTag::new(1),
        secret: [2; 16],
        created: Timestamp::from_ms(0),
    }
}

#[test]
fn a_store_of_many_segments_holds_few_files_open() {
    let directory = tempfile::tempdir().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(DirectoryStorage::new(directory.path()));
    let segments = Segments::new(identity());
    let count = u32::try_from(OPEN_SEGMENTS_MAX).unwrap() + 40;
    for number in 1..=count {
        let name = crate::segment::name(number);
        let file = storage.open(&name, OpenMode::CreateNew).unwrap();
        let segment = SegmentFile::new(Arc::clone(&storage), name, number, 1 << 20, 0, Some(file));
        segments.add(Arc::new(segment));
    }
    segments.close_idle();
    let open = |number| segments.get(number).unwrap().is_open();
    assert_eq!(
        (1..=count).filter(|number| open(*number)).count(),
        OPEN_SEGMENTS_MAX
    );
    assert!(!open(1) && open(count), "the oldest are closed");
    segments.get(1).unwrap().file().unwrap();
    assert!(open(1), "and opened again when they are read");
}

/// Opening a file may take long; those who look for files to close do not wait for it.
#[test]
fn a_segment_that_is_being_opened_keeps_nobody_from_closing_others() {
    let directory = tempfile::tempdir().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(DirectoryStorage::new(directory.path()));
    let segments = Arc::new(Segments::new(identity()));
    let count = u32::try_from(OPEN_SEGMENTS_MAX).unwrap() + 3;
    for number in 1..=count {
        let name = crate::segment::name(number);
        let file = storage.open(&name, OpenMode::CreateNew).unwrap();
        let segment = SegmentFile::new(Arc::clone(&storage), name, number, 1 << 20, 0, Some(file));
        segments.add(Arc::new(segment));
    }
    let opened = segments.get(1).unwrap();
    let being_opened = opened.file.lock();
    let (closed, is_closed) = std::sync::mpsc::channel();
    let closer = Arc::clone(&segments);
    std::thread::spawn(move || {
        closer.close_idle();
        closed.send(()).unwrap();
    });
    let done = is_closed.recv_timeout(std::time::Duration::from_secs(60));
    assert!(done.is_ok(), "it waits for the one that is being opened");
    let others = segments.list().into_iter().skip(1);
    let open = others.filter(|it| it.is_open()).count();
    assert_eq!(
        open, OPEN_SEGMENTS_MAX,
        "the others are closed all the same"
    );
    drop(being_opened);
}

/// Four gigabytes for a file of one: the length is compared with what is there before memory is taken for it.
#[test]
fn a_record_that_would_not_end_within_its_file_is_refused_before_it_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(DirectoryStorage::new(directory.path()));
    let file = storage.open("one", OpenMode::CreateNew).unwrap();
    file.set_size(4_096).unwrap();
    // Its header may lie, too.
    let segment = SegmentFile::new(storage, "one".to_owned(), 1, u32::MAX, 0, Some(file));
    let segment = Arc::new(segment);
    let read = |offset, len| {
        let at = Lsn::new(1, offset);
        let pinned = Pinned::new(
            Arc::clone(&segment),
            identity(),
            Seq::new(1).unwrap(),
            Place { at, len },
        );
        pinned.read().unwrap_err().reason
    };
    for (offset, len) in [(0, u32::MAX), (4_000, 97), (u32::MAX, 1)] {
        let refused = read(offset, len);
        assert!(
            matches!(refused, ReadFault::Outside { len: said } if said == len),
            "{refused:?}"
        );
    }
    assert!(matches!(read(4_000, 96), ReadFault::Damaged(_)));
}
