//! A backup of a store that goes on working.
//!
//! The copy is filled beside its final name, as `NAME.incomplete`, checked there from end to end, and renamed; so a directory under the
//! final name is a whole copy, and what a crash leaves under the other is no store. How the copy is made, and what it is to its source:
//! `mq_persistence::backup`.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use mq_core::backend::Stopped;
use mq_core::limits::BACKUP_RATE_MIN;
use mq_core::pending::Pending;
use mq_persistence::backup::{Backup as Copying, BackupError as CopyError};
use mq_persistence::backup::{BackupProgress, BackupReport};
use mq_persistence::pins::SegmentFile;
use mq_persistence::storage::{FreshDirectory, FreshError};

use crate::admin::Admin;
use crate::engine::{EngineBackend, Images, Inside};
use crate::environment::Parker;

/// Why there is no backup. The store that was to be copied is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// A store in memory has no files.
    #[error("a store in memory has nothing to copy; open one in a directory")]
    InMemory,
    /// The copy cannot come into being there.
    #[error(transparent)]
    Target(#[from] FreshError),
    /// The copy could not be made, or is not sound. What was written of it is removed.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// The rate is so low that the copy would hold the store's segments for ages. Nothing was copied.
    #[error(
        "a rate of {rate} bytes in a second is too low; give {BACKUP_RATE_MIN} at least, or none"
    )]
    RateTooLow {
        /// Bytes in a second, as asked for.
        rate: u64,
    },
    /// The disk of the store has no room for what is being done: there is no moment to copy until it has. Nothing was copied; the
    /// store goes on as soon as there is room.
    #[error(
        "the disk of the store has no room for what is being written, so there is no moment to copy; make room there and try again"
    )]
    NoRoom,
    /// The operating system gave no thread. Nothing was copied.
    #[error("the operating system refused a thread to copy on")]
    System {
        /// Its answer.
        #[source]
        source: std::io::Error,
    },
    /// The engine does not serve any more. What was written of the copy is removed.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl BackupError {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InMemory => "in_memory",
            Self::NoRoom => "no_room",
            Self::Copy(CopyError::NotEmpty { .. }) => "target_in_use",
            Self::Target(refused) => refused.code(),
            Self::RateTooLow { .. } => "bad_value",
            Self::Copy(CopyError::Unsound { .. }) => "unsound",
            Self::Copy(_) | Self::System { .. } => "failed",
            Self::Stopped(stopped) => stopped.code(),
        }
    }
}

/// Told how far a copy is.
type OnProgress = Box<dyn FnMut(BackupProgress) + Send>;

/// A backup to be made: `.await` it, or `.wait()` for it.
#[must_use = "nothing is copied yet: `.await` it, or `.wait()` for it"]
pub struct Backup {
    backend: EngineBackend,
    to: PathBuf,
    rate: Option<u64>,
    on_progress: Option<OnProgress>,
}

impl Admin {
    /// A copy of the whole store, taken while it works, in the directory `to`, which must be empty or not there, on a local file
    /// system. It holds everything that was answered before the call, and nothing that was written after one moment in the call. Its
    /// every byte is checked before it gets its name.
    ///
    /// The copy opens as a store and is a *fork* of this one: ids are the same, and messages that were not settled at that moment run
    /// again wherever both are opened; those that were running are suspects there. Lease tokens of the copy are later than those of
    /// this store.
    ///
    /// # Examples
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let engine = mq::Engine::builder(directory.path().join("data")).open_wait()?;
    /// # let to = directory.path().join("backup");
    /// let report = engine.admin().backup(to).rate(50 << 20).wait()?;
    /// println!("{} messages, {} bytes", report.messages, report.bytes);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn backup(&self, to: impl Into<PathBuf>) -> Backup {
        Backup {
            backend: self.backend().clone(),
            to: to.into(),
            rate: None,
            on_progress: None,
        }
    }
}

impl Backup {
    /// Copies at most so many bytes in a second, at least [`BACKUP_RATE_MIN`], so that the store keeps its share of the disk.
    /// Default: as fast as it goes.
    pub fn rate(mut self, bytes_per_second: u64) -> Self {
        self.rate = Some(bytes_per_second);
        self
    }

    /// Is told how far the copy is, after each MiB and while it is checked, on the thread that copies. An engine whose last
    /// handle it drops is closed by another thread, soon after; it must not wait for a close itself.
    pub fn on_progress(mut self, told: impl FnMut(BackupProgress) + Send + 'static) -> Self {
        self.on_progress = Some(Box::new(told));
        self
    }

    /// Makes the copy on this thread. Never call it on a thread of an async runtime. A close of the engine ends it, and waits for
    /// it to be gone.
    ///
    /// # Errors
    /// [`BackupError`]; the store is as it was.
    pub fn wait(mut self) -> Result<BackupReport, BackupError> {
        if let Some(rate) = self.rate.filter(|rate| *rate < BACKUP_RATE_MIN) {
            return Err(BackupError::RateTooLow { rate });
        }
        // What is told of progress may drop the last handle of the engine: another thread closes it then, and waits for this one.
        let _inside = Inside::enter();
        let shell = Arc::clone(&self.backend.0);
        let parker = shell.park.parker();
        // Gone before `self` is, whose closure may hold the last handle of the engine: a close waits for it.
        let _copying = shell.copies.enter(Arc::clone(&parker));
        let target = FreshDirectory::check(&self.to)?;
        match self.copy_into(&target, &*parker) {
            Ok(report) => {
                target.finish()?;
                Ok(report)
            }
            Err(error) => {
                if let Err(left) = target.give_up() {
                    tracing::warn!(error = %left, "what was written of a backup could not be removed");
                }
                Err(error)
            }
        }
    }

    fn copy_into(
        &mut self,
        target: &FreshDirectory,
        parker: &dyn Parker,
    ) -> Result<BackupReport, BackupError> {
        let (images, segments) = self.take_image()?;
        let shell = Arc::clone(&self.backend.0);
        let begun = shell.clock().monotonic();
        let copying = Copying {
            identity: shell.identity.clone(),
            records: images.manager.records(),
            places: images.places,
            segments,
            at: images.at,
            now: images.now,
        };
        let written = copying.write(&target.storage(), &mut |progress| {
            if let Some(told) = &mut self.on_progress {
                told(progress);
            }
            if let Some(rate) = self.rate {
                let due = begun + time_for(progress.copied, rate);
                let ahead = due.saturating_sub(shell.clock().monotonic());
                // Whoever stops the engine calls, before this sleep or in it.
                if !ahead.is_zero() && shell.stopped().is_none() {
                    parker.park(Some(ahead));
                }
            }
            // Once the store is let go, another process may recycle what is being read.
            if shell.stopped().is_some() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        written.map_err(|error| match (error, shell.stopped()) {
            (CopyError::GivenUp, Some(stopped)) => BackupError::Stopped(stopped.clone()),
            (error, _) => error.into(),
        })
    }

    /// The store at the end of a frame, with its segments held.
    fn take_image(&self) -> Result<(Images, Vec<Arc<SegmentFile>>), BackupError> {
        let shell = &self.backend.0;
        let mut side = shell.lock_log();
        let images = match shell.images(&mut side) {
            Ok(images) => images,
            // The journal may be short of what it promised: nobody may be served from it.
            Err(stopped) => {
                drop(side);
                shell.stop(stopped.clone());
                return Err(stopped.into());
            }
        };
        if side.awaits_room() {
            return Err(BackupError::NoRoom); // the state is ahead of the journal
        }
        let images = images.ok_or_else(|| {
            shell
                .stopped()
                .map_or(BackupError::InMemory, |stopped| stopped.clone().into())
        })?;
        let segments = shell.look(|desk, _| {
            let paper = desk.paper.as_ref();
            paper.map(|paper| paper.places.lived_in(images.at))
        });
        drop(side);
        Ok((images, segments.unwrap_or_default()))
    }
}

impl IntoFuture for Backup {
    type Output = Result<BackupReport, BackupError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    /// On a thread of its own. Dropping the future does not stop the copy.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let (promise, pending) = Pending::new();
            let shell = Arc::clone(&self.backend.0);
            let thread = std::thread::Builder::new().name("mq-backup".to_owned());
            let thread = thread
                .spawn(move || promise.keep(self.wait()))
                .map_err(|source| BackupError::System { source })?;
            shell.copies.keep(thread);
            drop(shell);
            pending
                .await
                .unwrap_or_else(|_| Err(Stopped::Closed.into()))
        })
    }
}

impl fmt::Debug for Backup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backup")
            .field("to", &self.to)
            .field("rate", &self.rate)
            .finish_non_exhaustive()
    }
}

/// How long so many bytes take.
fn time_for(bytes: u64, rate: u64) -> Duration {
    let millis = u128::from(bytes) * 1_000 / u128::from(rate.max(1));
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}
