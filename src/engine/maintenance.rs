//! The maintenance thread: spare segments, snapshots, freed segments, compaction. Everything that may take long and
//! that no caller should wait for.
//!
//! Invariants: it holds the log token only to reach a frame boundary, and the manager token only to copy or compare;
//! encoding, zero-filling and reading happen under neither. A failure here that may have touched the journal's promises
//! stops the engine; a full disk does not: it refuses further messages until there is room.

use std::sync::Arc;
use std::time::Duration;

use mq_core::backend::Stopped;
use mq_persistence::keeper::{Keeper, Snapshotted};
use mq_persistence::reclaim::Survey;
use mq_persistence::spares::Prepared;

use super::shell::{Images, Shell, StopOnPanic, poisoned};

/// It looks after the store at least this often, so that an idle store is compacted too.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Bytes that one step of compaction copies: a small part of what a frame may hold.
const COMPACTION_STEP_SIZE: usize = 256 << 10;

#[derive(Debug)]
pub(crate) struct Maintenance {
    shell: Arc<Shell>,
    keeper: Keeper,
}

impl Maintenance {
    pub(crate) fn new(shell: Arc<Shell>, keeper: Keeper) -> Self {
        Self { shell, keeper }
    }

    /// Runs until the engine stops.
    pub(crate) fn run(mut self) {
        let shell = Arc::clone(&self.shell);
        let _guard = StopOnPanic(&shell);
        while self.shell.stopped().is_none() {
            if let Err(stopped) = self.look_after() {
                return self.shell.stop(stopped);
            }
            self.shell
                .maintenance
                .sleep(Some(LOOK_EVERY), || self.shell.stopped().is_some());
        }
    }

    fn look_after(&mut self) -> Result<(), Stopped> {
        let survey = self.survey();
        if survey.snapshot {
            self.snapshot()?;
        }
        if survey.reclaim {
            self.keeper.reclaim();
        }
        self.prepare_spares()?;
        if survey.compaction {
            self.compact()?;
        }
        Ok(())
    }

    fn survey(&mut self) -> Survey {
        let side = self.shell.lock_log();
        let Some(log) = &side.log else {
            return Survey::default();
        };
        let (written, durable) = (log.written(), log.durable());
        let keeper = &mut self.keeper;
        let survey = self.shell.look(|desk, _| {
            desk.paper
                .as_mut()
                .map(|paper| keeper.survey(&mut paper.places, written, durable))
        });
        survey.unwrap_or_default()
    }

    fn snapshot(&mut self) -> Result<(), Stopped> {
        let Some(Images {
            manager,
            places,
            at,
            now,
        }) = self.shell.images(&mut self.shell.lock_log())?
        else {
            return Ok(());
        };
        match self
            .keeper
            .snapshot(manager.records(), places, (at, at), &now)
            .map_err(poisoned)?
        {
            Snapshotted::Taken(facts) => tracing::debug!(
                generation = facts.generation,
                size = facts.size,
                "a snapshot was taken"
            ),
            Snapshotted::NoRoom => tracing::warn!(
                "there is no room on the disk for a snapshot; the journal goes on growing"
            ),
        }
        Ok(())
    }

    fn prepare_spares(&mut self) -> Result<(), Stopped> {
        loop {
            let prepared = self.keeper.prepare_spares().map_err(poisoned);
            if self.shell.look(|desk, _| desk.look_at_disk()) {
                self.shell.call(); // there is room again for those who wait
            }
            if prepared? != Prepared::Progress || self.shell.stopped().is_some() {
                return Ok(());
            }
        }
    }

    /// Copies live records out of segments that hold little else: a bounded number of bytes, then a round that writes them.
    fn compact(&mut self) -> Result<(), Stopped> {
        while self.shell.stopped().is_none() {
            match self.keeper.read_live(COMPACTION_STEP_SIZE) {
                Ok(relocations) if relocations.is_empty() => return Ok(()),
                Ok(relocations) => self
                    .shell
                    .look(|desk, now| desk.relocate(now, &relocations)),
                Err(failure) => {
                    tracing::error!(%failure, "a record could not be read for compaction and stays where it is; run `mq verify`");
                }
            }
            self.shell.round(&mut self.shell.lock_log())?;
            self.shell.call();
        }
        Ok(())
    }
}
