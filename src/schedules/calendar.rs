//! Which moments a schedule names: cron expressions in a time zone, intervals, or none.
//!
//! Invariants
//! 1. Moments are found in ascending order, each once, whatever daylight saving time does to the local clock.
//! 2. A schedule that names its hours never loses a run to a change of the clock and never has one twice: a local time
//!    that does not exist fires at the first moment after the gap (several fire once), a local time that comes twice
//!    fires the first time.
//! 3. A schedule for every hour goes by time that passes: nothing is made up for in a gap, because no time is missing,
//!    and both passes of a repeated hour fire.
//!
//! To hold 2, days and hours are looked for on a calendar without zones; only what was found is put into the zone.

use std::time::Duration;

use croner::parser::{CronParser, Seconds, Year};
use croner::{Cron, CronComponent};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{Timestamp as Instant, Zoned};
use mq_core::limits::DELAY_MAX;
use mq_core::time::Timestamp;

use super::error::ScheduleError;

/// Characters of a cron expression: enough for lists in every field, too few to keep the parser busy.
pub(crate) const EXPRESSION_LEN_MAX: usize = 256;
/// The shortest interval.
pub(crate) const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// The moments of one schedule.
#[derive(Clone, Debug)]
pub(crate) enum Calendar {
    /// None: it fires by hand only.
    ByHand,
    /// Each so long after the one before.
    Every(Duration),
    /// Those of an expression.
    Cron(Box<CronCalendar>),
}

impl Calendar {
    /// An interval of whole milliseconds.
    ///
    /// # Errors
    /// [`ScheduleError::Interval`] if it is out of range.
    pub(crate) fn every(interval: Duration) -> Result<Self, ScheduleError> {
        if interval < INTERVAL_MIN || interval > DELAY_MAX {
            return Err(ScheduleError::Interval { given: interval });
        }
        Ok(Self::Every(interval))
    }

    /// An expression in a zone.
    ///
    /// # Errors
    /// [`ScheduleError::Expression`] or [`ScheduleError::Zone`].
    pub(crate) fn cron(expression: &str, zone: &str) -> Result<Self, ScheduleError> {
        let cron = CronCalendar::new(expression, zone)?;
        Ok(Self::Cron(Box::new(cron)))
    }

    /// The first moment, for a schedule that begins `now`.
    pub(crate) fn first(&self, now: Timestamp) -> Option<Timestamp> {
        self.after(now)
    }

    /// The first moment after `at`, which is one of its moments if it is an interval.
    pub(crate) fn after(&self, at: Timestamp) -> Option<Timestamp> {
        match self {
            Self::ByHand => None,
            Self::Every(interval) => Some(at.after(*interval)),
            Self::Cron(cron) => cron.after(at),
        }
    }

    /// The last moment until `end`, itself included; `due` is a moment not after it.
    pub(crate) fn last(&self, due: Timestamp, end: Timestamp) -> Timestamp {
        let found = match self {
            Self::ByHand => None,
            Self::Every(interval) => {
                let interval = whole_ms(*interval).max(1);
                let whole = whole_ms(end.since(due)) / interval;
                Some(Timestamp::from_ms(
                    due.as_ms().saturating_add(whole.saturating_mul(interval)),
                ))
            }
            Self::Cron(cron) => cron.last(end),
        };
        found.unwrap_or(due).max(due)
    }

    /// The moment before `at`, which is one of its moments.
    pub(crate) fn before(&self, at: Timestamp) -> Option<Timestamp> {
        match self {
            Self::ByHand => None,
            Self::Every(interval) => {
                let before = at.as_ms().checked_sub(whole_ms(*interval));
                before.map(Timestamp::from_ms)
            }
            Self::Cron(cron) => cron.last(Timestamp::from_ms(at.as_ms().checked_sub(1)?)),
        }
    }
}

/// A cron expression in a time zone.
#[derive(Clone, Debug)]
pub(crate) struct CronCalendar {
    cron: Cron,
    zone: TimeZone,
    every_hour: bool,
}

impl CronCalendar {
    fn new(expression: &str, zone: &str) -> Result<Self, ScheduleError> {
        let refused = |reason: String| ScheduleError::Expression {
            expression: expression.chars().take(EXPRESSION_LEN_MAX).collect(),
            reason,
        };
        if expression.len() > EXPRESSION_LEN_MAX {
            return Err(refused(format!(
                "it has {} characters, the limit is {EXPRESSION_LEN_MAX}",
                expression.len()
            )));
        }
        // The parser takes a list of nothing for a field in which nothing matches, and the search goes on for minutes.
        let has_gap = |field: &str| field.split(',').any(str::is_empty);
        if expression.split_whitespace().any(has_gap) {
            return Err(refused("a list has an empty place".to_owned()));
        }
        let parser = CronParser::builder()
            .seconds(Seconds::Optional)
            .year(Year::Disallowed)
            .build();
        let cron = parser
            .parse(expression)
            .map_err(|error| refused(error.to_string()))?;
        let every_hour = is_every_hour(&cron.pattern.hours);
        let zone = find_zone(zone)?;
        Ok(Self {
            cron,
            zone,
            every_hour,
        })
    }

    fn after(&self, at: Timestamp) -> Option<Timestamp> {
        let start = instant_of(at)?;
        if self.every_hour {
            let start = start.to_zoned(self.zone.clone());
            let found = self.cron.find_next_occurrence(&start, false).ok()?;
            return timestamp_of(found.timestamp());
        }
        let mut local = self.local(start)?;
        loop {
            local = self.cron.find_next_occurrence(&local, false).ok()?;
            let found = self.instant(local.datetime())?;
            if found > start {
                return timestamp_of(found);
            }
        }
    }

    fn last(&self, end: Timestamp) -> Option<Timestamp> {
        let end = instant_of(end)?;
        if self.every_hour {
            let end = end.to_zoned(self.zone.clone());
            let found = self.cron.find_previous_occurrence(&end, true).ok()?;
            return timestamp_of(found.timestamp());
        }
        // The second pass of a repeated hour comes after all of the first one, so look from the end of the hour.
        let mut local = self.local(end)?;
        if let AmbiguousOffset::Fold { before, after } =
            self.zone.to_ambiguous_timestamp(local.datetime()).offset()
        {
            let repeated = before.duration_since(after);
            local = local.checked_add(repeated).ok()?;
        }
        let mut inclusive = true;
        loop {
            local = self.cron.find_previous_occurrence(&local, inclusive).ok()?;
            inclusive = false;
            let found = self.instant(local.datetime())?;
            if found <= end {
                return timestamp_of(found);
            }
        }
    }

    /// The local time of a moment, as a moment of a calendar without zones.
    fn local(&self, at: Instant) -> Option<Zoned> {
        let local = self.zone.to_datetime(at);
        local.to_zoned(TimeZone::UTC).ok()
    }

    /// The moment of a local time: the first of two, the end of the gap if there is none.
    fn instant(&self, local: DateTime) -> Option<Instant> {
        let ambiguous = self.zone.to_ambiguous_timestamp(local);
        match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => {
                ambiguous.earlier().ok()
            }
            AmbiguousOffset::Gap { .. } => {
                let behind = ambiguous.later().ok()?;
                let second = jiff::SignedDuration::from_secs(1);
                let mut changes = self.zone.preceding(behind.checked_add(second).ok()?);
                changes.next().map(|change| change.timestamp())
            }
        }
    }
}

fn is_every_hour(hours: &CronComponent) -> bool {
    hours.values().len() == 24
}

/// Looks in the machine's database first, which may be newer, then in the one that is linked in.
fn find_zone(name: &str) -> Result<TimeZone, ScheduleError> {
    let known = TimeZone::get(name).or_else(|_| TimeZoneDatabase::bundled().get(name));
    known.map_err(|_| ScheduleError::Zone {
        zone: name.chars().take(EXPRESSION_LEN_MAX).collect(),
    })
}

/// Whole seconds: no expression names anything smaller.
fn instant_of(at: Timestamp) -> Option<Instant> {
    let seconds = i64::try_from(at.as_ms() / 1_000).ok()?;
    Instant::from_second(seconds).ok()
}

fn timestamp_of(instant: Instant) -> Option<Timestamp> {
    let ms = u64::try_from(instant.as_millisecond()).ok()?;
    Some(Timestamp::from_ms(ms))
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
