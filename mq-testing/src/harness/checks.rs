//! What a test may expect of messages: of one by its id, of all of a kind.
//!
//! Invariant: every expectation that does not hold fails the test with the history of the message, or with the messages
//! that there are.

use std::fmt;

use mq::{Lookup, Message, MessageId, MessageView, decode};
use mq_core::backend::Backend;
use mq_core::state::{Completion, Failure, Outcome, State};
use mq_core::view::StateKind;
use serde::de::DeserializeOwned;

use super::ran::mentions;
use super::record::{Ended, Known};
use super::{Harness, fail};

/// Messages that a failure shows.
const SHOWN_MAX: usize = 10;

impl Harness {
    /// A message as it is now, to expect things of. Looking makes everything synced that was decided before.
    ///
    /// # Panics
    /// If this store never issued the id, or lost it.
    #[track_caller]
    #[must_use]
    pub fn message(&self, id: MessageId) -> Observed {
        let process = self.process();
        let known = self.record.lock().messages.get(&id).cloned();
        let view = match process.gate.message(id).wait() {
            Ok(Ok(Lookup::Found(view))) => Some(view),
            Ok(Ok(Lookup::SettledNotKept)) => None,
            Ok(Ok(Lookup::NeverIssued)) => fail(&format!(
                "this store never issued {id}, or lost it\n{}",
                self.inventory()
            )),
            Ok(Err(stopped)) => fail(&format!("the store does not serve any more: {stopped}")),
            Err(abandoned) => fail(&abandoned.to_string()),
        };
        Observed { id, view, known }
    }

    /// Every message of a kind that was ever seen: those in the store, in any state, and those that ran and left it; in
    /// the order of their ids.
    ///
    /// # Panics
    /// If one of them cannot be decoded.
    #[track_caller]
    #[must_use]
    pub fn enqueued<M: Message>(&self) -> Vec<M> {
        let process = self.process();
        let is_kind = |kind: &str| kind == M::KIND || M::ALIASES.contains(&kind);
        let mut ids: Vec<MessageId> = Vec::new();
        {
            let record = self.record.lock();
            let known = record.messages.iter();
            ids.extend(
                known
                    .filter(|(_, known)| is_kind(&known.kind))
                    .map(|(id, _)| *id),
            );
        }
        let stored = self.all(&process, None);
        let stored = stored
            .iter()
            .filter(|message| is_kind(message.kind.as_str()));
        ids.extend(stored.map(|message| message.id));
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().map(|id| self.decoded(id)).collect()
    }

    #[track_caller]
    fn decoded<M: Message>(&self, id: MessageId) -> M {
        let stored = self
            .process()
            .gate
            .envelope(id)
            .wait()
            .ok()
            .and_then(Result::ok);
        let seen = || {
            let record = self.record.lock();
            Some(std::sync::Arc::clone(&record.messages.get(&id)?.envelope))
        };
        let Some(envelope) = stored.flatten().or_else(seen) else {
            fail(&format!("the payload of {id} cannot be read"));
        };
        match decode(&envelope) {
            Ok(message) => message,
            Err(error) => fail(&format!(
                "#{} {} cannot be decoded: {}",
                id.seq(),
                M::KIND,
                super::process::chain(&error)
            )),
        }
    }

    /// Counts the messages of a kind for which `wanted` holds, among all that were ever seen ([`Harness::enqueued`]).
    #[track_caller]
    pub fn assert_enqueued<M: Message>(&self, wanted: impl Fn(&M) -> bool) -> Enqueued {
        let all = self.enqueued::<M>();
        let found = all.iter().filter(|message| wanted(message)).count();
        let shown = all.iter().take(SHOWN_MAX).map(|message| {
            let text = serde_json::to_string(message);
            format!("\n  {}", text.unwrap_or_else(|error| error.to_string()))
        });
        Enqueued {
            kind: M::KIND,
            found,
            of: all.len(),
            shown: shown.collect(),
        }
    }
}

/// How many messages were found; say how many there should be.
#[must_use = "say how many: `once()`, `times(n)`, `never()`"]
#[derive(Clone, Debug)]
pub struct Enqueued {
    kind: &'static str,
    found: usize,
    of: usize,
    shown: String,
}

impl Enqueued {
    /// Exactly one.
    #[track_caller]
    pub fn once(self) {
        self.times(1);
    }

    /// None.
    #[track_caller]
    pub fn never(self) {
        self.times(0);
    }

    /// Exactly so many.
    #[track_caller]
    pub fn times(self, count: usize) {
        if self.found != count {
            fail(&format!(
                "expected {count} × {} like that, found {} among {} of this kind{}",
                self.kind, self.found, self.of, self.shown
            ));
        }
    }
}

/// One message at one moment. The `assert_` methods fail the test with its history, and return it for the next one.
#[derive(Clone, Debug)]
pub struct Observed {
    id: MessageId,
    view: Option<Box<MessageView>>,
    known: Option<Known>,
}

impl Observed {
    /// What the store knows of it; `None` if it was settled and not kept.
    #[must_use]
    pub fn view(&self) -> Option<&MessageView> {
        self.view.as_deref()
    }

    /// It is dead, and its reason, error type, error text or note contains `why`; `""` for any.
    #[track_caller]
    pub fn assert_dead(self, why: &str) -> Self {
        let expected = format!("dead, with {why:?} in its reason, error or note");
        self.check(&expected, |message| {
            let Some(view) = message.view() else {
                return false;
            };
            let State::Dead { reason } = &view.state else {
                return false;
            };
            let note = view.tail.note.as_deref().unwrap_or_default();
            reason.as_str().contains(why)
                || note.contains(why)
                || message
                    .last_failure()
                    .is_some_and(|failure| mentions(failure, why))
        })
    }

    /// Its handler succeeded, whether it is kept or not.
    #[track_caller]
    pub fn assert_succeeded(self) -> Self {
        self.assert_completed(Completion::Succeeded, Outcome::Succeeded)
    }

    /// Its handler found nothing to do any more, whether it is kept or not.
    #[track_caller]
    pub fn assert_discarded(self) -> Self {
        self.assert_completed(Completion::Discarded, Outcome::Discarded)
    }

    #[track_caller]
    fn assert_completed(self, completion: Completion, outcome: Outcome) -> Self {
        self.check(outcome.as_str(), |message| match message.view() {
            Some(view) => matches!(view.state, State::Completed { how } if how == completion),
            None => message.left_with() == Some(outcome),
        })
    }

    /// It is in this state.
    #[track_caller]
    pub fn assert_state(self, state: StateKind) -> Self {
        self.check(state.as_str(), |message| {
            message
                .view()
                .is_some_and(|view| view.state.kind() == state)
        })
    }

    /// It may be handed out.
    #[track_caller]
    pub fn assert_ready(self) -> Self {
        self.assert_state(StateKind::Ready)
    }

    /// It waits for its due time: after its enqueue, a failure or a snooze.
    #[track_caller]
    pub fn assert_scheduled(self) -> Self {
        self.assert_state(StateKind::Scheduled)
    }

    /// It is not in the store any more.
    #[track_caller]
    pub fn assert_gone(self) -> Self {
        self.check("gone from the store", |message| message.view.is_none())
    }

    /// It was handed to its handler so many times, snoozed and interrupted attempts included.
    #[track_caller]
    pub fn assert_attempts(self, attempts: u32) -> Self {
        let expected = format!("handed out {attempts} times");
        self.check(&expected, |message| message.attempts() == attempts)
    }

    /// So many of its attempts failed against its budget.
    #[track_caller]
    pub fn assert_failures(self, failures: u32) -> Self {
        self.check(&format!("failed {failures} times"), |message| {
            message
                .view()
                .is_some_and(|view| view.tail.failures == failures)
        })
    }

    /// The type or the text of its last error contains `why`.
    #[track_caller]
    pub fn assert_error(self, why: &str) -> Self {
        self.check(&format!("an error with {why:?} in it"), |message| {
            message
                .last_failure()
                .is_some_and(|failure| mentions(failure, why))
        })
    }

    /// Its handler returned this.
    #[track_caller]
    pub fn assert_result<T>(self, expected: &T) -> Self
    where
        T: DeserializeOwned + PartialEq + fmt::Debug,
    {
        let text = format!("the result {expected:?}");
        self.check(&text, |message| {
            let kept = message.view().and_then(|view| view.tail.result.clone());
            let seen = || message.last_word()?.result.clone();
            let result = kept.or_else(seen);
            let decoded = result.and_then(|bytes| serde_json::from_slice::<T>(&bytes).ok());
            decoded.as_ref() == Some(expected)
        })
    }

    fn attempts(&self) -> u32 {
        let seen = self.known.as_ref().map_or(0, |known| known.handed_out);
        self.view().map_or(seen, |view| view.deliveries)
    }

    /// How its last attempt ended, as far as the harness has seen.
    fn last_word(&self) -> Option<&Ended> {
        let known = self.known.as_ref()?;
        known.said.as_ref().or(known.last.as_ref())
    }

    fn left_with(&self) -> Option<Outcome> {
        self.last_word()?.outcome
    }

    fn last_failure(&self) -> Option<&Failure> {
        match self.view() {
            Some(view) => view.tail.history.last()?.failure.as_ref(),
            None => self.last_word()?.failure.as_ref(),
        }
    }

    #[track_caller]
    fn check(self, expected: &str, holds: impl FnOnce(&Self) -> bool) -> Self {
        if !holds(&self) {
            fail(&format!(
                "expected message #{} to be {expected}; {self}",
                self.id.seq()
            ));
        }
        self
    }
}

impl fmt::Display for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(view) = self.view() else {
            let how = self
                .left_with()
                .map_or("settled", |outcome| outcome.as_str());
            return write!(
                f,
                "it has left the store ({how}) after {} attempts",
                self.attempts()
            );
        };
        write!(f, "it is {}", view.state.kind().as_str())?;
        match &view.state {
            State::Dead { reason } => write!(f, " ({})", reason.as_str())?,
            State::Scheduled { due } => write!(f, " until {due}")?,
            State::Blocked { by } => write!(f, " by #{}", by.seq())?,
            State::Held { label } => write!(f, " as {label}")?,
            State::Ready
            | State::Leased { .. }
            | State::Completed { .. }
            | State::Superseded { .. } => {}
        }
        write!(
            f,
            " after {} attempts, {} of them failures",
            view.deliveries, view.tail.failures
        )?;
        for attempt in &view.tail.history {
            write!(
                f,
                "\n  attempt {}: {}",
                attempt.delivery,
                attempt.outcome.as_str()
            )?;
            if let Some(failure) = &attempt.failure {
                write!(f, ", {} ({})", failure.text, failure.error_type)?;
            }
        }
        match &view.tail.note {
            Some(note) => write!(f, "\n  note: {note}"),
            None => Ok(()),
        }
    }
}
