//! Fires schedules that are due: on the commit thread, between rounds. What is due is copied under the manager token;
//! calendars are searched and messages encoded under none; the fire itself is one command.
//!
//! Invariants
//! 1. A schedule that is due fires, is put off, or was changed meanwhile: after each pass it is due no more, or another.
//! 2. A fire that is refused is tried again as long as its time has not come out; it is counted and its reason shown.
//! 3. A pass deals with a bounded number of schedules and messages, for a bounded time; what is left over is the next pass.
//! 4. A schedule whose calendar makes a library panic is put off like one that cannot be read.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use mq_core::command::{EnqueueBatch, EnqueueRefused};
use mq_core::limits::SCHEDULES_LEN_MAX;
use mq_core::name::ScheduleName;
use mq_core::schedule::{FireSchedule, Firing, ResumeSchedule, Schedule as Kept, ScheduleRefused};
use mq_core::time::{Now, Timestamp};

use super::prepare::prepare_batch;
use super::shell::Shell;
use crate::schedules::{Plan, RUNS_PER_FIRE, Runs, interval_of, message_of_run};

/// Schedules that one pass fires.
const PASS_LEN: usize = 16;
/// After this long a pass begins no other fire.
const PASS_TIME: Duration = Duration::from_millis(5);
/// What was refused is tried again after this: a fire, an interval that was to begin anew.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);
/// A schedule that cannot be read is tried again after this.
const REREAD_AFTER: Duration = Duration::from_secs(60);

/// What is known of schedules beyond what the store keeps; gone with the process.
#[derive(Debug, Default)]
pub(crate) struct Scheduler {
    known: HashMap<ScheduleName, Known>,
}

#[derive(Debug)]
struct Known {
    kept: Arc<Kept>,
    plan: Result<Plan, String>,
    trouble: Trouble,
}

/// Why a schedule does not fire although it is due.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trouble {
    /// The reason, until it has fired.
    pub(crate) reason: Option<String>,
    /// Fires refused since the engine was opened or the schedule changed.
    pub(crate) refusals: u64,
}

/// A fire that did not happen.
struct Refusal {
    reason: String,
    again_after: Duration,
}

impl Scheduler {
    /// Why a schedule does not fire, if it should.
    pub(crate) fn trouble(&self, name: &ScheduleName) -> Trouble {
        let known = self.known.get(name);
        known.map(|known| known.trouble.clone()).unwrap_or_default()
    }

    fn known(&mut self, kept: &Arc<Kept>) -> &mut Known {
        if self.known.len() >= 2 * SCHEDULES_LEN_MAX {
            self.known.clear(); // most of them were removed
        }
        let known = self
            .known
            .entry(kept.name.clone())
            .or_insert_with(|| Known::new(kept));
        let is_same = known.kept.timing == kept.timing && known.kept.template == kept.template;
        // What could not be read is read again: the machine may have learned its time zone.
        if !is_same || known.plan.is_err() {
            let trouble = std::mem::take(&mut known.trouble);
            *known = Known::new(kept);
            if is_same {
                known.trouble = trouble;
            }
        }
        known
    }
}

impl Known {
    fn new(kept: &Arc<Kept>) -> Self {
        Self::by(kept, Plan::read)
    }

    fn by(kept: &Arc<Kept>, read: impl FnOnce(&Kept) -> Result<Plan, String>) -> Self {
        Self {
            kept: Arc::clone(kept),
            plan: guarded("read", || read(kept)).and_then(|read| read),
            trouble: Trouble::default(),
        }
    }
}

impl Shell {
    /// Why a schedule does not fire, if it should.
    pub(crate) fn trouble(&self, name: &ScheduleName) -> Trouble {
        self.scheduler.lock().trouble(name)
    }

    /// One pass over what is due.
    pub(super) fn fire_schedules(&self) {
        self.move_intervals();
        let (due, now) = self.look(|desk, now| {
            let due = if desk.is_closed() {
                Vec::new()
            } else {
                desk.manager.due_schedules(now, PASS_LEN)
            };
            (due, *now)
        });
        let mut scheduler = self.scheduler.lock();
        let until = now.monotonic.after(PASS_TIME);
        for kept in due {
            if self.look(|_, now| now.monotonic > until) {
                break; // what is left over is still due
            }
            let known = scheduler.known(&kept);
            match self.fire(known, &kept, &now) {
                Ok(true) => known.trouble.reason = None,
                Ok(false) => {}
                Err(refusal) => self.put_off(&mut known.trouble, &kept, refusal, &now),
            }
        }
    }

    /// An interval is time that passes: after the wall clock went back it does not wait until that has caught up.
    fn move_intervals(&self) {
        let (schedules, wall) = self.look(|desk, now| (desk.take_schedules_to_move(now), now.wall));
        for seen in schedules {
            let Ok(Some(next)) = guarded("moved", || moved(&seen, wall)) else {
                continue;
            };
            let resume = ResumeSchedule {
                seen,
                next: Some(next),
            };
            if !self.look(|desk, now| desk.move_schedule(now, &resume)) {
                break;
            }
        }
    }

    fn put_off(&self, trouble: &mut Trouble, kept: &Kept, refusal: Refusal, now: &Now) {
        let Refusal {
            reason,
            again_after,
        } = refusal;
        if trouble.reason.as_ref() != Some(&reason) {
            tracing::warn!(schedule = %kept.name, reason, "a schedule is due and cannot fire; it is tried again");
        }
        trouble.refusals += 1;
        trouble.reason = Some(reason);
        let until = now.wall.after(again_after);
        self.look(|desk, _| desk.manager.postpone_schedule(&kept.name, until));
    }

    /// Answers whether it is not due any more.
    fn fire(&self, known: &Known, kept: &Arc<Kept>, now: &Now) -> Result<bool, Refusal> {
        let plan = known.plan.as_ref().map_err(|reason| Refusal {
            reason: reason.clone(),
            again_after: REREAD_AFTER,
        })?;
        let Some(due) = kept.next else {
            return Ok(true);
        };
        let runs = search(plan, due, now.wall)?;
        let messages = runs
            .at
            .iter()
            .map(|at| message_of_run(&plan.message, &kept.name, *at))
            .collect();
        let mut batch = EnqueueBatch::default();
        prepare_batch(&mut batch, messages, self).map_err(refusal)?;
        let mut fire = FireSchedule {
            seen: Arc::clone(kept),
            due: runs.due,
            drafts: batch.drafts,
            firing: Firing::Due {
                skipped: runs.skipped,
                next: runs.next,
            },
        };
        let fired = self.look(|desk, now| {
            if desk.is_closed() || (desk.is_full() && !desk.is_held()) {
                return Ok(false); // it stays due: the next pass comes after the next frame
            }
            let fired = desk.fire_schedule(now, &fire);
            let fired = fired.map(|fired| fired.is_some());
            if !matches!(
                fired,
                Err(ScheduleRefused::Enqueue(EnqueueRefused::KeyHeld { .. }))
            ) {
                return fired;
            }
            // The run before it is still there, and the message's own policy is to reject another: this run is left out.
            fire.drafts.clear();
            fire.firing = Firing::Due {
                skipped: runs.skipped.saturating_add(runs.at.len() as u64),
                next: runs.next,
            };
            let fired = desk.fire_schedule(now, &fire);
            fired.map(|fired| fired.is_some())
        });
        match fired {
            Ok(fired) => Ok(fired),
            Err(ScheduleRefused::Changed { .. } | ScheduleRefused::Unknown { .. }) => {
                Ok(false) // the next pass sees what it is now
            }
            Err(refused) => Err(refusal(refused)),
        }
    }
}

/// When an interval fires next, if it would wait for longer than it is.
fn moved(seen: &Kept, now: Timestamp) -> Option<Timestamp> {
    let next = seen.next.filter(|next| *next > now && !seen.paused)?;
    let first = interval_of(seen)?.first(now)?;
    (next > first).then_some(first)
}

/// Does something with a stored schedule. A bug in it, or in the libraries that know calendars and zones, must not stop the
/// engine: it would stop it again at each start. The schedule is put off, with the reason.
fn guarded<T>(what: &str, work: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::catch_unwind(AssertUnwindSafe(work))
        .map_err(|_| format!("its calendar cannot be {what}: a bug in mq"))
}

/// Searches the calendar.
fn search(plan: &Plan, due: Timestamp, now: Timestamp) -> Result<Runs, Refusal> {
    let limit = if plan.message.dedup.is_some() {
        1 // one key in one command
    } else {
        RUNS_PER_FIRE
    };
    let runs = guarded("searched", || {
        plan.missed.runs(&plan.calendar, due, now, limit)
    });
    runs.map_err(|reason| Refusal {
        reason,
        again_after: REREAD_AFTER,
    })
}

fn refusal(reason: impl ToString) -> Refusal {
    Refusal {
        reason: reason.to_string(),
        again_after: RETRY_AFTER,
    }
}

#[cfg(test)]
mod tests;
