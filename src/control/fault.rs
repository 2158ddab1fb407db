//! Why a call failed: a stable word for programs, a sentence for people.

use mq_core::backend::{OperateError, ReadError, Stopped};
use mq_core::command::OperateRefused;
use mq_core::id::MessageId;
use mq_core::name::NameError;
use serde::{Deserialize, Serialize};

use crate::error::EnqueueError;
use crate::filter::FilterError;
use crate::find::FindError;

/// Why a call failed. Unless the sentence says otherwise nothing was changed.
///
/// Words of `code`: those of [`EnqueueError::code`]; `malformed` (the line is no call), `protocol` (another version),
/// `too_long` (the line), `busy` (too many connections), `closing` (the last line:
/// calls without an answer were not taken), `bad_value` (a field has no such value), `filter` (not
/// understood), `never_issued`, `unknown_job`, `bulk` (the job
/// was refused, or has ended),
/// `not_kept`, `wrong_state`, `unreadable`, `closed`, `poisoned`. New words may come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct CallError {
    /// A stable word.
    pub code: String,
    /// What happened, what is true now, what to do.
    pub message: String,
}

/// Code of an owner's last line: it has answered everything that it took.
pub(super) const CLOSING: &str = "closing";

impl CallError {
    pub(crate) fn new(code: &str, message: impl ToString) -> Self {
        Self {
            code: code.to_owned(),
            message: message.to_string(),
        }
    }

    pub(crate) fn bad_value(field: &str, given: &str, allowed: impl ToString) -> Self {
        let allowed = allowed.to_string();
        Self::new(
            "bad_value",
            format_args!("{field}: {given:?} is not {allowed}"),
        )
    }

    pub(crate) fn never_issued(id: MessageId) -> Self {
        OperateError::Refused(OperateRefused::NeverIssued { id }).into()
    }

    pub(crate) fn not_kept(id: MessageId) -> Self {
        Self::new(
            "not_kept",
            format_args!(
                "message {id} is not in the store any more: it was completed, replaced or purged"
            ),
        )
    }
}

impl From<Stopped> for CallError {
    fn from(stopped: Stopped) -> Self {
        let code = match &stopped {
            Stopped::Closed => "closed",
            Stopped::Poisoned { .. } => "poisoned",
        };
        Self::new(code, stopped)
    }
}

impl From<FilterError> for CallError {
    fn from(error: FilterError) -> Self {
        Self::new("filter", error)
    }
}

impl From<FindError> for CallError {
    fn from(error: FindError) -> Self {
        match error {
            FindError::Filter(error) => error.into(),
            FindError::Stopped(stopped) => stopped.into(),
        }
    }
}

impl From<EnqueueError> for CallError {
    fn from(error: EnqueueError) -> Self {
        Self::new(error.code(), error)
    }
}

impl From<NameError> for CallError {
    fn from(error: NameError) -> Self {
        Self::new("name", error)
    }
}

impl From<ReadError> for CallError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Stopped(stopped) => stopped.into(),
            error @ ReadError::Unreadable { .. } => Self::new("unreadable", error),
        }
    }
}

impl From<OperateError> for CallError {
    fn from(error: OperateError) -> Self {
        let code = match &error {
            OperateError::Stopped(stopped) => return stopped.clone().into(),
            OperateError::Invalid(_) => "invalid",
            OperateError::Refused(refused) => match refused {
                OperateRefused::NeverIssued { .. } => "never_issued",
                OperateRefused::NotKept { id } => return Self::not_kept(*id),
                OperateRefused::WrongState { .. } => "wrong_state",
                OperateRefused::KeyHeld { .. } => "key_held",
                OperateRefused::Full(_) => "full",
            },
        };
        Self::new(code, error)
    }
}
