//! A message on its way into the store, with everything a producer can say about it.
//!
//! Setters never fail: what cannot be encoded is remembered and comes out of [`Outgoing::into_message`].

use std::time::Duration;

use bytes::Bytes;
use mq_core::key::Key;
use mq_core::message::{Due, NewMessage, Priority};
use mq_core::name::{Label, QueueName};
use mq_core::time::Timestamp;

use crate::dedup::Dedup;
use crate::message::{EncodeError, Message, encode};

/// A message that is not enqueued yet.
#[must_use = "nothing is enqueued or staged yet"]
#[derive(Clone, Debug)]
pub struct Outgoing(Result<Box<NewMessage>, EncodeError>);

impl Outgoing {
    /// With the defaults of its kind.
    pub fn new<M: Message>(value: &M) -> Self {
        Self(encode(value).map(Box::new))
    }

    /// Into another queue than the kind's.
    pub fn queue(self, name: &str) -> Self {
        self.with(|message| {
            message.queue = QueueName::new(name)?;
            Ok(())
        })
    }

    /// More or less urgent than the kind: 0 to 9, 9 most urgent.
    pub fn priority(self, level: u8) -> Self {
        self.with(|message| {
            message.priority =
                Priority::new(level).ok_or(EncodeError::Priority { given: level })?;
            Ok(())
        })
    }

    /// Not before so long after the enqueue.
    pub fn delay(self, delay: Duration) -> Self {
        self.set(|message| message.due = Due::After(delay))
    }

    /// Not before this moment of the wall clock.
    pub fn at(self, due: Timestamp) -> Self {
        self.set(|message| message.due = Due::At(due))
    }

    /// Dead as expired if it has not started so long after the enqueue.
    pub fn expires_in(self, limit: Duration) -> Self {
        self.set(|message| message.expires_in = Some(limit))
    }

    /// Adds a header.
    pub fn header(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.set(|message| message.envelope.headers.push((name.into(), value.into())))
    }

    /// A producer's retry with the same key answers with the first message.
    pub fn idempotency_key(self, key: impl AsRef<[u8]>) -> Self {
        self.with(|message| {
            message.envelope.idempotency_key = Some(key_of(key)?);
            Ok(())
        })
    }

    /// At most one live message per key; the policy says what a second one means.
    pub fn dedup(self, dedup: Dedup) -> Self {
        self.with(|message| Ok(dedup.set_on(message)?))
    }

    /// Messages with this key run one after the other, in the order of their enqueue.
    pub fn ordering_key(self, key: impl AsRef<[u8]>) -> Self {
        self.with(|message| {
            message.envelope.ordering_key = Some(key_of(key)?);
            Ok(())
        })
    }

    /// If it goes dead, its ordering key stays blocked until it is replayed or purged.
    pub fn halt_on_dead(self) -> Self {
        self.set(|message| message.halt_on_dead = true)
    }

    /// Set aside under a label from the start.
    pub fn hold(self, label: &str) -> Self {
        self.with(|message| {
            message.hold = Some(Label::new(label)?);
            Ok(())
        })
    }

    /// Attempts that may fail before it goes dead; beats the handler's setting.
    pub fn max_attempts(self, attempts: u32) -> Self {
        self.set(|message| message.failures_max = Some(attempts))
    }

    /// However often it fails, it does not go dead.
    pub fn unlimited_attempts(self) -> Self {
        self.max_attempts(mq_core::limits::FAILURES_UNLIMITED)
    }

    /// Kept so long after it completed, with its result.
    pub fn retain(self, span: Duration) -> Self {
        self.set(|message| message.retain = Some(span))
    }

    /// The message, as the store takes it.
    ///
    /// # Errors
    /// The first [`EncodeError`] of the value or of a setter.
    pub fn into_message(self) -> Result<NewMessage, EncodeError> {
        self.0.map(|message| *message)
    }

    fn set(mut self, change: impl FnOnce(&mut NewMessage)) -> Self {
        if let Ok(message) = &mut self.0 {
            change(message);
        }
        self
    }

    fn with(mut self, change: impl FnOnce(&mut NewMessage) -> Result<(), EncodeError>) -> Self {
        let error = self
            .0
            .as_mut()
            .ok()
            .and_then(|message| change(message).err());
        if let Some(error) = error {
            self.0 = Err(error);
        }
        self
    }
}

fn key_of(key: impl AsRef<[u8]>) -> Result<Key, EncodeError> {
    Ok(Key::new(Bytes::copy_from_slice(key.as_ref()))?)
}

impl<M: Message> From<M> for Outgoing {
    fn from(value: M) -> Self {
        Self::new(&value)
    }
}

impl From<NewMessage> for Outgoing {
    fn from(message: NewMessage) -> Self {
        Self(Ok(Box::new(message)))
    }
}
