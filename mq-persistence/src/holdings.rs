//! What a store has on its disk, in numbers: for readers, and nothing rests on it.

use crate::keeper::Keeper;
use crate::lsn::Lsn;
use crate::snapshot::SnapshotFacts;

/// What a store has on its disk. Sizes in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Segments of the journal.
    pub segments: usize,
    /// Their bytes.
    pub journal: u64,
    /// Journal written since the newest snapshot.
    pub since_snapshot: u64,
    /// Segments kept ready.
    pub spares: u64,
    /// Free bytes of the file system; `None` if it does not say.
    pub free: Option<u64>,
    /// With less than this free, the room for settling is written ahead, and then new messages may be refused.
    pub scarce_below: u64,
    /// No more files may be open, so that no segment can be made.
    pub lacks_files: bool,
    /// The newest snapshot.
    pub snapshot: Option<SnapshotFacts>,
    /// How often the log found no spare segment and had to wait for one.
    pub starved: u64,
}

impl Keeper {
    /// What the store has, when its journal is written up to `written`. Asks the file system for its free bytes.
    #[must_use]
    pub fn holdings(&self, written: Lsn) -> Holdings {
        let (segments, journal) = self.segments.total();
        let snapshot = self.newest_snapshot();
        let taken = snapshot.map_or(Lsn::START, |snapshot| snapshot.at);
        let room = self.pool.room();
        Holdings {
            segments,
            journal,
            since_snapshot: self.journal_between(taken, written),
            spares: room.free_spare_bytes,
            lacks_files: room.lacks_files,
            free: self.storage.free_bytes().ok(),
            scarce_below: self.pool.scarce_below(),
            snapshot,
            starved: self.pool.starved(),
        }
    }
}
