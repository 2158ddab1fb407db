//! A directory that comes into being whole: filled beside its name, as `NAME.incomplete`, and renamed when it is done.
//!
//! Invariants: what has the name was filled to the end, and its name is durable; what a crash leaves has the other one. Nothing that was
//! there before is overwritten or removed.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{DirectoryStorage, Storage};

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
    /// An earlier attempt died half-way. Remove what it left and try again.
    #[error("{} was left by an attempt that died; remove it and try again", path.display())]
    Leftover {
        /// What it left.
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
}

impl FreshError {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InUse { .. } => "target_in_use",
            Self::Leftover { .. } => "leftover",
            Self::Rename { .. } => "failed",
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
    /// Checks that `path` is free, not there or an empty directory, and claims it: of two that want it, one gets it.
    ///
    /// # Errors
    /// [`FreshError`] says what is in the way.
    pub fn check(path: &Path) -> Result<Self, FreshError> {
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
        let path = parent.join(&incomplete);
        match std::fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(FreshError::Leftover { path });
            }
            Err(error) => return Err(refuse(&error.to_string())),
        }
        Ok(Self {
            parent,
            name: name.to_owned(),
            incomplete,
            is_claimed: true,
        })
    }

    /// The directory to be filled.
    #[must_use]
    pub fn storage(&self) -> Arc<dyn Storage> {
        Arc::new(DirectoryStorage::new(self.parent.join(&self.incomplete)))
    }

    /// Gives the directory its name, durably.
    ///
    /// # Errors
    /// [`FreshError::Rename`].
    pub fn finish(mut self) -> Result<(), FreshError> {
        self.is_claimed = false;
        let parent = DirectoryStorage::new(self.parent.clone());
        parent
            .rename(&self.incomplete, &self.name)
            .and_then(|()| parent.sync_directory())
            .map_err(|source| FreshError::Rename {
                path: self.parent.join(&self.name),
                source,
            })
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
