//! Read-only maps of sealed files: the one file of this crate with `unsafe`.
//!
//! Invariant: the file under a [`SealedMap`] is neither written nor cut while the map lives. Its maker sees to that: only sealed
//! segments are mapped, by the holder of the store's lock, which recycles or removes a segment only when no map of it is left.
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
        // SAFETY: the map is read-only, and `StorageFile::map` is called for sealed segments only, under the store's exclusive lock:
        // no handle of this process writes or cuts the file while the map lives, and no other process owns the directory. One that
        // meddles with another's 0600 files regardless is outside what any mapping can be safe against.
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
