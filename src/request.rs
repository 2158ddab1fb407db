//! One request, three ways to send it: `.await`, `.wait()`, `.submit()`.
//!
//! Nothing happens before one of the three. Dropping what they return takes nothing back. A request remembers the type
//! of its message, so that its answer can be waited for ([`Request::and_wait`]) and a refusal can give it back.

mod batch;
mod sending;

use std::fmt;
use std::future::{IntoFuture, poll_fn};
use std::marker::PhantomData;
use std::time::Duration;

use bytes::Bytes;
use mq_core::backend::{Receipt, WhenFull};
use mq_core::few::Few;
use mq_core::key::Key;
use mq_core::message::{Due, NewMessage, Priority};
use mq_core::name::Label;
use mq_core::time::Timestamp;
use mq_dispatch::{Dedup, Message};

use crate::completion::AndWait;
use crate::engine::{EngineBackend, EnqueueJob, EnqueuePromise, Needs, block_until_ready};
use crate::error::EnqueueError;
use crate::options::Durability;

pub use batch::Batch;
pub use sending::{Pending, Sending};

use sending::{Answer, prepare};

/// A message about to be enqueued. Nothing has happened yet: `.await` it, or call `.wait()` or `.submit()`.
///
/// `M` is the type of the message ([`NewMessage`] for one built by hand), `E` what a refusal is told as.
#[must_use = "nothing has happened yet: `.await` it, or call `.wait()` or `.submit()`"]
pub struct Request<M = NewMessage, E = EnqueueError> {
    backend: EngineBackend,
    message: Result<NewMessage, EnqueueError>,
    when_full: WhenFull,
    needs: Needs,
    types: PhantomData<fn(M) -> E>,
}

impl<M, E> Request<M, E> {
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
            types: PhantomData,
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

    fn set_key(self, key: impl AsRef<[u8]>, place: impl FnOnce(&mut NewMessage, Key)) -> Self {
        self.set(|message| {
            place(message, Key::new(Bytes::copy_from_slice(key.as_ref()))?);
            Ok(())
        })
    }

    /// A producer's retry with the same key, within the window (24 h by default), answers the first message's id.
    pub fn idempotency_key(self, key: impl AsRef<[u8]>) -> Self {
        self.set_key(key, |message, key| {
            message.envelope.idempotency_key = Some(key)
        })
    }

    /// Messages with the same key are handled one after the other, in the order of their enqueues.
    pub fn ordering_key(self, key: impl AsRef<[u8]>) -> Self {
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
        self.set(|message| Ok(dedup.set_on(message)?))
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

    /// However often it fails, it does not go dead.
    pub fn unlimited_attempts(self) -> Self {
        self.max_attempts(mq_core::limits::FAILURES_UNLIMITED)
    }

    /// Kept so long after its completion, with its result; [`crate::FOREVER`] for ever.
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
        self.needs = needs(&self.backend, durability);
        self
    }

    /// Keeps the message and its result long enough to be asked for: 1 h unless it is retained longer anyhow.
    fn keep_result(self) -> Self {
        self.set(|message| {
            message.awaited = true;
            Ok(())
        })
    }

    /// Sends it and waits, at most `limit` from the receipt on, until the message is over; for handlers of bytes.
    /// See [`Request::and_wait`].
    pub fn and_wait_raw(self, limit: Duration) -> AndWait<Option<Bytes>> {
        AndWait::new(self.keep_result().untyped(), limit, Ok)
    }

    pub(crate) fn backend(&self) -> &EngineBackend {
        &self.backend
    }

    /// Without its type.
    pub(crate) fn untyped(self) -> Request {
        Request {
            backend: self.backend,
            message: self.message,
            when_full: self.when_full,
            needs: self.needs,
            types: PhantomData,
        }
    }
}

impl<M: Message, E> Request<M, E> {
    /// Sends it and waits, at most `limit` from the receipt on, until its handler has succeeded; answers what that
    /// returned. The result is kept for 1 h, or as long as [`Request::retain`] says, so that
    /// [`crate::Engine::completion`] can ask again, also after a restart. A limit that passes cancels nothing: the error
    /// has the id.
    ///
    /// In a handler, wait only for messages that other pools handle: a pool whose workers all wait for messages of
    /// their own kind waits for ever.
    pub fn and_wait(self, limit: Duration) -> AndWait<M::Output> {
        AndWait::new(self.keep_result().untyped(), limit, |result| {
            mq_dispatch::decode_output::<M>(result.as_deref())
        })
    }
}

impl<M, E: From<EnqueueError>> Request<M, E> {
    /// Sends it and waits on this thread.
    ///
    /// # Errors
    /// [`EnqueueError`]; [`EnqueueError::OnRuntimeThread`] on a thread of an async runtime, where nothing was sent.
    pub fn wait(self) -> Result<Receipt, E> {
        refuse_on_runtime_thread()?;
        self.submit()?.wait()
    }

    /// Sends it and returns at once: many in flight from one caller. Blocks only while the engine's intake ring is full.
    ///
    /// # Errors
    /// [`EnqueueError`] if the message is not valid or the engine stopped; nothing was sent then.
    pub fn submit(self) -> Result<Pending<Receipt, E>, E> {
        let (backend, job, answer) = self.prepare()?;
        backend.submit(job);
        Ok(Pending::new(answer))
    }

    /// As [`Request::submit`], but waits for space in the intake ring without holding up the thread.
    pub(crate) async fn entered(self) -> Result<Pending<Receipt, E>, E> {
        let (backend, job, answer) = self.prepare()?;
        let (shell, mut job) = (backend.shell(), Some(job));
        poll_fn(|context| {
            let entered = shell.poll_submit(&mut job, context.waker());
            shell.call_for_submission();
            entered
        })
        .await;
        Ok(Pending::new(answer))
    }

    fn prepare(self) -> Result<(EngineBackend, Box<EnqueueJob>, Answer<Receipt>), EnqueueError> {
        let messages = Few::from([self.message?]);
        let waiter = EnqueuePromise::One;
        let prepared = prepare(&self.backend, messages, self.when_full, self.needs, waiter);
        let (job, answer) = prepared?;
        Ok((self.backend, job, answer))
    }
}

/// What an enqueue waits for. Stronger than the engine's own setting is not possible.
fn needs(backend: &EngineBackend, durability: Durability) -> Needs {
    match durability {
        Durability::Synced => backend.needs(),
        Durability::Interval(_) | Durability::Buffered => Needs::Write,
    }
}

pub(crate) fn refuse_on_runtime_thread() -> Result<(), EnqueueError> {
    if tokio::runtime::Handle::try_current().is_ok() {
        Err(EnqueueError::OnRuntimeThread)
    } else {
        Ok(())
    }
}

impl<M, E: From<EnqueueError>> IntoFuture for Request<M, E> {
    type Output = Result<Receipt, E>;
    type IntoFuture = Sending<Receipt, E>;

    fn into_future(self) -> Self::IntoFuture {
        let messages = self.message.map(|message| Few::from([message]));
        let waiter = EnqueuePromise::One;
        Sending::new(self.backend, messages, self.when_full, self.needs, waiter)
    }
}

impl<M, E> fmt::Debug for Request<M, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("message", &self.message)
            .finish_non_exhaustive()
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
