//! The known mistakes of the desk, for builds that have them on purpose: see [`mq_core::canary`]. In every other build all of
//! it is compiled out.

use mq_core::canary;
use mq_core::event::{Changed, Event};
use mq_core::id::MessageId;
use mq_core::state::StoredState;
use mq_core::view::Lookup;

use crate::engine::effects::{Effect, Needs};

/// Effects that a known mistake lets leave too early.
pub(super) fn misjudged(needs: Needs, effect: &Effect) -> Needs {
    let early = match effect {
        Effect::Enqueue(_, Ok(accepted)) => {
            let existing = accepted.iter().all(|accepted| !accepted.is_new());
            canary::sings("answer-before-the-sync")
                || (existing && canary::sings("duplicate-answered-early"))
        }
        Effect::Enqueue(_, Err(_)) => canary::sings("refusal-answered-early"),
        Effect::Answer(_) => canary::sings("operator-answered-early"),
        Effect::Settle(..) | Effect::Hand(..) => false,
    };
    if early { Needs::Write } else { needs }
}

/// Events that a known mistake does not journal.
pub(super) fn is_forgotten(event: &Event) -> bool {
    let is_dead = |changed: &Changed| matches!(changed.state, StoredState::Dead { .. });
    match event {
        Event::Changed(changed) if is_dead(changed) => canary::sings("dead-letter-not-journalled"),
        Event::Changed(changed) if changed.tail.checkpoint.is_some() => {
            canary::sings("checkpoint-not-journalled")
        }
        Event::Changed(_) => canary::sings("retry-not-journalled"),
        Event::CheckedOut { .. } => canary::sings("attempt-not-journalled"),
        Event::Opened { .. } => canary::sings("opening-not-journalled"),
        Event::QueueSet { .. } => canary::sings("pause-not-journalled"),
        Event::Enqueued(_)
        | Event::Finished { .. }
        | Event::Returned { .. }
        | Event::Closed
        | Event::QueueDefined { .. }
        | Event::KindDefined { .. }
        | Event::KindSet { .. }
        | Event::Schedule(_)
        | Event::Bulk(_) => false,
    }
}

/// What a look-up is answered with; a known mistake remembers the last answer.
#[cfg(not(mq_canary))]
pub(crate) const fn as_answered(_id: MessageId, found: Lookup) -> Lookup {
    found
}

/// What a look-up is answered with; a known mistake remembers the last answer.
#[cfg(mq_canary)]
pub(crate) fn as_answered(id: MessageId, found: Lookup) -> Lookup {
    type Answers = std::collections::HashMap<MessageId, Lookup>;
    static BEFORE: parking_lot::Mutex<Option<Answers>> = parking_lot::Mutex::new(None);
    if !canary::sings("look-from-before") {
        return found;
    }
    let mut before = BEFORE.lock();
    let before = before.get_or_insert_default();
    before.insert(id, found.clone()).unwrap_or(found)
}

/// A known mistake: what waits for no frame at all is made effective at once.
pub(super) fn releases_early() -> bool {
    canary::sings("handed-out-before-the-sync") || canary::sings("successor-before-the-sync")
}

/// Events that a known mistake journals a frame later than what they follow from.
#[cfg(mq_canary)]
#[derive(Debug, Default)]
pub(super) struct Late {
    events: Vec<Event>,
    follows: bool,
}

#[cfg(mq_canary)]
impl Late {
    /// Keeps an event for the next frame, if that is the mistake to be made.
    pub(super) fn keeps(&mut self, event: &Event) -> bool {
        let comes_again = |changed: &Changed| {
            let pending = matches!(changed.state, StoredState::Pending { .. });
            pending && changed.lease == mq_core::event::LeaseAfter::Ended
        };
        let keeps = match event {
            Event::Changed(changed) if comes_again(changed) => {
                canary::sings("requeue-as-two-records")
            }
            Event::Enqueued(_) => self.follows && canary::sings("staged-as-two-records"),
            _ => false,
        };
        self.follows |= matches!(event, Event::Finished { .. });
        if keeps {
            self.events.push(event.clone());
        }
        keeps
    }

    /// The events of a command are appended.
    pub(super) fn end_of_command(&mut self) {
        self.follows = false;
    }

    /// What belongs into the frame that begins.
    pub(super) fn take(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}

/// Nothing is journalled later than it should be.
#[cfg(not(mq_canary))]
#[derive(Debug, Default)]
pub(super) struct Late;

#[cfg(not(mq_canary))]
impl Late {
    /// Never.
    #[expect(
        clippy::unused_self,
        reason = "the build with mistakes has a list here"
    )]
    pub(super) const fn keeps(&self, _event: &Event) -> bool {
        false
    }

    /// Nothing to forget.
    #[expect(
        clippy::unused_self,
        reason = "the build with mistakes has a list here"
    )]
    pub(super) const fn end_of_command(&self) {}

    /// Nothing.
    #[expect(
        clippy::unused_self,
        reason = "the build with mistakes has a list here"
    )]
    pub(super) const fn take(&self) -> Vec<Event> {
        Vec::new()
    }
}
