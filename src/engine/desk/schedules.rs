//! The desk's share of schedules: whether one is due, and its fire as one command.

use std::sync::Arc;
use std::time::Duration;

use mq_core::schedule::{
    FireSchedule, Fired, Put, PutSchedule, ResumeSchedule, Schedule, ScheduleRefused,
};
use mq_core::time::Now;
use mq_persistence::spares::Work;

use super::Desk;
use super::fitting::Fitting;
use crate::engine::scheduler::RETRY_AFTER;
use crate::engine::telling::Cause;

/// The wall clock is looked at no less often while schedules wait: it may be set.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(60);

impl Desk {
    /// Whether schedules are to be fired now.
    pub(crate) fn schedule_is_due(&self, now: &Now) -> bool {
        self.schedule_wait(now).is_some_and(|wait| {
            wait.is_zero() || self.time.went_back_in(now) == Some(Duration::ZERO)
        })
    }

    /// All schedules, if the wall clock may have gone back since this was asked last: intervals then begin anew.
    pub(crate) fn take_schedules_to_move(&mut self, now: &Now) -> Vec<Arc<Schedule>> {
        if self.closed || !self.time.take_went_back(now) {
            return Vec::new();
        }
        self.manager.schedules()
    }

    /// How long no schedule needs to be fired.
    pub(super) fn schedule_wait(&self, now: &Now) -> Option<Duration> {
        if self.closed || !self.fires_schedules {
            return None;
        }
        let due = self.manager.next_deadline().schedule?;
        let again = self.time.went_back_in(now).unwrap_or(LOOK_AT_CLOCK);
        let again = again.min(LOOK_AT_CLOCK);
        let wait = due.since(now.wall);
        // That the clock went back is seen by a round: nobody sleeps until then.
        Some(if again.is_zero() {
            wait
        } else {
            wait.min(again)
        })
    }

    /// Lets an interval begin anew. Without room, `false`: while the disk is low nothing would be sent, and it is tried again.
    pub(crate) fn move_schedule(&mut self, now: &Now, resume: &ResumeSchedule) -> bool {
        if self.closed {
            return true;
        }
        let moved = self.change(now, resume);
        tracing::info!(schedule = %resume.seen.name, ?moved, "the wall clock went back: the interval begins anew");
        let waits = matches!(moved, Err(ScheduleRefused::Enqueue(_)));
        if waits {
            self.time.look_again_at(now.monotonic.after(RETRY_AFTER));
        }
        !waits
    }

    /// Fires a schedule: its messages and its next time in one frame. `None` if that is the next one.
    pub(crate) fn fire_schedule(
        &mut self,
        now: &Now,
        fire: &FireSchedule,
    ) -> Result<Option<Fired>, ScheduleRefused> {
        if self.is_held() || (self.disk_low && !fire.drafts.is_empty()) {
            return Err(self.disk_full().into());
        }
        self.cause = Cause::Enqueue;
        let fitting = self.decide_fitting(now, fire, Work::Growing);
        self.cause = Cause::Plain;
        let accepted = match fitting {
            Fitting::Decided(accepted) => accepted?,
            Fitting::NextFrame => return Ok(None),
            Fitting::Later | Fitting::TooLarge => return Err(self.disk_full().into()),
        };
        self.remember(&accepted, &fire.drafts);
        self.waiters.note_replaced(&accepted);
        self.hurry_if_awaited();
        Ok(Some(accepted))
    }

    /// Stores a schedule.
    pub(crate) fn put_schedule(
        &mut self,
        now: &Now,
        put: &PutSchedule,
    ) -> Result<Put, ScheduleRefused> {
        self.change(now, put)
    }
}
