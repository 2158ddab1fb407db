//! The log: frames go in, in order, and are made durable.
//!
//! Invariants:
//! 1. A frame lies in one segment. When it does not fit, the old segment is sealed and synced before the first byte is written to the
//!    new one; so everything before the segment that is written is durable.
//! 2. Frames begin at sector boundaries, and no sector that holds part of a frame is ever written again: what a torn write can spoil
//!    was never promised. A write goes on with zeros to the end of its page, so that every page is first written whole and the system
//!    never has to read one to complete it.
//! 3. A frame is written only when the journal is synced up to [`UNSYNCED_MAX`] bytes before it, and says up to where.
//! 4. [`Log::durable`] never passes what a sync that answered `Ok` covered, and never goes back.
//! 5. The first failure of a write, sync or change of segment is final: every later call answers the same [`JournalError`], and nothing
//!    is tried again. A disk without room is no such failure for [`Log::try_write`]: what was promised lies elsewhere, and the same
//!    bytes may be written over what a cut write left.
//!
//! What it does not do: decide when to sync, run threads, read.

mod sync;

use std::sync::Arc;

use mq_core::canary;
use mq_core::time::Now;

use crate::checksum::Seed;
use crate::error::{Failure, JournalError};
pub use crate::frame::PlaceChange;
use crate::frame::{Frame, FrameFlags};
use crate::identity::Identity;
use crate::lsn::Lsn;
use crate::pins::SegmentFile;
use crate::record::Previous;
use crate::segment::{DATA_START, FRAME_ALIGN, UNSYNCED_MAX, align_frame, align_page};
use crate::spares::{Spare, SparePool, Trouble};
use crate::storage::{StorageFile, write_all_at};
use sync::Syncer;
pub use sync::{PendingSync, SyncAnswer};

/// The largest frame, in bytes: one command's records and everything else that may share its frame stay far below.
pub const FRAME_SIZE_MAX: u32 = 1 << 30;
/// Bytes kept free at the end of a segment for the frame that seals it.
const SEAL_SIZE: u32 = FRAME_ALIGN;

/// A frame that was written.
#[derive(Debug)]
pub struct Written {
    /// Where it begins.
    pub start: Lsn,
    /// Where the next one will begin.
    pub end: Lsn,
    /// What it did to the places of messages, in order. [`Frame::reuse`] takes the list back.
    pub changes: Vec<PlaceChange>,
}

/// The log of one store. See the head of this file.
#[derive(Debug)]
pub struct Log {
    identity: Identity,
    spares: Arc<SparePool>,
    segment: Arc<SegmentFile>,
    file: Arc<dyn StorageFile>,
    seed: Seed,
    /// Where the next frame goes.
    position: u32,
    /// The first frame of the segment, while it waits to be written together with the next one. It lies right before `position`.
    staged: Vec<u8>,
    /// The segment to go on in, if there was no room to seal the one before.
    next: Option<Spare>,
    previous_crc: u32,
    durable: Lsn,
    /// The end of the last frame that has to be synced: marks have not.
    dirty_end: Lsn,
    idle: bool,
    syncer: Arc<Syncer>,
    poison: Option<JournalError>,
}

impl Log {
    /// A log that goes on in the new segment `spare`. The journal before is durable up to `durable`, and the frame there has the
    /// checksum `previous_crc`.
    pub(crate) fn new(
        identity: Identity,
        spares: Arc<SparePool>,
        spare: Spare,
        durable: Lsn,
        previous_crc: u32,
    ) -> Self {
        let log = Self {
            identity,
            spares,
            seed: Seed::of_salt(spare.segment.salt()),
            segment: spare.segment,
            file: spare.file,
            position: DATA_START,
            staged: Vec::new(),
            next: None,
            previous_crc,
            durable,
            dirty_end: durable,
            idle: false,
            syncer: Arc::default(),
            poison: None,
        };
        log.note_left();
        log
    }

    /// Tells the pool what the segment in use still takes.
    fn note_left(&self) {
        let behind = |position: u32| {
            let end = self.segment.size().saturating_sub(SEAL_SIZE);
            end.saturating_sub(position) & !(FRAME_ALIGN - 1)
        };
        let whole = behind(DATA_START + FRAME_ALIGN);
        self.spares.note_left(behind(self.position), whole);
    }

    /// Bytes that a segment must have so that a frame of `size` bytes can be its first.
    pub(crate) const fn segment_size_for(size: u32) -> u32 {
        align_page(
            DATA_START
                .saturating_add(FRAME_ALIGN)
                .saturating_add(align_frame(size))
                .saturating_add(SEAL_SIZE),
        )
    }

    /// Writes the frame and empties it, keeping its buffers. It is not durable before a [`sync`](Self::sync). An empty frame is not
    /// written.
    ///
    /// # Errors
    /// The log has stopped, now or earlier; a disk without room stops it, too. Whether the frame will be there at the next opening is
    /// unknown.
    pub fn write(&mut self, frame: &mut Frame, now: &Now) -> Result<Written, JournalError> {
        let written = self.try_write(frame, now)?;
        let written = written.ok_or_else(|| self.no_room("write"));
        self.stop_on_error(written)
    }

    /// [`Log::write`] that answers `None` if the disk has no room for the frame now: it is as it was, and nothing was promised. No other
    /// frame may be written before this one is.
    ///
    /// # Errors
    /// As for `write`.
    pub fn try_write(
        &mut self,
        frame: &mut Frame,
        now: &Now,
    ) -> Result<Option<Written>, JournalError> {
        self.check()?;
        if frame.is_empty() {
            let (start, end) = (self.written(), self.written());
            return Ok(Some(Written {
                start,
                end,
                changes: frame.take_changes(start),
            }));
        }
        match self.write_flagged(frame, FrameFlags::NONE, now) {
            Ok(written) => Ok(Some(written)),
            Err(Trouble::NoRoom) => Ok(None),
            Err(Trouble::Journal(error)) => self.stop_on_error(Err(error)),
        }
    }

    /// Writes the first frame of the segment this log was made with, and syncs it.
    pub(crate) fn write_first(
        &mut self,
        frame: &mut Frame,
        now: &Now,
    ) -> Result<Written, JournalError> {
        let flags = FrameFlags::FIRST.and(FrameFlags::RECOVERY);
        let written = self.write_certain(frame, flags, now)?;
        if canary::sings("recovery-not-synced") {
            self.durable = self.dirty_end;
        }
        self.sync()?;
        Ok(written)
    }

    /// Makes everything written durable; answers up to where. Costs nothing if it is already.
    ///
    /// # Errors
    /// The log has stopped. What was durable stays so; what was not may or may not survive.
    pub fn sync(&mut self) -> Result<Lsn, JournalError> {
        match self.begin_sync()? {
            Some(pending) => self.end_sync(pending.run()),
            None => Ok(self.durable),
        }
    }

    /// Prepares a sync of everything written so far that is run without the log; `None` if nothing has to be synced. The log can be
    /// written meanwhile.
    ///
    /// # Errors
    /// The log has stopped.
    pub fn begin_sync(&mut self) -> Result<Option<PendingSync>, JournalError> {
        self.check()?;
        Ok(self.is_dirty().then(|| PendingSync {
            syncer: Arc::clone(&self.syncer),
            file: Arc::clone(&self.file),
            name: self.segment.name().to_owned(),
            end: self.dirty_end,
        }))
    }

    /// Takes the answer of a sync; answers up to where the journal is durable now.
    ///
    /// # Errors
    /// The sync failed, or the log had stopped before.
    pub fn end_sync(&mut self, answer: SyncAnswer) -> Result<Lsn, JournalError> {
        self.check()?;
        let end = self.stop_on_error(answer.result)?;
        self.durable = self.durable.max(end);
        Ok(self.durable)
    }

    /// Everything before this is durable.
    #[must_use]
    pub const fn durable(&self) -> Lsn {
        self.durable
    }

    /// Everything before this is written, and [`sync`](Self::sync) makes it durable. A mark is not counted: nothing hangs on it.
    #[must_use]
    pub const fn written(&self) -> Lsn {
        self.dirty_end
    }

    /// Bytes written that have to be synced.
    #[must_use]
    pub fn unsynced_bytes(&self) -> u64 {
        if self.is_dirty() {
            self.ahead().into()
        } else {
            0
        }
    }

    /// Writes, without syncing, a mark that everything before it is durable. Does nothing if something is not, or if the last frame is
    /// such a mark already.
    ///
    /// Without it, damage to the last synced frame could not be told from a torn write.
    ///
    /// # Errors
    /// The log has stopped.
    pub fn idle_mark(&mut self, now: &Now) -> Result<(), JournalError> {
        self.check()?;
        if self.idle || self.is_dirty() {
            return Ok(());
        }
        let fits = self.position.saturating_add(FRAME_ALIGN + SEAL_SIZE) <= self.segment.size();
        if !fits && self.spares.is_scarce() {
            return Ok(()); // not worth a segment now
        }
        let dirty_end = self.dirty_end;
        let mut frame = Frame::new(&self.identity);
        match self.write_flagged(&mut frame, FrameFlags::IDLE, now) {
            Ok(_) => {}
            Err(Trouble::NoRoom) => return Ok(()), // nothing hangs on it
            Err(Trouble::Journal(error)) => return self.stop_on_error(Err(error)),
        }
        // A change of segment on the way has synced what was before; the mark itself is never waited for.
        self.dirty_end = dirty_end;
        self.idle = true;
        Ok(())
    }

    /// Syncs, notes that the store was closed in order, and syncs that; answers where the journal ends.
    ///
    /// # Errors
    /// The log has stopped; the store will be recovered when it is opened.
    pub fn close(mut self, now: &Now) -> Result<Lsn, JournalError> {
        if canary::sings("close-not-synced") {
            self.durable = self.dirty_end;
        }
        self.sync()?;
        let mut frame = Frame::new(&self.identity);
        self.write_certain(&mut frame, FrameFlags::CLEAN, now)?;
        if canary::sings("close-not-synced") {
            return Ok(self.dirty_end);
        }
        self.sync()
    }

    /// Stops the log for good, because something that belongs to it failed elsewhere. The first reason is kept.
    pub fn stop(&mut self, reason: JournalError) {
        self.poison.get_or_insert(reason);
    }

    /// How many syncs of journal files the log has asked for.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.syncer.count()
    }

    /// Where the next frame goes, unless it needs a new segment.
    fn here(&self) -> Lsn {
        Lsn::new(self.segment.number(), self.position)
    }

    fn check(&self) -> Result<(), JournalError> {
        self.poison.clone().map_or(Ok(()), Err)
    }

    fn stop_on_error<T>(&mut self, result: Result<T, JournalError>) -> Result<T, JournalError> {
        if let Err(reason) = &result {
            self.stop(reason.clone());
        }
        result
    }

    fn is_dirty(&self) -> bool {
        self.durable < self.dirty_end
    }

    /// Bytes between what is durable and the next frame. Segments before this one are durable to their end.
    fn ahead(&self) -> u32 {
        if self.durable.segment() == self.segment.number() {
            self.position.saturating_sub(self.durable.offset())
        } else {
            self.position.saturating_sub(DATA_START)
        }
    }

    /// [`Log::write_flagged`] for frames that cannot wait for room.
    fn write_certain(
        &mut self,
        frame: &mut Frame,
        flags: FrameFlags,
        now: &Now,
    ) -> Result<Written, JournalError> {
        let written = self.write_flagged(frame, flags, now);
        let written = written.map_err(|trouble| match trouble {
            Trouble::NoRoom => self.no_room("write"),
            Trouble::Journal(error) => error,
        });
        self.stop_on_error(written)
    }

    fn write_flagged(
        &mut self,
        frame: &mut Frame,
        flags: FrameFlags,
        now: &Now,
    ) -> Result<Written, Trouble> {
        let size = u32::try_from(frame.size())
            .ok()
            .filter(|size| *size <= FRAME_SIZE_MAX)
            .ok_or_else(|| self.failure("write", std::io::ErrorKind::FileTooLarge))?;
        if self.ahead() > UNSYNCED_MAX {
            self.sync_here()?;
        }
        if self.position.saturating_add(align_frame(size) + SEAL_SIZE) > self.segment.size() {
            self.rotate(size, now)?;
        }
        let written = self.put(frame, flags, now);
        self.note_left();
        written
    }

    /// Goes on in a new segment, in which a frame of `size` bytes will fit.
    fn rotate(&mut self, size: u32, now: &Now) -> Result<(), Trouble> {
        // First, so that a full disk is met before the old segment is sealed.
        let spare = self.spare(Self::segment_size_for(size))?;
        let mut frame = Frame::new(&self.identity);
        frame.append_next(spare.segment.number());
        if let Err(trouble) = self.put(&mut frame, FrameFlags::SEAL, now) {
            self.next = Some(spare);
            return Err(trouble);
        }
        if canary::sings("sealed-segment-not-synced") {
            self.durable = self.durable.max(self.here());
        } else {
            self.sync_here()?;
        }
        let end = self.here();
        self.seed = Seed::of_salt(spare.segment.salt());
        self.segment = spare.segment;
        self.file = spare.file;
        self.position = DATA_START;
        frame.append_previous(&Previous {
            end,
            crc: self.previous_crc,
            read_end: end,
            frames: 0,
        });
        self.stage(&mut frame, now);
        Ok(())
    }

    fn spare(&mut self, size_min: u32) -> Result<Spare, Trouble> {
        if let Some(spare) = self.next.take()
            && spare.segment.size() >= size_min
        {
            return Ok(spare);
        }
        // One that was taken for a smaller frame stays behind, empty, and is freed with those around it.
        match self.spares.take(size_min) {
            Some(spare) => Ok(spare),
            None => self.spares.prepare_now(size_min),
        }
    }

    /// Lays out the first frame of a segment so that it is written together with the next one, in one call.
    fn stage(&mut self, frame: &mut Frame, now: &Now) {
        let (header, crc) = self.header(frame, FrameFlags::FIRST, now);
        let size = frame.size().next_multiple_of(FRAME_ALIGN as usize);
        let laid_out = frame.lay_out(&[], &header, self.position);
        self.staged
            .extend_from_slice(laid_out.get(..size).unwrap_or_default());
        self.position += FRAME_ALIGN;
        self.previous_crc = crc;
    }

    /// Writes a frame at the present position, which has room for it.
    fn put(&mut self, frame: &mut Frame, flags: FrameFlags, now: &Now) -> Result<Written, Trouble> {
        let start = self.here();
        let size_alone = frame.size();
        let size = align_frame(u32::try_from(size_alone).unwrap_or(u32::MAX));
        let (header, crc) = self.header(frame, flags, now);
        let staged = u32::try_from(self.staged.len()).unwrap_or(FRAME_ALIGN);
        let offset = self.position - staged;
        let bytes = frame.lay_out(&self.staged, &header, offset);
        let put = write_all_at(&*self.file, bytes, offset.into());
        if let Err(error) = put {
            frame.take_back(size_alone);
            return Err(Trouble::of(Failure::of("write", self.segment.name())(
                error,
            )));
        }
        self.position += size;
        self.previous_crc = crc;
        self.staged.clear();
        self.idle = false;
        self.dirty_end = self.here();
        Ok(Written {
            start,
            end: self.here(),
            changes: frame.take_changes(start),
        })
    }

    fn header(
        &self,
        frame: &Frame,
        flags: FrameFlags,
        now: &Now,
    ) -> ([u8; crate::frame::FRAME_HEADER_SIZE], u32) {
        let mut header = frame.header();
        header.lsn = self.here();
        header.durable = self.durable;
        if canary::sings("watermark-stands-still") {
            header.durable = Lsn::START;
        }
        header.wall = now.wall;
        header.store = now.store;
        header.flags = flags;
        header.previous_crc = self.previous_crc;
        header.encode(self.seed)
    }

    fn sync_here(&mut self) -> Result<(), JournalError> {
        self.syncer.sync(&*self.file, self.segment.name())?;
        self.durable = self.durable.max(self.here());
        Ok(())
    }

    /// What was not written for lack of room.
    fn no_room(&self, operation: &'static str) -> JournalError {
        let lack = self.spares.lack_of_files();
        let source = lack.unwrap_or_else(|| std::io::ErrorKind::StorageFull.into());
        Failure::of(operation, self.segment.name())(source).into()
    }

    fn failure(&self, operation: &'static str, kind: std::io::ErrorKind) -> JournalError {
        Failure::of(operation, self.segment.name())(kind.into()).into()
    }
}

#[cfg(test)]
mod tests;
