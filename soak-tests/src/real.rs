//! Suites against real systems: a child process with the whole engine on real files, killed and made to fail.
//!
//! Invariants
//! 1. What this machine lacks (root, strace, loop devices, a program) is [`Problem::Skipped`] with its name, never success.
//! 2. Whatever is mounted is unmounted, also when a suite panics.
//! 3. The judge stands outside: it knows what the child said before it died, and nothing of the store's format.
//!
//! A program that calls these must call [`crate::child_if_asked`] first in its `main`: it is started again as the child.

mod disks;
mod inject;
mod kills;
mod mount;

use std::path::PathBuf;

use anyhow::Context;

pub use disks::{full_disk, lost_write_back, power_cuts};
pub use inject::{Injection, injected_calls};
pub use kills::kills;

/// Why a suite did not end well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// This machine lacks something.
    Skipped(String),
    /// A promise was broken, or something could not be done.
    Broken(String),
}

impl From<anyhow::Error> for Problem {
    fn from(error: anyhow::Error) -> Self {
        Self::Broken(format!("{error:#}"))
    }
}

/// How a suite is run.
#[derive(Clone, Copy)]
pub struct Order<'a> {
    /// Where its randomness comes from.
    pub seed: u64,
    /// How many cases.
    pub cases: u64,
    /// Called for each, with the number of faults in it.
    pub tried: &'a dyn Fn(u64),
}

impl std::fmt::Debug for Order<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Order")
            .field("seed", &self.seed)
            .field("cases", &self.cases)
            .finish_non_exhaustive()
    }
}

/// A folder for one suite, on the disk that the build is on: `/tmp` may be memory.
fn folder(name: &str) -> anyhow::Result<tempfile::TempDir> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let beside = program
        .parent()
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let mut builder = tempfile::Builder::new();
    builder
        .prefix(name)
        .tempdir_in(beside)
        .context("cannot make a folder")
}

/// Skips unless all of these programs are there.
fn need(programs: &[&str]) -> Result<(), Problem> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&paths).collect();
    folders.extend(["/sbin", "/usr/sbin"].map(PathBuf::from));
    for program in programs {
        if !folders.iter().any(|folder| folder.join(program).is_file()) {
            return Err(Problem::Skipped(format!("there is no {program} here")));
        }
    }
    Ok(())
}
