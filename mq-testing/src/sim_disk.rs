//! A disk in memory that loses, reorders, tears and garbles whatever was not synced, as a real one may.
//!
//! [`SimDisk`] implements [`Storage`]. A test lets a store run on it, stops it after any I/O ([`SimDisk::crash_after`]), and opens the
//! store again on what [`power_cycle`](SimDisk::power_cycle) or [`restart_process`](SimDisk::restart_process) left. Calls can be made to
//! fail ([`SimDisk::fail_nth`]) and durable bytes to rot ([`SimDisk::flip_bit`] and its neighbours).
//!
//! Invariants:
//! 1. What a sync that answered `Ok` covered is never lost, unless a test armed a lie or spoiled durable bytes.
//! 2. Nothing depends on anything but the calls made and the seeds given: equal runs leave equal disks.
//! 3. A disk that crashed answers every call, through every handle, with an error that [`is_crash`] knows, forever. The disk that
//!    comes after is another value; the crashed one stays as it was, so that many futures of one crash can be tried.
//!
//! What it does not do: time (every call is instant), maps (`map` answers `None`), directories within the directory.

mod content;
mod crash;
mod fault;
mod handles;
mod names;
mod rot;
mod state;
mod trace;

use std::fmt;
use std::io;
use std::sync::Arc;

use mq_persistence::storage::{
    DirectoryFacts, Filesystem, LockRefusal, OpenMode, Storage, StorageFile, StorageLock,
    StorageRefusal,
};
use parking_lot::{Mutex, MutexGuard};

pub use content::SECTOR_SIZE;
pub use crash::CrashMode;
pub use fault::{Fault, IoKind};
use handles::{SimFile, SimLock};
use state::{Death, State};
use trace::Detail;

/// A handle on a simulated disk; clones lead to the same disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// An empty disk without limit, on which the data directory does not exist yet.
    #[must_use]
    pub fn new() -> Self {
        Self::of(State::default())
    }

    /// An empty disk that holds `capacity` bytes, counted in pages of 4096.
    #[must_use]
    pub fn with_capacity(capacity: u64) -> Self {
        let disk = Self::new();
        disk.set_capacity(Some(capacity));
        disk
    }

    /// Changes the capacity; `None` is no limit. A disk that holds more than that is full.
    pub fn set_capacity(&self, capacity: Option<u64>) {
        self.lock_state().capacity = capacity;
    }

    /// How many calls that change the disk were begun since this disk was made. Reads and looks do not count: a crash after one leaves
    /// what a crash before it leaves.
    #[must_use]
    pub fn io_count(&self) -> u64 {
        self.lock_state().io_count
    }

    /// How many calls of one kind were begun since this disk was made.
    #[must_use]
    pub fn count_of(&self, kind: IoKind) -> u64 {
        self.lock_state().count_of(kind)
    }

    /// How often a map of a file was asked for since this disk was made.
    #[must_use]
    pub fn map_count(&self) -> u64 {
        self.lock_state().maps
    }

    /// Lets `io_count` reach `count`, and crashes at the next call of any kind. The call number `count` still answers.
    pub fn crash_after(&self, count: u64) {
        self.lock_state().crash_after = Some(count);
    }

    /// Crashes at the `nth` call of `kind` from now, counted from 1: that call does nothing any more. So a crash between a write and its
    /// sync, or between a change of a name and the sync of the directory, does not wait for luck.
    pub fn crash_at_nth(&self, kind: IoKind, nth: u64) {
        self.lock_state().crash_at = Some((kind, nth.saturating_sub(1)));
    }

    /// Poses as a file system of another kind from now on, through crashes too: the store treats some of them otherwise.
    pub fn pose_as(&self, filesystem: Filesystem) {
        self.lock_state().filesystem = filesystem;
    }

    /// Whether any call was refused because the disk had crashed.
    #[must_use]
    pub fn has_crashed(&self) -> bool {
        self.lock_state().death == Some(Death::PowerCut)
    }

    /// Makes the `nth` call of `kind` from now, counted from 1, answer with `fault`.
    pub fn fail_nth(&self, kind: IoKind, nth: u64, fault: Fault) {
        self.lock_state()
            .faults
            .arm(kind, nth.saturating_sub(1), 1, fault);
    }

    /// Makes the `nth` call of `kind` from now, counted from 1, and every later one answer with `fault`.
    pub fn fail_from(&self, kind: IoKind, nth: u64, fault: Fault) {
        self.lock_state()
            .faults
            .arm(kind, nth.saturating_sub(1), u64::MAX, fault);
    }

    /// Disarms every fault that did not happen yet.
    pub fn clear_faults(&self) {
        self.lock_state().faults.clear();
    }

    /// Whether something other than a plain success happened to any call: it was refused by a crash, or hit by a fault.
    #[must_use]
    pub fn was_disturbed(&self) -> bool {
        let state = self.lock_state();
        state.death.is_some() || state.faulted
    }

    /// Whether a failed sync took back what was written ([`Fault::SyncLostReverted`]): then a mere kill may lose what a power cut may.
    #[must_use]
    pub fn took_back(&self) -> bool {
        self.lock_state().reverted
    }

    /// Whether nothing is pending: every byte, size and name is durable.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.lock_state().is_durable()
    }

    /// The power goes, and comes back: every handle on this disk is dead from now on, and the answer is the disk as the device kept it.
    /// May be called again on the same crashed disk for another of its futures. Limits are kept; faults and counters start anew.
    #[must_use]
    pub fn power_cycle(&self, mode: CrashMode) -> Self {
        let mut state = self.lock_state();
        state.death = Some(Death::PowerCut);
        Self::of(state.after_power_cycle(mode))
    }

    /// The process is killed, and another one starts: every handle is dead, locks are gone, and all that was written is still there,
    /// synced or not.
    #[must_use]
    pub fn restart_process(&self) -> Self {
        let mut state = self.lock_state();
        state.death.get_or_insert(Death::Killed);
        Self::of(state.after_restart("the process was killed"))
    }

    /// A disk of its own with the same content, pending changes included, and no locks, faults or counts. This one goes on.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self::of(self.lock_state().after_restart("copied"))
    }

    /// The kernel drops clean pages: what a failed sync left in the cache only ([`Fault::SyncLostKept`]) is no longer seen.
    pub fn drop_caches(&self) {
        self.lock_state().forget_abandoned();
    }

    /// The last calls that changed the disk, oldest first, one per line, through all crashes that led here.
    #[must_use]
    pub fn trace(&self) -> String {
        self.lock_state().trace.to_string()
    }

    /// Adds a line of the test's own to the trace.
    pub fn note(&self, text: impl Into<String>) {
        self.lock_state().trace.event(text.into());
    }

    fn of(state: State) -> Self {
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    fn lock_state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock_state();
        formatter
            .debug_struct("SimDisk")
            .field("io_count", &state.io_count)
            .field("death", &state.death)
            .finish_non_exhaustive()
    }
}

/// Whether an error says that the simulated disk crashed or its process was killed, and not that something is wrong.
#[must_use]
pub fn is_crash(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Death>())
}

/// Whether an error, or any error it was caused by, says that the simulated disk crashed.
#[must_use]
pub fn is_caused_by_crash(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<Death>() || error.downcast_ref::<io::Error>().is_some_and(is_crash) {
            return true;
        }
        next = error.source();
    }
    false
}

impl Storage for SimDisk {
    fn describe(&self) -> String {
        "simulated disk".to_owned()
    }

    fn create_directory(&self) -> io::Result<()> {
        let mut state = self.lock_state();
        state.begin(IoKind::CreateDirectory, None, Detail::None)?;
        state.make_directory();
        state.begin(IoKind::CreateDirectory, None, Detail::None)?;
        state.sync_parent();
        Ok(())
    }

    fn inspect(&self) -> Result<DirectoryFacts, StorageRefusal> {
        let path = || self.describe().into();
        let mut state = self.lock_state();
        state
            .begin(IoKind::Look, None, Detail::None)
            .map_err(|source| StorageRefusal::Io {
                path: path(),
                source,
            })?;
        match state.check_directory() {
            Ok(()) => Ok(DirectoryFacts {
                filesystem: state.filesystem,
                permissions: 0o700,
            }),
            Err(_) => Err(StorageRefusal::Missing { path: path() }),
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut state = self.lock_state();
        state.begin(IoKind::Look, None, Detail::None)?;
        state.check_directory()?;
        Ok(state
            .names
            .all()
            .map(|(name, _)| name.to_string())
            .collect())
    }

    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        let mut state = self.lock_state();
        let name = state::plain(name)?;
        let file = match mode {
            OpenMode::Read | OpenMode::ReadWrite => {
                state.begin(IoKind::Open, Some(&name), Detail::None)?;
                state.check_directory()?;
                state.names.get(&name).ok_or(io::ErrorKind::NotFound)?
            }
            OpenMode::CreateNew => {
                let begun = state.begin(IoKind::Create, Some(&name), Detail::None)?;
                state.create(begun.moment, &name)?
            }
        };
        let writable = mode != OpenMode::Read;
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            file,
            name,
            writable,
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock_state();
        let (from, to) = (state::plain(from)?, state::plain(to)?);
        let begun = state.begin(IoKind::Rename, Some(&from), Detail::To(Arc::clone(&to)))?;
        state.check_directory()?;
        if state.names.rename(begun.moment, &from, &to) {
            Ok(())
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock_state();
        let name = state::plain(name)?;
        let begun = state.begin(IoKind::Remove, Some(&name), Detail::None)?;
        state.check_directory()?;
        state
            .names
            .remove(begun.moment, &name)
            .map(drop)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut state = self.lock_state();
        let begun = state.begin(IoKind::SyncDirectory, None, Detail::None)?;
        state.check_directory()?;
        state.sync_directory(begun.fault)
    }

    fn lock(&self, name: &str, owner: &str) -> Result<Box<dyn StorageLock>, LockRefusal> {
        let mut state = self.lock_state();
        let name = state::plain(name)?;
        let begun = state.begin(IoKind::Lock, Some(&name), Detail::None)?;
        let file = match state.names.get(&name) {
            Some(file) => file,
            None => state.create(begun.moment, &name)?,
        };
        // Of the whole directory, as on a real one: a lock file that was deleted or replaced lets nobody in.
        if !state.locks.is_empty() {
            let owner = String::from_utf8_lossy(&state.bytes_of(file))
                .trim()
                .to_owned();
            return Err(LockRefusal::Held { owner });
        }
        state.locks.insert(file);
        state.replace_content(begun.moment, file, owner.as_bytes())?;
        state.content_mut(file)?.sync();
        Ok(Box::new(SimLock {
            disk: self.clone(),
            file,
            name,
        }))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let mut state = self.lock_state();
        state.begin(IoKind::Look, None, Detail::None)?;
        state.check_directory()?;
        Ok(state.free_bytes())
    }
}
