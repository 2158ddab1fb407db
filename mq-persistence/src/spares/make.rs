//! How a spare is made: out of a freed segment, or by writing a new file full of zeros.
//!
//! Invariants: 2 and 3 of [the pool](super). A new file is written in stretches, past the system's cache where that is possible, and
//! synced now and then: a sync of the log waits for what was written since, in the system's cache or in the disk's. Not at each
//! stretch: a sync of a file that grows commits the file system's own journal, too.

use std::io;
use std::sync::Arc;

use super::{Material, Prepared, Spare, SparePool};
use crate::error::{Failure, JournalError};
use crate::pins::SegmentFile;
use crate::segment;
use crate::storage::{OpenMode, StorageFile, read_exact_at, write_all_aside, write_all_at};
use mq_core::canary;

/// Bytes written in one step. 1 MiB is no worse by what was measured (S10, p99.9 of an enqueue, six runs in turn: medians 2.9 and
/// 3.0 ms), nor is the rate at which files are filled.
const STRETCH: u32 = 128 << 10;
/// Bytes after which a file that is being filled is synced: what a slow disk writes in some 50 ms. Each sync of a file that grows costs
/// a commit of the file system's journal: at every stretch that was 4 to 9 % of the rate of S3, beside one sync at the end (five runs
/// in turn).
const SYNC_EVERY: u32 = 8 << 20;
const _: () = assert!(SYNC_EVERY.is_multiple_of(STRETCH));
/// One stretch, where a disk can take it from: a fresh buffer each time would cost the kernel as much as writing it.
static ZEROS: Blocks = Blocks([0; STRETCH as usize]);

#[repr(align(4096))]
struct Blocks([u8; STRETCH as usize]);

/// Why no segment could be made.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The disk is full, or no more files may be open. Nothing was changed; the journal goes on with what it has.
    #[error("there is no room on the disk, or no more files may be open")]
    NoRoom,
    /// A write, rename or sync failed for another reason: the journal must stop.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl Trouble {
    /// What a failed call means when a lack of room is no reason to stop.
    pub(crate) fn of(failure: Failure) -> Self {
        if failure.lacks_room() {
            Self::NoRoom
        } else {
            Self::Journal(failure.into())
        }
    }
}

/// A new file that is being filled.
#[derive(Debug)]
pub(super) struct Filling {
    name: String,
    file: Arc<dyn StorageFile>,
    number: u32,
    size: u32,
    filled: u32,
}

impl Filling {
    /// The name of the file, which is given up.
    pub(super) fn into_name(self) -> String {
        self.name
    }
}

impl SparePool {
    /// Makes a whole new segment at once.
    pub(super) fn make(&self, size: u32) -> Result<Spare, Trouble> {
        let mut filling = self.begin(size)?;
        while !self.fill(&mut filling)? {}
        self.finish_filled(filling)
    }

    /// Writes the next stretch of the file in work, beginning one if there is none.
    pub(super) fn fill_step(&self) -> Result<Prepared, Trouble> {
        let mut slot = self.filling.lock();
        let mut filling = match slot.take() {
            Some(filling) => filling,
            None => self.begin(self.size_within_free()?)?,
        };
        if self.fill(&mut filling)? {
            let spare = self.finish_filled(filling)?;
            self.add(spare);
        } else {
            *slot = Some(filling);
        }
        Ok(Prepared::Progress)
    }

    /// Makes a spare out of `material`, if it is good for that, and removes it otherwise.
    pub(super) fn recycle_step(&self, material: &Material) -> Result<Prepared, Trouble> {
        // Far smaller than what the journal has grown to, it would only make the log change segments all the time.
        let worthwhile = material.size >= self.size_next() / 4 || self.is_scarce();
        if !worthwhile || !self.options.in_place {
            self.remove(&material.name)?;
            return Ok(Prepared::Progress);
        }
        if let Some(spare) = self.recycle(material)? {
            self.add(spare);
        }
        Ok(Prepared::Progress)
    }

    /// Gives a freed segment a new number, salt and name. `None` if the file is not fit for that; it is gone then. If it can be neither
    /// renamed nor opened for lack of room, it is raw material as before.
    pub(super) fn recycle(&self, material: &Material) -> Result<Option<Spare>, Trouble> {
        let aside = segment::spare_name_of(&material.name);
        let opened = self.open_aside(&material.name, &aside);
        let file = opened.inspect_err(|trouble| {
            if matches!(trouble, Trouble::NoRoom) {
                self.add_material(material.clone());
            }
        })?;
        if !self.is_recyclable(&*file, material.size) {
            drop(file);
            self.remove(&aside)?;
            return Ok(None);
        }
        let number = self.number();
        let salt = match self.write_front(&aside, &*file, material.size, number) {
            Err(Trouble::NoRoom) => {
                self.remove(&aside)?; // on a file system that copies on write: its space is given back
                return Ok(None);
            }
            salt => salt?,
        };
        self.enter(&aside, file, (number, material.size, salt))
            .map(Some)
    }

    /// Opens a freed segment under the name `aside`, which no journal has.
    fn open_aside(&self, name: &str, aside: &str) -> Result<Arc<dyn StorageFile>, Trouble> {
        // Opened first: where that fails, nothing was changed.
        let file = self.open("open", name, OpenMode::ReadWrite)?;
        if aside != name {
            self.rename(name, aside)?;
            self.sync_directory()?;
        }
        Ok(file)
    }

    fn open(
        &self,
        operation: &'static str,
        name: &str,
        mode: OpenMode,
    ) -> Result<Arc<dyn StorageFile>, Trouble> {
        let opened = self.storage.open(name, mode);
        let opened = opened.map_err(Failure::of(operation, name));
        self.note_opened(opened).map_err(Trouble::of)
    }

    pub(super) fn remove(&self, name: &str) -> Result<(), JournalError> {
        let removed = self.storage.remove(name);
        Ok(removed.map_err(Failure::of("remove", name))?)
    }

    pub(super) fn sync_directory(&self) -> Result<(), JournalError> {
        if canary::sings("segment-name-not-synced") {
            return Ok(());
        }
        let synced = self.storage.sync_directory();
        Ok(synced.map_err(Failure::of("sync of the directory", ""))?)
    }

    /// A name may need room, too: in the directory.
    fn rename(&self, from: &str, to: &str) -> Result<(), Trouble> {
        let renamed = self.storage.rename(from, to);
        renamed.map_err(|error| Trouble::of(Failure::of("rename", from)(error)))
    }

    /// Whole, of this store and of this version?
    fn is_recyclable(&self, file: &dyn StorageFile, size: u32) -> bool {
        let mut bytes = [0; segment::SEGMENT_HEADER_SIZE];
        let read = read_exact_at(file, &mut bytes, 0).is_ok();
        let whole = file.size().is_ok_and(|actual| actual == u64::from(size));
        read && whole
            && segment::Header::decode(&bytes).is_ok_and(|header| {
                header.uuid == self.segments.identity().uuid
                    && header.size == size
                    && header.is_current_version()
            })
    }

    /// The size for a new file that leaves as much space as it takes, in steps of two.
    fn size_within_free(&self) -> Result<u32, Trouble> {
        let wanted = self.size_next();
        let Ok(free) = self.storage.free_bytes() else {
            return Ok(wanted);
        };
        let mut size = wanted;
        while u64::from(size) > free && size / 2 >= self.options.size_first {
            size /= 2;
        }
        if u64::from(size) > free {
            Err(Trouble::NoRoom)
        } else {
            Ok(size)
        }
    }

    fn begin(&self, size: u32) -> Result<Filling, Trouble> {
        let number = self.number();
        let name = segment::spare_name(number);
        let file = self.open("create", &name, OpenMode::CreateNew)?;
        Ok(Filling {
            name,
            file,
            number,
            size,
            filled: 0,
        })
    }

    /// Writes one stretch; `true` when the file is full. On a full disk the file is removed and its space given back.
    fn fill(&self, filling: &mut Filling) -> Result<bool, Trouble> {
        let written = self.write_stretch(filling);
        let written = written
            .map_err(Failure::of("write", &filling.name))
            .map_err(Trouble::of);
        if matches!(written, Err(Trouble::NoRoom)) {
            self.remove(&filling.name)?;
        }
        written
    }

    fn write_stretch(&self, filling: &mut Filling) -> io::Result<bool> {
        if !self.options.in_place {
            filling.file.set_size(u64::from(filling.size))?;
            return Ok(true);
        }
        let stretch = (filling.size - filling.filled).min(STRETCH);
        let zeros = ZEROS.0.get(..stretch as usize).unwrap_or(&ZEROS.0);
        write_all_aside(&*filling.file, zeros, u64::from(filling.filled))?;
        filling.filled += stretch;
        let is_full = filling.filled == filling.size;
        // When it is full, too: the header comes after the zeros.
        if is_full || filling.filled.is_multiple_of(SYNC_EVERY) {
            filling.file.sync_data()?;
        }
        Ok(is_full)
    }

    /// Makes a segment of a file that is full. Its number is the one it was begun with, unless others were given since.
    fn finish_filled(&self, filling: Filling) -> Result<Spare, Trouble> {
        let Filling {
            name,
            file,
            size,
            number,
            ..
        } = filling;
        let number = if self.is_newest(number) {
            number
        } else {
            self.number()
        };
        let salt = self.write_front(&name, &*file, size, number);
        if matches!(salt, Err(Trouble::NoRoom)) {
            self.remove(&name)?;
        }
        self.enter(&name, file, (number, size, salt?))
    }

    /// Writes the header and makes it durable; answers the salt in it.
    fn write_front(
        &self,
        name: &str,
        file: &dyn StorageFile,
        size: u32,
        number: u32,
    ) -> Result<u64, Trouble> {
        let salt = self.salt(number);
        let header = segment::Header::new(
            self.segments.identity(),
            number,
            size,
            salt,
            self.options.opened,
        );
        let header = header.in_opening(self.opening(number));
        // The page of the first frame is zeroed with it: so recovery knows a segment that was never written.
        let mut front = header.encode();
        front.resize((segment::DATA_START + segment::PAGE_SIZE) as usize, 0);
        write_all_at(file, &front, 0)
            .and_then(|()| file.sync_data())
            .map_err(Failure::of("write of the header", name))
            .map_err(Trouble::of)?;
        Ok(salt)
    }

    /// Gives a file whose header is durable its name in the journal. If there is no room for that, it is raw material: what is written
    /// ahead is kept.
    fn enter(
        &self,
        name: &str,
        file: Arc<dyn StorageFile>,
        (number, size, salt): (u32, u32, u64),
    ) -> Result<Spare, Trouble> {
        let journal_name = segment::name(number);
        self.rename(name, &journal_name).inspect_err(|trouble| {
            if matches!(trouble, Trouble::NoRoom) {
                let name = name.to_owned();
                self.add_material(Material { name, size });
            }
        })?;
        self.sync_directory()?;
        let segment = SegmentFile::new(
            Arc::clone(&self.storage),
            journal_name,
            number,
            size,
            salt,
            Some(Arc::clone(&file)),
        );
        Ok(Spare {
            segment: Arc::new(segment),
            file,
        })
    }

    /// The first segment taken in this opening of the store: `number`, if there was none yet.
    fn opening(&self, number: u32) -> u32 {
        self.state.lock().opening.unwrap_or(number)
    }

    /// Whether no number was given after this one.
    fn is_newest(&self, number: u32) -> bool {
        self.state.lock().next_number == number + 1
    }

    /// A number no file has had.
    fn number(&self) -> u32 {
        let mut state = self.state.lock();
        let number = state.next_number;
        state.next_number += 1;
        number
    }

    /// Different for every segment of every opening. Source: the finaliser of splitmix64, <https://prng.di.unimi.it/splitmix64.c>.
    fn salt(&self, number: u32) -> u64 {
        if canary::sings("no-salt") {
            return 1;
        }
        let mut bits =
            self.options.salt_seed ^ u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}
