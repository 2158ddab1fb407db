//! Handing out and settling: what a grant must be, and what an answered settlement promises.

use std::cmp::Ordering;
use std::time::Duration;

use bytes::Bytes;
use mq_core::backend::{Grant, SettleError, SettleReceipt, SettleRequest};
use mq_core::command::{SettleRefused, Settlement};
use mq_core::message::{Due, NewMessage};
use mq_core::state::{DeadReason, Failure, State};
use mq_testing::oracle::Survives;

use super::lives::{Life, OpenSettle};
use super::submit::name_in;
use super::{Halt, Step, broken};
use crate::machine::{LEASE, RETRY};

/// A message that a handler of the simulation holds.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) grant: Grant,
    pub(super) name: u64,
    /// Monotonic.
    pub(super) taken: Duration,
    /// A replacement was submitted.
    pub(super) superseded: bool,
}

/// What a settlement means for its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It is over.
    Ends,
    /// It is a dead letter.
    Buries,
    /// It comes again, one attempt later.
    Fails,
    /// It comes again and nothing is counted.
    Returns,
    /// It comes again with fresh budgets.
    Again,
}

fn failure() -> Failure {
    Failure {
        error_type: "Declined".to_owned(),
        text: "card declined".to_owned(),
    }
}

impl Life<'_> {
    /// Asks for messages and looks at what comes.
    pub(super) fn take(&mut self, permits: u32) -> Step {
        for grant in self.machine.take(permits) {
            self.receive(grant)?;
        }
        self.check_alive()
    }

    /// Looks at what has come for those who asked earlier.
    pub(super) fn receive_all(&mut self) -> Step {
        for grant in self.machine.taken() {
            self.receive(grant)?;
        }
        Ok(())
    }

    fn receive(&mut self, grant: Grant) -> Step {
        let payload = &grant.envelope.payload;
        let Some(name) = name_in(payload).filter(|name| self.world.facts.contains_key(name)) else {
            return broken(format!("handed out what nobody sent: {grant:?}"));
        };
        self.world
            .saw((name, grant.token, grant.attempt, grant.suspect));
        let queue = grant.queue.as_str();
        if self
            .world
            .paused
            .get(queue)
            .is_some_and(|may| *may == [true])
        {
            return broken(format!("{name} is handed out, and {queue} is paused"));
        }
        // A replacement on its way comes before or after this hand-out.
        let superseded = self.enqueues.iter().any(|open| open.rivals.contains(&name));
        if superseded {
            self.world.oracle.settle_refused(name);
        }
        self.world.oracle.delivered(name, payload);
        if superseded {
            self.world.oracle.settle_submitted(name);
        }
        self.check_fence(name, &grant)?;
        self.check_counters(name, &grant)?;
        self.check_suspect(name, &grant)?;
        let taken = self.now();
        // A lease that ran out is tried later, as a stale one.
        for former in self.held.extract_if(.., |held| held.name == name) {
            self.world.stale.push(former.grant.token);
        }
        self.held.push(Held {
            grant,
            name,
            taken,
            superseded,
        });
        Ok(())
    }

    fn check_fence(&mut self, name: u64, grant: &Grant) -> Step {
        let (token, world) = (grant.token, &mut *self.world);
        let fact = world.facts.entry(name).or_default();
        let (life, incarnation) = world.incarnation;
        let fits = match token.incarnation.0.cmp(&incarnation) {
            Ordering::Less => false,
            Ordering::Equal => life == world.life,
            Ordering::Greater => life != world.life,
        };
        if !fits {
            return broken(format!(
                "{token} after incarnation {incarnation} of life {life}"
            ));
        }
        world.incarnation = (world.life, token.incarnation.0);
        if fact.id.is_some_and(|id| id != token.id) {
            return broken(format!(
                "{name} was answered as {:?} and handed out as {}",
                fact.id, token.id
            ));
        }
        if token.delivery <= fact.delivery {
            return broken(format!(
                "{name}: delivery {} after {}",
                token.delivery, fact.delivery
            ));
        }
        fact.delivery = token.delivery;
        fact.id = Some(token.id);
        fact.answered = true; // nothing is handed out that is not durable
        world.names.insert(token.id, name);
        let valid = |held: &&Held| held.name == name && !held.superseded;
        let now = self.machine.clock().clone();
        let now = mq_core::time::Clock::monotonic(&*now);
        if let Some(other) = self
            .held
            .iter()
            .find(valid)
            .filter(|it| it.taken + LEASE > now)
        {
            return broken(format!(
                "{name} is handed out twice: {} and {token}",
                other.grant.token
            ));
        }
        Ok(())
    }

    fn check_counters(&mut self, name: u64, grant: &Grant) -> Step {
        let fact = self.world.facts.entry(name).or_default();
        if grant.attempt < fact.attempt.written {
            let floor = fact.attempt.written;
            return broken(format!(
                "{name}: attempt {} where {floor} were recorded",
                grant.attempt
            ));
        }
        if !fact.checkpoints.contains(&grant.checkpoint) {
            let saved = &fact.checkpoints;
            return broken(format!(
                "{name}: checkpoint {:?} instead of {saved:?}",
                grant.checkpoint
            ));
        }
        (fact.over, fact.ending) = (false, false);
        Ok(())
    }

    fn check_suspect(&mut self, name: u64, grant: &Grant) -> Step {
        let expected = self
            .world
            .facts
            .get_mut(&name)
            .and_then(|fact| fact.expect_suspect.take());
        if expected.is_some() && !grant.suspect {
            return broken(format!(
                "{name} ran when the process was killed and is no suspect"
            ));
        }
        let now = self.now();
        let runs = |held: &&Held| held.grant.suspect && held.taken + LEASE > now;
        match self.held.iter().find(runs) {
            Some(other) if grant.suspect => broken(format!(
                "{name} is a suspect and {} runs already",
                other.name
            )),
            _ => Ok(()),
        }
    }

    /// Ends one of the leases that are held.
    pub(super) fn settle_some(&mut self) -> Step {
        if self.held.is_empty() {
            return Ok(());
        }
        let index = self.world.below(self.held.len());
        let held = self.held.swap_remove(index);
        let (settlement, what) = self.settlement(&held);
        let staged = if what == Kind::Ends && !held.superseded && self.world.random.chance(1, 3) {
            1 + self.world.random.below(3)
        } else {
            0
        };
        // With a lease that may have run out, the answer comes before anything else happens.
        let age = self.now().saturating_sub(held.taken);
        let wait = self.waits() || age + Duration::from_secs(1) > LEASE;
        self.settle(held, settlement, what, staged, wait)
    }

    fn settlement(&mut self, held: &Held) -> (Settlement, Kind) {
        let age = self.now().saturating_sub(held.taken);
        let asked = fact_asked(self.world, held.name);
        let fail = |retry_in| Settlement::Fail {
            failure: failure(),
            retry: RETRY,
            retry_in,
        };
        let second = Duration::from_secs(1);
        match self.world.random.below(20) {
            0..9 => (Settlement::Succeed { result: None }, Kind::Ends),
            9 => (Settlement::Discard { failure: None }, Kind::Ends),
            10 => (Settlement::Cancel, Kind::Ends),
            11 | 12 if age + second < LEASE && !held.superseded && !asked => {
                let bury = Settlement::DeadLetter {
                    reason: DeadReason::DeadLettered,
                    failure: failure(),
                    note: None,
                };
                (bury, Kind::Buries)
            }
            11..15 => (fail(None), Kind::Fails),
            15 => (fail(Some(Duration::from_secs(20))), Kind::Fails),
            16 => (Settlement::Snooze { delay: second }, Kind::Returns),
            17 | 18 => (Settlement::Interrupt, Kind::Returns),
            _ => (Settlement::Again { due: Due::Now }, Kind::Again),
        }
    }

    /// Settles; the answer is waited for, or looked for later.
    pub(super) fn settle(
        &mut self,
        held: Held,
        settlement: Settlement,
        what: Kind,
        staged: u64,
        wait: bool,
    ) -> Step {
        let mut children = Vec::new();
        for _ in 0..staged {
            children.push(self.child());
        }
        let asked = self
            .world
            .facts
            .get(&held.name)
            .is_some_and(|fact| fact.asked);
        let submissions: Vec<_> = children
            .iter()
            .map(|(name, message)| (*name, super::submit::submission(message)))
            .collect();
        match what {
            Kind::Ends => self
                .world
                .oracle
                .settle_submitted_with(held.name, submissions),
            Kind::Buries => self.world.oracle.burial_submitted(held.name),
            Kind::Fails | Kind::Returns | Kind::Again if asked => {
                self.world.oracle.settle_submitted(held.name)
            }
            Kind::Fails | Kind::Returns | Kind::Again => {}
        }
        if let Some(fact) = self.world.facts.get_mut(&held.name) {
            match what {
                Kind::Again => fact.refresh(),
                Kind::Buries => fact.checkpoints.push(None),
                Kind::Ends => fact.ending = true,
                Kind::Fails | Kind::Returns => {}
            }
        }
        self.world
            .saw((held.name, format!("{settlement:?}"), staged));
        let (names, messages): (Vec<u64>, Vec<NewMessage>) = children.into_iter().unzip();
        let request = SettleRequest {
            token: held.grant.token,
            settlement,
            staged: messages,
        };
        let pending = self.machine.backend().settle(vec![request]);
        let open = OpenSettle {
            held,
            what,
            staged: names,
            pending,
        };
        if wait {
            self.answered_settle(open)
        } else {
            self.settles.push(open);
            Ok(())
        }
    }

    fn child(&mut self) -> (u64, NewMessage) {
        let name = self.world.name();
        let message = super::submit::plain(name, 60);
        self.world.facts.insert(name, super::facts::Fact::default());
        (name, message)
    }

    /// Takes the answer to a settlement, waiting for it if need be.
    pub(super) fn answered_settle(&mut self, open: OpenSettle) -> Step {
        let OpenSettle {
            held,
            what,
            staged,
            pending,
        } = open;
        let token = held.grant.token;
        let answer = self
            .answer(pending)?
            .ok()
            .and_then(|answers| answers.into_iter().next());
        self.world.saw((
            "settled",
            held.name,
            answer.as_ref().map(|it| it.as_ref().map(|it| &it.state)),
        ));
        match answer {
            None | Some(Err(SettleError::Stopped(_))) => {
                self.world.stale.push(token);
                if let Some(fact) = self.world.facts.get_mut(&held.name) {
                    fact.solo_crashes += u32::from(held.grant.suspect);
                }
                self.check_alive()
                    .and_then(|()| broken("no answer to a settlement"))
            }
            Some(Ok(receipt)) => {
                self.world.stale.push(token);
                self.settled(&held, what, &staged, &receipt)
            }
            Some(Err(SettleError::Refused(SettleRefused::Stale(_)))) => {
                self.world.stale.push(token);
                staged
                    .iter()
                    .for_each(|child| self.world.oracle.refused(*child));
                self.refused_as_stale(&held, what)
            }
            Some(Err(error)) => broken(format!("settling {}: {error}", held.name)),
        }
    }

    fn settled(
        &mut self,
        held: &Held,
        what: Kind,
        staged: &[u64],
        receipt: &SettleReceipt,
    ) -> Step {
        let (name, world) = (held.name, &mut *self.world);
        let gone = matches!(receipt.state, None | Some(State::Completed { .. }));
        if receipt.staged.len() != staged.len() {
            staged.iter().for_each(|child| world.oracle.refused(*child));
            return if held.superseded {
                Ok(())
            } else {
                broken(format!("{name}: staged messages went missing"))
            };
        }
        for (child, accepted) in staged.iter().zip(&receipt.staged) {
            world.facts.entry(*child).or_default().id = Some(accepted.id);
            world.names.insert(accepted.id, *child);
        }
        let fact_asked = fact_asked(world, name);
        let fact = world.facts.entry(name).or_default();
        match what {
            _ if held.superseded => {}
            Kind::Ends => {
                fact.over = true;
                world.oracle.settled(name, Survives::Kill);
                world.soft.push(name);
            }
            Kind::Buries => {
                fact.dead = true;
                world.oracle.buried(name, Survives::Kill);
            }
            Kind::Fails | Kind::Returns | Kind::Again if gone && fact_asked => {
                fact.over = true;
                world.oracle.settled(name, Survives::Kill);
                world.soft.push(name);
            }
            Kind::Fails | Kind::Returns | Kind::Again if gone => {
                return broken(format!(
                    "{name} should come again and is {:?}",
                    receipt.state
                ));
            }
            Kind::Fails => fact.attempt.written = held.grant.attempt + 1,
            Kind::Returns | Kind::Again => {}
        }
        Ok(())
    }

    fn refused_as_stale(&mut self, held: &Held, what: Kind) -> Step {
        let age = self.now().saturating_sub(held.taken);
        if age < LEASE && !held.superseded {
            return broken(format!("the valid lease {} was refused", held.grant.token));
        }
        // Meanwhile somebody else may have ended it.
        let fact = self.world.facts.entry(held.name).or_default();
        let name = held.name;
        let others = self.settles.iter().any(|open| open.held.name == name);
        let again = self.held.iter().any(|other| other.name == name);
        if what == Kind::Ends && !fact.over && !fact.asked && !others && !again {
            fact.ending = false;
            self.world.oracle.settle_refused(held.name);
        }
        Ok(())
    }

    /// A lease that is over must be refused.
    pub(super) fn settle_stale(&mut self) -> Step {
        let Some(token) = self.world.random.clone().pick(&self.world.stale).copied() else {
            return Ok(());
        };
        let settlement = Settlement::Succeed { result: None };
        let request = SettleRequest {
            token,
            settlement,
            staged: Vec::new(),
        };
        let asked = self.machine.backend().settle(vec![request]);
        let answers = self.answer(asked)?;
        match answers.ok().and_then(|answers| answers.into_iter().next()) {
            Some(Err(SettleError::Refused(SettleRefused::Stale(_)))) => Ok(()),
            Some(Ok(_)) => broken(format!("the stale lease {token} was taken")),
            Some(Err(SettleError::Stopped(_))) | None => self.check_alive(),
            Some(Err(error)) => broken(format!("settling with a stale lease: {error}")),
        }
    }

    /// Saves a checkpoint for one of the leases that are held.
    pub(super) fn save_checkpoint(&mut self) -> Step {
        let index = self.world.below(self.held.len());
        let Some(held) = self.held.get(index).cloned() else {
            return Ok(());
        };
        let checkpoint = Bytes::from(self.world.random.next_u64().to_le_bytes().to_vec());
        let fact = self.world.facts.entry(held.name).or_default();
        fact.checkpoints.push(Some(checkpoint.clone()));
        let saved = self
            .machine
            .backend()
            .save_checkpoint(held.grant.token, checkpoint.clone());
        match self.answer(saved)? {
            Ok(Ok(())) if held.superseded => Ok(()),
            Ok(Ok(())) => {
                let fact = self.world.facts.entry(held.name).or_default();
                fact.checkpoints = vec![Some(checkpoint)];
                Ok(())
            }
            Ok(Err(SettleError::Refused(SettleRefused::Stale(_)))) => {
                self.refused_as_stale(&held, Kind::Returns)
            }
            Ok(Err(SettleError::Stopped(_))) | Err(_) => Err(Halt::Over),
            Ok(Err(error)) => broken(format!("a checkpoint of {}: {error}", held.name)),
        }
    }
}

fn fact_asked(world: &super::World, name: u64) -> bool {
    world.facts.get(&name).is_some_and(|fact| fact.asked)
}
