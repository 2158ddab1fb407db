//! Commands and the room on the disk: while space is scarce, a frame must fit into what is written ahead, because there may be
//! no space for more.
//!
//! Invariants
//! 1. A command that does not fit is refused, put off to the next frame, or waits, before any of its events is appended: the open
//!    frame, with the one that is being written before it, can always be written.
//! 2. What waits is told as [`Desk::is_held`]: nobody works on it again before room was looked for.
//! 3. Whoever would make the store need more room waits for no longer than something may be freed; whoever does not waits
//!    until there is room, and is never refused.
//!
//! What an operator changes is refused while the disk has no more than settling needs, unless it frees room or lets work go on that
//! does.

use mq_core::command::{EnqueueRefused, GiveBack, Operation, SaveCheckpoint, SettleRefused};
use mq_core::manager::{Command, Counted};
use mq_core::time::Now;
use mq_persistence::spares::{DiskRoom, Work};

use super::{CHANGE_SIZE, Desk, FRAME_SIZE_MIN, FRAME_SIZE_TARGET};

/// Messages that one round of timers may change.
const TICK_MESSAGES_MAX: usize = 1_024;

/// What came of a command that has to fit into the open frame.
pub(super) enum Fitting<T> {
    /// It was decided.
    Decided(T),
    /// It fits, but not behind what is in the open frame. Nothing was changed.
    NextFrame,
    /// It fits when something was freed. Nothing was changed.
    Later,
    /// It fits into no frame that can be hoped for. Nothing was changed.
    TooLarge,
}

/// How large the open frame may become, in bytes, by what is in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameRoom {
    /// Frames are weighed.
    bounded: bool,
    scarce: bool,
    growing: usize,
    settling: usize,
    freeing: usize,
    hoped: usize,
    reserve_given: bool,
}

impl Default for FrameRoom {
    fn default() -> Self {
        Self {
            bounded: false,
            scarce: false,
            growing: usize::MAX,
            settling: usize::MAX,
            freeing: usize::MAX,
            hoped: usize::MAX,
            reserve_given: false,
        }
    }
}

impl From<DiskRoom> for FrameRoom {
    fn from(room: DiskRoom) -> Self {
        let least = if room.scarce { 0 } else { FRAME_SIZE_MIN };
        let size = |size: u32| usize::try_from(size).unwrap_or(usize::MAX).max(least);
        Self {
            bounded: room.freeing < u32::MAX,
            scarce: room.scarce,
            growing: size(room.growing),
            settling: size(room.settling),
            freeing: size(room.freeing),
            hoped: size(room.hoped),
            reserve_given: room.reserve_given,
        }
    }
}

impl FrameRoom {
    /// The size of the open frame that `work` may bring it to.
    pub(super) const fn of(&self, work: Work) -> usize {
        match work {
            Work::Growing => self.growing,
            Work::Settling => self.settling,
            Work::Freeing => self.freeing,
        }
    }

    /// Whether a frame of `size` bytes for `work`, which cannot be written now, is worth waiting for.
    const fn may_come(&self, work: Work, size: usize) -> bool {
        let may_be_freed = match work {
            Work::Growing => !self.reserve_given,
            Work::Settling => true,
            Work::Freeing => false, // an operator is told
        };
        self.scarce && may_be_freed && size <= self.hoped
    }
}

/// Whether an operation on messages frees room, or lets work go on that does: it is taken on a full disk, too.
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
    /// Asks how much room the disk has: new messages are refused while it has no more than settling needs, and frames stay
    /// below what can be written for certain. Answers whether there is more room for those who wait.
    pub(crate) fn look_at_disk(&mut self) -> bool {
        let Some(paper) = &self.paper else {
            return false;
        };
        let room = paper.spares.room_behind(self.in_flight);
        let was_low = std::mem::replace(&mut self.disk_low, room.low);
        let was = std::mem::replace(&mut self.room, room.into());
        let more = self.room.settling > was.settling || self.room.growing > was.growing;
        // Those who would grow the store are told now that nothing will be freed for them.
        let gave = self.room.reserve_given && !was.reserve_given;
        (was_low && !room.low) || (was.scarce && (more || gave))
    }

    /// A frame was handed over: what may stand in the next one is what it leaves.
    pub(super) fn look_behind(&mut self) {
        if self.room.bounded {
            self.look_at_disk();
        }
    }

    /// A round begins: whoever waits for room tries again.
    pub(crate) fn look_for_room(&mut self) {
        self.look_at_disk();
        self.lacks_room = false;
    }

    /// Whether work waits until something is freed: nothing more is taken in but what is refused.
    pub(crate) fn is_held(&self) -> bool {
        self.lacks_room || (self.room.scarce && self.room.settling < 2 * CHANGE_SIZE)
    }

    /// Whether new messages are refused, because the disk has no more than settling needs.
    pub(crate) const fn refuses_new(&self) -> bool {
        self.disk_low
    }

    /// Whether the open frame is large enough to be handed over before more is taken in.
    pub(crate) fn is_full(&self) -> bool {
        let size_max = if self.room.scarce {
            self.room
                .settling
                .saturating_sub(CHANGE_SIZE)
                .min(FRAME_SIZE_TARGET)
        } else {
            self.room.settling.clamp(FRAME_SIZE_MIN, FRAME_SIZE_TARGET)
        };
        !self.put_off.is_empty()
            || self.open_events >= super::FRAME_LEN_TARGET
            || self
                .paper
                .as_ref()
                .is_some_and(|paper| paper.frame.size() >= size_max)
    }

    /// [`Desk::decide`] for a command that may be large.
    pub(super) fn decide_fitting<C: Command>(
        &mut self,
        now: &Now,
        command: &C,
        work: Work,
    ) -> Fitting<Result<C::Answer, C::Refused>> {
        self.decide_fitting_before(now, command, work, 0)
    }

    /// [`Desk::decide_fitting`] that leaves room in the frame for `size` bytes of what must stand beside it.
    pub(super) fn decide_fitting_before<C: Command>(
        &mut self,
        now: &Now,
        command: &C,
        work: Work,
        size: usize,
    ) -> Fitting<Result<C::Answer, C::Refused>> {
        let counted = self.room.bounded.then(|| self.manager.counted());
        let decided = self.manager.decide(now, command, &mut self.events);
        if decided.is_err() || self.events.is_empty() {
            return Fitting::Decided(decided);
        }
        let with = self.size_with_events().saturating_add(size);
        if with <= self.room.of(work) {
            self.append_and_apply(now);
            return Fitting::Decided(decided);
        }
        self.discard(counted);
        if self.open_events > 0 {
            Fitting::NextFrame
        } else if self.room.may_come(work, with) {
            self.lacks_room = true;
            Fitting::Later
        } else {
            Fitting::TooLarge
        }
    }

    /// Lets what was decided not be so.
    fn discard(&mut self, counted: Option<Counted>) {
        self.events.clear();
        if let Some(counted) = counted {
            self.manager.count_back(counted);
        }
    }

    /// Bytes of the open frame with the events that were just decided; 0 while frames are not weighed.
    fn size_with_events(&self) -> usize {
        match &self.paper {
            Some(paper) if self.room.bounded => paper.frame.size_with(&self.events),
            Some(_) | None => 0,
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
            let counted = self.manager.counted();
            let decided = self.manager.decide(now, command, &mut self.events);
            if decided.is_err() || self.events.is_empty() {
                return decided;
            }
            self.discard(Some(counted));
            return Err(self.disk_full().into());
        }
        self.free_room(now, command)
    }

    /// [`Desk::change`] for what frees room, or lets work go on that does: on a full disk, too, as long as there is any room at all.
    pub(crate) fn free_room<C>(&mut self, now: &Now, command: &C) -> Result<C::Answer, C::Refused>
    where
        C: Command,
        C::Refused: From<EnqueueRefused>,
    {
        match self.decide_fitting(now, command, Work::Freeing) {
            Fitting::Decided(decided) => decided,
            Fitting::NextFrame | Fitting::Later | Fitting::TooLarge => Err(self.disk_full().into()),
        }
    }

    /// Makes a lease that did not start ready again. Without room it is left to run out.
    pub(crate) fn give_back(&mut self, now: &Now, give_back: &GiveBack) {
        match self.decide_fitting(now, give_back, Work::Freeing) {
            Fitting::Decided(Ok(())) => {}
            Fitting::Decided(Err(stale)) => {
                tracing::debug!(%stale, "a lease that was given back had run out already");
            }
            Fitting::NextFrame | Fitting::Later | Fitting::TooLarge => {
                tracing::debug!("there is no room on the disk to give a lease back: it runs out");
            }
        }
    }

    /// Keeps a handler's checkpoint: refused as full if there is no room for it.
    pub(crate) fn save_checkpoint(
        &mut self,
        now: &Now,
        save: &SaveCheckpoint,
    ) -> Result<(), SettleRefused> {
        if !self.disk_low
            && let Fitting::Decided(decided) = self.decide_fitting(now, save, Work::Freeing)
        {
            return decided;
        }
        Err(SettleRefused::NoRoom(self.disk_full()))
    }

    /// Does what time demands of messages, as much of it as fits into the open frame.
    pub(super) fn tick(&mut self, now: &Now) {
        let mut len = TICK_MESSAGES_MAX;
        while len > 0 {
            let counted = self.room.bounded.then(|| self.manager.counted());
            self.manager.tick(now, len, &mut self.events);
            if self.events.is_empty() || self.size_with_events() <= self.room.settling {
                return self.append_and_apply(now);
            }
            len = match self.events.len().min(len) {
                0 | 1 => 0,
                several => (several / 4).max(1),
            };
            self.discard(counted);
        }
        self.lacks_room |= self.open_events == 0; // else the next frame has room
    }
}
