//! What the checks are written with: messages, and a worker that looks into its inbox only when it was woken.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a check fails by panicking"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use mq_core::backend::{
    Backend, Delivery, EnqueueError, Grant, OperateError, OperateRequest, Receipt, SettleError,
    SettleReceipt, SettleRequest, WhenFull,
};
use mq_core::command::{Enqueue, Operated, PoolLine, PoolSpec, Selector, Settlement};
use mq_core::id::{LeaseToken, MessageId, PoolId};
use mq_core::key::{DedupPolicy, Key};
use mq_core::message::{Due, NewMessage};
use mq_core::name::{KindName, QueueName};
use mq_core::pending::{Abandoned, Pending};
use mq_core::retry::{Backoff, RetryPolicy};
use mq_core::state::{Failure, State};
use mq_core::view::{Lookup, MessageView};

use super::Store;

/// How long leases of the checks last.
pub(super) const LEASE: Duration = Duration::from_secs(30);
/// How long a failed message of the checks waits.
pub(super) const BACKOFF: Duration = Duration::from_secs(60);

/// How long an answer may take on the real clock before the check fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for an answer that must come without another call.
pub(super) trait Answer<T> {
    /// As [`Pending::wait`], but a store that never answers fails the check.
    fn answer(self) -> Result<T, Abandoned>;
}

impl<T> Answer<T> for Pending<T> {
    fn answer(self) -> Result<T, Abandoned> {
        let answer = self.wait_for(PATIENCE);
        answer.unwrap_or_else(|pending| panic!("no answer came: {pending:?}"))
    }
}

pub(super) fn queue(name: &str) -> QueueName {
    QueueName::new(name).expect("a valid name")
}

pub(super) fn kind(name: &str) -> KindName {
    KindName::new(name).expect("a valid name")
}

pub(super) fn key(text: &str) -> Key {
    Key::new(Bytes::copy_from_slice(text.as_bytes())).expect("a valid key")
}

/// A message of queue `q` and kind `k`.
pub(super) fn message(payload: &str) -> NewMessage {
    let payload = Bytes::copy_from_slice(payload.as_bytes());
    NewMessage::new(queue("q"), kind("k"), payload)
}

pub(super) fn delayed(payload: &str, by: Duration) -> NewMessage {
    NewMessage {
        due: Due::After(by),
        ..message(payload)
    }
}

pub(super) fn idempotent(payload: &str, name: &str) -> NewMessage {
    let mut message = message(payload);
    message.envelope.idempotency_key = Some(key(name));
    message
}

pub(super) fn ordered(payload: &str, name: &str) -> NewMessage {
    let mut message = message(payload);
    message.envelope.ordering_key = Some(key(name));
    message
}

pub(super) fn unique(payload: &str, name: &str, policy: DedupPolicy) -> NewMessage {
    let mut message = message(payload);
    message.envelope.dedup_key = Some(key(name));
    message.dedup = Some(policy);
    message
}

pub(super) fn retry(failures_max: u32) -> RetryPolicy {
    RetryPolicy {
        failures_max,
        backoff: Backoff::Fixed(BACKOFF),
    }
}

pub(super) const fn succeed() -> Settlement {
    Settlement::Succeed { result: None }
}

pub(super) fn failure() -> Failure {
    Failure {
        error_type: "Declined".to_owned(),
        text: "no money".to_owned(),
    }
}

pub(super) fn fail() -> Settlement {
    Settlement::Fail {
        failure: failure(),
        retry: retry(20),
        retry_in: None,
    }
}

/// What [`Store`]s are asked in nearly every check.
impl dyn Store + '_ {
    pub(super) fn try_enqueue(&self, batch: Vec<NewMessage>) -> Result<Vec<Receipt>, EnqueueError> {
        let answer = self.backend().enqueue(batch, WhenFull::Refuse).answer();
        answer.expect("the store answers")
    }

    /// Enqueues a message that must be new.
    pub(super) fn enqueue(&self, message: NewMessage) -> MessageId {
        let receipt = self.receipt(message);
        assert_eq!(receipt.accepted.enqueue, Enqueue::New);
        receipt.accepted.id
    }

    pub(super) fn receipt(&self, message: NewMessage) -> Receipt {
        let receipts = self.try_enqueue(vec![message]).expect("it is accepted");
        *receipts.first().expect("a receipt for each message")
    }

    pub(super) fn lookup(&self, id: MessageId) -> Lookup {
        let answer = self.backend().message(id).answer();
        answer
            .expect("the store answers")
            .expect("the store serves")
    }

    pub(super) fn view(&self, id: MessageId) -> MessageView {
        match self.lookup(id) {
            Lookup::Found(view) => *view,
            other @ (Lookup::SettledNotKept | Lookup::NeverIssued) => {
                panic!("message {id} is not there: {other:?}")
            }
        }
    }

    pub(super) fn state(&self, id: MessageId) -> State {
        self.view(id).state
    }

    pub(super) fn is_gone(&self, id: MessageId) -> bool {
        self.lookup(id) == Lookup::SettledNotKept
    }

    pub(super) fn try_settle(
        &self,
        token: LeaseToken,
        settlement: Settlement,
        staged: Vec<NewMessage>,
    ) -> Result<SettleReceipt, SettleError> {
        let request = SettleRequest {
            token,
            settlement,
            staged,
        };
        let answers = self.backend().settle(vec![request]).answer();
        let mut answers = answers.expect("the store answers");
        assert_eq!(answers.len(), 1, "an answer for each request");
        answers.remove(0)
    }

    pub(super) fn settle(&self, token: LeaseToken, settlement: Settlement) -> SettleReceipt {
        let answer = self.try_settle(token, settlement, Vec::new());
        answer.expect("the settlement is taken")
    }

    pub(super) fn try_operate(
        &self,
        id: MessageId,
        request: OperateRequest,
    ) -> Result<Operated, OperateError> {
        let answer = self.backend().operate(id, request).answer();
        answer.expect("the store answers")
    }

    pub(super) fn operate(&self, id: MessageId, request: OperateRequest) {
        self.try_operate(id, request).expect("it is allowed");
    }

    pub(super) fn pause(&self, paused: bool) {
        let answer = self.backend().pause_queue(queue("q"), paused).answer();
        answer
            .expect("the store answers")
            .expect("the store serves");
    }

    /// A worker for everything, without permits.
    pub(super) fn worker(&self) -> Worker {
        Worker::new(self.backend(), Selector::default())
    }

    /// A worker for everything that can take `permits`.
    pub(super) fn worker_with(&self, permits: u32) -> Worker {
        let worker = self.worker();
        worker.add_permits(permits);
        worker
    }

    /// Hands `worker` its next message, which must be the only one.
    pub(super) fn grant(&self, worker: &mut Worker) -> Grant {
        let mut grants = self.grants(worker);
        assert_eq!(grants.len(), 1, "exactly one grant: {grants:?}");
        grants.remove(0)
    }

    /// The ids that have arrived.
    pub(super) fn granted(&self, worker: &mut Worker) -> Vec<MessageId> {
        let grants = self.grants(worker);
        grants.iter().map(|grant| grant.token.id).collect()
    }

    /// The grants that have arrived, which must be all that has.
    pub(super) fn grants(&self, worker: &mut Worker) -> Vec<Grant> {
        let deliveries = self.deliveries(worker);
        let grant = |delivery| match delivery {
            Delivery::Grant(grant) => grant,
            other @ (Delivery::CancelRequested(_) | Delivery::LeaseLost(_)) => {
                panic!("a grant was expected, not {other:?}")
            }
        };
        deliveries.into_iter().map(grant).collect()
    }

    /// Everything that has arrived for a worker that looks only when it is woken.
    pub(super) fn deliveries(&self, worker: &mut Worker) -> Vec<Delivery> {
        self.settle_down();
        let mut arrived = Vec::new();
        if worker.was_woken() {
            worker.backend.take(worker.pool, &mut arrived);
        } else {
            worker.backend.take(worker.pool, &mut arrived);
            assert!(arrived.is_empty(), "arrived without a wake: {arrived:?}");
        }
        arrived
    }
}

/// A worker pool.
#[derive(Debug)]
pub(super) struct Worker {
    backend: Arc<dyn Backend>,
    pub(super) pool: PoolId,
    wakes: Arc<AtomicU64>,
    seen: u64,
}

impl Worker {
    pub(super) fn new(backend: Arc<dyn Backend>, selector: Selector) -> Self {
        Self::of(backend, vec![selector])
    }

    /// One that takes what any of the selectors takes.
    pub(super) fn of(backend: Arc<dyn Backend>, selectors: Vec<Selector>) -> Self {
        let wakes = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&wakes);
        let lines = selectors.into_iter().map(|selector| PoolLine {
            selector,
            retry: retry(20),
        });
        let spec = PoolSpec {
            lines: lines.collect(),
            lease: LEASE,
        };
        let wake = Arc::new(move || {
            counter.fetch_add(1, Ordering::AcqRel);
        });
        let pool = backend.attach(spec, wake).expect("the store serves");
        Self {
            backend,
            pool,
            wakes,
            seen: 0,
        }
    }

    pub(super) fn add_permits(&self, permits: u32) {
        self.backend.checkout(self.pool, permits);
    }

    pub(super) fn withdraw(&self, permits: u32) -> u32 {
        let answer = self.backend.withdraw(self.pool, permits).answer();
        answer.expect("the store answers")
    }

    pub(super) fn detach(self) {
        self.backend.detach(self.pool);
    }

    fn was_woken(&mut self) -> bool {
        let wakes = self.wakes.load(Ordering::Acquire);
        std::mem::replace(&mut self.seen, wakes) != wakes
    }
}
