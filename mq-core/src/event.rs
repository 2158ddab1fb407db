//! What happened: the only thing that is journalled, and the only thing that changes the queue manager's state.
//!
//! Invariants: an event says everything `apply` needs (no clock, no randomness, no configuration), so that the same
//! `apply` runs live and in recovery. The events of one command stand in one frame: all or none.

use bytes::Bytes;

use crate::bulk::{BulkCounts, BulkEnd, BulkId};
use crate::id::{Incarnation, KindId, QueueId, Seq};
use crate::index::{Index, Terms};
use crate::key::KeyHash;
use crate::message::{Priority, Sealed};
use crate::name::{KindName, QueueName, ScheduleName};
use crate::queue::QueueSettings;
use crate::state::{StoredState, Tail};
use crate::time::{StoreTime, Timestamp};

/// One journalled fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The store was opened. Whatever was leased is now a suspect; a suspect that had its solo run crashed in it.
    Opened {
        /// The number of this opening.
        incarnation: Incarnation,
        /// When: the crash of each suspect stands in its history under this time.
        at: Timestamp,
    },
    /// The store was closed in order: nothing that was leased becomes a suspect.
    Closed,
    /// A queue was used for the first time.
    QueueDefined {
        /// Its number from now on.
        id: QueueId,
        /// Its name.
        name: QueueName,
    },
    /// A kind was used for the first time.
    KindDefined {
        /// Its number from now on.
        id: KindId,
        /// Its name.
        name: KindName,
    },
    /// An operator changed the settings of a queue.
    QueueSet {
        /// Which.
        queue: QueueId,
        /// All of them, from now on.
        settings: Box<QueueSettings>,
    },
    /// The index of a kind was declared.
    KindSet {
        /// Which.
        kind: KindId,
        /// All its indexed fields, from now on.
        index: Index,
    },
    /// A message entered the store.
    Enqueued(Enqueued),
    /// A message was handed out. Written before its handler starts, not synced.
    CheckedOut {
        /// Which.
        seq: Seq,
        /// The how-manieth hand-out it is.
        delivery: u32,
        /// It is the one suspect running.
        solo: bool,
    },
    /// A lease came back without its handler having started: as if it had not been handed out.
    Returned {
        /// Which.
        seq: Seq,
        /// Of which hand-out.
        delivery: u32,
    },
    /// A message has a new state, place, payload or tail.
    Changed(Changed),
    /// A message left the store for good: completed without retention, retention over, purged, superseded.
    Finished {
        /// Which.
        seq: Seq,
    },
    /// Something happened to a schedule.
    Schedule(ScheduleEvent),
    /// Something happened to a bulk job.
    Bulk(BulkEvent),
}

/// A new message, with everything decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enqueued {
    /// Its place among all enqueues.
    pub seq: Seq,
    /// Milliseconds in its id: when it was enqueued.
    pub at: Timestamp,
    /// Its queue.
    pub queue: QueueId,
    /// Its kind.
    pub kind: KindId,
    /// Its urgency.
    pub priority: Priority,
    /// [`StoredState::Pending`] or [`StoredState::Held`].
    pub state: StoredState,
    /// Its place in line, from a count that replays share: the next one, or that of the message it replaces.
    pub order: u64,
    /// When it joined the line: `at`, its due time if it has one, or when the message it replaces did.
    pub joined: Timestamp,
    /// Dead if not started by then.
    pub expires: Option<StoreTime>,
    /// Idempotency key, and until when it answers with this message.
    pub idempotency: Option<(KeyHash, StoreTime)>,
    /// Dedup key held while the message lives.
    pub dedup: Option<KeyHash>,
    /// Waits until the message that holds its dedup key now is over.
    pub behind: Option<Seq>,
    /// Ordering key.
    pub ordering: Option<KeyHash>,
    /// A dead message keeps blocking its ordering key.
    pub halt_on_dead: bool,
    /// Identity of the payload; zero without idempotency or dedup key.
    pub payload: KeyHash,
    /// Failure budget of its own.
    pub failures_max: Option<u32>,
    /// How long it is kept after completion, in milliseconds of store time.
    pub retain_ms: Option<u64>,
    /// Its indexed fields.
    pub terms: Terms,
    /// Bytes of its envelope.
    pub size: u32,
    /// The envelope on its way into the journal; `None` in replay, because the rules never look inside.
    pub sealed: Option<Sealed>,
}

/// The new facts of an existing message. Every field is the value from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Which.
    pub seq: Seq,
    /// Its state.
    pub state: StoredState,
    /// Whether it goes on being held by whoever leased it.
    pub lease: LeaseAfter,
    /// Its queue.
    pub queue: QueueId,
    /// Its urgency.
    pub priority: Priority,
    /// Its place in line.
    pub order: u64,
    /// When it joined the line.
    pub joined: Timestamp,
    /// Bytes of its envelope.
    pub size: u32,
    /// Counters, history, checkpoint, result.
    pub tail: Box<Tail>,
    /// Its indexed fields, if its payload was edited; otherwise they stay as they are.
    pub terms: Option<Terms>,
    /// A new envelope, if it was edited; `None` in replay.
    pub sealed: Option<Sealed>,
}

/// What a change does to the lease of its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeaseAfter {
    /// It ends, if there is one.
    Ended,
    /// It stays, if there is one.
    Kept,
}

/// What happened to a bulk job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BulkEvent {
    /// It began.
    Started {
        /// Its number, above all others.
        id: BulkId,
        /// What it looks for and does, in the facade's words.
        spec: Bytes,
        /// It touches no message after this one.
        cutoff: Seq,
        /// Who started it.
        by: String,
        /// When.
        at: Timestamp,
    },
    /// It has met some messages. Their changes stand in the same frame, before this.
    Stepped {
        /// Which.
        id: BulkId,
        /// It has met all messages up to this one.
        cursor: Seq,
        /// What came of all of them.
        counts: BulkCounts,
    },
    /// It ended.
    Ended {
        /// Which.
        id: BulkId,
        /// In which way.
        how: BulkEnd,
        /// When.
        at: Timestamp,
    },
}

/// What happened to a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScheduleEvent {
    /// It was created or changed.
    Set {
        /// Its name.
        name: ScheduleName,
        /// When it fires, in the facade's words.
        timing: Bytes,
        /// What it sends, in the facade's words.
        template: Bytes,
        /// When it fires next.
        next: Option<Timestamp>,
    },
    /// It was paused or resumed by a user.
    Paused {
        /// Its name.
        name: ScheduleName,
        /// From now on.
        paused: bool,
        /// When it fires next.
        next: Option<Timestamp>,
    },
    /// It was removed by a user.
    Removed {
        /// Its name.
        name: ScheduleName,
    },
    /// It fired. Its messages are the [`Event::Enqueued`] of the same command, before this.
    Fired {
        /// Its name.
        name: ScheduleName,
        /// The time it was due.
        due: Timestamp,
        /// When it fired.
        at: Timestamp,
        /// Messages sent.
        runs: u32,
        /// Due times for which none was sent.
        skipped: u64,
        /// When it fires next.
        next: Option<Timestamp>,
    },
}
