//! Which messages are meant: conditions on the facts that the rules know. What stands in payloads is not among them.

use crate::index::TermRange;
use crate::key::KeyHash;
use crate::message::Priority;
use crate::name::{KindName, Label, QueueName};
use crate::state::DeadReason;
use crate::time::Timestamp;
use crate::view::StateKind;

use crate::id::Seq;

/// Which messages a page shows or a bulk job changes. Every condition that is set must hold; none set is every message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this queue.
    pub queue: Option<QueueName>,
    /// Of this kind.
    pub kind: Option<KindName>,
    /// In this state.
    pub state: Option<StateKind>,
    /// Not over: scheduled, ready, blocked, leased or held.
    pub live: bool,
    /// Scheduled for another attempt after a failed one.
    pub retrying: bool,
    /// Dead for this reason.
    pub reason: Option<DeadReason>,
    /// The last of its attempts that failed did so with this type of error.
    pub error_type: Option<String>,
    /// Held under this label.
    pub label: Option<Label>,
    /// Of this urgency.
    pub priority: Option<Priority>,
    /// With this key. Live messages are found through the table of keys, others by looking at all.
    pub key: Option<KeyIs>,
    /// Enqueued at this moment or later.
    pub from: Option<Timestamp>,
    /// Enqueued before this moment.
    pub before: Option<Timestamp>,
    /// Dead since before this moment; or, if it is not dead, enqueued before it.
    pub older: Option<Timestamp>,
    /// Values of indexed fields that can match, a range for each field at most. A message without a term for a field
    /// passes: whoever reads its payload decides.
    pub terms: Vec<TermRange>,
    /// Enqueued as this one or earlier.
    pub last: Option<Seq>,
}

/// A key to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyIs {
    /// Idempotency key, within its window.
    Idempotency(KeyHash),
    /// Dedup key, whether the message holds it now or not.
    Dedup(KeyHash),
    /// Ordering key.
    Ordering(KeyHash),
}

impl Filter {
    /// Whether only messages that are not over can match.
    #[must_use]
    pub const fn is_live_only(&self) -> bool {
        let live = match self.state {
            Some(state) => state.is_live(),
            None => false,
        };
        self.live || self.retrying || self.label.is_some() || live
    }

    /// Whether only dead letters can match.
    #[must_use]
    pub const fn is_dead_only(&self) -> bool {
        matches!(self.state, Some(StateKind::Dead)) || self.reason.is_some()
    }
}
