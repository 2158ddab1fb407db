//! Bulk jobs: how far each is. What a job looks for and does is not known here.
//!
//! Invariants: the number of a new job is above all others; few run at once; of those that ended the last
//! [`BULK_KEPT_MAX`] by number are kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bulk::{BulkEnd, BulkId, BulkJob, BulkRefused, EndBulk, StartBulk, StepBulk};
use crate::event::{BulkEvent, Event};
use crate::limits::{ACTOR_SIZE_MAX, BULK_KEPT_MAX, BULK_RUNNING_MAX, BULK_SPEC_SIZE_MAX};
use crate::time::Now;

use super::apply::ApplyError;
use super::settle::cut;
use super::{Command, QueueManager, Sealed};

impl Sealed for StartBulk {}
impl Sealed for StepBulk {}
impl Sealed for EndBulk {}

/// All jobs known.
#[derive(Debug, Default)]
pub(super) struct Bulk {
    jobs: BTreeMap<BulkId, Arc<BulkJob>>,
}

impl Bulk {
    /// All jobs by number, as images share them.
    pub(super) fn share(&self) -> Vec<Arc<BulkJob>> {
        self.jobs.values().cloned().collect()
    }

    fn running(&self) -> impl Iterator<Item = &Arc<BulkJob>> {
        self.jobs.values().filter(|job| job.ended.is_none())
    }

    fn find_running(&self, id: BulkId) -> Result<&BulkJob, BulkRefused> {
        let job = self.jobs.get(&id).ok_or(BulkRefused::Unknown { id })?;
        match &job.ended {
            None => Ok(job),
            Some((how, _)) => {
                let how = how.as_str();
                Err(BulkRefused::Ended { id, how })
            }
        }
    }

    /// Takes a job in whose number is above all others; says whether it is.
    pub(super) fn add(&mut self, job: Arc<BulkJob>) -> bool {
        let is_new = self
            .jobs
            .last_key_value()
            .is_none_or(|(last, _)| *last < job.id);
        if is_new {
            self.jobs.insert(job.id, job);
        }
        is_new
    }

    /// Forgets the first jobs that ended, until there are few enough.
    fn forget(&mut self) {
        let ended = || self.jobs.values().filter(|job| job.ended.is_some());
        let surplus = ended().count().saturating_sub(BULK_KEPT_MAX);
        let forgotten: Vec<BulkId> = ended().take(surplus).map(|job| job.id).collect();
        for id in forgotten {
            self.jobs.remove(&id);
        }
    }
}

impl QueueManager {
    /// Bulk jobs that run, and the last ones that ended, by number.
    pub fn bulk_jobs(&self) -> impl Iterator<Item = &Arc<BulkJob>> {
        self.bulk.jobs.values()
    }

    /// A bulk job, if it runs or is remembered.
    #[must_use]
    pub fn bulk_job(&self, id: BulkId) -> Option<&Arc<BulkJob>> {
        self.bulk.jobs.get(&id)
    }

    pub(super) fn apply_bulk(&mut self, event: &BulkEvent) -> Result<(), ApplyError> {
        let (BulkEvent::Started { id, .. }
        | BulkEvent::Stepped { id, .. }
        | BulkEvent::Ended { id, .. }) = event;
        let id = *id;
        let refused = ApplyError::BulkJob { id };
        if let BulkEvent::Started {
            spec,
            cutoff,
            by,
            at,
            ..
        } = event
        {
            let job = BulkJob {
                id,
                spec: spec.clone(),
                cutoff: *cutoff,
                by: by.clone(),
                started: *at,
                cursor: crate::id::Seq::NONE,
                counts: crate::bulk::BulkCounts::default(),
                ended: None,
            };
            return if self.bulk.add(Arc::new(job)) {
                Ok(())
            } else {
                Err(refused)
            };
        }
        let job = self.bulk.jobs.get_mut(&id).ok_or(refused)?;
        if job.ended.is_some() {
            return Err(refused);
        }
        let job = Arc::make_mut(job);
        match event {
            BulkEvent::Started { .. } => {}
            BulkEvent::Stepped { cursor, counts, .. } => {
                if *cursor < job.cursor {
                    return Err(refused);
                }
                job.cursor = *cursor;
                job.counts = *counts;
            }
            BulkEvent::Ended { how, at, .. } => {
                job.ended = Some((how.clone(), *at));
                self.bulk.forget();
            }
        }
        Ok(())
    }
}

impl Command for StartBulk {
    type Answer = BulkId;
    type Refused = BulkRefused;

    fn decide(
        &self,
        manager: &QueueManager,
        now: &Now,
        events: &mut Vec<Event>,
    ) -> Result<BulkId, BulkRefused> {
        if self.spec.len() > BULK_SPEC_SIZE_MAX {
            let size = self.spec.len();
            return Err(BulkRefused::TooLarge { size });
        }
        if manager.bulk.running().count() >= BULK_RUNNING_MAX {
            return Err(BulkRefused::TooMany);
        }
        let last = manager.bulk.jobs.last_key_value();
        let id = BulkId(last.map_or(0, |(last, _)| last.0).saturating_add(1));
        events.push(Event::Bulk(BulkEvent::Started {
            id,
            spec: self.spec.clone(),
            cutoff: manager.last_seq,
            by: cut(&self.by, ACTOR_SIZE_MAX),
            at: now.wall,
        }));
        Ok(id)
    }
}

impl Command for StepBulk {
    type Answer = ();
    type Refused = BulkRefused;

    fn decide(
        &self,
        manager: &QueueManager,
        _now: &Now,
        events: &mut Vec<Event>,
    ) -> Result<(), BulkRefused> {
        let job = manager.bulk.find_running(self.id)?;
        events.push(Event::Bulk(BulkEvent::Stepped {
            id: self.id,
            cursor: self.cursor.max(job.cursor),
            counts: self.counts,
        }));
        Ok(())
    }
}

impl Command for EndBulk {
    type Answer = ();
    type Refused = BulkRefused;

    fn decide(
        &self,
        manager: &QueueManager,
        now: &Now,
        events: &mut Vec<Event>,
    ) -> Result<(), BulkRefused> {
        manager.bulk.find_running(self.id)?;
        let how = match &self.how {
            BulkEnd::Completed => BulkEnd::Completed,
            BulkEnd::Cancelled { by } => BulkEnd::Cancelled {
                by: cut(by, ACTOR_SIZE_MAX),
            },
            BulkEnd::Failed { reason } => BulkEnd::Failed {
                reason: cut(reason, crate::limits::ERROR_SIZE_MAX),
            },
        };
        events.push(Event::Bulk(BulkEvent::Ended {
            id: self.id,
            how,
            at: now.wall,
        }));
        Ok(())
    }
}
