//! How an engine ends: it stops after a failure, or it is closed in order. Either way everybody who waits is told.
//!
//! Invariants: the first reason stays; after it nothing that is in a ring or on the desk waits for ever, because whoever
//! puts something there looks at the reason afterwards.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::fence;
use std::task::Waker;

use mq_core::backend::Stopped;
use mq_core::pending::Pending;
use mq_core::telemetry::store;
use mq_persistence::error::JournalError;
use mq_persistence::keeper::Keeper;
use mq_persistence::lsn::Lsn;

use super::{LogSide, Shell, poisoned};
use crate::engine::estate::Inside;

impl Shell {
    /// Stops for good: sticky, and everybody who waits is told.
    pub(crate) fn stop(&self, reason: Stopped) {
        if self.stopped.set(reason).is_ok() {
            let reason = self.stopped.get().map(ToString::to_string);
            tracing::error!(
                name: store::JOURNAL_ERROR,
                target: store::TARGET,
                reason,
                "the engine stopped"
            );
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

    /// Whether somebody asked for the close.
    pub(crate) fn is_closing(&self) -> bool {
        !self.closing.lock().is_empty()
    }

    /// Whether the commit thread could close now: whoever keeps house calls it when that is done.
    pub(super) fn can_close(&self) -> bool {
        self.is_closing() && !self.keeper.is_locked()
    }

    /// Closes in order, on the commit thread. The store is closed, and everybody told, before the housework that remains: a crash
    /// in it is none of the messages.
    pub(super) fn finish(&self, side: &mut LogSide, mut keeper: Option<&mut Keeper>) {
        let closed = self
            .take_in_rest(side)
            .and_then(|()| self.gather_up(side, keeper.as_deref_mut()))
            .and_then(|()| self.flush(side));
        let (reason, end) =
            closed.map_or_else(|reason| (reason, None), |end| (Stopped::Closed, end));
        if self.stopped.set(reason).is_ok() {
            tracing::debug!(reason = ?self.stopped.get(), "the engine is closed");
        }
        self.tell_everybody();
        if let Some((keeper, end)) = keeper.zip(end)
            && let Err(error) = self.clear_up(keeper, end)
        {
            tracing::warn!(%error, "the store is closed in order, but housekeeping behind it failed; look at the disk");
        }
    }

    /// What was sent before the close is taken in; what comes meanwhile is refused when the store is closed, or there would be no end.
    fn take_in_rest(&self, side: &mut LogSide) -> Result<(), Stopped> {
        let submissions = side.taken.submissions + self.submissions.len() as u64;
        let settlements = side.taken.settlements + self.settlements.len() as u64;
        loop {
            let before = side.taken;
            self.round(side)?;
            let (is_held, put_off) = self.look(|desk, _| (desk.is_held(), desk.has_put_off()));
            let is_held = is_held || side.awaits_room();
            let taken = side.taken;
            let is_done = taken.submissions >= submissions && taken.settlements >= settlements;
            if (is_done && (is_held || !put_off)) || (is_held && taken == before) {
                return Ok(());
            }
        }
    }

    /// Copies what lives in old segments to the end, so that they can go.
    fn gather_up(&self, side: &mut LogSide, keeper: Option<&mut Keeper>) -> Result<(), Stopped> {
        let (Some(keeper), Some(log)) = (keeper, &side.log) else {
            return Ok(());
        };
        let (written, durable) = (log.written(), log.durable());
        self.look(|desk, _| {
            let paper = desk.paper.as_mut();
            paper.map(|paper| keeper.survey(&mut paper.places, written, durable))
        });
        match keeper.read_live_at_close() {
            Ok(relocations) if relocations.is_empty() => return Ok(()),
            Ok(relocations) => drop(self.look(|desk, now| desk.relocate(now, &relocations))),
            Err(failure) => {
                tracing::error!(%failure, "a record could not be read for compaction and stays where it is; run `mq verify`");
                return Ok(());
            }
        }
        self.round(side).map(drop)
    }

    /// Behind the close: a snapshot if it pays, and no file that nothing needs.
    fn clear_up(&self, keeper: &mut Keeper, end: Lsn) -> Result<(), JournalError> {
        let images = self.look(|desk, now| {
            let paper = desk.paper.as_ref()?;
            let pays = keeper.pays_at_close(&paper.places, end);
            pays.then(|| (desk.manager.image(), paper.places.image(), *now))
        });
        if let Some((manager, places, now)) = images {
            keeper.snapshot(manager.records(), places, (end, end), &now)?;
        }
        self.look(|desk, _| {
            let paper = desk.paper.as_mut();
            paper.map(|paper| keeper.take_at_close(&mut paper.places, end))
        });
        keeper.give_back_at_close()
    }

    /// Makes everything durable and marks the log as closed in order; answers where it ends.
    fn flush(&self, side: &mut LogSide) -> Result<Option<Lsn>, Stopped> {
        self.look(|desk, now| desk.close(now));
        while !self.look(|desk, _| desk.is_settled()) {
            self.look(|desk, _| desk.want_sync());
            self.round(side)?;
            if side.awaits_room() {
                return Err(Stopped::Poisoned {
                    operation: "the close".to_owned(),
                    reason: "there is no room on the disk for what was being done".to_owned(),
                });
            }
        }
        self.check()?;
        let now = self.look(|_, now| *now);
        let closed = side.log.take().map(|log| log.close(&now));
        closed.transpose().map_err(poisoned)
    }

    /// There is a reason now: those who wait for anything get it, those who wait for the close get how that went.
    fn tell_everybody(&self) {
        let _inside = Inside::enter();
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
        self.refuse_wishes_if_stopped();
        self.sight.taps.close();
        self.rounds.send_modify(|rounds| *rounds += 1);
        self.signal.call();
        self.maintenance.call();
        self.bulk.call();
        self.copies.call();
    }

    /// After a stop: nobody waits for a snapshot.
    pub(in crate::engine) fn refuse_wishes_if_stopped(&self) {
        fence(SeqCst); // partner: itself, as below
        let Some(reason) = self.stopped.get() else {
            return;
        };
        let wishes = std::mem::take(&mut *self.wishes.lock());
        for wish in wishes {
            wish.keep(Err(reason.clone().into()));
        }
    }

    /// After a stop: nothing that is still in a ring or on the desk may wait for ever.
    pub(in crate::engine) fn refuse_if_stopped(&self) {
        // Partner: this same fence on the other side. Either the stopper sees what was just pushed, or the pusher sees the
        // reason and comes to empty the ring itself.
        fence(SeqCst);
        let Some(reason) = self.stopped.get() else {
            return;
        };
        while let Some(job) = self.submissions.try_pop() {
            job.stop(reason);
        }
        while let Some(job) = self.settlements.try_pop() {
            job.stop(reason);
        }
        let given_up = self.desk.lock().give_up();
        given_up.into_iter().for_each(|effect| effect.abort(reason));
        let wakers = std::mem::take(&mut *self.space.lock());
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// Stops the engine if the holder of a token panics: its state may be half changed.
#[derive(Debug)]
pub(in crate::engine) struct StopOnPanic<'a> {
    shell: &'a Shell,
    /// The thread was unwinding already: a panic of the user's, whose destructors call the engine.
    was_panicking: bool,
}

impl<'a> StopOnPanic<'a> {
    pub(in crate::engine) fn new(shell: &'a Shell) -> Self {
        Self {
            shell,
            was_panicking: std::thread::panicking(),
        }
    }
}

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.was_panicking {
            self.shell.stop(Stopped::Poisoned {
                operation: "a commit".to_owned(),
                reason: "a thread panicked while it held a token".to_owned(),
            });
        }
    }
}
