//! What an operator sets for a queue. Stored: it survives restarts and deploys, and is answered when it is synced.

use std::time::Duration;

use mq_core::backend::{Backend, Stopped};
use mq_core::name::{Label, NameError, QueueName};
use mq_core::queue::{QueueChange, QueueSettings};

use crate::engine::EngineBackend;

/// Why a setting of a queue was not changed or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// The queue's name or the label is not valid; nothing was changed.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The engine does not serve any more.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// One queue, as its operator sees it. A queue need not have been used before it is set.
///
/// # Examples
/// ```
/// # use mq::prelude::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = Engine::in_memory().open().await?;
/// let mail = engine.admin().queue("mail");
/// mail.hold_new("review").await?;               // new messages wait for somebody's release
/// mail.retain_completed(mq::FOREVER).await?;
/// assert!(mail.settings().await?.hold_new.is_some());
/// mail.hold_new(None).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Queue {
    backend: EngineBackend,
    name: Result<QueueName, NameError>,
}

impl Queue {
    pub(crate) fn new(backend: EngineBackend, name: &str) -> Self {
        let name = name.parse();
        Self { backend, name }
    }

    async fn set(&self, change: QueueChange) -> Result<(), QueueError> {
        let set = self.backend.set_queue(self.name.clone()?, change);
        Ok(set.await.unwrap_or(Err(Stopped::Closed))?)
    }

    /// Stops handing out its messages.
    ///
    /// # Errors
    /// [`QueueError`]; nothing was changed.
    pub async fn pause(&self) -> Result<(), QueueError> {
        self.set(QueueChange::Pause(true)).await
    }

    /// Hands out its messages again.
    ///
    /// # Errors
    /// [`QueueError`]; nothing was changed.
    pub async fn resume(&self) -> Result<(), QueueError> {
        self.set(QueueChange::Pause(false)).await
    }

    /// Holds new messages under a label until they are released, unless they are enqueued with a label of their own;
    /// `None` lets new ones through again. Those that wait already are left alone either way.
    ///
    /// # Errors
    /// [`QueueError`]; nothing was changed.
    pub async fn hold_new(&self, label: impl Into<Option<&str>>) -> Result<(), QueueError> {
        let label: Option<&str> = label.into();
        let label = label.map(str::parse::<Label>).transpose()?;
        self.set(QueueChange::HoldNew(label)).await
    }

    /// Keeps messages enqueued from now on so long after their completion, with their results, unless they are enqueued
    /// with a retention of their own; [`crate::FOREVER`] for ever, `None` not at all. All completed messages together
    /// stay within their budget ([`crate::Builder::completed_bytes`]).
    ///
    /// # Errors
    /// [`QueueError`]; nothing was changed.
    pub async fn retain_completed(
        &self,
        span: impl Into<Option<Duration>>,
    ) -> Result<(), QueueError> {
        self.set(QueueChange::RetainCompleted(span.into())).await
    }

    /// Takes no more than so many messages from producers: an enqueue beyond it is refused at once
    /// ([`crate::EnqueueError::QueueFull`]). What handlers stage and schedules send is taken. `None` for no limit.
    ///
    /// # Errors
    /// [`QueueError`]; nothing was changed.
    pub async fn limit_messages(&self, limit: impl Into<Option<u64>>) -> Result<(), QueueError> {
        self.set(QueueChange::LimitMessages(limit.into())).await
    }

    /// What is set.
    ///
    /// # Errors
    /// [`QueueError`]; nothing was changed.
    pub async fn settings(&self) -> Result<QueueSettings, QueueError> {
        let read = self.backend.queue_settings(self.name.clone()?);
        Ok(read.await.unwrap_or(Err(Stopped::Closed))?)
    }
}
