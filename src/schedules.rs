//! Schedules of one engine: put, look at, pause, fire by hand, remove.
//!
//! A schedule is state of the store like a message: put it once or at every start of the program, it survives restarts
//! and crashes, and each due time fires once. What fires them stands in the engine (`engine/scheduler.rs`).

mod calendar;
mod catch_up;
mod error;
mod schedule;
mod stored;

use std::sync::Arc;

use mq_core::backend::Stopped;
use mq_core::command::{Accepted, EnqueueBatch};
use mq_core::few::Few;
use mq_core::name::ScheduleName;
use mq_core::schedule::{
    Existing, FireSchedule, Firing, LastFire, PauseSchedule, Put, PutSchedule, RemoveSchedule,
    ResumeSchedule, Schedule as Kept,
};
use mq_core::time::{Now, Timestamp};

use crate::call::Call;
use crate::engine::{Desk, EngineBackend, Needs, prepare_batch};
use crate::error::EnqueueError;

pub use catch_up::Missed;
pub(crate) use catch_up::{RUNS_PER_FIRE, Runs};
pub use error::ScheduleError;
pub(crate) use schedule::message_of_run;
pub use schedule::{SCHEDULE_HEADER, SCHEDULED_FOR_HEADER, Schedule, When};
pub(crate) use stored::{Plan, interval_of};

/// How often a change is tried again that others came before.
const TRIES: usize = 16;

/// The schedules of an engine.
#[derive(Clone, Debug)]
pub struct Schedules {
    backend: EngineBackend,
}

/// A schedule in the store.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ScheduleView {
    /// Its name.
    pub name: ScheduleName,
    /// What is sent when; `None` if it cannot be read, which `trouble` explains.
    pub schedule: Option<Schedule>,
    /// When it fires next; `None` if never by itself, or while it is paused.
    pub next: Option<Timestamp>,
    /// Nothing fires until it is resumed.
    pub paused: bool,
    /// Its last fire.
    pub last: Option<LastFire>,
    /// Messages sent since it was created.
    pub runs: u64,
    /// Due times since it was created that got no message of their own: missed, or left out by a dedup key. At least so
    /// many: those of a very long pause are not all counted.
    pub skipped: u64,
    /// Why it does not fire although it is due; it is tried again every second. Forgotten by a restart.
    pub trouble: Option<String>,
    /// Fires that were refused since the engine was opened, by a full store, say.
    pub refusals: u64,
}

impl Schedules {
    pub(crate) fn new(backend: EngineBackend) -> Self {
        Self { backend }
    }

    /// Stores a schedule under a name, or changes the one of that name to it. Call it at every start of the program: the
    /// same schedule again changes nothing, and if only its message changes, what it is due for stays due. It stays
    /// paused if it is.
    ///
    /// # Errors
    /// [`ScheduleError`]; what is stored stays as it was.
    ///
    /// # Examples
    /// ```
    /// # use mq::prelude::*;
    /// # use mq::{Missed, Schedule};
    /// # #[derive(Serialize, Deserialize, Message)]
    /// # #[message(kind = "report.daily")]
    /// # struct DailyReport;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let engine = Engine::in_memory().open().await?;
    /// let working_days = Schedule::cron("0 9 * * MON-FRI").zone("Europe/Berlin");
    /// engine.schedules().put("report", working_days.message(DailyReport)).await?;
    /// let poll = Schedule::every(minutes(5)).missed(Missed::Skip);
    /// engine.schedules().put("poll", poll.message(DailyReport)).await?;
    /// # assert_eq!(engine.schedules().list().await?.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn put(&self, name: &str, schedule: Schedule) -> Call<Result<Put, ScheduleError>> {
        self.store(name, schedule, Existing::Replace)
    }

    /// Stores a schedule unless there is one of that name: a default that operators may change.
    ///
    /// # Errors
    /// [`ScheduleError`]; what is stored stays as it was.
    pub fn put_default(&self, name: &str, schedule: Schedule) -> Call<Result<Put, ScheduleError>> {
        self.store(name, schedule, Existing::Keep)
    }

    fn store(
        &self,
        name: &str,
        schedule: Schedule,
        existing: Existing,
    ) -> Call<Result<Put, ScheduleError>> {
        self.call(name, move |this, name| async move {
            let shell = this.backend.shell_arc();
            let now = shell.clock().wall();
            if let Some(message) = schedule.declares() {
                shell.declare(&message.kind, message.index);
            }
            let checked = schedule.check(&name, now, shell.payload_size_max)?;
            let put = PutSchedule {
                name,
                timing: checked.timing,
                template: checked.template,
                next: checked.first,
                existing,
            };
            this.act(move |desk, now| Ok(desk.put_schedule(now, &put)?))
                .await
        })
    }

    /// All schedules, by name; there are 10,000 at most.
    ///
    /// # Errors
    /// [`Stopped`] if the engine does not serve any more.
    pub fn list(&self) -> Call<Result<Vec<ScheduleView>, Stopped>> {
        let this = self.clone();
        Call::of(async move {
            let shell = this.backend.shell_arc();
            let kept = shell.at_desk(Needs::Sync, |desk, _| Ok(desk.manager.schedules()), Err);
            let kept = kept.await.unwrap_or(Err(Stopped::Closed))?;
            let mut views: Vec<_> = kept.iter().map(|kept| this.view(kept)).collect();
            views.sort_unstable_by(|one, other| one.name.cmp(&other.name));
            Ok(views)
        })
    }

    /// One schedule; `None` if there is none of that name.
    ///
    /// # Errors
    /// [`ScheduleError::Name`], [`ScheduleError::Stopped`].
    pub fn get(&self, name: &str) -> Call<Result<Option<ScheduleView>, ScheduleError>> {
        self.call(name, |this, name| async move {
            match this.kept(&name).await {
                Ok(kept) => Ok(Some(this.view(&kept))),
                Err(ScheduleError::Unknown { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    /// The next `count` times at which a schedule fires (at most 1,000); for a paused one, those if it were resumed now.
    ///
    /// # Errors
    /// [`ScheduleError`] if there is none of that name or it cannot be read.
    pub fn next_fires(
        &self,
        name: &str,
        count: usize,
    ) -> Call<Result<Vec<Timestamp>, ScheduleError>> {
        self.call(name, move |this, name| async move {
            let kept = this.kept(&name).await?;
            let calendar = plan_of(&kept)?.calendar;
            let first = if kept.paused {
                calendar.first(this.backend.shell().clock().wall())
            } else {
                kept.next
            };
            Ok(schedule::preview(&calendar, first, count))
        })
    }

    /// Lets a schedule fire no more until it is resumed; survives a restart.
    ///
    /// # Errors
    /// [`ScheduleError`]; nothing was changed.
    pub fn pause(&self, name: &str) -> Call<Result<(), ScheduleError>> {
        self.call(name, |this, name| async move {
            let pause = PauseSchedule { name };
            this.act(move |desk, now| Ok(desk.change(now, &pause)?))
                .await
        })
    }

    /// Lets a paused schedule fire again, from its next time on: what it was due for meanwhile is not made up for.
    ///
    /// # Errors
    /// [`ScheduleError`]; nothing was changed.
    pub fn resume(&self, name: &str) -> Call<Result<(), ScheduleError>> {
        self.call(name, |this, name| async move {
            for _ in 0..TRIES {
                let seen = this.kept(&name).await?;
                if !seen.paused {
                    return Ok(());
                }
                let calendar = plan_of(&seen)?.calendar;
                let next = calendar.first(this.backend.shell().clock().wall());
                let resume = ResumeSchedule { seen, next };
                let resumed = this.act(move |desk, now| Ok(desk.change(now, &resume)?));
                match resumed.await {
                    Err(ScheduleError::Busy { .. }) => {}
                    done => return done,
                }
            }
            Err(ScheduleError::Busy { name })
        })
    }

    /// Removes a schedule. Messages that it has sent stay.
    ///
    /// # Errors
    /// [`ScheduleError`]; nothing was changed.
    pub fn remove(&self, name: &str) -> Call<Result<(), ScheduleError>> {
        self.call(name, |this, name| async move {
            let remove = RemoveSchedule { name };
            this.act(move |desk, now| Ok(desk.free_room(now, &remove)?))
                .await
        })
    }

    /// Sends a schedule's message now, paused or not; its next time stays. With a dedup key the answer may be the
    /// message that is there already.
    ///
    /// # Errors
    /// [`ScheduleError`]; nothing was sent.
    pub fn run_now(&self, name: &str) -> Call<Result<Accepted, ScheduleError>> {
        self.call(name, |this, name| async move {
            for _ in 0..TRIES {
                match this.send(&name).await {
                    Err(ScheduleError::Busy { .. }) | Ok(None) => {}
                    Err(error) => return Err(error),
                    Ok(Some(accepted)) => return Ok(accepted),
                }
            }
            Err(ScheduleError::Busy { name })
        })
    }

    async fn send(&self, name: &ScheduleName) -> Result<Option<Accepted>, ScheduleError> {
        let seen = self.kept(name).await?;
        let message = plan_of(&seen)?.message;
        let shell = self.backend.shell();
        let due = shell.clock().wall();
        let message = message_of_run(&message, &seen.name, due);
        let mut batch = EnqueueBatch::default();
        prepare_batch(&mut batch, Few::from([message]), shell).map_err(EnqueueError::from)?;
        let fire = FireSchedule {
            seen,
            due,
            drafts: batch.drafts,
            firing: Firing::ByHand,
        };
        let fired = self.act(move |desk, now| Ok(desk.fire_schedule(now, &fire)?));
        Ok(fired.await?.and_then(|sent| sent.first().copied()))
    }

    async fn kept(&self, name: &ScheduleName) -> Result<Arc<Kept>, ScheduleError> {
        let name = name.clone();
        self.act(move |desk, _| {
            let kept = desk.manager.schedule(&name).cloned();
            kept.ok_or(ScheduleError::Unknown { name })
        })
        .await
    }

    /// A call about the schedule of this name.
    fn call<T: Send + 'static, F>(
        &self,
        name: &str,
        work: impl FnOnce(Self, ScheduleName) -> F + Send + 'static,
    ) -> Call<Result<T, ScheduleError>>
    where
        F: Future<Output = Result<T, ScheduleError>> + Send,
    {
        let (this, name) = (self.clone(), ScheduleName::new(name));
        Call::of(async move { work(this, name?).await })
    }

    /// Acts at the desk; answers when everything decided so far is synced.
    async fn act<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Desk, &Now) -> Result<T, ScheduleError>,
    ) -> Result<T, ScheduleError> {
        let shell = self.backend.shell_arc();
        let acted = shell.at_desk(Needs::Sync, act, |stopped| Err(stopped.into()));
        acted.await.unwrap_or(Err(Stopped::Closed.into()))
    }

    fn view(&self, kept: &Kept) -> ScheduleView {
        let trouble = self.backend.shell().trouble(&kept.name);
        let read = stored::read_schedule(kept);
        let (schedule, unreadable) = match read {
            Ok(schedule) => (Some(schedule), None),
            Err(reason) => (None, Some(reason)),
        };
        ScheduleView {
            name: kept.name.clone(),
            schedule,
            next: kept.next.filter(|_| !kept.paused),
            paused: kept.paused,
            last: kept.last,
            runs: kept.runs,
            skipped: kept.skipped,
            trouble: trouble.reason.or(unreadable),
            refusals: trouble.refusals,
        }
    }
}

fn plan_of(kept: &Kept) -> Result<Plan, ScheduleError> {
    Plan::read(kept).map_err(|reason| ScheduleError::Unreadable {
        name: kept.name.clone(),
        reason,
    })
}
