//! The engine as dispatch sees it: [`Backend`] on top of the shell.

use std::sync::Arc;
use std::task::{Context, Poll, Wake as WakeTask, Waker};
use std::time::Duration;

use bytes::Bytes;
use mq_core::backend::{
    Backend, Delivery, EnqueueError, Grant, OperateError, OperateRequest, Previous, PreviousOf,
    ReadError, Receipt, SetQueueError, SettleError, SettleReceipt, SettleRequest, Stopped, Wake,
    WhenFull,
};
use mq_core::command::{
    EnqueueBatch, Extend, GiveBack, Operate, Operated, Operation, PoolSpec, Reserve,
    SaveCheckpoint, Settlement, StaleLease,
};
use mq_core::few::Few;
use mq_core::id::{LeaseToken, MessageId, PoolId, Seq};
use mq_core::message::{Edited, Envelope, NewMessage};
use mq_core::name::{KindName, QueueName};
use mq_core::pending::{Drive, Pending};
use mq_core::queue::{QueueChange, QueueSettings, SetQueue};
use mq_core::state::{DeadReason, Failure};
use mq_core::time::Now;
use mq_core::view::{Filter, Lookup, Page, Stats};
use mq_persistence::envelope::{seal, unseal};
use mq_persistence::pins::{ReadFailure, ReadFault};

use super::desk::{Desk, frees_room};
use super::effects::{Effect, Needs};
use super::inbox::{Body, Handed, Inbox};
use super::jobs::{EnqueueJob, EnqueuePromise, SettleJob};
use super::prepare::{prepare_batch, prepare_settle};
use super::shell::Shell;
use crate::stats::Refusal;

/// A message that the system did not deliver is read again after this.
const UNDELIVERED_PAUSE: Duration = Duration::from_secs(60);

/// The engine's implementation of the contract.
#[derive(Clone, Debug)]
pub(crate) struct EngineBackend(pub(crate) Arc<Shell>);

impl EngineBackend {
    /// Prepares an enqueue that is answered through `promise`; the job goes into the ring with [`Shell::poll_submit`].
    pub(crate) fn job(
        &self,
        batch: Few<NewMessage>,
        when_full: WhenFull,
        needs: Needs,
        promise: EnqueuePromise,
    ) -> Result<Box<EnqueueJob>, EnqueueError> {
        if let Some(reason) = self.0.stopped() {
            self.0.sight.count_refusal(Refusal::Stopped);
            return Err(reason.clone().into());
        }
        #[cfg(feature = "otel")]
        let (mut batch, sight) = (batch, &self.0.sight);
        #[cfg(feature = "otel")]
        let trace = crate::otel::EnqueueTrace::begin(
            sight.trace,
            &sight.enqueues,
            self.0.clock(),
            &mut batch,
        );
        let until = match when_full {
            WhenFull::Refuse => None,
            WhenFull::Wait(limit) => Some(self.0.clock().monotonic().saturating_add(limit)),
        };
        let mut job = Box::new(EnqueueJob {
            batch: EnqueueBatch::default(),
            until,
            needs,
            promise: Some(promise),
            #[cfg(feature = "otel")]
            trace,
        });
        self.0.declare_all(&batch);
        let prepared = prepare_batch(&mut job.batch, batch, &self.0);
        prepared.inspect_err(|_| self.0.sight.count_refusal(Refusal::Invalid))?;
        Ok(job)
    }

    /// Lets a blocking caller commit for itself.
    pub(crate) fn driver(&self) -> Arc<dyn Drive> {
        Arc::clone(&self.0) as Arc<dyn Drive>
    }

    /// Gives back what a pool that is gone has not taken.
    fn return_all(&self, inbox: &Inbox) {
        let handed = inbox.take().into_iter();
        let tokens = handed.filter_map(|handed| match handed {
            Handed::Grant { granted, .. } => Some(granted.token),
            Handed::CancelRequested(_) | Handed::LeaseLost(_) => None,
        });
        self.give_back(tokens.collect());
    }

    /// What is damaged goes dead at once: no retry reads other bytes. What the system did not deliver is tried again, and costs no attempt:
    /// no handler has seen it.
    fn unreadable(&self, pool: PoolId, token: LeaseToken, reason: &Unread) {
        let text = reason.to_string();
        let settlement = match reason {
            Unread::Damaged(_) => {
                tracing::error!(id = %token.id, reason = text, "a message is damaged and goes dead");
                Settlement::DeadLetter {
                    reason: DeadReason::Undecodable,
                    failure: Failure {
                        error_type: "damaged".to_owned(),
                        text,
                    },
                    note: None,
                }
            }
            Unread::Failed(_) => {
                tracing::error!(id = %token.id, reason = text, "a message could not be read back; it is tried again later");
                Settlement::Snooze {
                    delay: UNDELIVERED_PAUSE,
                }
            }
        };
        drop(self.settle(vec![SettleRequest {
            token,
            settlement,
            staged: Vec::new(),
        }]));
        self.checkout(pool, 1);
    }
}

impl Backend for EngineBackend {
    fn enqueue(
        &self,
        batch: Vec<NewMessage>,
        when_full: WhenFull,
    ) -> Pending<Result<Vec<Receipt>, EnqueueError>> {
        let (promise, pending) = Pending::new();
        let promise = EnqueuePromise::Many(promise);
        match self.job(Few::from_vec(batch), when_full, self.0.needs, promise) {
            Ok(job) => {
                let mut job = Some(job);
                block_until_ready(|waker| self.0.poll_submit(&mut job, waker), &self.0);
                self.0.call();
                pending.driven_by(self.driver())
            }
            Err(error) => Pending::ready(Err(error)),
        }
    }

    fn attach(&self, spec: PoolSpec, wake: Wake) -> Result<PoolId, Stopped> {
        if let Some(reason) = self.0.stopped() {
            return Err(reason.clone());
        }
        Ok(self.0.look(|desk, _| {
            let pool = desk.manager.attach_pool(spec);
            desk.pools.add(pool, Inbox::new(wake));
            pool
        }))
    }

    fn checkout(&self, pool: PoolId, permits: u32) {
        self.0.look(|desk, now| {
            desk.manager.add_permits(pool, permits);
            desk.grant(now);
        });
        self.0.call();
    }

    fn take(&self, pool: PoolId, into: &mut Vec<Delivery>) {
        let Some(inbox) = self.0.look(|desk, _| desk.pools.get(pool)) else {
            return;
        };
        for handed in inbox.take() {
            match handed {
                Handed::CancelRequested(token) => into.push(Delivery::CancelRequested(token)),
                Handed::LeaseLost(token) => into.push(Delivery::LeaseLost(token)),
                Handed::Grant {
                    granted,
                    facts,
                    body,
                } => match open_body(body) {
                    Ok(envelope) => into.push(Delivery::Grant(Grant {
                        token: granted.token,
                        queue: facts.queue,
                        kind: facts.kind,
                        envelope,
                        attempt: facts.attempt,
                        enqueued: facts.enqueued,
                        due: facts.due,
                        suspect: facts.suspect,
                        checkpoint: facts.checkpoint,
                        last: facts.last,
                    })),
                    Err(reason) => self.unreadable(pool, granted.token, &reason),
                },
            }
        }
    }

    fn withdraw(&self, pool: PoolId, permits: u32) -> Pending<u32> {
        Pending::ready(
            self.0
                .look(|desk, _| desk.manager.withdraw_permits(pool, permits)),
        )
    }

    fn detach(&self, pool: PoolId) {
        let backend = self.clone();
        self.0.look(|desk, _| {
            desk.manager.detach_pool(pool);
            if let Some(inbox) = desk.pools.remove(pool) {
                // Leases may be on their way: this leaves behind the last of them.
                desk.push(
                    Needs::Write,
                    Effect::Answer(Box::new(move |stop| {
                        if stop.is_none() {
                            backend.return_all(&inbox);
                        }
                    })),
                );
            }
        });
        self.0.refuse_if_stopped(); // nobody else comes for what was left on a desk that has stopped
        self.0.call();
    }

    fn give_back(&self, tokens: Vec<LeaseToken>) {
        if tokens.is_empty() {
            return;
        }
        self.0.look(|desk, now| {
            if desk.is_closed() {
                return; // the close has made everything that was leased ready again
            }
            for token in tokens {
                desk.give_back(now, &GiveBack { token });
            }
        });
        self.0.call();
    }

    fn settle(
        &self,
        batch: Vec<SettleRequest>,
    ) -> Pending<Vec<Result<SettleReceipt, SettleError>>> {
        if let Some(reason) = self.0.stopped() {
            return Pending::ready(batch.iter().map(|_| Err(reason.clone().into())).collect());
        }
        let settles = batch
            .into_iter()
            .map(|request| {
                self.0.declare_all(&request.staged);
                prepare_settle(request, &self.0)
            })
            .collect();
        let (promise, pending) = Pending::new();
        let mut job = Some(Box::new(SettleJob {
            settles,
            answers: Vec::new(),
            spent: Vec::new(),
            promise: Some(promise),
        }));
        block_until_ready(|waker| self.0.poll_settle(&mut job, waker), &self.0);
        self.0.call();
        pending.driven_by(self.driver())
    }

    fn extend(
        &self,
        tokens: Vec<LeaseToken>,
        duration: Duration,
    ) -> Pending<Vec<Result<(), StaleLease>>> {
        if self.0.stopped().is_some() {
            // Nobody knows whose they are: another process may have opened the store.
            let stale = |token| Err(StaleLease { token });
            return Pending::ready(tokens.into_iter().map(stale).collect());
        }
        let answers = self.0.look(|desk, now| {
            tokens
                .into_iter()
                .map(|token| desk.manager.extend(now, &Extend { token, duration }))
                .collect()
        });
        self.0.call(); // a lease may end earlier now
        Pending::ready(answers)
    }

    fn save_checkpoint(
        &self,
        token: LeaseToken,
        checkpoint: Bytes,
    ) -> Pending<Result<(), SettleError>> {
        let command = SaveCheckpoint { token, checkpoint };
        self.0.at_desk(
            Needs::Sync,
            move |desk, now| {
                desk.save_checkpoint(now, &command)
                    .map_err(SettleError::from)
            },
            |stopped| Err(stopped.into()),
        )
    }

    fn reserve(
        &self,
        token: LeaseToken,
        messages: u64,
        bytes: u64,
    ) -> Pending<Result<(), SettleError>> {
        if let Some(reason) = self.0.stopped() {
            return Pending::ready(Err(reason.clone().into()));
        }
        Pending::ready(self.0.look(|desk, _| {
            desk.manager
                .reserve(&Reserve {
                    token,
                    messages,
                    bytes,
                })
                .map_err(SettleError::from)
        }))
    }

    fn operate(
        &self,
        id: MessageId,
        request: OperateRequest,
    ) -> Pending<Result<Operated, OperateError>> {
        self.operate_by(id, request, String::new())
    }

    fn set_queue(
        &self,
        queue: QueueName,
        change: QueueChange,
    ) -> Pending<Result<(), SetQueueError>> {
        let act = move |desk: &mut Desk, now: &Now| {
            // What is resumed frees room.
            let resumes = change == QueueChange::Pause(false);
            let set = SetQueue { queue, change };
            let set = if resumes {
                desk.free_room(now, &set)
            } else {
                desk.change(now, &set)
            };
            set.map_err(SetQueueError::from)
        };
        let stopped = |stopped: Stopped| Err(stopped.into());
        self.0.at_desk(Needs::Sync, act, stopped)
    }

    fn declare_index(&self, kind: &KindName, fields: &'static [&'static str]) {
        self.0.declare(kind, fields);
    }

    fn queue_settings(&self, queue: QueueName) -> Pending<Result<QueueSettings, Stopped>> {
        let read = move |desk: &mut Desk, _: &Now| Ok(desk.manager.queue_settings(&queue));
        self.0.at_desk(Needs::Sync, read, Err)
    }

    fn previous(&self, of: PreviousOf) -> Pending<Result<Option<Previous>, ReadError>> {
        self.previous_version(of)
    }

    fn message(&self, id: MessageId) -> Pending<Result<Lookup, Stopped>> {
        self.0.at_desk(
            Needs::Sync,
            move |desk, now| {
                let found = desk.manager.lookup(now, id);
                Ok(super::desk::as_answered(id, found))
            },
            Err,
        )
    }

    fn envelope(&self, id: MessageId) -> Pending<Result<Option<Arc<Envelope>>, ReadError>> {
        let find = move |desk: &mut Desk, now: &Now| match desk.manager.lookup(now, id) {
            Lookup::Found(_) => Some(desk.find_envelope(id.seq())),
            Lookup::SettledNotKept | Lookup::NeverIssued => None,
        };
        let shell = Arc::clone(&self.0);
        let read = move |body: Option<Body>| {
            let envelope = body.map(open_body).transpose();
            envelope.map_err(|reason| shell.unread(id, &reason))
        };
        self.0
            .at_desk_then(Needs::Sync, find, read, |stopped| Err(stopped.into()))
    }

    fn list(&self, filter: Filter, after: Seq, limit: usize) -> Pending<Result<Page, Stopped>> {
        self.0.at_desk(
            Needs::Sync,
            move |desk, now| Ok(desk.manager.list(now, &filter, after, limit)),
            Err,
        )
    }

    fn payload_size_max(&self) -> usize {
        self.0.payload_size_max
    }

    fn stats(&self) -> Stats {
        self.0.look(|desk, now| desk.manager.stats(now))
    }
}

impl EngineBackend {
    /// Changes one message; `by` stands in its history.
    pub(crate) fn operate_by(
        &self,
        id: MessageId,
        request: OperateRequest,
        by: String,
    ) -> Pending<Result<Operated, OperateError>> {
        let (operation, edited) = match self.operation(id, request) {
            Ok(prepared) => prepared,
            Err(error) => return Pending::ready(Err(error)),
        };
        let act = move |desk: &mut Desk, now: &Now| {
            let is_cancel = matches!(operation, Operation::Cancel);
            let frees = frees_room(&operation);
            let operate = Operate { id, operation, by };
            let operated = if frees {
                desk.free_room(now, &operate)
            } else {
                desk.change(now, &operate)
            }?;
            if is_cancel {
                desk.waiters.note_cancelled(id.seq());
            }
            if let Some(envelope) = &edited {
                desk.replace_envelope(id.seq(), envelope);
            }
            Ok(operated)
        };
        self.0
            .at_desk(Needs::Sync, act, |stopped| Err(stopped.into()))
    }

    fn operation(
        &self,
        id: MessageId,
        request: OperateRequest,
    ) -> Result<(Operation, Option<Bytes>), OperateError> {
        let operation = match request {
            OperateRequest::Cancel => Operation::Cancel,
            OperateRequest::Hold(label) => Operation::Hold(label),
            OperateRequest::Release => Operation::Release,
            OperateRequest::RunNow => Operation::RunNow,
            OperateRequest::Reschedule(due) => Operation::Reschedule(due),
            OperateRequest::SetPriority(priority) => Operation::SetPriority(priority),
            OperateRequest::MoveTo(queue) => Operation::MoveTo(queue),
            OperateRequest::Purge => Operation::Purge,
            OperateRequest::Replay { edit: None } => Operation::Replay { edit: None },
            OperateRequest::Replay {
                edit: Some(payload),
            } => return self.edited(id, payload),
        };
        Ok((operation, None))
    }

    fn edited(
        &self,
        id: MessageId,
        payload: Bytes,
    ) -> Result<(Operation, Option<Bytes>), OperateError> {
        let found = self.0.look(|desk, _| {
            let kind = desk.manager.glimpse(id.seq())?.kind;
            Some((kind, desk.find_envelope(id.seq())))
        });
        let Some((kind, stored)) = found else {
            return Ok((Operation::Replay { edit: None }, None));
        }; // the rules say what is wrong with the id
        let stored = open_body(stored).map_err(|reason| self.0.unread(id, &reason))?;
        let envelope = Envelope {
            payload,
            ..Envelope::clone(&stored)
        };
        envelope.check(self.0.payload_size_max)?;
        let sealed = seal(&envelope, &self.0.identity);
        let bytes = sealed.bytes.clone();
        let edit = Edited {
            sealed,
            terms: self.0.terms_of(&kind, &envelope.payload),
        };
        let edit = Some(Box::new(edit));
        Ok((Operation::Replay { edit }, Some(bytes)))
    }
}

/// Why a stored envelope did not come back.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    /// Its bytes are not those that were written.
    #[error("{0}")]
    Damaged(String),
    /// The system did not deliver them; it may, later.
    #[error("{0}")]
    Failed(String),
}

impl Shell {
    /// What a caller is told of message `id`. Once the store is let go, another process may have recycled what was to be read.
    pub(super) fn unread(&self, id: MessageId, reason: &Unread) -> ReadError {
        match self.stopped() {
            Some(stopped) => stopped.clone().into(),
            None => ReadError::Unreadable {
                id,
                reason: reason.to_string(),
            },
        }
    }
}

impl From<ReadFailure> for Unread {
    fn from(failure: ReadFailure) -> Self {
        let text = failure.to_string();
        match failure.reason {
            ReadFault::Io(_) => Self::Failed(text),
            ReadFault::Damaged(_) | ReadFault::Outside { .. } | ReadFault::Misplaced => {
                Self::Damaged(text)
            }
        }
    }
}

pub(super) fn open_body(body: Body) -> Result<Arc<Envelope>, Unread> {
    let sealed = match body {
        Body::Cached(sealed) => sealed,
        Body::Cold(pinned) => pinned.read()?.bytes,
        Body::Missing => {
            let text = "its place in the journal is not known";
            return Err(Unread::Damaged(text.to_owned()));
        }
    };
    let opened = unseal(&sealed).map(Arc::new);
    opened.map_err(|error| Unread::Damaged(error.to_string()))
}

struct Unpark(std::thread::Thread);

impl WakeTask for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread: for programs without a runtime.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Waits on this thread until the ring has space. The commit thread makes some within a sync.
pub(crate) fn block_until_ready(mut poll: impl FnMut(&Waker) -> Poll<()>, shell: &Shell) {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let context = Context::from_waker(&waker);
    while poll(context.waker()).is_pending() {
        shell.call();
        std::thread::park();
    }
}
