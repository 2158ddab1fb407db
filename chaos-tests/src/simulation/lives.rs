//! One life: open, work, end in one of many ways.

use std::sync::Arc;
use std::time::Duration;

use mq_core::backend::{EnqueueError, Receipt, SettleError, SettleReceipt};
use mq_core::pending::{Abandoned, Pending};
use mq_core::state::{DeadReason, State};
use mq_core::view::Lookup;
use mq_testing::crash_points::Crash;
use mq_testing::oracle::{Ending, Survives};
use mq_testing::sim_disk::{CrashMode, Fault, IoKind};

use super::grants::Held;
use super::mix::Mix;
use super::{Halt, Step, World};
use crate::machine::{LEASE, Machine};

/// An enqueue whose answer is still to come.
pub(super) struct OpenEnqueue {
    pub(super) names: Vec<u64>,
    /// Messages that it may replace.
    pub(super) rivals: Vec<u64>,
    pub(super) pending: Pending<Result<Vec<Receipt>, EnqueueError>>,
}

/// A settlement whose answer is still to come.
pub(super) struct OpenSettle {
    pub(super) held: Held,
    pub(super) what: super::grants::Kind,
    pub(super) staged: Vec<u64>,
    pub(super) pending: Pending<Vec<Result<SettleReceipt, SettleError>>>,
}

pub(super) const fn dead(reason: DeadReason) -> State {
    State::Dead { reason }
}

/// One life of the store.
pub(super) struct Life<'w> {
    pub(super) world: &'w mut World,
    pub(super) machine: Machine,
    pub(super) held: Vec<Held>,
    pub(super) enqueues: Vec<OpenEnqueue>,
    pub(super) settles: Vec<OpenSettle>,
    /// A close was begun: what it wrote may be there, whether it came to its end or not.
    closing: bool,
    pub(super) mix: Mix,
}

/// Calls at which the power goes in some lives, and among how many of them.
const CUTS: [(IoKind, u64); 9] = [
    (IoKind::SyncData, 40),
    (IoKind::SyncData, 40),
    (IoKind::SyncData, 10),
    (IoKind::Write, 40),
    (IoKind::SyncDirectory, 12),
    (IoKind::Rename, 8),
    (IoKind::Remove, 4),
    (IoKind::Create, 6),
    (IoKind::SetSize, 4),
];

/// Calls to the disk that a life may need, beside those of its steps.
const IO_MAX: u64 = 20_000;
/// Calls to the disk that a step may need on the average.
const IO_PER_STEP: u64 = 200;

/// Calls that fail in some lives.
const FAULTS: [(IoKind, Fault); 12] = [
    (IoKind::SyncData, Fault::SyncLostKept),
    (IoKind::SyncData, Fault::SyncLostReverted),
    (IoKind::SyncData, Fault::IoError),
    (IoKind::SyncDirectory, Fault::IoError),
    (IoKind::Write, Fault::IoError),
    (IoKind::Write, Fault::NoSpace),
    (IoKind::Write, Fault::Short),
    (IoKind::Write, Fault::Interrupted),
    (IoKind::Rename, Fault::IoError),
    (IoKind::Create, Fault::NoSpace),
    (IoKind::Read, Fault::Short),
    (IoKind::Remove, Fault::IoError),
];

impl World {
    /// Opens, works and ends.
    pub(super) fn live_once(&mut self) -> Result<(), String> {
        self.arm();
        let mut ending = Ending::Killed;
        if let Some(machine) = self.open()? {
            let mut life = Life::begin(self, machine);
            let steps = 1 + life.world.random.below(life.world.shape.steps);
            let worked = life
                .look_around()
                .and_then(|()| (0..steps).try_for_each(|_| life.step()))
                .and_then(|()| life.collect());
            if let Err(Halt::Broken(reason)) = worked {
                return Err(reason);
            }
            if worked.is_ok()
                && life.world.random.chance(1, 4)
                && life.commit_through().is_ok()
                && life.close()
            {
                ending = Ending::Closed;
            }
            life.leave(ending)?;
        }
        self.check_io()?;
        self.end(ending);
        if ending == Ending::Closed {
            self.decay()?;
        }
        Ok(())
    }

    /// A life is given so many calls to the disk; the disk dies after them.
    pub(super) fn allow_io(&mut self) {
        self.io_max = self.disk.io_count() + IO_MAX + self.shape.steps * IO_PER_STEP;
        self.disk.crash_after(self.io_max);
    }

    /// Whether the life needed more calls than it may: something goes round.
    pub(super) fn check_io(&self) -> Result<(), String> {
        let count = self.disk.io_count();
        if count < self.io_max {
            return Ok(());
        }
        Err(format!(
            "stuck: the life goes on after {count} calls to the disk"
        ))
    }

    fn arm(&mut self) {
        self.allow_io();
        if self.random.below(10) >= self.shape.crashes_of_10 {
            // Its end is a kill or a power cut between two calls.
        } else if self.random.chance(1, 2) {
            let (kind, among) = self.random.pick(&CUTS).copied().unwrap_or(CUTS[0]);
            let nth = 1 + self.random.below(among);
            self.disk.crash_at_nth(kind, nth);
        } else {
            let within = if self.random.chance(1, 4) {
                40
            } else {
                30 + self.shape.steps * 2
            };
            let at = self.disk.io_count() + self.random.below(within);
            self.disk.crash_after(at);
        }
        if self.random.below(10) < self.shape.faults_of_10 {
            let (kind, fault) = self.random.pick(&FAULTS).copied().unwrap_or(FAULTS[0]);
            let nth = 1 + self.random.below(60);
            self.disk.fail_nth(kind, nth, fault);
            self.faults += 1;
        }
    }

    /// Opens the store; `None` if the disk did not let it.
    pub(super) fn open(&mut self) -> Result<Option<Machine>, String> {
        self.life += 1;
        let opened = Machine::open_on(&self.disk, Arc::clone(&self.clock), self.life, |it| it);
        match opened {
            Ok(machine) => Ok(Some(machine)),
            Err(_) if self.disk.was_disturbed() => Ok(None),
            Err(refused) => Err(format!("life {}: {refused}", self.life)),
        }
    }

    /// The life ends, if it was not closed: by a kill or a power cut.
    fn end(&mut self, ending: Ending) {
        self.faults += 1;
        let crash = self.any_crash();
        // A cache that is dropped before the next opening takes what a failed sync left in it alone.
        let drops = self.random.chance(1, 2);
        let ending = match ending {
            Ending::Closed => Ending::Closed,
            Ending::Killed | Ending::PowerLost if drops && self.disk.was_disturbed() => {
                Ending::PowerLost
            }
            Ending::Killed | Ending::PowerLost => crash.ending(&self.disk),
        };
        // What was closed in order survives a power cut behind it, too.
        self.disk = if ending == Ending::Closed && self.random.chance(1, 2) {
            self.disk.fork()
        } else {
            crash.strike(&self.disk)
        };
        if drops {
            self.disk.drop_caches();
        }
        self.saw((ending, crash));
        for name in std::mem::take(&mut self.soft) {
            let fact = self.facts.entry(name).or_default();
            fact.over &= ending != Ending::PowerLost;
        }
        self.oracle.ended(ending);
        if ending == Ending::PowerLost {
            // Ids that were only written may be given to others now.
            let facts = &self.facts;
            self.names
                .retain(|_, name| facts.get(name).is_some_and(|fact| fact.answered));
            self.facts
                .values_mut()
                .for_each(super::facts::Fact::power_lost);
        }
    }

    fn any_crash(&mut self) -> Crash {
        let seed = self.random.next_u64();
        let modes = [
            CrashMode::LoseAll,
            CrashMode::KeepAll,
            CrashMode::Prefix(seed),
            CrashMode::Subset(seed),
            CrashMode::Page4k(seed),
            CrashMode::MissingOne(seed),
        ];
        match self.random.pick(&modes) {
            Some(mode) if self.random.chance(2, 3) => Crash::Power(*mode),
            _ => Crash::Kill,
        }
    }
}

impl<'w> Life<'w> {
    pub(super) fn begin(world: &'w mut World, machine: Machine) -> Self {
        let mix = Mix::any(&mut world.random);
        for fact in world.facts.values_mut() {
            fact.expect_suspect = fact.expect_suspect.map(|_| true);
            fact.promote();
            fact.dead = false;
        }
        Self {
            world,
            machine,
            held: Vec::new(),
            enqueues: Vec::new(),
            settles: Vec::new(),
            closing: false,
            mix,
        }
    }

    /// What the life begins with: queues are paused or not, ids that were named are known, the dead are told to the oracle,
    /// because what killed them may have been the crash.
    pub(super) fn look_around(&mut self) -> Step {
        self.check_pauses()?;
        self.check_promised()?;
        self.world.bulk = self.bulk_is_under_way()?;
        for view in self.list(mq_core::view::StateKind::Dead)? {
            let Some(name) = self.name_of(view.id)? else {
                return super::broken(format!("a dead letter nobody sent: {}", view.id));
            };
            let fact = self.world.facts.entry(name).or_default();
            fact.dead = true;
            let crashed = view.state == dead(DeadReason::Crashed);
            if view.state == dead(DeadReason::Undecodable) {
                return super::broken(format!("{name} was found damaged"));
            }
            if crashed && fact.solo_crashes + fact.solo_maybe < 3 {
                let crashes = fact.solo_crashes;
                return super::broken(format!(
                    "{name} is dead as crashed after {crashes} solo crashes"
                ));
            }
            self.world.oracle.burial_submitted(name);
            self.world.oracle.buried(name, Survives::PowerLoss);
            self.world.saw(("dead", name));
        }
        Ok(())
    }

    /// Each queue is as it was answered.
    fn check_pauses(&mut self) -> Step {
        for (queue, allowed) in self.world.paused.clone() {
            let name = queue.parse().map_err(|_| Halt::Over)?;
            let asked = self.machine.backend().queue_settings(name);
            let Ok(settings) = self.answer(asked)? else {
                return Err(Halt::Over);
            };
            let Ok(settings) = settings else {
                return Err(Halt::Over);
            };
            if !allowed.contains(&settings.paused) {
                let paused = settings.paused;
                return super::broken(format!("{queue}: paused is {paused}, not {allowed:?}"));
            }
            self.world.paused.insert(queue, vec![settings.paused]);
        }
        Ok(())
    }

    /// What an answer named before the crash is there or is over; this store cannot know nothing of it.
    fn check_promised(&mut self) -> Step {
        for id in self.world.promised.clone() {
            let asked = self.machine.backend().message(id);
            let Ok(Ok(found)) = self.answer(asked)? else {
                return Err(Halt::Over);
            };
            match found {
                Lookup::NeverIssued => {
                    return super::broken(format!("{id} was named in an answer and is unknown"));
                }
                Lookup::SettledNotKept => {}
                Lookup::Found(_) => {
                    if let Some(name) = self.name_of(id)? {
                        self.world.oracle.answered(name, Survives::PowerLoss);
                    }
                }
            }
        }
        self.world.promised.clear();
        Ok(())
    }

    /// Waits for an answer, as [`Machine::wait`] does.
    pub(super) fn answer<T>(&self, pending: Pending<T>) -> Step<Result<T, Abandoned>> {
        self.machine
            .wait(pending)
            .map_err(|stuck| Halt::Broken(stuck.to_string()))
    }

    fn close(&mut self) -> bool {
        // What was answered when written is synced by the close.
        let soft = std::mem::take(&mut self.world.soft);
        self.closing = true;
        let closed = self.machine.close().is_ok();
        if closed {
            for name in soft {
                self.world.oracle.settled(name, Survives::PowerLoss);
            }
            self.world
                .facts
                .values_mut()
                .for_each(super::facts::Fact::promote);
        }
        closed
    }

    /// Looks for the last answers, then remembers what was running.
    fn leave(mut self, ending: Ending) -> Result<(), String> {
        if let Err(Halt::Broken(reason)) = self.collect() {
            return Err(reason);
        }
        if !self.closing
            && let Err(Halt::Broken(reason)) = self.receive_all()
        {
            return Err(reason);
        }
        if self.world.disk.has_crashed() {
            // What was handed out at the last moment and is not in memory cannot be seen any more.
            for fact in self.world.facts.values_mut() {
                fact.solo_maybe += 1;
            }
        }
        let (now, bulk) = (self.now(), self.world.bulk);
        for held in &self.held {
            self.world.stale.push(held.grant.token);
            let Some(fact) = self.world.facts.get_mut(&held.name) else {
                continue;
            };
            let counts = ending != Ending::Closed;
            fact.solo_crashes += u32::from(held.grant.suspect && counts);
            let valid = held.taken + LEASE > now + Duration::from_secs(1);
            if counts
                && valid
                && !bulk
                && !self.closing
                && !held.superseded
                && !fact.asked
                && !fact.over
            {
                fact.expect_suspect = Some(false);
            }
        }
        for settle in &self.settles {
            self.world.stale.push(settle.held.grant.token);
            if let Some(fact) = self.world.facts.get_mut(&settle.held.name) {
                fact.solo_crashes +=
                    u32::from(settle.held.grant.suspect && ending != Ending::Closed);
            }
        }
        let surplus = self.world.stale.len().saturating_sub(30);
        self.world.stale.drain(..surplus);
        Ok(())
    }

    /// Whether the engine serves no more: the life is over.
    pub(super) fn check_alive(&self) -> Step {
        let stopped = self
            .machine
            .engine()
            .map_or(true, |engine| engine.stopped().is_some());
        if self.world.disk.has_crashed() || stopped {
            return if self.world.disk.was_disturbed() {
                Err(Halt::Over)
            } else {
                super::broken("the engine stopped on a healthy disk")
            };
        }
        Ok(())
    }

    pub(super) fn now(&self) -> Duration {
        use mq_core::time::Clock;
        self.machine.clock().monotonic()
    }
}
