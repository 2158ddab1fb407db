//! What an operator sets for a queue. Stored: it survives restarts and deploys, and is answered when it is synced.

use std::time::Duration;

use mq_core::backend::{Backend, SetQueueError, Stopped};
use mq_core::command::EnqueueRefused;
use mq_core::name::{Label, NameError, QueueName};
use mq_core::queue::{QueueChange, QueueSettings};

use crate::call::Call;
use crate::engine::EngineBackend;

/// Why a setting of a queue was not changed or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// The queue's name or the label is not valid; nothing was changed.
    #[error(transparent)]
    Name(#[from] NameError),
    /// There is no room for it: on a full disk only what frees room is taken, such as a resume. Nothing was changed.
    #[error(transparent)]
    Full(#[from] EnqueueRefused),
    /// The engine does not serve any more.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl QueueError {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Name(error) => error.code(),
            Self::Full(error) => error.code(),
            Self::Stopped(stopped) => stopped.code(),
        }
    }
}

impl From<SetQueueError> for QueueError {
    fn from(error: SetQueueError) -> Self {
        match error {
            SetQueueError::Refused(refused) => Self::Full(refused),
            SetQueueError::Stopped(stopped) => Self::Stopped(stopped),
        }
    }
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

    fn set(&self, change: Result<QueueChange, NameError>) -> Call<Result<(), QueueError>> {
        let this = self.clone();
        Call::of(async move {
            let set = this.backend.set_queue(this.name?, change?);
            Ok(set.await.unwrap_or(Err(Stopped::Closed.into()))?)
        })
    }

    /// Stops handing out its messages, until it is resumed: after a restart, too. As [`crate::Admin::pause_queue`].
    ///
    /// # Errors
    /// [`QueueError`]; nothing was changed.
    pub fn pause(&self) -> Call<Result<(), QueueError>> {
        self.set(Ok(QueueChange::Pause(true)))
    }

    /// Hands out its messages again.
    ///
    /// # Errors
    /// [`QueueError`]; nothing was changed.
    pub fn resume(&self) -> Call<Result<(), QueueError>> {
        self.set(Ok(QueueChange::Pause(false)))
    }

    /// Holds new messages under a label until they are released, unless they are enqueued with a label of their own;
    /// `None` lets new ones through again. Those that wait already are left alone either way.
    ///
    /// # Errors
    /// [`QueueError`]; nothing was changed.
    pub fn hold_new<'a>(&self, label: impl Into<Option<&'a str>>) -> Call<Result<(), QueueError>> {
        let label: Option<&str> = label.into();
        let label = label.map(str::parse::<Label>).transpose();
        self.set(label.map(QueueChange::HoldNew))
    }

    /// Keeps messages enqueued from now on so long after their completion, with their results, unless they are enqueued
    /// with a retention of their own; [`crate::FOREVER`] for ever, `None` not at all. All completed messages together
    /// stay within their budget ([`crate::Builder::completed_bytes`]).
    ///
    /// # Errors
    /// [`QueueError`]; nothing was changed.
    pub fn retain_completed(
        &self,
        span: impl Into<Option<Duration>>,
    ) -> Call<Result<(), QueueError>> {
        self.set(Ok(QueueChange::RetainCompleted(span.into())))
    }

    /// Takes no more than so many messages from producers, completed and dead ones not counted: an enqueue beyond it waits
    /// as for room in the store ([`crate::Builder::full_wait`]), holding up no other queue, and is then refused
    /// ([`crate::EnqueueError::QueueFull`]). What handlers stage and schedules send is taken. `None` for no limit. Bytes are
    /// limited for all queues together ([`crate::Builder::capacity`]).
    ///
    /// # Errors
    /// [`QueueError`]; nothing was changed.
    pub fn limit_messages(&self, limit: impl Into<Option<u64>>) -> Call<Result<(), QueueError>> {
        self.set(Ok(QueueChange::LimitMessages(limit.into())))
    }

    /// What is set.
    ///
    /// # Errors
    /// [`QueueError`]; nothing was changed.
    pub fn settings(&self) -> Call<Result<QueueSettings, QueueError>> {
        let this = self.clone();
        Call::of(async move {
            let read = this.backend.queue_settings(this.name?);
            Ok(read.await.unwrap_or(Err(Stopped::Closed))?)
        })
    }
}
