//! Making a store.
//!
//! Invariants: the first segment, with its first frame, is durable before `IDENT` gets its name. So a directory without `IDENT` holds
//! no store, and a store always has a segment. What an interrupted creation left is removed only if it is exactly that.

use std::io;
use std::sync::Arc;

use mq_core::time::{Now, Timestamp};

use super::{JournalOptions, LOCK_NAME, OpenError, begin_segment, spare_options};
use crate::checksum::Seed;
use crate::error::Failure;
use crate::frame::Frame;
use crate::identity::{IDENT_NAME, Identity};
use crate::pins::Segments;
use crate::record::Previous;
use crate::scan::SegmentBytes;
use crate::segment::{self, Header, SEGMENT_HEADER_SIZE};
use crate::snapshot;
use crate::spares::SparePool;
use crate::storage::{Filesystem, OpenMode, Storage, read_up_to_at, write_all_at};

/// Where `IDENT` is written before it gets its name.
const IDENT_NEW_NAME: &str = "IDENT.new";

/// Makes a store in a directory without one.
pub(super) fn create(
    storage: &Arc<dyn Storage>,
    options: &JournalOptions,
    filesystem: Filesystem,
    wall: Timestamp,
    random: &mut dyn FnMut() -> u64,
) -> Result<(), OpenError> {
    clear(&**storage)?;
    let identity = Identity::draw(random, wall);
    create_as(storage, options, filesystem, &identity, wall, random)
}

/// Makes the store that is to be known as `identity` in an empty directory.
pub(crate) fn create_as(
    storage: &Arc<dyn Storage>,
    options: &JournalOptions,
    filesystem: Filesystem,
    identity: &Identity,
    wall: Timestamp,
    random: &mut dyn FnMut() -> u64,
) -> Result<(), OpenError> {
    let segments = Arc::new(Segments::new(identity.clone()));
    let options = spare_options(options, filesystem, random(), wall);
    let pool = Arc::new(SparePool::new(Arc::clone(storage), segments, options, 1));
    let mut frame = Frame::new(identity);
    frame.append_previous(&Previous::default());
    let now = Now {
        wall,
        ..Now::default()
    };
    begin_segment(identity, &pool, &mut frame, &Previous::default(), &now)?;
    Ok(write_identity(&**storage, identity)?)
}

/// Makes a directory a store: everything else in it is durable.
pub(crate) fn write_identity(storage: &dyn Storage, identity: &Identity) -> Result<(), Failure> {
    let name = IDENT_NEW_NAME;
    let file = storage.open(name, OpenMode::CreateNew);
    let file = file.map_err(Failure::of("create", name))?;
    write_all_at(&*file, &identity.encode(), 0)
        .and_then(|()| file.sync_data())
        .map_err(Failure::of("write", name))?;
    storage
        .rename(name, IDENT_NAME)
        .map_err(Failure::of("rename", name))?;
    storage
        .sync_directory()
        .map_err(Failure::of("sync of the directory", ""))
}

/// Refuses to make a store among the files of somebody else. What begins with a dot, and what a file system puts at its root, is
/// nobody's.
pub(super) fn refuse_foreign(names: &[String]) -> Result<(), OpenError> {
    let is_ours = |name: &str| {
        matches!(name, IDENT_NAME | IDENT_NEW_NAME | LOCK_NAME)
            || snapshot::SLOT_NAMES.contains(&name)
            || segment::number_of(name).is_some()
            || segment::is_spare_name(name)
    };
    let is_nobodys = |name: &str| name.starts_with('.') || name == "lost+found";
    if names.iter().any(|name| is_ours(name)) {
        return Ok(());
    }
    match names.iter().find(|name| !is_nobodys(name)) {
        Some(name) => Err(OpenError::NotAStore { file: name.clone() }),
        None => Ok(()),
    }
}

/// Removes what an interrupted creation left; refuses if there is more.
fn clear(storage: &dyn Storage) -> Result<(), OpenError> {
    let names = super::list(storage)?;
    for name in &names {
        let is_slot = snapshot::SLOT_NAMES.contains(&name.as_str());
        let is_segment = segment::number_of(name).is_some();
        if is_slot || (is_segment && !is_just_begun(storage, name)?) {
            return Err(OpenError::MissingIdentity { file: name.clone() });
        }
    }
    let debris = |name: &&String| {
        segment::number_of(name).is_some()
            || segment::is_spare_name(name)
            || name.as_str() == IDENT_NEW_NAME
    };
    for name in names.iter().filter(debris) {
        storage.remove(name).map_err(Failure::of("remove", name))?;
    }
    storage
        .sync_directory()
        .map_err(Failure::of("sync of the directory", ""))?;
    Ok(())
}

/// Whether a segment holds nothing but what creating a store writes into its first one.
fn is_just_begun(storage: &dyn Storage, name: &str) -> Result<bool, OpenError> {
    let read = || -> io::Result<Option<SegmentBytes>> {
        let file = storage.open(name, OpenMode::Read)?;
        let mut bytes = [0; SEGMENT_HEADER_SIZE];
        read_up_to_at(&*file, &mut bytes, 0)?;
        let Ok(header) = Header::decode(&bytes) else {
            return Ok(None);
        };
        let store = Seed::of(&header.uuid);
        SegmentBytes::read(&file, header, store).map(Some)
    };
    let bytes = read().map_err(Failure::of("read", name))?;
    Ok(bytes.is_some_and(|bytes| {
        let first = bytes.frame(bytes.start());
        first.map_or(true, |frame| frame.header().records == 1)
            && bytes.headers_after(bytes.start()).next().is_none()
    }))
}
