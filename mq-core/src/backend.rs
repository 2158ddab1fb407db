//! What dispatch needs of a store: the contract that the engine keeps, and that other databases can keep.
//!
//! Object-safe, batch-first and demand-driven: a pool says how many messages it can take (permits) and the backend
//! hands out at most that many, choosing at the last moment. Handing out never blocks the pool: grants arrive in its
//! inbox and `wake` is called. The conformance suite in `mq-testing` holds every implementor to the rules below.
//!
//! Rules
//! 1. An answer to `enqueue` means the batch is as durable as the backend promises, all or none.
//! 2. A message is handed out only when it is durable, to one holder at a time, in the order of its lane.
//! 3. Every permit is spent on at most one grant; grants beyond the permits never come.
//! 4. Settlement, staged messages and result are one change. A stale lease changes nothing.
//! 5. Every way in which a message becomes ready reaches a pool that has a permit for it, without other traffic.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::command::{
    Accepted, Enqueue, EnqueueRefused, OperateRefused, Operated, PoolSpec, SettleRefused,
    Settlement, StaleLease,
};
use crate::id::{LeaseToken, MessageId, PoolId, Seq};
use crate::key::Key;
use crate::limits::PAYLOAD_SIZE_MAX;
use crate::message::{Due, Envelope, InvalidMessage, NewMessage, Priority};
use crate::name::{KindName, Label, QueueName};
use crate::pending::Pending;
use crate::queue::{QueueChange, QueueSettings};
use crate::state::{Attempt, State};
use crate::time::Timestamp;
use crate::view::{Filter, Lookup, Page, Stats};

/// Which answer a caller can expect to survive what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Durability {
    /// Nothing is written: gone with the process.
    Memory,
    /// Written, not yet synced: survives the process, not a power cut.
    Written,
    /// Synced to the device.
    Synced,
}

/// Answer to an enqueued message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The id and what the enqueue did.
    pub accepted: Accepted,
    /// What was achieved when this answer left.
    pub durability: Durability,
}

impl Receipt {
    /// The message that does the work now: the new one, or the one that was there already.
    #[must_use]
    pub const fn id(&self) -> MessageId {
        self.accepted.id
    }

    /// Whether a new message was stored.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        self.accepted.is_new()
    }

    /// The message whose place the new one took.
    #[must_use]
    pub const fn replaced(&self) -> Option<MessageId> {
        match self.accepted.enqueue {
            Enqueue::Replaced { old } => Some(old),
            Enqueue::New | Enqueue::Existing | Enqueue::Discarded => None,
        }
    }
}

/// What an enqueue does when the store is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Refuse at once.
    Refuse,
    /// Wait for room, but no longer than this.
    Wait(Duration),
}

/// Why the store cannot serve any more. Sticky.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// It was closed.
    #[error("the engine is closed; open it again to go on")]
    Closed,
    /// A write or sync failed. What was not answered may or may not be stored: opening the store again decides.
    #[error(
        "the engine stopped after {operation} failed: {reason}; check the disk, then open the store again: that decides what was stored"
    )]
    Poisoned {
        /// Which operation on which file.
        operation: String,
        /// The error of the operating system.
        reason: String,
    },
}

impl Stopped {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Poisoned { .. } => "poisoned",
        }
    }
}

/// Why an enqueue failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EnqueueError {
    /// A message is not valid; nothing was stored.
    #[error("message {index} of the batch is not valid")]
    Invalid {
        /// Its index in the batch.
        index: usize,
        /// What is wrong with it.
        #[source]
        source: InvalidMessage,
    },
    /// The rules refuse it; nothing was stored. The messages come back.
    #[error("{refused}")]
    Refused {
        /// Why.
        refused: EnqueueRefused,
        /// The batch.
        messages: Vec<NewMessage>,
    },
    /// The store stopped. After [`Stopped::Poisoned`] it is unknown whether the batch was stored.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why a settlement failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SettleError {
    /// A staged message is not valid; the lease is still held.
    #[error("staged message {index} is not valid")]
    Invalid {
        /// Its index among the staged ones.
        index: usize,
        /// What is wrong with it.
        #[source]
        source: InvalidMessage,
    },
    /// The rules refuse it.
    #[error(transparent)]
    Refused(#[from] SettleRefused),
    /// The store stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl SettleError {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Invalid { source, .. } => source.code(),
            Self::Refused(error) => error.code(),
            Self::Stopped(error) => error.code(),
        }
    }
}

/// Why an operation on a message failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OperateError {
    /// The edited envelope is not valid.
    #[error("the edited message is not valid")]
    Invalid(#[from] InvalidMessage),
    /// The rules refuse it.
    #[error(transparent)]
    Refused(#[from] OperateRefused),
    /// What is to be edited cannot be read; nothing was changed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl OperateError {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Invalid(error) => error.code(),
            Self::Refused(error) => error.code(),
            Self::Read(error) => error.code(),
            Self::Stopped(error) => error.code(),
        }
    }
}

/// Why a setting of a queue was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetQueueError {
    /// There is no room for it: on the disk, or for the name of another queue.
    #[error(transparent)]
    Refused(#[from] EnqueueRefused),
    /// The store stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl SetQueueError {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Refused(error) => error.code(),
            Self::Stopped(error) => error.code(),
        }
    }
}

/// Why a stored message could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// Its bytes on disk are damaged or unreadable; nothing was changed.
    #[error("message {id} cannot be read: {reason}; run `mq verify` on the store")]
    Unreadable {
        /// The message.
        id: MessageId,
        /// What is wrong, with file and offset.
        reason: String,
    },
    /// The store stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl ReadError {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "unreadable",
            Self::Stopped(error) => error.code(),
        }
    }
}

/// A message handed to a pool.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Proof of holding it.
    pub token: LeaseToken,
    /// Its queue.
    pub queue: QueueName,
    /// Its kind.
    pub kind: KindName,
    /// What the producer gave.
    pub envelope: Arc<Envelope>,
    /// Failures so far plus one: which attempt of its budget this is.
    pub attempt: u32,
    /// When it was enqueued.
    pub enqueued: Timestamp,
    /// When it was due.
    pub due: Timestamp,
    /// It runs as the one suspect.
    pub suspect: bool,
    /// What the last attempt saved.
    pub checkpoint: Option<Bytes>,
    /// How the last attempt ended.
    pub last: Option<Attempt>,
}

/// What arrives in a pool's inbox.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// Work.
    Grant(Grant),
    /// A user asked for the message of this lease to be cancelled.
    CancelRequested(LeaseToken),
    /// The lease ran out: whatever its handler answers will be refused.
    LeaseLost(LeaseToken),
}

/// One settlement of a batch.
#[derive(Clone, Debug)]
pub struct SettleRequest {
    /// The lease.
    pub token: LeaseToken,
    /// How it ended.
    pub settlement: Settlement,
    /// Messages committed with it.
    pub staged: Vec<NewMessage>,
}

/// Answer to a settlement. It may leave when the change is written; it is synced within 10 ms, and what follows from it
/// (the next message of an ordering key, staged messages) waits for that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettleReceipt {
    /// What the message is now; `None` if it left the store.
    pub state: Option<State>,
    /// The staged messages, in order.
    pub staged: Vec<Accepted>,
}

/// A change of one message by a user.
#[derive(Clone, Debug)]
pub enum OperateRequest {
    /// See [`crate::command::Operation::Cancel`].
    Cancel,
    /// See [`crate::command::Operation::Hold`].
    Hold(Label),
    /// See [`crate::command::Operation::Release`].
    Release,
    /// See [`crate::command::Operation::RunNow`].
    RunNow,
    /// See [`crate::command::Operation::Reschedule`].
    Reschedule(Due),
    /// See [`crate::command::Operation::SetPriority`].
    SetPriority(Priority),
    /// See [`crate::command::Operation::MoveTo`].
    MoveTo(QueueName),
    /// See [`crate::command::Operation::Replay`]: with another payload, if given; headers and keys stay.
    Replay {
        /// The payload to go on with.
        edit: Option<Bytes>,
    },
    /// See [`crate::command::Operation::Purge`].
    Purge,
}

/// Whose previous version is asked for.
#[derive(Clone, Debug)]
pub enum PreviousOf {
    /// Of the dedup key of this message.
    Message(MessageId),
    /// Of a dedup key in a queue.
    Key(QueueName, Key),
}

/// The last message of a dedup key that succeeded.
#[derive(Clone, Debug)]
pub struct Previous {
    /// Its id.
    pub id: MessageId,
    /// What its producer gave.
    pub envelope: Arc<Envelope>,
    /// What its handler returned, if that was kept.
    pub result: Option<Bytes>,
}

/// Called after each batch of deliveries into a pool's inbox, from any thread. Must not block and must not call the backend.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// A store as dispatch sees it.
pub trait Backend: Send + Sync + fmt::Debug + 'static {
    /// Stores a batch, all or none.
    fn enqueue(
        &self,
        batch: Vec<NewMessage>,
        when_full: WhenFull,
    ) -> Pending<Result<Vec<Receipt>, EnqueueError>>;

    /// Opens a pool with no permits.
    ///
    /// # Errors
    /// [`Stopped`] if the store does not serve any more.
    fn attach(&self, pool: PoolSpec, wake: Wake) -> Result<PoolId, Stopped>;

    /// Adds permits: the pool can take so many messages more.
    fn checkout(&self, pool: PoolId, permits: u32);

    /// Moves what has arrived in the pool's inbox into `into`; never waits.
    fn take(&self, pool: PoolId, into: &mut Vec<Delivery>);

    /// Takes back up to so many unspent permits and answers how many; grants on their way are not unspent.
    fn withdraw(&self, pool: PoolId, permits: u32) -> Pending<u32>;

    /// Closes a pool: its permits are void, and grants that it has not taken are given back.
    fn detach(&self, pool: PoolId);

    /// Gives leases back whose handlers never started. Stale ones are ignored.
    fn give_back(&self, tokens: Vec<LeaseToken>);

    /// Ends leases, each for itself.
    fn settle(&self, batch: Vec<SettleRequest>)
    -> Pending<Vec<Result<SettleReceipt, SettleError>>>;

    /// Makes leases last at least until `duration` from now, 12 h at most; none ends earlier for it.
    fn extend(
        &self,
        tokens: Vec<LeaseToken>,
        duration: Duration,
    ) -> Pending<Vec<Result<(), StaleLease>>>;

    /// Saves a checkpoint; answered when it is durable.
    fn save_checkpoint(
        &self,
        token: LeaseToken,
        checkpoint: Bytes,
    ) -> Pending<Result<(), SettleError>>;

    /// Reserves room for messages about to be staged under this lease.
    fn reserve(
        &self,
        token: LeaseToken,
        messages: u64,
        bytes: u64,
    ) -> Pending<Result<(), SettleError>>;

    /// Changes one message.
    fn operate(
        &self,
        id: MessageId,
        request: OperateRequest,
    ) -> Pending<Result<Operated, OperateError>>;

    /// Changes a setting of a queue; survives a restart.
    fn set_queue(
        &self,
        queue: QueueName,
        change: QueueChange,
    ) -> Pending<Result<(), SetQueueError>>;

    /// Pauses or resumes a queue.
    fn pause_queue(&self, queue: QueueName, paused: bool) -> Pending<Result<(), SetQueueError>> {
        self.set_queue(queue, QueueChange::Pause(paused))
    }

    /// A program handles messages of `kind`, whose type declares these fields of their payloads as indexed. A hint that makes
    /// messages easier to find; a store that does without passes over it.
    fn declare_index(&self, kind: &KindName, fields: &'static [&'static str]) {
        let _hint = (kind, fields);
    }

    /// The settings of a queue; the defaults if nobody has used it yet.
    fn queue_settings(&self, queue: QueueName) -> Pending<Result<QueueSettings, Stopped>>;

    /// The previous version of a dedup key: its last message that succeeded, if that is retained.
    fn previous(&self, of: PreviousOf) -> Pending<Result<Option<Previous>, ReadError>>;

    /// Looks a message up.
    fn message(&self, id: MessageId) -> Pending<Result<Lookup, Stopped>>;

    /// Reads the envelope of a stored message; `None` if it is not in the store.
    fn envelope(&self, id: MessageId) -> Pending<Result<Option<Arc<Envelope>>, ReadError>>;

    /// A page of messages, from `after` (exclusive), at most `limit` of them.
    fn list(&self, filter: Filter, after: Seq, limit: usize) -> Pending<Result<Page, Stopped>>;

    /// The largest payload that it takes, in bytes.
    fn payload_size_max(&self) -> usize {
        PAYLOAD_SIZE_MAX
    }

    /// Counts.
    fn stats(&self) -> Stats;
}
