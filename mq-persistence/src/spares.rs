//! Segments made ready before the log needs them, and how much room that leaves.
//!
//! A spare is a file whose every byte has been written once, whose header (number, salt) and name are durable. Taking one costs the
//! log no I/O, and writing to it needs no new space: a full disk cannot stop what is written into spares.
//!
//! Invariants:
//! 1. Numbers ascend in the order in which segments are taken, with gaps: a spare that was passed over, because a frame was too large
//!    for it or another was made meanwhile, is raw material again and gets a new number.
//! 2. A file named `spare-…` is never part of the journal. A segment on its way to being a spare loses its journal name durably before
//!    its header is touched, and gets the new one when the new header is durable.
//! 3. Only whole segments of this store and of this format version are recycled; anything else is removed and made anew.
//! 4. A disk that is full fails the making of a spare, not the journal: the state is *low*, callers refuse new messages, and what
//!    settles is written into the spares, but for what is kept for whoever frees segments. A name that finds no room in its directory,
//!    or a file that may not be open beside so many others, fails the making of a spare, too, and it is tried again. While no more files
//!    may be open, frames must fit into what is written ahead, as where space is scarce.
//!
//! What it does not do: decide which segments are free (the keeper does), write frames, wait, run a thread.

mod make;
mod runway;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use mq_core::time::Timestamp;
use parking_lot::Mutex;

use crate::error::{Failure, JournalError};
use crate::pins::{SegmentFile, Segments};
use crate::segment::{DATA_START, FRAME_ALIGN, SEGMENT_SIZE_MIN};
use crate::storage::{Storage, StorageFile};
use make::Filling;
use runway::Runway;

pub use make::Trouble;

/// Journal bytes per byte of the next segment: a store of 8 MiB has segments of 1 MiB, one of 512 MiB has the largest.
const SEGMENTS_PER_JOURNAL: u64 = 8;
/// Segments made on the spot, when the log finds no spare, are no larger than this unless a frame needs it: somebody waits.
const ON_THE_SPOT_SIZE_MAX: u32 = 4 << 20;
/// Bytes of a segment that its header and the frames the log writes by itself may take.
const FRAME_OVERHEAD: u32 = DATA_START + 3 * FRAME_ALIGN;
/// No frame is as large as this: one command has at most 32 MiB, and stands behind no more than 4 MiB of others.
const FRAME_SIZE_ANY: u32 = 128 << 20;
/// Freed segments kept for later beside the spares; what goes beyond is removed.
const MATERIAL_LEN_MAX: usize = 4;

/// What a pool has to know. Sizes are whole segments, header included.
#[derive(Clone, Copy, Debug)]
pub struct SpareOptions {
    /// Size of the first segments.
    pub size_first: u32,
    /// Size that segments grow to.
    pub size_max: u32,
    /// Spares kept ready.
    pub count: usize,
    /// Whether the file system overwrites in place. Where it does not, writing ahead is pointless and nothing is recycled.
    pub in_place: bool,
    /// Random bits, drawn anew at each opening: the salts of all segments made until the next one come from them.
    pub salt_seed: u64,
    /// When the store was opened, for the headers.
    pub opened: Timestamp,
}

/// A segment ready to be written, already among the [`Segments`] of the store.
#[derive(Debug)]
pub struct Spare {
    /// Number, size, salt, name.
    pub segment: Arc<SegmentFile>,
    /// Open for writing.
    pub file: Arc<dyn StorageFile>,
}

/// What one step of preparing did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// There are enough spares: nothing was done.
    Enough,
    /// Part of a spare was made; call again.
    Progress,
    /// The disk is full: nothing was done. Freeing segments, or space, helps.
    DiskLow,
}

/// How much can be written for certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskRoom {
    /// Bytes in spares.
    pub free_spare_bytes: u64,
    /// Space is so scarce that only what frees it may be written: no new messages.
    pub low: bool,
    /// Space is so scarce that frames must fit into what is written ahead. Or no more files may be open: space is of no use then.
    pub scarce: bool,
    /// No more files may be open.
    pub lacks_files: bool,
    /// The largest frame of each kind of work that can be written for certain, in bytes. While space is scarce, it fits into what is
    /// written ahead, without the reserve; else there is room for it beyond the spares. `u32::MAX` if any frame can be written.
    pub settling: u32,
    /// See `settling`.
    pub growing: u32,
    /// See `settling`.
    pub freeing: u32,
    /// No frame larger than this can be hoped for, whatever is freed. No less than the others.
    pub hoped: u32,
    /// Whoever frees segments had no use for the reserve: work has got part of it.
    pub reserve_given: bool,
    /// All that can be written is the segment in use and one spare at most.
    pub last: bool,
}

/// What a frame is for, where space is scarce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// The store needs more room behind it: two spares stay.
    Growing,
    /// The store needs no more room behind it: it leaves the reserve, or what is left of that.
    Settling,
    /// It frees segments, or lets them be freed: the reserve is for it.
    Freeing,
}

/// The spares of one store. See the head of this file.
#[derive(Debug)]
pub struct SparePool {
    storage: Arc<dyn Storage>,
    segments: Arc<Segments>,
    options: SpareOptions,
    state: Mutex<State>,
    /// The spare being written. Its lock is held during I/O; `state` never is.
    filling: Mutex<Option<Filling>>,
}

#[derive(Debug)]
struct State {
    ready: VecDeque<Spare>,
    material: Vec<Material>,
    next_number: u32,
    taken_number: u32,
    /// The first segment taken: in it, recovery notes that the store was opened.
    opening: Option<u32>,
    size_next: u32,
    starved: u64,
    /// Free bytes at the last look; none if the file system does not say.
    free: u64,
    scarce: bool,
    /// Bytes that the next snapshots will need beyond those they replace, and those written ahead for them.
    snapshot_need: u64,
    snapshot_room: u64,
    /// Bytes of frames that the segment in use still takes, and those it took when it was new.
    left: u32,
    whole: u32,
    /// How often half of the reserve was given to work.
    reserve_halved: u32,
    /// No more files may be open, as the system said with this code when one was wanted last; and people were told.
    lacks_files: Option<i32>,
}

/// A file that may become a spare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Material {
    /// Its name now.
    pub name: String,
    /// Its size in bytes.
    pub size: u32,
}

impl SparePool {
    /// A pool without spares. `next_number` is above the number in every file name of the store.
    #[must_use]
    pub fn new(
        storage: Arc<dyn Storage>,
        segments: Arc<Segments>,
        options: SpareOptions,
        next_number: u32,
    ) -> Self {
        let state = State {
            ready: VecDeque::new(),
            material: Vec::new(),
            next_number,
            taken_number: 0,
            opening: None,
            size_next: options.size_first,
            starved: 0,
            free: 0,
            scarce: false,
            snapshot_need: 0,
            snapshot_room: 0,
            left: 0,
            whole: 0,
            reserve_halved: 0,
            lacks_files: None,
        };
        let pool = Self {
            storage,
            segments,
            options,
            state: Mutex::new(state),
            filling: Mutex::new(None),
        };
        pool.refresh();
        pool
    }

    /// Takes the next spare of at least `size_min` bytes (header included) into the journal; spares too small for that are passed over
    /// and become raw material. `None` if there is none: see [`prepare_now`](Self::prepare_now).
    #[must_use]
    pub fn take(&self, size_min: u32) -> Option<Spare> {
        let spare = self.state.lock().take(size_min);
        if let Some(spare) = &spare {
            self.segments.add(Arc::clone(&spare.segment));
        }
        self.refresh();
        spare
    }

    /// Takes over spares that an earlier opening of the store made and never used, by ascending number.
    pub(crate) fn adopt(&self, spares: Vec<Spare>) {
        spares.into_iter().for_each(|spare| self.add(spare));
        self.refresh();
    }

    /// Makes a segment of at least `size_min` bytes while the caller waits, and takes it into the journal.
    ///
    /// # Errors
    /// [`Trouble::NoRoom`]: the disk is full, nothing was changed. [`Trouble::Journal`]: the journal must stop.
    pub fn prepare_now(&self, size_min: u32) -> Result<Spare, Trouble> {
        let material = self.state.lock().material_of(size_min);
        let recycled = material.map_or(Ok(None), |material| self.recycle(&material))?;
        let spare = match recycled {
            Some(spare) => spare,
            None => {
                let size = self.size_next().min(ON_THE_SPOT_SIZE_MAX).max(size_min);
                self.make(size).or_else(|trouble| match trouble {
                    Trouble::NoRoom => self.make(size_min.max(SEGMENT_SIZE_MIN)),
                    Trouble::Journal(_) => Err(trouble),
                })?
            }
        };
        self.state.lock().pass_over(spare.segment.number());
        self.segments.add(Arc::clone(&spare.segment));
        self.refresh();
        Ok(spare)
    }

    /// One bounded step towards enough spares: recycles one file, or writes one stretch of a new one.
    ///
    /// # Errors
    /// The journal must stop: a rename or sync failed. A full disk is no error but [`Prepared::DiskLow`].
    pub fn step(&self) -> Result<Prepared, JournalError> {
        self.refresh();
        let prepared = self.step_towards_enough();
        self.refresh();
        prepared
    }

    /// Hands over files that are no longer, or not yet, part of the journal.
    pub fn add_material(&self, material: Material) {
        self.state.lock().material.push(material);
    }

    /// How much can be written for certain.
    #[must_use]
    pub fn room(&self) -> DiskRoom {
        self.room_behind(0)
    }

    /// How much can be written for certain behind a frame of `in_flight` bytes that is about to be written; 0 if there is none.
    #[must_use]
    pub fn room_behind(&self, in_flight: u32) -> DiskRoom {
        let state = self.state.lock();
        let sizes = state.ready.iter().map(|spare| spare.segment.size());
        let largest = sizes.clone().max().unwrap_or(0).max(state.size_next);
        let largest_new = largest.saturating_sub(FRAME_OVERHEAD);
        let free_spare_bytes = sizes.clone().map(u64::from).sum();
        let low = state.is_low(&self.options);
        if !state.is_tight() {
            let largest = state.largest_frame(largest_new, &self.options);
            return DiskRoom {
                free_spare_bytes,
                low,
                scarce: false,
                settling: largest,
                growing: largest,
                freeing: largest,
                lacks_files: false,
                hoped: u32::MAX,
                reserve_given: false,
                last: state.ready.len() < 2,
            };
        }
        let mut runway = Runway {
            left: state.left,
            whole: state.whole,
            spares: sizes
                .map(|size| size.saturating_sub(FRAME_OVERHEAD))
                .collect(),
        };
        let hoped = largest_new.max(runway.whole);
        if in_flight > 0 {
            runway.take(in_flight);
        }
        DiskRoom {
            free_spare_bytes,
            low,
            scarce: true,
            lacks_files: state.lacks_files.is_some(),
            settling: runway.largest_with_reserve(state.reserve_halved),
            growing: runway.largest_growing(),
            freeing: runway.largest(),
            hoped,
            reserve_given: state.reserve_halved > 0,
            last: runway.spares.len() < 2,
        }
    }

    /// Says how much the segment in use still takes, and took when it was new.
    pub(crate) fn note_left(&self, left: u32, whole: u32) {
        let mut state = self.state.lock();
        (state.left, state.whole) = (left, whole);
    }

    /// Whoever frees segments has no use for the reserve at present: work gets half of it, until there is another spare.
    pub fn give_reserve(&self) {
        let mut state = self.state.lock();
        state.reserve_halved = (state.reserve_halved + 1).min(u32::BITS);
    }

    /// Whoever frees segments has a use for the reserve.
    pub(crate) fn keep_reserve(&self) {
        self.state.lock().reserve_halved = 0;
    }

    /// How often the log found no spare and one had to be made while it waited.
    #[must_use]
    pub fn starved(&self) -> u64 {
        self.state.lock().starved
    }

    /// Whether space is so scarce that the room for a snapshot must be written ahead.
    #[must_use]
    pub fn is_scarce(&self) -> bool {
        self.state.lock().scarce
    }

    /// Free bytes below which space is scarce.
    pub(crate) fn scarce_below(&self) -> u64 {
        self.state.lock().margin(&self.options)
    }

    /// Whether there are files to be recycled.
    pub(crate) fn has_material(&self) -> bool {
        !self.state.lock().material.is_empty()
    }

    /// Says how much the next snapshots will need and how much of it is written ahead.
    pub(crate) fn set_snapshot_room(&self, need: u64, room: u64) {
        let mut state = self.state.lock();
        state.snapshot_need = need;
        state.snapshot_room = room;
    }

    /// Makes spares of the raw material while there are too few of them, and removes the rest of it, and what was begun: nothing that an
    /// opening would have to look at is left. While space is scarce it is kept, as it is written.
    pub(crate) fn use_up_material(&self) -> Result<(), JournalError> {
        if self.is_scarce() {
            return Ok(());
        }
        while self.has_material() && !self.state.lock().has_enough(&self.options) {
            if self.step()? == Prepared::DiskLow {
                return Ok(());
            }
        }
        let rest = std::mem::take(&mut self.state.lock().material);
        let begun = self.filling.lock().take();
        let names = rest.into_iter().map(|material| material.name);
        let names: Vec<String> = names.chain(begun.map(Filling::into_name)).collect();
        for name in &names {
            self.remove(name)?;
        }
        if names.is_empty() {
            return Ok(());
        }
        self.sync_directory()
    }

    fn step_towards_enough(&self) -> Result<Prepared, JournalError> {
        if self.state.lock().has_enough(&self.options) {
            return self.remove_surplus();
        }
        // Taken out first: a guard in the head of a `match` would be held through its arms.
        let material = self.state.lock().material.pop();
        let stepped = match material {
            Some(material) => self.recycle_step(&material),
            None => self.fill_step(),
        };
        match stepped {
            Ok(prepared) => Ok(prepared),
            Err(Trouble::NoRoom) => Ok(Prepared::DiskLow),
            Err(Trouble::Journal(error)) => Err(error),
        }
    }

    /// Removes raw material beyond what is worth keeping.
    fn remove_surplus(&self) -> Result<Prepared, JournalError> {
        let surplus = {
            let material = &mut self.state.lock().material;
            let kept = if self.options.in_place {
                MATERIAL_LEN_MAX
            } else {
                0
            };
            material.split_off(material.len().min(kept))
        };
        if surplus.is_empty() {
            return Ok(Prepared::Enough);
        }
        for material in &surplus {
            self.remove(&material.name)?;
        }
        self.sync_directory()?;
        Ok(Prepared::Progress)
    }

    /// Adds a finished spare, unless the log has gone past its number meanwhile.
    fn add(&self, spare: Spare) {
        let mut state = self.state.lock();
        if spare.segment.number() > state.taken_number {
            state.ready.push_back(spare);
            state.reserve_halved = 0;
        } else {
            state.material.push(Material::of(&spare));
        }
    }

    /// What the system answered, if no more files might be open when one was wanted last.
    pub(crate) fn lack_of_files(&self) -> Option<io::Error> {
        let code = self.state.lock().lacks_files;
        code.map(io::Error::from_raw_os_error)
    }

    /// Takes note of whether files may be open, by the answer to opening one; says once that no more may be. Nobody would look for that
    /// where work waits for room.
    pub(crate) fn note_opened<T>(&self, opened: Result<T, Failure>) -> Result<T, Failure> {
        let lack = opened
            .as_ref()
            .err()
            .filter(|failure| failure.lacks_files());
        let code = lack.and_then(|failure| failure.source.raw_os_error());
        let before = std::mem::replace(&mut self.state.lock().lacks_files, code);
        if let Some(failure) = lack.filter(|_| before.is_none()) {
            tracing::warn!(
                %failure, reason = %failure.source,
                "too many files are open: no segments are made until some are closed, and new messages are refused as on a full \
                 disk; close what leaks, or raise the limit (`ulimit -n`, or `fs.file-max` for the whole system)"
            );
        }
        opened
    }

    /// The size of the next segment.
    fn size_next(&self) -> u32 {
        self.state.lock().size_next
    }

    /// Looks at the disk again and lets segments grow with the journal.
    fn refresh(&self) {
        let free = self.storage.free_bytes().ok();
        let (_, journal) = self.segments.total();
        let mut state = self.state.lock();
        while u64::from(state.size_next) * SEGMENTS_PER_JOURNAL * 2 <= journal {
            if !state.grow(self.options.size_max) {
                break;
            }
        }
        // Without an answer from the file system what is written ahead is all that is certain.
        state.free = free.unwrap_or(0);
        state.scarce = free.is_none_or(|free| free < state.margin(&self.options));
    }
}

impl State {
    fn take(&mut self, size_min: u32) -> Option<Spare> {
        let mut fitting = self.ready.iter();
        let Some(position) = fitting.position(|spare| spare.segment.size() >= size_min) else {
            self.starved += 1;
            return None;
        };
        let spare = self.ready.remove(position)?;
        self.pass_over(spare.segment.number());
        Some(spare)
    }

    /// The segment `number` is taken: spares with lower numbers cannot follow on it any more.
    fn pass_over(&mut self, number: u32) {
        self.taken_number = number;
        self.opening.get_or_insert(number);
        while self
            .ready
            .front()
            .is_some_and(|it| it.segment.number() < number)
        {
            let passed_over = self.ready.pop_front();
            self.material.extend(passed_over.as_ref().map(Material::of));
        }
    }

    /// The first piece of raw material that is large enough.
    fn material_of(&mut self, size_min: u32) -> Option<Material> {
        let position = self.material.iter().position(|it| it.size >= size_min)?;
        Some(self.material.swap_remove(position))
    }

    /// Whether frames must fit into what is written ahead.
    const fn is_tight(&self) -> bool {
        self.scarce || self.lacks_files.is_some()
    }

    /// Whether nothing need be made. Where no more files might be open, one more is tried: nothing else would show that they may be.
    fn has_enough(&self, options: &SpareOptions) -> bool {
        self.has_spares(options) && self.lacks_files.is_none()
    }

    fn has_spares(&self, options: &SpareOptions) -> bool {
        self.ready.len() >= options.count + usize::from(self.is_tight())
    }

    /// Without surplus space, one spare more than usual must be ready, so that after the frame that takes one there are still enough to
    /// settle everything, and the next snapshot must have its room.
    fn is_low(&self, options: &SpareOptions) -> bool {
        let has_room = self.snapshot_room >= self.snapshot_need && options.in_place;
        self.is_tight() && !(self.has_spares(options) && (has_room || !self.scarce))
    }

    /// Free bytes below which space counts as scarce.
    fn margin(&self, options: &SpareOptions) -> u64 {
        let spares = options.count as u64 + 2;
        u64::from(self.size_next) * spares + self.snapshot_need + self.snapshot_need / 4
    }

    /// The largest frame that can be written for certain while there is surplus space: into a spare, or into a segment made
    /// on the spot out of half of the surplus. The other half is for the frame that is being written meanwhile. No limit
    /// where there is room for any frame.
    fn largest_frame(&self, largest_new: u32, options: &SpareOptions) -> u32 {
        let surplus = self.free.saturating_sub(self.margin(options)) / 2;
        match u32::try_from(surplus) {
            Ok(surplus) if surplus < FRAME_SIZE_ANY => {
                largest_new.max(surplus.saturating_sub(FRAME_OVERHEAD))
            }
            Ok(_) | Err(_) => u32::MAX,
        }
    }

    /// Doubles the size of the next segment; `false` if it is at its largest.
    fn grow(&mut self, size_max: u32) -> bool {
        let larger = self.size_next.saturating_mul(2).min(size_max);
        let grew = larger > self.size_next;
        self.size_next = larger.max(self.size_next);
        grew
    }
}

impl Material {
    /// A spare that was passed over, or a segment that is free.
    fn of(spare: &Spare) -> Self {
        Self::from(&*spare.segment)
    }
}

impl From<&SegmentFile> for Material {
    fn from(segment: &SegmentFile) -> Self {
        Self {
            name: segment.name().to_owned(),
            size: segment.size(),
        }
    }
}
