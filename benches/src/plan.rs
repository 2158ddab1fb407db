//! How long, how often, how large and where: what every workload is told.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Settings of a run of the benches.
#[derive(Clone, Debug)]
pub struct Plan {
    /// A short run with fewer messages: what needs full size is shown and not judged.
    pub quick: bool,
    /// How often a workload is repeated; the median is told.
    pub runs: usize,
    /// How long one repetition takes, about.
    pub time: Duration,
    /// How long the sustained load of S3 takes at most.
    pub sustained: Duration,
    /// A folder of this run alone, on the disk that is measured.
    pub folder: PathBuf,
}

impl Plan {
    /// The usual run, under ten minutes.
    #[must_use]
    pub fn full(folder: &Path) -> Self {
        Self {
            quick: false,
            runs: 5,
            time: Duration::from_secs(3),
            sustained: Duration::from_secs(60),
            folder: folder.to_owned(),
        }
    }

    /// A look, under two minutes.
    #[must_use]
    pub fn quick(folder: &Path) -> Self {
        Self {
            quick: true,
            runs: 3,
            time: Duration::from_millis(800),
            sustained: Duration::from_secs(3),
            folder: folder.to_owned(),
        }
    }

    /// One of two sizes.
    #[must_use]
    pub const fn size(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }

    /// A folder for one store; it does not exist yet.
    #[must_use]
    pub fn store(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}
