//! What a store holds of the simulated disk: open files and the lock.

use std::fmt;
use std::io;
use std::sync::Arc;

use mq_persistence::storage::{SealedMap, StorageFile, StorageLock};

use super::SimDisk;
use super::fault::{self, Fault, IoKind};
use super::names::FileId;
use super::trace::Detail;

/// An open file.
pub(super) struct SimFile {
    pub(super) disk: SimDisk,
    pub(super) file: FileId,
    pub(super) name: Arc<str>,
    pub(super) writable: bool,
}

impl StorageFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.lock_state();
        let detail = Detail::Range {
            offset,
            len: buffer.len(),
        };
        let begun = state.begin(IoKind::Read, Some(&self.name), detail)?;
        let len = if begun.fault == Some(Fault::Short) {
            buffer.len().div_ceil(2)
        } else {
            buffer.len()
        };
        state.check_sectors(self.file, offset, len)?;
        Ok(state
            .content(self.file)?
            .read(buffer.get_mut(..len).unwrap_or_default(), offset))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.lock_state();
        let detail = Detail::Range {
            offset,
            len: bytes.len(),
        };
        let begun = state.begin(IoKind::Write, Some(&self.name), detail)?;
        self.check_writable()?;
        state.write(begun, self.file, bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.lock_state();
        let begun = state.begin(IoKind::SyncData, Some(&self.name), Detail::None)?;
        state.sync_file(self.file, begun.fault)
    }

    fn size(&self) -> io::Result<u64> {
        let mut state = self.disk.lock_state();
        state.begin(IoKind::Look, Some(&self.name), Detail::None)?;
        Ok(state.content(self.file)?.size())
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        let mut state = self.disk.lock_state();
        let begun = state.begin(IoKind::SetSize, Some(&self.name), Detail::Size(size))?;
        self.check_writable()?;
        state.content_mut(self.file)?.resize(begun.moment, size)
    }

    fn map(&self) -> io::Result<Option<SealedMap>> {
        self.disk.lock_state().maps += 1;
        Ok(None)
    }
}

impl SimFile {
    fn check_writable(&self) -> io::Result<()> {
        if self.writable {
            Ok(())
        } else {
            Err(fault::not_open_for_writing())
        }
    }
}

impl fmt::Debug for SimFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SimFile")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The lock, held.
pub(super) struct SimLock {
    pub(super) disk: SimDisk,
    pub(super) file: FileId,
    pub(super) name: Arc<str>,
}

impl StorageLock for SimLock {
    fn verify(&self) -> io::Result<bool> {
        let mut state = self.disk.lock_state();
        state.begin(IoKind::Look, Some(&self.name), Detail::None)?;
        Ok(state.names.get(&self.name) == Some(self.file))
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.lock_state().locks.remove(&self.file);
    }
}

impl fmt::Debug for SimLock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SimLock")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
