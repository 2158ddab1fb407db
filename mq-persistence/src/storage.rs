//! The seam between the journal and a disk: one data directory, and the files in it.
//!
//! Everything above this module reaches the disk through [`Storage`] and [`StorageFile`], so that the same code runs on a real
//! directory ([`DirectoryStorage`]) and on a simulated disk that loses what was not synced.
//!
//! Invariants every implementor keeps:
//! 1. Names are plain file names; nothing outside the directory is ever reached, and no symbolic link is followed.
//! 2. Bytes of a file are durable once [`StorageFile::sync_data`] that began after they were written has returned `Ok`; names (a new
//!    file, a rename, a removal) are durable once [`Storage::sync_directory`] has.
//! 3. An error from a sync means that what it covered may be lost, now or later, whatever a second sync answers. The seam never
//!    retries one; nor may its callers.
//!
//! What it does not do: buffering, retries of writes ([`write_all_at`] does that), knowledge of any format.

mod directory;
mod fresh;
mod lock;
mod map;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

pub use directory::DirectoryStorage;
pub use fresh::{FreshDirectory, FreshError, INCOMPLETE_SUFFIX};
pub use map::SealedMap;

/// One data directory, flat: names are plain file names inside it.
pub trait Storage: Send + Sync + fmt::Debug + 'static {
    /// The directory as messages and errors should name it.
    fn describe(&self) -> String;

    /// Creates the directory (mode 0700) and makes its own name durable; a directory that exists is left as it is.
    ///
    /// Whether what stands there may be used is [`inspect`](Self::inspect)'s question.
    ///
    /// # Errors
    /// The directory is neither there nor could be created, or its parent could not be synced.
    fn create_directory(&self) -> io::Result<()>;

    /// Looks at the directory and says whether a store may live in it.
    ///
    /// [`StorageRefusal::ReadOnly`] is checked last: a reader that meets it knows that every other check passed.
    ///
    /// # Errors
    /// The reason why it may not; nothing was changed.
    fn inspect(&self) -> Result<DirectoryFacts, StorageRefusal>;

    /// The names in the directory, sorted.
    ///
    /// # Errors
    /// The directory could not be read.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens a file; a new one has mode 0600 and a name that is not durable yet.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists` (for [`OpenMode::CreateNew`]), `InvalidInput` when the name is not a plain file name or names
    /// something other than a regular file, or what the system answered.
    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>>;

    /// Renames a file, replacing a file that has the new name. Durable after [`sync_directory`](Self::sync_directory).
    ///
    /// # Errors
    /// The names are as before, unless the system failed in the middle.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name; handles that are open go on working. Durable after [`sync_directory`](Self::sync_directory).
    ///
    /// # Errors
    /// The name is still there, unless the system failed in the middle.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes every name created, renamed or removed so far durable.
    ///
    /// # Errors
    /// Any of those changes may be lost; the store must not go on.
    fn sync_directory(&self) -> io::Result<()>;

    /// Takes the exclusive lock kept in the file `name`, creating it if need be, and writes `owner` into it for others to read.
    ///
    /// The lock is held while the box lives and ends with the process at the latest. It does not wait. In a real directory, the
    /// directory is locked as well: who removes or replaces the file lets nobody else in.
    ///
    /// # Errors
    /// [`LockRefusal::Held`] with the owner's own words when another handle, of this process or another, has it.
    fn lock(&self, name: &str, owner: &str) -> Result<Box<dyn StorageLock>, LockRefusal>;

    /// Bytes that this user can still write to the file system. A hint: others write to it too.
    ///
    /// # Errors
    /// The file system did not answer.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// One open file. Every position is given; handles share no cursor and are used from many threads at once.
pub trait StorageFile: Send + Sync + fmt::Debug + 'static {
    /// Reads at `offset`; may read less than asked, and 0 at or beyond the end.
    ///
    /// # Errors
    /// What the system answered; `Interrupted` means: call again.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes at `offset`, growing the file when needed; may write less than given.
    ///
    /// # Errors
    /// What the system answered; `Interrupted` means: call again. After any other, the bytes there are unknown.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// As [`write_at`](Self::write_at), for many bytes that nobody reads or writes meanwhile and nobody will read soon: past the
    /// system's cache where that is possible. They are as little durable as what [`write_at`](Self::write_at) wrote.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    fn write_aside(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.write_at(bytes, offset)
    }

    /// Makes all bytes written to this file so far, and its size, durable.
    ///
    /// # Errors
    /// Any of those bytes may be lost, now or at the next crash, even if they can be read back. Never retry.
    fn sync_data(&self) -> io::Result<()>;

    /// The size in bytes.
    ///
    /// # Errors
    /// What the system answered.
    fn size(&self) -> io::Result<u64>;

    /// Cuts the file, or grows it with zeros. Durable after [`sync_data`](Self::sync_data).
    ///
    /// # Errors
    /// The size is as before, unless the system failed in the middle.
    fn set_size(&self, size: u64) -> io::Result<()>;

    /// A read-only map of a file that nobody writes, cuts or recycles while the map lives: a *sealed* segment of a store whose lock
    /// the caller holds. `None` where maps are not supported; callers then read the same bytes with [`read_exact_at`].
    ///
    /// # Errors
    /// What the system answered; reading is still possible.
    fn map(&self) -> io::Result<Option<SealedMap>>;
}

/// An exclusive lock on a data directory, held while this value lives.
pub trait StorageLock: Send + Sync + fmt::Debug + 'static {
    /// Whether the lock's name still leads to the file that is locked. When it does not, someone removed or replaced it, a second
    /// owner may be in the directory, and the store must stop.
    ///
    /// # Errors
    /// The name could not be looked at.
    fn verify(&self) -> io::Result<bool>;
}

/// How [`Storage::open`] opens a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpenMode {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    ReadWrite,
    /// A file that must not exist yet, for reading and writing.
    CreateNew,
}

/// What [`Storage::inspect`] learned about a directory that may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryFacts {
    /// The file system it lives on.
    pub filesystem: Filesystem,
    /// Its permission bits, `0o700` for one that the engine made. An existing directory is not changed.
    pub permissions: u32,
}

/// The kind of file system under a data directory, as far as the journal treats it differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Filesystem {
    /// ext2, ext3 or ext4.
    Ext,
    /// XFS.
    Xfs,
    /// btrfs: copies on write.
    Btrfs,
    /// ZFS: copies on write.
    Zfs,
    /// bcachefs: copies on write.
    Bcachefs,
    /// Memory: nothing in it survives the machine.
    Tmpfs,
    /// A simulated disk that overwrites in place.
    Simulated,
    /// Any other, by the number its kernel gives it (0 where the system gives none).
    Other(u64),
}

impl Filesystem {
    /// Whether bytes written once can be overwritten without needing new space. Only then does recycling segments help, and only
    /// then can a full store always be emptied.
    #[must_use]
    pub const fn overwrites_in_place(self) -> bool {
        match self {
            Self::Ext | Self::Xfs | Self::Tmpfs | Self::Simulated => true,
            Self::Btrfs | Self::Zfs | Self::Bcachefs | Self::Other(_) => false,
        }
    }

    /// Whether what is synced here survives a loss of power.
    #[must_use]
    pub const fn is_persistent(self) -> bool {
        !matches!(self, Self::Tmpfs)
    }
}

/// Why no store may live in a directory. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StorageRefusal {
    /// There is nothing under that name. [`Storage::create_directory`] makes one.
    #[error("{} does not exist", path.display())]
    Missing {
        /// The directory asked for.
        path: PathBuf,
    },
    /// The name is a symbolic link, which could be turned to lead elsewhere between two opens. Give the place it leads to.
    #[error("{} is a symbolic link; give the directory it leads to", path.display())]
    Symlink {
        /// The directory asked for.
        path: PathBuf,
    },
    /// Something else has that name. Choose another directory.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// The directory asked for.
        path: PathBuf,
    },
    /// The directory belongs to another user, who could read or replace the files. Run as its owner, or give it to this user.
    #[error("{} belongs to user {owner}, but this process runs as user {user}; run it as user {owner}", path.display())]
    ForeignOwner {
        /// The directory asked for.
        path: PathBuf,
        /// The numeric id of its owner.
        owner: u32,
        /// The effective numeric id of this process.
        user: u32,
    },
    /// The directory is on a network file system, where neither locks nor syncs can be relied on. Use a local disk.
    #[error("{} is on a network file system ({filesystem})", path.display())]
    NetworkFilesystem {
        /// The directory asked for.
        path: PathBuf,
        /// The name of the file system.
        filesystem: &'static str,
    },
    /// The directory or its file system cannot be written. Reading is possible.
    #[error("{} cannot be written; `mq verify` and `mq dump` read it as it is", path.display())]
    ReadOnly {
        /// The directory asked for.
        path: PathBuf,
    },
    /// The system did not let us look.
    #[error("{} cannot be inspected", path.display())]
    Io {
        /// The directory asked for.
        path: PathBuf,
        /// What it answered.
        #[source]
        source: io::Error,
    },
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockRefusal {
    /// Someone else has it. `owner` is what they wrote about themselves; empty if they had not written it yet.
    #[error("the store is in use by {}", if owner.is_empty() { "an unknown owner" } else { owner })]
    Held {
        /// The owner's own words.
        owner: String,
    },
    /// The lock file could not be opened, locked or written.
    #[error("the lock file cannot be used")]
    Io(#[source] io::Error),
}

impl From<io::Error> for LockRefusal {
    fn from(source: io::Error) -> Self {
        Self::Io(source)
    }
}

/// Reads until `buffer` is full or the file ends, through short reads and interruptions; returns how much was read.
///
/// # Errors
/// What the file answered; the buffer's content is then unspecified.
pub fn read_up_to_at(file: &dyn StorageFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let wanted = buffer.len();
    let mut rest = buffer;
    let mut position = offset;
    while !rest.is_empty() {
        match file.read_at(rest, position) {
            Ok(0) => break,
            Ok(read) => {
                rest = rest.get_mut(read..).ok_or(io::ErrorKind::InvalidData)?;
                position += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(wanted - rest.len())
}

/// Bytes that [`read_over_gaps`] asks for at once.
const STRETCH: usize = 64 << 10;
/// The least that a device delivers or does not.
const SECTOR: usize = 512;

/// Reads up to `size` bytes from the beginning of a file, over what its device does not deliver: that stands as zeros in the answer, and
/// where it is stands beside it, as offsets in order.
pub fn read_over_gaps(file: &dyn StorageFile, size: usize) -> (Vec<u8>, Vec<Range<u64>>) {
    let (mut bytes, mut gaps) = (vec![0; size], Vec::new());
    let mut end = 0;
    for stretch in bytes.chunks_mut(STRETCH) {
        let read = fill_over_gaps(file, stretch, end as u64, &mut gaps);
        end += read;
        if read < stretch.len() {
            break;
        }
    }
    bytes.truncate(end);
    (bytes, gaps)
}

/// Fills `buffer` by halves until only single sectors are missing; answers how much of it lies before the end of the file.
fn fill_over_gaps(
    file: &dyn StorageFile,
    buffer: &mut [u8],
    offset: u64,
    gaps: &mut Vec<Range<u64>>,
) -> usize {
    match read_up_to_at(file, buffer, offset) {
        Ok(read) => read,
        Err(_) if buffer.len() <= SECTOR => {
            buffer.fill(0);
            let end = offset + buffer.len() as u64;
            match gaps.last_mut() {
                Some(last) if last.end == offset => last.end = end,
                Some(_) | None => gaps.push(offset..end),
            }
            buffer.len()
        }
        Err(_) => {
            let half = (buffer.len() / 2).next_multiple_of(SECTOR);
            let (front, back) = buffer.split_at_mut(half.min(buffer.len()));
            let read = fill_over_gaps(file, front, offset, gaps);
            if read < front.len() {
                return read;
            }
            read + fill_over_gaps(file, back, offset + read as u64, gaps)
        }
    }
}

/// Fills `buffer`, through short reads and interruptions.
///
/// # Errors
/// `UnexpectedEof` when the file ends before, or what the file answered; the buffer's content is then unspecified.
pub fn read_exact_at(file: &dyn StorageFile, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let wanted = buffer.len();
    if read_up_to_at(file, buffer, offset)? == wanted {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// Writes all of `bytes`, through short writes and interruptions.
///
/// # Errors
/// `WriteZero` when the file takes nothing more, or what it answered; any part of `bytes` may have been written.
pub fn write_all_at(file: &dyn StorageFile, bytes: &[u8], offset: u64) -> io::Result<()> {
    write_all(
        |rest, position| file.write_at(rest, position),
        bytes,
        offset,
    )
}

/// As [`write_all_at`], by [`StorageFile::write_aside`].
pub(crate) fn write_all_aside(file: &dyn StorageFile, bytes: &[u8], offset: u64) -> io::Result<()> {
    write_all(
        |rest, position| file.write_aside(rest, position),
        bytes,
        offset,
    )
}

fn write_all(
    write: impl Fn(&[u8], u64) -> io::Result<usize>,
    bytes: &[u8],
    offset: u64,
) -> io::Result<()> {
    let mut rest = bytes;
    let mut position = offset;
    while !rest.is_empty() {
        match write(rest, position) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(_) if mq_core::canary::sings("short-write-believed") => return Ok(()),
            Ok(written) => {
                rest = rest.get(written..).ok_or(io::ErrorKind::InvalidData)?;
                position += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether `name` is a plain file name: not empty, no separator, not `.` or `..`. Implementors of [`Storage`] refuse any other.
#[must_use]
pub fn is_plain_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
}
