//! The whole state of the queue manager as a list of facts: what a snapshot holds and what recovery begins with.
//!
//! Invariant: feeding all records of an image into a fresh manager gives the state it was taken from, except what is
//! volatile (pools, permits, lease ends, reservations, counters since the start).

use std::sync::Arc;

use crate::bulk::BulkJob;
use crate::event::Enqueued;
use crate::id::{Incarnation, KindId, QueueId, Seq};
use crate::index::Index;
use crate::key::KeyHash;
use crate::name::{KindName, QueueName};
use crate::queue::QueueSettings;
use crate::schedule::Schedule;
use crate::state::{StoredState, Tail};
use crate::time::{StoreTime, Timestamp};

/// One fact of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all records are messages, and they are streamed, not kept"
)]
pub enum ImageRecord {
    /// Numbers that go on. Comes first.
    Counters {
        /// The last sequence issued.
        last_seq: Seq,
        /// The last place in line given.
        last_order: u64,
        /// The incarnation that took the image.
        incarnation: Incarnation,
    },
    /// A queue. All queues and kinds come before the first message.
    Queue {
        /// Its number.
        id: QueueId,
        /// Its name.
        name: QueueName,
        /// What its operator set.
        settings: Box<QueueSettings>,
    },
    /// A kind.
    Kind {
        /// Its number.
        id: KindId,
        /// Its name.
        name: KindName,
        /// Its indexed fields.
        index: Index,
    },
    /// A bulk job. All bulk jobs come before the first message.
    Bulk(Arc<BulkJob>),
    /// A schedule. All schedules come before the first message.
    Schedule(Arc<Schedule>),
    /// A message, by ascending sequence.
    Message(MessageImage),
    /// An idempotency key within its window, whether its message is still in the store or not: `idempotency` in the
    /// facts of an image's messages is `None`.
    Key {
        /// The key.
        hash: KeyHash,
        /// The message it stands for.
        seq: Seq,
        /// Milliseconds in that message's id.
        at: Timestamp,
        /// Identity of the first payload.
        payload: KeyHash,
        /// When it is forgotten.
        until: StoreTime,
    },
}

/// A message in an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageImage {
    /// Its facts as they are now: queue, priority, place, size and state are the present ones, not those of the
    /// enqueue. `sealed` is `None`.
    pub facts: Enqueued,
    /// Its present state: unlike `facts.state` it may be any.
    pub state: StoredState,
    /// Its tail, if it ever changed.
    pub tail: Option<Box<Tail>>,
    /// How often it was handed out.
    pub deliveries: u32,
    /// Who holds it.
    pub holder: Holder,
}

/// Who holds a message, as far as the disk knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Holder {
    /// Nobody.
    #[default]
    Nobody,
    /// A lease.
    Lease,
    /// The lease of the one suspect running.
    SoloLease,
    /// Nobody, but it was leased when the process died.
    Suspect,
}
