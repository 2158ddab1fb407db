//! Changes of many messages by filter: jobs that are journalled, go on after a restart, and stay as a record of who did
//! what.
//!
//! The rules know how far a job is and what came of it. What it looks for and does is the engine's: to them it is bytes.
//! A step of a job is the changes of some messages and the job's new position in one frame, so that a crash neither
//! repeats nor forgets a message. Messages that were enqueued after the job began are not touched: its cutoff.

use std::fmt;

use bytes::Bytes;

use crate::command::{EnqueueRefused, OperateRefused};
use crate::id::Seq;
use crate::limits::{BULK_RUNNING_MAX, BULK_SPEC_SIZE_MAX};
use crate::time::Timestamp;

/// Number of a bulk job in its store, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BulkId(pub u64);

impl fmt::Display for BulkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What came of the messages that a job has met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BulkCounts {
    /// Matched when they were looked at.
    pub matched: u64,
    /// Changed.
    pub done: u64,
    /// Asked to stop: their handlers decide.
    pub requested: u64,
    /// Did not match any more when it was their turn.
    pub passed: u64,
    /// Refused: their state does not allow it.
    pub wrong_state: u64,
    /// Refused: they left the store meanwhile.
    pub not_kept: u64,
    /// Refused: their dedup key is held by another message.
    pub key_held: u64,
    /// Refused: there is no room for them.
    pub full: u64,
    /// Left out: their payloads could not be read.
    pub unreadable: u64,
}

impl BulkCounts {
    /// Every count with its name, in order.
    #[must_use]
    pub const fn each(&self) -> [(&'static str, u64); 9] {
        [
            ("matched", self.matched),
            ("done", self.done),
            ("requested", self.requested),
            ("passed", self.passed),
            ("wrong_state", self.wrong_state),
            ("not_kept", self.not_kept),
            ("key_held", self.key_held),
            ("full", self.full),
            ("unreadable", self.unreadable),
        ]
    }

    /// The counts in the order of [`BulkCounts::each`].
    #[must_use]
    pub const fn of(counts: [u64; 9]) -> Self {
        let [
            matched,
            done,
            requested,
            passed,
            wrong_state,
            not_kept,
            key_held,
            full,
            unreadable,
        ] = counts;
        Self {
            matched,
            done,
            requested,
            passed,
            wrong_state,
            not_kept,
            key_held,
            full,
            unreadable,
        }
    }

    /// Counts a refusal.
    pub const fn refuse(&mut self, refused: &OperateRefused) {
        match refused {
            OperateRefused::NeverIssued { .. } | OperateRefused::NotKept { .. } => {
                self.not_kept += 1;
            }
            OperateRefused::WrongState { .. } => self.wrong_state += 1,
            OperateRefused::KeyHeld { .. } => self.key_held += 1,
            OperateRefused::Full(_) => self.full += 1,
        }
    }

    /// Messages that matched and were not changed.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.wrong_state + self.not_kept + self.key_held + self.full
    }
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BulkEnd {
    /// It has met every message up to its cutoff.
    Completed,
    /// Somebody stopped it; what it had done stays done.
    Cancelled {
        /// Who, in their own words.
        by: String,
    },
    /// It could not go on; what it had done stays done.
    Failed {
        /// Why.
        reason: String,
    },
}

impl BulkEnd {
    /// The word in JSON and logs.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Cancelled { .. } => "cancelled",
            Self::Failed { .. } => "failed",
        }
    }
}

/// A job, running or ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkJob {
    /// Its number.
    pub id: BulkId,
    /// What it looks for and does, in the words of the engine.
    pub spec: Bytes,
    /// It touches no message after this one.
    pub cutoff: Seq,
    /// Who started it, in their own words.
    pub by: String,
    /// When.
    pub started: Timestamp,
    /// It has met all messages up to this one.
    pub cursor: Seq,
    /// What came of them.
    pub counts: BulkCounts,
    /// How it ended and when, if it has.
    pub ended: Option<(BulkEnd, Timestamp)>,
}

/// Begin a job.
#[derive(Clone, Debug)]
pub struct StartBulk {
    /// What it looks for and does; at most [`BULK_SPEC_SIZE_MAX`] bytes.
    pub spec: Bytes,
    /// Who asks, in their own words; cut to [`crate::limits::ACTOR_SIZE_MAX`] bytes.
    pub by: String,
}

/// Write down how far a job is. Belongs into the frame of the changes it speaks of.
#[derive(Clone, Copy, Debug)]
pub struct StepBulk {
    /// Which.
    pub id: BulkId,
    /// It has met all messages up to this one.
    pub cursor: Seq,
    /// What came of all of them since its beginning.
    pub counts: BulkCounts,
}

/// End a job.
#[derive(Clone, Debug)]
pub struct EndBulk {
    /// Which.
    pub id: BulkId,
    /// In which way.
    pub how: BulkEnd,
}

/// Why a command about a job was refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BulkRefused {
    /// Too many jobs are running.
    #[error("{BULK_RUNNING_MAX} bulk jobs are running; wait for one, or cancel one")]
    TooMany,
    /// What it looks for and does takes too many bytes.
    #[error(
        "a bulk job of {size} bytes is over the limit of {BULK_SPEC_SIZE_MAX}; use a shorter filter"
    )]
    TooLarge {
        /// Its size.
        size: usize,
    },
    /// The disk has no more room than settling needs.
    #[error(transparent)]
    Full(#[from] EnqueueRefused),
    /// There is no such job, or no record of it any more.
    #[error("there is no bulk job {id}; ended ones are remembered for a while only")]
    Unknown {
        /// The number.
        id: BulkId,
    },
    /// It has ended.
    #[error("bulk job {id} has ended: it is {how}")]
    Ended {
        /// The number.
        id: BulkId,
        /// The word of its end.
        how: &'static str,
    },
}

impl BulkRefused {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "unknown_job",
            Self::Full(error) => error.code(),
            Self::TooMany | Self::TooLarge { .. } | Self::Ended { .. } => "bulk",
        }
    }
}
