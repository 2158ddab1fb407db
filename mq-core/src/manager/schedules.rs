//! Schedules: what is due, and that each due time fires once.
//!
//! Invariants
//! 1. A schedule stands in `due` exactly when it has a next time and is not paused: under that time, or under the later
//!    moment to which a fire that failed was put off. That moment is volatile.
//! 2. Every change makes a new `Schedule`: whoever holds an old one can be told that it is outdated.
//! 3. A fire is decided against what was seen: it moves `next`, so nothing fires twice for one due time, crash or not.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::event::{Event, ScheduleEvent};
use crate::limits::{SCHEDULES_LEN_MAX, SCHEDULES_SIZE_MAX};
use crate::name::ScheduleName;
use crate::schedule::{
    Existing, FireSchedule, Fired, Firing, LastFire, PauseSchedule, Put, PutSchedule,
    RemoveSchedule, ResumeSchedule, Schedule, ScheduleRefused, check_sizes, size_of,
};
use crate::time::{Now, Timestamp};

use super::apply::ApplyError;
use super::enqueue::Plan;
use super::image::RestoreError;
use super::room::Need;
use super::{Command, QueueManager, Sealed};

impl Sealed for PutSchedule {}
impl Sealed for PauseSchedule {}
impl Sealed for ResumeSchedule {}
impl Sealed for RemoveSchedule {}
impl Sealed for FireSchedule {}

/// A schedule and the moment under which it stands in `due`.
#[derive(Debug)]
struct Slot {
    schedule: Arc<Schedule>,
    wakes: Option<Timestamp>,
}

/// All schedules of a store.
#[derive(Debug, Default)]
pub(super) struct Schedules {
    by_name: HashMap<ScheduleName, Slot>,
    due: BTreeSet<(Timestamp, ScheduleName)>,
    size: u64,
}

impl Schedules {
    fn get(&self, name: &ScheduleName) -> Option<&Arc<Schedule>> {
        self.by_name.get(name).map(|slot| &slot.schedule)
    }

    fn known(&self, name: &ScheduleName) -> Result<&Arc<Schedule>, ScheduleRefused> {
        self.get(name)
            .ok_or_else(|| ScheduleRefused::Unknown { name: name.clone() })
    }

    /// Whether the schedule is still what somebody saw.
    fn check_seen(&self, seen: &Arc<Schedule>) -> Result<(), ScheduleRefused> {
        let current = self.known(&seen.name)?;
        if Arc::ptr_eq(current, seen) || current == seen {
            Ok(())
        } else {
            Err(ScheduleRefused::Changed {
                name: seen.name.clone(),
            })
        }
    }

    fn check_room(&self, put: &PutSchedule) -> Result<(), ScheduleRefused> {
        let old = self.get(&put.name);
        if old.is_none() && self.by_name.len() >= SCHEDULES_LEN_MAX {
            return Err(ScheduleRefused::TooMany);
        }
        let used = self.size - old.map_or(0, |old| old.size());
        let added = size_of(&put.name, &put.timing, &put.template);
        if used.saturating_add(added) > SCHEDULES_SIZE_MAX {
            return Err(ScheduleRefused::TooLargeTogether { used, added });
        }
        Ok(())
    }

    /// The moment of the first schedule that is due.
    pub(super) fn first_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// All of them, for an image: pointers are copied.
    pub(super) fn share(&self) -> Vec<Arc<Schedule>> {
        let slots = self.by_name.values();
        slots.map(|slot| Arc::clone(&slot.schedule)).collect()
    }

    fn store(&mut self, schedule: Schedule) {
        self.forget(&schedule.name);
        let name = schedule.name.clone();
        let wakes = schedule.next.filter(|_| !schedule.paused);
        self.due.extend(wakes.map(|at| (at, name.clone())));
        self.size += schedule.size();
        let schedule = Arc::new(schedule);
        self.by_name.insert(name, Slot { schedule, wakes });
    }

    fn forget(&mut self, name: &ScheduleName) -> bool {
        let Some((name, slot)) = self.by_name.remove_entry(name) else {
            return false;
        };
        self.size -= slot.schedule.size();
        if let Some(at) = slot.wakes {
            self.due.remove(&(at, name));
        }
        true
    }

    fn postpone(&mut self, name: &ScheduleName, until: Timestamp) {
        let Some(slot) = self.by_name.get_mut(name) else {
            return;
        };
        let Some(at) = slot.wakes else { return };
        slot.wakes = Some(until);
        self.due.remove(&(at, name.clone()));
        self.due.insert((until, name.clone()));
    }

    fn update(
        &mut self,
        name: &ScheduleName,
        update: impl FnOnce(&mut Schedule),
    ) -> Result<(), ApplyError> {
        let Some(current) = self.get(name) else {
            return Err(ApplyError::UnknownSchedule);
        };
        let mut changed = Schedule::clone(current);
        update(&mut changed);
        self.store(changed);
        Ok(())
    }
}

impl Command for PutSchedule {
    type Answer = Put;
    type Refused = ScheduleRefused;

    fn decide(
        &self,
        manager: &QueueManager,
        _now: &Now,
        events: &mut Vec<Event>,
    ) -> Result<Put, ScheduleRefused> {
        let schedules = &manager.schedules;
        let old = schedules.get(&self.name);
        let is_same = |old: &Arc<Schedule>| {
            self.existing == Existing::Keep
                || (old.timing == self.timing && old.template == self.template)
        };
        if old.is_some_and(is_same) {
            return Ok(Put::Unchanged);
        }
        check_sizes(&self.timing, &self.template)?;
        schedules.check_room(self)?;
        let same_timing = old.filter(|old| old.timing == self.timing);
        events.push(Event::Schedule(ScheduleEvent::Set {
            name: self.name.clone(),
            timing: self.timing.clone(),
            template: self.template.clone(),
            next: same_timing.map_or(self.next, |old| old.next),
        }));
        Ok(old.map_or(Put::Created, |_| Put::Changed))
    }
}

impl Command for PauseSchedule {
    type Answer = ();
    type Refused = ScheduleRefused;

    fn decide(
        &self,
        manager: &QueueManager,
        _now: &Now,
        events: &mut Vec<Event>,
    ) -> Result<(), ScheduleRefused> {
        let schedule = manager.schedules.known(&self.name)?;
        if !schedule.paused {
            events.push(Event::Schedule(ScheduleEvent::Paused {
                name: self.name.clone(),
                paused: true,
                next: schedule.next,
            }));
        }
        Ok(())
    }
}

impl Command for ResumeSchedule {
    type Answer = ();
    type Refused = ScheduleRefused;

    fn decide(
        &self,
        manager: &QueueManager,
        _now: &Now,
        events: &mut Vec<Event>,
    ) -> Result<(), ScheduleRefused> {
        manager.schedules.check_seen(&self.seen)?;
        if self.seen.paused || self.seen.next != self.next {
            events.push(Event::Schedule(ScheduleEvent::Paused {
                name: self.seen.name.clone(),
                paused: false,
                next: self.next,
            }));
        }
        Ok(())
    }
}

impl Command for RemoveSchedule {
    type Answer = ();
    type Refused = ScheduleRefused;

    fn decide(
        &self,
        manager: &QueueManager,
        _now: &Now,
        events: &mut Vec<Event>,
    ) -> Result<(), ScheduleRefused> {
        manager.schedules.known(&self.name)?;
        events.push(Event::Schedule(ScheduleEvent::Removed {
            name: self.name.clone(),
        }));
        Ok(())
    }
}

impl Command for FireSchedule {
    type Answer = Fired;
    type Refused = ScheduleRefused;

    fn decide(
        &self,
        manager: &QueueManager,
        now: &Now,
        events: &mut Vec<Event>,
    ) -> Result<Fired, ScheduleRefused> {
        manager.schedules.check_seen(&self.seen)?;
        let name = &self.seen.name;
        let (skipped, next) = match self.firing {
            Firing::ByHand => (0, self.seen.next),
            Firing::Due { skipped, next } => {
                let due = self.seen.next.filter(|_| !self.seen.paused);
                if due.is_none_or(|due| due > now.wall) {
                    return Err(ScheduleRefused::Changed { name: name.clone() });
                }
                if let Some(next) = next.filter(|next| *next <= self.due) {
                    let (name, due) = (name.clone(), self.due);
                    return Err(ScheduleRefused::NotLater { name, next, due });
                }
                (skipped, next)
            }
        };
        let accepted = Plan::new(manager, now, None, Need::default()).run(&self.drafts, events)?;
        events.push(Event::Schedule(ScheduleEvent::Fired {
            name: name.clone(),
            due: self.due,
            at: now.wall,
            runs: u32::try_from(self.drafts.len()).unwrap_or(u32::MAX),
            skipped,
            next,
        }));
        Ok(accepted)
    }
}

impl QueueManager {
    /// The schedule of a name.
    #[must_use]
    pub fn schedule(&self, name: &ScheduleName) -> Option<&Arc<Schedule>> {
        self.schedules.get(name)
    }

    /// All schedules, in no order. Pointers are copied, at most [`SCHEDULES_LEN_MAX`] of them.
    #[must_use]
    pub fn schedules(&self) -> Vec<Arc<Schedule>> {
        self.schedules.share()
    }

    /// Schedules that are due, the longest waiting first, at most `limit` of them: to be fired with [`FireSchedule`].
    #[must_use]
    pub fn due_schedules(&self, now: &Now, limit: usize) -> Vec<Arc<Schedule>> {
        let due = self.schedules.due.iter().take(limit);
        let due = due.take_while(|(at, _)| *at <= now.wall);
        due.filter_map(|(_, name)| self.schedules.get(name).cloned())
            .collect()
    }

    /// A schedule that is due cannot fire now: it counts as due again from `until` on. Volatile: no event.
    pub fn postpone_schedule(&mut self, name: &ScheduleName, until: Timestamp) {
        self.schedules.postpone(name, until);
    }

    pub(super) fn apply_schedule(&mut self, event: &ScheduleEvent) -> Result<(), ApplyError> {
        match event {
            ScheduleEvent::Set {
                name,
                timing,
                template,
                next,
            } => {
                let old = self.schedules.get(name);
                self.schedules.store(Schedule {
                    name: name.clone(),
                    timing: timing.clone(),
                    template: template.clone(),
                    next: *next,
                    paused: old.is_some_and(|old| old.paused),
                    last: old.and_then(|old| old.last),
                    runs: old.map_or(0, |old| old.runs),
                    skipped: old.map_or(0, |old| old.skipped),
                });
                Ok(())
            }
            ScheduleEvent::Paused { name, paused, next } => {
                self.schedules.update(name, |schedule| {
                    schedule.paused = *paused;
                    schedule.next = *next;
                })
            }
            ScheduleEvent::Removed { name } => {
                let removed = self.schedules.forget(name);
                removed.then_some(()).ok_or(ApplyError::UnknownSchedule)
            }
            ScheduleEvent::Fired {
                name,
                due,
                at,
                runs,
                skipped,
                next,
            } => self.schedules.update(name, |schedule| {
                if *runs > 0 {
                    schedule.last = Some(LastFire { due: *due, at: *at });
                }
                schedule.runs = schedule.runs.saturating_add(u64::from(*runs));
                schedule.skipped = schedule.skipped.saturating_add(*skipped);
                schedule.next = *next;
            }),
        }
    }

    pub(super) fn restore_schedule(&mut self, schedule: &Schedule) -> Result<(), RestoreError> {
        if self.schedules.get(&schedule.name).is_some() {
            return Err(RestoreError::ScheduleTwice);
        }
        self.schedules.store(schedule.clone());
        Ok(())
    }
}
