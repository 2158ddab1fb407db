//! The previous version of a message: the last one of its dedup key that was processed with success.

use mq_core::backend::{self, ReadError};
use mq_core::id::MessageId;
use mq_core::pending::Abandoned;

use crate::message::{DecodeError, Message, decode, decode_output};

/// The last message of a dedup key that was processed with success.
#[derive(Clone, Debug)]
pub struct Previous<M: Message> {
    /// Its id.
    pub id: MessageId,
    /// What its producer gave.
    pub message: M,
    /// What its handler returned.
    pub output: M::Output,
}

/// Why a previous version cannot be read. It is kept as it is.
#[derive(Debug, thiserror::Error)]
pub enum PreviousError {
    /// Its bytes are damaged, or the store stopped.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It is not of this type, or newer than this program.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The engine stopped before it could answer.
    #[error(transparent)]
    Abandoned(#[from] Abandoned),
}

impl PreviousError {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Read(error) => error.code(),
            Self::Decode(error) => error.code(),
            Self::Abandoned(_) => "abandoned",
        }
    }
}

impl<M: Message> Previous<M> {
    /// Decodes what the store keeps.
    ///
    /// # Errors
    /// [`PreviousError::Decode`] if it is of another type.
    pub fn of(kept: Option<backend::Previous>) -> Result<Option<Self>, PreviousError> {
        kept.map(|kept| {
            Ok(Self {
                id: kept.id,
                message: decode(&kept.envelope)?,
                output: decode_output::<M>(kept.result.as_deref())?,
            })
        })
        .transpose()
    }
}
