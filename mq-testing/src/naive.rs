//! The naive model as a backend: the rules of mq written for obvious correctness, behind one lock.
//!
//! It is the second implementor of [`Backend`] and the yardstick of the first: [`Model`] is written from the documents,
//! searches lists from end to end, and knows no lanes, timers or tables. It has no disk, so that what it answers is as
//! durable as memory. What it does not do: be fast, or keep anything when the process ends.

mod enqueue;
mod hand_out;
mod inbox;
mod message;
mod model;
mod operate;
mod settle;
mod view;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mq_core::backend::{
    Backend, Delivery, Durability, EnqueueError, OperateError, OperateRequest, Previous,
    PreviousOf, ReadError, Receipt, SetQueueError, SettleError, SettleReceipt, SettleRequest,
    Stopped, Wake, WhenFull,
};
use mq_core::command::{
    Accepted, EnqueueRefused, Extend, GiveBack, Operate, Operated, Operation, PoolSpec, Reserve,
    SaveCheckpoint, Settle, StaleLease,
};
use mq_core::id::{LeaseToken, MessageId, PoolId, Seq};
use mq_core::index::Terms;
use mq_core::key::KeyHasher;
use mq_core::limits::PAYLOAD_SIZE_DEFAULT;
use mq_core::message::{Draft, Edited, Envelope, NewMessage, Sealed};
use mq_core::name::QueueName;
use mq_core::pending::{Pending, Promise};
use mq_core::queue::{QueueChange, QueueSettings};
use mq_core::time::{Clock, Monotonic, Now, StoreTime};
use mq_core::view::{Filter, Lookup, Page, Stats};
use parking_lot::Mutex;

use inbox::Inbox;
pub use model::{Limits, Model};

type Enqueued = Result<Vec<Receipt>, EnqueueError>;

/// An enqueue that waits for room.
#[derive(Debug)]
struct Waiting {
    batch: Vec<NewMessage>,
    until: Monotonic,
    promise: Promise<Enqueued>,
}

#[derive(Debug)]
struct Inner {
    model: Model,
    envelopes: BTreeMap<Seq, Arc<Envelope>>,
    inboxes: BTreeMap<PoolId, Inbox>,
    waiting: VecDeque<Waiting>,
    stopped: Option<Stopped>,
}

/// A store in memory that follows the rules as plainly as possible.
#[derive(Debug)]
pub struct Naive {
    clock: Arc<dyn Clock>,
    inner: Mutex<Inner>,
}

impl Naive {
    /// Opens an empty store.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, limits: Limits) -> Self {
        Self::open(clock, Model::new(limits), BTreeMap::new())
    }

    fn open(
        clock: Arc<dyn Clock>,
        mut model: Model,
        envelopes: BTreeMap<Seq, Arc<Envelope>>,
    ) -> Self {
        model.open(&now(&*clock));
        Self {
            clock,
            inner: Mutex::new(Inner {
                model,
                envelopes,
                inboxes: BTreeMap::new(),
                waiting: VecDeque::new(),
                stopped: None,
            }),
        }
    }

    /// Closes this store in order and opens it again as a new one.
    #[must_use]
    pub fn reopen(&self) -> Self {
        let mut inner = self.inner.lock();
        inner.model.close(&now(&*self.clock));
        self.take_over(&mut inner)
    }

    /// Opens a new store with what this one held at the moment its process "died".
    #[must_use]
    pub fn crash(&self) -> Self {
        self.take_over(&mut self.inner.lock())
    }

    fn take_over(&self, inner: &mut Inner) -> Self {
        inner.stopped = Some(Stopped::Closed);
        inner.waiting.clear();
        inner.inboxes.clear();
        let envelopes = std::mem::take(&mut inner.envelopes);
        Self::open(Arc::clone(&self.clock), inner.model.clone(), envelopes)
    }

    /// Does what has become due. To be called after the clock was moved.
    pub fn pump(&self) {
        self.with(|_, _| ());
    }

    /// Runs a command and everything that follows from it; wakes the pools after the lock is free.
    fn with<T>(&self, command: impl FnOnce(&mut Inner, &Now) -> T) -> T {
        let mut inner = self.inner.lock();
        if inner.stopped.is_some() {
            return command(&mut inner, &now(&*self.clock));
        }
        let now = now(&*self.clock);
        inner.model.advance(&now);
        inner.model.tick(&now);
        let answer = command(&mut inner, &now);
        inner.follow_up(&now);
        let wakes: Vec<Wake> = inner
            .inboxes
            .values_mut()
            .filter_map(Inbox::take_wake)
            .collect();
        drop(inner);
        for wake in wakes {
            wake();
        }
        answer
    }

    /// As [`Naive::with`], unless the store is stopped.
    fn serve<T, E: From<Stopped>>(
        &self,
        command: impl FnOnce(&mut Inner, &Now) -> Result<T, E>,
    ) -> Result<T, E> {
        self.with(|inner, now| {
            if let Some(stopped) = &inner.stopped {
                return Err(E::from(stopped.clone()));
            }
            command(inner, now)
        })
    }
}

fn now(clock: &dyn Clock) -> Now {
    let monotonic = Monotonic::from_ms(0).after(clock.monotonic());
    Now {
        wall: clock.wall(),
        monotonic,
        store: StoreTime::from_ms(monotonic.as_ms()),
    }
}

fn size(envelope: &Envelope) -> usize {
    let headers = envelope.headers.iter();
    let headers: usize = headers.map(|(name, value)| name.len() + value.len()).sum();
    envelope.payload.len() + headers
}

/// Stands for the encoded envelope: this store writes nothing, but counts its bytes.
fn sealed(envelope: &Envelope) -> Sealed {
    Sealed {
        bytes: Bytes::from(vec![0; size(envelope)]),
        crc: 0,
    }
}

fn hasher() -> KeyHasher {
    KeyHasher::new([7; 16])
}

fn draft(message: &NewMessage) -> Draft {
    let hasher = hasher();
    let envelope = &message.envelope;
    let hash = |key| hasher.key(&message.queue, key);
    Draft {
        queue: message.queue.clone(),
        kind: message.kind.clone(),
        priority: message.priority,
        due: message.due,
        expires_in: message.expires_in,
        hold: message.hold.clone(),
        idempotency: envelope.idempotency_key.as_ref().map(hash),
        dedup: envelope.dedup_key.as_ref().map(hash).zip(message.dedup),
        ordering: envelope.ordering_key.as_ref().map(hash),
        halt_on_dead: message.halt_on_dead,
        payload: hasher.payload(&envelope.payload),
        failures_max: message.failures_max,
        retain: message.retain,
        awaited: message.awaited,
        terms: Terms::NONE,
        sealed: sealed(envelope),
    }
}

impl Inner {
    fn enqueue(&mut self, now: &Now, batch: Vec<NewMessage>) -> Enqueued {
        let drafts: Vec<Draft> = batch.iter().map(draft).collect();
        match self.model.enqueue(now, &drafts) {
            Ok(accepted) => {
                self.keep_envelopes(&accepted, batch);
                let receipt = |accepted| Receipt {
                    accepted,
                    durability: Durability::Memory,
                };
                Ok(accepted.into_iter().map(receipt).collect())
            }
            Err(refused) => Err(EnqueueError::Refused {
                refused,
                messages: batch,
            }),
        }
    }

    /// The first envelope of an id stays: a duplicate is answered with the id of another message.
    fn keep_envelopes(&mut self, accepted: &[Accepted], batch: Vec<NewMessage>) {
        for (accepted, message) in accepted.iter().zip(batch) {
            self.envelopes
                .entry(accepted.id.seq())
                .or_insert_with(|| Arc::new(message.envelope));
        }
    }

    fn settle(&mut self, now: &Now, request: SettleRequest) -> Result<SettleReceipt, SettleError> {
        for (index, message) in request.staged.iter().enumerate() {
            let checked = message.check(PAYLOAD_SIZE_DEFAULT);
            checked.map_err(|source| SettleError::Invalid { index, source })?;
        }
        let command = Settle {
            token: request.token,
            settlement: request.settlement,
            staged: request.staged.iter().map(draft).collect(),
        };
        let settled = self.model.settle(now, &command)?;
        self.keep_envelopes(&settled.staged, request.staged);
        Ok(SettleReceipt {
            state: settled.state,
            staged: settled.staged,
        })
    }

    fn operate(
        &mut self,
        now: &Now,
        id: MessageId,
        request: OperateRequest,
    ) -> Result<Operated, OperateError> {
        let mut edited = None;
        let operation = match request {
            OperateRequest::Cancel => Operation::Cancel,
            OperateRequest::Hold(label) => Operation::Hold(label),
            OperateRequest::Release => Operation::Release,
            OperateRequest::RunNow => Operation::RunNow,
            OperateRequest::Reschedule(due) => Operation::Reschedule(due),
            OperateRequest::SetPriority(priority) => Operation::SetPriority(priority),
            OperateRequest::MoveTo(queue) => Operation::MoveTo(queue),
            OperateRequest::Replay { edit } => {
                let old = self.envelopes.get(&id.seq());
                edited = edit.zip(old).map(|(payload, old)| Envelope {
                    payload,
                    ..Envelope::clone(old)
                });
                let edit = edited.as_ref().map(|envelope| {
                    Box::new(Edited {
                        sealed: sealed(envelope),
                        terms: Terms::NONE,
                    })
                });
                Operation::Replay { edit }
            }
            OperateRequest::Purge => Operation::Purge,
        };
        if let Some(envelope) = &edited {
            envelope.check(PAYLOAD_SIZE_DEFAULT)?;
        }
        let done = self.model.operate(
            now,
            &Operate {
                id,
                operation,
                by: String::new(),
            },
        )?;
        if let Some(envelope) = edited {
            self.envelopes.insert(id.seq(), Arc::new(envelope));
        }
        Ok(done)
    }

    /// What follows from a change: waiting enqueues, grants, notices; envelopes of messages that are gone.
    fn follow_up(&mut self, now: &Now) {
        self.admit_waiting(now);
        self.hand_out(now);
        self.notify();
        let model = &self.model;
        self.envelopes.retain(|seq, _| model.contains(*seq));
    }

    fn admit_waiting(&mut self, now: &Now) {
        for waiting in std::mem::take(&mut self.waiting) {
            match self.enqueue(now, waiting.batch) {
                Err(EnqueueError::Refused { refused, messages })
                    if waiting.until > now.monotonic && may_wait(&refused, &messages) =>
                {
                    self.waiting.push_back(Waiting {
                        batch: messages,
                        ..waiting
                    });
                }
                answer => waiting.promise.keep(answer),
            }
        }
    }
}

/// Whether a refused batch would be let in when there is room.
fn may_wait(refused: &EnqueueRefused, batch: &[NewMessage]) -> bool {
    match refused {
        EnqueueRefused::Full { .. } => true,
        EnqueueRefused::QueueFull { queue, limit, .. } => {
            let added = batch.iter().filter(|message| message.queue == *queue);
            added.count() as u64 <= *limit
        }
        EnqueueRefused::TooLarge { .. }
        | EnqueueRefused::DeadLettersFull { .. }
        | EnqueueRefused::KeyReused { .. }
        | EnqueueRefused::KeyHeld { .. }
        | EnqueueRefused::KeysFull { .. }
        | EnqueueRefused::KeyTwiceInBatch { .. }
        | EnqueueRefused::NumbersUsedUp { .. } => false,
    }
}

impl Backend for Naive {
    fn enqueue(&self, batch: Vec<NewMessage>, when_full: WhenFull) -> Pending<Enqueued> {
        let (promise, pending) = Pending::new();
        let answer = self.serve(|inner, now| {
            for (index, message) in batch.iter().enumerate() {
                let checked = message.check(PAYLOAD_SIZE_DEFAULT);
                checked.map_err(|source| EnqueueError::Invalid { index, source })?;
            }
            let answer = inner.enqueue(now, batch);
            match (answer, when_full) {
                (Err(EnqueueError::Refused { refused, messages }), WhenFull::Wait(limit))
                    if may_wait(&refused, &messages) =>
                {
                    inner.waiting.push_back(Waiting {
                        batch: messages,
                        until: now.monotonic.after(limit),
                        promise,
                    });
                    Ok(None)
                }
                (answer, WhenFull::Refuse | WhenFull::Wait(_)) => {
                    answer.map(|receipts| Some((receipts, promise)))
                }
            }
        });
        match answer {
            Ok(None) => pending,
            Ok(Some((receipts, promise))) => {
                promise.keep(Ok(receipts));
                pending
            }
            Err(error) => Pending::ready(Err(error)),
        }
    }

    fn attach(&self, pool: PoolSpec, wake: Wake) -> Result<PoolId, Stopped> {
        self.serve(|inner, _| {
            let id = inner.model.attach(pool);
            inner.inboxes.insert(id, Inbox::new(wake));
            Ok(id)
        })
    }

    fn checkout(&self, pool: PoolId, permits: u32) {
        self.with(|inner, _| inner.model.add_permits(pool, permits));
    }

    fn take(&self, pool: PoolId, into: &mut Vec<Delivery>) {
        if let Some(inbox) = self.inner.lock().inboxes.get_mut(&pool) {
            inbox.take(into);
        }
    }

    fn withdraw(&self, pool: PoolId, permits: u32) -> Pending<u32> {
        Pending::ready(self.with(|inner, _| inner.model.withdraw_permits(pool, permits)))
    }

    fn detach(&self, pool: PoolId) {
        self.with(|inner, now| {
            inner.model.detach(pool);
            let left = inner.inboxes.remove(&pool).map(Inbox::into_tokens);
            inner.give_back(now, left.unwrap_or_default());
        });
    }

    fn give_back(&self, tokens: Vec<LeaseToken>) {
        self.with(|inner, now| inner.give_back(now, tokens));
    }

    fn settle(
        &self,
        batch: Vec<SettleRequest>,
    ) -> Pending<Vec<Result<SettleReceipt, SettleError>>> {
        let each = |request| self.serve(|inner, now| inner.settle(now, request));
        Pending::ready(batch.into_iter().map(each).collect())
    }

    fn extend(
        &self,
        tokens: Vec<LeaseToken>,
        duration: Duration,
    ) -> Pending<Vec<Result<(), StaleLease>>> {
        let each =
            |token| self.with(|inner, now| inner.model.extend(now, &Extend { token, duration }));
        Pending::ready(tokens.into_iter().map(each).collect())
    }

    fn save_checkpoint(
        &self,
        token: LeaseToken,
        checkpoint: Bytes,
    ) -> Pending<Result<(), SettleError>> {
        let command = SaveCheckpoint { token, checkpoint };
        Pending::ready(self.serve(|inner, _| Ok(inner.model.save_checkpoint(&command)?)))
    }

    fn reserve(
        &self,
        token: LeaseToken,
        messages: u64,
        bytes: u64,
    ) -> Pending<Result<(), SettleError>> {
        let command = Reserve {
            token,
            messages,
            bytes,
        };
        Pending::ready(self.serve(|inner, _| Ok(inner.model.reserve(&command)?)))
    }

    fn operate(
        &self,
        id: MessageId,
        request: OperateRequest,
    ) -> Pending<Result<Operated, OperateError>> {
        Pending::ready(self.serve(|inner, now| inner.operate(now, id, request)))
    }

    fn set_queue(
        &self,
        queue: QueueName,
        change: QueueChange,
    ) -> Pending<Result<(), SetQueueError>> {
        Pending::ready(self.serve(|inner, _| {
            inner.model.set_queue(&queue, change);
            Ok(())
        }))
    }

    fn queue_settings(&self, queue: QueueName) -> Pending<Result<QueueSettings, Stopped>> {
        Pending::ready(self.serve(|inner, _| Ok(inner.model.settings(&queue))))
    }

    fn previous(&self, of: PreviousOf) -> Pending<Result<Option<Previous>, ReadError>> {
        Pending::ready(self.serve(|inner, _| {
            let key = match of {
                PreviousOf::Message(id) => inner.model.find(id.seq()).and_then(|found| found.dedup),
                PreviousOf::Key(queue, key) => Some(hasher().key(&queue, &key)),
            };
            let found = key.and_then(|key| inner.model.previous(key));
            Ok(found.and_then(|found| {
                Some(Previous {
                    id: found.id,
                    envelope: Arc::clone(inner.envelopes.get(&found.seq())?),
                    result: found.tail.result.clone(),
                })
            }))
        }))
    }

    fn message(&self, id: MessageId) -> Pending<Result<Lookup, Stopped>> {
        Pending::ready(self.serve(|inner, _| Ok(inner.model.lookup(id))))
    }

    fn envelope(&self, id: MessageId) -> Pending<Result<Option<Arc<Envelope>>, ReadError>> {
        Pending::ready(self.serve(|inner, _| {
            let found = matches!(inner.model.lookup(id), Lookup::Found(_));
            let envelope = inner.envelopes.get(&id.seq()).cloned();
            Ok(envelope.filter(|_| found))
        }))
    }

    fn list(&self, filter: Filter, after: Seq, limit: usize) -> Pending<Result<Page, Stopped>> {
        Pending::ready(self.serve(|inner, now| Ok(inner.model.list(now, &filter, after, limit))))
    }

    fn stats(&self) -> Stats {
        self.with(|inner, now| inner.model.stats(now))
    }
}

impl Inner {
    fn give_back(&mut self, now: &Now, tokens: Vec<LeaseToken>) {
        for token in tokens {
            // A stale one is ignored: whoever took the message away has told its holder.
            self.model.give_back(now, &GiveBack { token }).ok();
        }
    }
}
