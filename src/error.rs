//! Errors of the public interface: one enum per family of calls, each variant saying what happened, what is true now and
//! what to do. [`EnqueueError::code`] and its siblings are stable words for programs.

mod wait;

use mq_core::backend::{self, Stopped};
use mq_core::command::{EnqueueRefused, full};
use mq_core::id::MessageId;
use mq_core::key::KeyError;
use mq_core::message::{InvalidMessage, NewMessage};
use mq_core::name::{NameError, QueueName};
use mq_core::pending::Abandoned;

pub use mq_core::backend::{OperateError, ReadError, SettleError};
pub use wait::{TryEnqueueError, WaitError};

use crate::options::BadOption;

/// Why a store could not be opened. The store is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Options are out of range: correct all of them.
    #[error("{} option(s) are out of range: {}", .0.len(), list(.0))]
    Options(Vec<BadOption>),
    /// The data directory cannot be used, is owned by another process, damaged or of another format.
    #[error(transparent)]
    Store(#[from] mq_persistence::open::OpenError),
    /// The first record of this opening could not be written: the store was recovered but serves nothing.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The operating system gave no thread or no random numbers.
    #[error("the operating system refused {what}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// Its answer.
        #[source]
        source: std::io::Error,
    },
}

impl OpenError {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Options(_) => "options",
            Self::Store(error) => error.code(),
            Self::Stopped(error) => error.code(),
            Self::System { .. } => "system",
        }
    }
}

fn list(options: &[BadOption]) -> String {
    options
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// Why no snapshot was taken. The store and the snapshots it has are as they were.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// A store in memory has nothing that could be opened again.
    #[error("a store in memory has no snapshots; open one in a directory")]
    InMemory,
    /// The disk has no room for it. The journal goes on; make room and ask again.
    #[error("there is no room on the disk for a snapshot; make room and ask again")]
    NoRoom,
    /// The engine does not serve any more.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl SnapshotError {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InMemory => "in_memory",
            Self::NoRoom => "no_room",
            Self::Stopped(stopped) => stopped.code(),
        }
    }
}

/// Why an enqueue failed. Unless said otherwise nothing was stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnqueueError {
    /// The message could not be encoded.
    #[error(transparent)]
    Encode(#[from] mq_dispatch::EncodeError),
    /// A message is not valid.
    #[error("message {index} is not valid: {source}")]
    Invalid {
        /// Its index in the batch; 0 for a single one.
        index: usize,
        /// What is wrong.
        #[source]
        source: InvalidMessage,
    },
    /// A name is not valid.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A key is not valid.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A priority is not valid.
    #[error("priority {given} is out of range; allowed are 0 to 9, 9 most urgent")]
    Priority {
        /// What was given.
        given: u8,
    },
    /// The store is full, and stayed so for `full_wait`. The messages come back.
    #[error("{}", full(*used, *limit, unit))]
    Full {
        /// What is used.
        used: u64,
        /// The capacity.
        limit: u64,
        /// `messages`, `bytes` or `bytes of disk`.
        unit: &'static str,
        /// What was to be enqueued.
        messages: Vec<NewMessage>,
    },
    /// A handler enqueued into a full store: waiting would wait for itself. Stage the message, or return an error.
    #[error(
        "the store is full, and this handler would wait for room that only handlers can make; use ctx.stage(…), which reserves room, or fail and be retried"
    )]
    WouldDeadlock {
        /// What was to be enqueued.
        messages: Vec<NewMessage>,
    },
    /// The batch can never fit: split it.
    #[error(
        "a batch of {messages} messages and {bytes} bytes is too large for one frame (16,384 events, 32 MiB) or for the store; split it"
    )]
    TooLarge {
        /// Messages in it.
        messages: usize,
        /// Bytes in it.
        bytes: u64,
    },
    /// The queue has as many messages as its operator lets it have, and had for `full_wait`. The messages come back.
    #[error(
        "queue {queue} has {used} of the {limit} messages it may have; wait until messages complete, or raise its limit"
    )]
    QueueFull {
        /// The queue.
        queue: QueueName,
        /// Messages in it that are not completed or dead.
        used: u64,
        /// Its limit.
        limit: u64,
        /// What was to be enqueued.
        messages: Vec<NewMessage>,
    },
    /// The budget of dead letters is full: replay or purge some.
    #[error(
        "queue {queue} has filled the budget of dead letters ({used} of {limit} bytes); replay or purge some first"
    )]
    DeadLettersFull {
        /// The queue.
        queue: QueueName,
        /// Bytes of dead letters.
        used: u64,
        /// Their budget.
        limit: u64,
    },
    /// The idempotency key stands for another payload.
    #[error(
        "the idempotency key was used for message {id} with another payload; one key stands for one request"
    )]
    KeyReused {
        /// The first message.
        id: MessageId,
    },
    /// The dedup key is held and the policy is to reject.
    #[error("the dedup key is held by message {id}, which is not finished")]
    KeyHeld {
        /// The holder.
        id: MessageId,
    },
    /// The table of keys is full: wait, or raise the key budget.
    #[error("{limit} keys are in use; wait until some leave their window, or raise the key budget")]
    KeysFull {
        /// The budget.
        limit: u64,
    },
    /// A dedup key stands twice in one batch.
    #[error(
        "messages {first} and {second} of the batch have the same dedup key; send them one after the other"
    )]
    KeyTwiceInBatch {
        /// Index of the first.
        first: usize,
        /// Index of the second.
        second: usize,
    },
    /// The store has used up its numbers.
    #[error("the store has used up its {what} numbers; go on with a new store")]
    NumbersUsedUp {
        /// Which numbers.
        what: &'static str,
    },
    /// `.wait()` was called on a thread of an async runtime, which it would block: `.await` it there.
    #[error("wait() would block a thread of the async runtime; use .await there")]
    OnRuntimeThread,
    /// The engine is closed.
    #[error("the engine is closed; open it again to go on")]
    Closed,
    /// A write or sync failed: whether the message is stored is decided when the store is opened again.
    #[error(
        "the engine stopped after {operation} failed: {reason}; durability of this message is unknown until the store is opened again"
    )]
    Poisoned {
        /// What failed.
        operation: String,
        /// The operating system's answer.
        reason: String,
    },
    /// The engine went away without an answer: as [`EnqueueError::Poisoned`].
    #[error(
        "the engine stopped before it could answer; whether the message is stored is decided when the store is opened again"
    )]
    Abandoned,
}

impl EnqueueError {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Encode(error) => error.code(),
            Self::Invalid { source, .. } => source.code(),
            Self::Name(error) => error.code(),
            Self::Key(error) => error.code(),
            Self::Priority { .. } => "priority",
            Self::Full { .. } => "full",
            Self::WouldDeadlock { .. } => "would_deadlock",
            Self::TooLarge { .. } => "too_large",
            Self::QueueFull { .. } => "queue_full",
            Self::DeadLettersFull { .. } => "dead_letters_full",
            Self::KeyReused { .. } => "key_reused",
            Self::KeyHeld { .. } => "key_held",
            Self::KeysFull { .. } => "keys_full",
            Self::KeyTwiceInBatch { .. } => "key_twice_in_batch",
            Self::NumbersUsedUp { .. } => "numbers_used_up",
            Self::OnRuntimeThread => "on_runtime_thread",
            Self::Closed => "closed",
            Self::Poisoned { .. } => "poisoned",
            Self::Abandoned => "abandoned",
        }
    }

    /// Whether the engine stopped, so that nothing else will work either.
    #[must_use]
    pub const fn is_stopped(&self) -> bool {
        matches!(self, Self::Closed | Self::Poisoned { .. } | Self::Abandoned)
    }
}

impl From<Stopped> for EnqueueError {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Closed => Self::Closed,
            Stopped::Poisoned { operation, reason } => Self::Poisoned { operation, reason },
        }
    }
}

impl From<Abandoned> for EnqueueError {
    fn from(_: Abandoned) -> Self {
        Self::Abandoned
    }
}

impl From<backend::EnqueueError> for EnqueueError {
    fn from(error: backend::EnqueueError) -> Self {
        match error {
            backend::EnqueueError::Invalid { index, source } => Self::Invalid { index, source },
            backend::EnqueueError::Refused { refused, messages } => {
                refused_to_error(refused, messages)
            }
            backend::EnqueueError::Stopped(stopped) => stopped.into(),
        }
    }
}

pub(crate) fn refused_to_error(refused: EnqueueRefused, messages: Vec<NewMessage>) -> EnqueueError {
    match refused {
        EnqueueRefused::Full { .. } if mq_dispatch::inside_handler() => {
            EnqueueError::WouldDeadlock { messages }
        }
        EnqueueRefused::Full { used, limit, unit } => EnqueueError::Full {
            used,
            limit,
            unit,
            messages,
        },
        EnqueueRefused::TooLarge { messages, bytes } => EnqueueError::TooLarge { messages, bytes },
        EnqueueRefused::QueueFull { queue, used, limit } => EnqueueError::QueueFull {
            queue,
            used,
            limit,
            messages,
        },
        EnqueueRefused::DeadLettersFull { queue, used, limit } => {
            EnqueueError::DeadLettersFull { queue, used, limit }
        }
        EnqueueRefused::KeyReused { id } => EnqueueError::KeyReused { id },
        EnqueueRefused::KeyHeld { id } => EnqueueError::KeyHeld { id },
        EnqueueRefused::KeysFull { limit } => EnqueueError::KeysFull { limit },
        EnqueueRefused::KeyTwiceInBatch { first, second } => {
            EnqueueError::KeyTwiceInBatch { first, second }
        }
        EnqueueRefused::NumbersUsedUp { what } => EnqueueError::NumbersUsedUp { what },
    }
}

/// Any error of mq, for programs that just pass it on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Opening.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Enqueueing.
    #[error(transparent)]
    Enqueue(#[from] EnqueueError),
    /// Waiting for a message.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// Starting workers.
    #[error(transparent)]
    Start(#[from] mq_dispatch::StartError),
    /// Scaling, pausing or resuming workers.
    #[error(transparent)]
    Control(#[from] mq_dispatch::ControlError),
    /// Changing a message.
    #[error(transparent)]
    Operate(#[from] OperateError),
    /// Reading a message.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The engine stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// Installing the signal handlers failed.
    #[error("cannot listen for signals")]
    Signal(#[source] std::io::Error),
    /// A call that blocks was made on a thread of an async runtime: use its async form there.
    #[error("this call would block a thread of the async runtime; use its async form there")]
    OnRuntimeThread,
}

impl Error {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Open(error) => error.code(),
            Self::Enqueue(error) => error.code(),
            Self::Wait(error) => error.code(),
            Self::Start(error) => error.code(),
            Self::Control(error) => error.code(),
            Self::Operate(error) => error.code(),
            Self::Read(error) => error.code(),
            Self::Stopped(error) => error.code(),
            Self::Signal(_) => "system",
            Self::OnRuntimeThread => "on_runtime_thread",
        }
    }
}

impl<M: mq_dispatch::Message> From<TryEnqueueError<M>> for Error {
    fn from(error: TryEnqueueError<M>) -> Self {
        Self::Enqueue(error.into())
    }
}
