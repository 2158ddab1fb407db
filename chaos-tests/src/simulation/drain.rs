//! The last life: nothing disturbs it, everything is brought to its end, and the oracle judges.

use std::time::Duration;

use mq_core::command::Settlement;
use mq_core::state::DeadReason;
use mq_core::view::StateKind;
use mq_testing::oracle::Ending;

use super::grants::Kind;
use super::lives::{Life, dead};
use super::{Halt, Step, World, broken};

const ROUNDS_MAX: usize = 400;

impl World {
    /// Opens, runs until empty, judges, closes, opens once more.
    pub(super) fn live_to_the_end(&mut self) -> Result<(), String> {
        self.allow_io();
        let Some(machine) = self.open()? else {
            return Err("a healthy disk does not open".to_owned());
        };
        let mut life = Life::begin(self, machine);
        match life.look_around().and_then(|()| life.run_until_empty()) {
            Ok(()) => {}
            Err(Halt::Broken(reason)) => return Err(reason),
            Err(Halt::Over) => {
                life.world.check_io()?;
                return Err("the engine stopped on a healthy disk".to_owned());
            }
        }
        life.world.oracle.when_empty().into_result()?;
        life.machine.close()?;
        self.oracle.ended(Ending::Closed);
        match self.open()? {
            Some(machine) if machine.backend().stats().live_messages == 0 => Ok(()),
            Some(machine) => Err(format!(
                "messages came back after the close: {:?}",
                machine.backend().stats()
            )),
            None => Err("a closed store does not open".to_owned()),
        }
    }
}

impl Life<'_> {
    fn run_until_empty(&mut self) -> Step {
        self.pause("mail", false)?;
        self.pause("orders", false)?;
        while self.bulk_is_under_way()? {
            self.let_pass(Duration::from_millis(15))?;
            self.machine.run_bulk();
        }
        for _ in 0..ROUNDS_MAX {
            self.wake_the_dead()?;
            self.release_the_held()?;
            self.take(64)?;
            for held in std::mem::take(&mut self.held) {
                let settlement = Settlement::Succeed { result: None };
                self.settle(held, settlement, Kind::Ends, 0, true)?;
            }
            self.collect()?;
            let empty = self.machine.backend().stats().live_messages == 0;
            if empty && self.list(StateKind::Dead)?.is_empty() {
                return Ok(());
            }
            self.let_pass(Duration::from_secs(10))?;
        }
        let stats = self.machine.backend().stats();
        broken(format!("not empty after {ROUNDS_MAX} rounds: {stats:?}"))
    }

    fn wake_the_dead(&mut self) -> Step {
        for view in self.list(StateKind::Dead)? {
            let Some(name) = self.name_of(view.id)? else {
                return broken(format!("a dead letter nobody sent: {}", view.id));
            };
            if view.state == dead(DeadReason::Undecodable) {
                return broken(format!("{name} was found damaged"));
            }
            self.world.facts.entry(name).or_default().id = Some(view.id);
            self.replay(name)?;
        }
        Ok(())
    }

    fn release_the_held(&mut self) -> Step {
        for view in self.list(StateKind::Held)? {
            let release = mq_core::backend::OperateRequest::Release;
            let asked = self.machine.backend().operate(view.id, release);
            match self.answer(asked)? {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return broken(format!("{} is not released: {error}", view.id)),
                Err(_) => return Err(Halt::Over),
            }
        }
        Ok(())
    }
}
