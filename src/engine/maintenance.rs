//! The maintenance thread: spare segments, snapshots, freed segments, compaction. Everything that may take long and
//! that no caller should wait for.
//!
//! Invariants: it holds the log token only to reach a frame boundary, and the manager token only to copy or compare;
//! encoding, zero-filling and reading happen under neither. A failure here that may have touched the journal's promises
//! stops the engine; a full disk does not: it refuses further messages until there is room.

use std::sync::Arc;
use std::time::Duration;

use mq_core::backend::Stopped;
use mq_core::manager::Image;
use mq_core::time::Now;
use mq_persistence::keeper::{Keeper, Snapshotted};
use mq_persistence::lsn::Lsn;
use mq_persistence::places::PlacesImage;
use mq_persistence::reclaim::Survey;
use mq_persistence::spares::Prepared;

use super::shell::{Shell, poisoned};

/// It looks after the store at least this often, so that an idle store is compacted too.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Bytes that one step of compaction copies: a small part of what a frame may hold.
const COMPACTION_STEP_SIZE: usize = 256 << 10;

#[derive(Debug)]
pub(crate) struct Maintenance {
    shell: Arc<Shell>,
    keeper: Keeper,
}

/// The store at a frame boundary where everything is synced.
struct Images {
    manager: Image,
    places: PlacesImage,
    at: Lsn,
    now: Now,
}

impl Maintenance {
    pub(crate) fn new(shell: Arc<Shell>, keeper: Keeper) -> Self {
        Self { shell, keeper }
    }

    /// Runs until the engine stops.
    pub(crate) fn run(mut self) {
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
            self.compact();
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
        }) = self.images()?
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

    /// Syncs everything, and copies the state at that frame boundary: only pointers, under both tokens.
    fn images(&self) -> Result<Option<Images>, Stopped> {
        let mut side = self.shell.lock_log();
        loop {
            let Some(at) = side.log.as_ref().map(mq_persistence::log::Log::written) else {
                return Ok(None);
            };
            let images = self.shell.look(|desk, now| {
                let settled = desk.is_settled();
                let images = desk
                    .paper
                    .as_ref()
                    .filter(|_| settled)
                    .map(|paper| (desk.manager.image(), paper.places.image(), *now));
                desk.want_sync();
                images
            });
            if let Some((manager, places, now)) = images {
                return Ok(Some(Images {
                    manager,
                    places,
                    at,
                    now,
                }));
            }
            self.shell.round(&mut side)?;
        }
    }

    fn prepare_spares(&mut self) -> Result<(), Stopped> {
        loop {
            let prepared = self.keeper.prepare_spares().map_err(poisoned);
            let low = self.keeper.room().low;
            let was_low = self.shell.look(|desk, _| desk.set_disk_low(low));
            if was_low && !low {
                self.shell.call(); // there is room again for those who wait
            }
            if prepared? != Prepared::Progress || self.shell.stopped().is_some() {
                return Ok(());
            }
        }
    }

    /// Copies live records out of segments that hold little else, a bounded number of bytes at a time.
    fn compact(&mut self) {
        while self.shell.stopped().is_none() {
            match self.keeper.read_live(COMPACTION_STEP_SIZE) {
                Ok(relocations) if relocations.is_empty() => return,
                Ok(relocations) => self
                    .shell
                    .look(|desk, now| desk.relocate(now, &relocations)),
                Err(failure) => {
                    tracing::error!(%failure, "a record could not be read for compaction and stays where it is; run `mq verify`")
                }
            }
            self.shell.call();
        }
    }
}
