//! What an operator does to queues and the store; single messages and many of them are in [`crate::steer`]. Every change is journalled and answered when it is synced.

use mq_core::backend::{Backend, Stopped};
use mq_core::id::MessageId;
use mq_core::manager::Explanation;
use mq_core::name::QueueName;

use crate::dead::DeadLetters;
use crate::engine::EngineBackend;
use crate::queue::Queue;

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

    /// Stops handing out a queue's messages; survives a restart.
    ///
    /// # Errors
    /// [`Stopped`] if the engine does not serve any more.
    pub async fn pause_queue(&self, queue: QueueName) -> Result<(), Stopped> {
        self.backend
            .pause_queue(queue, true)
            .await
            .unwrap_or(Err(Stopped::Closed))
    }

    /// Hands out a paused queue's messages again.
    ///
    /// # Errors
    /// [`Stopped`] if the engine does not serve any more.
    pub async fn resume_queue(&self, queue: QueueName) -> Result<(), Stopped> {
        self.backend
            .pause_queue(queue, false)
            .await
            .unwrap_or(Err(Stopped::Closed))
    }

    /// One queue: its stored settings. A name that is not valid is an error of what is asked of it.
    #[must_use]
    pub fn queue(&self, name: &str) -> Queue {
        Queue::new(self.backend.clone(), name)
    }

    /// Why a message is not running, in a form that can be printed.
    #[must_use]
    pub fn explain(&self, id: MessageId) -> Explanation {
        self.backend
            .shell()
            .look(|desk, now| desk.manager.explain(now, id))
    }

    /// The dead letters.
    #[must_use]
    pub fn dead_letters(&self) -> DeadLetters {
        DeadLetters::new(self.backend.clone())
    }
}
