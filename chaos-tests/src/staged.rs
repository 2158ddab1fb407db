//! The simulated disk as the engine's threads see it: each call passes a place where its thread can be held.
//!
//! A thread that is held before a sync has written and not synced; one that is held behind it has synced and told nobody.

use std::io;
use std::sync::Arc;

use mq_persistence::storage::{
    DirectoryFacts, LockRefusal, OpenMode, SealedMap, Storage, StorageFile, StorageLock,
    StorageRefusal,
};
use mq_testing::sim_disk::{IoKind, SimDisk};

use crate::puppets::{Moment, Puppets};

/// A simulated disk, and the stage on which its callers stand.
#[derive(Clone, Debug)]
pub(crate) struct StagedDisk {
    disk: SimDisk,
    puppets: Puppets,
}

#[derive(Debug)]
struct StagedFile {
    file: Arc<dyn StorageFile>,
    name: String,
    puppets: Puppets,
}

impl StagedDisk {
    pub(crate) const fn new(disk: SimDisk, puppets: Puppets) -> Self {
        Self { disk, puppets }
    }
}

/// Passes the stage before and behind a call.
fn staged<T>(puppets: &Puppets, kind: IoKind, name: &str, call: impl FnOnce() -> T) -> T {
    puppets.pass(Moment::Before(kind), name);
    let answer = call();
    puppets.pass(Moment::Behind(kind), name);
    answer
}

impl Storage for StagedDisk {
    fn describe(&self) -> String {
        self.disk.describe()
    }

    fn create_directory(&self) -> io::Result<()> {
        self.disk.create_directory()
    }

    fn inspect(&self) -> Result<DirectoryFacts, StorageRefusal> {
        self.disk.inspect()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        let file = self.disk.open(name, mode)?;
        Ok(Arc::new(StagedFile {
            file,
            name: name.to_owned(),
            puppets: self.puppets.clone(),
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let call = || self.disk.rename(from, to);
        staged(&self.puppets, IoKind::Rename, from, call)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.disk.sync_directory()
    }

    fn lock(&self, name: &str, owner: &str) -> Result<Box<dyn StorageLock>, LockRefusal> {
        self.disk.lock(name, owner)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes()
    }
}

impl StorageFile for StagedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let call = || self.file.write_at(bytes, offset);
        staged(&self.puppets, IoKind::Write, &self.name, call)
    }

    fn sync_data(&self) -> io::Result<()> {
        let call = || self.file.sync_data();
        staged(&self.puppets, IoKind::SyncData, &self.name, call)
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.file.set_size(size)
    }

    fn map(&self) -> io::Result<Option<SealedMap>> {
        self.file.map()
    }
}
