//! What is left for a run of `mq work`: whether anything still has to be waited for, and what stays where it is.
//!
//! Waited for is what is ready or leased, and what is scheduled after an attempt (in back-off or snoozed). A message
//! that was enqueued for later, is held, is blocked by one of these, or stands in a paused queue, stays.

use mq_core::backend::Backend;
use mq_core::id::Seq;
use mq_core::name::{KindName, QueueName};
use mq_core::view::{Filter, MessageView, QueueStats, StateKind, Stats};

use crate::exit::Result;
use crate::listing;

/// The messages a run is about.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    /// Of this queue.
    pub(crate) queue: QueueName,
    /// Of this kind; of all if none.
    pub(crate) kind: Option<KindName>,
}

impl Scope {
    /// Whether nothing is left to wait for.
    ///
    /// A message that moves from back-off to ready while the one is looked through and the other counted could be seen
    /// in neither. So the count is repeated: if nothing was handed out in between, nothing moved on unseen.
    ///
    /// # Errors
    /// When the store stops.
    pub(crate) fn is_empty(&self, backend: &dyn Backend) -> Result<bool> {
        let before = backend.stats();
        if self.is_busy(backend, &before)? || self.is_retrying(backend)? {
            return Ok(false);
        }
        let after = backend.stats();
        Ok(before.checked_out == after.checked_out && !self.is_busy(backend, &after)?)
    }

    /// Dead letters of the queue.
    pub(crate) fn dead(&self, backend: &dyn Backend) -> u64 {
        count(&self.of_queue(&backend.stats()), StateKind::Dead)
    }

    /// What stays in the queue, in words; nothing if it is empty.
    pub(crate) fn what_stays(&self, backend: &dyn Backend) -> Option<String> {
        let queue = self.of_queue(&backend.stats());
        let ready = if queue.paused { "paused" } else { "ready" };
        let words = [
            (StateKind::Ready, ready),
            (StateKind::Scheduled, "scheduled"),
            (StateKind::Blocked, "blocked"),
            (StateKind::Held, "held"),
        ];
        let parts = words.map(|(state, word)| (count(&queue, state), word));
        let parts: Vec<String> = parts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    fn is_busy(&self, backend: &dyn Backend, stats: &Stats) -> Result<bool> {
        let queue = self.of_queue(stats);
        Ok(self.has(backend, &queue, StateKind::Leased)?
            || (!queue.paused && self.has(backend, &queue, StateKind::Ready)?))
    }

    /// The counts are by queue; whether one of the kind is among them takes a look at the messages.
    fn has(&self, backend: &dyn Backend, queue: &QueueStats, state: StateKind) -> Result<bool> {
        if count(queue, state) == 0 || self.kind.is_none() {
            return Ok(count(queue, state) > 0);
        }
        self.any(backend, state, |_| true)
    }

    fn is_retrying(&self, backend: &dyn Backend) -> Result<bool> {
        self.any(backend, StateKind::Scheduled, |view| view.deliveries > 0)
    }

    fn any(
        &self,
        backend: &dyn Backend,
        state: StateKind,
        is: impl Fn(&MessageView) -> bool,
    ) -> Result<bool> {
        let filter = Filter {
            queue: Some(self.queue.clone()),
            kind: self.kind.clone(),
            state: Some(state),
            reason: None,
            ..Filter::default()
        };
        listing::walk(backend, &filter, Seq::NONE, |view| Ok(!is(view)))
    }

    fn of_queue(&self, stats: &Stats) -> QueueStats {
        let queue = stats.queues.iter().find(|(name, _)| *name == self.queue);
        queue.map(|(_, queue)| queue.clone()).unwrap_or_default()
    }
}

fn count(queue: &QueueStats, state: StateKind) -> u64 {
    let counts = StateKind::ALL.into_iter().zip(queue.by_state);
    counts
        .filter(|(known, _)| *known == state)
        .map(|(_, count)| count)
        .sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use mq_core::backend::WhenFull;
    use mq_core::message::{Due, NewMessage};

    use super::*;

    struct Case {
        engine: mq::Engine,
        backend: Arc<dyn Backend>,
    }

    impl Case {
        fn new() -> Case {
            let engine = mq::Engine::in_memory().open_wait().unwrap();
            let backend = engine.backend();
            Case { engine, backend }
        }

        fn enqueue(&self, kind: &str, due: Due) {
            let mut message =
                NewMessage::new("q".parse().unwrap(), kind.parse().unwrap(), "1".into());
            message.due = due;
            let pending = self.backend.enqueue(vec![message], WhenFull::Refuse);
            pending.wait().unwrap().unwrap();
        }

        fn is_empty(&self, kind: Option<&str>) -> bool {
            scope(kind).is_empty(self.backend.as_ref()).unwrap()
        }

        fn stays(&self) -> Option<String> {
            scope(None).what_stays(self.backend.as_ref())
        }
    }

    impl Drop for Case {
        fn drop(&mut self) {
            self.engine.close_wait().unwrap();
        }
    }

    fn scope(kind: Option<&str>) -> Scope {
        Scope {
            queue: "q".parse().unwrap(),
            kind: kind.map(|kind| kind.parse().unwrap()),
        }
    }

    #[test]
    fn what_is_ready_is_waited_for_if_it_is_of_the_kind() {
        let case = Case::new();
        assert!(case.is_empty(None) && case.stays().is_none());
        case.enqueue("a", Due::Now);
        assert!(!case.is_empty(None) && !case.is_empty(Some("a")));
        assert!(case.is_empty(Some("b")));
    }

    #[test]
    fn a_paused_queue_is_not_waited_for() {
        let case = Case::new();
        case.enqueue("a", Due::Now);
        case.backend
            .pause_queue("q".parse().unwrap(), true)
            .wait()
            .unwrap()
            .unwrap();
        assert!(case.is_empty(None) && case.is_empty(Some("a")));
        assert_eq!(case.stays().unwrap(), "1 paused");
    }

    #[test]
    fn what_was_enqueued_for_later_stays() {
        let case = Case::new();
        case.enqueue("a", Due::After(Duration::from_secs(3_600)));
        assert!(case.is_empty(None));
        assert_eq!(case.stays().unwrap(), "1 scheduled");
    }
}
