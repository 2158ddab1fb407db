//! [`Storage`] on a real directory of a Unix file system.
//!
//! Invariants:
//! 1. The directory is opened once; every name is resolved against that handle. Renaming or replacing the directory underneath
//!    cannot split a store in two.
//! 2. Every file is opened without following links, closed in child processes, and is a regular file.
//!
//! What it does not do: retry, buffer, or repair permissions of what it finds.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::fs::{Access, AtFlags, Dir, Mode, OFlags, StatVfsMountFlags};

use super::lock;
use super::map::SealedMap;
use super::{
    DirectoryFacts, Filesystem, LockRefusal, OpenMode, Storage, StorageFile, StorageLock,
    StorageRefusal, is_plain_name,
};

/// A directory on this machine.
#[derive(Debug)]
pub struct DirectoryStorage {
    path: PathBuf,
    directory: OnceLock<Arc<File>>,
}

impl DirectoryStorage {
    /// The directory at `path`, which need not exist yet. Touches nothing.
    #[must_use]
    pub fn new(path: impl AsRef<Path>) -> Self {
        // A trailing slash would make the system follow a link that this module promises to refuse.
        Self {
            path: path.as_ref().components().collect(),
            directory: OnceLock::new(),
        }
    }

    /// The path it was made with, without trailing slashes.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The handle that every name is resolved against.
    fn directory(&self) -> io::Result<&Arc<File>> {
        if let Some(directory) = self.directory.get() {
            return Ok(directory);
        }
        let opened = Arc::new(open_directory(&self.path, OFlags::NOFOLLOW)?);
        Ok(self.directory.get_or_init(|| opened))
    }

    /// Makes the name of the directory itself durable.
    fn sync_parent(&self, created: bool) -> io::Result<()> {
        let parent = match self.path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => return Ok(()),
        };
        match open_directory(parent, OFlags::empty()) {
            Ok(parent) => parent.sync_all(),
            // Whoever made the directory could open its parent; that this user cannot says nothing about the name.
            Err(error) if !created && error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The checks of [`Storage::inspect`], with the system's errors still bare.
    fn facts(&self) -> Result<DirectoryFacts, Refused> {
        let named = std::fs::symlink_metadata(&self.path)?;
        if named.is_symlink() {
            return Err(Refused::Because(StorageRefusal::Symlink {
                path: self.path.clone(),
            }));
        }
        if !named.is_dir() {
            return Err(Refused::Because(StorageRefusal::NotADirectory {
                path: self.path.clone(),
            }));
        }
        let directory = self.directory()?;
        // From here on it is the handle that is looked at: what was inspected is what will be used.
        let opened = directory.metadata()?;
        let user = rustix::process::geteuid().as_raw();
        if opened.uid() != user {
            let path = self.path.clone();
            return Err(Refused::Because(StorageRefusal::ForeignOwner {
                path,
                owner: opened.uid(),
                user,
            }));
        }
        let filesystem = filesystem_of(directory)?.map_err(|filesystem| {
            Refused::Because(StorageRefusal::NetworkFilesystem {
                path: self.path.clone(),
                filesystem,
            })
        })?;
        if !is_writable(directory)? {
            return Err(Refused::Because(StorageRefusal::ReadOnly {
                path: self.path.clone(),
            }));
        }
        Ok(DirectoryFacts {
            filesystem,
            permissions: opened.mode() & 0o7777,
        })
    }
}

/// A refusal, or an error that [`Storage::inspect`] still has to put the path to.
enum Refused {
    Because(StorageRefusal),
    Io(io::Error),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<rustix::io::Errno> for Refused {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Io(error.into())
    }
}

impl Storage for DirectoryStorage {
    fn describe(&self) -> String {
        self.path.display().to_string()
    }

    fn create_directory(&self) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(&self.path) {
            Ok(()) => self.sync_parent(true),
            // Synced all the same: an earlier process may have died between creating and syncing.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.sync_parent(false),
            Err(error) => Err(error),
        }
    }

    fn inspect(&self) -> Result<DirectoryFacts, StorageRefusal> {
        self.facts().map_err(|refused| match refused {
            Refused::Because(refusal) => refusal,
            Refused::Io(error) if error.kind() == io::ErrorKind::NotFound => {
                StorageRefusal::Missing {
                    path: self.path.clone(),
                }
            }
            Refused::Io(source) => StorageRefusal::Io {
                path: self.path.clone(),
                source,
            },
        })
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(self.directory()?.as_ref())? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy();
            if !matches!(name.as_ref(), "." | "..") {
                names.push(name.into_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        check_name(name)?;
        let flags = match mode {
            OpenMode::Read => OFlags::RDONLY,
            OpenMode::ReadWrite => OFlags::RDWR,
            OpenMode::CreateNew => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
        };
        // NONBLOCK: a pipe planted under the name must not hang us; regular files ignore it.
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let opened = rustix::fs::openat(
            self.directory()?.as_ref(),
            name,
            flags,
            Mode::from_raw_mode(0o600),
        )?;
        let file = File::from(opened);
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{name} is not a regular file"),
            ));
        }
        Ok(Arc::new(DirectoryFile(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        check_name(from)?;
        check_name(to)?;
        let directory = self.directory()?.as_ref();
        Ok(rustix::fs::renameat(directory, from, directory, to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        check_name(name)?;
        Ok(rustix::fs::unlinkat(
            self.directory()?.as_ref(),
            name,
            AtFlags::empty(),
        )?)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.directory()?.sync_all()
    }

    fn lock(&self, name: &str, owner: &str) -> Result<Box<dyn StorageLock>, LockRefusal> {
        check_name(name)?;
        lock::take(self.directory()?, name, owner)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let answer = rustix::fs::fstatvfs(self.directory()?.as_ref())?;
        Ok(answer.f_bavail.saturating_mul(answer.f_frsize))
    }
}

/// A regular file in the directory.
#[derive(Debug)]
struct DirectoryFile(File);

impl StorageFile for DirectoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(bytes, offset)
    }

    /// Source: `O_DIRECT` of open(2). File systems that do not have it, and bytes that do not lie as it wants, are written as
    /// others are.
    #[cfg(target_os = "linux")]
    fn write_aside(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        use rustix::fs::{fcntl_getfl, fcntl_setfl};
        let flags = fcntl_getfl(&self.0)?;
        if fcntl_setfl(&self.0, flags | OFlags::DIRECT).is_err() {
            return self.write_at(bytes, offset);
        }
        let written = self.0.write_at(bytes, offset);
        fcntl_setfl(&self.0, flags)?;
        match written {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.write_at(bytes, offset)
            }
            written => written,
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.0.set_len(size)
    }

    fn map(&self) -> io::Result<Option<SealedMap>> {
        SealedMap::of_sealed(&self.0).map(Some)
    }
}

fn open_directory(path: &Path, extra: OFlags) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | extra;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

fn check_name(name: &str) -> io::Result<()> {
    if is_plain_name(name) {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{name:?} is not a plain file name"),
        ))
    }
}

/// Whether this user may create files in the directory and its file system takes writes.
fn is_writable(directory: &File) -> io::Result<bool> {
    if rustix::fs::fstatvfs(directory)?
        .f_flag
        .contains(StatVfsMountFlags::RDONLY)
    {
        return Ok(false);
    }
    match rustix::fs::accessat(
        directory,
        ".",
        Access::WRITE_OK | Access::EXEC_OK,
        AtFlags::EACCESS,
    ) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::ACCESS | rustix::io::Errno::ROFS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The kind of file system, or the name of one that no store may live on.
#[cfg(target_os = "linux")]
fn filesystem_of(directory: &File) -> io::Result<Result<Filesystem, &'static str>> {
    // A bit pattern of 32 bits; the type it comes in differs in sign and width between architectures.
    let pattern = i128::from(rustix::fs::fstatfs(directory)?.f_type) & 0xffff_ffff;
    let magic = u32::try_from(pattern).map_err(io::Error::other)?;
    Ok(classify(magic))
}

/// Systems other than Linux name their file systems in other ways.
#[cfg(not(target_os = "linux"))]
fn filesystem_of(_directory: &File) -> io::Result<Result<Filesystem, &'static str>> {
    Ok(Ok(Filesystem::Other(0)))
}

/// Source: statfs(2), linux/magic.h; ZFS and bcachefs from their own trees.
#[cfg(target_os = "linux")]
pub(super) fn classify(magic: u32) -> Result<Filesystem, &'static str> {
    match magic {
        0x0000_ef53 => Ok(Filesystem::Ext),
        0x5846_5342 => Ok(Filesystem::Xfs),
        0x9123_683e => Ok(Filesystem::Btrfs),
        0x2fc1_2fc1 => Ok(Filesystem::Zfs),
        0xca45_1a4e => Ok(Filesystem::Bcachefs),
        0x0102_1994 => Ok(Filesystem::Tmpfs),
        0x0000_6969 => Err("NFS"),
        0x0000_517b | 0xff53_4d42 | 0xfe53_4d42 => Err("SMB"),
        0x5346_414f | 0x6b41_4653 => Err("AFS"),
        other => Ok(Filesystem::Other(u64::from(other))),
    }
}
