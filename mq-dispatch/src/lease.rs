//! One granted message while its handler lives: what the handler sees through [`crate::Ctx`], and who may settle it.
//!
//! Invariants: exactly one side settles a lease, the handler's task or the timers; [`Lease::claim`] decides which.
//! The clockwork (deadline, request to stop, taking away) is moved only by [`Lease::check`] and its companions.
//!
//! | atomic move | side | ordering | partner, reason |
//! |---|---|---|---|
//! | `claim` | handler's task, timers, stop | `AcqRel` | itself: the winner sees what the other side did before |
//! | `is_claimed` | renewal, statistics | `Acquire` | `claim` |

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use mq_core::backend::{Backend, Grant};
use mq_core::message::NewMessage;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::attempt::End;
use crate::cancel::{CancelReason, CancelSignal};
use crate::failure;
use crate::observer::{Ended, Observation, within};
use crate::states::States;

/// How long a handler that was asked to stop may take before it is aborted.
pub(crate) const ABORT_GRACE: Duration = Duration::from_secs(5);

/// How far a handler says it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Done.
    pub done: u64,
    /// Of so many; at least `done`.
    pub total: u64,
    /// What is counted, such as `rows`.
    pub unit: String,
}

/// What the handler leaves behind while it runs.
#[derive(Debug, Default)]
pub(crate) struct Work {
    staged: Vec<NewMessage>,
    /// Its end is known: nothing can be staged any more.
    ended: bool,
    pub(crate) checkpoint: Option<Bytes>,
    pub(crate) progress: Option<Progress>,
}

impl Work {
    /// Keeps messages for the settlement; `false` if it is too late for that.
    pub(crate) fn stage(&mut self, messages: &mut Vec<NewMessage>) -> bool {
        if !self.ended {
            self.staged.append(messages);
        }
        !self.ended
    }

    /// What was staged, at the end.
    pub(crate) fn end(&mut self) -> Vec<NewMessage> {
        self.ended = true;
        std::mem::take(&mut self.staged)
    }
}

/// Where the clockwork of one handler stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It runs within its time.
    Running,
    /// It was asked to stop and has until then.
    Asked(Instant),
    /// Its lease was taken away; if it still runs then, it is stuck.
    TakenAway(Instant),
    /// It goes on though it was asked to stop and aborted.
    Stuck,
}

#[derive(Debug)]
struct Clockwork {
    step: Step,
    deadline: Option<Instant>,
    extended: Option<Instant>,
}

/// What the timers have to do for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// Nothing before this moment; `None` if nothing at all.
    Nothing(Option<Instant>),
    /// Settle it in the handler's stead: this side has claimed it.
    Settle,
}

pub(crate) struct Lease {
    pub(crate) grant: Grant,
    pub(crate) states: Arc<States>,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) started: Instant,
    pub(crate) cancel: CancelSignal,
    pub(crate) work: Mutex<Work>,
    clockwork: Mutex<Clockwork>,
    claimed: AtomicBool,
    aborted: AtomicBool,
    task: OnceLock<AbortHandle>,
    observation: OnceLock<Box<dyn Observation>>,
    /// The ends of threads that a layer has given up on; several, if another layer tries again.
    threads: Mutex<Vec<oneshot::Receiver<End>>>,
}

impl Lease {
    pub(crate) fn new(
        grant: Grant,
        states: Arc<States>,
        backend: Arc<dyn Backend>,
        timeout: Option<Duration>,
    ) -> Self {
        let started = Instant::now();
        let work = Work {
            checkpoint: grant.checkpoint.clone(),
            ..Work::default()
        };
        Self {
            grant,
            states,
            backend,
            started,
            cancel: CancelSignal::default(),
            work: Mutex::new(work),
            clockwork: Mutex::new(Clockwork {
                step: Step::Running,
                deadline: timeout.and_then(|limit| started.checked_add(limit)),
                extended: None,
            }),
            claimed: AtomicBool::new(false),
            aborted: AtomicBool::new(false),
            task: OnceLock::new(),
            observation: OnceLock::new(),
            threads: Mutex::default(),
        }
    }

    /// Somebody may watch this attempt. If he panics instead, it starts unwatched.
    pub(crate) fn observe(&self, watch: impl FnOnce() -> Box<dyn Observation>) {
        if let Some(observation) = self.shielded(watch) {
            let refused = self.observation.set(observation);
            debug_assert!(refused.is_ok(), "an attempt starts once");
        }
    }

    /// Runs a part of the handler in sight of whoever watches.
    pub(crate) fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        let Some(observation) = self.observation.get() else {
            return work();
        };
        within(&**observation, work)
    }

    /// Tells whoever watches how it ended. If that panics, the attempt is settled and its worker freed all the same.
    pub(crate) fn ended(&self, ended: &Ended) {
        let Some(observation) = self.observation.get() else {
            return;
        };
        self.shielded(|| observation.ended(ended));
    }

    /// Tells an observer something about this attempt; what it answers, unless it panics.
    fn shielded<T>(&self, tell: impl FnOnce() -> T) -> Option<T> {
        let told = catch_unwind(AssertUnwindSafe(tell)).inspect_err(|panic| {
            let text = failure::panic_text(panic.as_ref());
            tracing::error!(token = %self.grant.token, panic = %text, "an observer panicked");
        });
        told.ok()
    }

    /// Takes the right to settle; `false` if somebody else has it.
    pub(crate) fn claim(&self) -> bool {
        self.claimed
            .compare_exchange(false, true, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Whether somebody has taken the right to settle.
    pub(crate) fn is_claimed(&self) -> bool {
        self.claimed.load(Ordering::Acquire)
    }

    /// Tells how to abort the handler's task. Threads cannot be aborted.
    pub(crate) fn abortable(&self, task: AbortHandle) {
        if self.task.set(task).is_ok() && self.aborted.load(Ordering::Acquire) {
            self.abort();
        }
    }

    /// Aborts the handler's task at its next `.await`.
    pub(crate) fn abort(&self) {
        self.aborted.store(true, Ordering::Release);
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    /// A layer has given up on the handler's thread, which is asked to stop and goes on until it does.
    pub(crate) fn give_up_thread(&self, ended: oneshot::Receiver<End>) {
        self.cancel.request(CancelReason::Timeout);
        self.threads.lock().push(ended);
    }

    /// Waits until no thread works on it.
    pub(crate) async fn left_by_thread(&self) {
        loop {
            let thread = self.threads.lock().pop();
            let Some(thread) = thread else {
                return;
            };
            thread.await.ok();
        }
    }

    /// Asks the handler to stop, and aborts it if it does not within the grace.
    pub(crate) fn stop_soon(&self, reason: CancelReason, now: Instant) {
        self.cancel.request(reason);
        let mut clockwork = self.clockwork.lock();
        if clockwork.step == Step::Running {
            clockwork.step = Step::Asked(now + ABORT_GRACE);
        }
    }

    /// Gives the handler at least `duration` from now before its time limit.
    pub(crate) fn extend(&self, duration: Duration, now: Instant) {
        let until = now.checked_add(duration);
        let mut clockwork = self.clockwork.lock();
        clockwork.extended = clockwork.extended.max(until);
        if clockwork.deadline.is_some() {
            clockwork.deadline = match until {
                Some(until) => clockwork.deadline.max(Some(until)),
                None => None,
            };
        }
    }

    /// Whether a renewal for `lease` from now would make it last longer than it does already.
    pub(crate) fn needs_renewal(&self, lease: Duration, now: Instant) -> bool {
        let extended = self.clockwork.lock().extended;
        !self.is_claimed() && extended.is_none_or(|until| until <= now + lease)
    }

    /// Moves the clockwork to `now`.
    pub(crate) fn check(&self, now: Instant) -> Check {
        let mut clockwork = self.clockwork.lock();
        match clockwork.step {
            Step::Running => match clockwork.deadline {
                Some(deadline) if deadline <= now => {
                    clockwork.step = Step::Asked(now + ABORT_GRACE);
                    self.cancel.request(CancelReason::Timeout);
                    Check::Nothing(Some(now + ABORT_GRACE))
                }
                deadline => Check::Nothing(deadline),
            },
            Step::Asked(until) if until <= now => {
                clockwork.step = Step::TakenAway(now + ABORT_GRACE);
                drop(clockwork);
                self.take_away(now)
            }
            Step::TakenAway(until) if until <= now => {
                clockwork.step = Step::Stuck;
                Check::Nothing(None)
            }
            Step::Asked(until) | Step::TakenAway(until) => Check::Nothing(Some(until)),
            Step::Stuck => Check::Nothing(None),
        }
    }

    /// Takes the lease away now; `false` if somebody else has settled it. The handler is aborted either way.
    pub(crate) fn seize(&self, now: Instant) -> bool {
        self.clockwork.lock().step = Step::TakenAway(now + ABORT_GRACE);
        self.take_away(now) == Check::Settle
    }

    fn take_away(&self, now: Instant) -> Check {
        let claimed = self.claim();
        self.abort();
        if claimed {
            Check::Settle
        } else {
            Check::Nothing(Some(now + ABORT_GRACE))
        }
    }

    /// Whether it goes on though it was asked to stop, aborted and settled by somebody else.
    pub(crate) fn is_stuck(&self) -> bool {
        self.clockwork.lock().step == Step::Stuck
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("token", &self.grant.token)
            .field("kind", &self.grant.kind)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
