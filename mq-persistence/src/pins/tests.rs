//! How many files a large store holds open.

use std::sync::Arc;

use mq_core::id::StoreTag;
use mq_core::time::Timestamp;

use super::{OPEN_SEGMENTS_MAX, SegmentFile, Segments};
use crate::identity::Identity;
use crate::storage::{DirectoryStorage, OpenMode, Storage};

#[test]
fn a_store_of_many_segments_holds_few_files_open() {
    let directory = tempfile::tempdir().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(DirectoryStorage::new(directory.path()));
    let segments = Segments::new(Identity {
        uuid: [1; 16],
        tag: StoreTag::new(1),
        secret: [2; 16],
        created: Timestamp::from_ms(0),
    });
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
