//! Which workers of one engine are alive, for those who have the engine and not the workers: operators, statistics,
//! health.
//!
//! It keeps nobody alive. Workers that have stopped leave it by themselves.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::newer::Readable;
use crate::problem::{ControlError, Unhealthy};
use crate::reply::Reply;
use crate::stats::{PoolStats, Running};
use crate::workers::{Control, Crew};

/// The living workers of one engine. Cheap to clone; all clones are one roster.
#[derive(Clone, Debug, Default)]
pub struct Roster(Arc<Mutex<Vec<Weak<Crew>>>>);

impl Roster {
    pub(crate) fn enlist(&self, crew: &Arc<Crew>) {
        let mut crews = self.0.lock();
        crews.retain(|known| known.upgrade().is_some_and(|known| !known.has_ended()));
        crews.push(Arc::downgrade(crew));
    }

    /// A handle on each set of workers that has not stopped, in the order of their start.
    #[must_use]
    pub fn controls(&self) -> Vec<Control> {
        let crews = self.0.lock();
        let alive = crews.iter().filter_map(Weak::upgrade);
        alive
            .filter(|crew| !crew.has_ended())
            .map(Control)
            .collect()
    }

    /// Counts of every pool.
    #[must_use]
    pub fn stats(&self) -> Vec<PoolStats> {
        self.controls()
            .iter()
            .flat_map(|control| control.stats())
            .collect()
    }

    /// Every handler that runs now.
    #[must_use]
    pub fn running(&self) -> Vec<Running> {
        self.controls()
            .iter()
            .flat_map(|control| control.running())
            .collect()
    }

    /// The kinds that they decode, aliases too.
    #[must_use]
    pub fn readable(&self) -> Vec<Readable> {
        self.controls()
            .iter()
            .flat_map(|control| control.readable().to_vec())
            .collect()
    }

    /// Whether all of them work as they should; true where there are none.
    ///
    /// # Errors
    /// [`Unhealthy`] with every illness of every set of workers.
    pub fn health(&self) -> Result<(), Unhealthy> {
        let ill = self
            .controls()
            .into_iter()
            .filter_map(|control| control.health().err());
        let illnesses: Vec<_> = ill.flat_map(|unhealthy| unhealthy.illnesses).collect();
        if illnesses.is_empty() {
            Ok(())
        } else {
            Err(Unhealthy { illnesses })
        }
    }

    /// As [`Control::scale`], wherever the pool runs.
    pub fn scale(&self, pool: &str, workers: usize) -> Reply<Result<(), ControlError>> {
        match self.of(pool) {
            Ok(control) => control.scale(pool, workers),
            Err(error) => Reply::ready(Err(error)),
        }
    }

    /// As [`Control::pause`], wherever the pool runs.
    ///
    /// # Errors
    /// [`ControlError`] if no living workers have it.
    pub fn pause(&self, pool: &str) -> Result<(), ControlError> {
        self.of(pool)?.pause(pool)
    }

    /// As [`Control::resume`], wherever the pool runs.
    ///
    /// # Errors
    /// [`ControlError`] if no living workers have it.
    pub fn resume(&self, pool: &str) -> Result<(), ControlError> {
        self.of(pool)?.resume(pool)
    }

    /// The workers that have this pool; the first ones, if several have.
    fn of(&self, pool: &str) -> Result<Control, ControlError> {
        let controls = self.controls();
        let mut known = Vec::new();
        for control in controls {
            if control.has(pool) {
                return Ok(control);
            }
            known.extend(control.stats().into_iter().map(|stats| stats.kind));
        }
        Err(ControlError::UnknownKind {
            kind: pool.to_owned(),
            known,
        })
    }
}
