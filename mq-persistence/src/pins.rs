//! The segments a store consists of, and who is still reading them.
//!
//! Invariants:
//! 1. A segment is in [`Segments`] from the moment the log takes it (or recovery finds it) until nothing in it is needed any more.
//!    Only then does it leave the set; from then on nobody can pin it anew.
//! 2. A [`Pinned`] holds its segment. Whoever took a segment out of the set recycles or removes the file when it is the only holder
//!    left ([`SegmentFile::sole`]), not before.
//! 3. Reading checks the record's checksum and that it is the one asked for. Damaged bytes are never handed out.
//!
//! What it does not do: decide what is needed (the places and the snapshots do), write anything.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use mq_core::id::Seq;
use mq_core::message::Sealed;
use parking_lot::Mutex;

use crate::checksum::Seed;
use crate::error::DecodeError;
use crate::frame::{PlaceChange, change_of};
use crate::identity::Identity;
use crate::lsn::Lsn;
use crate::places::Place;
use crate::record::RawRecord;
use crate::storage::{OpenMode, Storage, StorageFile, read_exact_at};

/// Open segment files kept by [`Segments::close_idle`]: far below the usual limit of 1024 descriptors per process.
pub const OPEN_SEGMENTS_MAX: usize = 128;

/// One segment file of the journal, opened when it is first read or written.
pub struct SegmentFile {
    number: u32,
    size: u32,
    salt: u64,
    name: String,
    storage: Arc<dyn Storage>,
    file: Mutex<Option<Arc<dyn StorageFile>>>,
}

impl SegmentFile {
    /// A segment that stands in `storage` under `name`; `file` if it is open already.
    #[must_use]
    pub fn new(
        storage: Arc<dyn Storage>,
        name: String,
        number: u32,
        size: u32,
        salt: u64,
        file: Option<Arc<dyn StorageFile>>,
    ) -> Self {
        Self {
            number,
            size,
            salt,
            name,
            storage,
            file: Mutex::new(file),
        }
    }

    /// Its number: the upper half of the position of everything in it.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// Its size in bytes, header included.
    #[must_use]
    pub const fn size(&self) -> u32 {
        self.size
    }

    /// What its checksums are seeded with.
    #[must_use]
    pub const fn salt(&self) -> u64 {
        self.salt
    }

    /// Its name in the directory.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The open file.
    ///
    /// # Errors
    /// It could not be opened.
    pub fn file(&self) -> io::Result<Arc<dyn StorageFile>> {
        let mut file = self.file.lock();
        if let Some(file) = &*file {
            return Ok(Arc::clone(file));
        }
        let opened = self.storage.open(&self.name, OpenMode::Read)?;
        *file = Some(Arc::clone(&opened));
        Ok(opened)
    }

    /// Whether nobody else holds this segment: no reader, and not the set.
    #[must_use]
    pub fn sole(this: &Arc<Self>) -> bool {
        Arc::strong_count(this) == 1
    }

    /// Closes the file, unless somebody is opening it now: that may take long.
    fn close(&self) {
        let file = self.file.try_lock().and_then(|mut file| file.take());
        drop(file); // not under the lock
    }

    /// Whether the file is open, and nobody is opening it now.
    fn is_open(&self) -> bool {
        self.file.try_lock().is_some_and(|file| file.is_some())
    }
}

impl fmt::Debug for SegmentFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentFile")
            .field("name", &self.name)
            .field("number", &self.number)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// The segments of one store, by number. Shared by the log (adds), the places (pin, take out) and the maintenance (lists).
#[derive(Debug)]
pub struct Segments {
    identity: Identity,
    by_number: Mutex<BTreeMap<u32, Arc<SegmentFile>>>,
}

impl Segments {
    /// No segments yet.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            by_number: Mutex::default(),
        }
    }

    /// The store they belong to.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Adds a segment that recovery found or the log is about to write to.
    pub fn add(&self, segment: Arc<SegmentFile>) {
        self.by_number.lock().insert(segment.number(), segment);
    }

    /// The segment of that number.
    #[must_use]
    pub fn get(&self, number: u32) -> Option<Arc<SegmentFile>> {
        self.by_number.lock().get(&number).map(Arc::clone)
    }

    /// All of them, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<SegmentFile>> {
        self.by_number.lock().values().map(Arc::clone).collect()
    }

    /// How many there are, and their bytes.
    #[must_use]
    pub fn total(&self) -> (usize, u64) {
        let by_number = self.by_number.lock();
        let bytes = by_number.values().map(|it| u64::from(it.size())).sum();
        (by_number.len(), bytes)
    }

    /// Takes out the segments below `below` that `wanted` chooses.
    pub(crate) fn take_where(
        &self,
        below: u32,
        wanted: impl Fn(u32) -> bool,
    ) -> Vec<Arc<SegmentFile>> {
        let mut by_number = self.by_number.lock();
        let numbers: Vec<u32> = by_number
            .range(..below)
            .map(|(number, _)| *number)
            .filter(|number| wanted(*number))
            .collect();
        numbers
            .iter()
            .filter_map(|number| by_number.remove(number))
            .collect()
    }

    /// Closes the files of the oldest segments beyond [`OPEN_SEGMENTS_MAX`] open ones; they are opened again when needed.
    pub fn close_idle(&self) {
        let open: Vec<_> = self.list().into_iter().filter(|it| it.is_open()).collect();
        let surplus = open.len().saturating_sub(OPEN_SEGMENTS_MAX);
        open.iter().take(surplus).for_each(|it| it.close());
    }
}

/// A message's record in the journal, held readable.
#[derive(Debug)]
pub struct Pinned {
    segment: Arc<SegmentFile>,
    identity: Identity,
    seq: Seq,
    place: Place,
}

/// A record could not be read back. The message is not lost by this alone: the bytes on disk are untouched.
#[derive(Debug, thiserror::Error)]
#[error(
    "record of message {seq} in {file} at offset {offset} cannot be read: {reason}; run `mq verify` on the store"
)]
pub struct ReadFailure {
    /// The message.
    pub seq: Seq,
    /// The segment's name.
    pub file: String,
    /// Where its record begins.
    pub offset: u32,
    /// What is wrong with it.
    #[source]
    pub reason: ReadFault,
}

/// What is wrong with a record that was read back.
#[derive(Debug, thiserror::Error)]
pub enum ReadFault {
    /// The system did not deliver the bytes.
    #[error("the file cannot be read")]
    Io(#[from] io::Error),
    /// The bytes are not the record that was written there.
    #[error("its bytes are damaged")]
    Damaged(#[from] DecodeError),
    /// It would not end within the file: the file was cut, or who wrote its length down is damaged.
    #[error("a record of {len} bytes does not end within the file")]
    Outside {
        /// Its length in bytes.
        len: u32,
    },
    /// It is a whole record, but that of another message or one without an envelope.
    #[error("another record stands there")]
    Misplaced,
}

impl Pinned {
    pub(crate) fn new(
        segment: Arc<SegmentFile>,
        identity: Identity,
        seq: Seq,
        place: Place,
    ) -> Self {
        Self {
            segment,
            identity,
            seq,
            place,
        }
    }

    /// Where it reads.
    #[must_use]
    pub const fn place(&self) -> Place {
        self.place
    }

    /// Reads the envelope, checked. Needs no lock; one `pread`.
    ///
    /// # Errors
    /// [`ReadFailure`] names the file and the offset.
    pub fn read(&self) -> Result<Sealed, ReadFailure> {
        self.read_checked().map_err(|reason| self.failure(reason))
    }

    /// Reads the whole record, checked, as it lies there.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(crate) fn read_raw(&self) -> Result<Bytes, ReadFailure> {
        let read = self.read_bytes().and_then(|bytes| {
            read_envelope(&bytes, self.seq, self.identity.seed())?;
            Ok(bytes)
        });
        read.map_err(|reason| self.failure(reason))
    }

    fn failure(&self, reason: ReadFault) -> ReadFailure {
        ReadFailure {
            seq: self.seq,
            file: self.segment.name().to_owned(),
            offset: self.place.at.offset(),
            reason,
        }
    }

    fn read_checked(&self) -> Result<Sealed, ReadFault> {
        read_envelope(&self.read_bytes()?, self.seq, self.identity.seed())
    }

    fn read_bytes(&self) -> Result<Bytes, ReadFault> {
        let (from, len) = (self.place.at.offset(), self.place.len);
        let file = self.segment.file()?;
        // A length that somebody else has written down must not cost memory before it was compared with what there is.
        if u64::from(from) + u64::from(len) > file.size()? {
            return Err(ReadFault::Outside { len });
        }
        let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        read_exact_at(&*file, &mut bytes, u64::from(from))?;
        Ok(bytes.into())
    }
}

/// The envelope in the record that is exactly `bytes`, if it is a whole record of `seq`.
fn read_envelope(bytes: &Bytes, seq: Seq, seed: Seed) -> Result<Sealed, ReadFault> {
    let (raw, rest) = RawRecord::split(bytes)?;
    let crc = raw.verify(seed)?;
    let found = match change_of(&raw, &raw.decode()?, Lsn::START) {
        Some(PlaceChange::Placed { seq, .. } | PlaceChange::Relocated { seq, .. }) => Some(seq),
        Some(PlaceChange::Forgotten { .. }) | None => None,
    };
    if found != Some(seq) || !rest.is_empty() {
        return Err(ReadFault::Misplaced);
    }
    let bytes = bytes.slice_ref(raw.envelope());
    Ok(Sealed { bytes, crc })
}
