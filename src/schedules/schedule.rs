//! A schedule as a program writes it down: when, in which zone, what is sent, what becomes of missed runs.

use std::time::Duration;

use bytes::Bytes;
use mq_core::limits::HEADERS_SIZE_MAX;
use mq_core::message::{Due, InvalidMessage, NewMessage};
use mq_core::name::ScheduleName;
use mq_core::time::Timestamp;
use mq_dispatch::{EncodeError, Outgoing};

use crate::control::moment;

use super::calendar::Calendar;
use super::catch_up::Missed;
use super::error::ScheduleError;
use super::stored;

/// Header of each message that a schedule sent: the schedule's name.
pub const SCHEDULE_HEADER: &str = "mq-schedule";
/// Header of each message that a schedule sent: the time for which it was sent, as RFC 3339 in UTC.
pub const SCHEDULED_FOR_HEADER: &str = "mq-scheduled-for";
/// Bytes of a value of [`SCHEDULED_FOR_HEADER`]: `2026-03-29T01:00:00.000Z` and some for the far future.
const SCHEDULED_FOR_SIZE_MAX: usize = 40;
/// Times that one preview lists at most.
const PREVIEW_LEN_MAX: usize = 1_000;

/// When a schedule fires.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum When {
    /// By [`Schedules::run_now`](crate::Schedules::run_now) only.
    ByHand,
    /// Each so long after the one before.
    Every(Duration),
    /// At the times of a cron expression in a time zone.
    Cron {
        /// Five fields, or six with seconds first.
        expression: String,
        /// A name of the IANA database.
        zone: String,
    },
}

/// What is sent when, again and again. Nothing is checked before [`Schedules::put`](crate::Schedules::put).
///
/// # Examples
/// ```
/// use mq::prelude::*;
/// use mq::{Missed, Schedule, Timestamp};
///
/// #[derive(Serialize, Deserialize, Message)]
/// #[message(kind = "report.daily")]
/// struct DailyReport;
///
/// let schedule = Schedule::cron("30 2 * * *")
///     .zone("Europe/Berlin")
///     .missed(Missed::Once)
///     .message(DailyReport);
/// // The night in which the clock jumps from two to three: the run of half past two comes at three.
/// let saturday = Timestamp::from_ms(1_774_695_600_000);
/// let fires = schedule.next_fires(2, saturday)?;
/// assert_eq!(fires[0], Timestamp::from_ms(1_774_746_000_000)); // 2026-03-29T03:00:00+02:00
/// assert_eq!(fires[1], Timestamp::from_ms(1_774_830_600_000)); // 2026-03-30T02:30:00+02:00
/// # Ok::<(), mq::ScheduleError>(())
/// ```
#[must_use = "nothing is scheduled yet: put it"]
#[derive(Clone, Debug)]
pub struct Schedule {
    when: When,
    zone_without_cron: bool,
    missed: Missed,
    message: Option<Result<Box<NewMessage>, EncodeError>>,
}

impl Schedule {
    fn new(when: When) -> Self {
        Self {
            when,
            zone_without_cron: false,
            missed: Missed::default(),
            message: None,
        }
    }

    /// At the times of a cron expression: minute, hour, day of month, month, day of week; or six fields, with seconds
    /// first. At most 256 characters. Names (`MON`, `JAN`), lists, ranges, steps, `L`, `W`, `#` and `@daily` are
    /// understood. If both day of month and day of week are given, either will do. The time zone is UTC until
    /// [`Schedule::zone`] says otherwise.
    pub fn cron(expression: impl Into<String>) -> Self {
        Self::new(When::Cron {
            expression: expression.into(),
            zone: "UTC".to_owned(),
        })
    }

    /// Each so long after the one before, 1 s to 100 years; the first one so long after it is put.
    pub fn every(interval: Duration) -> Self {
        Self::new(When::Every(interval))
    }

    /// Never by itself: [`Schedules::run_now`](crate::Schedules::run_now) sends it.
    pub fn by_hand() -> Self {
        Self::new(When::ByHand)
    }

    /// The zone of a cron expression, by its name in the IANA database: `Europe/Berlin`. The machine's database is used,
    /// and the one that is linked in where the machine has none.
    pub fn zone(mut self, name: impl Into<String>) -> Self {
        match &mut self.when {
            When::Cron { zone, .. } => *zone = name.into(),
            When::ByHand | When::Every(_) => self.zone_without_cron = true,
        }
        self
    }

    /// What becomes of runs that were missed. Default: [`Missed::Once`].
    pub const fn missed(mut self, missed: Missed) -> Self {
        self.missed = missed;
        self
    }

    /// What is sent: a value, or an [`Outgoing`] with a queue, priority, keys or headers of its own. With a dedup key, a
    /// run that finds the one before it still there does what its policy says, so that runs never pile up.
    pub fn message(mut self, message: impl Into<Outgoing>) -> Self {
        self.message = Some(message.into().into_message().map(Box::new));
        self
    }

    /// When it fires.
    #[must_use]
    pub const fn when(&self) -> &When {
        &self.when
    }

    /// What becomes of missed runs.
    #[must_use]
    pub const fn missed_policy(&self) -> Missed {
        self.missed
    }

    /// What is sent, if it was given and could be encoded.
    #[must_use]
    pub fn new_message(&self) -> Option<&NewMessage> {
        let message = self.message.as_ref()?.as_ref();
        message.ok().map(Box::as_ref)
    }

    /// The next `count` times after `from` (at most 1,000), without storing anything.
    ///
    /// # Errors
    /// [`ScheduleError`] if it says nothing that can fire.
    pub fn next_fires(
        &self,
        count: usize,
        from: Timestamp,
    ) -> Result<Vec<Timestamp>, ScheduleError> {
        let calendar = self.calendar(from)?;
        Ok(preview(&calendar, calendar.first(from), count))
    }

    /// Its moments; none before `now` matters.
    fn calendar(&self, now: Timestamp) -> Result<Calendar, ScheduleError> {
        if self.zone_without_cron {
            return Err(ScheduleError::ZoneWithoutCron);
        }
        let calendar = calendar_of(&self.when)?;
        if let When::Cron { expression, .. } = &self.when
            && calendar.first(now).is_none()
        {
            let expression = expression.clone();
            return Err(ScheduleError::Never { expression });
        }
        Ok(calendar)
    }

    /// Checks all of it.
    pub(crate) fn check(
        self,
        name: &ScheduleName,
        now: Timestamp,
        payload_size_max: usize,
    ) -> Result<Checked, ScheduleError> {
        let calendar = self.calendar(now)?;
        let message = *self.message.ok_or(ScheduleError::NoMessage)??;
        check_message(&message, name, payload_size_max)?;
        Ok(Checked {
            timing: stored::timing(&self.when),
            template: stored::template(self.missed, &message),
            first: calendar.first(now),
        })
    }

    /// Its message, if that is of a type with an index.
    pub(crate) fn declares(&self) -> Option<&NewMessage> {
        let message = self.message.as_ref()?.as_ref().ok()?;
        (!message.index.is_empty()).then_some(message)
    }

    pub(crate) fn of_stored(when: When, missed: Missed, message: NewMessage) -> Self {
        Self {
            missed,
            message: Some(Ok(Box::new(message))),
            ..Self::new(when)
        }
    }
}

/// A schedule that may be stored.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    pub(crate) timing: Bytes,
    pub(crate) template: Bytes,
    pub(crate) first: Option<Timestamp>,
}

pub(crate) fn calendar_of(when: &When) -> Result<Calendar, ScheduleError> {
    match when {
        When::ByHand => Ok(Calendar::ByHand),
        When::Every(interval) => Calendar::every(*interval),
        When::Cron { expression, zone } => Calendar::cron(expression, zone),
    }
}

/// `first` and the moments after it.
pub(crate) fn preview(
    calendar: &Calendar,
    first: Option<Timestamp>,
    count: usize,
) -> Vec<Timestamp> {
    std::iter::successors(first, |at| calendar.after(*at))
        .take(count.min(PREVIEW_LEN_MAX))
        .collect()
}

fn check_message(
    message: &NewMessage,
    name: &ScheduleName,
    payload_size_max: usize,
) -> Result<(), ScheduleError> {
    let refuse = |option, remedy| Err(ScheduleError::Option { option, remedy });
    if message.envelope.idempotency_key.is_some() {
        return refuse(
            "an idempotency key",
            "each run is a message of its own; use a dedup key to keep runs from piling up",
        );
    }
    if matches!(message.due, Due::At(_)) {
        return refuse(
            "a due time",
            "the schedule says when; use a delay to start later than that",
        );
    }
    let mut headers = message.envelope.headers.iter();
    if headers.any(|(name, _)| name == SCHEDULE_HEADER || name == SCHEDULED_FOR_HEADER) {
        return refuse("a header `mq-schedule…`", "the engine sets these itself");
    }
    let invalid = |source| ScheduleError::Invalid { source };
    message.check(payload_size_max).map_err(invalid)?;
    let size = message.envelope.headers.iter();
    let size: usize = size.map(|(name, value)| name.len() + value.len()).sum();
    let added = SCHEDULE_HEADER.len()
        + name.as_str().len()
        + SCHEDULED_FOR_HEADER.len()
        + SCHEDULED_FOR_SIZE_MAX;
    if size + added > HEADERS_SIZE_MAX {
        let size = size + added;
        return Err(invalid(InvalidMessage::HeadersTooLarge { size }));
    }
    Ok(())
}

/// The message of one run.
pub(crate) fn message_of_run(
    template: &NewMessage,
    name: &ScheduleName,
    at: Timestamp,
) -> NewMessage {
    let mut message = template.clone();
    let headers = &mut message.envelope.headers;
    headers.push((SCHEDULE_HEADER.to_owned(), name.to_string()));
    headers.push((SCHEDULED_FOR_HEADER.to_owned(), moment(at)));
    message
}
