//! The real disk behind a counter: syncs and bytes as they leave the engine, counted where it cannot look.
//!
//! Every call goes on to [`DirectoryStorage`]; nothing is held back, delayed or answered here. Bytes are counted as the whole
//! pages that a write touches, since that is what a disk gets. Zero-filling of segments is counted apart, by looking at what
//! is written. The count of syncs is checked against the kernel's with `kernel`.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use mq_persistence::storage::{
    DirectoryFacts, DirectoryStorage, LockRefusal, OpenMode, SealedMap, Storage, StorageFile,
    StorageLock, StorageRefusal,
};

/// What the kernel writes at least.
const PAGE: u64 = 4096;
/// Writes that begin and end with so many zeros are taken for zero-filling: frames and snapshots begin with a mark. Looking at
/// every byte would cost as much as the write.
const GLANCE: usize = 64;

/// What went to the disk.
#[derive(Debug, Default)]
pub struct Counts {
    syncs: AtomicU64,
    written: AtomicU64,
    zeros: AtomicU64,
}

/// [`Counts`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Successful and failed calls of `fdatasync` and of the directory's `fsync`.
    pub syncs: u64,
    /// Bytes of the pages that writes touched, zero-filling apart.
    pub written: u64,
    /// Bytes of writes that were nothing but zeros.
    pub zeros: u64,
}

impl Counts {
    /// What was counted so far.
    #[must_use]
    pub fn read(&self) -> Counted {
        Counted {
            syncs: self.syncs.load(Relaxed),
            written: self.written.load(Relaxed),
            zeros: self.zeros.load(Relaxed),
        }
    }
}

impl Counted {
    /// What was counted since `earlier`.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            syncs: self.syncs - earlier.syncs,
            written: self.written - earlier.written,
            zeros: self.zeros - earlier.zeros,
        }
    }
}

/// A data directory whose writes and syncs are counted.
#[derive(Debug)]
pub struct CountingStorage {
    inner: DirectoryStorage,
    counts: Arc<Counts>,
}

impl CountingStorage {
    /// The directory `path`, and its counts.
    #[must_use]
    pub fn new(path: &Path) -> (Arc<Self>, Arc<Counts>) {
        let counts = Arc::new(Counts::default());
        let storage = Self {
            inner: DirectoryStorage::new(path),
            counts: Arc::clone(&counts),
        };
        (Arc::new(storage), counts)
    }
}

impl Storage for CountingStorage {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn create_directory(&self) -> io::Result<()> {
        self.inner.create_directory()
    }

    fn inspect(&self) -> Result<DirectoryFacts, StorageRefusal> {
        self.inner.inspect()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        let inner = self.inner.open(name, mode)?;
        let counts = Arc::clone(&self.counts);
        Ok(Arc::new(CountingFile { inner, counts }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.counts.syncs.fetch_add(1, Relaxed);
        self.inner.sync_directory()
    }

    fn lock(&self, name: &str, owner: &str) -> Result<Box<dyn StorageLock>, LockRefusal> {
        self.inner.lock(name, owner)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.inner.free_bytes()
    }
}

#[derive(Debug)]
struct CountingFile {
    inner: Arc<dyn StorageFile>,
    counts: Arc<Counts>,
}

impl CountingFile {
    fn count(&self, bytes: &[u8], offset: u64, written: usize) {
        let is_zero = |byte: &u8| *byte == 0;
        let is_filling =
            bytes.iter().take(GLANCE).all(is_zero) && bytes.iter().rev().take(GLANCE).all(is_zero);
        let counter = if is_filling {
            &self.counts.zeros
        } else {
            &self.counts.written
        };
        let end = (offset + written as u64).next_multiple_of(PAGE);
        counter.fetch_add(end - offset / PAGE * PAGE, Relaxed);
    }
}

impl StorageFile for CountingFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let written = self.inner.write_at(bytes, offset)?;
        self.count(bytes, offset, written);
        Ok(written)
    }

    fn write_aside(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let written = self.inner.write_aside(bytes, offset)?;
        self.count(bytes, offset, written);
        Ok(written)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.counts.syncs.fetch_add(1, Relaxed);
        self.inner.sync_data()
    }

    fn size(&self) -> io::Result<u64> {
        self.inner.size()
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.inner.set_size(size)
    }

    fn map(&self) -> io::Result<Option<SealedMap>> {
        self.inner.map()
    }
}
