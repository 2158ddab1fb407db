//! What can be wrong with a schedule, and what to do about it.

use std::time::Duration;

use mq_core::backend::Stopped;
use mq_core::limits::DELAY_MAX;
use mq_core::message::InvalidMessage;
use mq_core::name::{NameError, ScheduleName};
use mq_core::schedule::ScheduleRefused;

use crate::error::EnqueueError;

/// Why a call about schedules failed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// The name is not valid.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The cron expression cannot be read.
    #[error(
        "{expression:?} is not a cron expression: {reason}; \
         `0 9 * * MON-FRI` is nine o'clock on working days, `*/30 * * * * *` every half minute"
    )]
    Expression {
        /// What was given.
        expression: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Neither the machine nor the database that is linked in knows the time zone.
    #[error("there is no time zone {zone:?}; use a name such as `Europe/Berlin` or `UTC`")]
    Zone {
        /// What was given.
        zone: String,
    },
    /// A zone was given for something that is not a cron expression.
    #[error("only a cron expression has a time zone; leave it out")]
    ZoneWithoutCron,
    /// The expression names no moment: the 30th of February, say.
    #[error("{expression:?} never fires; check its day and month")]
    Never {
        /// What was given.
        expression: String,
    },
    /// The interval is out of range.
    #[error("an interval of {given:?} is out of range; allowed are 1 s to {DELAY_MAX:?}")]
    Interval {
        /// What was given.
        given: Duration,
    },
    /// A schedule without a message.
    #[error("the schedule sends nothing; give it a message with `.message(…)`")]
    NoMessage,
    /// The message is not valid.
    #[error("the schedule's message is not valid: {source}")]
    Invalid {
        /// What is wrong.
        #[source]
        source: InvalidMessage,
    },
    /// The message could not be encoded.
    #[error(transparent)]
    Encode(#[from] mq_dispatch::EncodeError),
    /// An option of the message makes no sense for one that is sent again and again.
    #[error("a schedule's message cannot have {option}; {remedy}")]
    Option {
        /// The option.
        option: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// There is none of that name.
    #[error(
        "there is no schedule {name}; `schedules().list()` and `mq schedule ls` show those there are"
    )]
    Unknown {
        /// The name.
        name: ScheduleName,
    },
    /// It was written by another version of mq, or is damaged: put it again.
    #[error("schedule {name} cannot be read: {reason}; put it again with this version")]
    Unreadable {
        /// The name.
        name: ScheduleName,
        /// What is wrong.
        reason: String,
    },
    /// There are too many schedules, or they are too large.
    #[error(transparent)]
    TooLarge(ScheduleRefused),
    /// Others keep changing it.
    #[error("schedule {name} keeps being changed by others; try again")]
    Busy {
        /// The name.
        name: ScheduleName,
    },
    /// The store does not take its message, or has no room for the schedule.
    #[error(transparent)]
    Enqueue(#[from] EnqueueError),
    /// The engine does not serve any more.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl ScheduleError {
    /// A stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Name(error) => error.code(),
            Self::Expression { .. } => "expression",
            Self::Zone { .. } | Self::ZoneWithoutCron => "zone",
            Self::Never { .. } => "never",
            Self::Interval { .. } => "interval",
            Self::NoMessage => "no_message",
            Self::Invalid { source } => source.code(),
            Self::Encode(error) => error.code(),
            Self::Option { .. } => "option",
            Self::Unknown { .. } => "unknown_schedule",
            Self::Unreadable { .. } => "unreadable_schedule",
            Self::TooLarge(_) => "too_large",
            Self::Busy { .. } => "busy",
            Self::Enqueue(error) => error.code(),
            Self::Stopped(stopped) => stopped.code(),
        }
    }
}

impl From<ScheduleRefused> for ScheduleError {
    fn from(refused: ScheduleRefused) -> Self {
        match refused {
            ScheduleRefused::Unknown { name } => Self::Unknown { name },
            ScheduleRefused::Changed { name } | ScheduleRefused::NotLater { name, .. } => {
                Self::Busy { name }
            }
            ScheduleRefused::Enqueue(refused) => {
                Self::Enqueue(crate::error::refused_to_error(refused, Vec::new()))
            }
            ScheduleRefused::TooMany
            | ScheduleRefused::TooLarge { .. }
            | ScheduleRefused::TooLargeTogether { .. } => Self::TooLarge(refused),
        }
    }
}
