//! The segment files that a directory holds, each with its checked header.
//!
//! Invariants: a file is open only while it is read, so that a store may have more segments than a process may have files open; and
//! every file was synced before a byte of it is looked at. After a sync that failed in the process before, the cache can
//! show what the disk does not have; what can still be saved by a sync is saved now.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::checksum::Seed;
use crate::error::Failure;
use crate::identity::{HeaderError, Identity};
use crate::lsn::Lsn;
use crate::open::{Corruption, OpenError};
use crate::pins::SegmentFile;
use crate::scan::SegmentBytes;
use crate::segment::{self, DATA_START, Header, PAGE_SIZE, SEGMENT_HEADER_SIZE};
use crate::snapshot::SnapshotContents;
use crate::storage::{OpenMode, Storage, StorageFile, read_up_to_at};

/// A segment file whose header is whole.
#[derive(Debug)]
pub(crate) struct SegmentOnDisk {
    pub(crate) name: String,
    pub(crate) header: Header,
}

impl SegmentOnDisk {
    /// Damage at `lsn` in this segment.
    pub(super) fn damaged(&self, lsn: Lsn, reason: impl ToString) -> OpenError {
        OpenError::Corrupt(Box::new(Corruption {
            file: self.name.clone(),
            offset: lsn.offset().into(),
            lsn: Some(lsn),
            evidence: None,
            reason: reason.to_string(),
        }))
    }
}

/// How the bytes of whole segments are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Mapped: for opening, which holds the lock and must be quick.
    Map,
    /// Read: a bad sector, or a file that somebody cuts meanwhile, is an error and not the end of the process.
    Read,
}

/// All segment files of a directory, by number.
#[derive(Debug)]
pub(crate) struct SegmentsOnDisk {
    pub(super) storage: Arc<dyn Storage>,
    /// Where the checksums of the store's records begin.
    pub(super) seed: Seed,
    pub(super) by_number: BTreeMap<u32, SegmentOnDisk>,
    access: Access,
}

impl SegmentsOnDisk {
    /// Syncs every segment among the files `names`, and checks its header.
    ///
    /// # Errors
    /// [`OpenError`] names the file.
    pub(crate) fn list(
        storage: Arc<dyn Storage>,
        identity: &Identity,
        names: &[String],
        access: Access,
    ) -> Result<Self, OpenError> {
        let mut by_number = BTreeMap::new();
        for name in names {
            if let Some(number) = segment::number_of(name) {
                by_number.insert(number, open(&*storage, identity, name, number)?);
            }
        }
        Ok(Self {
            storage,
            seed: identity.seed(),
            by_number,
            access,
        })
    }

    pub(super) fn get(&self, number: u32) -> Option<&SegmentOnDisk> {
        self.by_number.get(&number)
    }

    /// The bytes of a segment. While it is mapped, nobody writes it: the log has not begun.
    pub(super) fn load(&self, segment: &SegmentOnDisk) -> Result<SegmentBytes, OpenError> {
        let file = self.open(segment)?;
        let header = segment.header.clone();
        let bytes = match self.access {
            Access::Map => SegmentBytes::map(&file, header, self.seed),
            Access::Read => SegmentBytes::read(&file, header, self.seed),
        };
        Ok(bytes.map_err(Failure::of("read", &segment.name))?)
    }

    /// The bytes up to the end of the page in which the first frame begins.
    pub(super) fn load_front(&self, segment: &SegmentOnDisk) -> Result<SegmentBytes, OpenError> {
        let mut page = vec![0; (DATA_START + PAGE_SIZE) as usize];
        let read = read_up_to_at(&*self.open(segment)?, &mut page, 0);
        page.truncate(read.map_err(Failure::of("read", &segment.name))?);
        let header = segment.header.clone();
        Ok(SegmentBytes::of_bytes(page, header, self.seed))
    }

    /// A segment for the store to work with.
    pub(super) fn to_file(&self, segment: &SegmentOnDisk) -> SegmentFile {
        SegmentFile::new(
            Arc::clone(&self.storage),
            segment.name.clone(),
            segment.header.number,
            segment.header.size,
            segment.header.salt,
            None,
        )
    }

    fn open(&self, segment: &SegmentOnDisk) -> Result<Arc<dyn StorageFile>, OpenError> {
        let opened = self.storage.open(&segment.name, OpenMode::Read);
        Ok(opened.map_err(Failure::of("open", &segment.name))?)
    }
}

fn open(
    storage: &dyn Storage,
    identity: &Identity,
    name: &str,
    number: u32,
) -> Result<SegmentOnDisk, OpenError> {
    let opened = storage.open(name, OpenMode::Read);
    let file = opened.map_err(Failure::of("open", name))?;
    file.sync_data().map_err(Failure::of("sync", name))?;
    let mut bytes = [0; SEGMENT_HEADER_SIZE];
    let read = read_up_to_at(&*file, &mut bytes, 0).map_err(Failure::of("read", name))?;
    let header = Header::decode(bytes.get(..read).unwrap_or_default());
    let header = header.map_err(|error| header_error(name, error))?;
    if header.uuid != identity.uuid {
        return Err(OpenError::OtherStore {
            file: name.to_owned(),
        });
    }
    let size = file.size().map_err(Failure::of("look at", name))?;
    let segment = SegmentOnDisk {
        name: name.to_owned(),
        header,
    };
    let at = |offset| Lsn::new(number, offset);
    if segment.header.number != number {
        let found = segment.header.number;
        return Err(segment.damaged(at(0), format!("it is the segment {found}, renamed")));
    }
    if size < u64::from(segment.header.size) {
        let offset = u32::try_from(size).unwrap_or(u32::MAX);
        let wanted = segment.header.size;
        let reason = format!("the file has {size} bytes, and was made with {wanted}");
        return Err(segment.damaged(at(offset), reason));
    }
    Ok(segment)
}

/// What a header that was not taken means for opening.
pub(crate) fn header_error(name: &str, error: HeaderError) -> OpenError {
    match error {
        HeaderError::Newer { required } => OpenError::NewerFormat {
            file: name.to_owned(),
            required,
        },
        HeaderError::Damaged(reason) => OpenError::Corrupt(Box::new(Corruption {
            file: name.to_owned(),
            offset: 0,
            lsn: None,
            evidence: None,
            reason: reason.to_string(),
        })),
    }
}

/// A segment that must be there and is not.
pub(super) fn missing(number: u32, needed_by: impl ToString) -> OpenError {
    OpenError::MissingSegment {
        file: segment::name(number),
        needed_by: needed_by.to_string(),
    }
}

/// Checks that the segments a snapshot lists, as far as they are still there, are the same ones.
pub(super) fn check_against(
    on_disk: &SegmentsOnDisk,
    snapshot: &SnapshotContents,
) -> Result<(), OpenError> {
    for entry in &snapshot.segments {
        let Some(segment) = on_disk.get(entry.number) else {
            continue;
        };
        if (segment.header.salt, segment.header.size) != (entry.salt, entry.size) {
            let name = snapshot.name();
            let reason = format!("it is not the segment of this number that {name} lists");
            return Err(segment.damaged(Lsn::new(entry.number, 0), reason));
        }
    }
    Ok(())
}
