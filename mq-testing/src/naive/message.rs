//! One message of the naive model.

use std::time::Duration;

use bytes::Bytes;
use mq_core::id::{LeaseToken, MessageId, PoolId, Seq};
use mq_core::key::KeyHash;
use mq_core::limits::{ERROR_SIZE_MAX, ERROR_TYPE_SIZE_MAX, HISTORY_LEN_MAX};
use mq_core::message::Priority;
use mq_core::name::{KindName, Label, QueueName};
use mq_core::retry::RetryPolicy;
use mq_core::state::{Attempt, Completion, Failure, Outcome, StoredState, Tail};
use mq_core::time::{Monotonic, Now, StoreTime, Timestamp};

/// Who holds a message.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    pub(super) token: LeaseToken,
    pub(super) pool: PoolId,
    pub(super) ends: Monotonic,
    pub(super) retry: RetryPolicy,
    /// It runs as the one suspect.
    pub(super) solo: bool,
    pub(super) reserved_messages: u64,
    pub(super) reserved_bytes: u64,
}

/// A message and all its facts.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) id: MessageId,
    pub(super) enqueued: Timestamp,
    pub(super) queue: QueueName,
    pub(super) kind: KindName,
    pub(super) priority: Priority,
    pub(super) order: u64,
    pub(super) joined: Timestamp,
    pub(super) stored: StoredState,
    pub(super) superseded_by: Option<MessageId>,
    /// The wall clock has reached its due time since that was set.
    pub(super) is_due: bool,
    pub(super) lease: Option<Lease>,
    pub(super) suspect: bool,
    /// A handler started it.
    pub(super) started: bool,
    pub(super) deliveries: u32,
    pub(super) expires: Option<StoreTime>,
    pub(super) dedup: Option<KeyHash>,
    pub(super) behind: Option<Seq>,
    pub(super) ordering: Option<KeyHash>,
    pub(super) halt_on_dead: bool,
    pub(super) payload: KeyHash,
    pub(super) failures_max: Option<u32>,
    pub(super) retain: Option<Duration>,
    pub(super) size: u32,
    pub(super) tail: Tail,
}

impl Message {
    pub(super) const fn seq(&self) -> Seq {
        self.id.seq()
    }

    pub(super) const fn is_pending(&self) -> bool {
        matches!(self.stored, StoredState::Pending { .. })
    }

    pub(super) const fn is_held(&self) -> bool {
        matches!(self.stored, StoredState::Held { .. })
    }

    pub(super) const fn is_dead(&self) -> bool {
        matches!(self.stored, StoredState::Dead { .. })
    }

    pub(super) const fn is_completed(&self) -> bool {
        matches!(self.stored, StoredState::Completed { .. })
    }

    /// Its handler succeeded, and it is kept.
    pub(super) const fn has_succeeded(&self) -> bool {
        matches!(
            self.stored,
            StoredState::Completed {
                how: Completion::Succeeded,
                ..
            }
        )
    }

    pub(super) const fn is_superseded(&self) -> bool {
        matches!(self.stored, StoredState::Superseded { .. })
    }

    /// Scheduled, ready, blocked, leased or held.
    pub(super) const fn is_live(&self) -> bool {
        self.is_pending() || self.is_held()
    }

    /// Pending and with nobody.
    pub(super) const fn is_waiting(&self) -> bool {
        self.is_pending() && self.lease.is_none()
    }

    /// Stands in the chain of its ordering key, if it has one.
    pub(super) const fn is_in_chain(&self) -> bool {
        self.is_live() || self.is_superseded() || (self.is_dead() && self.halt_on_dead)
    }

    /// Makes it wait until `due`; zero is at once.
    pub(super) fn wait_until(&mut self, now: &Now, due: Timestamp) {
        self.stored = StoredState::Pending { due };
        self.is_due = due <= now.wall;
    }

    /// Makes it wait until `due` and join the line then.
    pub(super) fn join_again(&mut self, now: &Now, due: Timestamp) {
        self.joined = due;
        let is_late = due > now.wall;
        self.wait_until(now, if is_late { due } else { Timestamp::from_ms(0) });
    }

    /// Makes it wait until `due` as if nothing had happened to it.
    pub(super) fn begin_again(&mut self, now: &Now, due: Timestamp) {
        self.tail.failures = 0;
        self.tail.crashes = 0;
        self.tail.checkpoint = None;
        self.join_again(now, due.max(now.wall));
    }

    /// Holds it under a label, which counts as a snooze.
    pub(super) fn set_aside(&mut self, label: &Label) {
        self.tail.snoozes += 1;
        self.stored = StoredState::Held {
            label: label.clone(),
            due: Timestamp::from_ms(0),
        };
    }

    /// Looks at its due time again, as after every change of a waiting message.
    pub(super) fn look_again(&mut self, now: &Now) {
        if let StoredState::Pending { due } = self.stored {
            self.is_due = due <= now.wall;
        }
    }

    /// Writes down how an attempt ended.
    pub(super) fn remember(
        &mut self,
        ended: Timestamp,
        outcome: Outcome,
        failure: Option<Failure>,
    ) {
        self.started = true;
        self.tail.history.push(Attempt {
            delivery: self.deliveries,
            ended,
            outcome,
            failure: failure.map(cut),
        });
        while self.tail.history.len() > HISTORY_LEN_MAX {
            self.tail.history.remove(0);
        }
    }

    /// Bytes of its envelope and of what handlers left behind.
    pub(super) fn kept_size(&self) -> u64 {
        let len = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let failures: usize = self
            .tail
            .history
            .iter()
            .filter_map(|attempt| attempt.failure.as_ref())
            .map(|failure| failure.error_type.len() + failure.text.len())
            .sum();
        let note = self.tail.note.as_ref().map_or(0, String::len);
        let edits = self.tail.edits.iter();
        let edits: usize = edits.map(|edit| edit.by.len() + edit.what.size()).sum();
        let left = edits + failures + note + len(&self.tail.checkpoint) + len(&self.tail.result);
        u64::from(self.size) + left as u64
    }
}

fn cut(failure: Failure) -> Failure {
    Failure {
        error_type: cut_text(failure.error_type, ERROR_TYPE_SIZE_MAX),
        text: cut_text(failure.text, ERROR_SIZE_MAX),
    }
}

/// The longest prefix of at most `size_max` bytes that ends between two characters.
pub(super) fn cut_text(text: String, size_max: usize) -> String {
    let ends = text
        .char_indices()
        .map(|(at, character)| at + character.len_utf8());
    let end = ends.take_while(|end| *end <= size_max).last().unwrap_or(0);
    text.get(..end).map_or_else(String::new, str::to_owned)
}
