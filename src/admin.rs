//! What an operator does to queues and the store; single messages and many of them are in [`crate::steer`]. Every change is journalled and answered when it is synced.

use crate::call::Call;
use crate::dead::DeadLetters;
use crate::engine::EngineBackend;
use crate::queue::{Queue, QueueError};

/// Operations on one engine.
#[derive(Clone, Debug)]
pub struct Admin {
    pub(crate) backend: EngineBackend,
}

impl Admin {
    pub(crate) fn new(backend: EngineBackend) -> Self {
        Self { backend }
    }

    pub(crate) fn backend(&self) -> &EngineBackend {
        &self.backend
    }

    /// Stops handing out a queue's messages, until it is resumed: after a restart, too. As [`Queue::pause`].
    ///
    /// # Errors
    /// [`QueueError`] from the call; nothing was changed.
    pub fn pause_queue(&self, name: &str) -> Call<Result<(), QueueError>> {
        self.queue(name).pause()
    }

    /// Hands out a paused queue's messages again. As [`Queue::resume`].
    ///
    /// # Errors
    /// [`QueueError`] from the call; nothing was changed.
    pub fn resume_queue(&self, name: &str) -> Call<Result<(), QueueError>> {
        self.queue(name).resume()
    }

    /// One queue: its stored settings. A name that is not valid is an error of what is asked of it.
    #[must_use]
    pub fn queue(&self, name: &str) -> Queue {
        Queue::new(self.backend.clone(), name)
    }

    /// The dead letters.
    #[must_use]
    pub fn dead_letters(&self) -> DeadLetters {
        DeadLetters::new(self.backend.clone())
    }
}
