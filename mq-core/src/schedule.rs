//! Schedules: names under which messages are enqueued again and again, and the commands about them.
//!
//! The rules know when a schedule is due next and that each due time fires once. What a calendar is, and which message
//! is sent, they never look at: both are opaque bytes that the facade writes and reads.
//!
//! Invariant: whoever computed something from a schedule hands back what it saw ([`FireSchedule::seen`],
//! [`ResumeSchedule::seen`]); if the schedule is not that any more, nothing happens.

use std::sync::Arc;

use bytes::Bytes;

use crate::command::{Accepted, EnqueueRefused};
use crate::few::Few;
use crate::limits::{
    SCHEDULE_TEMPLATE_SIZE_MAX, SCHEDULE_TIMING_SIZE_MAX, SCHEDULES_LEN_MAX, SCHEDULES_SIZE_MAX,
};
use crate::message::Draft;
use crate::name::ScheduleName;
use crate::time::Timestamp;

/// A schedule as it stands now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Its name.
    pub name: ScheduleName,
    /// When it fires, in the facade's words.
    pub timing: Bytes,
    /// What it sends and what becomes of missed times, in the facade's words.
    pub template: Bytes,
    /// The next time it fires; `None` if never by itself. While it is paused, when it would have fired.
    pub next: Option<Timestamp>,
    /// Nothing fires until it is resumed.
    pub paused: bool,
    /// Its last fire.
    pub last: Option<LastFire>,
    /// Messages sent since it was created.
    pub runs: u64,
    /// Due times since it was created for which no message of their own was sent.
    pub skipped: u64,
}

/// When a schedule fired last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastFire {
    /// The time it was due.
    pub due: Timestamp,
    /// When its messages were enqueued.
    pub at: Timestamp,
}

/// What becomes of a schedule that has the name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It gets the new timing and template. If its timing is the same, what it is due for stays due.
    Replace,
    /// It stays as it is.
    Keep,
}

/// Create a schedule, or change the one of that name.
#[derive(Clone, Debug)]
pub struct PutSchedule {
    /// Its name.
    pub name: ScheduleName,
    /// At most [`SCHEDULE_TIMING_SIZE_MAX`] bytes.
    pub timing: Bytes,
    /// At most [`SCHEDULE_TEMPLATE_SIZE_MAX`] bytes.
    pub template: Bytes,
    /// When it fires first, if it is new or its timing changes.
    pub next: Option<Timestamp>,
    /// What becomes of the one that is there.
    pub existing: Existing,
}

/// What a put did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// There was none of that name.
    Created,
    /// The one that was there has changed.
    Changed,
    /// The one that was there stays as it is: it is the same already, or was to be kept.
    Unchanged,
}

/// Let a schedule fire no more until it is resumed.
#[derive(Clone, Debug)]
pub struct PauseSchedule {
    /// Which.
    pub name: ScheduleName,
}

/// Let a schedule fire from another time on: one that was paused, or an interval whose clock was set back. What it was
/// due for is not made up for.
#[derive(Clone, Debug)]
pub struct ResumeSchedule {
    /// The schedule that `next` was computed from.
    pub seen: Arc<Schedule>,
    /// When it fires next.
    pub next: Option<Timestamp>,
}

/// Remove a schedule. Messages that it has sent stay.
#[derive(Clone, Debug)]
pub struct RemoveSchedule {
    /// Which.
    pub name: ScheduleName,
}

/// Why a schedule fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firing {
    /// It is due.
    Due {
        /// Due times for which no message of their own is sent.
        skipped: u64,
        /// When it is due next: later than now.
        next: Option<Timestamp>,
    },
    /// Somebody asked for it: what it is due for stays, and it may be paused.
    ByHand,
}

/// Send a schedule's messages and write down when it fires next: one command, so both stand in one frame or neither.
#[derive(Clone, Debug)]
pub struct FireSchedule {
    /// The schedule that the rest was computed from.
    pub seen: Arc<Schedule>,
    /// The time for which it fires: the last one, if it is several.
    pub due: Timestamp,
    /// Its messages; none if all due times are skipped.
    pub drafts: Few<Draft>,
    /// Why.
    pub firing: Firing,
}

/// What a fire answers: its messages, in order.
pub type Fired = Few<Accepted>;

/// Why a command about a schedule was refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleRefused {
    /// There is none of that name.
    #[error("there is no schedule {name}; `mq schedule ls` lists those there are")]
    Unknown {
        /// The name.
        name: ScheduleName,
    },
    /// It was changed, fired or removed meanwhile: look again.
    #[error("schedule {name} was changed meanwhile; look again")]
    Changed {
        /// Its name.
        name: ScheduleName,
    },
    /// The store has as many schedules as it takes.
    #[error("the store holds {SCHEDULES_LEN_MAX} schedules, its limit; remove some")]
    TooMany,
    /// Schedules are too large together.
    #[error(
        "schedules of {used} bytes and {added} more are over the limit of {SCHEDULES_SIZE_MAX}; send references instead of large payloads"
    )]
    TooLargeTogether {
        /// Bytes of all schedules.
        used: u64,
        /// Bytes that this one adds.
        added: u64,
    },
    /// Its timing or message is too large.
    #[error("{what} of {size} bytes is over the limit of {limit} for one schedule; {remedy}")]
    TooLarge {
        /// `a timing` or `a message`.
        what: &'static str,
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
        /// What to do.
        remedy: &'static str,
    },
    /// The next time is not later than the one it fires for.
    #[error("schedule {name} cannot fire next at {next}: it fires for {due} now")]
    NotLater {
        /// Its name.
        name: ScheduleName,
        /// The next time given.
        next: Timestamp,
        /// The time it fires for.
        due: Timestamp,
    },
    /// Its messages were refused.
    #[error(transparent)]
    Enqueue(#[from] EnqueueRefused),
}

impl Schedule {
    /// Bytes that count against [`SCHEDULES_SIZE_MAX`].
    #[must_use]
    pub fn size(&self) -> u64 {
        size_of(&self.name, &self.timing, &self.template)
    }
}

pub(crate) fn size_of(name: &ScheduleName, timing: &Bytes, template: &Bytes) -> u64 {
    let size = name.as_str().len() + timing.len() + template.len();
    u64::try_from(size).unwrap_or(u64::MAX)
}

pub(crate) fn check_sizes(timing: &Bytes, template: &Bytes) -> Result<(), ScheduleRefused> {
    if timing.len() > SCHEDULE_TIMING_SIZE_MAX {
        return Err(ScheduleRefused::TooLarge {
            what: "a timing",
            size: timing.len(),
            limit: SCHEDULE_TIMING_SIZE_MAX,
            remedy: "shorten the expression, or use several schedules",
        });
    }
    if template.len() > SCHEDULE_TEMPLATE_SIZE_MAX {
        return Err(ScheduleRefused::TooLarge {
            what: "a message",
            size: template.len(),
            limit: SCHEDULE_TEMPLATE_SIZE_MAX,
            remedy: "send a reference to what is large",
        });
    }
    Ok(())
}
