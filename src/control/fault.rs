//! Why a call failed: a stable word for programs, a sentence for people.

use mq_core::backend::{OperateError, ReadError, Stopped};
use mq_core::command::OperateRefused;
use mq_core::id::MessageId;
use mq_core::name::NameError;
use mq_dispatch::ControlError;
use serde::{Deserialize, Serialize};

use crate::bulk::BulkError;
use crate::check::CheckError;
use crate::error::{EnqueueError, SnapshotError};
use crate::filter::FilterError;
use crate::find::FindError;
use crate::index::SetIndexError;
use crate::queue::QueueError;
use crate::schedules::ScheduleError;

/// Why a call failed. Unless the sentence says otherwise nothing was changed.
///
/// Words of `code`: those of the `code()` of each error of this crate, which docs/errors.md explains; and `malformed` (the
/// line is no call), `protocol` (another version), `too_long` (the line), `busy` (too many connections), `closing` (the
/// last line: calls without an answer were not taken), `bad_value` (a field has no such value), `no_handlers` (nothing to
/// check with). New words may come.
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

    /// An owner's last line.
    pub(super) fn closing() -> Self {
        Self::new(
            CLOSING,
            "the owner closes the store; calls without an answer were not taken",
        )
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
                "message {id} is not in the store any more: it was completed, cancelled, replaced or purged"
            ),
        )
    }
}

/// Errors that say themselves what they are.
macro_rules! errors_with_codes {
    ($($error:ty),*) => {$(
        impl From<$error> for CallError {
            fn from(error: $error) -> Self {
                Self::new(error.code(), error)
            }
        }
    )*};
}

errors_with_codes!(
    Stopped,
    FilterError,
    FindError,
    EnqueueError,
    NameError,
    ReadError,
    BulkError
);
errors_with_codes!(
    CheckError,
    SnapshotError,
    ScheduleError,
    QueueError,
    SetIndexError,
    ControlError
);

impl From<OperateError> for CallError {
    fn from(error: OperateError) -> Self {
        match error {
            OperateError::Refused(OperateRefused::NotKept { id }) => Self::not_kept(id),
            error @ (OperateError::Refused(_)
            | OperateError::Invalid(_)
            | OperateError::Read(_)
            | OperateError::Stopped(_)) => Self::new(error.code(), error),
        }
    }
}
