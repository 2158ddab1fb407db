//! One attempt as a pipeline: granted, decoded, run, concluded, settled.
//!
//! Invariants: a [`Job`] ends exactly once, by [`Job::finish`] or by being dropped (an aborted task, a runtime that
//! went away), and either way frees its worker. Whoever has claimed the lease settles it.

use std::any::TypeId;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use mq_core::command::Settlement;
use mq_core::message::NewMessage;
use mq_core::retry::RetryPolicy;
use mq_core::state::{DeadReason, Failure, Outcome};

use crate::cancel::CancelReason;
use crate::fail::{Ending, Fail, Verdict};
use crate::failure;
use crate::layer::AttemptService;
use crate::lease::Lease;
use crate::message::{DecodeError, Message, to_json};
use crate::newer;
use crate::pool::Pool;
use crate::stage::descend;
use crate::stats::Class;

/// How an attempt ended, before anyone decided what that means.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// The handler succeeded.
    Succeeded {
        /// What it returned, encoded; nothing for `()`.
        result: Option<Bytes>,
    },
    /// The handler said how to go on.
    Failed(Fail),
    /// The handler panicked.
    Panicked(String),
    /// A layer's time limit has passed.
    TimedOut(String),
    /// There was nothing to hand to the handler.
    Undecodable(DecodeError),
}

impl End {
    pub(crate) fn of<M: Message>(answer: Result<M::Output, Fail>) -> Self {
        match answer {
            Ok(_) if TypeId::of::<M::Output>() == TypeId::of::<()>() => {
                Self::Succeeded { result: None }
            }
            Ok(output) => match to_json(&output) {
                Ok(result) => Self::Succeeded {
                    result: Some(result),
                },
                Err(error) => Self::Failed(error.into()),
            },
            Err(fail) => Self::Failed(fail),
        }
    }
}

/// What the store is told about an attempt.
#[derive(Debug)]
pub(crate) struct Conclusion {
    pub(crate) settlement: Settlement,
    pub(crate) staged: Vec<NewMessage>,
    pub(crate) outcome: Outcome,
    pub(crate) class: Class,
}

impl Conclusion {
    fn new(settlement: Settlement, outcome: Outcome, class: Class) -> Self {
        Self {
            settlement,
            staged: Vec::new(),
            outcome,
            class,
        }
    }

    /// A failed attempt under the policy.
    pub(crate) fn failed(failure: Failure, retry: RetryPolicy, class: Class) -> Self {
        let settlement = Settlement::Fail {
            failure,
            retry,
            retry_in: None,
        };
        Self::new(settlement, Outcome::Failed, class)
    }

    pub(crate) fn interrupted() -> Self {
        Self::new(Settlement::Interrupt, Outcome::Interrupted, Class::Plain)
    }

    pub(crate) fn cancelled() -> Self {
        Self::new(Settlement::Cancel, Outcome::Cancelled, Class::Plain)
    }

    /// What an attempt that had to be ended by the engine comes to.
    pub(crate) fn forced(reason: CancelReason, ran: Duration, retry: RetryPolicy) -> Self {
        match reason {
            CancelReason::Requested => Self::cancelled(),
            CancelReason::Shutdown => Self::interrupted(),
            CancelReason::Timeout | CancelReason::LeaseLost => {
                let text = format!("ended by force after {ran:?}: {}", reason.as_str());
                Self::failed(failure::new("timeout", &text), retry, Class::TimedOut)
            }
        }
    }

    /// What an attempt comes to that ended by itself.
    pub(crate) fn of(lease: &Lease, end: End, retry: RetryPolicy) -> Self {
        let staged = lease.work.lock().end();
        match end {
            End::Succeeded { result } => Self {
                staged,
                ..Self::new(
                    Settlement::Succeed { result },
                    Outcome::Succeeded,
                    Class::Plain,
                )
            },
            End::Failed(fail) => Self::of_fail(lease, fail.into_ending(), retry, staged),
            End::Panicked(text) => {
                Self::failed(failure::new("panic", &text), retry, Class::Panicked)
            }
            End::TimedOut(text) => {
                Self::failed(failure::new("timeout", &text), retry, Class::TimedOut)
            }
            End::Undecodable(error) => Self::of_undecodable(&error),
        }
    }

    fn of_undecodable(error: &DecodeError) -> Self {
        match error {
            DecodeError::Newer { stored, .. } => {
                let failure = failure::new("newer", &failure::chain(error));
                let settlement = match newer::label(*stored) {
                    Some(label) => Settlement::SetAside { label, failure },
                    None => Settlement::Interrupt,
                };
                Self::new(settlement, Outcome::Snoozed, Class::Newer)
            }
            DecodeError::Malformed { .. } => {
                let settlement = Settlement::DeadLetter {
                    reason: DeadReason::Undecodable,
                    failure: failure::new("undecodable", &failure::chain(error)),
                    note: None,
                };
                Self::new(settlement, Outcome::DeadLettered, Class::Undecodable)
            }
        }
    }

    fn of_fail(
        lease: &Lease,
        ending: Ending,
        retry: RetryPolicy,
        staged_before: Vec<NewMessage>,
    ) -> Self {
        let Ending {
            verdict,
            failure,
            note,
            staged,
        } = ending;
        let mut messages = match verdict {
            // This run has succeeded: what it staged on its way counts.
            Verdict::Again(_) => staged_before,
            Verdict::Retry
            | Verdict::RetryIn(_)
            | Verdict::Snooze(_)
            | Verdict::DeadLetter
            | Verdict::Hold(_)
            | Verdict::Discard
            | Verdict::Interrupt
            | Verdict::Cancel => Vec::with_capacity(staged.len()),
        };
        for message in staged {
            match message.into_message() {
                Ok(mut message) => {
                    descend(&lease.grant, &mut message);
                    messages.push(message);
                }
                Err(error) => {
                    let text = format!("a staged message: {}", failure::chain(&error));
                    return Self::failed(failure::new("EncodeError", &text), retry, Class::Plain);
                }
            }
        }
        let reason = lease.cancel.reason();
        Self {
            staged: messages,
            ..Self::of_verdict(verdict, failure, note, retry, reason)
        }
    }

    fn of_verdict(
        verdict: Verdict,
        failure: Option<Failure>,
        note: Option<String>,
        retry: RetryPolicy,
        reason: Option<CancelReason>,
    ) -> Self {
        let known = failure.clone().unwrap_or_default();
        match verdict {
            Verdict::Retry => Self::of_error(known, retry, reason),
            Verdict::RetryIn(delay) => {
                let settlement = Settlement::Fail {
                    failure: known,
                    retry,
                    retry_in: Some(delay),
                };
                Self::new(settlement, Outcome::Failed, Class::Plain)
            }
            Verdict::Snooze(delay) => {
                Self::new(Settlement::Snooze { delay }, Outcome::Snoozed, Class::Plain)
            }
            Verdict::Again(due) => {
                Self::new(Settlement::Again { due }, Outcome::Succeeded, Class::Plain)
            }
            Verdict::Hold(label) => {
                let failure = known;
                let settlement = Settlement::SetAside { label, failure };
                Self::new(settlement, Outcome::Snoozed, Class::Plain)
            }
            Verdict::DeadLetter => {
                let settlement = Settlement::DeadLetter {
                    reason: DeadReason::DeadLettered,
                    failure: known,
                    note,
                };
                Self::new(settlement, Outcome::DeadLettered, Class::Plain)
            }
            Verdict::Discard => {
                let settlement = Settlement::Discard { failure };
                Self::new(settlement, Outcome::Discarded, Class::Plain)
            }
            Verdict::Interrupt => Self::interrupted(),
            Verdict::Cancel => Self::cancelled(),
        }
    }

    /// A plain error. After a request to stop it means that the handler obeyed, whatever its text.
    fn of_error(failure: Failure, retry: RetryPolicy, reason: Option<CancelReason>) -> Self {
        match reason {
            Some(CancelReason::Requested) => Self::cancelled(),
            Some(CancelReason::Shutdown) => Self::interrupted(),
            Some(CancelReason::Timeout) => {
                let text = format!("{}: {}", CancelReason::Timeout.as_str(), failure.text);
                Self::failed(failure::new("timeout", &text), retry, Class::TimedOut)
            }
            Some(CancelReason::LeaseLost) | None => Self::failed(failure, retry, Class::Plain),
        }
    }
}

/// One attempt on its way through a worker.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) lease: Arc<Lease>,
    pub(crate) pool: Arc<Pool>,
    /// The ready service that takes it, if its handler has layers.
    pub(crate) service: Option<AttemptService>,
    slot: usize,
    finished: bool,
}

impl Job {
    pub(crate) fn new(lease: Arc<Lease>, pool: Arc<Pool>, slot: usize) -> Self {
        Self {
            lease,
            pool,
            service: None,
            slot,
            finished: false,
        }
    }

    /// Ends it and frees its worker.
    pub(crate) fn finish(mut self, end: End) {
        self.finished = true;
        self.pool.ended(self.slot, &self.lease, end);
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if !self.finished {
            self.pool.abandoned(self.slot, &self.lease);
        }
    }
}

/// Runs an attempt to its end or its panic.
pub(crate) async fn caught(work: impl Future<Output = End>) -> End {
    let mut work = pin!(work);
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
        match polled {
            Ok(polled) => polled,
            Err(panic) => Poll::Ready(End::Panicked(failure::panic_text(panic.as_ref()))),
        }
    })
    .await
}

/// As [`caught`], for a function.
pub(crate) fn caught_blocking(work: impl FnOnce() -> End) -> End {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| End::Panicked(failure::panic_text(panic.as_ref())))
}
