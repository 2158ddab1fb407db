//! Read-only maps of files at rest: the one file of this crate with `unsafe`.
//!
//! Invariant: the file under a [`SealedMap`] is neither written nor cut while the map lives. Its maker sees to that: segments are mapped
//! only while a store is opened, by the holder of its lock, before its log begins; no map outlives the replay.
//!
//! What it does not do: map a file that is still written. A read error or a cut under a map is a signal that kills the process,
//! not an error; whoever cannot vouch for the file reads it with [`read_exact_at`](super::read_exact_at).
#![expect(
    unsafe_code,
    reason = "mapping a file is unsafe; this is the one place where it is done"
)]

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Deref;

use memmap2::{Advice, Mmap};

/// The bytes of a sealed file, read on demand.
pub struct SealedMap {
    map: Mmap,
}

impl SealedMap {
    /// Maps the whole of `file`, to be read once from front to back.
    pub(super) fn of_sealed(file: &File) -> io::Result<Self> {
        // SAFETY: the map is read-only. `StorageFile::map` is called by recovery only, while a store is opened: under its exclusive lock,
        // so that no other process owns the directory, and before the log begins, so that no handle of this process writes or cuts the
        // file while the map lives. One that meddles with another's 0600 files regardless is outside what any mapping can be safe against;
        // whoever looks at a store without its lock reads.
        let map = unsafe { Mmap::map(file)? };
        // Read-ahead is a wish; reading works without it.
        drop(map.advise(Advice::Sequential));
        Ok(Self { map })
    }
}

impl Deref for SealedMap {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

impl fmt::Debug for SealedMap {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SealedMap")
            .field("size", &self.map.len())
            .finish()
    }
}
