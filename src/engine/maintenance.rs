//! The maintenance thread: spare segments, snapshots, freed segments, compaction. Everything that may take long and
//! that no caller should wait for.
//!
//! Invariants: it holds the log token only to reach a frame boundary, and the manager token only to copy or compare;
//! encoding, zero-filling and reading happen under neither. A failure here that may have touched the journal's promises
//! stops the engine; a full disk does not: it refuses further messages, and holds work, until there is room. When the engine is to be closed,
//! it ends what it is doing early, and leaves the rest to whoever closes.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use mq_core::backend::Stopped;
use mq_core::pending::{Pending, Promise};
use mq_core::telemetry::store;
use mq_persistence::keeper::{Keeper, Snapshotted};
use mq_persistence::lsn::Lsn;
use mq_persistence::reclaim::Survey;
use mq_persistence::snapshot::SnapshotFacts;
use mq_persistence::spares::Prepared;

use super::shell::{Images, Round, Shell, StopOnPanic, poisoned};
use crate::error::SnapshotError;

/// It looks after the store at least this often, so that an idle store is compacted too.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The same while work waits for room on the disk: an operator may have freed some.
const LOOK_WHILE_HELD: Duration = Duration::from_millis(20);
/// Readers of freed segments, such as a slow backup, keep what is reserved for freeing from work that waits for it no longer than this.
const READERS_AWAITED: Duration = Duration::from_secs(1);
/// Bytes that one step of compaction copies: a small part of what a frame may hold.
const COMPACTION_STEP_SIZE: usize = 256 << 10;

/// Whoever asked for a snapshot.
pub(crate) type SnapshotPromise = Promise<Result<SnapshotFacts, SnapshotError>>;

impl Shell {
    /// Asks the maintenance thread for a snapshot; answered when it is durable.
    pub(crate) fn snapshot(&self) -> Pending<Result<SnapshotFacts, SnapshotError>> {
        if self.look(|desk, _| desk.paper.is_none()) {
            return Pending::ready(Err(SnapshotError::InMemory));
        }
        let (promise, pending) = Pending::new();
        self.wishes.lock().push(promise);
        self.refuse_wishes_if_stopped();
        self.maintenance.call();
        pending
    }
}

/// What a pass left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// More, at once.
    More,
    /// Nothing; work waits for room on the disk.
    Held,
    /// Nothing.
    Enough,
}

#[derive(Debug)]
pub(crate) struct Maintenance {
    shell: Arc<Shell>,
    /// Since when work waits for room that readers keep.
    readers_since: Cell<Option<Duration>>,
}

impl Maintenance {
    pub(crate) fn new(shell: Arc<Shell>) -> Self {
        Self {
            shell,
            readers_since: Cell::new(None),
        }
    }

    /// Runs until the engine stops.
    pub(crate) fn run(self) {
        let shell = &*self.shell;
        let _guard = StopOnPanic::new(shell);
        while shell.stopped().is_none() {
            shell.sample();
            let kept = match self.keep_house() {
                Ok(kept) => kept,
                Err(stopped) => return shell.stop(stopped),
            };
            if shell.is_closing() {
                shell.call(); // the keeper is free for whoever closes
            }
            let pause = match kept {
                Kept::More if !self.is_ending() => continue,
                Kept::Held => LOOK_WHILE_HELD,
                Kept::More | Kept::Enough => LOOK_EVERY,
            };
            shell.maintenance.sleep(Some(pause), || {
                let is_wanted = !shell.is_closing() && !shell.wishes.lock().is_empty();
                is_wanted || shell.stopped().is_some()
            });
        }
    }

    fn keep_house(&self) -> Result<Kept, Stopped> {
        match &mut *self.shell.keeper.lock() {
            Some(keeper) if !self.is_ending() => self.look_after(keeper),
            Some(_) | None => Ok(Kept::Enough),
        }
    }

    /// Whether the keeper should be left to whoever closes.
    fn is_ending(&self) -> bool {
        self.shell.stopped().is_some() || self.shell.is_closing()
    }

    fn look_after(&self, keeper: &mut Keeper) -> Result<Kept, Stopped> {
        let (survey, written) = self.survey(keeper);
        keeper.close_idle();
        let wishes = std::mem::take(&mut *self.shell.wishes.lock());
        let mut freed = false;
        if survey.snapshot || !wishes.is_empty() {
            freed |= self.snapshot(keeper, wishes)?;
        }
        if survey.reclaim {
            let segments = keeper.reclaim();
            freed |= segments > 0;
            tracing::debug!(name: store::SEGMENTS_FREED, target: store::TARGET, segments, "segments were freed");
        }
        freed |= self.prepare_spares(keeper)?;
        self.shell.note_holdings(keeper.holdings(written));
        if survey.compaction {
            freed |= self.compact(keeper)?;
        }
        Ok(self.what_is_left(keeper, freed))
    }

    /// Whether to begin anew at once: while the disk is low, segments are free after several passes only. Work that is held while
    /// nothing can be freed gets the room that is kept for freeing.
    fn what_is_left(&self, keeper: &Keeper, freed: bool) -> Kept {
        let (low, held) = self.shell.look(|desk, _| {
            let more = desk.look_at_disk();
            (desk.refuses_new(), desk.is_held() && !more)
        });
        if low && freed {
            return Kept::More;
        }
        let waits = self.waits_for_readers(held && keeper.awaits_readers());
        if held && !waits {
            keeper.pool().give_reserve();
            if self.shell.look(|desk, _| desk.look_at_disk()) {
                self.shell.call();
            }
        }
        if held { Kept::Held } else { Kept::Enough }
    }

    /// Whether to leave work waiting for those who read in freed segments; not for long, and then anew.
    fn waits_for_readers(&self, they_keep_room: bool) -> bool {
        let now = self.shell.clock().monotonic();
        let since = they_keep_room.then(|| self.readers_since.get().unwrap_or(now));
        let since = since.filter(|since| now.saturating_sub(*since) < READERS_AWAITED);
        self.readers_since.set(since);
        since.is_some()
    }

    /// What is wanted, and up to where the journal is written.
    fn survey(&self, keeper: &mut Keeper) -> (Survey, Lsn) {
        let side = self.shell.lock_log();
        let Some(log) = &side.log else {
            return (Survey::default(), Lsn::START);
        };
        let (written, durable) = (log.written(), log.durable());
        let survey = self.shell.look(|desk, _| {
            desk.paper
                .as_mut()
                .map(|paper| keeper.survey(&mut paper.places, written, durable))
        });
        let mut survey = survey.unwrap_or_default();
        survey.compaction &= !side.awaits_room();
        (survey, written)
    }

    /// Takes a snapshot; those who wish for one are told. Whoever is not told because of a failure is told why the engine stopped.
    /// Answers whether one was taken.
    fn snapshot(&self, keeper: &mut Keeper, wishes: Vec<SnapshotPromise>) -> Result<bool, Stopped> {
        let taken = self.take_snapshot(keeper);
        for wish in wishes {
            wish.keep(match &taken {
                Ok(Some(Snapshotted::Taken(facts))) => Ok(*facts),
                Ok(Some(Snapshotted::NoRoom)) => Err(SnapshotError::NoRoom),
                Ok(None) => Err(Stopped::Closed.into()),
                Err(stopped) => Err(stopped.clone().into()),
            });
        }
        let taken = taken?;
        match taken {
            Some(Snapshotted::Taken(facts)) => tracing::info!(
                name: store::SNAPSHOT,
                target: store::TARGET,
                generation = facts.generation,
                size = facts.size,
                "a snapshot was taken"
            ),
            Some(Snapshotted::NoRoom) => tracing::warn!(
                name: store::SNAPSHOT_NO_ROOM,
                target: store::TARGET,
                "there is no room on the disk for a snapshot; the journal goes on growing"
            ),
            None => {}
        }
        Ok(matches!(taken, Some(Snapshotted::Taken(_))))
    }

    /// `None` if the log is closed already.
    fn take_snapshot(&self, keeper: &mut Keeper) -> Result<Option<Snapshotted>, Stopped> {
        let images = {
            let mut side = self.shell.lock_log();
            let images = self.shell.images(&mut side)?;
            if side.awaits_room() {
                return Ok(Some(Snapshotted::NoRoom)); // the state is ahead of the journal
            }
            images
        };
        let Some(Images {
            manager,
            places,
            at,
            now,
        }) = images
        else {
            return Ok(None);
        };
        let snapshot = || keeper.snapshot(manager.records(), places, (at, at), &now);
        let taken = self.shell.stopwatch(&self.shell.sight.snapshot, snapshot);
        taken.map(Some).map_err(poisoned)
    }

    /// Answers whether anything was made.
    fn prepare_spares(&self, keeper: &mut Keeper) -> Result<bool, Stopped> {
        let mut made = false;
        loop {
            let prepared = keeper.prepare_spares().map_err(poisoned);
            if self.shell.look(|desk, _| desk.look_at_disk()) {
                self.shell.call(); // there is room again for those who wait
            }
            if prepared? != Prepared::Progress || self.is_ending() {
                return Ok(made);
            }
            made = true;
        }
    }

    /// Copies live records out of segments that hold little else: a bounded number of bytes, then a round that writes them. Answers
    /// whether any were copied. While a frame waits for room, none are: places change when their frame is written, and the same records
    /// would be copied again and again until then.
    fn compact(&self, keeper: &mut Keeper) -> Result<bool, Stopped> {
        let mut copied = false;
        while !self.is_ending() {
            let read = keeper.read_live(COMPACTION_STEP_SIZE).inspect_err(|failure| {
                tracing::error!(%failure, "a record could not be read for compaction and stays where it is; run `mq verify`");
            });
            let mut side = self.shell.lock_log();
            if side.awaits_room() {
                break;
            }
            match read {
                Ok(relocations) if relocations.is_empty() => break,
                Ok(relocations) => {
                    let records = self
                        .shell
                        .look(|desk, now| desk.relocate(now, &relocations));
                    copied |= records > 0;
                    tracing::debug!(name: store::COMPACTED, target: store::TARGET, records, "records were copied together");
                }
                Err(_) => {} // the others go on
            }
            let round = self.shell.round(&mut side)?;
            drop(side);
            self.shell.call();
            if matches!(round, Round::Held(_)) {
                break; // the next pass goes on
            }
        }
        Ok(copied)
    }
}
