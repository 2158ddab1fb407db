//! Settlements on their way to the store, from all pools together.
//!
//! One task hands over whatever has come up since the last time as one batch and waits for its answer, so that batches
//! grow with the load. The workers of a batch are free (their permits are sent) once the store has it: before that,
//! handlers could outrun the store without bound. What may come is announced before its lease is claimed, so that at each
//! moment of an attempt either its pool or the settler is seen not to be done with it. A settlement that the store
//! refuses for what it carries is settled again as a failed attempt without it.

use std::sync::Arc;

use mq_core::backend::{Backend, SettleError, SettleReceipt, SettleRequest, Stopped};
use mq_core::command::SettleRefused;
use mq_core::id::{LeaseToken, PoolId};
use mq_core::pending::Pending;
use mq_core::retry::RetryPolicy;
use mq_core::state::Outcome;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::attempt::Conclusion;
use crate::failure;
use crate::lease::Lease;
use crate::pool::Pool;
use crate::stats::{Class, add};

/// Settlements per batch; bounds the frame that holds them.
const BATCH_LEN_MAX: usize = 1024;

/// A settlement, and what its answer means.
#[derive(Debug)]
pub(crate) struct Entry {
    request: SettleRequest,
    follow_up: FollowUp,
}

#[derive(Debug)]
struct FollowUp {
    pool: Arc<Pool>,
    outcome: Outcome,
    class: Class,
    /// Its worker becomes free with it.
    frees: bool,
    /// To fail it with, if the store refuses it; none the second time.
    retry: Option<RetryPolicy>,
}

impl Entry {
    pub(crate) fn new(pool: Arc<Pool>, lease: &Lease, conclusion: Conclusion, frees: bool) -> Self {
        let Conclusion {
            settlement,
            staged,
            outcome,
            class,
        } = conclusion;
        let retry = Some(pool.retry_of(lease));
        Self {
            request: SettleRequest {
                token: lease.grant.token,
                settlement,
                staged,
            },
            follow_up: FollowUp {
                pool,
                outcome,
                class,
                frees,
                retry,
            },
        }
    }

    fn held(&self) -> Held {
        (self.request.token, self.follow_up.pool.line)
    }
}

/// A settlement that the store has, and that is not answered.
pub(crate) struct Asked {
    answers: Pending<Vec<Result<SettleReceipt, SettleError>>>,
    token: LeaseToken,
    follow_up: FollowUp,
}

/// A lease that must last until its settlement is answered, and whose it is.
type Held = (LeaseToken, PoolId);

#[derive(Debug, Default)]
struct Queue {
    entries: Vec<Entry>,
    /// The batch that is handed over and not answered.
    sent: Vec<Held>,
    /// As well, apart from the batches.
    apart: Vec<Held>,
    /// Announced, or handed over and not answered.
    asked: usize,
    closed: bool,
    /// Nobody sends what stands here, because the runtime of these workers is gone: its leases run out, and others do the work.
    gone: bool,
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.asked == 0
    }
}

/// A settlement that may come: the settler counts as not empty until it has.
#[must_use = "dropped, it does not come"]
#[derive(Debug)]
pub(crate) struct Coming<'a> {
    settler: &'a Settler,
    came: bool,
}

impl Coming<'_> {
    /// Settles with the next batch.
    pub(crate) fn push(mut self, entry: Entry) {
        self.came = true;
        let mut queue = self.settler.queue.lock();
        queue.entries.push(entry);
        queue.asked = queue.asked.saturating_sub(1);
        drop(queue);
        self.settler.filled.notify_one();
    }
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        if !self.came {
            self.settler.answered(1);
        }
    }
}

/// Whoever sends has ended, or was dropped with his runtime.
struct Gone<'a>(&'a Settler);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.0.queue.lock().gone = true;
    }
}

#[derive(Debug)]
pub(crate) struct Settler {
    backend: Arc<dyn Backend>,
    queue: Mutex<Queue>,
    filled: Notify,
    emptied: Notify,
    stopped: Mutex<Option<Stopped>>,
}

impl Settler {
    pub(crate) fn new(backend: Arc<dyn Backend>) -> Self {
        Self {
            backend,
            queue: Mutex::default(),
            filled: Notify::new(),
            emptied: Notify::new(),
            stopped: Mutex::new(None),
        }
    }

    /// Says that a settlement may come. Whoever claims a lease does so first: a stop that finds no attempt any more waits
    /// for what became of it.
    pub(crate) fn announce(&self) -> Coming<'_> {
        self.queue.lock().asked += 1;
        Coming {
            settler: self,
            came: false,
        }
    }

    fn push(&self, entry: Entry) {
        self.queue.lock().entries.push(entry);
        self.filled.notify_one();
    }

    /// Why the store does not take settlements any more, if it does not.
    pub(crate) fn stopped(&self) -> Option<Stopped> {
        self.stopped.lock().clone()
    }

    /// Whether everything announced was answered.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.lock().is_empty()
    }

    /// Leases of a pool whose attempts have ended and whose settlements are not answered: a full disk makes them wait.
    pub(crate) fn held(&self, pool: PoolId) -> Vec<LeaseToken> {
        let queue = self.queue.lock();
        if queue.gone {
            return Vec::new();
        }
        let waiting = queue.entries.iter().map(Entry::held);
        let asked = queue.sent.iter().chain(&queue.apart).copied();
        let held = waiting.chain(asked).filter(|(_, of)| *of == pool);
        held.map(|(token, _)| token).collect()
    }

    /// Waits until everything announced was answered.
    pub(crate) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.is_empty() {
                return;
            }
            emptied.await;
        }
    }

    /// Ends [`Settler::run`] once everything is settled.
    pub(crate) fn close(&self) {
        self.queue.lock().closed = true;
        self.filled.notify_one();
    }

    /// Settles batch after batch.
    pub(crate) async fn run(&self) {
        let _gone = Gone(self);
        let mut batch = Vec::new();
        loop {
            self.filled.notified().await;
            // Lets the workers that are about to finish come into the same batch.
            tokio::task::yield_now().await;
            while self.next_batch(&mut batch) {
                self.settle(&mut batch).await;
            }
            let queue = self.queue.lock();
            if queue.closed && queue.entries.is_empty() {
                return;
            }
        }
    }

    fn next_batch(&self, batch: &mut Vec<Entry>) -> bool {
        let mut queue = self.queue.lock();
        let len = queue.entries.len().min(BATCH_LEN_MAX);
        batch.extend(queue.entries.drain(..len));
        queue.sent.extend(batch.iter().map(Entry::held));
        queue.asked += len;
        len > 0
    }

    async fn settle(&self, batch: &mut Vec<Entry>) {
        let len = batch.len();
        let (requests, follow_ups): (Vec<_>, Vec<_>) = batch
            .drain(..)
            .map(|entry| (entry.request, entry.follow_up))
            .unzip();
        let tokens: Vec<LeaseToken> = requests.iter().map(|request| request.token).collect();
        let asked = self.backend.settle(requests);
        free_workers(&follow_ups);
        match asked.await {
            Ok(answers) => {
                for ((token, follow_up), answer) in tokens.into_iter().zip(follow_ups).zip(answers)
                {
                    self.follow(token, follow_up, answer);
                }
            }
            Err(_) => self.stop(Stopped::Closed),
        }
        self.queue.lock().sent.clear();
        self.answered(len);
    }

    /// Settles at once, apart from the queue, for attempts that the engine ends; no worker is free by it.
    pub(crate) fn ask(&self, entry: Entry) -> Asked {
        {
            let mut queue = self.queue.lock();
            queue.apart.push(entry.held());
            queue.asked += 1;
        }
        let Entry { request, follow_up } = entry;
        let token = request.token;
        Asked {
            answers: self.backend.settle(vec![request]),
            token,
            follow_up,
        }
    }

    /// Waits for the answer to [`Settler::ask`].
    pub(crate) async fn hear(&self, asked: Asked) {
        let Asked {
            answers,
            token,
            follow_up,
        } = asked;
        match answers.await.map(|mut answers| answers.pop()) {
            Ok(Some(answer)) => self.follow(token, follow_up, answer),
            Ok(None) | Err(_) => self.stop(Stopped::Closed),
        }
        let mut queue = self.queue.lock();
        queue.apart.retain(|(held, _)| *held != token);
        drop(queue);
        self.answered(1);
    }

    /// Settles without anybody who hears the answer: the runtime may be gone.
    pub(crate) fn settle_blindly(&self, entry: Entry) {
        let Entry { request, follow_up } = entry;
        let counters = &follow_up.pool.counters;
        counters.settled(follow_up.outcome, follow_up.class);
        drop(self.backend.settle(vec![request]));
    }

    fn answered(&self, len: usize) {
        let mut queue = self.queue.lock();
        queue.asked = queue.asked.saturating_sub(len);
        let is_empty = queue.is_empty();
        drop(queue);
        if is_empty {
            self.emptied.notify_waiters();
        }
    }

    fn follow(
        &self,
        token: LeaseToken,
        follow_up: FollowUp,
        answer: Result<SettleReceipt, SettleError>,
    ) {
        let counters = &follow_up.pool.counters;
        match answer {
            Ok(_) => counters.settled(follow_up.outcome, follow_up.class),
            Err(SettleError::Refused(SettleRefused::Stale(stale))) => {
                tracing::debug!(token = %stale.token, "a lost lease's answer was not taken");
                add(&counters.refused, 1);
            }
            Err(SettleError::Stopped(stopped)) => self.stop(stopped),
            Err(error @ (SettleError::Invalid { .. } | SettleError::Refused(_))) => {
                self.fail_instead(token, follow_up, &error);
            }
        }
    }

    fn fail_instead(&self, token: LeaseToken, mut follow_up: FollowUp, error: &SettleError) {
        add(&follow_up.pool.counters.unsettleable, 1);
        let text = failure::chain(error);
        tracing::warn!(%token, error = %text, "the store refused how an attempt ended; it failed instead");
        let Some(retry) = follow_up.retry.take() else {
            return;
        };
        let failure = failure::new("settle_refused", &text);
        let conclusion = Conclusion::failed(failure, retry, Class::Plain);
        follow_up.outcome = conclusion.outcome;
        follow_up.class = conclusion.class;
        follow_up.frees = false;
        self.push(Entry {
            request: SettleRequest {
                token,
                settlement: conclusion.settlement,
                staged: conclusion.staged,
            },
            follow_up,
        });
    }

    fn stop(&self, why: Stopped) {
        let mut stopped = self.stopped.lock();
        if stopped.is_none() {
            tracing::error!(error = %why, "the store takes no settlements any more");
            *stopped = Some(why);
        }
    }
}

/// Sends the permits of a batch, pool by pool.
fn free_workers(follow_ups: &[FollowUp]) {
    let mut rest = follow_ups;
    while let Some((first, _)) = rest.split_first() {
        let same = rest
            .iter()
            .take_while(|next| Arc::ptr_eq(&next.pool, &first.pool));
        let (len, freed) = same.fold((0, 0), |(len, freed), next| {
            (len + 1, freed + u32::from(next.frees))
        });
        if freed > 0 {
            first.pool.free(freed);
        }
        rest = rest.get(len..).unwrap_or_default();
    }
}
