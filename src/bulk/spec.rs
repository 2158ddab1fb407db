//! What a bulk job looks for and does, as JSON in the journal.
//!
//! Invariant: what cannot be understood (written by a later version, say) is an error; the job then ends as failed.

use mq_core::backend::OperateRequest;
use mq_core::command::Operation;
use mq_core::message::{Due, Priority};
use mq_core::name::{Label, QueueName};
use mq_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::filter::Filter;

/// A bulk job's orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Spec {
    pub(crate) filter: Filter,
    #[serde(rename = "do")]
    pub(crate) what: What,
    /// Messages changed per second at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rate: Option<u32>,
}

/// What is done to each message, with names that were checked when the job was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum What {
    Cancel,
    Hold {
        label: String,
    },
    Release,
    RunNow,
    /// Milliseconds since 1970; 0 is at once.
    Reschedule {
        due: u64,
    },
    SetPriority {
        priority: u8,
    },
    Move {
        queue: String,
    },
    Replay,
    Purge,
}

impl What {
    /// Delays are counted from `wall`, so that all messages of a job get one due time. A new payload is for one message only.
    pub(crate) fn of(request: OperateRequest, wall: Timestamp) -> Self {
        match request {
            OperateRequest::Cancel => Self::Cancel,
            OperateRequest::Hold(label) => Self::Hold {
                label: label.as_str().to_owned(),
            },
            OperateRequest::Release => Self::Release,
            OperateRequest::RunNow => Self::RunNow,
            OperateRequest::Reschedule(due) => Self::Reschedule {
                due: match due {
                    Due::Now => 0,
                    Due::After(delay) => wall.after(delay).as_ms(),
                    Due::At(at) => at.as_ms(),
                },
            },
            OperateRequest::SetPriority(priority) => Self::SetPriority {
                priority: priority.get(),
            },
            OperateRequest::MoveTo(queue) => Self::Move {
                queue: queue.as_str().to_owned(),
            },
            OperateRequest::Replay { .. } => Self::Replay,
            OperateRequest::Purge => Self::Purge,
        }
    }

    /// What the rules are asked for each message.
    pub(crate) fn operation(&self) -> Result<Operation, String> {
        Ok(match self {
            Self::Cancel => Operation::Cancel,
            Self::Hold { label } => {
                let label = Label::new(label.as_str()).map_err(|error| error.to_string())?;
                Operation::Hold(label)
            }
            Self::Release => Operation::Release,
            Self::RunNow => Operation::RunNow,
            Self::Reschedule { due: 0 } => Operation::Reschedule(Due::Now),
            Self::Reschedule { due } => Operation::Reschedule(Due::At(Timestamp::from_ms(*due))),
            Self::SetPriority { priority } => {
                let level = Priority::new(*priority);
                let level = level.ok_or_else(|| format!("{priority} is no priority"))?;
                Operation::SetPriority(level)
            }
            Self::Move { queue } => {
                let queue = QueueName::new(queue.as_str()).map_err(|error| error.to_string())?;
                Operation::MoveTo(queue)
            }
            Self::Replay => Operation::Replay { edit: None },
            Self::Purge => Operation::Purge,
        })
    }

    /// The word in JSON and for people.
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Hold { .. } => "hold",
            Self::Release => "release",
            Self::RunNow => "run-now",
            Self::Reschedule { .. } => "reschedule",
            Self::SetPriority { .. } => "set-priority",
            Self::Move { .. } => "move",
            Self::Replay => "replay",
            Self::Purge => "purge",
        }
    }
}

impl Spec {
    pub(crate) fn encode(&self) -> Result<Vec<u8>, String> {
        serde_json::to_vec(self).map_err(|error| error.to_string())
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes)
            .map_err(|error| format!("what the job is to do cannot be understood: {error}"))
    }
}
