//! Room for snapshots on a disk that is nearly full.
//!
//! A store that is full can only be emptied if what settles its messages can be written, for which there are spares, and if the
//! segments filled with that become free again, for which two snapshots must be taken. Spares are written space; this is the other half:
//! while space is scarce, a file of zeros ([`ROOM_NAME`]) holds what the next snapshots will need beyond the space of those they
//! replace, and is cut by what one needs right before it is written.
//!
//! Invariant: while [`DiskRoom::low`](crate::spares::DiskRoom::low) is not said, two snapshots of the present size can be taken one after
//! the other, unless other programs take the space in the moment in which it is handed over.
//!
//! What it does not do: keep room while there is plenty; the file is removed then.

use std::io;

use crate::error::{Failure, JournalError};
use crate::keeper::{Keeper, open_or_create, remove_if_there};
use crate::spares::{Prepared, Trouble};
use crate::storage::{OpenMode, write_all_at};

/// The file that holds the room.
pub const ROOM_NAME: &str = "snap-room";
/// Bytes written in one step.
const STRETCH: u64 = 1 << 20;
/// What a message is taken to need in a snapshot before one was written.
const MESSAGE_SIZE_GUESS: u64 = 96;
/// What a snapshot needs beyond its messages.
const SNAPSHOT_SIZE_BASE: u64 = 16 << 10;

impl Keeper {
    /// Tells the pool what is needed and what is held.
    pub(crate) fn report_room(&mut self) -> Result<(), JournalError> {
        let held = self.held()?;
        self.pool.set_snapshot_room(self.room_need(), held);
        Ok(())
    }

    /// One step towards as much room as is needed now.
    pub(crate) fn keep_room(&mut self) -> Result<Prepared, JournalError> {
        let (need, held) = (self.room_need(), self.held()?);
        if !self.pool.is_scarce() && held > 0 {
            self.release()?;
            return Ok(Prepared::Progress);
        }
        if !self.pool.is_scarce() || held >= need {
            return Ok(Prepared::Enough);
        }
        let free = self.storage.free_bytes().unwrap_or(u64::MAX);
        let stretch = (need - held).min(STRETCH).min(free);
        if stretch == 0 {
            return Ok(Prepared::DiskLow);
        }
        match self.widen(held, stretch) {
            Ok(()) => {
                self.report_room()?;
                Ok(Prepared::Progress)
            }
            Err(Trouble::NoRoom) => {
                self.room = None; // part of it was written
                Ok(Prepared::DiskLow)
            }
            Err(Trouble::Journal(error)) => Err(error),
        }
    }

    /// Cuts the room by what the next snapshot needs beyond the free space; `false` if there is not enough of both. Free space is only a
    /// hint, but it saves writing all but the end of a large snapshot again and again.
    pub(crate) fn make_room_for_snapshot(&mut self) -> Result<bool, JournalError> {
        let free = self.storage.free_bytes().unwrap_or(u64::MAX);
        let wanted = self.snapshot_need().saturating_sub(free);
        let held = self.held()?;
        if wanted == 0 {
            return Ok(true);
        }
        if free.saturating_add(held) < self.snapshot_estimate() {
            return Ok(false);
        }
        if held == 0 {
            return Ok(true);
        }
        if self.cut(held.saturating_sub(wanted))? {
            return Ok(true);
        }
        Ok(free >= self.snapshot_estimate())
    }

    /// Cuts the room; `false` if it is not there, because somebody deleted it: then nothing is held. Or no more files may be open.
    fn cut(&mut self, left: u64) -> Result<bool, JournalError> {
        let opened = match self.storage.open(ROOM_NAME, OpenMode::ReadWrite) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.room = Some(0);
                return Ok(false);
            }
            opened => opened.map_err(Failure::of("open", ROOM_NAME)),
        };
        let file = match self.pool.note_opened(opened) {
            Err(failure) if failure.lacks_room() => return Ok(false),
            opened => opened?,
        };
        // Synced, because a file system may keep the space until then.
        file.set_size(left)
            .and_then(|()| file.sync_data())
            .map_err(Failure::of("cut", ROOM_NAME))?;
        self.room = Some(left);
        Ok(true)
    }

    /// Bytes the next snapshot may take, with a quarter to spare.
    fn snapshot_need(&self) -> u64 {
        let estimate = self.snapshot_estimate();
        estimate + estimate / 4
    }

    /// Bytes the next snapshot will take, by the last one.
    pub(crate) fn snapshot_estimate(&self) -> u64 {
        let (size, each) = self
            .slots
            .newest()
            .map_or((0, MESSAGE_SIZE_GUESS), |newest| {
                (newest.size, newest.size / newest.records.max(1))
            });
        SNAPSHOT_SIZE_BASE + size.max(each.saturating_mul(self.messages))
    }

    /// Two snapshots are taken before anything is freed, and while one is written, both others stand: space for three, less what two have.
    fn room_need(&self) -> u64 {
        let need = self.snapshot_need();
        self.slots
            .sizes()
            .iter()
            .fold(need, |sum, size| sum + need.saturating_sub(*size))
    }

    /// Bytes held. What an earlier opening left counts: it was written, stretch by stretch.
    fn held(&mut self) -> Result<u64, JournalError> {
        if let Some(held) = self.room {
            return Ok(held);
        }
        let held = match self.storage.open(ROOM_NAME, OpenMode::Read) {
            Ok(file) => file.size(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        };
        let held = match held.map_err(Failure::of("look at", ROOM_NAME)) {
            Err(failure) if failure.lacks_room() => return Ok(0), // looked at again
            held => held?,
        };
        Ok(*self.room.insert(held))
    }

    fn widen(&mut self, held: u64, stretch: u64) -> Result<(), Trouble> {
        let zeros = vec![0; usize::try_from(stretch).unwrap_or_default()];
        let opened = open_or_create(&*self.storage, ROOM_NAME);
        let file = self.pool.note_opened(opened).map_err(Trouble::of)?;
        // Less than was thought if somebody deleted it: behind a hole, nothing would be held.
        let size = file.size().map_err(Failure::of("look at", ROOM_NAME));
        let held = held.min(size.map_err(Trouble::of)?);
        write_all_at(&*file, &zeros, held)
            .and_then(|()| file.sync_data())
            .map_err(Failure::of("write", ROOM_NAME))
            .map_err(Trouble::of)?;
        self.room = Some(held + stretch);
        Ok(())
    }

    fn release(&mut self) -> Result<(), JournalError> {
        remove_if_there(&*self.storage, ROOM_NAME)?;
        self.room = Some(0);
        Ok(())
    }
}
