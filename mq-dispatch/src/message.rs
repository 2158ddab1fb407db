//! A kind of message as a Rust type: its facts, its encoding, and how stored bytes become it again.
//!
//! Payloads are JSON. Bytes that cannot be read are never guessed at: they are undecodable, and say why.

use std::error::Error;

use bytes::Bytes;
use mq_core::message::{Envelope, NewMessage, Priority};
use mq_core::name::{KindName, NameError, QueueName};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A type whose values can be enqueued and handled. Usually derived:
///
/// ```
/// use mq_macros::Message;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, Message)]
/// #[message(kind = "email.welcome", crate = mq_dispatch)]
/// struct SendWelcome {
///     user_id: u64,
/// }
/// ```
///
/// Without a kind it does not compile: stored messages outlive the names of types.
///
/// ```compile_fail
/// use mq_macros::Message;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, Message)]
/// struct SendWelcome {
///     user_id: u64,
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a message",
    label = "not a message",
    note = "derive it: `#[derive(Serialize, Deserialize, Message)]` and `#[message(kind = \"email.welcome\")]`"
)]
pub trait Message: Serialize + DeserializeOwned + Send + 'static {
    /// What is stored as its kind. Never give a kind another meaning: old messages would be handled as new ones.
    const KIND: &'static str;
    /// Former kinds that its handler still serves.
    const ALIASES: &'static [&'static str] = &[];
    /// Version of the payload's shape, 1 or more. A program never handles a version above its own.
    const VERSION: u16 = 1;
    /// The queue it goes to unless the producer says otherwise.
    const QUEUE: &'static str = "default";
    /// Its urgency, 0 to 9, unless the producer says otherwise.
    const PRIORITY: u8 = 4;
    /// Fields of its payload that are indexed, JSON pointers, at most eight: messages are found by them without reading the
    /// payloads of others. Put on stored messages when they are enqueued.
    const INDEX: &'static [&'static str] = &[];
    /// What its handler returns.
    type Output: Serialize + DeserializeOwned + Send + 'static;

    /// The urgency of this message, 0 to 9, unless the producer says otherwise: [`Message::PRIORITY`], or what its
    /// content says. Above 9 the enqueue is refused.
    fn priority(&self) -> u8 {
        Self::PRIORITY
    }

    /// Reads a payload of version `from`, which is older than [`Message::VERSION`]. By default it is read as if it
    /// were of this version, which is right when new fields have `#[serde(default)]`.
    ///
    /// # Errors
    /// Whatever says why it cannot be read; the message goes dead as undecodable.
    fn upgrade(from: u16, payload: &[u8]) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let _: u16 = from;
        Ok(serde_json::from_slice(payload)?)
    }
}

/// Why a value could not become a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Its kind, queue or label is not a valid name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Its priority is above 9.
    #[error("priority {given} is out of range; allowed are 0 to 9")]
    Priority {
        /// What was given.
        given: u8,
    },
    /// A key is empty or too long.
    #[error(transparent)]
    Key(#[from] mq_core::key::KeyError),
    /// serde could not write it, for example a map whose keys are not strings.
    #[error("{type_name} cannot be written as JSON: {reason}")]
    Json {
        /// The type.
        type_name: &'static str,
        /// What serde says.
        reason: String,
    },
}

impl EncodeError {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Name(error) => error.code(),
            Self::Priority { .. } => "priority",
            Self::Key(error) => error.code(),
            Self::Json { .. } => "encode",
        }
    }
}

/// Why stored bytes could not become a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A newer program wrote it.
    #[error(
        "payload version {stored} is newer than version {known}, which this program knows; start the newer program"
    )]
    Newer {
        /// Its version.
        stored: u16,
        /// The program's version.
        known: u16,
    },
    /// The bytes are not what the type expects.
    #[error("the payload is not a {type_name}: {reason}")]
    Malformed {
        /// The type.
        type_name: &'static str,
        /// What serde or the upgrade says.
        reason: String,
    },
}

impl DecodeError {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Newer { .. } => "newer",
            Self::Malformed { .. } => "undecodable",
        }
    }
}

/// Writes a value as JSON.
pub(crate) fn to_json<T: Serialize>(value: &T) -> Result<Bytes, EncodeError> {
    serde_json::to_vec(value)
        .map(Bytes::from)
        .map_err(|error| EncodeError::Json {
            type_name: std::any::type_name::<T>(),
            reason: error.to_string(),
        })
}

/// Reads a value from JSON.
pub(crate) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    serde_json::from_slice(bytes).map_err(|error| malformed::<T>(&error))
}

/// The message that stands for a value, with the defaults of its kind.
///
/// # Errors
/// [`EncodeError`] if a fact of the kind is not valid or serde cannot write the value.
pub fn encode<M: Message>(value: &M) -> Result<NewMessage, EncodeError> {
    let queue = QueueName::new(M::QUEUE)?;
    let kind = KindName::new(M::KIND)?;
    let mut message = NewMessage::new(queue, kind, to_json(value)?);
    message.envelope.version = M::VERSION;
    message.index = M::INDEX;
    let given = value.priority();
    message.priority = Priority::new(given).ok_or(EncodeError::Priority { given })?;
    Ok(message)
}

/// The value that a stored envelope stands for. Version 0 (no version, as `mq enqueue` writes) is read as the present
/// one.
///
/// # Errors
/// [`DecodeError`] if it is newer than the program or its bytes are not the type's.
pub fn decode<M: Message>(envelope: &Envelope) -> Result<M, DecodeError> {
    let stored = envelope.version;
    if stored > M::VERSION {
        return Err(DecodeError::Newer {
            stored,
            known: M::VERSION,
        });
    }
    if stored == 0 || stored == M::VERSION {
        return from_json(&envelope.payload);
    }
    M::upgrade(stored, &envelope.payload).map_err(|error| malformed::<M>(error.as_ref()))
}

/// What a handler of `M` returned, from the bytes that were kept of it; none stands for `()` and other values without
/// content.
///
/// # Errors
/// [`DecodeError`] if the bytes are not of that type: another program's handler wrote them.
pub fn decode_output<M: Message>(result: Option<&[u8]>) -> Result<M::Output, DecodeError> {
    from_json(result.unwrap_or(b"null"))
}

fn malformed<T>(error: &dyn Error) -> DecodeError {
    DecodeError::Malformed {
        type_name: std::any::type_name::<T>(),
        reason: crate::failure::chain(error),
    }
}
