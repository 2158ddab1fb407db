//! What may be asked of the queue manager, what it answers, and why it refuses.
//!
//! A command is checked against the state ([`crate::manager::QueueManager::decide`]); what comes out is an answer and
//! events, or a refusal and nothing. Refusals say what is true now and what to do next.

use std::time::Duration;

use bytes::Bytes;

use crate::few::Few;
use crate::id::{LeaseToken, MessageId, PoolId, Seq};
use crate::limits::{CHECKPOINT_SIZE_MAX, COMMAND_EVENTS_MAX, COMMAND_SIZE_MAX, RESULT_SIZE_MAX};
use crate::message::{Draft, Due, Edited, Priority};
use crate::name::{KindName, Label, QueueName};
use crate::retry::RetryPolicy;
use crate::state::{Failure, State};

/// What an enqueue did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enqueue {
    /// A new message.
    New,
    /// The key was there already; the id is that of the message it stands for.
    Existing,
    /// A new message took the place of an old one.
    Replaced {
        /// The old one.
        old: MessageId,
    },
    /// The same key with the same bytes was there already; nothing happened.
    Discarded,
}

/// The rules' part of a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The message that does the work now.
    pub id: MessageId,
    /// What the enqueue did.
    pub enqueue: Enqueue,
}

impl Accepted {
    /// Whether a new message was stored.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        match self.enqueue {
            Enqueue::New | Enqueue::Replaced { .. } => true,
            Enqueue::Existing | Enqueue::Discarded => false,
        }
    }
}

/// Enqueue several messages, all or none.
#[derive(Clone, Debug, Default)]
pub struct EnqueueBatch {
    /// The messages, in order. Refused if there are more than [`COMMAND_EVENTS_MAX`] or more than [`COMMAND_SIZE_MAX`] bytes.
    pub drafts: Few<Draft>,
}

/// The unit of a store that is full because its disk is; `used` and `limit` are then the same.
pub const BYTES_OF_DISK: &str = "bytes of disk";

/// What a full store tells people.
#[must_use]
pub fn full(used: u64, limit: u64, unit: &str) -> String {
    if unit == BYTES_OF_DISK {
        "the store is full: no bytes of disk are left for more; free space on its file system, or wait until messages complete".to_owned()
    } else {
        format!(
            "the store is full: {used} of {limit} {unit} are in use; wait until messages complete, or raise the capacity"
        )
    }
}

/// Why an enqueue was refused. Nothing of the batch was stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnqueueRefused {
    /// The store is full; wait for room, or raise the capacity.
    #[error("{}", full(*used, *limit, unit))]
    Full {
        /// What is used now.
        used: u64,
        /// The capacity.
        limit: u64,
        /// `messages`, `bytes` or [`BYTES_OF_DISK`].
        unit: &'static str,
    },
    /// The batch can never fit, however long one waits.
    #[error(
        "a batch of {messages} messages and {bytes} bytes is over the limit of {COMMAND_EVENTS_MAX} events and {COMMAND_SIZE_MAX} bytes or over the store's capacity; split it"
    )]
    TooLarge {
        /// Messages in it.
        messages: usize,
        /// Bytes in it.
        bytes: u64,
    },
    /// The queue has as many messages as its operator lets it have; wait until some complete, or raise the limit.
    #[error(
        "queue {queue} has {used} of the {limit} messages it may have; wait until messages complete, or raise its limit"
    )]
    QueueFull {
        /// The queue.
        queue: QueueName,
        /// Live messages in it.
        used: u64,
        /// Its limit.
        limit: u64,
    },
    /// The dead letters' budget is full, and this queue filled it.
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
    /// The idempotency key was used within its window for other bytes.
    #[error(
        "the idempotency key was used for message {id} with another payload; one key stands for one request"
    )]
    KeyReused {
        /// The message it stands for.
        id: MessageId,
    },
    /// The dedup key is held and the policy is to reject.
    #[error("the dedup key is held by message {id}, which is not finished")]
    KeyHeld {
        /// The holder.
        id: MessageId,
    },
    /// The table of keys is full.
    #[error("{limit} keys are in use; wait until some leave their window, or raise the key budget")]
    KeysFull {
        /// The key budget.
        limit: u64,
    },
    /// The same dedup key stands twice in one batch.
    #[error(
        "messages {first} and {second} of the batch have the same dedup key; send them one after the other"
    )]
    KeyTwiceInBatch {
        /// Index of the first.
        first: usize,
        /// Index of the second.
        second: usize,
    },
    /// All 2⁴⁸ sequence numbers, queue numbers or kind numbers of the store are used up.
    #[error("the store has used up its {what} numbers; go on with a new store")]
    NumbersUsedUp {
        /// `sequence`, `queue` or `kind`.
        what: &'static str,
    },
}

impl EnqueueRefused {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Full { .. } => "full",
            Self::TooLarge { .. } => "too_large",
            Self::QueueFull { .. } => "queue_full",
            Self::DeadLettersFull { .. } => "dead_letters_full",
            Self::KeyReused { .. } => "key_reused",
            Self::KeyHeld { .. } => "key_held",
            Self::KeysFull { .. } => "keys_full",
            Self::KeyTwiceInBatch { .. } => "key_twice_in_batch",
            Self::NumbersUsedUp { .. } => "numbers_used_up",
        }
    }
}

/// Which messages a pool takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Only this queue.
    pub queue: Option<QueueName>,
    /// Only this kind.
    pub kind: Option<KindName>,
}

impl Selector {
    /// Whether it takes messages of this queue and kind.
    #[must_use]
    pub fn takes(&self, queue: &QueueName, kind: &KindName) -> bool {
        self.queue.as_ref().is_none_or(|name| name == queue)
            && self.kind.as_ref().is_none_or(|name| name == kind)
    }
}

/// Some of the messages that a pool takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolLine {
    /// Which.
    pub selector: Selector,
    /// What happens to them when a lease runs out.
    pub retry: RetryPolicy,
}

/// A worker pool as the manager knows it. Settings come from the program at each start; nothing of it is journalled.
#[derive(Clone, Debug)]
pub struct PoolSpec {
    /// What it takes: whatever any of them takes. Its permits are for all of them together.
    pub lines: Vec<PoolLine>,
    /// How long a lease lasts unless it is renewed.
    pub lease: Duration,
}

impl PoolSpec {
    /// A pool with one line.
    #[must_use]
    pub fn one(selector: Selector, lease: Duration, retry: RetryPolicy) -> Self {
        Self {
            lines: vec![PoolLine { selector, retry }],
            lease,
        }
    }

    /// The first line that takes messages of this queue and kind.
    #[must_use]
    pub fn line_of(&self, queue: &QueueName, kind: &KindName) -> Option<&PoolLine> {
        let mut lines = self.lines.iter();
        lines.find(|line| line.selector.takes(queue, kind))
    }
}

/// The lease is not valid (any more): the message was settled, its lease ran out, it was handed out again, superseded,
/// or the store was reopened. Nothing was changed; drop the work or make it idempotent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "lease {token} is stale: the message was settled, handed out again, or the store was reopened; this answer was not taken"
)]
pub struct StaleLease {
    /// The refused token.
    pub token: LeaseToken,
}

/// How a handler's attempt ended, as reported by whoever holds the lease.
#[derive(Clone, Debug)]
pub enum Settlement {
    /// Done; the result is kept only if the message is retained.
    Succeed {
        /// At most [`RESULT_SIZE_MAX`] bytes.
        result: Option<Bytes>,
    },
    /// Done for this time: the message stays, with fresh budgets and without its checkpoint, and runs again.
    Again {
        /// When.
        due: Due,
    },
    /// Set aside under a label until somebody releases it; costs nothing.
    SetAside {
        /// The label.
        label: Label,
        /// Why, for people.
        failure: Failure,
    },
    /// Failed: retried by `retry` (or by the message's own budget) or dead.
    Fail {
        /// What went wrong.
        failure: Failure,
        /// The handler's policy.
        retry: RetryPolicy,
        /// Instead of the policy's back-off.
        retry_in: Option<Duration>,
    },
    /// Come back later; costs nothing.
    Snooze {
        /// When.
        delay: Duration,
    },
    /// A stop came in between; ready again at once, costs nothing.
    Interrupt,
    /// Given up.
    DeadLetter {
        /// [`crate::state::DeadReason::DeadLettered`] or `Undecodable`.
        reason: crate::state::DeadReason,
        /// Why.
        failure: Failure,
        /// A remark for people.
        note: Option<String>,
    },
    /// Nothing to do any more.
    Discard {
        /// Why.
        failure: Option<Failure>,
    },
    /// The handler obeyed a cancellation.
    Cancel,
}

/// End a lease: outcome and follow-ups in one frame.
#[derive(Clone, Debug)]
pub struct Settle {
    /// The lease.
    pub token: LeaseToken,
    /// How it ended.
    pub settlement: Settlement,
    /// Messages committed with it, all or none. Room for them was reserved with [`Reserve`], else it is checked now.
    pub staged: Vec<Draft>,
}

/// What became of a settled message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// What it is now; `None` if it left the store.
    pub state: Option<State>,
    /// The staged messages, in order.
    pub staged: Vec<Accepted>,
}

/// Why a settlement was refused. The lease, if it is valid, still is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettleRefused {
    /// The lease is not valid.
    #[error(transparent)]
    Stale(#[from] StaleLease),
    /// A staged message was refused; settle with another outcome or without it.
    #[error("a staged message was refused")]
    Staged(#[from] EnqueueRefused),
    /// The disk has no more room than settling needs. The lease is still held.
    #[error(transparent)]
    NoRoom(EnqueueRefused),
    /// The result is too large.
    #[error(
        "a result of {size} bytes is over the limit of {RESULT_SIZE_MAX}; store it elsewhere and return a reference"
    )]
    ResultTooLarge {
        /// Its size.
        size: usize,
    },
    /// The checkpoint is too large.
    #[error(
        "a checkpoint of {size} bytes is over the limit of {CHECKPOINT_SIZE_MAX}; store it elsewhere and keep a reference"
    )]
    CheckpointTooLarge {
        /// Its size.
        size: usize,
    },
}

impl SettleRefused {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Stale(_) => "stale_lease",
            Self::Staged(error) | Self::NoRoom(error) => error.code(),
            Self::ResultTooLarge { .. } | Self::CheckpointTooLarge { .. } => "too_large",
        }
    }
}

/// Give leases back whose handlers never started: costs nothing and leaves no trace.
#[derive(Clone, Debug)]
pub struct GiveBack {
    /// The lease.
    pub token: LeaseToken,
}

/// Make a lease last until `duration` from now. Volatile: no event.
#[derive(Clone, Copy, Debug)]
pub struct Extend {
    /// The lease.
    pub token: LeaseToken,
    /// From now.
    pub duration: Duration,
}

/// Save what the handler needs to go on from after a crash.
#[derive(Clone, Debug)]
pub struct SaveCheckpoint {
    /// The lease.
    pub token: LeaseToken,
    /// At most [`CHECKPOINT_SIZE_MAX`] bytes.
    pub checkpoint: Bytes,
}

/// Reserve room for messages that the holder of a lease is going to stage. Volatile: no event.
#[derive(Clone, Copy, Debug)]
pub struct Reserve {
    /// The lease.
    pub token: LeaseToken,
    /// How many messages more.
    pub messages: u64,
    /// How many bytes more.
    pub bytes: u64,
}

/// A user's or operator's change of one message.
#[derive(Clone, Debug)]
pub struct Operate {
    /// Which.
    pub id: MessageId,
    /// What.
    pub operation: Operation,
    /// Who asks, in their own words, for the message's history; cut to [`crate::limits::ACTOR_SIZE_MAX`] bytes.
    pub by: String,
}

/// What can be done to one message.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Stop it for good: at once if it waits; if it runs, its handler is asked to stop.
    Cancel,
    /// Set aside a waiting message.
    Hold(Label),
    /// Let a held message go on.
    Release,
    /// Make a scheduled message due now.
    RunNow,
    /// Give a waiting message another due time.
    Reschedule(Due),
    /// Give a waiting message another priority.
    SetPriority(Priority),
    /// Put a waiting message into another queue. Its keys stay those of the old queue.
    MoveTo(QueueName),
    /// Bring a dead message back with fresh budgets, at the end of the line; id, keys and history stay.
    Replay {
        /// A new envelope instead of the old one.
        edit: Option<Box<Edited>>,
    },
    /// Remove a dead, completed or held message for good.
    Purge,
}

impl Operation {
    /// The word in errors and logs.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Hold(_) => "hold",
            Self::Release => "release",
            Self::RunNow => "run-now",
            Self::Reschedule(_) => "reschedule",
            Self::SetPriority(_) => "set-priority",
            Self::MoveTo(_) => "move",
            Self::Replay { .. } => "replay",
            Self::Purge => "purge",
        }
    }
}

/// What an operation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operated {
    /// It is done.
    Done,
    /// The running handler was asked to stop; what it answers decides.
    Requested,
}

/// Why an operation was refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperateRefused {
    /// The store never issued this id, or another store did.
    #[error("this store never issued message {id}; is it the right data directory?")]
    NeverIssued {
        /// The id.
        id: MessageId,
    },
    /// It was settled and is not kept.
    #[error("message {id} is settled and was not kept")]
    NotKept {
        /// The id.
        id: MessageId,
    },
    /// Its state does not allow it.
    #[error("cannot {operation} message {id}: it is {state}")]
    WrongState {
        /// The id.
        id: MessageId,
        /// The word of the operation.
        operation: &'static str,
        /// The word of its state.
        state: &'static str,
    },
    /// A replay that would break "one live message per dedup key".
    #[error(
        "message {id} cannot come back: its dedup key is held by {holder} now; cancel that one first"
    )]
    KeyHeld {
        /// The id.
        id: MessageId,
        /// The live message with the same key.
        holder: MessageId,
    },
    /// A replay into a full store.
    #[error(transparent)]
    Full(#[from] EnqueueRefused),
}

impl OperateRefused {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NeverIssued { .. } => "never_issued",
            Self::NotKept { .. } => "not_kept",
            Self::WrongState { .. } => "wrong_state",
            Self::KeyHeld { .. } => "key_held",
            Self::Full(error) => error.code(),
        }
    }
}

/// A lease handed to a pool, without the envelope: the engine adds it from its cache or from disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// To which pool.
    pub pool: PoolId,
    /// Which message.
    pub seq: Seq,
    /// The lease.
    pub token: LeaseToken,
}

/// Something a pool must be told about a lease it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A user asked for the message to be cancelled.
    CancelRequested {
        /// The pool that holds the lease.
        pool: PoolId,
        /// The lease.
        token: LeaseToken,
    },
    /// The lease ran out: whatever the handler answers is refused.
    LeaseLost {
        /// The pool that held the lease.
        pool: PoolId,
        /// The lease.
        token: LeaseToken,
    },
}
