//! One attempt that has ended, and what a test may expect of it.

use std::fmt;

use mq::MessageId;
use mq_core::state::{Failure, Outcome, State};
use mq_core::view::MessageView;
use serde::de::DeserializeOwned;

use super::fail;
use super::record::{Ended, Handed};

/// How one attempt ended. The `assert_` methods fail the test with what happened instead, and return the attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// The message.
    pub id: MessageId,
    /// Its kind.
    pub kind: String,
    /// Which attempt it was: failures before it, plus one.
    pub attempt: u32,
    /// How it ended; `None` if it was given back before the handler began.
    pub outcome: Option<Outcome>,
    /// What the message was afterwards; `None` if it had left the store.
    pub state: Option<State>,
    /// What went wrong, if something did.
    pub failure: Option<Failure>,
    /// Why the store did not take the handler's answer, if it did not.
    pub refused: Option<String>,
    result: Option<bytes::Bytes>,
}

impl Ran {
    /// `None` while it runs.
    pub(super) fn of(handed: &Handed) -> Option<Self> {
        let Ended {
            outcome,
            failure,
            note: _,
            result,
            state,
            refused,
        } = handed.ended.clone()?;
        Some(Self {
            id: handed.token.id,
            kind: handed.kind.clone(),
            attempt: handed.attempt,
            outcome,
            state,
            failure,
            refused,
            result,
        })
    }

    /// As the store shows it afterwards.
    pub(super) fn of_view(view: MessageView, outcome: Outcome) -> Self {
        let went_well = outcome == Outcome::Succeeded;
        Self {
            id: view.id,
            kind: view.kind.to_string(),
            attempt: 1,
            outcome: Some(outcome),
            failure: view.tail.last_failure().filter(|_| !went_well).cloned(),
            refused: None,
            result: view.tail.result,
            state: Some(view.state),
        }
    }

    /// The handler succeeded.
    #[track_caller]
    pub fn assert_ok(self) -> Self {
        self.expect_outcome(Outcome::Succeeded)
    }

    /// The attempt failed (error, panic or time limit) and will be tried again.
    #[track_caller]
    pub fn assert_retry(self) -> Self {
        let is_dead = matches!(self.state, Some(State::Dead { .. }));
        self.check("a failed attempt that will be tried again", |ran| {
            ran.outcome == Some(Outcome::Failed) && !is_dead
        })
    }

    /// The message is dead now, for a reason, error type or error text that contains `why`; `""` for any.
    #[track_caller]
    pub fn assert_dead(self, why: &str) -> Self {
        let expected = format!("a dead message, with {why:?} in its reason or error");
        self.check(&expected, |ran| {
            let Some(State::Dead { reason }) = &ran.state else {
                return false;
            };
            let failure = ran.failure.as_ref();
            reason.as_str().contains(why) || failure.is_some_and(|failure| mentions(failure, why))
        })
    }

    /// The attempt failed, finally or not, with an error whose type or text contains `why`.
    #[track_caller]
    pub fn assert_error(self, why: &str) -> Self {
        self.check(&format!("an error with {why:?} in it"), |ran| {
            let failure = ran.failure.as_ref();
            failure.is_some_and(|failure| mentions(failure, why))
        })
    }

    /// The handler asked to be called later, at no cost.
    #[track_caller]
    pub fn assert_snoozed(self) -> Self {
        self.expect_outcome(Outcome::Snoozed)
    }

    /// The handler found nothing to do any more.
    #[track_caller]
    pub fn assert_discarded(self) -> Self {
        self.expect_outcome(Outcome::Discarded)
    }

    /// The message was cancelled while it ran, or cancelled itself.
    #[track_caller]
    pub fn assert_cancelled(self) -> Self {
        self.expect_outcome(Outcome::Cancelled)
    }

    /// The attempt was interrupted, at no cost.
    #[track_caller]
    pub fn assert_interrupted(self) -> Self {
        self.expect_outcome(Outcome::Interrupted)
    }

    /// The lease ran out before the handler had answered.
    #[track_caller]
    pub fn assert_lease_lost(self) -> Self {
        self.expect_outcome(Outcome::LeaseExpired)
    }

    /// What the handler returned.
    ///
    /// # Panics
    /// If it did not succeed, returns nothing, or returns another type.
    #[track_caller]
    #[must_use]
    pub fn result<T: DeserializeOwned>(&self) -> T {
        let Some(bytes) = &self.result else {
            fail(&format!("expected a result; {self}"));
        };
        match serde_json::from_slice(bytes) {
            Ok(value) => value,
            Err(error) => fail(&format!("the result is another type: {error}; {self}")),
        }
    }

    #[track_caller]
    fn expect_outcome(self, outcome: Outcome) -> Self {
        let expected = format!("the outcome {}", outcome.as_str());
        self.check(&expected, |ran| ran.outcome == Some(outcome))
    }

    #[track_caller]
    fn check(self, expected: &str, holds: impl FnOnce(&Self) -> bool) -> Self {
        if !holds(&self) {
            fail(&format!("expected {expected}; {self}"));
        }
        self
    }
}

/// Whether type or text of a failure contain `text`.
pub(super) fn mentions(failure: &Failure, text: &str) -> bool {
    failure.error_type.contains(text) || failure.text.contains(text)
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = self
            .outcome
            .map_or("given back", |outcome| outcome.as_str());
        write!(
            f,
            "message #{} ({}), attempt {}: {outcome}",
            self.id.seq(),
            self.kind,
            self.attempt
        )?;
        if let Some(failure) = &self.failure {
            write!(f, ", {} ({})", failure.text, failure.error_type)?;
        }
        if let Some(refused) = &self.refused {
            write!(f, ", but the store did not take that: {refused}")?;
        }
        match &self.state {
            Some(State::Dead { reason }) => write!(f, "; it is dead: {}", reason.as_str()),
            Some(state) => write!(f, "; it is {} now", state.kind().as_str()),
            None => write!(f, "; it has left the store"),
        }
    }
}
