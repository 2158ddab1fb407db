//! One message kills the process whenever its handler runs, beside 63 that do nothing wrong. It goes dead after three runs
//! alone that killed; nobody else does, everybody else is handled, and no crash costs them an attempt.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use mq_core::backend::{Grant, WhenFull};
use mq_core::command::Settlement;
use mq_core::id::{MessageId, Seq};
use mq_core::message::NewMessage;
use mq_core::state::{DeadReason, State};
use mq_core::view::{Filter, StateKind};
use mq_testing::random::SplitMix64;
use mq_testing::sim_disk::{CrashMode, SimDisk};

use crate::machine::{Machine, text};
use crate::suite::{Outcome, Run};

const MESSAGES: u32 = 64;
/// Runs alone that kill the process before a message is dead.
const SOLO_KILLS: u64 = 3;
/// No seed needs more lives: a power cut may make mq forget the one run that it was about.
const LIVES_MAX: u64 = 60;

/// Many seeds.
pub(super) fn kills(run: &Run) -> Outcome {
    let cases = run.level.of(150, 5_000, 500_000);
    run.each_seed(cases, |seed| {
        let mut scene = Scene::new(seed)?;
        let kills = scene.play()?;
        run.tried(kills);
        Ok(())
    })
    .into()
}

struct Scene {
    random: SplitMix64,
    disk: SimDisk,
    life: u64,
    poison: MessageId,
    /// Settlements answered, and those of them that a power cut may take back.
    handled: BTreeSet<MessageId>,
    soft: BTreeSet<MessageId>,
    /// Settlements that a power cut may have taken back.
    unsure: BTreeSet<MessageId>,
    all: BTreeSet<MessageId>,
    /// The power goes, too; else the process is killed only.
    loses_power: bool,
    solo_kills: u64,
}

impl Scene {
    fn new(seed: u64) -> Result<Self, String> {
        let mut random = SplitMix64::new(seed);
        let disk = SimDisk::new();
        let machine = Machine::open(&disk, 0)?;
        let place = random.below(MESSAGES.into());
        let mut all = Vec::new();
        for _ in 0..MESSAGES {
            let message = NewMessage::new(
                "orders".parse().map_err(text)?,
                "order".parse().map_err(text)?,
                Bytes::from_static(b"work"),
            );
            let answer = machine.backend().enqueue(vec![message], WhenFull::Refuse);
            let receipts = answer.wait().map_err(text)?.map_err(text)?;
            all.extend(receipts.first().map(|receipt| receipt.accepted.id));
        }
        drop(machine);
        let poison = usize::try_from(place).ok().and_then(|it| all.get(it));
        Ok(Self {
            poison: *poison.ok_or("no message")?,
            loses_power: random.chance(1, 3),
            random,
            disk: disk.restart_process(),
            life: 0,
            handled: BTreeSet::new(),
            soft: BTreeSet::new(),
            unsure: BTreeSet::new(),
            all: all.into_iter().collect(),
            solo_kills: 0,
        })
    }

    /// Lives until nothing is left but the dead; answers how often the process was killed.
    fn play(&mut self) -> Result<u64, String> {
        while !self.live()? {
            self.life += 1;
            if self.life > LIVES_MAX {
                return Err(format!("the poison is not dead after {} lives", self.life));
            }
        }
        if !self.loses_power && self.solo_kills != SOLO_KILLS {
            return Err(format!("dead after {} solo kills", self.solo_kills));
        }
        Ok(self.life)
    }

    /// One process. Whether everything is over.
    fn live(&mut self) -> Result<bool, String> {
        let machine = Machine::open(&self.disk, self.life + 1)?;
        // How many handlers run at once differs from life to life.
        let width = 1 + u32::try_from(self.random.below(MESSAGES.into())).unwrap_or(0);
        for _ in 0..400 {
            let mut grants = machine.take(width);
            let held: BTreeSet<MessageId> = grants.iter().map(|it| it.token.id).collect();
            let suspects = grants.iter().filter(|grant| grant.suspect).count();
            if suspects > 1 {
                return Err(format!("{suspects} suspects run at once"));
            }
            if let Some(at) = grants.iter().position(|it| it.token.id == self.poison) {
                // Some of the others came to their end before.
                let alone = grants.get(at).is_some_and(|it| it.suspect);
                grants.remove(at);
                let before = usize::try_from(self.random.below(64)).unwrap_or(0);
                self.settle(&machine, grants.iter().take(before))?;
                self.solo_kills += u64::from(alone);
                self.die(machine);
                return Ok(false);
            }
            self.settle(&machine, grants.iter())?;
            if held.is_empty() {
                machine.pass(Duration::from_secs(1));
                if machine.backend().stats().live_messages == 0 {
                    return self.judge(&machine).map(|()| true);
                }
            } else if self.random.chance(1, 3) {
                machine.pass(Duration::from_millis(15));
                self.soft.clear();
            }
        }
        Err("it goes on and on".to_owned())
    }

    fn settle<'g>(
        &mut self,
        machine: &Machine,
        grants: impl Iterator<Item = &'g Grant>,
    ) -> Result<(), String> {
        for grant in grants {
            let id = grant.token.id;
            if grant.attempt != 1 {
                return Err(format!("{id} is in attempt {}", grant.attempt));
            }
            if !self.all.contains(&id) {
                return Err(format!("{id} was never sent"));
            }
            machine.settle(grant, Settlement::Succeed { result: None }, Vec::new())?;
            if !self.handled.insert(id) {
                return Err(format!("{id} was handled, and came back"));
            }
            self.soft.insert(id);
        }
        Ok(())
    }

    fn die(&mut self, machine: Machine) {
        drop(machine);
        if self.loses_power && self.random.chance(1, 2) {
            let seed = self.random.next_u64();
            self.disk = self.disk.power_cycle(CrashMode::Subset(seed));
            // What was answered when written need not be there.
            for id in std::mem::take(&mut self.soft) {
                self.handled.remove(&id);
                self.unsure.insert(id);
            }
        } else {
            self.disk = self.disk.restart_process();
            self.soft.clear(); // an opening syncs what it finds
        }
    }

    /// Everything is over: who is dead, and who was handled?
    fn judge(&self, machine: &Machine) -> Result<(), String> {
        let filter = Filter {
            state: Some(StateKind::Dead),
            ..Filter::default()
        };
        let page = machine.backend().list(filter, Seq::NONE, 100).wait();
        let dead = page.map_err(text)?.map_err(text)?.messages;
        let expected = |state: &State| {
            matches!(
                state,
                State::Dead {
                    reason: DeadReason::Crashed
                }
            )
        };
        match dead.as_slice() {
            [view] if view.id == self.poison && expected(&view.state) => {}
            others => return Err(format!("these are dead: {others:?}")),
        }
        let left = self.all.difference(&self.handled);
        let left: Vec<_> = left.filter(|id| !self.unsure.contains(id)).collect();
        if left == [&self.poison] {
            Ok(())
        } else {
            Err(format!("never handled: {left:?}"))
        }
    }
}
