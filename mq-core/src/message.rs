//! A message: what the producer gives ([`NewMessage`]), what is stored for the handler ([`Envelope`]), and the facts
//! that the rules need ([`Draft`]).
//!
//! The rules never look inside an envelope. It travels beside the facts as [`Sealed`] bytes, written once into the
//! journal and read back from there.

use std::time::Duration;

use bytes::Bytes;

use crate::id::MessageId;
use crate::index::Terms;
use crate::key::{DedupPolicy, Key, KeyHash};
use crate::limits::{DELAY_MAX, FAILURES_MAX, FAILURES_UNLIMITED, HEADERS_SIZE_MAX};
use crate::name::{KindName, Label, QueueName};
use crate::time::Timestamp;

/// How urgent a message is: 0 to 9, 9 most urgent. Each step lets it overtake messages up to a minute older.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// The number of priorities.
    pub const LEN: usize = 10;
    /// The default, 4.
    pub const DEFAULT: Priority = Priority(4);

    /// Wraps a number; `None` above 9.
    #[must_use]
    pub const fn new(level: u8) -> Option<Self> {
        if level < 10 { Some(Self(level)) } else { None }
    }

    /// 0 to 9.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// When a message becomes ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Due {
    /// At once.
    #[default]
    Now,
    /// So long after the enqueue.
    After(Duration),
    /// At this moment of the wall clock; at once if it has passed.
    At(Timestamp),
}

/// What the bytes of a payload are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ContentType {
    /// UTF-8 JSON, as the typed interface writes it.
    #[default]
    Json,
    /// UTF-8 text.
    Text,
    /// Any bytes.
    Binary,
}

/// Names and values that travel with a message, in the order they were set.
pub type Headers = Vec<(String, String)>;

/// Everything of a message that only its handler and its readers need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// Version of the payload's shape, chosen by the author of the kind.
    pub version: u16,
    /// What the payload's bytes are.
    pub content_type: ContentType,
    /// The payload.
    pub payload: Bytes,
    /// Headers.
    pub headers: Headers,
    /// The idempotency key as given.
    pub idempotency_key: Option<Key>,
    /// The dedup key as given.
    pub dedup_key: Option<Key>,
    /// The ordering key as given.
    pub ordering_key: Option<Key>,
    /// The first message of the chain this one belongs to; none for the first itself.
    pub correlation: Option<MessageId>,
    /// The message whose handler staged this one.
    pub cause: Option<MessageId>,
}

/// A message to be enqueued. Fields are plain; [`NewMessage::check`] is what `enqueue` calls first.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// Its queue.
    pub queue: QueueName,
    /// Which handler it is for.
    pub kind: KindName,
    /// What is stored for the handler.
    pub envelope: Envelope,
    /// Urgency.
    pub priority: Priority,
    /// When it becomes ready.
    pub due: Due,
    /// Dead as `expired` if it has not started by then (store time, counted from the enqueue).
    pub expires_in: Option<Duration>,
    /// Held under this label from the start.
    pub hold: Option<Label>,
    /// What a duplicate of the dedup key means; needs `envelope.dedup_key`.
    pub dedup: Option<DedupPolicy>,
    /// With an ordering key: a dead message keeps blocking its key until it is replayed or purged.
    pub halt_on_dead: bool,
    /// Failures before it goes dead, or [`FAILURES_UNLIMITED`]; beats the handler's setting.
    pub failures_max: Option<u32>,
    /// How long it is kept after completion (store time); none: as long as its queue says, or not at all.
    pub retain: Option<Duration>,
    /// Somebody is going to ask for its result: without a retention of its own it is kept for at least
    /// [`RESULT_RETENTION_DEFAULT`](crate::limits::RESULT_RETENTION_DEFAULT).
    pub awaited: bool,
    /// Fields of its payload that its type declares as indexed, JSON pointers; those of a kind without a type are stored in the
    /// store. A hint: a store that finds without an index may pass over it.
    pub index: &'static [&'static str],
}

/// Why a message cannot be enqueued as it is. Nothing was stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMessage {
    /// The payload is over the store's limit: store it elsewhere and send a reference, or raise the limit.
    #[error(
        "a payload of {size} bytes is over the limit of {limit}; send a reference to it, or raise `payload_size_max` (at most 16 MiB)"
    )]
    PayloadTooLarge {
        /// Its size in bytes.
        size: usize,
        /// The store's limit in bytes.
        limit: usize,
    },
    /// Header names and values are too large together.
    #[error(
        "headers of {size} bytes are over the limit of {HEADERS_SIZE_MAX}; put large values into the payload"
    )]
    HeadersTooLarge {
        /// Their size in bytes.
        size: usize,
    },
    /// A header's name is empty or has a control character.
    #[error("header name {name:?} is empty or has a control character; choose another name")]
    HeaderName {
        /// The offender.
        name: String,
    },
    /// It is due or expires later than 100 years from now.
    #[error("a delay of more than 100 years was asked for; is the unit right?")]
    TooLate,
    /// The failure budget is out of range.
    #[error("failures_max = {given} is out of range; allowed are 0 to {FAILURES_MAX}")]
    FailuresMax {
        /// What was given.
        given: u32,
    },
    /// A dedup policy without a key, or a key without a policy.
    #[error("a dedup key and its policy go together; set both or none")]
    DedupIncomplete,
}

impl InvalidMessage {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "invalid"
    }
}

impl NewMessage {
    /// A message with defaults for everything but its queue, kind and payload.
    #[must_use]
    pub fn new(queue: QueueName, kind: KindName, payload: Bytes) -> Self {
        Self {
            queue,
            kind,
            envelope: Envelope {
                payload,
                ..Envelope::default()
            },
            priority: Priority::DEFAULT,
            due: Due::Now,
            expires_in: None,
            hold: None,
            dedup: None,
            halt_on_dead: false,
            failures_max: None,
            retain: None,
            awaited: false,
            index: &[],
        }
    }

    /// Checks every field against its limit.
    ///
    /// # Errors
    /// The first [`InvalidMessage`] found; nothing is changed.
    pub fn check(&self, payload_size_max: usize) -> Result<(), InvalidMessage> {
        self.envelope.check(payload_size_max)?;
        let delay = if let Due::After(delay) = self.due {
            delay
        } else {
            Duration::ZERO
        };
        if delay > DELAY_MAX || self.expires_in.is_some_and(|expiry| expiry > DELAY_MAX) {
            return Err(InvalidMessage::TooLate);
        }
        let is_bad = |given: &u32| *given > FAILURES_MAX && *given != FAILURES_UNLIMITED;
        if let Some(given) = self.failures_max.filter(is_bad) {
            return Err(InvalidMessage::FailuresMax { given });
        }
        if self.dedup.is_some() != self.envelope.dedup_key.is_some() {
            return Err(InvalidMessage::DedupIncomplete);
        }
        Ok(())
    }
}

impl Envelope {
    /// Checks payload and headers against their limits.
    ///
    /// # Errors
    /// The first [`InvalidMessage`] found.
    pub fn check(&self, payload_size_max: usize) -> Result<(), InvalidMessage> {
        if self.payload.len() > payload_size_max {
            return Err(InvalidMessage::PayloadTooLarge {
                size: self.payload.len(),
                limit: payload_size_max,
            });
        }
        let size = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        if size > HEADERS_SIZE_MAX {
            return Err(InvalidMessage::HeadersTooLarge { size });
        }
        let offender = self
            .headers
            .iter()
            .find(|(name, _)| name.is_empty() || name.chars().any(char::is_control));
        offender.map_or(Ok(()), |(name, _)| {
            Err(InvalidMessage::HeaderName { name: name.clone() })
        })
    }
}

/// An envelope encoded for the journal by the caller's own thread, with the first part of its record's checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The encoded envelope.
    pub bytes: Bytes,
    /// Checksum state over `bytes`, seeded with the store's identity.
    pub crc: u32,
}

/// Another payload for a message, prepared like a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// Its envelope with the new payload.
    pub sealed: Sealed,
    /// Its indexed fields.
    pub terms: Terms,
}

/// The facts of a new message that the rules decide on.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Its queue.
    pub queue: QueueName,
    /// Its kind.
    pub kind: KindName,
    /// Urgency.
    pub priority: Priority,
    /// When it becomes ready.
    pub due: Due,
    /// Store time it may wait before it is dead as expired.
    pub expires_in: Option<Duration>,
    /// Held from the start.
    pub hold: Option<Label>,
    /// Idempotency key.
    pub idempotency: Option<KeyHash>,
    /// Dedup key and policy.
    pub dedup: Option<(KeyHash, DedupPolicy)>,
    /// Ordering key.
    pub ordering: Option<KeyHash>,
    /// A dead message keeps blocking its ordering key.
    pub halt_on_dead: bool,
    /// Identity of the payload; zero unless there is an idempotency or dedup key.
    pub payload: KeyHash,
    /// Failures before it goes dead.
    pub failures_max: Option<u32>,
    /// How long it is kept after completion.
    pub retain: Option<Duration>,
    /// Without a retention of its own it is kept long enough to be asked for.
    pub awaited: bool,
    /// Its indexed fields.
    pub terms: Terms,
    /// The envelope for the journal. `sealed.bytes.len()` is what counts against the store's byte capacity.
    pub sealed: Sealed,
}
