//! The whole engine, journal and restarts included, against the naive model of the rules, in lock-step.
//!
//! Random commands, moves of the clock, closes, kills and power cuts are played on both. After each, the answers, what is
//! handed out and in which order, all messages and the counts must agree. The store is at rest when it is restarted: what a
//! crash may take away is for the simulation to judge, what a recovery must bring back is judged here.

use std::fmt::Debug;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use mq_core::backend::{
    Backend, Delivery, EnqueueError, Grant, OperateError, OperateRequest, SettleError,
    SettleRequest, WhenFull,
};
use mq_core::command::{PoolSpec, Selector, Settlement};
use mq_core::id::{LeaseToken, MessageId, PoolId, Seq, StoreTag};
use mq_core::key::{DedupPolicy, Key};
use mq_core::limits::FAILURES_UNLIMITED;
use mq_core::message::{Due, NewMessage, Priority};
use mq_core::name::Label;
use mq_core::pending::Pending;
use mq_core::queue::QueueChange;
use mq_core::retry::{Backoff, RetryPolicy};
use mq_core::state::{DeadReason, Failure, State};
use mq_core::view::{Filter, MessageView};
use mq_testing::clock::ManualClock;
use mq_testing::naive::{Limits, Naive};
use mq_testing::random::SplitMix64;
use mq_testing::sim_disk::{CrashMode, SimDisk};

use crate::machine::{LEASE, Machine, RETRY, text};
use crate::suite::{Outcome, Run};

/// Commands of a case, at most.
const STEPS_MAX: u64 = 60;
/// The lower bits of an id name its store.
const TAG_MASK: u128 = (1 << 26) - 1;
const POLICIES: [DedupPolicy; 6] = [
    DedupPolicy::Replace,
    DedupPolicy::Keep,
    DedupPolicy::Reject,
    DedupPolicy::DiscardIdentical,
    DedupPolicy::RunOnceMore,
    DedupPolicy::Upsert,
];

/// One sequence after the other.
pub(super) fn sequences(run: &Run) -> Outcome {
    let cases = run.level.of(1_000, 10_000, 500_000);
    run.each_seed(cases, |seed| {
        let mut play = Play::begin(seed)?;
        let steps = 1 + play.random.below(STEPS_MAX);
        for _ in 0..steps {
            play.step()?;
        }
        run.tried(play.restarts);
        Ok(())
    })
    .into()
}

/// The engine and the model, and what the sequence can name.
struct Play {
    random: SplitMix64,
    clock: Arc<ManualClock>,
    disk: SimDisk,
    /// `None` only while it is opened anew.
    machine: Option<Machine>,
    naive: Naive,
    pool: PoolId,
    life: u64,
    ids: Vec<MessageId>,
    tokens: Vec<LeaseToken>,
    story: Vec<String>,
    restarts: u64,
}

fn pool_of(backend: &dyn Backend) -> Result<PoolId, String> {
    let everything = PoolSpec::one(Selector::default(), LEASE, RETRY);
    backend.attach(everything, Arc::new(|| {})).map_err(text)
}

fn wish_for_snapshot(machine: &Machine) -> Result<(), String> {
    let mut asked = std::pin::pin!(machine.engine()?.admin().snapshot());
    let mut context = Context::from_waker(Waker::noop());
    let _answer = asked.as_mut().poll(&mut context);
    Ok(())
}

fn message(payload: Vec<u8>) -> Result<NewMessage, String> {
    let (queue, kind) = ("orders".parse(), "order".parse());
    Ok(NewMessage::new(
        queue.map_err(text)?,
        kind.map_err(text)?,
        payload.into(),
    ))
}

impl Play {
    /// Opens both; a first message says which tag the ids have.
    fn begin(seed: u64) -> Result<Self, String> {
        let (disk, clock) = (SimDisk::new(), Arc::new(ManualClock::default()));
        let machine = Machine::open_on(&disk, Arc::clone(&clock), seed % 64, |it| it)?;
        let first = machine
            .backend()
            .enqueue(vec![message(b"first".to_vec())?], WhenFull::Refuse);
        let receipts = machine.wait(first).map_err(text)?.map_err(text)?;
        let receipts = receipts.map_err(text)?;
        let id = receipts.first().ok_or("no receipt")?.accepted.id;
        let tag = u32::try_from(id.as_u128() & TAG_MASK).map_err(text)?;
        let limits = Limits {
            tag: StoreTag::new(tag),
            capacity_messages: 1_000,
            capacity_bytes: 64 << 20,
            ..Limits::default()
        };
        let naive = Naive::new(Arc::clone(&clock) as _, limits);
        let pool = pool_of(&naive)?;
        let first = naive.enqueue(vec![message(b"first".to_vec())?], WhenFull::Refuse);
        first.wait().map_err(text)?.map_err(text)?;
        Ok(Self {
            random: SplitMix64::new(seed),
            clock,
            disk,
            machine: Some(machine),
            naive,
            pool,
            life: seed % 64,
            ids: vec![id],
            tokens: Vec::new(),
            story: Vec::new(),
            restarts: 0,
        })
    }

    fn machine(&self) -> Result<&Machine, String> {
        self.machine.as_ref().ok_or_else(|| "not open".to_owned())
    }

    fn step(&mut self) -> Result<(), String> {
        match self.random.below(24) {
            0..6 => self.enqueue()?,
            6..10 => self.take()?,
            10..15 => self.settle()?,
            15..18 => self.operate()?,
            18 => self.set_queue()?,
            19 => self.touch_lease()?,
            20..22 => self.pass()?,
            _ => self.restart()?,
        }
        self.machine()?.settle_down();
        self.naive.pump();
        self.compare()
    }

    /// Asks both the same; their answers must be the same words.
    fn both<T, A: Debug>(
        &mut self,
        what: impl Debug,
        ask: impl Fn(&dyn Backend) -> Pending<T>,
        tell: impl Fn(T) -> A,
    ) -> Result<String, String> {
        self.story.push(format!("{what:?}"));
        let machine = self.machine()?;
        let asked = ask(&**machine.backend());
        let engine = machine.wait(asked).map_err(text)?.map_err(text)?;
        let naive = ask(&self.naive).wait().map_err(text)?;
        let (engine, naive) = (format!("{:?}", tell(engine)), format!("{:?}", tell(naive)));
        self.same("the answer", &engine, &naive)?;
        Ok(engine)
    }

    fn same(&self, what: &str, engine: &str, naive: &str) -> Result<(), String> {
        if engine == naive {
            return Ok(());
        }
        let story = self.story.join("\n  ");
        Err(format!(
            "{what} differs after\n  {story}\nengine: {engine}\n naive: {naive}"
        ))
    }

    fn draft(&mut self) -> Result<NewMessage, String> {
        let random = &mut self.random;
        let mut message = message(random.below(3).to_string().into_bytes())?;
        if random.chance(1, 3) {
            message.queue = "mail".parse().map_err(text)?;
        }
        let level = u8::try_from(random.below(10)).map_err(text)?;
        if random.chance(1, 3) {
            message.priority = Priority::new(level).unwrap_or_default();
        }
        message.due = match random.below(6) {
            0 => Due::After(Duration::from_secs(4)),
            _ => Due::Now,
        };
        let envelope = &mut message.envelope;
        if random.chance(1, 6) {
            envelope.idempotency_key = Key::new(format!("once-{}", random.below(3))).ok();
        }
        if random.chance(1, 3) {
            envelope.dedup_key = Key::new(format!("sku-{}", random.below(3))).ok();
            message.dedup = random.pick(&POLICIES).copied();
        }
        if random.chance(1, 3) {
            envelope.ordering_key = Key::new(format!("line-{}", random.below(2))).ok();
            message.halt_on_dead = random.chance(1, 4);
        }
        message.hold = random.chance(1, 12).then(aside).transpose()?;
        message.retain = random.chance(1, 4).then_some(Duration::from_secs(36_000));
        message.failures_max = random.chance(1, 4).then_some(FAILURES_UNLIMITED);
        Ok(message)
    }

    fn enqueue(&mut self) -> Result<(), String> {
        let mut batch = Vec::new();
        for _ in 0..1 + self.random.below(3) {
            batch.push(self.draft()?);
        }
        let told = self.both(
            ("enqueue", &batch.clone()),
            |backend| backend.enqueue(batch.clone(), WhenFull::Refuse),
            |answer| match answer {
                Ok(receipts) => Ok(receipts.iter().map(|it| it.accepted).collect::<Vec<_>>()),
                Err(EnqueueError::Refused { refused, .. }) => Err(refused.to_string()),
                Err(error) => Err(error.to_string()),
            },
        )?;
        self.story.push(told);
        Ok(())
    }

    fn take(&mut self) -> Result<(), String> {
        let permits = u32::try_from(1 + self.random.below(4)).map_err(text)?;
        self.story.push(format!("take {permits}"));
        let engine = self.machine()?.take(permits);
        self.naive.checkout(self.pool, permits);
        let mut deliveries = Vec::new();
        self.naive.take(self.pool, &mut deliveries);
        self.naive
            .withdraw(self.pool, permits)
            .wait()
            .map_err(text)?;
        let naive: Vec<Grant> = deliveries
            .into_iter()
            .filter_map(|delivery| match delivery {
                Delivery::Grant(grant) => Some(grant),
                Delivery::CancelRequested(_) | Delivery::LeaseLost(_) => None,
            })
            .collect();
        let (engine_said, naive_said) = (format!("{engine:?}"), format!("{naive:?}"));
        self.same("what is handed out", &engine_said, &naive_said)?;
        self.tokens.extend(engine.iter().map(|grant| grant.token));
        Ok(())
    }

    fn token(&mut self) -> Option<LeaseToken> {
        // A recent one, most of the time.
        let recent = self.tokens.len().saturating_sub(4);
        let recent = self.tokens.get(recent..).unwrap_or_default();
        let from = if self.random.chance(3, 4) {
            recent
        } else {
            &self.tokens
        };
        self.random.pick(from).copied()
    }

    fn settlement(&mut self) -> Result<Settlement, String> {
        let failure = || Failure {
            error_type: "Declined".to_owned(),
            text: "no".to_owned(),
        };
        let backoff = [Backoff::None, Backoff::Fixed(Duration::from_secs(4))];
        let retry = RetryPolicy {
            failures_max: 2,
            backoff: self.random.pick(&backoff).copied().unwrap_or(Backoff::None),
        };
        Ok(match self.random.below(12) {
            0..4 => Settlement::Succeed { result: None },
            4..7 => Settlement::Fail {
                failure: failure(),
                retry,
                retry_in: None,
            },
            7 => Settlement::Snooze {
                delay: Duration::from_secs(4),
            },
            8 => Settlement::Again { due: Due::Now },
            9 => Settlement::SetAside {
                label: aside()?,
                failure: failure(),
            },
            10 => Settlement::Interrupt,
            _ => Settlement::DeadLetter {
                reason: DeadReason::DeadLettered,
                failure: failure(),
                note: None,
            },
        })
    }

    fn settle(&mut self) -> Result<(), String> {
        let Some(token) = self.token() else {
            return Ok(());
        };
        let settlement = self.settlement()?;
        let staged = if self.random.chance(1, 4) {
            vec![self.draft()?]
        } else {
            Vec::new()
        };
        let request = || SettleRequest {
            token,
            settlement: settlement.clone(),
            staged: staged.clone(),
        };
        self.both(
            ("settle", request()),
            |backend| backend.settle(vec![request()]),
            |answers| {
                let told = answers
                    .into_iter()
                    .map(|answer| answer.map_err(|it| it.to_string()));
                told.collect::<Vec<_>>()
            },
        )
        .map(drop)
    }

    fn operate(&mut self) -> Result<(), String> {
        let Some(id) = self.random.pick(&self.ids).copied() else {
            return Ok(());
        };
        let request = match self.random.below(9) {
            0..2 => OperateRequest::Cancel,
            2 => OperateRequest::Hold(aside()?),
            3 => OperateRequest::Release,
            4 => OperateRequest::RunNow,
            5 => OperateRequest::SetPriority(Priority::new(9).unwrap_or_default()),
            6 => OperateRequest::MoveTo("mail".parse().map_err(text)?),
            7 => OperateRequest::Replay { edit: None },
            _ => OperateRequest::Purge,
        };
        self.both(
            (id, request.clone()),
            |backend| backend.operate(id, request.clone()),
            |answer| answer.map_err(|error: OperateError| error.to_string()),
        )
        .map(drop)
    }

    fn set_queue(&mut self) -> Result<(), String> {
        let change = match self.random.below(4) {
            0 => QueueChange::Pause(true),
            1 => QueueChange::HoldNew(self.random.chance(1, 3).then(aside).transpose()?),
            2 => QueueChange::LimitMessages(self.random.chance(1, 3).then_some(5)),
            _ => QueueChange::Pause(false),
        };
        let queue: mq_core::name::QueueName = "mail".parse().map_err(text)?;
        self.both(
            change.clone(),
            |backend| backend.set_queue(queue.clone(), change.clone()),
            |answer| answer.map_err(text),
        )
        .map(drop)
    }

    fn touch_lease(&mut self) -> Result<(), String> {
        let Some(token) = self.token() else {
            return Ok(());
        };
        if self.random.chance(1, 2) {
            let saved = Bytes::from_static(b"so far");
            let save = |backend: &dyn Backend| backend.save_checkpoint(token, saved.clone());
            let told = |answer: Result<(), SettleError>| answer.map_err(text);
            return self.both(("checkpoint", token), save, told).map(drop);
        }
        self.story.push(format!("give back {token}"));
        self.machine()?.backend().give_back(vec![token]);
        self.naive.give_back(vec![token]);
        Ok(())
    }

    fn pass(&mut self) -> Result<(), String> {
        let seconds = [1, 4, 31].map(Duration::from_secs);
        let time = self.random.pick(&seconds).copied().unwrap_or_default();
        self.story.push(format!("{time:?} pass"));
        self.machine()?.pass(time);
        Ok(())
    }

    /// A close, a kill or a power cut, and an opening.
    fn restart(&mut self) -> Result<(), String> {
        self.restarts += 1;
        let Some(mut machine) = self.machine.take() else {
            return Ok(());
        };
        if self.random.chance(1, 2) {
            self.story.push("snapshot".to_owned());
            wish_for_snapshot(&machine)?;
            machine.maintain();
            machine.settle_down();
        }
        self.disk = match self.random.below(3) {
            0 => {
                self.story.push("close".to_owned());
                machine.close()?;
                drop(machine);
                self.naive = self.naive.reopen();
                self.disk.power_cycle(CrashMode::LoseAll)
            }
            1 => {
                self.story.push("kill".to_owned());
                drop(machine);
                self.naive = self.naive.crash();
                self.disk.restart_process()
            }
            _ => {
                self.story.push("power cut".to_owned());
                drop(machine);
                self.naive = self.naive.crash();
                self.disk.power_cycle(CrashMode::LoseAll)
            }
        };
        self.life += 1;
        let clock = Arc::clone(&self.clock);
        self.machine = Some(Machine::open_on(&self.disk, clock, self.life, |it| it)?);
        self.pool = pool_of(&self.naive)?;
        Ok(())
    }

    /// All messages and the counts.
    fn compare(&mut self) -> Result<(), String> {
        let machine = self.machine()?;
        let list = |backend: &dyn Backend| backend.list(Filter::default(), Seq::NONE, 1_000);
        let asked = list(&**machine.backend());
        let engine = machine.wait(asked).map_err(text)?.map_err(text)?;
        let naive = list(&self.naive).wait().map_err(text)?;
        let (engine, naive) = (
            engine.map_err(text)?.messages,
            naive.map_err(text)?.messages,
        );
        let known: Vec<MessageId> = engine.iter().map(|view| view.id).collect();
        let (engine, naive) = (told(engine), told(naive));
        for (engine, naive) in engine.iter().zip(&naive) {
            self.same("a message", engine, naive)?;
        }
        self.same("the list", &format!("{engine:#?}"), &format!("{naive:#?}"))?;
        let counts = |stats: mq_core::view::Stats| {
            let counts = (
                stats.live_messages,
                stats.suspects,
                stats.keys,
                stats.enqueued,
            );
            (
                counts,
                stats.duplicates,
                stats.checked_out,
                stats.outcomes,
                stats.stale,
            )
        };
        let engine = format!("{:?}", counts(self.machine()?.backend().stats()));
        let naive = format!("{:?}", counts(self.naive.stats()));
        self.same("a count", &engine, &naive)?;
        for id in known {
            if !self.ids.contains(&id) {
                self.ids.push(id);
            }
        }
        Ok(())
    }
}

fn aside() -> Result<Label, String> {
    "aside".parse().map_err(text)
}

/// The messages in words. The model does not encode envelopes, so that it does not know how large they are; the engine knows the
/// time in the id of a replacement only while that is in the store.
fn told(messages: Vec<MessageView>) -> Vec<String> {
    let told = messages.into_iter().map(|mut view| {
        view.size = 0;
        if let State::Superseded { by } = &mut view.state {
            *by = MessageId::new(0, by.seq(), by.tag());
        }
        format!("{view:?}")
    });
    told.collect()
}
