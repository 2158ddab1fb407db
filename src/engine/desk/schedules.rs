//! The desk's share of schedules: whether one is due, and its fire as one command.

use std::sync::Arc;
use std::time::Duration;

use mq_core::message::Envelope;
use mq_core::schedule::{FireSchedule, Fired, Put, PutSchedule, Schedule, ScheduleRefused};
use mq_core::time::Now;
use mq_persistence::spares::Work;

use super::Desk;
use super::fitting::Fitting;
use crate::engine::telling::Cause;

/// The wall clock is looked at no less often while schedules wait: it may be set.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(60);

impl Desk {
    /// Whether schedules are to be fired now.
    pub(crate) fn schedule_is_due(&self, now: &Now) -> bool {
        self.schedule_wait(now)
            .is_some_and(|wait| wait.is_zero() || self.time.went_back())
    }

    /// All schedules, if the wall clock may have gone back since this was asked last: intervals then begin anew.
    pub(crate) fn take_schedules_to_move(&mut self) -> Vec<Arc<Schedule>> {
        if self.closed || !self.time.take_went_back() {
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
        Some(due.since(now.wall).min(LOOK_AT_CLOCK))
    }

    /// Fires a schedule: its messages and its next time in one frame. `None` if that is the next one.
    pub(crate) fn fire_schedule(
        &mut self,
        now: &Now,
        fire: &FireSchedule,
        envelopes: &[Arc<Envelope>],
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
        self.remember(&accepted, envelopes);
        self.waiters.note_replaced(&accepted);
        if self.manager.awaits_durable() {
            self.sync_wanted = self.open; // its messages are handed out when this is durable
        }
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
