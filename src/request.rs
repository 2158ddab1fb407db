//! One request, three ways to send it: `.await`, `.wait()`, `.submit()`.
//!
//! Nothing happens before one of the three. Dropping what they return takes nothing back.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use mq_core::backend::{EnqueueError as CoreEnqueueError, Receipt, WhenFull};
use mq_core::key::{DedupPolicy, Key};
use mq_core::message::{Due, NewMessage, Priority};
use mq_core::name::Label;
use mq_core::time::Timestamp;

use crate::engine::{EngineBackend, EnqueueJob, EnqueuePending, Needs, block_until_ready};
use crate::error::EnqueueError;
use crate::options::Durability;

/// What happens when a live message has the same dedup key. See [`DedupPolicy`].
#[derive(Clone, Debug)]
pub struct Dedup {
    key: Vec<u8>,
    policy: DedupPolicy,
}

impl Dedup {
    /// The new message takes the old one's place; a running old one is superseded.
    #[must_use]
    pub fn replace(key: impl ToString) -> Self {
        Self::new(key, DedupPolicy::Replace)
    }

    /// The old message stays and its id is the answer.
    #[must_use]
    pub fn keep(key: impl ToString) -> Self {
        Self::new(key, DedupPolicy::Keep)
    }

    /// The enqueue is refused.
    #[must_use]
    pub fn reject(key: impl ToString) -> Self {
        Self::new(key, DedupPolicy::Reject)
    }

    /// Nothing happens if the bytes are the same; else as [`Dedup::replace`].
    #[must_use]
    pub fn discard_identical(key: impl ToString) -> Self {
        Self::new(key, DedupPolicy::DiscardIdentical)
    }

    /// At most one more behind the running one.
    #[must_use]
    pub fn run_once_more(key: impl ToString) -> Self {
        Self::new(key, DedupPolicy::RunOnceMore)
    }

    fn new(key: impl ToString, policy: DedupPolicy) -> Self {
        Self {
            key: key.to_string().into_bytes(),
            policy,
        }
    }
}

/// A message about to be enqueued. Nothing has happened yet: `.await` it, or call `.wait()` or `.submit()`.
#[must_use = "nothing has happened yet: `.await` it, or call `.wait()` or `.submit()`"]
pub struct Request {
    backend: EngineBackend,
    message: Result<NewMessage, EnqueueError>,
    when_full: WhenFull,
    needs: Needs,
}

impl Request {
    pub(crate) fn new(
        backend: EngineBackend,
        message: Result<NewMessage, EnqueueError>,
        when_full: WhenFull,
    ) -> Self {
        let needs = backend.needs();
        Self {
            backend,
            message,
            when_full,
            needs,
        }
    }

    fn set(mut self, change: impl FnOnce(&mut NewMessage) -> Result<(), EnqueueError>) -> Self {
        if let Ok(message) = &mut self.message
            && let Err(error) = change(message)
        {
            self.message = Err(error);
        }
        self
    }

    fn set_key(self, key: impl Into<Vec<u8>>, place: impl FnOnce(&mut NewMessage, Key)) -> Self {
        self.set(|message| {
            place(message, Key::new(key.into())?);
            Ok(())
        })
    }

    /// A producer's retry with the same key, within the window (24 h by default), answers the first message's id.
    pub fn idempotency_key(self, key: impl Into<Vec<u8>>) -> Self {
        self.set_key(key, |message, key| {
            message.envelope.idempotency_key = Some(key)
        })
    }

    /// Messages with the same key are handled one after the other, in the order of their enqueues.
    pub fn ordering_key(self, key: impl Into<Vec<u8>>) -> Self {
        self.set_key(key, |message, key| {
            message.envelope.ordering_key = Some(key)
        })
    }

    /// With an ordering key: a dead message keeps blocking the messages behind it until it is replayed or purged.
    pub fn halt_on_dead(self) -> Self {
        self.set(|message| {
            message.halt_on_dead = true;
            Ok(())
        })
    }

    /// At most one live message per key.
    pub fn dedup(self, dedup: Dedup) -> Self {
        self.set_key(dedup.key, |message, key| {
            message.envelope.dedup_key = Some(key);
            message.dedup = Some(dedup.policy);
        })
    }

    /// Not before so long from now. At most 100 years.
    pub fn delay(self, delay: Duration) -> Self {
        self.set(|message| {
            message.due = Due::After(delay);
            Ok(())
        })
    }

    /// Not before this moment of the wall clock.
    pub fn at(self, due: Timestamp) -> Self {
        self.set(|message| {
            message.due = Due::At(due);
            Ok(())
        })
    }

    /// 0 to 9, 9 most urgent, 4 by default.
    pub fn priority(self, level: u8) -> Self {
        self.set(|message| {
            message.priority =
                Priority::new(level).ok_or(EnqueueError::Priority { given: level })?;
            Ok(())
        })
    }

    /// Adds a header. All names and values together: 16 KiB.
    pub fn header(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.set(|message| {
            message.envelope.headers.push((name.into(), value.into()));
            Ok(())
        })
    }

    /// Puts it into another queue than its kind's own.
    pub fn queue(self, queue: &str) -> Self {
        self.set(|message| {
            message.queue = queue.parse()?;
            Ok(())
        })
    }

    /// Dead as `expired` if it has not started within this time.
    pub fn expires_in(self, limit: Duration) -> Self {
        self.set(|message| {
            message.expires_in = Some(limit);
            Ok(())
        })
    }

    /// Failures before it goes dead, 0 to 1000; beats the handler's setting.
    pub fn max_attempts(self, failures: u32) -> Self {
        self.set(|message| {
            message.failures_max = Some(failures);
            Ok(())
        })
    }

    /// Kept so long after its completion, with its result.
    pub fn retain(self, time: Duration) -> Self {
        self.set(|message| {
            message.retain = Some(time);
            Ok(())
        })
    }

    /// Held under `label` from the start: invisible to processing until it is released.
    pub fn hold(self, label: &str) -> Self {
        self.set(|message| {
            message.hold = Some(label.parse::<Label>()?);
            Ok(())
        })
    }

    /// Answered at once for this message only; the receipt says what was achieved. Weaker than the engine's setting is
    /// possible, stronger is not: an engine that is not `Synced` has nobody who syncs for one message.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.needs = match durability {
            Durability::Synced => self.backend.needs(),
            Durability::Interval(_) | Durability::Buffered => Needs::Write,
        };
        self
    }

    /// Sends it and waits on this thread.
    ///
    /// # Errors
    /// [`EnqueueError`]; [`EnqueueError::OnRuntimeThread`] on a thread of an async runtime, where nothing was sent.
    pub fn wait(self) -> Result<Receipt, EnqueueError> {
        refuse_on_runtime_thread()?;
        self.submit()?.wait()
    }

    /// Sends it and returns at once: many in flight from one caller. Blocks only while the engine's intake ring is full.
    ///
    /// # Errors
    /// [`EnqueueError`] if the message is not valid or the engine stopped; nothing was sent then.
    pub fn submit(self) -> Result<Pending<Receipt>, EnqueueError> {
        let (job, pending) = self
            .backend
            .job(vec![self.message?], self.when_full, self.needs)?;
        self.backend.submit(job);
        Ok(Pending {
            inner: pending,
            pick: first,
        })
    }
}

fn first(receipts: Vec<Receipt>) -> Option<Receipt> {
    receipts.into_iter().next()
}

fn all(receipts: Vec<Receipt>) -> Option<Vec<Receipt>> {
    Some(receipts)
}

fn refuse_on_runtime_thread() -> Result<(), EnqueueError> {
    if tokio::runtime::Handle::try_current().is_ok() {
        Err(EnqueueError::OnRuntimeThread)
    } else {
        Ok(())
    }
}

impl IntoFuture for Request {
    type Output = Result<Receipt, EnqueueError>;
    type IntoFuture = Sending<Receipt>;

    fn into_future(self) -> Self::IntoFuture {
        let messages = self.message.map(|message| vec![message]);
        Sending::new(self.backend, messages, self.when_full, self.needs, first)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}

/// Several messages, all or none. At most 16,384 messages and 32 MiB.
#[must_use = "nothing has happened yet: `.await` it, or call `.wait()` or `.submit()`"]
#[derive(Debug)]
pub struct Batch {
    backend: EngineBackend,
    messages: Result<Vec<NewMessage>, EnqueueError>,
    when_full: WhenFull,
}

impl Batch {
    pub(crate) fn new(backend: EngineBackend, when_full: WhenFull) -> Self {
        Self {
            backend,
            messages: Ok(Vec::new()),
            when_full,
        }
    }

    /// Adds a message.
    pub fn push<M: mq_dispatch::Message>(self, message: M) -> Self {
        let request = crate::engine::new_message(message);
        self.push_result(request)
    }

    /// Adds a message that was built by hand.
    pub fn push_raw(self, message: NewMessage) -> Self {
        self.push_result(Ok(message))
    }

    /// Adds a request with its options; the engine it was made by does not matter.
    pub fn push_request(self, request: Request) -> Self {
        self.push_result(request.message)
    }

    fn push_result(mut self, message: Result<NewMessage, EnqueueError>) -> Self {
        match (&mut self.messages, message) {
            (Ok(messages), Ok(message)) => messages.push(message),
            (Ok(_), Err(error)) => self.messages = Err(error),
            (Err(_), _) => {}
        }
        self
    }

    /// Sends it and waits on this thread for a receipt each, in order.
    ///
    /// # Errors
    /// As [`Request::wait`]; nothing of the batch was stored unless durability is unknown.
    pub fn wait(self) -> Result<Vec<Receipt>, EnqueueError> {
        refuse_on_runtime_thread()?;
        self.submit()?.wait()
    }

    /// Sends it and returns at once.
    ///
    /// # Errors
    /// As [`Request::submit`].
    pub fn submit(self) -> Result<Pending<Vec<Receipt>>, EnqueueError> {
        let needs = self.backend.needs();
        let (job, pending) = self.backend.job(self.messages?, self.when_full, needs)?;
        self.backend.submit(job);
        Ok(Pending {
            inner: pending,
            pick: all,
        })
    }
}

impl IntoFuture for Batch {
    type Output = Result<Vec<Receipt>, EnqueueError>;
    type IntoFuture = Sending<Vec<Receipt>>;

    fn into_future(self) -> Self::IntoFuture {
        let needs = self.backend.needs();
        Sending::new(self.backend, self.messages, self.when_full, needs, all)
    }
}

/// An enqueue that was sent. Dropping it takes nothing back.
#[must_use = "an answer is still to come: `.await` it, or `.wait()` for it"]
pub struct Pending<T> {
    inner: EnqueuePending,
    pick: fn(Vec<Receipt>) -> Option<T>,
}

impl<T> Pending<T> {
    /// Waits on this thread.
    ///
    /// # Errors
    /// As [`Request::wait`].
    pub fn wait(self) -> Result<T, EnqueueError> {
        refuse_on_runtime_thread()?;
        answer(self.inner.wait(), self.pick)
    }

    /// Whether the answer is there.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.inner.is_done()
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, EnqueueError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let pick = self.pick;
        Pin::new(&mut self.inner)
            .poll(context)
            .map(|kept| answer(kept, pick))
    }
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending")
            .field("is_done", &self.is_done())
            .finish_non_exhaustive()
    }
}

type Kept = Result<Result<Vec<Receipt>, CoreEnqueueError>, mq_core::pending::Abandoned>;

fn answer<T>(kept: Kept, pick: fn(Vec<Receipt>) -> Option<T>) -> Result<T, EnqueueError> {
    let receipts = kept
        .map_err(EnqueueError::from)?
        .map_err(EnqueueError::from)?;
    pick(receipts).ok_or(EnqueueError::Abandoned)
}

/// The future of a request: goes into the ring at its first poll, then waits for its answer.
#[must_use = "futures do nothing unless polled"]
pub struct Sending<T> {
    backend: EngineBackend,
    stage: Stage,
    pick: fn(Vec<Receipt>) -> Option<T>,
}

enum Stage {
    Refused(Option<EnqueueError>),
    Entering(Option<Box<EnqueueJob>>, Option<EnqueuePending>),
    Waiting(EnqueuePending),
}

impl<T> Sending<T> {
    fn new(
        backend: EngineBackend,
        messages: Result<Vec<NewMessage>, EnqueueError>,
        when_full: WhenFull,
        needs: Needs,
        pick: fn(Vec<Receipt>) -> Option<T>,
    ) -> Self {
        let prepared = messages.and_then(|messages| {
            backend
                .job(messages, when_full, needs)
                .map_err(EnqueueError::from)
        });
        let stage = match prepared {
            Ok((job, pending)) => Stage::Entering(Some(job), Some(pending)),
            Err(error) => Stage::Refused(Some(error)),
        };
        Self {
            backend,
            stage,
            pick,
        }
    }
}

impl<T> Future for Sending<T> {
    type Output = Result<T, EnqueueError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Stage::Entering(job, pending) = &mut this.stage {
            let entered = this.backend.shell().poll_submit(job, context.waker());
            this.backend.shell().call_for_submission();
            let Some(pending) = entered.is_ready().then(|| pending.take()).flatten() else {
                return Poll::Pending;
            };
            this.stage = Stage::Waiting(pending);
        }
        match &mut this.stage {
            Stage::Refused(error) => {
                Poll::Ready(Err(error.take().unwrap_or(EnqueueError::Abandoned)))
            }
            Stage::Entering(..) => Poll::Pending,
            Stage::Waiting(pending) => Pin::new(pending)
                .poll(context)
                .map(|kept| answer(kept, this.pick)),
        }
    }
}

impl<T> fmt::Debug for Sending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").finish_non_exhaustive()
    }
}

impl EngineBackend {
    /// Puts a job into the ring; waits on this thread while it is full.
    fn submit(&self, job: Box<EnqueueJob>) {
        let mut job = Some(job);
        block_until_ready(
            |waker| self.shell().poll_submit(&mut job, waker),
            self.shell(),
        );
        self.shell().call_for_submission();
    }
}
