//! What a message can be, and how an attempt can end.
//!
//! On disk stands a [`StoredState`]; `Scheduled`, `Ready`, `Blocked` and `Leased` are derived from it, from the time,
//! from the message's keys and from who holds it. docs/message-lifecycle.md has the whole table.

use bytes::Bytes;

use crate::id::{LeaseToken, MessageId, Seq};
use crate::limits::ERROR_SIZE_MAX;
use crate::message::Priority;
use crate::name::{Label, QueueName};
use crate::time::{StoreTime, Timestamp};

/// State as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Waits for its due time.
    Scheduled {
        /// When it becomes ready.
        due: Timestamp,
    },
    /// May be handed out at any moment.
    Ready,
    /// Would be ready, but an earlier message of its ordering key, or the running one of its dedup key, comes first.
    Blocked {
        /// The message it waits for.
        by: MessageId,
    },
    /// Handed out.
    Leased {
        /// The lease.
        token: LeaseToken,
    },
    /// Set aside by a user under a label, invisible to processing.
    Held {
        /// The label.
        label: Label,
    },
    /// Done, kept for its retention.
    Completed {
        /// In which way.
        how: Completion,
    },
    /// Given up, kept until it is replayed or purged.
    Dead {
        /// Why.
        reason: DeadReason,
    },
    /// Replaced while running; whatever its handler answers is discarded.
    Superseded {
        /// The message that replaced it.
        by: MessageId,
    },
}

/// State as it stands in an event and on disk; a lease is recorded apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredState {
    /// Waits, for its due time, its turn or a worker.
    Pending {
        /// Not before this moment; [`Timestamp::from_ms`]`(0)` for at once.
        due: Timestamp,
    },
    /// Set aside.
    Held {
        /// The label.
        label: Label,
        /// Due time to go on with when it is released.
        due: Timestamp,
    },
    /// Done and kept.
    Completed {
        /// In which way.
        how: Completion,
        /// Kept until then.
        until: StoreTime,
    },
    /// Given up and kept.
    Dead {
        /// Why.
        reason: DeadReason,
        /// When, for people.
        at: Timestamp,
    },
    /// Replaced while running.
    Superseded {
        /// By this message.
        by: Seq,
    },
}

/// How a completed message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Completion {
    /// Its handler succeeded.
    Succeeded,
    /// Its handler found that there is nothing to do any more.
    Discarded,
    /// A user or a handler cancelled it.
    Cancelled,
}

/// Why a message is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeadReason {
    /// Its failure budget is spent.
    BudgetSpent,
    /// Its handler said so.
    DeadLettered,
    /// Its payload could not be decoded, or its bytes on disk are damaged.
    Undecodable,
    /// It took the process down in three solo runs.
    Crashed,
    /// It did not start within its time to live.
    Expired,
}

impl DeadReason {
    /// All of them.
    pub const ALL: [DeadReason; 5] = [
        Self::BudgetSpent,
        Self::DeadLettered,
        Self::Undecodable,
        Self::Crashed,
        Self::Expired,
    ];

    /// The word in JSON, metrics and filters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BudgetSpent => "budget_spent",
            Self::DeadLettered => "dead_lettered",
            Self::Undecodable => "undecodable",
            Self::Crashed => "crashed",
            Self::Expired => "expired",
        }
    }
}

/// How one attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The handler succeeded.
    Succeeded,
    /// Error, timeout or panic: counts against the failure budget.
    Failed,
    /// The handler asked to be called later; costs nothing.
    Snoozed,
    /// A stop or deploy came in between; costs nothing.
    Interrupted,
    /// Cancelled while running.
    Cancelled,
    /// Its lease ran out: counts against the failure budget.
    LeaseExpired,
    /// The process died while it ran. Counts only if it ran as a suspect, alone among suspects.
    Crashed,
    /// Nothing to do any more.
    Discarded,
    /// Given up by the handler.
    DeadLettered,
}

impl Outcome {
    /// The word in JSON, metrics and filters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Snoozed => "snoozed",
            Self::Interrupted => "interrupted",
            Self::Cancelled => "cancelled",
            Self::LeaseExpired => "lease_expired",
            Self::Crashed => "crashed",
            Self::Discarded => "discarded",
            Self::DeadLettered => "dead_lettered",
        }
    }
}

/// What went wrong in an attempt, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// Type or class of the error, such as `Declined`; at most 256 bytes, cut beyond.
    pub error_type: String,
    /// The error with its chain of causes; at most 4 KiB, cut beyond.
    pub text: String,
}

/// What is noted about a message that took the place of a dead letter.
#[must_use]
pub fn note_of_replaced(id: MessageId, reason: DeadReason, failure: Option<&Failure>) -> String {
    let mut note = format!("replaces dead letter {id} ({})", reason.as_str());
    if let Some(Failure { error_type, text }) = failure {
        let room = ERROR_SIZE_MAX.saturating_sub(note.len() + error_type.len() + 4);
        let end = (0..=room.min(text.len()))
            .rev()
            .find(|end| text.is_char_boundary(*end));
        let text = text.get(..end.unwrap_or(0)).unwrap_or_default();
        note.push_str(&format!(": {error_type}: {text}"));
    }
    note
}

/// One attempt in a message's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Which delivery it was.
    pub delivery: u32,
    /// When it ended.
    pub ended: Timestamp,
    /// How it ended.
    pub outcome: Outcome,
    /// What went wrong, if something did.
    pub failure: Option<Failure>,
}

/// A change of one message by a user, in its history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// When.
    pub at: Timestamp,
    /// Who, in their own words; empty if they did not say. At most [`crate::limits::ACTOR_SIZE_MAX`] bytes.
    pub by: String,
    /// What.
    pub what: EditKind,
}

/// What a user did to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EditKind {
    /// Cancelled it, or asked its handler to stop.
    Cancel,
    /// Set it aside.
    Hold {
        /// Under this label.
        label: Label,
    },
    /// Let it go on.
    Release {
        /// It was held under this label.
        label: Label,
    },
    /// Made it due at once.
    RunNow,
    /// Gave it another due time.
    Reschedule {
        /// This one; zero is at once.
        due: Timestamp,
    },
    /// Gave it another priority.
    SetPriority {
        /// The one before.
        from: Priority,
        /// The one from then on.
        to: Priority,
    },
    /// Put it into another queue.
    Move {
        /// The one before.
        from: QueueName,
        /// The one from then on.
        to: QueueName,
    },
    /// Brought it back from the dead.
    Replay {
        /// With another payload.
        edited: bool,
    },
}

impl EditKind {
    /// The word in JSON and logs.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Hold { .. } => "hold",
            Self::Release { .. } => "release",
            Self::RunNow => "run-now",
            Self::Reschedule { .. } => "reschedule",
            Self::SetPriority { .. } => "set-priority",
            Self::Move { .. } => "move",
            Self::Replay { .. } => "replay",
        }
    }

    /// Bytes of the names in it.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Hold { label } | Self::Release { label } => label.as_str().len(),
            Self::Move { from, to } => from.as_str().len() + to.as_str().len(),
            Self::Cancel
            | Self::RunNow
            | Self::Reschedule { .. }
            | Self::SetPriority { .. }
            | Self::Replay { .. } => 0,
        }
    }
}

/// Something in a message's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened<'a> {
    /// An attempt ended.
    Attempt(&'a Attempt),
    /// A user changed it.
    Edit(&'a Edit),
}

impl Happened<'_> {
    /// When.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        match self {
            Self::Attempt(attempt) => attempt.ended,
            Self::Edit(edit) => edit.at,
        }
    }
}

impl Tail {
    /// The last attempts and changes by users, oldest first.
    #[must_use]
    pub fn timeline(&self) -> Vec<Happened<'_>> {
        let attempts = self.history.iter().map(Happened::Attempt);
        let edits = self.edits.iter().map(Happened::Edit);
        let mut timeline: Vec<_> = attempts.chain(edits).collect();
        timeline.sort_by_key(Happened::at);
        timeline
    }

    /// Adds a change by a user; the oldest beyond [`crate::limits::EDITS_LEN_MAX`] are forgotten.
    pub(crate) fn note_edit(&mut self, edit: Edit) {
        self.edits.push(edit);
        let surplus = self
            .edits
            .len()
            .saturating_sub(crate::limits::EDITS_LEN_MAX);
        self.edits.drain(..surplus);
    }

    /// What went wrong last.
    #[must_use]
    pub fn last_failure(&self) -> Option<&Failure> {
        let attempts = self.history.iter().rev();
        attempts
            .filter_map(|attempt| attempt.failure.as_ref())
            .next()
    }
}

/// Everything about a message that changes after its enqueue, except state, place and payload.
///
/// One tail record supersedes the former one, so it is always whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Failures against the budget.
    pub failures: u32,
    /// Crashes in solo runs.
    pub crashes: u32,
    /// Snoozes.
    pub snoozes: u32,
    /// Interruptions.
    pub interruptions: u32,
    /// Replays out of the dead letters.
    pub replays: u32,
    /// The last attempts, oldest first, at most [`crate::limits::HISTORY_LEN_MAX`].
    pub history: Vec<Attempt>,
    /// What the handler saved to go on from.
    pub checkpoint: Option<Bytes>,
    /// What the handler returned, if results are kept.
    pub result: Option<Bytes>,
    /// A user asked the running handler to stop.
    pub cancel_requested: bool,
    /// A remark of a handler or user, such as "ask the customer".
    pub note: Option<String>,
    /// The last changes by users, oldest first, at most [`crate::limits::EDITS_LEN_MAX`].
    pub edits: Vec<Edit>,
}
