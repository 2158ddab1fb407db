//! How an engine ends: it stops after a failure, or it is closed in order. Either way everybody who waits is told.
//!
//! Invariants: the first reason stays; after it nothing that is in a ring or on the desk waits for ever, because whoever
//! puts something there looks at the reason afterwards.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::fence;
use std::task::Waker;

use mq_core::backend::Stopped;
use mq_core::pending::Pending;

use super::{LogSide, Shell, poisoned};

impl Shell {
    /// Stops for good: sticky, and everybody who waits is told.
    pub(crate) fn stop(&self, reason: Stopped) {
        if self.stopped.set(reason).is_ok() {
            tracing::error!(reason = ?self.stopped.get(), "the engine stopped");
        }
        self.tell_everybody();
    }

    /// Asks the commit thread to close; answered when everything is synced.
    pub(crate) fn close(&self) -> Pending<Result<(), Stopped>> {
        let (promise, pending) = Pending::new();
        self.closing.lock().push(promise);
        if self.stopped.get().is_some() {
            self.tell_everybody();
        }
        self.signal.call();
        pending
    }

    /// Closes in order, on the commit thread.
    pub(super) fn finish(&self, side: &mut LogSide) {
        let reason = self.flush(side).err().unwrap_or(Stopped::Closed);
        if self.stopped.set(reason).is_ok() {
            tracing::debug!(reason = ?self.stopped.get(), "the engine is closed");
        }
        self.tell_everybody();
    }

    /// Makes everything durable and marks the log as closed in order.
    fn flush(&self, side: &mut LogSide) -> Result<(), Stopped> {
        self.look(|desk, now| desk.close(now));
        while !self.look(|desk, _| desk.is_settled()) {
            self.look(|desk, _| desk.want_sync());
            self.round(side)?;
        }
        self.check()?;
        let now = self.look(|_, now| *now);
        let closed = side.log.take().map_or(Ok(()), |log| log.close(&now));
        closed.map_err(poisoned)
    }

    /// There is a reason now: those who wait for anything get it, those who wait for the close get how that went.
    fn tell_everybody(&self) {
        self.refuse_if_stopped();
        let Some(reason) = self.stopped.get() else {
            return;
        };
        let closers = std::mem::take(&mut *self.closing.lock());
        for closer in closers {
            closer.keep(match reason {
                Stopped::Closed => Ok(()),
                Stopped::Poisoned { .. } => Err(reason.clone()),
            });
        }
        self.rounds.send_modify(|rounds| *rounds += 1);
        self.signal.call();
        self.maintenance.call();
    }

    /// After a stop: nothing that is still in a ring or on the desk may wait for ever.
    pub(super) fn refuse_if_stopped(&self) {
        // Partner: this same fence on the other side. Either the stopper sees what was just pushed, or the pusher sees the
        // reason and comes to empty the ring itself.
        fence(SeqCst);
        let Some(reason) = self.stopped.get() else {
            return;
        };
        while let Some(job) = self.submissions.try_pop() {
            job.promise.keep(Err(reason.clone().into()));
        }
        while let Some(job) = self.settlements.try_pop() {
            let refusals = job
                .settles
                .iter()
                .map(|_| Err(reason.clone().into()))
                .collect();
            job.promise.keep(refusals);
        }
        let given_up = self.desk.lock().give_up();
        given_up.into_iter().for_each(|effect| effect.abort(reason));
        let wakers = std::mem::take(&mut *self.space.lock());
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// Stops the engine if the holder of a token panics: its state may be half changed.
pub(in crate::engine) struct StopOnPanic<'a>(pub(in crate::engine) &'a Shell);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop(Stopped::Poisoned {
                operation: "a commit".to_owned(),
                reason: "a thread panicked while it held a token".to_owned(),
            });
        }
    }
}
