//! The lock that gives a data directory one owner.
//!
//! It is an advisory lock on an open file: it dies with its handle, so with the process, however that ends. Two handles in one
//! process exclude each other as well. The file's text says who the owner is; only the lock itself says whether there is one.
//!
//! Invariants
//! 1. When [`take`] returns, the name led to the locked file after the lock was had. Without that look, one process could hold a
//!    file already removed while a second locks the file that took its place.
//! 2. The directory is locked as well, each time through a handle of its own: a lock belongs to its handle, so that one shared by two
//!    would be theirs together. Who deletes or replaces the lock file while it is held lets nobody else in.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use mq_core::canary;
use rustix::fs::{AtFlags, Mode, OFlags};

use super::{LockRefusal, StorageLock};

/// How often a lock file that was replaced under us is looked for again before giving up.
const ATTEMPTS_MAX: usize = 8;
/// How much of a foreign lock file is read for its owner's text.
const OWNER_LEN_MAX: usize = 1024;

/// A lock that is held.
#[derive(Debug)]
struct HeldLock {
    directory: File,
    name: String,
    file: File,
}

/// Locks the file `name` in `directory` and writes `owner` into it.
pub(super) fn take(
    directory: &File,
    name: &str,
    owner: &str,
) -> Result<Box<dyn StorageLock>, LockRefusal> {
    for _ in 0..ATTEMPTS_MAX {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = File::from(
            rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o600))
                .map_err(io::Error::from)?,
        );
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the lock is not a regular file",
            )
            .into());
        }
        try_lock(&file, &file)?;
        let lock = HeldLock {
            directory: opened_anew(directory)?,
            name: name.to_owned(),
            file,
        };
        if lock.verify()? {
            if !canary::sings("lock-of-the-name-only") {
                try_lock(&lock.directory, &lock.file)?;
            }
            lock.write_owner(owner)?;
            return Ok(Box::new(lock));
        }
    }
    Err(io::Error::other("the lock file is being replaced again and again").into())
}

/// Another open handle on the same directory.
fn opened_anew(directory: &File) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(
        directory,
        ".",
        flags,
        Mode::empty(),
    )?))
}

/// Locks a file or a directory, or says whom `named` names as the owner.
fn try_lock(file: &File, named: &File) -> Result<(), LockRefusal> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) if canary::sings("lock-not-taken") => Ok(()),
        Err(TryLockError::WouldBlock) => Err(LockRefusal::Held {
            owner: owner_text(named),
        }),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// What the present owner wrote; empty when nothing could be read, for it only decorates a refusal.
fn owner_text(file: &File) -> String {
    let mut text = vec![0; OWNER_LEN_MAX];
    let len = file.read_at(&mut text, 0).unwrap_or(0);
    text.truncate(len);
    String::from_utf8_lossy(&text).trim().to_owned()
}

impl HeldLock {
    /// Overwrites first and cuts then, so that who reads meanwhile finds some owner and not an empty file.
    fn write_owner(&self, owner: &str) -> io::Result<()> {
        self.file.write_all_at(owner.as_bytes(), 0)?;
        self.file.set_len(owner.len() as u64)?;
        self.file.sync_data()
    }
}

impl StorageLock for HeldLock {
    fn verify(&self) -> io::Result<bool> {
        let locked = self.file.metadata()?;
        match rustix::fs::statat(
            &self.directory,
            self.name.as_str(),
            AtFlags::SYMLINK_NOFOLLOW,
        ) {
            Ok(named) => Ok(named.st_ino == locked.ino() && named.st_dev == locked.dev()),
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
