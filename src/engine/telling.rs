//! From facts of the journal to what people are told: derived from what a message was before and after, logged and given to
//! listeners when it is durable.
//!
//! Invariants: what is told decides nothing; while nobody wants to know, one look at two counters is all it costs. Payloads
//! are never told.

use std::sync::Arc;

use mq_core::command::{Accepted, Settle, Settlement};
use mq_core::event::{Changed, Event as Fact, LeaseAfter};
use mq_core::id::Seq;
use mq_core::manager::{Glimpse, QueueManager};
use mq_core::state::{Completion, Failure, Outcome, StoredState};
use mq_core::telemetry::message;
use mq_core::time::Timestamp;
use tracing::Level;

use super::sight::Sight;
use crate::events::{Event, MessageEvent, What};

/// What somebody wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Nothing.
    None,
    /// What went wrong.
    Trouble,
    /// Everything.
    All,
}

/// Why a message may leave the store, which its last fact does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Nobody's command, or one that says it all.
    #[default]
    Plain,
    /// Its handler ended like this.
    Settled(Seq, Leaving),
    /// Another message takes its place.
    Enqueue,
}

/// How a settlement lets a message leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// It is done.
    Succeeded,
    /// There was nothing to do.
    Discarded,
    /// Only what was cancelled leaves by anything else.
    Cancelled,
}

impl Cause {
    /// The cause of what a settlement does.
    pub(crate) const fn of(settle: &Settle) -> Self {
        let leaving = match settle.settlement {
            Settlement::Succeed { .. } => Leaving::Succeeded,
            Settlement::Discard { .. } => Leaving::Discarded,
            Settlement::Fail { .. }
            | Settlement::Snooze { .. }
            | Settlement::Again { .. }
            | Settlement::SetAside { .. }
            | Settlement::Interrupt
            | Settlement::DeadLetter { .. }
            | Settlement::Cancel => Leaving::Cancelled,
        };
        Self::Settled(settle.token.id.seq(), leaving)
    }
}

impl Sight {
    /// What somebody wants to know now.
    pub(crate) fn interest(&self) -> Interest {
        let wants_all = tracing::enabled!(target: message::TARGET, Level::DEBUG);
        if !self.taps.is_empty() || wants_all {
            Interest::All
        } else if tracing::enabled!(target: message::TARGET, Level::ERROR) {
            Interest::Trouble
        } else {
            Interest::None
        }
    }

    /// Logs what happened and gives it to whoever listens. It is durable.
    pub(crate) fn tell(&self, events: &[Event]) {
        events.iter().for_each(log);
        if !self.taps.is_empty() {
            self.taps.put(events);
        }
    }
}

/// What was told of the message before a fact, if that is wanted.
pub(crate) fn before(interest: Interest, manager: &QueueManager, fact: &Fact) -> Option<Glimpse> {
    let seq = match fact {
        Fact::Changed(changed) => changed.seq,
        Fact::CheckedOut { seq, .. } | Fact::Returned { seq, .. } | Fact::Finished { seq } => *seq,
        Fact::Opened { .. }
        | Fact::Closed
        | Fact::QueueDefined { .. }
        | Fact::KindDefined { .. }
        | Fact::QueueSet { .. }
        | Fact::KindSet { .. }
        | Fact::Schedule(_)
        | Fact::Bulk(_)
        | Fact::Enqueued(_) => return None,
    };
    let is_wanted = match interest {
        Interest::None => false,
        Interest::Trouble => matches!(fact, Fact::Changed(_)),
        Interest::All => true,
    };
    if is_wanted {
        manager.glimpse(seq)
    } else {
        None
    }
}

/// What a fact means, after it was applied.
pub(crate) fn told(
    interest: Interest,
    manager: &QueueManager,
    before: Option<Glimpse>,
    fact: &Fact,
    cause: Cause,
) -> Option<Event> {
    if interest == Interest::None {
        return None;
    }
    match fact {
        Fact::Enqueued(new) if interest == Interest::All => {
            let glimpse = manager.glimpse(new.seq)?;
            let what = match &new.state {
                StoredState::Held { label, .. } => What::Held {
                    label: label.clone(),
                },
                StoredState::Pending { due } => What::Enqueued { due: some(*due) },
                StoredState::Completed { .. }
                | StoredState::Dead { .. }
                | StoredState::Superseded { .. } => What::Enqueued { due: None },
            };
            Some(event(glimpse, what))
        }
        Fact::CheckedOut { .. } => Some(event(before?, What::Started)),
        Fact::Returned { .. } => Some(event(before?, What::GivenBack)),
        Fact::Changed(changed) => {
            let before = before?;
            let what = changed_to(&before, changed)?;
            Some(event(before, what))
        }
        Fact::Finished { .. } => {
            let before = before?;
            let what = left(&before, cause);
            Some(event(before, what))
        }
        Fact::QueueSet { queue, settings } => Some(Event::QueueSet {
            queue: manager.queue_name(*queue)?.clone(),
            settings: settings.clone(),
        }),
        Fact::Enqueued(_)
        | Fact::Opened { .. }
        | Fact::Closed
        | Fact::QueueDefined { .. }
        | Fact::KindDefined { .. }
        | Fact::KindSet { .. }
        | Fact::Schedule(_)
        | Fact::Bulk(_) => None,
    }
}

/// Duplicates among what an enqueue was answered.
pub(crate) fn duplicates(manager: &QueueManager, accepted: &[Accepted]) -> Vec<Event> {
    use mq_core::command::Enqueue;
    let duplicates = accepted.iter().filter(|accepted| match accepted.enqueue {
        Enqueue::Existing | Enqueue::Discarded => true,
        Enqueue::New | Enqueue::Replaced { .. } => false,
    });
    let known = duplicates.filter_map(|accepted| manager.glimpse(accepted.id.seq()));
    known
        .map(|glimpse| event(glimpse, What::Deduplicated))
        .collect()
}

/// An effect that tells.
pub(crate) fn effect(sight: &Arc<Sight>, events: Vec<Event>) -> super::effects::Effect {
    let sight = Arc::clone(sight);
    super::effects::Effect::Answer(Box::new(move |stopped| {
        if stopped.is_none() {
            sight.tell(&events);
        }
    }))
}

fn event(glimpse: Glimpse, what: What) -> Event {
    Event::Message(MessageEvent {
        id: glimpse.id,
        queue: glimpse.queue,
        kind: glimpse.kind,
        attempt: glimpse.attempt,
        what,
    })
}

fn some(due: Timestamp) -> Option<Timestamp> {
    (due != Timestamp::from_ms(0)).then_some(due)
}

/// What a change means, by what the message was before.
fn changed_to(before: &Glimpse, changed: &Changed) -> Option<What> {
    use mq_core::view::StateKind;
    let was_out = matches!(before.state, StateKind::Leased | StateKind::Superseded);
    let last = changed.tail.history.last();
    Some(match &changed.state {
        StoredState::Dead { reason, .. } => What::Dead {
            reason: *reason,
            failure: last.and_then(|last| last.failure.clone()),
        },
        StoredState::Completed { how, .. } => match how {
            Completion::Succeeded => What::Succeeded,
            Completion::Discarded => What::Discarded,
            Completion::Cancelled => What::Cancelled,
        },
        StoredState::Held { label, .. } => What::Held {
            label: label.clone(),
        },
        StoredState::Superseded { .. } => What::Superseded,
        StoredState::Pending { due } if was_out && changed.lease == LeaseAfter::Ended => {
            let due = some(*due);
            let last = last.filter(|last| last.delivery == before.deliveries)?;
            match last.outcome {
                Outcome::Failed | Outcome::DeadLettered => What::RetryScheduled {
                    due,
                    failure: last.failure.clone(),
                },
                Outcome::Snoozed => What::Snoozed { due },
                Outcome::Interrupted => What::Interrupted,
                Outcome::LeaseExpired => What::LeaseExpired { due },
                Outcome::Crashed => What::Crashed,
                // Its handler succeeded and has it processed again.
                Outcome::Succeeded | Outcome::Cancelled | Outcome::Discarded => What::Changed,
            }
        }
        StoredState::Pending { .. } => match before.state {
            StateKind::Dead => What::Replayed,
            StateKind::Held => What::Released,
            StateKind::Leased if changed.tail.cancel_requested => What::CancelRequested,
            StateKind::Scheduled
            | StateKind::Ready
            | StateKind::Blocked
            | StateKind::Leased
            | StateKind::Completed
            | StateKind::Superseded => What::Changed,
        },
    })
}

/// How a message left the store.
fn left(before: &Glimpse, cause: Cause) -> What {
    use mq_core::view::StateKind;
    match (before.state, cause) {
        (StateKind::Completed | StateKind::Dead | StateKind::Held | StateKind::Superseded, _) => {
            What::Removed
        }
        (_, Cause::Enqueue) => What::Superseded,
        // Another one than was settled: what was staged with that takes its place.
        (_, Cause::Settled(seq, _)) if seq != before.id.seq() => What::Superseded,
        (StateKind::Leased, Cause::Settled(_, Leaving::Succeeded)) => What::Succeeded,
        (StateKind::Leased, Cause::Settled(_, Leaving::Discarded)) => What::Discarded,
        (
            StateKind::Scheduled | StateKind::Ready | StateKind::Blocked | StateKind::Leased,
            Cause::Plain | Cause::Settled(..),
        ) => What::Cancelled,
    }
}

/// Writes one line, with the fields that every event of a message has.
macro_rules! line {
    ($level:ident, $name:expr, $event:expr, $text:literal $(, $field:ident = $value:expr)*) => {
        tracing::event!(
            name: $name,
            target: message::TARGET,
            Level::$level,
            message_id = %$event.id,
            queue = %$event.queue,
            kind = %$event.kind,
            attempt = $event.attempt,
            $($field = $value,)*
            $text
        )
    };
}

fn log(event: &Event) {
    let Event::Message(event) = event else {
        return log_queue(event);
    };
    match &event.what {
        What::Enqueued { .. } => line!(DEBUG, message::ENQUEUED, event, "a message was enqueued"),
        What::Deduplicated => {
            line!(
                DEBUG,
                message::DEDUPLICATED,
                event,
                "a duplicate was not enqueued"
            );
        }
        What::Started => line!(
            DEBUG,
            message::CHECKED_OUT,
            event,
            "a message was handed out"
        ),
        What::Succeeded => acked(event, "succeeded"),
        What::Discarded => acked(event, "discarded"),
        What::Cancelled => acked(event, "cancelled"),
        What::RetryScheduled { failure, .. } => tried_again(event, "failed", failure.as_ref()),
        What::Snoozed { .. } => requeued(event, "snoozed"),
        What::Interrupted => requeued(event, "interrupted"),
        What::GivenBack => requeued(event, "given_back"),
        What::Crashed => tried_again(event, "crashed", None),
        What::LeaseExpired { .. } => {
            let outcome = "lease_expired";
            line!(
                WARN,
                message::LEASE_EXPIRED,
                event,
                "a lease ran out",
                outcome = outcome
            );
        }
        What::Dead { reason, failure } => dead(event, reason.as_str(), failure.as_ref()),
        What::Replayed => line!(DEBUG, message::REPLAYED, event, "a dead letter came back"),
        What::Held { .. } => changed(event, "held"),
        What::Released => changed(event, "released"),
        What::CancelRequested => changed(event, "cancel_requested"),
        What::Superseded => changed(event, "superseded"),
        What::Changed => changed(event, "changed"),
        What::Removed => changed(event, "removed"),
    }
}

fn acked(event: &MessageEvent, outcome: &str) {
    line!(
        DEBUG,
        message::ACKED,
        event,
        "a message is over",
        outcome = outcome
    );
}

fn requeued(event: &MessageEvent, outcome: &str) {
    line!(
        DEBUG,
        message::REQUEUED,
        event,
        "a message waits again",
        outcome = outcome
    );
}

fn tried_again(event: &MessageEvent, outcome: &str, failure: Option<&Failure>) {
    let class = failure.map(|failure| failure.error_type.as_str());
    line!(
        WARN,
        message::REQUEUED,
        event,
        "a message is tried again",
        outcome = outcome,
        error_type = class
    );
}

fn dead(event: &MessageEvent, reason: &str, failure: Option<&Failure>) {
    let class = failure.map(|failure| failure.error_type.as_str());
    line!(
        ERROR,
        message::DEAD,
        event,
        "a message is a dead letter",
        outcome = reason,
        error_type = class
    );
}

fn changed(event: &MessageEvent, outcome: &str) {
    line!(
        DEBUG,
        message::CHANGED,
        event,
        "a message was changed",
        outcome = outcome
    );
}

fn log_queue(event: &Event) {
    match event {
        Event::QueueSet { queue, settings } => {
            let paused = settings.paused;
            tracing::info!(target: message::TARGET, %queue, paused, ?settings, "a queue was set");
        }
        Event::Message(_) | Event::Gap { .. } => {}
    }
}
