//! What was found and done when a store was opened.

use crate::recovery::JournalFacts;
use crate::snapshot::{DamagedSnapshot, SnapshotFacts};
use crate::storage::Filesystem;

/// What was found and done when a store was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenReport {
    /// It is new; nothing was found. `journal` is then `None`.
    pub created: bool,
    /// What it lies on. Promises about a full disk need one that overwrites in place; promises about power one that is persistent.
    pub filesystem: Filesystem,
    /// Permission bits of the directory. Beyond `0o700`, others may read the store.
    pub permissions: u32,
    /// The snapshot that replay began with.
    pub snapshot: Option<SnapshotFacts>,
    /// Snapshots that were not whole. The journal stood in for them; their files are put aside before they are replaced.
    pub damaged_snapshots: Vec<DamagedSnapshot>,
    /// What was read of the journal.
    pub journal: Option<JournalFacts>,
    /// By how much the wall clock was behind what was last recorded: it was set back. Zero if it was not.
    pub wall_clock_behind_ms: u64,
}

impl OpenReport {
    /// The report of an engine that keeps everything in memory.
    #[must_use]
    pub const fn in_memory() -> Self {
        Self {
            created: true,
            filesystem: Filesystem::Tmpfs,
            permissions: 0o700,
            snapshot: None,
            damaged_snapshots: Vec::new(),
            journal: None,
            wall_clock_behind_ms: 0,
        }
    }
}
