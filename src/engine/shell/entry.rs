//! How work comes in: into its ring, and to whoever commits it.
//!
//! Invariant: whoever puts something into a ring or on the desk says so afterwards ([`Shell::call`]); then it is taken up, by the
//! commit thread, by whoever holds the log token, or here.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::fence;
use std::task::{Poll, Waker};

use mq_core::ring::Ring;
use parking_lot::{Mutex, MutexGuard};

use super::{LogSide, Round, Shell};
use crate::engine::jobs::{EnqueueJob, SettleJob};

/// With more submissions than this a caller leaves the work to the commit thread: he may be a task among others.
const COMMITTED_HERE_MAX: usize = 64;
/// So many rounds: one takes work in, the next grants what it made ready.
const ROUNDS_HERE_MAX: usize = 4;

impl Shell {
    /// Puts an enqueue into the ring; `Pending` (and the waker kept) while the ring is full.
    pub(crate) fn poll_submit(&self, job: &mut Option<Box<EnqueueJob>>, waker: &Waker) -> Poll<()> {
        let pushed = poll_push(&self.submissions, &self.space, job, waker);
        if pushed.is_ready() {
            self.refuse_if_stopped();
        }
        pushed
    }

    /// Puts settlements into their ring; `Pending` (and the waker kept) while it is full.
    pub(crate) fn poll_settle(&self, job: &mut Option<Box<SettleJob>>, waker: &Waker) -> Poll<()> {
        let pushed = poll_push(&self.settlements, &self.space, job, waker);
        if pushed.is_ready() {
            self.refuse_if_stopped();
        }
        pushed
    }

    /// Calls the commit thread for a submission that was just put into the ring; not while it waits for more than there are.
    pub(crate) fn call_for_submission(&self) {
        if self.commits_here() {
            return;
        }
        // Partner: the fence in `Signal::sleep`. Either this sees that the wait is over, or the sleeper sees the submission.
        fence(SeqCst);
        let wanted = self.gathering.load(Relaxed);
        if wanted == 0 || self.submissions.len() >= wanted {
            self.signal.call();
        }
    }

    /// Sees to it that what was put into a ring or on the desk is taken up: here if nothing can block, else by the commit thread.
    pub(crate) fn call(&self) {
        if !self.commits_here() {
            self.signal.call();
        }
    }

    /// In memory nothing blocks, so that whoever brings work does it, instead of waking two threads for a microsecond of it.
    /// Much work is left to the commit thread, and so is everything while somebody else commits.
    fn commits_here(&self) -> bool {
        let few = self.is_memory && self.submissions.len() <= COMMITTED_HERE_MAX;
        let Some(side) = few.then(|| self.log.try_lock()).flatten() else {
            return false;
        };
        let mut rounds = 0..ROUNDS_HERE_MAX;
        self.lead(side, || rounds.next().is_some());
        true
    }

    /// Commits on a caller's thread while there is more and `goes_on` says so; leaves the rest to the commit thread.
    pub(super) fn lead(
        &self,
        mut side: MutexGuard<'_, LogSide>,
        mut goes_on: impl FnMut() -> bool,
    ) {
        while goes_on() {
            match self.round(&mut side) {
                Ok(Round::More) => {}
                Ok(Round::Idle(_) | Round::Held(_)) => break,
                Err(reason) => {
                    drop(side);
                    return self.stop(reason);
                }
            }
        }
        let is_due = side.schedule_is_due; // the commit thread fires it
        drop(side);
        if is_due || self.has_work() {
            self.signal.call();
        }
    }
}

fn poll_push<T>(
    ring: &Ring<T>,
    space: &Mutex<Vec<Waker>>,
    job: &mut Option<T>,
    waker: &Waker,
) -> Poll<()> {
    let Some(first) = job.take() else {
        return Poll::Ready(());
    };
    let Err(refused) = ring.try_push(first) else {
        return Poll::Ready(());
    };
    space.lock().push(waker.clone());
    match ring.try_push(refused) {
        Ok(()) => Poll::Ready(()),
        Err(refused) => {
            *job = Some(refused);
            Poll::Pending
        }
    }
}
