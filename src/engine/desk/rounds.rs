//! What the holder of the log token asks of the desk: serve what time demands, hand the open frame over, hear how far it
//! got, and say when to come back.
//!
//! Invariant: nothing here decides for a caller; the marks move forward only.

use std::time::Duration;

use mq_core::time::Now;
use mq_persistence::frame::Frame;
use mq_persistence::log::Written;

use super::{Desk, Handover, PutOff, mistakes};
use crate::engine::effects::{Needs, Released};

/// What has fallen due is tried this often while work waits for room on the disk.
const HELD_PACE: Duration = Duration::from_millis(100);

impl Desk {
    /// Does what time demands: messages that fall due, leases that ran out, retention, waiting enqueues, grants.
    pub(crate) fn serve(&mut self, now: &Now) {
        if self.closed {
            return;
        }
        self.answer_waiters();
        self.manager.advance(now);
        self.tick(now);
        self.waiters.note_tick();
        self.retry_waiting(now);
        if mistakes::releases_early() {
            self.manager.durable(0);
        }
        self.grant(now);
        self.deliver_notices();
        for late in self.waiters.take_late(now.monotonic) {
            self.push(Needs::Write, late);
        }
    }

    /// Takes in what did not fit into the frame before.
    pub(crate) fn take_put_off(&mut self, now: &Now) {
        let mut waiting = std::mem::take(&mut self.put_off);
        while self.put_off.is_empty()
            && let Some(first) = waiting.pop_front()
        {
            match first {
                PutOff::Settle(job) => self.settle(now, job),
                PutOff::Enqueue(first) => self.enqueue_first(now, first),
            }
        }
        self.put_off.append(&mut waiting);
    }

    /// Lets those who waited for what ended in the open frame hear of it with that frame.
    fn answer_waiters(&mut self) {
        let needs = self.durably();
        for answer in self.waiters.take_over() {
            self.push(needs, answer);
        }
    }

    /// Hands the open frame over in exchange for an empty one, and opens the next.
    pub(crate) fn hand_over(&mut self, now: &Now, frame: &mut Frame) -> Handover {
        let has_events = self.open_events > 0;
        if let Some(paper) = &mut self.paper {
            std::mem::swap(&mut paper.frame, frame);
        }
        if has_events {
            self.in_flight = u32::try_from(frame.size()).unwrap_or(u32::MAX);
            self.look_behind();
        }
        self.close_frame(now)
    }

    /// [`Desk::hand_over`] without a journal: there is nothing to write.
    pub(crate) fn close_frame(&mut self, now: &Now) -> Handover {
        self.answer_waiters();
        let has_events = self.open_events > 0;
        let overdue = self.sync_by.is_some_and(|by| by <= now.monotonic);
        let handover = Handover {
            mark: self.open,
            len: self.open_events,
            has_events,
            sync: self.wants_sync() || overdue,
        };
        if has_events {
            self.open += 1;
            self.open_events = 0;
            self.append_late();
        } else {
            // Nothing stands in the open frame: what is asked for concerns the frames before it.
            return Handover {
                mark: self.open - 1,
                ..handover
            };
        }
        handover
    }

    /// For builds that make mistakes on purpose: see [`mistakes::Late`].
    fn append_late(&mut self) {
        let late = self.late.take();
        self.open_events += late.len();
        if let Some(paper) = &mut self.paper {
            late.iter().for_each(|event| paper.frame.append(event));
        }
    }

    /// Frames up to `mark` are written: leases leave, answers that need no more leave.
    pub(crate) fn note_written(&mut self, mark: u64, written: Option<&Written>) {
        self.written = self.written.max(mark);
        self.in_flight = 0;
        if let (Some(paper), Some(written)) = (&mut self.paper, written) {
            paper.places.note(written);
        }
        self.cache.note_written(self.written);
        if self.written_is_durable {
            self.manager.durable(self.written);
        }
    }

    /// Frames up to `mark` are synced: everything that rests on them may be seen.
    pub(crate) fn note_synced(&mut self, mark: u64) {
        self.written = self.written.max(mark);
        self.synced = self.synced.max(mark);
        if self.open_events == 0 {
            self.sync_by = None;
        }
        self.manager.durable(self.synced);
    }

    /// Moves out the effects that may leave now.
    pub(crate) fn release(&mut self, into: &mut Vec<Released>) {
        self.effects.release(self.written, self.synced, into);
    }

    /// Whether a round would have something to write or to release.
    pub(crate) fn has_work(&self) -> bool {
        let put_off = !self.put_off.is_empty() && !self.is_held();
        self.open_events > 0 || put_off || self.wants_sync()
    }

    fn wants_sync(&self) -> bool {
        self.sync_wanted > self.synced
    }

    /// Whether everything decided is synced.
    pub(crate) fn is_settled(&self) -> bool {
        self.open_events == 0 && self.synced + 1 == self.open
    }

    /// Whether the clock has made something due that no round has taken up yet: a message that becomes ready, a schedule.
    pub(crate) fn has_fallen_due(&self, now: &Now) -> bool {
        let wall = self.manager.next_deadline().wall;
        wall.is_some_and(|due| due <= now.wall) || self.schedule_wait(now) == Some(Duration::ZERO)
    }

    /// Whether something is the first of the next frame.
    pub(crate) fn has_put_off(&self) -> bool {
        !self.put_off.is_empty()
    }

    /// [`Desk::idle_for`] while work waits for room on the disk: what has fallen due may need room, too, and is not tried all the time;
    /// schedules do not fire.
    pub(crate) fn held_for(&self, now: &Now) -> Option<Duration> {
        let due = self.due_in(now).map(|rest| rest.max(HELD_PACE));
        self.answers_in(now).into_iter().chain(due).min()
    }

    /// How long until somebody must be answered, or what was answered must be synced: neither needs room.
    fn answers_in(&self, now: &Now) -> Option<Duration> {
        let waits = [
            self.sync_by.map(|by| by.since(now.monotonic)),
            self.waiters
                .first_deadline()
                .map(|until| until.since(now.monotonic)),
            self.waiting_for_room.first_over(now),
        ];
        waits.into_iter().flatten().min()
    }

    /// How long nothing needs to be done, if nobody asks for anything.
    pub(crate) fn idle_for(&self, now: &Now) -> Option<Duration> {
        let waits = [
            self.answers_in(now),
            self.due_in(now),
            self.schedule_wait(now),
        ];
        waits.into_iter().flatten().min()
    }

    /// How long until something falls due.
    fn due_in(&self, now: &Now) -> Option<Duration> {
        let deadline = self.manager.next_deadline();
        let waits = [
            deadline.wall.map(|due| due.since(now.wall)),
            deadline.monotonic.map(|end| end.since(now.monotonic)),
            deadline.store.map(|end| end.since(now.store)),
        ];
        waits.into_iter().flatten().min()
    }
}
