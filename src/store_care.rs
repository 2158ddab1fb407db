//! What an operator does to a store as a whole: snapshots.

use mq_core::backend::Stopped;
use mq_persistence::snapshot::SnapshotFacts;

use crate::admin::Admin;
use crate::call::Call;
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
    /// let snapshot = engine.admin().snapshot().wait()?;
    /// println!("{} messages, {} bytes", snapshot.places, snapshot.size);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn snapshot(&self) -> Call<Result<SnapshotFacts, SnapshotError>> {
        let backend = self.backend().clone();
        Call::of(async move {
            let taken = backend.shell().snapshot().await;
            taken.unwrap_or_else(|_| Err(Stopped::Closed.into()))
        })
    }
}
