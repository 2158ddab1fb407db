//! Errors of waiting for a message, and of an enqueue that never waits.

use std::fmt;
use std::time::Duration;

use mq_core::backend::Stopped;
use mq_core::command::full;
use mq_core::id::MessageId;
use mq_core::state::{DeadReason, Failure};
use mq_dispatch::{DecodeError, Message};

use super::EnqueueError;

/// Why waiting for a message did not answer what its handler returned. Waiting changes nothing about a message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The message could not be enqueued; what holds then, the inner error says.
    #[error(transparent)]
    Enqueue(EnqueueError),
    /// It was not over within the limit, and goes on: ask again with `engine.completion(id)`.
    #[error(
        "message {id} was not over within {limit:?}; it goes on: ask again with engine.completion(id)"
    )]
    TimedOut {
        /// The message.
        id: MessageId,
        /// The limit.
        limit: Duration,
    },
    /// It is dead, and is kept: look at it with `dead_letters().show(id)`, replay it, then ask again.
    #[error("message {id} is dead ({}){}; replay it and ask again", .reason.as_str(), text(.error))]
    Dead {
        /// The message.
        id: MessageId,
        /// Why it is dead.
        reason: DeadReason,
        /// What went wrong in its last attempt.
        error: Option<Failure>,
    },
    /// Its handler found that there is nothing to do any more.
    #[error("message {id} was discarded{}", text(.error))]
    Discarded {
        /// The message.
        id: MessageId,
        /// Why.
        error: Option<Failure>,
    },
    /// It was cancelled.
    #[error("message {id} was cancelled")]
    Cancelled {
        /// The message.
        id: MessageId,
    },
    /// Another message with its dedup key took its place: ask for that one, if its result is as good.
    #[error(
        "message {id} was replaced by one with the same dedup key; ask for that one's completion"
    )]
    Replaced {
        /// The message.
        id: MessageId,
        /// What took its place; unknown if that has left the store, too.
        by: Option<MessageId>,
    },
    /// It is over and was not kept, so that nothing is known of how it ended: retain messages that are asked for.
    #[error(
        "message {id} is over and was not kept; enqueue with and_wait(…) or retain(…) what is asked for later"
    )]
    NotKept {
        /// The message.
        id: MessageId,
    },
    /// This store never issued the id.
    #[error("this store never issued message {id}; is it the right data directory?")]
    NeverIssued {
        /// The id.
        id: MessageId,
    },
    /// It succeeded, and its result is not of the type that is asked for; `completion_raw` gives the bytes.
    #[error(
        "message {id} succeeded, but its result cannot be read; completion_raw gives its bytes"
    )]
    Output {
        /// The message.
        id: MessageId,
        /// Why not.
        #[source]
        source: DecodeError,
    },
    /// Too many callers wait already: the message goes on, ask later.
    #[error("{limit} callers wait for messages already; message {id} goes on, ask for it later")]
    TooManyWaiters {
        /// The message.
        id: MessageId,
        /// How many may wait.
        limit: usize,
    },
    /// `.wait()` was called on a thread of an async runtime, which it would block: `.await` it there.
    #[error("wait() would block a thread of the async runtime; use .await there")]
    OnRuntimeThread,
    /// The engine stopped; a message that was enqueued goes on when the store is opened again.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

fn text(error: &Option<Failure>) -> String {
    error.as_ref().map_or_else(String::new, |failure| {
        format!(": {}: {}", failure.error_type, failure.text)
    })
}

impl WaitError {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Enqueue(error) => error.code(),
            Self::TimedOut { .. } => "timed_out",
            Self::Dead { .. } => "dead",
            Self::Discarded { .. } => "discarded",
            Self::Cancelled { .. } => "cancelled",
            Self::Replaced { .. } => "replaced",
            Self::NotKept { .. } => "not_kept",
            Self::NeverIssued { .. } => "never_issued",
            Self::Output { .. } => "output",
            Self::TooManyWaiters { .. } => "too_many_waiters",
            Self::OnRuntimeThread => "on_runtime_thread",
            Self::Stopped(stopped) => stopped.code(),
        }
    }

    /// The message that was waited for; `None` if it was not enqueued.
    #[must_use]
    pub const fn id(&self) -> Option<MessageId> {
        match self {
            Self::TimedOut { id, .. }
            | Self::Dead { id, .. }
            | Self::Discarded { id, .. }
            | Self::Cancelled { id }
            | Self::Replaced { id, .. }
            | Self::NotKept { id }
            | Self::NeverIssued { id }
            | Self::Output { id, .. }
            | Self::TooManyWaiters { id, .. } => Some(*id),
            Self::Enqueue(_) | Self::OnRuntimeThread | Self::Stopped(_) => None,
        }
    }
}

impl From<EnqueueError> for WaitError {
    fn from(error: EnqueueError) -> Self {
        if let EnqueueError::OnRuntimeThread = error {
            Self::OnRuntimeThread
        } else {
            Self::Enqueue(error)
        }
    }
}

/// Why an enqueue that never waits was refused. Nothing was stored, unless the inner error says that it is unknown.
#[non_exhaustive]
pub enum TryEnqueueError<M> {
    /// The store is full; the message comes back.
    Full {
        /// What is used.
        used: u64,
        /// The capacity.
        limit: u64,
        /// `messages`, `bytes` or `bytes of disk`.
        unit: &'static str,
        /// What was to be enqueued.
        message: M,
    },
    /// Anything else.
    Refused(EnqueueError),
}

impl<M> TryEnqueueError<M> {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Full { .. } => "full",
            Self::Refused(error) => error.code(),
        }
    }
}

impl<M: Message> From<EnqueueError> for TryEnqueueError<M> {
    fn from(error: EnqueueError) -> Self {
        let EnqueueError::Full {
            used,
            limit,
            unit,
            messages,
        } = error
        else {
            return Self::Refused(error);
        };
        let message = messages
            .first()
            .map(|first| mq_dispatch::decode(&first.envelope));
        match message {
            Some(Ok(message)) => Self::Full {
                used,
                limit,
                unit,
                message,
            },
            // A type that cannot read what it wrote: its bytes come back instead.
            Some(Err(_)) | None => Self::Refused(EnqueueError::Full {
                used,
                limit,
                unit,
                messages,
            }),
        }
    }
}

impl<M: Message> From<TryEnqueueError<M>> for EnqueueError {
    fn from(error: TryEnqueueError<M>) -> Self {
        match error {
            TryEnqueueError::Full {
                used,
                limit,
                unit,
                message,
            } => Self::Full {
                used,
                limit,
                unit,
                messages: mq_dispatch::encode(&message).into_iter().collect(),
            },
            TryEnqueueError::Refused(error) => error,
        }
    }
}

impl<M> fmt::Display for TryEnqueueError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full {
                used, limit, unit, ..
            } => f.write_str(&full(*used, *limit, unit)),
            Self::Refused(error) => error.fmt(f),
        }
    }
}

impl<M> fmt::Debug for TryEnqueueError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full {
                used, limit, unit, ..
            } => f
                .debug_struct("Full")
                .field("used", used)
                .field("limit", limit)
                .field("unit", unit)
                .finish_non_exhaustive(),
            Self::Refused(error) => f.debug_tuple("Refused").field(error).finish(),
        }
    }
}

impl<M> std::error::Error for TryEnqueueError<M> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Full { .. } => None,
            Self::Refused(error) => std::error::Error::source(error),
        }
    }
}
