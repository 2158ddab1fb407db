//! What an operator sets for a queue: stored, so that it survives restarts and deploys.
//!
//! Invariant: settings concern what happens from then on. A message carries what was decided at its enqueue.

use std::time::Duration;

use crate::name::{Label, QueueName};

/// A retention without end: a message kept for this long is kept until it is purged, replaced by a newer success of its
/// dedup key, or pushed out of the budget of completed messages.
pub const FOREVER: Duration = Duration::MAX;

/// Settings of one queue. What is not set has the store's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueSettings {
    /// Nothing of it is handed out.
    pub paused: bool,
    /// New messages are held under this label, unless they are enqueued with a label of their own.
    pub hold_new: Option<Label>,
    /// New messages are kept so long after their completion (store time, whole milliseconds), unless they are enqueued
    /// with a retention of their own. [`FOREVER`] for ever.
    pub retain_completed: Option<Duration>,
    /// Live messages it takes from producers. What handlers stage and schedules send is taken beyond it.
    pub messages_max: Option<u64>,
}

/// One setting of a queue, as it is from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueChange {
    /// See [`QueueSettings::paused`].
    Pause(bool),
    /// See [`QueueSettings::hold_new`].
    HoldNew(Option<Label>),
    /// See [`QueueSettings::retain_completed`].
    RetainCompleted(Option<Duration>),
    /// See [`QueueSettings::messages_max`].
    LimitMessages(Option<u64>),
}

impl QueueSettings {
    /// These settings with one change.
    #[must_use]
    pub fn with(mut self, change: QueueChange) -> Self {
        match change {
            QueueChange::Pause(paused) => self.paused = paused,
            QueueChange::HoldNew(label) => self.hold_new = label,
            QueueChange::RetainCompleted(span) => self.retain_completed = span.map(whole),
            QueueChange::LimitMessages(limit) => self.messages_max = limit,
        }
        self
    }
}

/// Whole milliseconds; what no number of them can say is for ever.
fn whole(span: Duration) -> Duration {
    match u64::try_from(span.as_millis()) {
        Ok(ms) if ms < u64::MAX => Duration::from_millis(ms),
        Ok(_) | Err(_) => FOREVER,
    }
}

/// Change a setting of a queue; it is created if it is new.
#[derive(Clone, Debug)]
pub struct SetQueue {
    /// Which.
    pub queue: QueueName,
    /// What.
    pub change: QueueChange,
}
