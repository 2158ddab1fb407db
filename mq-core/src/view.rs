//! What readers see of the store: one message, pages of messages, counts. Reading changes nothing.

use std::time::Duration;

use crate::id::{MessageId, Seq};
use crate::message::Priority;
use crate::name::{KindName, QueueName};
use crate::state::{DeadReason, State, Tail};
use crate::time::Timestamp;

pub use crate::filter::{Filter, KeyIs};
pub use crate::manager::IndexView;

/// A message as the rules know it, without its envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageView {
    /// Its id.
    pub id: MessageId,
    /// Its queue.
    pub queue: QueueName,
    /// Its kind.
    pub kind: KindName,
    /// Its urgency.
    pub priority: Priority,
    /// What it is now.
    pub state: State,
    /// When it was enqueued.
    pub enqueued: Timestamp,
    /// When it went dead, if it is.
    pub died: Option<Timestamp>,
    /// How often it was handed out.
    pub deliveries: u32,
    /// It was running when the process died, and waits for (or is in) a run alone among suspects.
    pub suspect: bool,
    /// Bytes of its envelope.
    pub size: u32,
    /// Counters, history, checkpoint, result.
    pub tail: Tail,
}

/// Answer to a look-up by id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Here it is.
    Found(Box<MessageView>),
    /// It was settled and not kept (or purged).
    SettledNotKept,
    /// This store never issued the id.
    NeverIssued,
}

/// Words for states in filters, counts and errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StateKind {
    /// See [`State::Scheduled`].
    Scheduled,
    /// See [`State::Ready`].
    Ready,
    /// See [`State::Blocked`].
    Blocked,
    /// See [`State::Leased`].
    Leased,
    /// See [`State::Held`].
    Held,
    /// See [`State::Completed`].
    Completed,
    /// See [`State::Dead`].
    Dead,
    /// See [`State::Superseded`].
    Superseded,
}

impl StateKind {
    /// All of them, in the order of a message's life.
    pub const ALL: [StateKind; 8] = [
        Self::Scheduled,
        Self::Ready,
        Self::Blocked,
        Self::Leased,
        Self::Held,
        Self::Completed,
        Self::Dead,
        Self::Superseded,
    ];

    /// Not over: it counts against the capacity.
    #[must_use]
    pub const fn is_live(self) -> bool {
        match self {
            Self::Scheduled | Self::Ready | Self::Blocked | Self::Leased | Self::Held => true,
            Self::Completed | Self::Dead | Self::Superseded => false,
        }
    }

    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Ready => "ready",
            Self::Blocked => "blocked",
            Self::Leased => "leased",
            Self::Held => "held",
            Self::Completed => "completed",
            Self::Dead => "dead",
            Self::Superseded => "superseded",
        }
    }
}

impl State {
    /// Which word stands for it.
    #[must_use]
    pub const fn kind(&self) -> StateKind {
        match self {
            Self::Scheduled { .. } => StateKind::Scheduled,
            Self::Ready => StateKind::Ready,
            Self::Blocked { .. } => StateKind::Blocked,
            Self::Leased { .. } => StateKind::Leased,
            Self::Held { .. } => StateKind::Held,
            Self::Completed { .. } => StateKind::Completed,
            Self::Dead { .. } => StateKind::Dead,
            Self::Superseded { .. } => StateKind::Superseded,
        }
    }
}

/// A page of messages by ascending sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The messages.
    pub messages: Vec<MessageView>,
    /// Ask again from here for more; `None` at the end. A page may be short, even empty, before the end:
    /// each one looks at a bounded number of messages.
    pub next: Option<Seq>,
    /// How they were found.
    pub by: FoundBy,
}

/// How messages are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FoundBy {
    /// In the tables of keys.
    Key,
    /// In the index of a field of their payloads.
    Index,
    /// By looking at all, page by page. Payloads are read unless an indexed field says that they cannot match.
    #[default]
    Scan,
}

impl FoundBy {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Index => "index",
            Self::Scan => "scan",
        }
    }
}

/// Counts of one queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Messages by state, in the order of [`StateKind::ALL`].
    pub by_state: [u64; 8],
    /// Paused by a user.
    pub paused: bool,
    /// How long the oldest ready message has been waiting.
    pub oldest_ready: Option<Duration>,
}

/// Dead letters of one queue and kind that died for one reason.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeadCount {
    /// Their queue.
    pub queue: QueueName,
    /// Their kind.
    pub kind: KindName,
    /// Why they are dead.
    pub reason: DeadReason,
    /// How many there are.
    pub count: u64,
}

/// Counts of the whole store, kept up to date with each event; reading them scans nothing but the list of queues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Each queue by name, sorted.
    pub queues: Vec<(QueueName, QueueStats)>,
    /// Messages that count against the capacity.
    pub live_messages: u64,
    /// Their bytes, with what is reserved.
    pub live_bytes: u64,
    /// Bytes of dead letters.
    pub dead_bytes: u64,
    /// Bytes of kept completed messages.
    pub completed_bytes: u64,
    /// Keys in use.
    pub keys: u64,
    /// Suspects waiting for their solo run.
    pub suspects: u64,
    /// Since the store was opened: messages enqueued.
    pub enqueued: u64,
    /// Since the store was opened: duplicates answered with an existing message, discarded or refused.
    pub duplicates: u64,
    /// Since the store was opened: hand-outs.
    pub checked_out: u64,
    /// Since the store was opened: attempts that ended, by outcome, in the order of the enum.
    pub outcomes: [u64; 9],
    /// Since the store was opened: settlements refused because their lease was stale.
    pub stale: u64,
    /// Since the store was opened: messages that became dead letters.
    pub died: u64,
    /// Since the store was opened: dead letters that came back.
    pub replayed: u64,
    /// Since the store was opened: leases that were renewed or extended.
    pub extended: u64,
    /// Since the store was opened: dead letters removed because their budget was full ([`crate::manager::DeadFull`]).
    pub dead_evicted: u64,
    /// The dead letters of each queue, kind and reason that has some, sorted by these.
    pub dead_counts: Vec<DeadCount>,
    /// How long the oldest dead letter has been one.
    pub oldest_dead: Option<Duration>,
    /// Ready messages of kinds that no pool serves, by queue and kind.
    pub unserved: Vec<(QueueName, KindName, u64)>,
}
