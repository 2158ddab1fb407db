//! Changes of many messages by filter: said as an order, carried out as a journalled job.
//!
//! An order is nothing until it is awaited; then the job is durable and goes on by itself, after a restart too, until it has
//! met every message that was there when it began. What came of it stays as a record of who did what.

mod spec;

use mq_core::backend::{OperateRequest, Stopped};
use mq_core::bulk::{
    BulkCounts, BulkEnd, BulkId, BulkJob as CoreJob, BulkRefused, EndBulk, StartBulk,
};
use mq_core::time::{Now, Timestamp};
use mq_core::view::{FoundBy, MessageView, StateKind};

use crate::call::Call;
use crate::engine::{Desk, EngineBackend, Needs, block_on};
use crate::filter::{Filter, FilterError};
use crate::find::{FindError, PAGE_LEN_MAX};

pub(crate) use spec::{Spec, What};

/// Messages that a dry run shows.
pub const SAMPLE_LEN: usize = 10;

/// Why a bulk job was not made, or does not answer. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BulkError {
    /// The filter cannot be understood, or would change everything without saying so.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// A rate of nothing would never end.
    #[error("a rate of 0 messages per second never ends; leave it out for no limit")]
    Rate,
    /// Too many jobs run, or there is no such job, or it has ended.
    #[error(transparent)]
    Refused(#[from] BulkRefused),
    /// The engine does not serve any more. A job that was made goes on when the store is opened again.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl BulkError {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Filter(error) => error.code(),
            Self::Rate => "bad_value",
            Self::Refused(error) => error.code(),
            Self::Stopped(error) => error.code(),
        }
    }
}

impl From<FindError> for BulkError {
    fn from(error: FindError) -> Self {
        match error {
            FindError::Filter(error) => Self::Filter(error),
            FindError::Stopped(stopped) => Self::Stopped(stopped),
        }
    }
}

/// A change of every message that matches a filter. Nothing has happened yet: `.await` it, or call `.wait()`; that answers
/// when the job is durable. `.dry_run()` changes nothing.
#[must_use = "nothing has happened yet: `.await` it, or call `.wait()` or `.dry_run()`"]
#[derive(Clone, Debug)]
pub struct BulkOrder {
    backend: EngineBackend,
    filter: Filter,
    request: OperateRequest,
    rate: Option<u32>,
    by: String,
}

impl BulkOrder {
    pub(crate) const fn new(
        backend: EngineBackend,
        filter: Filter,
        request: OperateRequest,
    ) -> Self {
        Self {
            backend,
            filter,
            request,
            rate: None,
            by: String::new(),
        }
    }

    /// Only dead letters. Whether the order says `all` is decided by its own conditions.
    pub(crate) fn dead_only(mut self) -> Self {
        if !self.filter.is_empty() {
            self.filter = self.filter.state(StateKind::Dead);
        }
        self
    }

    /// At most so many messages per second, by the monotonic clock. Default: as fast as the disk syncs.
    pub fn rate(mut self, per_second: u32) -> Self {
        self.rate = Some(per_second);
        self
    }

    /// Who asks, for the record of the job and the history of each message; cut to 128 bytes.
    pub fn by(mut self, who: impl Into<String>) -> Self {
        self.by = who.into();
        self
    }

    /// Looks at everything and changes nothing: how many messages match, in which states, and the first few.
    ///
    /// # Errors
    /// [`BulkError`] from the call.
    pub fn dry_run(self) -> Call<Result<DryRun, BulkError>> {
        Call::new(move || self.look())
    }

    /// Makes the job. Never call it on a thread of an async runtime.
    ///
    /// # Errors
    /// [`BulkError`]; nothing was changed.
    pub fn wait(self) -> Result<BulkJob, BulkError> {
        self.check()?;
        let wall = self.backend.0.clock().wall();
        let frees = matches!(
            self.request,
            OperateRequest::Cancel | OperateRequest::Purge | OperateRequest::Release
        );
        let spec = Spec {
            filter: self.filter.at(wall),
            what: What::of(self.request, wall),
            rate: self.rate,
        };
        let spec = spec.encode().unwrap_or_default();
        let command = StartBulk {
            spec: spec.into(),
            by: self.by,
        };
        let shell = &self.backend.0;
        let start = move |desk: &mut Desk, now: &Now| {
            let started = if frees {
                desk.free_room(now, &command)
            } else {
                desk.change(now, &command)
            };
            started.map_err(BulkError::from)
        };
        let started = shell.at_desk(Needs::Sync, start, |stopped| Err(stopped.into()));
        let id: BulkId = self.backend.answered::<_, BulkError>(started.wait())?;
        shell.bulk.call();
        Ok(BulkJob {
            backend: self.backend,
            id,
        })
    }

    fn check(&self) -> Result<(), BulkError> {
        self.filter.must_say_all()?;
        self.filter.check()?;
        if self.rate == Some(0) {
            return Err(BulkError::Rate);
        }
        Ok(())
    }

    fn look(&self) -> Result<DryRun, BulkError> {
        self.check()?;
        let mut scan = self.backend.scan(&self.filter)?;
        scan.facts.last = Some(self.backend.0.look(|desk, _| desk.manager.last_seq()));
        let mut dry = DryRun::default();
        let mut next = Some(mq_core::id::Seq::NONE);
        while let Some(after) = next {
            let found = scan.page(&self.backend.0, after, PAGE_LEN_MAX)?;
            for view in found.messages {
                dry.matched += 1;
                let state = view.state.kind();
                match dry.states.iter_mut().find(|(known, _)| *known == state) {
                    Some((_, count)) => *count += 1,
                    None => dry.states.push((state, 1)),
                }
                if dry.sample.len() < SAMPLE_LEN {
                    dry.sample.push(view);
                }
            }
            if found.by == FoundBy::Scan || dry.read == 0 {
                dry.by = found.by;
            }
            dry.read += found.read;
            dry.unreadable += u64::try_from(found.unreadable.len()).unwrap_or(u64::MAX);
            next = found.next;
        }
        dry.states.sort_unstable();
        Ok(dry)
    }
}

impl IntoFuture for BulkOrder {
    type Output = Result<BulkJob, BulkError>;
    type IntoFuture = Call<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Call::new(move || self.wait())
    }
}

/// What a bulk order would meet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DryRun {
    /// Messages that match.
    pub matched: u64,
    /// How many of them are in which state: not every state allows every change.
    pub states: Vec<(StateKind, u64)>,
    /// Messages that may match; their payloads could not be read.
    pub unreadable: u64,
    /// How they were found: in the index of a field, or by looking at all.
    pub by: FoundBy,
    /// Payloads read for it.
    pub read: u64,
    /// The first [`SAMPLE_LEN`] of them.
    pub sample: Vec<MessageView>,
}

/// A bulk job: a handle on it, in this process.
#[derive(Clone, Debug)]
pub struct BulkJob {
    backend: EngineBackend,
    id: BulkId,
}

/// A bulk job as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkReport {
    /// Its number in this store.
    pub id: BulkId,
    /// The word of what it does: `cancel`, `hold`, `release`, `run-now`, `reschedule`, `set-priority`, `move`, `replay` or
    /// `purge`; `unknown` if this version does not know it.
    pub what: &'static str,
    /// All of what it looks for and does, as JSON.
    pub spec: String,
    /// Messages changed per second at most.
    pub rate: Option<u32>,
    /// Who started it, in their own words.
    pub by: String,
    /// When.
    pub started: Timestamp,
    /// What came of the messages it has met.
    pub counts: BulkCounts,
    /// How and when it ended, if it has.
    pub ended: Option<(BulkEnd, Timestamp)>,
}

impl BulkReport {
    pub(crate) fn of(job: &CoreJob) -> Self {
        let spec = Spec::decode(&job.spec).ok();
        Self {
            id: job.id,
            what: spec.as_ref().map_or("unknown", |spec| spec.what.as_str()),
            spec: String::from_utf8_lossy(&job.spec).into_owned(),
            rate: spec.and_then(|spec| spec.rate),
            by: job.by.clone(),
            started: job.started,
            counts: job.counts,
            ended: job.ended.clone(),
        }
    }
}

impl BulkJob {
    pub(crate) const fn new(backend: EngineBackend, id: BulkId) -> Self {
        Self { backend, id }
    }

    /// Its number in this store.
    #[must_use]
    pub const fn id(&self) -> BulkId {
        self.id
    }

    /// How far it is.
    ///
    /// # Errors
    /// [`BulkError`] from the call: the engine stopped, or the job is not remembered any more.
    pub fn report(&self) -> Call<Result<BulkReport, BulkError>> {
        let this = self.clone();
        Call::new(move || this.look())
    }

    /// Waits until it has ended, in whatever way; the report says in which.
    ///
    /// # Errors
    /// [`BulkError`] from the call: the engine stopped, and the job goes on when the store is opened again.
    pub fn finished(&self) -> Call<Result<BulkReport, BulkError>> {
        let this = self.clone();
        Call::new(move || {
            let mut rounds = this.backend.0.watch_rounds();
            loop {
                rounds.mark_unchanged();
                // A glance that makes no round: the report itself waits for a sync, and only a job that is over has one.
                let is_over = this.backend.0.look(|desk, _| {
                    let job = desk.manager.bulk_job(this.id);
                    job.is_none_or(|job| job.ended.is_some())
                });
                if is_over || this.backend.0.stopped().is_some() {
                    return this.look();
                }
                if block_on(rounds.changed()).is_err() {
                    return Err(this.backend.why_stopped().into());
                }
            }
        })
    }

    /// Stops it. What it has done stays done.
    ///
    /// # Errors
    /// [`BulkError`] from the call: it has ended already, say.
    pub fn cancel(&self, by: impl Into<String>) -> Call<Result<BulkReport, BulkError>> {
        let (this, by) = (self.clone(), by.into());
        Call::new(move || {
            let how = BulkEnd::Cancelled { by };
            let command = EndBulk { id: this.id, how };
            let end = move |desk: &mut Desk, now: &Now| {
                desk.free_room(now, &command).map_err(BulkError::from)
            };
            let shell = &this.backend.0;
            let ended = shell.at_desk(Needs::Sync, end, |stopped| Err(stopped.into()));
            this.backend.answered::<_, BulkError>(ended.wait())?;
            shell.bulk.call();
            this.look()
        })
    }

    fn look(&self) -> Result<BulkReport, BulkError> {
        let id = self.id;
        let find = move |desk: &mut Desk, _: &Now| {
            let job = desk.manager.bulk_job(id);
            let job = job.ok_or(BulkRefused::Unknown { id })?;
            Ok::<_, BulkError>(BulkReport::of(job))
        };
        let shell = &self.backend.0;
        let found = shell.at_desk(Needs::Sync, find, |stopped| Err(stopped.into()));
        self.backend.answered(found.wait())
    }
}

impl EngineBackend {
    /// All bulk jobs that run, and the last ones that ended, by number.
    pub(crate) fn bulk_reports(&self) -> Result<Vec<BulkReport>, Stopped> {
        let find = |desk: &mut Desk, _: &Now| {
            let jobs = desk.manager.bulk_jobs();
            Ok(jobs.map(|job| BulkReport::of(job)).collect())
        };
        let found = self.0.at_desk(Needs::Sync, find, Err);
        self.answered(found.wait())
    }

    pub(crate) fn why_stopped(&self) -> Stopped {
        self.0.stopped().cloned().unwrap_or(Stopped::Closed)
    }

    /// An answer, or why there is none.
    pub(crate) fn answered<T, E: From<Stopped>>(
        &self,
        answer: Result<Result<T, E>, mq_core::pending::Abandoned>,
    ) -> Result<T, E> {
        answer.unwrap_or_else(|_| Err(self.why_stopped().into()))
    }
}

#[cfg(test)]
mod tests;
