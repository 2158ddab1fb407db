//! The thread that carries out bulk jobs: step by step, those that a former opening left unfinished too.
//!
//! Invariants: payloads are read under no token; a step is synced before the next one begins, so that a job never runs ahead
//! of the disk. Jobs take turns. A rate is kept by the monotonic clock. On a full disk only those go on that free room.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mq_core::backend::Stopped;
use mq_core::bulk::{BulkEnd, BulkId, BulkJob, BulkRefused, EndBulk};
use mq_core::command::Operation;
use mq_core::key::KeyHasher;
use mq_core::limits::BULK_STEP_LEN_MAX;
use mq_core::time::Now;

use super::desk::{BulkStep, Desk, Stepped};
use super::effects::Needs;
use super::scan::{READS_LEN_MAX, Scan};
use super::shell::{Shell, StopOnPanic};
use crate::bulk::Spec;

/// Messages that a step without a rate changes: a millisecond under the manager token.
const STEP_LEN: usize = if READS_LEN_MAX < BULK_STEP_LEN_MAX {
    READS_LEN_MAX
} else {
    BULK_STEP_LEN_MAX
};
/// Steps per second that a rate is divided into, if it is large enough.
const STEPS_PER_SECOND: usize = 10;
/// How soon a job is tried again whose records do not fit on the disk now.
const DISK_PAUSE: Duration = Duration::from_secs(1);

/// A job in words that this program understands.
#[derive(Debug)]
struct Plan {
    scan: Scan,
    operation: Operation,
    rate: Option<u32>,
    /// The monotonic moment of its next step.
    due: Duration,
    /// Steps so far, for taking turns.
    turns: u64,
}

impl Plan {
    fn of(job: &BulkJob, hasher: &KeyHasher, now: Duration) -> Result<Self, String> {
        let spec = Spec::decode(&job.spec)?;
        let scan = spec.filter.resolve(hasher, job.started);
        let mut scan = scan.map_err(|error| error.to_string())?;
        scan.facts.last = Some(job.cutoff);
        Ok(Self {
            scan,
            operation: spec.what.operation()?,
            rate: spec.rate.filter(|rate| *rate > 0),
            due: now,
            turns: 0,
        })
    }

    fn step_len(&self) -> usize {
        let rate = self.rate.and_then(|rate| usize::try_from(rate).ok());
        rate.map_or(STEP_LEN, |rate| {
            (rate / STEPS_PER_SECOND).clamp(1, STEP_LEN)
        })
    }

    /// A step changed so many messages: when is the next one due?
    fn note_step(&mut self, met: usize, now: Duration) {
        self.turns += 1;
        if let Some(rate) = self.rate {
            let met = u32::try_from(met).unwrap_or(u32::MAX);
            let pause = Duration::from_secs(1).saturating_mul(met) / rate;
            self.due = self.due.max(now).saturating_add(pause);
        }
    }
}

/// What a turn found left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// More, at once.
    More,
    /// Nothing for so long; `None` is until somebody asks.
    Idle(Option<Duration>),
}

#[derive(Debug)]
pub(crate) struct BulkRunner {
    shell: Arc<Shell>,
    plans: BTreeMap<BulkId, Plan>,
}

impl BulkRunner {
    pub(crate) const fn new(shell: Arc<Shell>) -> Self {
        Self {
            shell,
            plans: BTreeMap::new(),
        }
    }

    /// Runs until the engine stops.
    pub(crate) fn run(mut self) {
        let shell = Arc::clone(&self.shell);
        let _guard = StopOnPanic::new(&shell);
        while shell.stopped().is_none() {
            match self.turn() {
                Ok(Turn::More) => {}
                Ok(Turn::Idle(rest)) => shell.bulk.sleep(rest, || shell.stopped().is_some()),
                Err(_stopped) => return,
            }
        }
    }

    /// One step of the job whose turn it is.
    fn turn(&mut self) -> Result<Turn, Stopped> {
        let jobs: Vec<Arc<BulkJob>> = self.shell.look(|desk, _| {
            let jobs = desk.manager.bulk_jobs();
            jobs.filter(|job| job.ended.is_none()).cloned().collect()
        });
        self.plans
            .retain(|id, _| jobs.iter().any(|job| job.id == *id));
        let now = self.shell.clock().monotonic();
        let hasher = KeyHasher::new(self.shell.identity.secret);
        let plans = &self.plans;
        let new = jobs.iter().filter(|job| !plans.contains_key(&job.id));
        let new: Vec<_> = new
            .map(|job| (job.id, Plan::of(job, &hasher, now)))
            .collect();
        let mut waits = None;
        // A job that is new has no more turns to catch up than the one that had the fewest.
        let turns = self.plans.values().map(|plan| plan.turns).min();
        for (id, plan) in new {
            match plan {
                Ok(mut plan) => {
                    plan.turns = turns.unwrap_or_default();
                    self.plans.insert(id, plan);
                }
                Err(reason) if self.fail(id, &reason)? => {}
                Err(_) => waits = Some(DISK_PAUSE),
            }
        }
        let next = self
            .plans
            .iter()
            .min_by_key(|(_, plan)| (plan.due.max(now), plan.turns));
        let Some((id, due)) = next.map(|(id, plan)| (*id, plan.due)) else {
            return Ok(Turn::Idle(waits));
        };
        if due > now {
            let rest = due - now;
            return Ok(Turn::Idle(Some(waits.map_or(rest, |it| it.min(rest)))));
        }
        if let Some(job) = jobs.iter().find(|job| job.id == id) {
            self.step(job)?;
        }
        Ok(Turn::More)
    }

    fn step(&mut self, job: &BulkJob) -> Result<(), Stopped> {
        let Some(plan) = self.plans.get_mut(&job.id) else {
            return Ok(());
        };
        let (scan, from, len) = (&plan.scan, job.cursor, plan.step_len());
        let sighted = self.shell.look(|desk, now| {
            let lacks_room = desk.lacks_room_for(&plan.operation);
            (!lacks_room).then(|| scan.sight(desk, now, from, len))
        });
        let Some(sighted) = sighted else {
            plan.due = self.shell.clock().monotonic().saturating_add(DISK_PAUSE);
            self.shell.call(); // a round asks the disk again
            return Ok(());
        };
        let found = scan.read(sighted, usize::MAX);
        let step = BulkStep {
            id: job.id,
            from,
            facts: scan.facts.clone(),
            operation: plan.operation.clone(),
            by: actor(job),
            messages: found.messages.iter().map(|view| view.id).collect(),
            unreadable: found.unreadable,
            next: found.next,
        };
        let act = move |desk: &mut Desk, now: &Now| Ok(desk.bulk_step(now, &step));
        let stepped = self.shell.at_desk(Needs::Sync, act, Err).wait();
        let stopped = || self.shell.stopped().cloned().unwrap_or(Stopped::Closed);
        match stepped.unwrap_or_else(|_| Err(stopped()))? {
            Ok(Stepped { met, ended, held }) => {
                let now = self.shell.clock().monotonic();
                plan.note_step(met, now);
                if held {
                    plan.due = now.saturating_add(DISK_PAUSE);
                }
                if ended {
                    tracing::info!(job = %job.id, by = job.by, "a bulk job is done");
                }
            }
            Err(refused) => tracing::debug!(%refused, "a bulk job was ended meanwhile"),
        }
        Ok(())
    }

    /// Ends a job that cannot go on; `false` if there is no room on the disk to say so.
    fn fail(&self, id: BulkId, reason: &str) -> Result<bool, Stopped> {
        let how = BulkEnd::Failed {
            reason: reason.to_owned(),
        };
        let end = move |desk: &mut Desk, now: &Now| Ok(desk.free_room(now, &EndBulk { id, how }));
        let ended = self.shell.at_desk(Needs::Sync, end, Err).wait();
        let ended: Result<Result<(), BulkRefused>, Stopped> = ended.unwrap_or(Err(Stopped::Closed));
        if let Err(BulkRefused::Full(_)) = ended? {
            return Ok(false);
        }
        tracing::error!(job = %id, reason, "a bulk job cannot go on");
        Ok(true)
    }
}

/// Who stands in the histories of the messages that a job changes.
fn actor(job: &BulkJob) -> String {
    let who = if job.by.is_empty() { "bulk" } else { &job.by };
    format!("job {} by {who}", job.id)
}
