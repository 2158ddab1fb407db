//! The commit thread: commits for async callers, keeps time, and closes in the end.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use mq_core::backend::Stopped;
use parking_lot::MutexGuard;

use super::{IDLE_MARK_AFTER, LogSide, Round, Shell, StopOnPanic, poisoned};

/// What the commit thread does next, when it has let the log token go.
enum Next {
    /// Fires schedules: calendars are searched while others commit.
    Fire,
    /// Sleeps, for so long at most.
    Sleep(Option<Duration>),
    /// Sleeps until somebody says that there is room on the disk, for so long at most.
    AwaitRoom(Option<Duration>),
    /// Lets the log token go: the close was asked for.
    Close,
}

/// Work that is held is looked at this often, if nobody says that there is room.
const LOOK_WHILE_HELD: Duration = Duration::from_secs(1);

impl Shell {
    /// Commits for async callers, keeps time, and closes in the end.
    pub(crate) fn run(&self) {
        let _guard = StopOnPanic::new(self);
        loop {
            let next = {
                let mut side = self.log.lock();
                let next = match self.work(&mut side) {
                    Ok(next) => next,
                    Err(stopped) => return self.stop(stopped),
                };
                if !matches!(next, Next::Fire)
                    && self.is_closing()
                    && let Some(mut keeper) = self.keeper.try_lock()
                {
                    return self.finish(&mut side, keeper.as_mut());
                }
                next
            };
            let (rest, held) = match next {
                Next::Fire => {
                    self.fire_schedules();
                    continue;
                }
                Next::Close => continue, // whoever keeps house had it: work goes on until he is done
                Next::Sleep(rest) => (rest, false),
                Next::AwaitRoom(rest) => {
                    self.maintenance.call();
                    let rest = rest.map_or(LOOK_WHILE_HELD, |rest| rest.min(LOOK_WHILE_HELD));
                    (Some(rest), true)
                }
            };
            // What is held is worth another look when somebody calls: there may be room, or something to refuse.
            let has_work = || {
                if held {
                    self.can_close()
                } else {
                    self.has_work()
                }
            };
            self.signal
                .sleep(rest, || has_work() || self.stopped.get().is_some());
            if self.stopped.get().is_some() {
                return;
            }
        }
    }

    /// Works until nothing is left to do under the log token. Whoever waits for the token gets it between two rounds: under a load that
    /// never pauses there would be no snapshot and no close otherwise.
    fn work(&self, side: &mut MutexGuard<'_, LogSide>) -> Result<Next, Stopped> {
        loop {
            self.gather(side);
            match self.round(side)? {
                Round::Held(rest) => {
                    self.plan_to_wake(rest);
                    return Ok(Next::AwaitRoom(rest));
                }
                Round::More if self.can_close() => return Ok(Next::Close),
                Round::More | Round::Idle(_) if side.schedule_is_due => return Ok(Next::Fire),
                Round::More => MutexGuard::bump(side),
                Round::Idle(rest) => {
                    self.plan_to_wake(rest);
                    return Ok(Next::Sleep(self.idle_mark(side, rest)?));
                }
            }
        }
    }

    /// Says until when the commit thread sleeps: whoever leads meanwhile and leaves something earlier behind calls it.
    fn plan_to_wake(&self, rest: Option<Duration>) {
        let until = rest.map_or(u64::MAX, |rest| {
            self.look(|_, now| now.monotonic.after(rest).as_ms())
        });
        self.planned.store(until, Relaxed);
    }

    /// Waits a moment for those who were just answered, if that has paid lately. See [`Gather`].
    fn gather(&self, side: &mut LogSide) {
        let Some((wanted, wait)) = side.gather.plan() else {
            return;
        };
        // Those who are in the ring already came during the sync: they are the other half, not the ones just answered.
        let before = self.submissions.len();
        let arrived = || self.submissions.len() >= before + wanted || !self.settlements.is_empty();
        if !arrived() && !self.desk.lock().has_work() {
            self.gathering.store(before + wanted, Relaxed);
            self.signal.forget(); // calls of before; a round follows in any case
            self.signal.sleep(Some(wait), arrived);
            self.gathering.store(0, Relaxed);
        }
        let came = self.submissions.len().saturating_sub(before);
        side.gather.note_arrivals(wanted, came);
    }

    /// Marks the end of the log as whole once nothing happens any more; returns how long to sleep.
    fn idle_mark(
        &self,
        side: &mut LogSide,
        rest: Option<Duration>,
    ) -> Result<Option<Duration>, Stopped> {
        let Some(log) = &mut side.log else {
            return Ok(rest);
        };
        if log.unsynced_bytes() > 0 || rest.is_some_and(|rest| rest < IDLE_MARK_AFTER) {
            return Ok(rest);
        }
        if !std::mem::replace(&mut side.was_idle, true) {
            return Ok(Some(IDLE_MARK_AFTER)); // the next time round nothing has happened since
        }
        let now = self.look(|_, now| *now);
        log.idle_mark(&now).map_err(poisoned)?;
        Ok(rest)
    }
}
