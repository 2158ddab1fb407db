//! A store in memory, small enough to be seen to be right: one lock, one list of messages, tokio's time.
//!
//! It grants in the order of enqueue, at once, and keeps every attempt's end for the tests to look at. It does not do
//! keys, priorities, suspects or capacity.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mq_core::backend::{
    Backend, Delivery, Durability, EnqueueError, Grant, OperateError, OperateRequest, Previous,
    PreviousOf, ReadError, Receipt, SetQueueError, SettleError, SettleReceipt, SettleRequest,
    Stopped, Wake, WhenFull,
};
use mq_core::command::{
    Accepted, Enqueue, EnqueueRefused, Operated, PoolSpec, SettleRefused, Settlement, StaleLease,
};
use mq_core::id::{Incarnation, LeaseToken, MessageId, PoolId, Seq, StoreTag};
use mq_core::message::{Due, Envelope, NewMessage};
use mq_core::name::QueueName;
use mq_core::pending::{Pending, Promise};
use mq_core::queue::{QueueChange, QueueSettings};
use mq_core::state::{Attempt, DeadReason, Failure, Outcome};
use mq_core::time::Timestamp;
use mq_core::view::{Filter, Lookup, Page, Stats};
use mq_dispatch::{Message, Outgoing, Timers, WorkersBuilder};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// What a message is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Is {
    Ready,
    Scheduled(Duration),
    Held,
    Leased,
    Succeeded(Option<Bytes>),
    Discarded,
    Cancelled,
    SetAside(String),
    Dead(DeadReason),
}

#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) id: MessageId,
    pub(crate) message: NewMessage,
    pub(crate) is: Is,
    pub(crate) failures: u32,
    pub(crate) note: Option<String>,
    /// How each attempt ended.
    pub(crate) ends: Vec<(Outcome, Option<Failure>)>,
    /// When each attempt that was tried again was to be tried.
    pub(crate) delays: Vec<Duration>,
    delivery: u32,
    checkpoint: Option<Bytes>,
    lease: Option<(LeaseToken, PoolId, Duration)>,
}

/// Answers to a batch of settlements.
type Answers = Vec<Result<SettleReceipt, SettleError>>;

struct Pool {
    spec: PoolSpec,
    wake: Wake,
    permits: u32,
    inbox: Vec<Delivery>,
}

#[derive(Default)]
struct Inner {
    messages: BTreeMap<Seq, Stored>,
    pools: Vec<Option<Pool>>,
    last: Seq,
    reserved: (u64, u64),
    stopped: bool,
    refuse_staged: bool,
    /// Batches that wait, while they do.
    held_up: Option<Vec<(Vec<SettleRequest>, Promise<Answers>)>>,
    payload_size_max: Option<usize>,
    batches: Vec<usize>,
    renewals: u32,
    stale: u32,
}

/// Is called before permits are added, so that a test can hold them up.
type OnCheckout = Arc<dyn Fn() + Send + Sync>;

pub(crate) struct Store {
    inner: Mutex<Inner>,
    on_checkout: Mutex<Option<OnCheckout>>,
    changed: Notify,
    start: Instant,
}

impl Store {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::default(),
            on_checkout: Mutex::new(None),
            changed: Notify::new(),
            start: Instant::now(),
        })
    }

    /// A builder of workers whose time is the test's.
    pub(crate) fn workers(self: &Arc<Self>) -> WorkersBuilder {
        WorkersBuilder::new(Arc::clone(self) as Arc<dyn Backend>).timers(Timers::Runtime)
    }

    pub(crate) fn send<M: Message>(&self, message: &M) -> MessageId {
        self.post(Outgoing::new(message))
    }

    pub(crate) fn post(&self, message: Outgoing) -> MessageId {
        let message = message
            .into_message()
            .expect("a message that can be encoded");
        let mut inner = self.inner.lock();
        let id = inner.add(message, self.now());
        self.grant(inner);
        id
    }

    pub(crate) fn get(&self, id: MessageId) -> Stored {
        let inner = self.inner.lock();
        inner
            .messages
            .get(&id.seq())
            .expect("a known message")
            .clone()
    }

    pub(crate) fn all(&self) -> Vec<Stored> {
        self.inner.lock().messages.values().cloned().collect()
    }

    /// Waits until a look at the message pleases.
    pub(crate) async fn until(&self, id: MessageId, pleases: impl Fn(&Stored) -> bool) -> Stored {
        loop {
            let changed = self.changed.notified();
            let stored = self.get(id);
            if pleases(&stored) {
                return stored;
            }
            changed.await;
        }
    }

    /// Waits until so many attempts of a message have ended.
    pub(crate) async fn ended(&self, id: MessageId, attempts: usize) -> Stored {
        self.until(id, |stored| stored.ends.len() >= attempts).await
    }

    /// Waits until no message can go on without time passing or somebody's help.
    pub(crate) async fn quiet(&self) {
        loop {
            let changed = self.changed.notified();
            let busy = |stored: &Stored| matches!(stored.is, Is::Ready | Is::Leased);
            if !self.all().iter().any(busy) {
                return;
            }
            changed.await;
        }
    }

    /// Does what is due now: messages become ready, leases run out.
    pub(crate) fn tick(&self) {
        let now = self.now();
        let mut inner = self.inner.lock();
        let mut lost = Vec::new();
        for stored in inner.messages.values_mut() {
            if matches!(stored.is, Is::Scheduled(due) if due <= now) {
                stored.is = Is::Ready;
            }
            if let Some((token, pool, until)) = stored.lease
                && until <= now
            {
                stored.end(Outcome::LeaseExpired, None);
                stored.failures += 1;
                stored.is = Is::Ready;
                lost.push((token, pool));
            }
        }
        for (token, pool) in lost {
            inner.tell(pool, Delivery::LeaseLost(token));
        }
        self.grant(inner);
    }

    /// The lease runs out now, and its pool is told.
    pub(crate) fn lose_lease(&self, id: MessageId) {
        let mut inner = self.inner.lock();
        let stored = inner.messages.get_mut(&id.seq()).expect("a known message");
        let (token, pool, _) = stored.lease.expect("a running message");
        stored.end(Outcome::LeaseExpired, None);
        stored.failures += 1;
        stored.is = Is::Ready;
        inner.tell(pool, Delivery::LeaseLost(token));
        self.grant(inner);
    }

    /// The lease is gone, and nobody is told.
    pub(crate) fn forget_lease(&self, id: MessageId) {
        let mut inner = self.inner.lock();
        let stored = inner.messages.get_mut(&id.seq()).expect("a known message");
        stored.lease = None;
    }

    pub(crate) fn cancel(&self, id: MessageId) {
        let mut inner = self.inner.lock();
        let stored = inner.messages.get(&id.seq()).expect("a known message");
        let (token, pool, _) = stored.lease.expect("a running message");
        inner.tell(pool, Delivery::CancelRequested(token));
        self.grant(inner);
    }

    pub(crate) fn release(&self, id: MessageId) {
        let mut inner = self.inner.lock();
        inner
            .messages
            .get_mut(&id.seq())
            .expect("a known message")
            .is = Is::Ready;
        self.grant(inner);
    }

    pub(crate) fn refuse_staged(&self) {
        self.inner.lock().refuse_staged = true;
    }

    /// Larger payloads are not valid from now on.
    pub(crate) fn limit_payloads(&self, size_max: usize) {
        self.inner.lock().payload_size_max = Some(size_max);
    }

    /// Settlements wait from now on, as they do for room on a full disk.
    pub(crate) fn hold_settlements_up(&self) {
        self.inner.lock().held_up = Some(Vec::new());
    }

    /// Settlements that wait.
    pub(crate) fn held_up(&self) -> usize {
        let inner = self.inner.lock();
        let batches = inner.held_up.iter().flatten();
        batches.map(|(batch, _)| batch.len()).sum()
    }

    /// Settlements wait no longer.
    pub(crate) fn let_settlements_go(&self) {
        let held_up = self.inner.lock().held_up.take();
        for (batch, promise) in held_up.into_iter().flatten() {
            let mut inner = self.inner.lock();
            let answers = inner.settle_all(batch, self.now());
            self.grant(inner);
            promise.keep(answers);
        }
    }

    pub(crate) fn shut(&self) {
        self.inner.lock().stopped = true;
    }

    pub(crate) fn on_checkout(&self, call: impl Fn() + Send + Sync + 'static) {
        *self.on_checkout.lock() = Some(Arc::new(call));
    }

    /// Unspent permits for this kind.
    pub(crate) fn permits(&self, kind: &str) -> u32 {
        let inner = self.inner.lock();
        let serves = |pool: &&Pool| {
            let mut lines = pool.spec.lines.iter();
            let known = lines.find_map(|line| line.selector.kind.as_ref());
            known.is_some_and(|known| known.as_str() == kind)
        };
        inner
            .pools
            .iter()
            .flatten()
            .filter(serves)
            .map(|pool| pool.permits)
            .sum()
    }

    pub(crate) fn pools(&self) -> usize {
        self.inner.lock().pools.iter().flatten().count()
    }

    pub(crate) fn reserved(&self) -> (u64, u64) {
        self.inner.lock().reserved
    }

    pub(crate) fn renewals(&self) -> u32 {
        self.inner.lock().renewals
    }

    pub(crate) fn stale(&self) -> u32 {
        self.inner.lock().stale
    }

    /// Sizes of the batches of settlements.
    pub(crate) fn batches(&self) -> Vec<usize> {
        self.inner.lock().batches.clone()
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Grants whatever can be granted, then tells whom it concerns.
    fn grant(&self, mut inner: parking_lot::MutexGuard<'_, Inner>) {
        let mut wakes = inner.grant_all(self.now());
        for pool in inner.pools.iter().flatten() {
            if !pool.inbox.is_empty() {
                wakes.push(Arc::clone(&pool.wake));
            }
        }
        drop(inner);
        for wake in wakes {
            wake();
        }
        self.changed.notify_waiters();
    }
}

impl Inner {
    fn add(&mut self, message: NewMessage, now: Duration) -> MessageId {
        self.last = self.last.next();
        let id = MessageId::new(0, self.last, StoreTag::new(1));
        let is = match message.due {
            Due::After(delay) => Is::Scheduled(now + delay),
            Due::Now | Due::At(_) => Is::Ready,
        };
        let is = if message.hold.is_some() { Is::Held } else { is };
        let stored = Stored {
            id,
            message,
            is,
            failures: 0,
            note: None,
            ends: Vec::new(),
            delays: Vec::new(),
            delivery: 0,
            checkpoint: None,
            lease: None,
        };
        self.messages.insert(id.seq(), stored);
        id
    }

    fn tell(&mut self, pool: PoolId, delivery: Delivery) {
        if let Some(pool) = self.pool(pool) {
            pool.inbox.push(delivery);
        }
    }

    fn pool(&mut self, id: PoolId) -> Option<&mut Pool> {
        let index = usize::try_from(id.0).expect("a small number");
        self.pools.get_mut(index).and_then(Option::as_mut)
    }

    fn grant_all(&mut self, now: Duration) -> Vec<Wake> {
        let mut wakes = Vec::new();
        for (index, pool) in self.pools.iter_mut().enumerate() {
            let Some(pool) = pool else { continue };
            let id = PoolId(u32::try_from(index).expect("a small number"));
            for stored in self.messages.values_mut() {
                if pool.permits == 0 {
                    break;
                }
                if stored.is == Is::Ready && selects(pool, stored) {
                    pool.permits -= 1;
                    let grant = stored.lease_to(id, now + pool.spec.lease);
                    pool.inbox.push(Delivery::Grant(grant));
                    wakes.push(Arc::clone(&pool.wake));
                }
            }
        }
        wakes
    }

    fn held(&mut self, token: LeaseToken) -> Result<&mut Stored, StaleLease> {
        let stored = self.messages.get_mut(&token.id.seq());
        stored
            .filter(|stored| stored.lease.is_some_and(|(held, _, _)| held == token))
            .ok_or(StaleLease { token })
    }

    fn settle_all(&mut self, batch: Vec<SettleRequest>, now: Duration) -> Answers {
        self.batches.push(batch.len());
        let answers = batch.into_iter().map(|request| self.settle(request, now));
        answers.collect()
    }

    fn settle(
        &mut self,
        request: SettleRequest,
        now: Duration,
    ) -> Result<SettleReceipt, SettleError> {
        if self.stopped {
            return Err(Stopped::Closed.into());
        }
        let refuse = self.refuse_staged && !request.staged.is_empty();
        let size_max = self.payload_size_max.unwrap_or(usize::MAX);
        let stored = match self.held(request.token) {
            Ok(stored) => stored,
            Err(stale) => {
                self.stale += 1;
                return Err(SettleRefused::from(stale).into());
            }
        };
        if refuse {
            let full = EnqueueRefused::Full {
                used: 1,
                limit: 1,
                unit: "messages",
            };
            return Err(SettleRefused::from(full).into());
        }
        for (index, message) in request.staged.iter().enumerate() {
            let checked = message.check(size_max);
            checked.map_err(|source| SettleError::Invalid { index, source })?;
        }
        stored.settle(request.settlement, now);
        let mut staged = Vec::new();
        for message in request.staged {
            let id = self.add(message, now);
            let enqueue = Enqueue::New;
            staged.push(Accepted { id, enqueue });
        }
        Ok(SettleReceipt {
            state: None,
            staged,
        })
    }
}

fn selects(pool: &Pool, stored: &Stored) -> bool {
    let message = &stored.message;
    pool.spec.line_of(&message.queue, &message.kind).is_some()
}

impl Stored {
    fn lease_to(&mut self, pool: PoolId, until: Duration) -> Grant {
        self.delivery += 1;
        let token = LeaseToken {
            id: self.id,
            delivery: self.delivery,
            incarnation: Incarnation(1),
        };
        self.lease = Some((token, pool, until));
        self.is = Is::Leased;
        Grant {
            token,
            queue: self.message.queue.clone(),
            kind: self.message.kind.clone(),
            envelope: Arc::new(self.message.envelope.clone()),
            attempt: self.failures + 1,
            enqueued: Timestamp::from_ms(1),
            due: Timestamp::from_ms(2),
            suspect: false,
            checkpoint: self.checkpoint.clone(),
            last: self.ends.last().map(|(outcome, failure)| Attempt {
                delivery: self.delivery - 1,
                ended: Timestamp::from_ms(3),
                outcome: *outcome,
                failure: failure.clone(),
            }),
        }
    }

    fn end(&mut self, outcome: Outcome, failure: Option<Failure>) {
        self.lease = None;
        self.ends.push((outcome, failure));
    }

    fn settle(&mut self, settlement: Settlement, now: Duration) {
        match settlement {
            Settlement::Succeed { result } => {
                self.end(Outcome::Succeeded, None);
                self.is = Is::Succeeded(result);
            }
            Settlement::Fail {
                failure,
                retry,
                retry_in,
            } => {
                self.end(Outcome::Failed, Some(failure));
                self.failures += 1;
                let delay = retry_in.unwrap_or_else(|| retry.backoff.delay(self.failures));
                if retry.is_spent(self.failures) {
                    self.is = Is::Dead(DeadReason::BudgetSpent);
                } else {
                    self.come_back(delay, now);
                }
            }
            Settlement::Again { due } => {
                self.end(Outcome::Succeeded, None);
                self.failures = 0;
                let Due::After(delay) = due else {
                    panic!("{due:?}: this store knows delays only")
                };
                self.come_back(delay, now);
            }
            Settlement::SetAside { label, failure } => {
                self.end(Outcome::Snoozed, Some(failure));
                self.is = Is::SetAside(label.to_string());
            }
            Settlement::Snooze { delay } => {
                self.end(Outcome::Snoozed, None);
                self.come_back(delay, now);
            }
            Settlement::Interrupt => {
                self.end(Outcome::Interrupted, None);
                self.is = Is::Ready;
            }
            Settlement::DeadLetter {
                reason,
                failure,
                note,
            } => {
                self.end(Outcome::DeadLettered, Some(failure));
                self.note = note;
                self.is = Is::Dead(reason);
            }
            Settlement::Discard { failure } => {
                self.end(Outcome::Discarded, failure);
                self.is = Is::Discarded;
            }
            Settlement::Cancel => {
                self.end(Outcome::Cancelled, None);
                self.is = Is::Cancelled;
            }
        }
    }

    fn come_back(&mut self, delay: Duration, now: Duration) {
        self.delays.push(delay);
        self.is = if delay.is_zero() {
            Is::Ready
        } else {
            Is::Scheduled(now + delay)
        };
    }
}

impl Backend for Store {
    fn enqueue(
        &self,
        batch: Vec<NewMessage>,
        _when_full: WhenFull,
    ) -> Pending<Result<Vec<Receipt>, EnqueueError>> {
        let mut inner = self.inner.lock();
        let receipts = batch.into_iter().map(|message| Receipt {
            accepted: Accepted {
                id: inner.add(message, self.now()),
                enqueue: Enqueue::New,
            },
            durability: Durability::Memory,
        });
        let receipts = receipts.collect();
        self.grant(inner);
        Pending::ready(Ok(receipts))
    }

    fn attach(&self, spec: PoolSpec, wake: Wake) -> Result<PoolId, Stopped> {
        let mut inner = self.inner.lock();
        if inner.stopped {
            return Err(Stopped::Closed);
        }
        inner.pools.push(Some(Pool {
            spec,
            wake,
            permits: 0,
            inbox: Vec::new(),
        }));
        let number = u32::try_from(inner.pools.len() - 1).expect("a small number");
        Ok(PoolId(number))
    }

    fn checkout(&self, pool: PoolId, permits: u32) {
        let call = self.on_checkout.lock().clone();
        if let Some(call) = call {
            call();
        }
        let mut inner = self.inner.lock();
        if let Some(pool) = inner.pool(pool) {
            pool.permits += permits;
        }
        self.grant(inner);
    }

    fn take(&self, pool: PoolId, into: &mut Vec<Delivery>) {
        if let Some(pool) = self.inner.lock().pool(pool) {
            into.append(&mut pool.inbox);
        }
    }

    fn withdraw(&self, pool: PoolId, permits: u32) -> Pending<u32> {
        let mut inner = self.inner.lock();
        let answer = inner.pool(pool).map_or(0, |pool| {
            let back = permits.min(pool.permits);
            pool.permits -= back;
            back
        });
        drop(inner);
        self.changed.notify_waiters();
        Pending::ready(answer)
    }

    fn detach(&self, pool: PoolId) {
        let mut inner = self.inner.lock();
        let index = usize::try_from(pool.0).expect("a small number");
        let gone = inner.pools.get_mut(index).and_then(Option::take);
        for delivery in gone.into_iter().flat_map(|pool| pool.inbox) {
            if let Delivery::Grant(grant) = delivery {
                let stored = inner.held(grant.token).expect("a granted message");
                stored.lease = None;
                stored.is = Is::Ready;
            }
        }
        self.grant(inner);
    }

    fn give_back(&self, tokens: Vec<LeaseToken>) {
        let mut inner = self.inner.lock();
        for token in tokens {
            if let Ok(stored) = inner.held(token) {
                stored.lease = None;
                stored.is = Is::Ready;
            }
        }
        self.grant(inner);
    }

    fn settle(
        &self,
        batch: Vec<SettleRequest>,
    ) -> Pending<Vec<Result<SettleReceipt, SettleError>>> {
        let mut inner = self.inner.lock();
        if let Some(held_up) = &mut inner.held_up {
            let (promise, pending) = Pending::new();
            held_up.push((batch, promise));
            return pending;
        }
        let answers = inner.settle_all(batch, self.now());
        self.grant(inner);
        Pending::ready(answers)
    }

    fn extend(
        &self,
        tokens: Vec<LeaseToken>,
        duration: Duration,
    ) -> Pending<Vec<Result<(), StaleLease>>> {
        let mut inner = self.inner.lock();
        let until = self.now() + duration;
        inner.renewals += 1;
        let answers = tokens.into_iter().map(|token| {
            let stored = inner.held(token)?;
            if let Some((_, _, lease)) = &mut stored.lease {
                *lease = until;
            }
            Ok(())
        });
        Pending::ready(answers.collect())
    }

    fn save_checkpoint(
        &self,
        token: LeaseToken,
        checkpoint: Bytes,
    ) -> Pending<Result<(), SettleError>> {
        let mut inner = self.inner.lock();
        let answer = inner.held(token).map(|stored| {
            stored.checkpoint = Some(checkpoint);
        });
        Pending::ready(answer.map_err(|stale| SettleRefused::from(stale).into()))
    }

    fn reserve(
        &self,
        token: LeaseToken,
        messages: u64,
        bytes: u64,
    ) -> Pending<Result<(), SettleError>> {
        let mut inner = self.inner.lock();
        if let Err(stale) = inner.held(token) {
            return Pending::ready(Err(SettleRefused::from(stale).into()));
        }
        inner.reserved.0 += messages;
        inner.reserved.1 += bytes;
        Pending::ready(Ok(()))
    }

    fn operate(
        &self,
        _id: MessageId,
        _request: OperateRequest,
    ) -> Pending<Result<Operated, OperateError>> {
        Pending::ready(Err(Stopped::Closed.into()))
    }

    fn set_queue(
        &self,
        _queue: QueueName,
        _change: QueueChange,
    ) -> Pending<Result<(), SetQueueError>> {
        Pending::ready(Err(Stopped::Closed.into()))
    }

    fn queue_settings(&self, _queue: QueueName) -> Pending<Result<QueueSettings, Stopped>> {
        Pending::ready(Err(Stopped::Closed))
    }

    fn previous(&self, _of: PreviousOf) -> Pending<Result<Option<Previous>, ReadError>> {
        Pending::ready(Ok(None))
    }

    fn message(&self, _id: MessageId) -> Pending<Result<Lookup, Stopped>> {
        Pending::ready(Ok(Lookup::NeverIssued))
    }

    fn envelope(&self, _id: MessageId) -> Pending<Result<Option<Arc<Envelope>>, ReadError>> {
        Pending::ready(Ok(None))
    }

    fn list(&self, _filter: Filter, _after: Seq, _limit: usize) -> Pending<Result<Page, Stopped>> {
        Pending::ready(Ok(Page::default()))
    }

    fn payload_size_max(&self) -> usize {
        let limited = self.inner.lock().payload_size_max;
        limited.unwrap_or(mq_core::limits::PAYLOAD_SIZE_MAX)
    }

    fn stats(&self) -> Stats {
        Stats::default()
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}
