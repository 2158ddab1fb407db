//! What an operator does to the worker pools of an engine, without having the workers.
//!
//! Nothing of it is journalled: parallelism and pauses of pools come from the program at each start.

use mq_dispatch::{ControlError, PoolStats, Reply, Running};

use crate::admin::Admin;

impl Admin {
    /// Lets `workers` messages of a kind be handled at once, within the range that its handler allows: at once for
    /// more, when enough handlers have ended for fewer. Nothing is stopped. Answered when it is in force; `.await` it,
    /// or `.wait()` for it. If several sets of workers of this engine serve the kind, the one started first is meant.
    pub fn scale(&self, kind: &str, workers: usize) -> Reply<Result<(), ControlError>> {
        self.backend.shell().roster.scale(kind, workers)
    }

    /// Starts no more messages of a kind in this process until [`Admin::resume_kind`] or the next start. Running
    /// handlers go on. A queue is paused for good by [`Admin::pause_queue`].
    ///
    /// # Errors
    /// [`ControlError`] if no workers of this engine serve the kind, or they are stopping.
    pub fn pause_kind(&self, kind: &str) -> Result<(), ControlError> {
        self.backend.shell().roster.pause(kind)
    }

    /// Starts messages of a kind again.
    ///
    /// # Errors
    /// [`ControlError`] if no workers of this engine serve the kind, or they are stopping.
    pub fn resume_kind(&self, kind: &str) -> Result<(), ControlError> {
        self.backend.shell().roster.resume(kind)
    }

    /// Counts of every worker pool of this engine that has not stopped.
    #[must_use]
    pub fn pools(&self) -> Vec<PoolStats> {
        self.backend.shell().roster.stats()
    }

    /// Every handler of this engine that runs now.
    #[must_use]
    pub fn running(&self) -> Vec<Running> {
        self.backend.shell().roster.running()
    }
}
