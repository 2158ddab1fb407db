//! Several messages in one frame: all or none.

use std::future::IntoFuture;

use mq_core::backend::{Receipt, WhenFull};
use mq_core::few::Few;
use mq_core::message::NewMessage;
use mq_dispatch::Outgoing;

use super::sending::{Pending, Sending, prepare};
use super::{Request, refuse_on_runtime_thread};
use crate::engine::{EngineBackend, EnqueuePromise, Needs};
use crate::error::EnqueueError;
use crate::options::Durability;

/// Several messages, all or none. At most 16,384 messages and 32 MiB.
#[must_use = "nothing has happened yet: `.await` it, or call `.wait()` or `.submit()`"]
#[derive(Debug)]
pub struct Batch {
    backend: EngineBackend,
    messages: Result<Vec<NewMessage>, EnqueueError>,
    when_full: WhenFull,
    needs: Needs,
}

impl Batch {
    pub(crate) fn new(backend: EngineBackend, when_full: WhenFull) -> Self {
        let needs = backend.needs();
        Self {
            backend,
            messages: Ok(Vec::new()),
            when_full,
            needs,
        }
    }

    /// Adds a message: a value, or an [`Outgoing`] with options of its own.
    pub fn push(self, message: impl Into<Outgoing>) -> Self {
        let message = message.into().into_message();
        self.push_result(message.map_err(EnqueueError::from))
    }

    /// Adds a message that was built by hand.
    pub fn push_raw(self, message: NewMessage) -> Self {
        self.push_result(Ok(message))
    }

    /// Adds many messages.
    pub fn extend<I>(self, messages: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<Outgoing>,
    {
        messages.into_iter().fold(self, Self::push)
    }

    /// Adds a request with its options; the engine it was made by does not matter.
    pub fn push_request<M, E>(self, request: Request<M, E>) -> Self {
        self.push_result(request.message)
    }

    /// Refused at once if the store is full, instead of waiting for room.
    pub fn refuse_when_full(mut self) -> Self {
        self.when_full = WhenFull::Refuse;
        self
    }

    /// See [`Request::durability`].
    pub fn durability(mut self, durability: Durability) -> Self {
        self.needs = super::needs(&self.backend, durability);
        self
    }

    /// How many messages it has so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.as_ref().map_or(0, Vec::len)
    }

    /// Whether it has none. An empty batch is answered without receipts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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
        let messages = Few::from_vec(self.messages?);
        let waiter = EnqueuePromise::Many;
        let (job, answer) = prepare(&self.backend, messages, self.when_full, self.needs, waiter)?;
        self.backend.submit(job);
        Ok(Pending::new(answer))
    }
}

impl IntoFuture for Batch {
    type Output = Result<Vec<Receipt>, EnqueueError>;
    type IntoFuture = Sending<Vec<Receipt>>;

    fn into_future(self) -> Self::IntoFuture {
        let messages = self.messages.map(Few::from_vec);
        let waiter = EnqueuePromise::Many;
        Sending::new(self.backend, messages, self.when_full, self.needs, waiter)
    }
}
