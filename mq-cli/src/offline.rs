//! Looking at a store without opening it: no lock is taken, nothing is changed.

use std::path::Path;
use std::sync::Arc;

use mq_persistence::inspect::InspectError;
use mq_persistence::storage::{DirectoryStorage, Storage};

use crate::exit::{Exit, Failure, Result};

/// The folder `path`, for reading.
///
/// # Errors
/// With [`Exit::NotFound`] if there is none.
pub(crate) fn folder(path: &Path) -> Result<Arc<dyn Storage>> {
    if path.is_dir() {
        return Ok(Arc::new(DirectoryStorage::new(path)));
    }
    let error = anyhow::anyhow!(
        "there is no folder {}; give the folder that the program opens as its store",
        path.display()
    );
    Err(Failure::new(Exit::NotFound, error))
}

impl From<InspectError> for Failure {
    fn from(error: InspectError) -> Failure {
        let exit = match &error {
            InspectError::NoStore { .. } => Exit::NotFound,
            InspectError::Refused(_) | InspectError::Io(_) => Exit::Failed,
        };
        Failure::new(exit, error)
    }
}
