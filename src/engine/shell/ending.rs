//! How an engine ends: it stops after a failure, or it is closed in order. Either way everybody who waits is told.
//!
//! Invariants: the first reason stays; after it nothing that is in a ring or on the desk waits for ever, because whoever
//! puts something there looks at the reason afterwards.

use std::task::Waker;

use mq_core::backend::Stopped;
use mq_core::pending::{Pending, Promise};

use super::{LogSide, Shell, poisoned};

impl Shell {
    /// Stops for good: sticky, and everybody who waits is told.
    pub(crate) fn stop(&self, reason: Stopped) {
        if self.stopped.set(reason).is_ok() {
            tracing::error!(reason = ?self.stopped.get(), "the engine stopped");
        }
        self.refuse_if_stopped();
        if let Some(promise) = self.closing.lock().take() {
            promise.keep(
                self.stopped
                    .get()
                    .map_or(Ok(()), |reason| Err(reason.clone())),
            );
        }
        self.rounds.send_modify(|rounds| *rounds += 1);
        self.signal.call();
        self.maintenance.call();
    }

    /// Asks the commit thread to close; answered when everything is synced and the store is free.
    pub(crate) fn close(&self) -> Pending<Result<(), Stopped>> {
        let (promise, pending) = Pending::new();
        if let Some(reason) = self.stopped.get() {
            return Pending::ready(if *reason == Stopped::Closed {
                Ok(())
            } else {
                Err(reason.clone())
            });
        }
        let former = self.closing.lock().replace(promise);
        if let Some(former) = former {
            former.keep(Ok(())); // two closers: the store is closed by the time the second is answered
        }
        if self.stopped.get().is_some() {
            self.stop(Stopped::Closed);
        }
        self.signal.call();
        pending
    }

    pub(super) fn finish(&self, side: &mut LogSide, promise: Promise<Result<(), Stopped>>) {
        let closed = self.flush(side);
        let reason = closed.clone().err().unwrap_or(Stopped::Closed);
        if self.stopped.set(reason).is_ok() {
            tracing::debug!("the engine is closed");
        }
        self.refuse_if_stopped();
        self.maintenance.call();
        promise.keep(closed);
    }

    /// Makes everything durable and marks the log as closed in order.
    fn flush(&self, side: &mut LogSide) -> Result<(), Stopped> {
        self.look(|desk, now| desk.close(now));
        while !self.look(|desk, _| desk.is_settled()) {
            self.look(|desk, _| desk.want_sync());
            self.round(side)?;
        }
        let now = self.look(|_, now| *now);
        side.log
            .take()
            .map_or(Ok(()), |log| log.close(&now))
            .map_err(poisoned)
    }

    /// After a stop: nothing that is still in a ring or on the desk may wait for ever.
    pub(super) fn refuse_if_stopped(&self) {
        let Some(reason) = self.stopped.get() else {
            return;
        };
        while let Some(job) = self.submissions.try_pop() {
            job.promise.keep(Err(reason.clone().into()));
        }
        while let Some(job) = self.settlements.try_pop() {
            let answers = job
                .settles
                .into_iter()
                .map(|_| Err(reason.clone().into()))
                .collect();
            job.promise.keep(answers);
        }
        self.desk.lock().stop(reason);
        let wakers = std::mem::take(&mut *self.space.lock());
        wakers.into_iter().for_each(Waker::wake);
    }
}
