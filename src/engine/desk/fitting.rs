//! Commands and the room on the disk: while space is scarce, a frame must fit into the largest spare, because there may be
//! no space for another.
//!
//! Invariants: a command that does not fit is refused, or put off to the next frame, before any of its events is appended; so a
//! command never stops the engine because it is large. What an operator changes is refused while the disk has no more than
//! settling needs, unless it frees room or lets work go on that does.

use mq_core::command::{EnqueueRefused, Operation, SaveCheckpoint, SettleRefused};
use mq_core::manager::Command;
use mq_core::time::Now;

use super::Desk;

/// Bytes that one change of a message may take at most: its history, checkpoint and result.
const CHANGE_SIZE_MAX: usize = 384 << 10;
/// Messages that one round of timers may change.
const TICK_MESSAGES_MAX: usize = 1_024;

/// What came of a command that has to fit into the open frame.
pub(super) enum Fitting<T> {
    /// It was decided.
    Decided(T),
    /// It fits, but not behind what is in the open frame. Nothing was changed.
    NextFrame,
    /// It fits into no frame that can be written for certain. Nothing was changed.
    TooLarge,
}

/// Whether an operation frees room, or lets work go on that does: it is taken on a full disk, too.
pub(crate) const fn frees_room(operation: &Operation) -> bool {
    match operation {
        Operation::Cancel | Operation::Purge | Operation::Release => true,
        Operation::Hold(_)
        | Operation::RunNow
        | Operation::Reschedule(_)
        | Operation::SetPriority(_)
        | Operation::MoveTo(_)
        | Operation::Replay { .. } => false,
    }
}

impl Desk {
    /// Whether space is so scarce that frames are bounded.
    const fn is_scarce(&self) -> bool {
        self.frame_size_max < u32::MAX as usize
    }

    /// [`Desk::decide`] for a command that may be large.
    pub(super) fn decide_fitting<C: Command>(
        &mut self,
        now: &Now,
        command: &C,
    ) -> Fitting<Result<C::Answer, C::Refused>> {
        self.decide_fitting_before(now, command, 0)
    }

    /// [`Desk::decide_fitting`] that leaves room in the frame for `size` bytes of what must stand beside it.
    pub(super) fn decide_fitting_before<C: Command>(
        &mut self,
        now: &Now,
        command: &C,
        size: usize,
    ) -> Fitting<Result<C::Answer, C::Refused>> {
        let decided = self.manager.decide(now, command, &mut self.events);
        if decided.is_err() {
            return Fitting::Decided(decided);
        }
        let with = match &self.paper {
            Some(paper) if self.is_scarce() => paper.frame.size_with(&self.events),
            Some(_) | None => 0,
        };
        if with.saturating_add(size) <= self.frame_size_max {
            self.append_and_apply(now);
            return Fitting::Decided(decided);
        }
        self.events.clear();
        if self.open_events > 0 {
            Fitting::NextFrame
        } else {
            Fitting::TooLarge
        }
    }

    /// Decides what an operator changes: refused as full if there is no room for it. Such changes are few: one that does not fit
    /// into the open frame is not put off. What is so already needs no room: a program that sets its queues and puts its
    /// schedules when it starts must be able to start on a full disk, because it is the one that makes room.
    pub(crate) fn change<C>(&mut self, now: &Now, command: &C) -> Result<C::Answer, C::Refused>
    where
        C: Command,
        C::Refused: From<EnqueueRefused>,
    {
        if self.disk_low {
            let decided = self.manager.decide(now, command, &mut self.events);
            if decided.is_ok() && self.events.is_empty() {
                return decided;
            }
            self.events.clear();
            return Err(self.disk_full().into());
        }
        match self.decide_fitting(now, command) {
            Fitting::Decided(decided) => decided,
            Fitting::NextFrame | Fitting::TooLarge => Err(self.disk_full().into()),
        }
    }

    /// Keeps a handler's checkpoint: refused as full if there is no room for it.
    pub(crate) fn save_checkpoint(
        &mut self,
        now: &Now,
        save: &SaveCheckpoint,
    ) -> Result<(), SettleRefused> {
        if !self.disk_low
            && let Fitting::Decided(decided) = self.decide_fitting(now, save)
        {
            return decided;
        }
        Err(SettleRefused::NoRoom(self.disk_full()))
    }

    /// How many messages time may change in the open frame.
    pub(super) fn tick_len(&self) -> usize {
        let Some(paper) = self.paper.as_ref().filter(|_| self.is_scarce()) else {
            return TICK_MESSAGES_MAX;
        };
        let left = self.frame_size_max.saturating_sub(paper.frame.size());
        let least = usize::from(self.open_events == 0); // or time would stand still
        (left / CHANGE_SIZE_MAX).clamp(least, TICK_MESSAGES_MAX)
    }
}
