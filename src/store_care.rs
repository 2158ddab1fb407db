//! What an operator does to a store as a whole: snapshots.

use mq_core::backend::Stopped;
use mq_persistence::snapshot::SnapshotFacts;

use crate::admin::Admin;
use crate::error::SnapshotError;

impl Admin {
    /// Takes a snapshot now and answers when it is durable: up to which place in the journal it covers the store
    /// ([`SnapshotFacts::at`]), its size in bytes and how many messages are in it ([`SnapshotFacts::places`]). The next opening
    /// reads the journal from there on only. One is taken by itself when the journal has grown enough, and at a close if that
    /// pays.
    ///
    /// # Errors
    /// [`SnapshotError`]; the snapshots that the store has are as they were.
    ///
    /// # Examples
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let engine = mq::Engine::builder(directory.path().join("data")).open_wait()?;
    /// let snapshot = engine.admin().snapshot_wait()?;
    /// println!("{} messages, {} bytes", snapshot.places, snapshot.size);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn snapshot(&self) -> Result<SnapshotFacts, SnapshotError> {
        let taken = self.backend().shell().snapshot().await;
        taken.unwrap_or_else(|_| Err(Stopped::Closed.into()))
    }

    /// [`Admin::snapshot`] for programs without async.
    ///
    /// # Errors
    /// As [`Admin::snapshot`].
    pub fn snapshot_wait(&self) -> Result<SnapshotFacts, SnapshotError> {
        let taken = self.backend().shell().snapshot().wait();
        taken.unwrap_or_else(|_| Err(Stopped::Closed.into()))
    }
}
