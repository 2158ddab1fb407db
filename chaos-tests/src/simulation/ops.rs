//! What a life does, step by step: work, time, operators, housekeeping.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mq_core::backend::{OperateError, OperateRequest};
use mq_core::command::{OperateRefused, Operated};
use mq_core::id::Seq;
use mq_core::message::{Due, Priority};
use mq_core::view::{Filter, MessageView, StateKind};
use mq_testing::oracle::Survives;

use super::lives::Life;
use super::mix::Deed;
use super::{Halt, Step, broken};

const PAUSES_MS: [u64; 7] = [1, 4, 15, 15, 1_000, 11_000, 35_000];

impl Life<'_> {
    /// One thing, and everything that has been answered meanwhile.
    pub(super) fn step(&mut self) -> Step {
        let deed = self.mix.pick(&mut self.world.random);
        self.world.saw(deed);
        match deed {
            Deed::Enqueue => self.enqueue_some()?,
            Deed::Take => {
                let permits = self.permits();
                self.take(permits)?;
            }
            Deed::Ask => {
                let permits = self.permits();
                self.machine.ask(permits);
            }
            Deed::Settle => self.settle_some()?,
            Deed::SettleStale => self.settle_stale()?,
            Deed::Checkpoint => self.save_checkpoint()?,
            Deed::Pass => self.pass()?,
            Deed::Operate => self.operate()?,
            Deed::Bulk => self.order_bulk()?,
            Deed::Pause => self.pause_or_resume()?,
            Deed::Snapshot => self.snapshot()?,
            Deed::Maintain => self.machine.maintain(),
            Deed::Housekeep => self.housekeep()?,
            Deed::Commit => self.machine.commit(),
            Deed::Hold => self.hold()?,
        }
        self.machine.run_bulk_if(self.world.bulk);
        if self.mix.prompt {
            self.receive_all()?;
        }
        self.collect()?;
        self.check_alive()
    }

    fn permits(&mut self) -> u32 {
        u32::try_from(1 + self.world.random.below(4)).unwrap_or(1)
    }

    /// Takes the answers that have come. What had been handed out before them comes first.
    pub(super) fn collect(&mut self) -> Step {
        if self.enqueues.iter().any(|open| open.pending.is_done())
            || self.settles.iter().any(|open| open.pending.is_done())
        {
            self.receive_all()?;
        }
        let (done, open) = std::mem::take(&mut self.enqueues)
            .into_iter()
            .partition::<Vec<_>, _>(|open| open.pending.is_done());
        self.enqueues = open;
        for open in done {
            match self.answered_enqueue(open) {
                Ok(()) | Err(Halt::Over) => {}
                broken @ Err(Halt::Broken(_)) => return broken,
            }
        }
        let (done, open) = std::mem::take(&mut self.settles)
            .into_iter()
            .partition::<Vec<_>, _>(|open| open.pending.is_done());
        self.settles = open;
        for open in done {
            match self.answered_settle(open) {
                Ok(()) | Err(Halt::Over) => {}
                broken @ Err(Halt::Broken(_)) => return broken,
            }
        }
        Ok(())
    }

    fn pass(&mut self) -> Step {
        let time = self.world.random.pick(&PAUSES_MS).copied().unwrap_or(1);
        self.let_pass(Duration::from_millis(time))
    }

    /// Time passes; what was written 10 ms ago is synced.
    pub(super) fn let_pass(&mut self, time: Duration) -> Step {
        // What is asked for is carried out before, or leases would begin before they are seen.
        self.commit_through()?;
        self.collect()?;
        self.world.saw(("pass", time));
        self.machine.pass(time);
        self.receive_all()?;
        self.check_alive()?;
        if time >= Duration::from_millis(15) {
            let soft = std::mem::take(&mut self.world.soft);
            for name in soft {
                self.world.oracle.settled(name, Survives::PowerLoss);
            }
            self.world
                .facts
                .values_mut()
                .for_each(super::facts::Fact::promote);
        }
        Ok(())
    }

    fn pause_or_resume(&mut self) -> Step {
        let paused = self.world.random.chance(1, 3);
        self.pause("mail", paused)
    }

    pub(super) fn pause(&mut self, queue: &'static str, paused: bool) -> Step {
        self.world.saw(("pause", queue, paused));
        let name = queue
            .parse()
            .map_err(|error| Halt::Broken(format!("{error}")))?;
        let allowed = self.world.paused.entry(queue).or_insert(vec![false]);
        let before = std::mem::take(allowed);
        allowed.extend(before.iter().copied().filter(|before| *before != paused));
        allowed.push(paused);
        let asked = self.machine.backend().pause_queue(name, paused);
        match self.answer(asked)? {
            Ok(Ok(())) => {
                self.receive_all()?; // what was on its way
                self.world.paused.insert(queue, vec![paused]);
                Ok(())
            }
            Ok(Err(_)) | Err(_) => Err(Halt::Over),
        }
    }

    fn snapshot(&mut self) -> Step {
        let admin = self.machine.engine().map_err(Halt::Broken)?.admin();
        let mut asked = std::pin::pin!(admin.snapshot());
        let mut context = Context::from_waker(Waker::noop());
        if asked.as_mut().poll(&mut context).is_pending() {
            self.machine.maintain();
        }
        match asked.as_mut().poll(&mut context) {
            Poll::Ready(Ok(_)) => Ok(()),
            // A call that failed for want of space.
            Poll::Ready(Err(_)) if self.world.disk.was_disturbed() => Ok(()),
            Poll::Ready(Err(_)) | Poll::Pending => {
                self.check_alive()?;
                broken("a snapshot was not taken")
            }
        }
    }

    /// Makes segments superfluous and lets them go: what lives in them is settled or copied, two snapshots stand behind them.
    fn housekeep(&mut self) -> Step {
        let settles = self.world.random.chance(2, 3);
        if settles {
            let waits = std::mem::replace(&mut self.mix.waits_of_10, 0);
            for _ in 0..self.held.len() {
                self.settle_some()?;
            }
            self.mix.waits_of_10 = waits;
        }
        for _ in 0..self.world.random.below(3) {
            self.snapshot()?;
        }
        for _ in 0..1 + self.world.random.below(4) {
            self.machine.maintain();
        }
        Ok(())
    }

    fn operate(&mut self) -> Step {
        self.commit_through()?;
        let known: Vec<(u64, bool)> = self
            .world
            .facts
            .iter()
            .filter(|(_, fact)| fact.id.is_some() && !fact.over)
            .map(|(name, fact)| (*name, fact.dead))
            .collect();
        let Some((name, dead)) = self.world.random.pick(&known).copied() else {
            return Ok(());
        };
        if dead {
            return self.wake_or_purge(name);
        }
        let request = match self.world.random.below(7) {
            0 => return self.cancel(name),
            1 => OperateRequest::Hold("aside".parse().map_err(|_| Halt::Over)?),
            2 => OperateRequest::Release,
            3 => OperateRequest::RunNow,
            4 => OperateRequest::Reschedule(Due::After(Duration::from_secs(5))),
            5 => OperateRequest::SetPriority(Priority::new(9).unwrap_or_default()),
            _ => OperateRequest::MoveTo("mail".parse().map_err(|_| Halt::Over)?),
        };
        self.world.facts.entry(name).or_default().expect_suspect = None;
        self.request(name, request).map(drop)
    }

    fn wake_or_purge(&mut self, name: u64) -> Step {
        if self.world.random.chance(2, 3) {
            return self.replay(name);
        }
        match self.request_end(name, OperateRequest::Purge)? {
            Ok(_) => {
                self.world.facts.entry(name).or_default().over = true;
                self.world.oracle.settled(name, Survives::PowerLoss);
                Ok(())
            }
            Err(refused) => broken(format!("the dead letter {name} is not purged: {refused}")),
        }
    }

    /// Brings a dead letter back, unless another holds its dedup key now.
    pub(super) fn replay(&mut self, name: u64) -> Step {
        let fact = self.world.facts.entry(name).or_default();
        fact.refresh();
        fact.dead = false;
        let keyed = fact.dedup.is_some();
        self.world.oracle.replay_submitted(name);
        match self.request(name, OperateRequest::Replay { edit: None })? {
            Ok(_) => Ok(()),
            Err(OperateRefused::KeyHeld { .. }) if keyed => {
                self.world.facts.entry(name).or_default().dead = true;
                self.world.oracle.burial_submitted(name);
                self.world.oracle.buried(name, Survives::PowerLoss);
                Ok(())
            }
            Err(refused) => broken(format!(
                "the dead letter {name} does not come back: {refused}"
            )),
        }
    }

    fn cancel(&mut self, name: u64) -> Step {
        match self.request_end(name, OperateRequest::Cancel)? {
            Ok(Operated::Done) => {
                self.world.facts.entry(name).or_default().over = true;
                self.world.oracle.settled(name, Survives::PowerLoss);
            }
            // What its handler answers decides; if the process dies, it is over.
            Ok(Operated::Requested) => {
                let fact = self.world.facts.entry(name).or_default();
                (fact.asked, fact.ending) = (true, true);
            }
            // It may be over for a reason that was given before.
            Err(_) => {
                if self.world.facts.get(&name).is_some_and(|fact| !fact.ending) {
                    self.world.oracle.settle_refused(name);
                }
            }
        }
        Ok(())
    }

    /// Asks for what may end a message. If no answer comes, it may be over.
    fn request_end(
        &mut self,
        name: u64,
        request: OperateRequest,
    ) -> Step<Result<Operated, OperateRefused>> {
        self.world.oracle.settle_submitted(name);
        let answer = self.request(name, request);
        if answer.is_err() {
            self.world.facts.entry(name).or_default().ending = true;
        }
        answer
    }

    fn request(
        &mut self,
        name: u64,
        request: OperateRequest,
    ) -> Step<Result<Operated, OperateRefused>> {
        let Some(id) = self.world.facts.get(&name).and_then(|fact| fact.id) else {
            return Err(Halt::Over);
        };
        self.world.saw((name, &request));
        let asked = self.machine.backend().operate(id, request);
        match self.answer(asked)? {
            Ok(Ok(done)) => Ok(Ok(done)),
            Ok(Err(OperateError::Refused(refused))) => Ok(Err(refused)),
            Ok(Err(OperateError::Invalid(error))) => broken(format!("{error}")),
            Ok(Err(OperateError::Read(_))) if self.world.disk.was_disturbed() => Err(Halt::Over),
            Ok(Err(OperateError::Read(error))) => broken(format!("{error}")),
            Ok(Err(OperateError::Stopped(_))) | Err(_) => {
                self.check_alive()?;
                broken("no answer to an operator")
            }
        }
    }

    /// All messages in a state.
    pub(super) fn list(&mut self, state: StateKind) -> Step<Vec<MessageView>> {
        let (mut all, mut after) = (Vec::new(), Seq::NONE);
        loop {
            let filter = Filter {
                state: Some(state),
                ..Filter::default()
            };
            let asked = self.machine.backend().list(filter, after, 200);
            match self.answer(asked)? {
                Ok(Ok(page)) => {
                    all.extend(page.messages);
                    match page.next {
                        Some(next) => after = next,
                        None => return Ok(all),
                    }
                }
                Ok(Err(_)) | Err(_) => return Err(Halt::Over),
            }
        }
    }
}
