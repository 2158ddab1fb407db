//! A directory that comes into being whole: filled beside its name, as `NAME.incomplete`, and renamed when it is done.
//!
//! Invariants: what has the name was filled to the end, and its name is durable; what a crash leaves has the other one. Nothing that was
//! there before is overwritten or removed.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{DirectoryFacts, DirectoryStorage, Storage, StorageRefusal};

/// Ends the name of a directory that is being filled.
pub const INCOMPLETE_SUFFIX: &str = ".incomplete";

/// Why a directory cannot come into being there. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum FreshError {
    /// Something is in the way. Choose a name that is not there, or that of an empty directory.
    #[error("{} cannot be filled: {reason}; choose a name that is not there, or an empty directory", path.display())]
    InUse {
        /// The directory asked for.
        path: PathBuf,
        /// What is in the way.
        reason: String,
    },
    /// No store may live there: on a network file system, say. Choose a place on a local disk.
    #[error("{} cannot be filled", path.display())]
    Refused {
        /// The directory asked for.
        path: PathBuf,
        /// Why.
        #[source]
        source: StorageRefusal,
    },
    /// Another attempt is under way, or one died half-way. If none is, remove what it left and try again.
    #[error("{} is being filled, or was left by an attempt that died; if none is under way, remove it and try again", path.display())]
    Leftover {
        /// What it fills, or left.
        path: PathBuf,
    },
    /// The directory is whole but could not be given its name; it is there under the other one.
    #[error("{} could not be given its name", path.display())]
    Rename {
        /// The directory asked for.
        path: PathBuf,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// The directory is whole and has its name, but a power cut may take the name back. Look at the disk, and make it again.
    #[error("{} is whole, but its name may not survive a power cut", path.display())]
    Unsynced {
        /// The directory.
        path: PathBuf,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
}

impl FreshError {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InUse { .. } => "target_in_use",
            Self::Leftover { .. } => "leftover",
            Self::Refused { .. } => "unsuitable",
            Self::Rename { .. } | Self::Unsynced { .. } => "failed",
        }
    }
}

/// A directory on its way. See the head of this file.
#[derive(Debug)]
pub struct FreshDirectory {
    parent: PathBuf,
    name: String,
    incomplete: String,
    /// It is neither finished nor removed.
    is_claimed: bool,
}

impl FreshDirectory {
    /// Checks that `path` is free, not there or an empty directory, and that a store may live there, and claims it: of two that want
    /// it, one gets it.
    ///
    /// # Errors
    /// [`FreshError`] says what is in the way.
    pub fn check(path: &Path) -> Result<Self, FreshError> {
        Self::check_by(path, |directory| directory.inspect())
    }

    /// [`FreshDirectory::check`] with the question whether a store may live in a directory.
    pub(super) fn check_by(
        path: &Path,
        inspect: impl FnOnce(&DirectoryStorage) -> Result<DirectoryFacts, StorageRefusal>,
    ) -> Result<Self, FreshError> {
        let refuse = |reason: &str| FreshError::InUse {
            path: path.to_owned(),
            reason: reason.to_owned(),
        };
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| refuse("it does not end with a name"))?;
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            Some(_) | None => Path::new("."),
        };
        let parent = parent
            .canonicalize()
            .map_err(|error| refuse(&error.to_string()))?;
        match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(refuse(&error.to_string())),
            Ok(facts) if !facts.is_dir() => return Err(refuse("it is not a directory")),
            Ok(_) => match std::fs::read_dir(path).map(|mut entries| entries.next().is_none()) {
                Ok(true) => {}
                Ok(false) => return Err(refuse("something is in it")),
                Err(error) => return Err(refuse(&error.to_string())),
            },
        }
        let incomplete = format!("{name}{INCOMPLETE_SUFFIX}");
        let other = parent.join(&incomplete);
        match std::fs::DirBuilder::new().mode(0o700).create(&other) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(FreshError::Leftover { path: other });
            }
            Err(error) => return Err(refuse(&error.to_string())),
        }
        let claimed = Self {
            parent,
            name: name.to_owned(),
            incomplete,
            is_claimed: true,
        };
        // Asked of the directory itself, which is this user's own; not of its parent, which need not be.
        match inspect(&DirectoryStorage::new(other)) {
            Ok(_) => Ok(claimed),
            Err(source) => Err(FreshError::Refused {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// The directory to be filled.
    #[must_use]
    pub fn storage(&self) -> Arc<dyn Storage> {
        Arc::new(DirectoryStorage::new(self.parent.join(&self.incomplete)))
    }

    /// Gives the directory its name, durably.
    ///
    /// # Errors
    /// [`FreshError::Rename`], [`FreshError::Unsynced`].
    pub fn finish(self) -> Result<(), FreshError> {
        self.finish_by(DirectoryStorage::sync_directory)
    }

    /// [`FreshDirectory::finish`] with what makes the name durable.
    pub(super) fn finish_by(
        mut self,
        sync: impl FnOnce(&DirectoryStorage) -> io::Result<()>,
    ) -> Result<(), FreshError> {
        self.is_claimed = false;
        let parent = DirectoryStorage::new(self.parent.clone());
        let path = self.parent.join(&self.name);
        match parent.rename(&self.incomplete, &self.name) {
            Ok(()) => sync(&parent).map_err(|source| FreshError::Unsynced { path, source }),
            Err(source) => Err(FreshError::Rename { path, source }),
        }
    }

    /// Removes what was written: all of it is this one's.
    ///
    /// # Errors
    /// It could not be removed, and is there under its other name.
    pub fn give_up(mut self) -> io::Result<()> {
        self.is_claimed = false;
        match std::fs::remove_dir_all(self.parent.join(&self.incomplete)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

/// A claim that nothing was written under goes with its value; what was written stays, under the other name.
impl Drop for FreshDirectory {
    fn drop(&mut self) {
        if self.is_claimed
            && let Err(error) = std::fs::remove_dir(self.parent.join(&self.incomplete))
        {
            tracing::debug!(%error, "an incomplete directory stays");
        }
    }
}
