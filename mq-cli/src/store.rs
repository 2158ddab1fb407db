//! Opens and closes the store, and gives each way in which that can fail its exit code: the one file that knows how.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mq::{Builder, Engine, OpenError};
use mq_core::backend::{Backend, Stopped};
use mq_persistence::identity::IDENT_NAME;
use mq_persistence::open::OpenError as StoreError;

use crate::exit::{Exit, Failure, Result};
use crate::hint;

/// What to do when there is no store in the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Create it.
    Create,
    /// Fail with [`Exit::NotFound`].
    Refuse,
}

/// An open store, owned by this process until it is closed.
#[derive(Debug)]
pub(crate) struct Store {
    engine: Engine,
}

impl Store {
    /// Opens the store in the folder `path`, waiting so long for another owner to let it go.
    ///
    /// # Errors
    /// With the exit code that tells why; the store is as it was.
    pub(crate) fn open(path: &Path, missing: Missing, wait: Duration) -> Result<Store> {
        if missing == Missing::Refuse {
            must_be_there(path)?;
        }
        Store::build(path, Engine::builder(path).wait_for_owner(wait))
    }

    /// Opens the store in the folder `path` for one call: what schedules are due for stays due for whoever does the work.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub(crate) fn open_for_a_call(path: &Path, missing: Missing) -> Result<Store> {
        if missing == Missing::Refuse {
            must_be_there(path)?;
        }
        Store::build(path, Engine::builder(path).fire_schedules(false).briefly())
    }

    fn build(path: &Path, builder: Builder) -> Result<Store> {
        let opened = builder.open_wait();
        let engine = opened.map_err(|error| refused(path, error))?;
        Ok(Store { engine })
    }

    /// The engine.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The store, as any backend.
    pub(crate) fn backend(&self) -> Arc<dyn Backend> {
        self.engine.backend()
    }

    /// Fails if the store does not serve any more.
    ///
    /// # Errors
    /// [`Stopped`], with what stopped it.
    pub(crate) fn must_serve(&self) -> std::result::Result<(), Stopped> {
        self.engine.stopped().map_or(Ok(()), Err)
    }

    /// Syncs everything and lets the store go.
    ///
    /// # Errors
    /// When the last sync failed, or the store had stopped before.
    pub(crate) fn close(self) -> Result {
        Ok(self.engine.close_wait()?)
    }
}

/// Fails if there is no store in the folder `path`.
///
/// # Errors
/// With [`Exit::NotFound`], or with [`Exit::Failed`] if the folder cannot be looked into.
pub(crate) fn must_be_there(path: &Path) -> Result {
    // A store that lost its identity is damaged, not absent: opening says so.
    let is_segment = |name: &std::ffi::OsStr| name.to_string_lossy().ends_with(".seg");
    let holds_segments = || {
        std::fs::read_dir(path).is_ok_and(|entries| {
            entries
                .flatten()
                .any(|entry| is_segment(&entry.file_name()))
        })
    };
    let identity = path.join(IDENT_NAME);
    let is_there = identity.try_exists().map_err(|source| {
        let error = anyhow::Error::new(source).context(format!(
            "{} cannot be looked at; run mq as the user who owns the store",
            identity.display()
        ));
        Failure::new(Exit::Failed, error)
    })?;
    if is_there || holds_segments() {
        return Ok(());
    }
    let error = anyhow::anyhow!(
        "there is no store in {}; enqueueing there creates one",
        path.display()
    );
    Err(Failure::new(Exit::NotFound, error))
}

/// Why it was not opened, and for a damaged store what to do with it.
fn refused(path: &Path, error: OpenError) -> Failure {
    let exit = exit_of(&error);
    if exit != Exit::Corrupt {
        return Failure::new(exit, error);
    }
    let verify = hint::command(path, "verify", &[], &[]);
    let salvage = hint::salvage(path);
    let error = anyhow::Error::from(error);
    let error = anyhow::anyhow!(
        "{error:#}\nAll that is wrong: {verify}\nWhat is whole, into a new store: {salvage}"
    );
    Failure::new(exit, error)
}

fn exit_of(error: &OpenError) -> Exit {
    match error {
        OpenError::Options(_) => Exit::Usage,
        OpenError::Store(error) => exit_of_store(error),
        // The facade may learn new reasons; none of them is about what the store holds.
        _ => Exit::Failed,
    }
}

fn exit_of_store(error: &StoreError) -> Exit {
    match error {
        StoreError::InUse { .. } => Exit::Owned,
        StoreError::OtherStore { .. }
        | StoreError::Corrupt(_)
        | StoreError::Contradiction { .. }
        | StoreError::MissingSegment { .. }
        | StoreError::MissingIdentity { .. } => Exit::Corrupt,
        StoreError::Refused(_)
        | StoreError::NotAStore { .. }
        | StoreError::NewerFormat { .. }
        | StoreError::DiskFull { .. }
        | StoreError::Io(_)
        | StoreError::Journal(_) => Exit::Failed,
    }
}
