//! Snapshots: the whole state of the manager and all places, so that recovery reads only the journal written since.
//!
//! Payloads are not in it; they stay in the journal, and a snapshot says where. Layout of the bytes:
//! docs/journal-format.md.
//!
//! Invariants:
//! 1. Two generations are kept, in the slots [`SLOT_NAMES`]. A new one is written aside, synced, renamed over the slot that is free,
//!    damaged or older, and the directory is synced. At no moment is there less than the newest good one.
//! 2. A slot that could not be read is never overwritten: it gets another name first.
//! 3. The journal is durable up to a snapshot's position before the snapshot is written.
//! 4. A snapshot is believed whole or not at all: every block is checked before the first fact is handed out.
//! 5. The generation in the head says which is newer, never a name or a time.
//!
//! What it does not do: decide when (the keeper does), take the image (the owner of the manager does).

mod entry;
mod layout;
mod reader;
mod writer;

use std::io;
use std::sync::Arc;

use mq_core::id::Seq;
use mq_core::image::ImageRecord;
use mq_core::time::{Now, StoreTime, Timestamp};

use crate::error::{Failure, JournalError};
use crate::identity::Identity;
use crate::lsn::Lsn;
use crate::places::{Place, PlacesImage};
use crate::record;
use crate::spares::Trouble;
use crate::storage::{OpenMode, Storage, StorageFile};
use entry::{Entries, PlaceCoder, RecordCoder};
use layout::{BlockKind, Head};
use reader::{Fault, SnapshotFile};
use writer::SnapshotWriter;

pub use entry::SegmentEntry;

/// The names of the two generations.
pub const SLOT_NAMES: [&str; 2] = ["snap-A", "snap-B"];
/// Where the next one is written.
pub const NEXT_NAME: &str = "snap-next";
/// Begins the names of files that could not be read and were put aside.
pub const ASIDE_PREFIX: &str = "aside-";

/// What is known about one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotFacts {
    /// The how-manieth of its store.
    pub generation: u64,
    /// The journal up to here is in it.
    pub at: Lsn,
    /// Wall clock when it was taken.
    pub wall: Timestamp,
    /// Store time when it was taken.
    pub store: StoreTime,
    /// Its bytes.
    pub size: u64,
    /// Facts of the manager in it.
    pub records: u64,
    /// Places in it.
    pub places: u64,
}

/// A snapshot that was checked from end to end.
#[derive(Debug)]
pub struct SnapshotContents {
    /// What is known about it.
    pub facts: SnapshotFacts,
    /// The segments the store had, oldest first. Those in which nothing lives any more may be gone.
    pub segments: Vec<SegmentEntry>,
    file: SnapshotFile,
    name: &'static str,
}

/// What [`load_best`] found.
#[derive(Debug)]
pub struct Loaded {
    /// The newest good one; `None` when there is none.
    pub contents: Option<SnapshotContents>,
    /// What stands in the two slots, for the keeper.
    pub slots: Slots,
    /// Slots that are not what was written. They may have been newer: what is here is then a later beginning in a journal that must
    /// be whole from there on.
    pub damaged: Vec<DamagedSnapshot>,
}

/// A snapshot that cannot be used. Its file is as it was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("snapshot {file} is damaged: {reason}")]
pub struct DamagedSnapshot {
    /// Its name.
    pub file: String,
    /// What is wrong, and where.
    pub reason: String,
}

/// Why the snapshots could not even be looked at. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The system did not deliver the bytes. Look at the disk and open again.
    #[error(transparent)]
    Io(#[from] Failure),
    /// A newer version of the program wrote it. Use that one.
    #[error(
        "snapshot {file} needs a reader of format {required}; open the store with a newer version"
    )]
    Newer {
        /// Its name.
        file: String,
        /// The format it needs.
        required: u16,
    },
    /// It is not this store's. Files of two stores were mixed; put the right one back.
    #[error("snapshot {file} belongs to another store; restore this store's own files")]
    OtherStore {
        /// Its name.
        file: String,
    },
}

/// Looks at both slots and checks the newest snapshot that is whole.
///
/// # Errors
/// [`LoadError`]; a damaged snapshot is no error but part of the answer.
pub fn load_best(storage: &dyn Storage, identity: &Identity) -> Result<Loaded, LoadError> {
    let mut slots = Slots::default();
    let mut damaged = Vec::new();
    let mut candidates = Vec::new();
    for (slot, name) in slots.states.iter_mut().zip(SLOT_NAMES) {
        match open_slot(storage, name, identity) {
            Ok(None) => {}
            Ok(Some(file)) => {
                *slot = Slot::Good(facts_of(&file));
                candidates.push((slot, name, file));
            }
            Err(fault) => {
                *slot = Slot::Damaged;
                damaged.push(damage(name, fault)?);
            }
        }
    }
    candidates.sort_by_key(|(_, _, file)| std::cmp::Reverse(file.head.generation));
    let mut contents = None;
    for (slot, name, file) in candidates {
        match SnapshotContents::checked(file, name) {
            Ok(whole) => {
                contents = Some(whole);
                break;
            }
            Err(fault) => {
                *slot = Slot::Damaged;
                damaged.push(damage(name, fault)?);
            }
        }
    }
    Ok(Loaded {
        contents,
        slots,
        damaged,
    })
}

/// Checks one snapshot from end to end, for whoever only looks; what is wrong with it is said in words.
pub(crate) fn examine(
    storage: &dyn Storage,
    name: &str,
    identity: &Identity,
) -> Result<SnapshotContents, String> {
    let slot = SLOT_NAMES.into_iter().find(|slot| *slot == name);
    let slot = slot.ok_or("not the name of a snapshot")?;
    let file = open_slot(storage, slot, identity).map_err(|fault| fault.to_string())?;
    let file = file.ok_or("it is gone")?;
    SnapshotContents::checked(file, slot).map_err(|fault| fault.to_string())
}

/// What can be read of the facts in a snapshot that is not whole: those before the first damage.
pub(crate) fn loose_records(
    storage: &dyn Storage,
    name: &str,
    identity: &Identity,
) -> Vec<ImageRecord> {
    let slot = SLOT_NAMES.into_iter().find(|slot| *slot == name);
    let file = slot.and_then(|slot| open_slot(storage, slot, identity).ok().flatten());
    let records = slot.zip(file).map(|(slot, file)| {
        Entries::new(file.records(), RecordCoder, slot)
            .map_while(Result::ok)
            .collect()
    });
    records.unwrap_or_default()
}

impl SnapshotContents {
    fn checked(file: SnapshotFile, name: &'static str) -> Result<Self, Fault> {
        file.verify()?;
        let segments = entry::segments(&file)?;
        Ok(Self {
            facts: facts_of(&file),
            segments,
            file,
            name,
        })
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The facts of the manager, in the order in which they were written.
    pub fn records(&self) -> impl Iterator<Item = Result<ImageRecord, DamagedSnapshot>> + use<> {
        Entries::new(self.file.records(), RecordCoder, self.name)
    }

    /// All places, by ascending sequence.
    pub fn places(&self) -> impl Iterator<Item = Result<(Seq, Place), DamagedSnapshot>> + use<> {
        Entries::new(self.file.places(), PlaceCoder::default(), self.name)
    }
}

/// What a snapshot is made of.
pub(crate) struct Content<'a> {
    pub(crate) segments: &'a [SegmentEntry],
    pub(crate) places: PlacesImage,
    pub(crate) records: &'a mut dyn Iterator<Item = ImageRecord>,
}

/// Writes a snapshot to the front of `file` and syncs it. `between` is called after each block.
pub(crate) fn write(
    file: &dyn StorageFile,
    identity: &Identity,
    (generation, at, now): (u64, Lsn, &Now),
    content: Content<'_>,
    between: &mut dyn FnMut() -> Result<(), JournalError>,
) -> Result<SnapshotFacts, Trouble> {
    let head = Head {
        uuid: identity.uuid,
        generation,
        at,
        wall: now.wall,
        store: now.store,
    };
    let seed = identity.seed();
    let mut writer = SnapshotWriter::begin(file, &head).map_err(trouble)?;
    for segment in content.segments {
        writer
            .entry(BlockKind::Segments, |bytes, _| segment.encode(bytes))
            .map_err(trouble)?;
    }
    let mut coder = PlaceCoder::default();
    for (seq, place) in content.places.into_places() {
        let encode = |bytes: &mut Vec<u8>, first| coder.encode(first, seq, place, bytes);
        if writer.entry(BlockKind::Places, encode).map_err(trouble)? {
            between()?;
        }
    }
    for record in content.records {
        let encode = |bytes: &mut Vec<u8>, _| record::encode_image(&record, seed, bytes);
        if writer.entry(BlockKind::Records, encode).map_err(trouble)? {
            between()?;
        }
    }
    let (size, end) = writer.finish().map_err(trouble)?;
    Ok(facts(&head, &end, size))
}

fn trouble(source: io::Error) -> Trouble {
    Trouble::of(Failure::of("write", NEXT_NAME)(source))
}

/// What stands in the two slots.
#[derive(Clone, Debug, Default)]
pub struct Slots {
    states: [Slot; 2],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Slot {
    #[default]
    Empty,
    Good(SnapshotFacts),
    Damaged,
}

impl Slot {
    const fn facts(self) -> Option<SnapshotFacts> {
        match self {
            Self::Good(facts) => Some(facts),
            Self::Empty | Self::Damaged => None,
        }
    }
}

impl Slots {
    /// The newest good snapshot.
    #[must_use]
    pub fn newest(&self) -> Option<SnapshotFacts> {
        let good = self.states.iter().filter_map(|slot| slot.facts());
        good.max_by_key(|facts| facts.generation)
    }

    /// The older of two good snapshots. `None` while there are not two: then nothing but the whole journal can stand in for the
    /// newest, and no segment may be freed.
    #[must_use]
    pub fn older(&self) -> Option<SnapshotFacts> {
        let [first, second] = self.states.map(Slot::facts);
        let pair = [first?, second?];
        pair.into_iter().min_by_key(|facts| facts.generation)
    }

    /// The bytes in both slots.
    pub(crate) fn sizes(&self) -> [u64; 2] {
        self.states
            .map(|slot| slot.facts().map_or(0, |facts| facts.size))
    }

    /// The slot for the next snapshot, and whether what stands there must be put aside first.
    pub(crate) fn target(&self) -> (&'static str, bool) {
        let rank = |slot: &Slot| match slot {
            Slot::Empty => (0, 0),
            Slot::Damaged => (1, 0),
            Slot::Good(facts) => (2, facts.generation),
        };
        let slots = self.states.iter().zip(SLOT_NAMES);
        let chosen = slots.min_by_key(|(slot, _)| rank(slot));
        chosen.map_or((SLOT_NAMES[0], false), |(slot, name)| {
            (name, *slot == Slot::Damaged)
        })
    }

    /// Takes note of a snapshot that is now durable in the slot `name`.
    pub(crate) fn put(&mut self, name: &str, facts: SnapshotFacts) {
        self.set(name, Slot::Good(facts));
    }

    /// Takes note that what stood in the slot `name` was put aside.
    pub(crate) fn clear(&mut self, name: &str) {
        self.set(name, Slot::Empty);
    }

    fn set(&mut self, name: &str, state: Slot) {
        let slots = self.states.iter_mut().zip(SLOT_NAMES);
        for (slot, _) in slots.filter(|(_, slot_name)| *slot_name == name) {
            *slot = state;
        }
    }
}

/// Opens what stands in a slot. Whoever opens the store has synced it before: after a failed sync the cache may show more than the disk
/// has.
fn open_slot(
    storage: &dyn Storage,
    name: &str,
    identity: &Identity,
) -> Result<Option<SnapshotFile>, Fault> {
    let file = match storage.open(name, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    SnapshotFile::open(Arc::clone(&file), identity).map(Some)
}

fn facts_of(file: &SnapshotFile) -> SnapshotFacts {
    facts(&file.head, &file.end, file.size)
}

const fn facts(head: &Head, end: &layout::End, size: u64) -> SnapshotFacts {
    SnapshotFacts {
        generation: head.generation,
        at: head.at,
        wall: head.wall,
        store: head.store,
        size,
        records: end.records,
        places: end.places,
    }
}

/// A damaged snapshot is a finding; anything else is an error.
fn damage(name: &str, fault: Fault) -> Result<DamagedSnapshot, LoadError> {
    let file = name.to_owned();
    match fault {
        Fault::Io(source) => Err(Failure::of("read", name)(source).into()),
        Fault::Newer { required } => Err(LoadError::Newer { file, required }),
        Fault::OtherStore => Err(LoadError::OtherStore { file }),
        Fault::Damaged { .. } | Fault::Inconsistent { .. } => Ok(described(name, &fault)),
    }
}

fn described(name: &str, fault: &Fault) -> DamagedSnapshot {
    DamagedSnapshot {
        file: name.to_owned(),
        reason: fault.to_string(),
    }
}
