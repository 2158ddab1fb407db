//! What a schedule that is due sends: the run it is due for, and what becomes of those that were missed.
//!
//! Invariant: each call costs a bounded number of steps, however long the store was closed; what is left over is done by
//! the next call, which begins where this one ended.

use std::time::Duration;

use mq_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::calendar::Calendar;

/// Messages that one fire sends at most: they share a frame.
pub(crate) const RUNS_PER_FIRE: usize = 64;
/// Missed runs that [`Missed::All`] makes up for at most; older ones are left out and counted.
pub(crate) const CATCH_UP_MAX: usize = 1_000;
/// A run that is late by no more than this is not missed.
pub(crate) const GRACE: Duration = Duration::from_secs(60);

/// What becomes of runs that were missed: the program was not running, the store was full or the clock jumped forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Missed {
    /// Nothing: runs that are late by more than a minute are left out.
    Skip,
    /// One message for all of them together, scheduled for the last one. The default.
    #[default]
    Once,
    /// A message for each of them, the last 1,000 at most.
    All,
}

/// What to send now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Runs {
    /// The times for which a message is sent, ascending.
    pub(crate) at: Vec<Timestamp>,
    /// The last time that is dealt with.
    pub(crate) due: Timestamp,
    /// Times that get no message of their own; at least so many.
    pub(crate) skipped: u64,
    /// When it is due next; it may have passed already.
    pub(crate) next: Option<Timestamp>,
}

impl Missed {
    /// What a schedule sends `now` that is due since `due`: at most `limit` messages.
    pub(crate) fn runs(
        self,
        calendar: &Calendar,
        due: Timestamp,
        now: Timestamp,
        limit: usize,
    ) -> Runs {
        match self {
            Self::All => all(calendar, due, now, limit),
            Self::Once => last_only(calendar, due, now),
            Self::Skip => {
                let mut runs = last_only(calendar, due, now);
                if now.since(runs.due) > GRACE {
                    runs.at.clear();
                    runs.skipped += 1;
                }
                runs
            }
        }
    }
}

fn last_only(calendar: &Calendar, due: Timestamp, now: Timestamp) -> Runs {
    let (mut last, mut skipped) = (due, 0);
    let next = loop {
        match calendar.after(last).filter(|next| *next <= now) {
            None => break calendar.after(last),
            Some(_) if skipped == CATCH_UP_MAX as u64 => {
                last = calendar.last(last, now);
                break calendar.after(last);
            }
            Some(next) => {
                last = next;
                skipped += 1;
            }
        }
    };
    Runs {
        at: vec![last],
        due: last,
        skipped,
        next,
    }
}

fn all(calendar: &Calendar, due: Timestamp, now: Timestamp, limit: usize) -> Runs {
    let missed = passed(calendar, due, now);
    let (first, skipped) = if missed > CATCH_UP_MAX {
        newest(calendar, due, now)
    } else {
        (due, 0)
    };
    let mut at = vec![first];
    let mut next = calendar.after(first);
    while let Some(run) = next.filter(|run| *run <= now && at.len() < limit) {
        at.push(run);
        next = calendar.after(run);
    }
    Runs {
        due: at.last().copied().unwrap_or(due),
        at,
        skipped,
        next,
    }
}

/// How many times have passed, counted to one more than are made up for.
fn passed(calendar: &Calendar, due: Timestamp, now: Timestamp) -> usize {
    let times = std::iter::successors(Some(due), |at| calendar.after(*at));
    times
        .take_while(|at| *at <= now)
        .take(CATCH_UP_MAX + 1)
        .count()
}

/// The first of the newest times that are made up for; at least one older one is left out.
fn newest(calendar: &Calendar, due: Timestamp, now: Timestamp) -> (Timestamp, u64) {
    let last = calendar.last(due, now);
    let times = std::iter::successors(Some(last), |at| calendar.before(*at));
    let first = times
        .take_while(|at| *at >= due)
        .take(CATCH_UP_MAX)
        .last()
        .unwrap_or(last);
    let left_out = std::iter::successors(Some(due), |at| calendar.after(*at))
        .take_while(|at| *at < first)
        .take(CATCH_UP_MAX)
        .count();
    (first, left_out as u64)
}

#[cfg(test)]
mod tests;
