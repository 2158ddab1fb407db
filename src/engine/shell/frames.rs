//! One frame to the disk: written, then synced.
//!
//! Invariants: a frame that was handed over is written before any other, whole; until then nothing that rests on it leaves.
//! A disk without room holds it back; any other failure stops the engine.

use std::sync::atomic::Ordering::Relaxed;

use mq_core::backend::Stopped;
use mq_core::time::Now;

use super::{LogSide, Shell, poisoned};
use crate::engine::desk::Handover;

impl Shell {
    /// Writes the frame that found no room before, if there is one; `false` if there still is none.
    pub(super) fn write_held(&self, side: &mut LogSide) -> Result<bool, Stopped> {
        let Some(handover) = side.unwritten.take() else {
            return Ok(true);
        };
        self.check()?;
        let now = self.look(|_, now| *now);
        if !self.write(side, handover, &now)? {
            return Ok(false);
        }
        self.sync(side, handover.mark)?;
        Ok(true)
    }

    /// Writes the frame that was handed over; `false` if the disk has no room for it: then it waits, and nothing else is written.
    pub(super) fn write(
        &self,
        side: &mut LogSide,
        handover: Handover,
        now: &Now,
    ) -> Result<bool, Stopped> {
        let mark = handover.mark;
        let written = match &mut side.log {
            Some(log) => {
                let histogram = Some(&self.sight.append);
                let written = self.timed(histogram, || log.try_write(&mut side.frame, now));
                let written = match written.map_err(poisoned)? {
                    Some(written) => Some(written),
                    // What took the space may have been there for a moment only.
                    None => log.try_write(&mut side.frame, now).map_err(poisoned)?,
                };
                self.sight.lag.store(log.unsynced_bytes(), Relaxed);
                let Some(written) = written else {
                    side.unwritten = Some(handover);
                    if side
                        .log
                        .as_ref()
                        .is_some_and(|log| log.unsynced_bytes() > 0)
                    {
                        self.sync(side, mark - 1)?; // what was answered when it was written waits for no room
                    }
                    return Ok(false);
                };
                Some(written)
            }
            None => None,
        };
        side.was_idle = false;
        {
            let mut desk = self.desk.lock();
            self.check()?;
            desk.note_written(mark, written.as_ref());
            desk.release(&mut side.effects);
        }
        if let Some(written) = written {
            self.notice_rotation(side, written.end);
            side.frame.reuse(written.changes);
        }
        side.let_leave();
        Ok(true)
    }

    pub(super) fn sync(&self, side: &mut LogSide, mark: u64) -> Result<(), Stopped> {
        let before = self.clock.monotonic();
        if let Some(log) = &mut side.log {
            let is_dirty = log.unsynced_bytes() > 0;
            let histogram = is_dirty.then_some(&self.sight.sync);
            self.timed(histogram, || log.sync()).map_err(poisoned)?;
            self.sight.lag.store(log.unsynced_bytes(), Relaxed);
        }
        let ended = self.clock.monotonic();
        {
            let mut desk = self.desk.lock();
            self.check()?;
            desk.note_synced(mark);
            desk.release(&mut side.effects);
        }
        let answered = side.let_leave();
        side.gather
            .note_sync(ended, ended.saturating_sub(before), answered);
        Ok(())
    }
}
