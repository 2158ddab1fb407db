//! How a handler says anything but "done": [`Fail`], which every error becomes by `?`.
//!
//! A plain error is a failed attempt under the handler's policy. The other endings are asked for by name, so that
//! none of them happens by accident. `Fail` is no `std::error::Error` itself: that is what lets every error become one.

use std::fmt;
use std::time::Duration;

use mq_core::message::Due;
use mq_core::name::Label;
use mq_core::state::{Failure, Outcome as Ended};
use mq_core::time::Timestamp;
use tower::BoxError;

use crate::failure;
use crate::layer::AttemptError;
use crate::outgoing::Outgoing;

/// What a handler returns: `Outcome`, or `Outcome<T>` for a message whose derive says `output = T`.
pub type Outcome<T = ()> = Result<T, Fail>;

/// Why a handler did not succeed, and what is to become of its message.
#[must_use = "a handler returns it: `return Err(Fail::…)`"]
#[derive(Clone)]
pub struct Fail(Box<Ending>);

/// The parts of a [`Fail`].
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    pub(crate) verdict: Verdict,
    pub(crate) failure: Option<Failure>,
    pub(crate) note: Option<String>,
    pub(crate) staged: Vec<Outgoing>,
}

/// What is to become of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A failed attempt; the policy decides.
    Retry,
    /// A failed attempt, tried again after this delay.
    RetryIn(Duration),
    /// Later, at no cost.
    Snooze(Duration),
    /// Dead at once.
    DeadLetter,
    /// Done for this time, and again then.
    Again(Due),
    /// Set aside under this label.
    Hold(Label),
    /// Completed without work.
    Discard,
    /// Ready again at once, at no cost.
    Interrupt,
    /// Cancelled for good.
    Cancel,
}

impl Fail {
    /// Not yet: again after `delay`. Costs no attempt.
    pub fn snooze(delay: Duration) -> Self {
        Self::new(Verdict::Snooze(delay), None)
    }

    /// Not a failure: this run is done, and the same message is processed again after `delay`. It keeps its id, its
    /// history and its keys, begins with fresh budgets and without its checkpoint, and what was staged with
    /// [`crate::Ctx::stage`] is committed.
    pub fn again_in(delay: Duration) -> Self {
        Self::new(Verdict::Again(Due::After(delay)), None)
    }

    /// As [`Fail::again_in`], at a moment of the wall clock; at once if that has passed.
    pub fn again_at(moment: Timestamp) -> Self {
        Self::new(Verdict::Again(Due::At(moment)), None)
    }

    /// For people: held under `label` until somebody releases it. Costs no attempt. A label that is no valid name makes
    /// it a failed attempt.
    pub fn hold<E: Into<BoxError>>(label: &str, reason: E) -> Self {
        match Label::new(label) {
            Ok(label) => Self::new(Verdict::Hold(label), Some(describe(reason))),
            Err(error) => Self::retry(error),
        }
    }

    /// Failed: again under the handler's policy, or dead if no attempt is left. The same as `?`.
    pub fn retry<E: Into<BoxError>>(error: E) -> Self {
        Self::new(Verdict::Retry, Some(describe(error)))
    }

    /// Failed: again after `delay` instead of the policy's back-off, or dead if no attempt is left.
    pub fn retry_in<E: Into<BoxError>>(delay: Duration, error: E) -> Self {
        Self::new(Verdict::RetryIn(delay), Some(describe(error)))
    }

    /// Never: dead at once, to be looked at and replayed by people.
    pub fn dead_letter<E: Into<BoxError>>(error: E) -> Self {
        Self::new(Verdict::DeadLetter, Some(describe(error)))
    }

    /// Nothing to do any more: completed as discarded.
    pub fn discard<E: Into<BoxError>>(reason: E) -> Self {
        Self::new(Verdict::Discard, Some(describe(reason)))
    }

    /// Stopped before it was done, for a reason that is not the message's: ready again at once, costs no attempt.
    pub fn interrupt() -> Self {
        Self::new(Verdict::Interrupt, None)
    }

    /// Cancelled for good.
    pub fn cancel() -> Self {
        Self::new(Verdict::Cancel, None)
    }

    /// A remark for people, kept with the dead letter; other endings have no place for it.
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.0.note = Some(text.into());
        self
    }

    /// Class of the error in filters and statistics, instead of the name that its `Debug` shows first: `Declined` of
    /// `PayError::Declined(402)`, else that of its type. Endings without an error ignore it.
    pub fn error_type(mut self, name: &str) -> Self {
        if let Some(known) = &mut self.0.failure {
            *known = failure::new(name, &known.text);
        }
        self
    }

    /// Commits a message together with this ending.
    pub fn stage(mut self, message: impl Into<Outgoing>) -> Self {
        self.0.staged.push(message.into());
        self
    }

    pub(crate) fn new(verdict: Verdict, failure: Option<Failure>) -> Self {
        Self(Box::new(Ending {
            verdict,
            failure,
            note: None,
            staged: Vec::new(),
        }))
    }

    /// A failed attempt whose class dispatch names.
    pub(crate) fn engine(error_type: &str, text: &str) -> Self {
        Self::new(Verdict::Retry, Some(failure::new(error_type, text)))
    }

    /// What it comes to, unless the attempt was asked to stop.
    pub(crate) fn outcome(&self) -> Ended {
        match self.0.verdict {
            Verdict::Retry | Verdict::RetryIn(_) => Ended::Failed,
            Verdict::Snooze(_) | Verdict::Hold(_) => Ended::Snoozed,
            Verdict::Again(_) => Ended::Succeeded,
            Verdict::DeadLetter => Ended::DeadLettered,
            Verdict::Discard => Ended::Discarded,
            Verdict::Interrupt => Ended::Interrupted,
            Verdict::Cancel => Ended::Cancelled,
        }
    }

    /// The error it was made from.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        self.0.failure.as_ref()
    }

    pub(crate) fn into_ending(self) -> Ending {
        *self.0
    }
}

fn describe<E: Into<BoxError>>(error: E) -> Failure {
    let error: BoxError = error.into();
    failure::of::<E>(error.as_ref())
}

impl fmt::Debug for Fail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = f.debug_struct("Fail");
        parts.field("verdict", &self.0.verdict);
        if let Some(failure) = &self.0.failure {
            parts.field("error_type", &failure.error_type);
            parts.field("text", &failure.text);
        }
        parts.field("staged", &self.0.staged.len());
        parts.finish()
    }
}

impl<E: Into<BoxError>> From<E> for Fail {
    fn from(error: E) -> Self {
        // What a handler inside a layer said stays what it said.
        match error.into().downcast::<AttemptError>() {
            Ok(inside) => inside.into_fail(),
            Err(error) => Self::new(Verdict::Retry, Some(failure::of::<E>(error.as_ref()))),
        }
    }
}

/// Endings for a value that is not there.
pub trait OptionExt<T>: sealed::Sealed {
    /// Nothing to do any more: completed as discarded.
    ///
    /// # Errors
    /// [`Fail::discard`] for `None`.
    fn or_discard(self) -> Result<T, Fail>;

    /// Dead at once.
    ///
    /// # Errors
    /// [`Fail::dead_letter`] for `None`.
    fn or_dead_letter(self) -> Result<T, Fail>;

    /// Not there yet: again after `delay`, at no cost.
    ///
    /// # Errors
    /// [`Fail::snooze`] for `None`.
    fn or_snooze(self, delay: Duration) -> Result<T, Fail>;

    /// Failed: again after `delay`, or dead if no attempt is left.
    ///
    /// # Errors
    /// [`Fail::retry_in`] for `None`.
    fn or_retry_in(self, delay: Duration) -> Result<T, Fail>;
}

/// Endings for an error.
pub trait ResultExt<T>: sealed::Sealed {
    /// Nothing to do any more: completed as discarded.
    ///
    /// # Errors
    /// [`Fail::discard`] with the error.
    fn or_discard(self) -> Result<T, Fail>;

    /// Dead at once.
    ///
    /// # Errors
    /// [`Fail::dead_letter`] with the error.
    fn or_dead_letter(self) -> Result<T, Fail>;

    /// Not now: again after `delay`, at no cost. The error is not kept.
    ///
    /// # Errors
    /// [`Fail::snooze`].
    fn or_snooze(self, delay: Duration) -> Result<T, Fail>;

    /// Failed: again after `delay` instead of the policy's back-off, or dead if no attempt is left.
    ///
    /// # Errors
    /// [`Fail::retry_in`] with the error.
    fn or_retry_in(self, delay: Duration) -> Result<T, Fail>;
}

impl<T> OptionExt<T> for Option<T> {
    fn or_discard(self) -> Result<T, Fail> {
        self.ok_or_else(|| Fail::new(Verdict::Discard, Some(missing::<T>())))
    }

    fn or_dead_letter(self) -> Result<T, Fail> {
        self.ok_or_else(|| Fail::new(Verdict::DeadLetter, Some(missing::<T>())))
    }

    fn or_snooze(self, delay: Duration) -> Result<T, Fail> {
        self.ok_or_else(|| Fail::snooze(delay))
    }

    fn or_retry_in(self, delay: Duration) -> Result<T, Fail> {
        self.ok_or_else(|| Fail::new(Verdict::RetryIn(delay), Some(missing::<T>())))
    }
}

impl<T, E: Into<BoxError>> ResultExt<T> for Result<T, E> {
    fn or_discard(self) -> Result<T, Fail> {
        self.map_err(Fail::discard)
    }

    fn or_dead_letter(self) -> Result<T, Fail> {
        self.map_err(Fail::dead_letter)
    }

    fn or_snooze(self, delay: Duration) -> Result<T, Fail> {
        self.map_err(|_| Fail::snooze(delay))
    }

    fn or_retry_in(self, delay: Duration) -> Result<T, Fail> {
        self.map_err(|error| Fail::retry_in(delay, error))
    }
}

fn missing<T>() -> Failure {
    let what = std::any::type_name::<T>();
    failure::new("Missing", &format!("there is no {what}"))
}

mod sealed {
    /// These traits are called by users, not implemented.
    pub trait Sealed {}

    impl<T> Sealed for Option<T> {}
    impl<T, E> Sealed for Result<T, E> {}
}
