//! Syncs of the log's file, one at a time, with a memory for failure.
//!
//! A sync takes as long as thousands of writes, so it can run while the log goes on writing: [`PendingSync`] is begun under the log
//! token, run without it, and its answer handed back.
//!
//! Invariant: after a sync failed, no later one is even tried. A system may report a failure to one caller only, and a second sync may
//! answer `Ok` for bytes that are gone; so syncs wait for each other and look at what the one before answered.

use std::sync::Arc;

use mq_core::canary;
use parking_lot::Mutex;

use crate::error::{Failure, JournalError};
use crate::lsn::Lsn;
use crate::storage::StorageFile;

/// What all syncs of one log share.
#[derive(Debug, Default)]
pub(super) struct Syncer {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failed: Option<JournalError>,
    count: u64,
}

impl Syncer {
    /// Syncs a file, after any sync that is under way.
    pub(super) fn sync(&self, file: &dyn StorageFile, name: &str) -> Result<(), JournalError> {
        let mut state = self.state.lock();
        if let Some(failed) = &state.failed {
            return Err(failed.clone());
        }
        state.count += 1;
        let mut synced = file.sync_data();
        if synced.is_err() && canary::sings("failed-sync-tried-again") {
            synced = file.sync_data();
        }
        let synced = synced.map_err(Failure::of("sync", name));
        synced.map_err(|failure| state.failed.insert(failure.into()).clone())
    }

    pub(super) fn count(&self) -> u64 {
        self.state.lock().count
    }
}

/// A sync that is to be run, on any thread, without the log.
#[derive(Debug)]
#[must_use = "nothing was synced yet: run it and give the answer to `Log::end_sync`"]
pub struct PendingSync {
    pub(super) syncer: Arc<Syncer>,
    pub(super) file: Arc<dyn StorageFile>,
    pub(super) name: String,
    pub(super) end: Lsn,
}

impl PendingSync {
    /// Syncs. Blocks until the device has answered.
    pub fn run(self) -> SyncAnswer {
        let result = self.syncer.sync(&*self.file, &self.name);
        SyncAnswer {
            result: result.map(|()| self.end),
        }
    }
}

/// What a sync came to: for [`Log::end_sync`](super::Log::end_sync).
#[derive(Debug)]
#[must_use = "the log does not know of it until `Log::end_sync` was told"]
pub struct SyncAnswer {
    pub(super) result: Result<Lsn, JournalError>,
}
