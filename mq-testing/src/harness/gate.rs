//! Stands between the engine and the workers: decides when something may be handed out, and sees everything that is.
//!
//! Invariants
//! 1. The engine gets a pool's permits only from [`Gate::release`] or while the gate is open; so nothing starts by itself.
//! 2. After the process has died, nothing of its workers reaches the store any more.
//! 3. Permits are neither made up nor lost: what the workers gave is held here, with the engine, or spent.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mq_core::backend::{
    Backend, Delivery, EnqueueError, OperateError, OperateRequest, Previous, PreviousOf, ReadError,
    Receipt, SetQueueError, SettleError, SettleReceipt, SettleRequest, Stopped, Wake, WhenFull,
};
use mq_core::command::{Operated, PoolSpec, StaleLease};
use mq_core::id::{LeaseToken, MessageId, PoolId, Seq};
use mq_core::message::{Envelope, NewMessage};
use mq_core::name::{KindName, QueueName};
use mq_core::pending::Pending;
use mq_core::queue::{QueueChange, QueueSettings};
use mq_core::time::{Clock, Timestamp};
use mq_core::view::{Filter, Lookup, MessageView, Page, Stats};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::life::Lifeline;
use super::record::{Ended, Record};
use super::world::World;

/// How far the wall clock jumps in an explored scenario, in milliseconds.
const JUMP_MS: u64 = 3_600_000;

/// The permits of one pool that the engine does not have.
#[derive(Debug)]
struct Line {
    pool: PoolId,
    spec: PoolSpec,
    held: u32,
}

#[derive(Debug, Default)]
struct Permits {
    open: bool,
    lines: Vec<Line>,
}

/// What happened, and whose turn it is.
pub(super) struct Gate {
    inner: Arc<dyn Backend>,
    world: Arc<World>,
    runtime: Handle,
    permits: Mutex<Permits>,
    record: Arc<Mutex<Record>>,
    lifeline: Arc<Lifeline>,
    /// Leases whose settlements come late: so do their renewals, as with a process that stands still for that long.
    late: Mutex<Vec<LeaseToken>>,
}

impl Gate {
    pub(super) fn new(
        inner: Arc<dyn Backend>,
        world: Arc<World>,
        record: Arc<Mutex<Record>>,
        lifeline: Arc<Lifeline>,
    ) -> Arc<Self> {
        Arc::new(Self {
            inner,
            world,
            runtime: Handle::current(),
            permits: Mutex::default(),
            record,
            lifeline,
            late: Mutex::default(),
        })
    }

    /// Hands out freely from now on, as in production.
    pub(super) fn open(&self) {
        let mut permits = self.permits.lock();
        permits.open = true;
        let held: Vec<(PoolId, u32)> = permits.take_held();
        drop(permits);
        for (pool, count) in held {
            self.inner.checkout(pool, count);
        }
    }

    /// Hands out nothing more by itself; what was handed out goes on.
    pub(super) fn close(&self) {
        let pools = {
            let mut permits = self.permits.lock();
            permits.open = false;
            permits.pools()
        };
        for pool in pools {
            self.take_back(pool);
        }
    }

    /// Lets one more message of this pool be handed out.
    pub(super) fn release(&self, pool: PoolId) {
        let released = {
            let mut permits = self.permits.lock();
            let line = permits.line(pool).filter(|line| line.held > 0);
            line.map(|line| line.held -= 1).is_some()
        };
        if released {
            self.inner.checkout(pool, 1);
        }
    }

    /// Takes back what the engine has not spent of a pool's permits.
    pub(super) fn take_back(&self, pool: PoolId) {
        let unspent = self.inner.withdraw(pool, u32::MAX).wait().unwrap_or(0);
        if let Some(line) = self.permits.lock().line(pool) {
            line.held += unspent;
        }
    }

    /// The pools that could take this message, those with a free worker only.
    pub(super) fn pools_for(&self, message: &MessageView) -> Vec<PoolId> {
        let permits = self.permits.lock();
        let lines = permits.lines.iter();
        let fitting = lines.filter(|line| line.held > 0 && takes(&line.spec, message));
        fitting.map(|line| line.pool).collect()
    }

    /// Longer than any lease lasts that nobody renews.
    fn longest_lease(&self) -> Duration {
        let permits = self.permits.lock();
        let leases = permits.lines.iter().map(|line| line.spec.lease);
        leases.max().unwrap_or_default()
    }

    /// The wall clock jumps an hour forward or, every other time, back.
    fn jump_if_planned(&self) {
        if self.world.plan.clock_jumps() {
            let clock = &self.world.clock;
            let wall = clock.wall().as_ms();
            let jumped = if self.world.random().is_multiple_of(2) {
                wall + JUMP_MS
            } else {
                wall - JUMP_MS
            };
            self.world.tell("the wall clock jumps by an hour");
            clock.set_wall(Timestamp::from_ms(jumped));
        }
    }

    /// Whether any pool takes such messages at all.
    pub(super) fn serves(&self, message: &MessageView) -> bool {
        let permits = self.permits.lock();
        permits.lines.iter().any(|line| takes(&line.spec, message))
    }
}

fn takes(spec: &PoolSpec, message: &MessageView) -> bool {
    spec.line_of(&message.queue, &message.kind).is_some()
}

impl Permits {
    fn line(&mut self, pool: PoolId) -> Option<&mut Line> {
        self.lines.iter_mut().find(|line| line.pool == pool)
    }

    fn pools(&self) -> Vec<PoolId> {
        self.lines.iter().map(|line| line.pool).collect()
    }

    fn take_held(&mut self) -> Vec<(PoolId, u32)> {
        let held = self.lines.iter_mut().filter(|line| line.held > 0);
        held.map(|line| (line.pool, std::mem::take(&mut line.held)))
            .collect()
    }
}

impl Backend for Gate {
    fn enqueue(
        &self,
        batch: Vec<NewMessage>,
        when_full: WhenFull,
    ) -> Pending<Result<Vec<Receipt>, EnqueueError>> {
        self.inner.enqueue(batch, when_full)
    }

    fn attach(&self, pool: PoolSpec, wake: Wake) -> Result<PoolId, Stopped> {
        let spec = pool.clone();
        let pool = self.inner.attach(pool, wake)?;
        self.permits.lock().lines.push(Line {
            pool,
            spec,
            held: 0,
        });
        Ok(pool)
    }

    fn checkout(&self, pool: PoolId, count: u32) {
        if self.lifeline.is_cut() {
            return;
        }
        let mut permits = self.permits.lock();
        if permits.open {
            drop(permits);
            self.inner.checkout(pool, count);
        } else if let Some(line) = permits.line(pool) {
            line.held += count;
        }
    }

    fn take(&self, pool: PoolId, into: &mut Vec<Delivery>) {
        let before = into.len();
        self.inner.take(pool, into);
        let mut record = self.record.lock();
        for delivery in into.iter().skip(before) {
            match delivery {
                Delivery::Grant(grant) => {
                    self.jump_if_planned();
                    record.hand_out(grant);
                    let seq = grant.token.id.seq();
                    self.world.tell(format_args!(
                        "#{seq} {} is handed out, attempt {}",
                        grant.kind, grant.attempt
                    ));
                }
                Delivery::LeaseLost(token) => {
                    record.lose(*token);
                    self.world
                        .tell(format_args!("#{} loses its lease", token.id.seq()));
                }
                Delivery::CancelRequested(token) => self
                    .world
                    .tell(format_args!("#{} is asked to stop", token.id.seq())),
            }
        }
    }

    fn withdraw(&self, pool: PoolId, count: u32) -> Pending<u32> {
        let mut permits = self.permits.lock();
        let held = permits.line(pool).map_or(0, |line| {
            let held = line.held.min(count);
            line.held -= held;
            held
        });
        drop(permits);
        let rest = count - held;
        let unspent = if rest > 0 {
            self.inner.withdraw(pool, rest).wait().unwrap_or(0)
        } else {
            0
        };
        Pending::ready(held + unspent)
    }

    fn detach(&self, pool: PoolId) {
        self.permits.lock().lines.retain(|line| line.pool != pool);
        self.inner.detach(pool);
    }

    fn payload_size_max(&self) -> usize {
        self.inner.payload_size_max()
    }

    fn give_back(&self, tokens: Vec<LeaseToken>) {
        if self.lifeline.is_cut() {
            return;
        }
        {
            let mut record = self.record.lock();
            for token in &tokens {
                record.give_back(*token);
            }
        }
        self.inner.give_back(tokens);
    }

    fn settle(
        &self,
        batch: Vec<SettleRequest>,
    ) -> Pending<Vec<Result<SettleReceipt, SettleError>>> {
        let (promise, pending) = Pending::new();
        if self.lifeline.is_cut() {
            return pending; // nobody says anything for a process that is gone; the promise breaks
        }
        let said: Vec<(LeaseToken, Ended)> = batch
            .iter()
            .map(|request| (request.token, Ended::of(&request.settlement)))
            .collect();
        {
            let mut record = self.record.lock();
            said.iter()
                .for_each(|(token, said)| record.say(*token, said));
        }
        let is_late = said.iter().any(|_| self.world.plan.is_late());
        let wait = is_late.then(|| self.longest_lease() * 3 / 2);
        if is_late {
            let tokens = said.iter().map(|(token, _)| *token);
            self.late.lock().extend(tokens);
        }
        let inner = Arc::clone(&self.inner);
        let asked = wait.is_none().then(|| inner.settle(batch.clone()));
        let (record, world) = (Arc::clone(&self.record), Arc::clone(&self.world));
        let lifeline = Arc::clone(&self.lifeline);
        drop(self.runtime.spawn(async move {
            if let Some(wait) = wait {
                world.tell(format_args!("an answer is {wait:?} late"));
                tokio::time::sleep(wait).await;
            }
            let asked = asked.unwrap_or_else(|| inner.settle(batch));
            let Ok(answers) = asked.await else { return };
            let said = said.into_iter().filter(|_| !lifeline.is_cut());
            for ((token, ended), answer) in said.zip(&answers) {
                let ended = ended.answered(answer);
                tell_end(&world, token, &ended);
                record.lock().end(token, ended);
            }
            promise.keep(answers);
        }));
        pending
    }

    fn extend(
        &self,
        tokens: Vec<LeaseToken>,
        duration: Duration,
    ) -> Pending<Vec<Result<(), StaleLease>>> {
        let is_late = |token: &LeaseToken| self.late.lock().contains(token);
        let (late, others): (Vec<_>, Vec<_>) = tokens.into_iter().partition(is_late);
        if late.is_empty() {
            return self.inner.extend(others, duration);
        }
        let answers = vec![Ok(()); late.len() + others.len()];
        drop(self.inner.extend(others, duration));
        Pending::ready(answers)
    }

    fn save_checkpoint(
        &self,
        token: LeaseToken,
        checkpoint: Bytes,
    ) -> Pending<Result<(), SettleError>> {
        self.inner.save_checkpoint(token, checkpoint)
    }

    fn reserve(
        &self,
        token: LeaseToken,
        messages: u64,
        bytes: u64,
    ) -> Pending<Result<(), SettleError>> {
        self.inner.reserve(token, messages, bytes)
    }

    fn operate(
        &self,
        id: MessageId,
        request: OperateRequest,
    ) -> Pending<Result<Operated, OperateError>> {
        self.inner.operate(id, request)
    }

    fn set_queue(
        &self,
        queue: QueueName,
        change: QueueChange,
    ) -> Pending<Result<(), SetQueueError>> {
        self.inner.set_queue(queue, change)
    }

    fn declare_index(&self, kind: &KindName, fields: &'static [&'static str]) {
        self.inner.declare_index(kind, fields);
    }

    fn queue_settings(&self, queue: QueueName) -> Pending<Result<QueueSettings, Stopped>> {
        self.inner.queue_settings(queue)
    }

    fn previous(&self, of: PreviousOf) -> Pending<Result<Option<Previous>, ReadError>> {
        self.inner.previous(of)
    }

    fn message(&self, id: MessageId) -> Pending<Result<Lookup, Stopped>> {
        self.inner.message(id)
    }

    fn envelope(&self, id: MessageId) -> Pending<Result<Option<Arc<Envelope>>, ReadError>> {
        self.inner.envelope(id)
    }

    fn list(&self, filter: Filter, after: Seq, limit: usize) -> Pending<Result<Page, Stopped>> {
        self.inner.list(filter, after, limit)
    }

    fn stats(&self) -> Stats {
        self.inner.stats()
    }
}

fn tell_end(world: &World, token: LeaseToken, ended: &Ended) {
    let seq = token.id.seq();
    let outcome = ended
        .outcome
        .map_or("given back", |outcome| outcome.as_str());
    let failure = ended.failure.as_ref();
    let failure = failure.map_or_else(String::new, |failure| {
        format!(": {} ({})", failure.text, failure.error_type)
    });
    let refused = ended.refused.as_ref();
    let refused = refused.map_or_else(String::new, |why| format!("; the store refused: {why}"));
    world.tell(format_args!("#{seq} ends: {outcome}{failure}{refused}"));
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("permits", &*self.permits.lock())
            .finish_non_exhaustive()
    }
}
