//! The known mistakes of the desk, for builds that have them on purpose: see [`mq_core::canary`]. In every other build all of
//! it is compiled out.

use mq_core::canary;
use mq_core::event::{Changed, Event};
use mq_core::state::StoredState;

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
        | Event::Schedule(_)
        | Event::Bulk(_) => false,
    }
}
