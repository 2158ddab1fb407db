//! Running workers: control, statistics, stop.
//!
//! [`Workers`] owns them: dropped, it stops them without waiting. [`Control`] is a handle that many can have.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mq_core::pending::{Pending, Promise};
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::time::{Instant, timeout};

use crate::cancel::CancelReason;
use crate::lease::ABORT_GRACE;
use crate::newer::Readable;
use crate::pool::{Pause, Pool, Shared};
use crate::problem::{ControlError, Illness, Unhealthy};
use crate::reply::{OnRuntimeThread, Reply};
use crate::stats::{PoolStats, Running};

/// How long a stop waits for aborted handlers to be gone.
const ABORTED_GRACE: Duration = Duration::from_secs(1);

/// What a stop did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StopReport {
    /// Handlers that had to be asked to stop because the grace was over.
    pub asked_to_stop: usize,
    /// Of those, handlers that did not and were aborted; their messages were interrupted at no cost.
    pub aborted: usize,
    /// Of those, handlers that run on still: threads cannot be aborted.
    pub stuck: usize,
    /// Granted messages that were given back without having started.
    pub given_back: usize,
    /// The stop goes on: [`Reply::wait`] was called on a thread of an async runtime and did not block it.
    pub unfinished: bool,
}

impl OnRuntimeThread for StopReport {
    fn on_runtime_thread() -> Self {
        tracing::error!(
            "stop(…).wait() would block a thread of the async runtime; use .await there"
        );
        Self {
            unfinished: true,
            ..Self::default()
        }
    }
}

#[derive(Debug, Default)]
enum Stop {
    #[default]
    NotAsked,
    Asked(Vec<Promise<StopReport>>),
    Done(StopReport),
}

pub(crate) struct Crew {
    pub(crate) pools: Vec<Arc<Pool>>,
    pub(crate) shared: Arc<Shared>,
    readable: Vec<Readable>,
    stop: Mutex<Stop>,
    ended: AtomicBool,
}

impl Crew {
    pub(crate) fn new(
        pools: Vec<Arc<Pool>>,
        shared: Arc<Shared>,
        readable: Vec<Readable>,
    ) -> Arc<Self> {
        Arc::new(Self {
            pools,
            shared,
            readable,
            stop: Mutex::default(),
            ended: AtomicBool::new(false),
        })
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    fn find(&self, kind: &str) -> Result<&Arc<Pool>, ControlError> {
        if !matches!(*self.stop.lock(), Stop::NotAsked) {
            return Err(ControlError::Stopping);
        }
        let mut pools = self.pools.iter();
        let found = pools.find(|pool| pool.names.iter().any(|name| name == kind));
        found.ok_or_else(|| ControlError::UnknownKind {
            kind: kind.to_owned(),
            known: self.pools.iter().map(|pool| pool.name.clone()).collect(),
        })
    }

    /// Begins to stop, once; answers when all of it is done.
    fn stop(self: &Arc<Self>, grace: Duration) -> Pending<StopReport> {
        let (promise, pending) = Pending::new();
        let mut stop = self.stop.lock();
        match &mut *stop {
            Stop::Done(report) => {
                promise.keep(*report);
                return pending;
            }
            Stop::Asked(promises) => {
                promises.push(promise);
                return pending;
            }
            Stop::NotAsked => *stop = Stop::Asked(vec![promise]),
        }
        drop(stop);
        // At once, not when the runtime comes to it: nothing new may start from now on.
        let given_back = self.given_back();
        self.pools.iter().for_each(Pool::stop_accepting);
        let mut stopping = Stopping {
            crew: Arc::clone(self),
            report: StopReport::default(),
            given_back,
        };
        drop(self.shared.runtime.spawn(async move {
            stopping.wind_down(grace).await;
        }));
        pending
    }

    /// Granted messages that went back without having started, since the start.
    fn given_back(&self) -> u64 {
        let pools = self.pools.iter();
        pools.map(|pool| pool.counters.totals().given_back).sum()
    }

    async fn wait_until_idle(&self) {
        for pool in &self.pools {
            pool.wait_until_left(0).await;
        }
    }

    fn ask_to_stop(&self) -> usize {
        let mut asked = 0;
        for lease in self.pools.iter().flat_map(|pool| pool.leases()) {
            lease.cancel.request(CancelReason::Shutdown);
            asked += 1;
        }
        asked
    }

    /// Aborts every handler, and only then waits for the store: a full disk must not keep one of them alive.
    async fn abort(&self) -> usize {
        let now = Instant::now();
        let mut seized = Vec::new();
        for pool in &self.pools {
            let leases = pool.leases().into_iter();
            seized.extend(
                leases
                    .filter(|lease| lease.seize(now))
                    .map(|lease| (pool, lease)),
            );
        }
        let asked: Vec<_> = seized
            .iter()
            .map(|(pool, lease)| pool.settle_for(lease))
            .collect();
        let aborted = asked.len();
        for answer in asked {
            answer.await;
        }
        aborted
    }
}

/// A stop on its way. Its end comes also when the runtime is shut down under it: by being dropped.
struct Stopping {
    crew: Arc<Crew>,
    report: StopReport,
    /// How many messages had gone back before.
    given_back: u64,
}

impl Stopping {
    async fn wind_down(&mut self, grace: Duration) {
        let crew = &self.crew;
        if timeout(grace, crew.wait_until_idle()).await.is_err() {
            self.report.asked_to_stop = crew.ask_to_stop();
            if timeout(ABORT_GRACE, crew.wait_until_idle()).await.is_err() {
                self.report.aborted = crew.abort().await;
                // Whatever is left after this is stuck, and counted.
                timeout(ABORTED_GRACE, crew.wait_until_idle()).await.ok();
            }
        }
        crew.shared.settler.emptied().await;
    }
}

impl Drop for Stopping {
    fn drop(&mut self) {
        let crew = &self.crew;
        self.report.stuck = crew.pools.iter().map(|pool| pool.leases().len()).sum();
        for pool in &crew.pools {
            pool.detach();
        }
        let given_back = crew.given_back() - self.given_back;
        self.report.given_back = usize::try_from(given_back).unwrap_or(usize::MAX);
        crew.shared.settler.close();
        crew.ended.store(true, Ordering::Release);
        crew.shared.timers.notify_one();
        let stop = std::mem::replace(&mut *crew.stop.lock(), Stop::Done(self.report));
        if let Stop::Asked(promises) = stop {
            for promise in promises {
                promise.keep(self.report);
            }
        }
    }
}

/// A handle on running workers; cheap to clone. It does not keep them running.
#[derive(Clone)]
pub struct Control(pub(crate) Arc<Crew>);

impl Control {
    /// Lets `workers` messages of a kind be handled at once; answered when that is in force: at once for more, when
    /// enough handlers have ended for fewer. Nothing is stopped.
    pub fn scale(&self, kind: &str, workers: usize) -> Reply<Result<(), ControlError>> {
        let checked = self.0.find(kind).and_then(|pool| {
            let limit = u32::try_from(workers)
                .ok()
                .filter(|limit| pool.settings.scale.contains(limit));
            let limit = limit.ok_or_else(|| ControlError::OutOfRange {
                kind: pool.name.clone(),
                given: workers,
                range: pool.settings.scale.clone(),
            })?;
            Ok((pool, limit))
        });
        match checked {
            Ok((pool, limit)) => Reply::new(pool.scale(limit), |answer| {
                answer.map_err(|_| ControlError::Stopping)
            }),
            Err(error) => Reply::ready(Err(error)),
        }
    }

    /// The kinds that these workers decode, aliases too; those that take any bytes have none.
    #[must_use]
    pub fn readable(&self) -> &[Readable] {
        &self.0.readable
    }

    /// Whether one of these workers' pools answers to this name.
    pub(crate) fn has(&self, kind: &str) -> bool {
        let mut pools = self.0.pools.iter();
        pools.any(|pool| pool.names.iter().any(|name| name == kind))
    }

    /// Takes no new messages of a kind until [`Control::resume`] or the next start. Running handlers go on.
    ///
    /// # Errors
    /// [`ControlError`] if there is no such kind or the workers are stopping.
    pub fn pause(&self, kind: &str) -> Result<(), ControlError> {
        self.0.find(kind)?.pause(Pause::ByUser);
        Ok(())
    }

    /// Takes messages of a kind again.
    ///
    /// # Errors
    /// [`ControlError`] if there is no such kind or the workers are stopping.
    pub fn resume(&self, kind: &str) -> Result<(), ControlError> {
        self.0.find(kind)?.resume();
        Ok(())
    }

    /// Counts of each pool, in the order of registration.
    #[must_use]
    pub fn stats(&self) -> Vec<PoolStats> {
        self.0.pools.iter().map(|pool| pool.stats()).collect()
    }

    /// Every handler that runs now.
    #[must_use]
    pub fn running(&self) -> Vec<Running> {
        let now = Instant::now();
        let pools = self.0.pools.iter();
        pools.flat_map(|pool| pool.running(now)).collect()
    }

    /// Whether the workers work as they should.
    ///
    /// # Errors
    /// [`Unhealthy`] if the store stopped, a pool is stuck as a whole, or a pool was paused because its messages cannot
    /// be decoded.
    pub fn health(&self) -> Result<(), Unhealthy> {
        let stopped = self.0.shared.settler.stopped().map(Illness::Stopped);
        let mut illnesses: Vec<Illness> = stopped.into_iter().collect();
        for pool in &self.0.pools {
            let stats = pool.stats();
            let kind = || stats.kind.clone();
            if u32::try_from(stats.stuck).is_ok_and(|stuck| stuck >= stats.limit) {
                illnesses.push(Illness::AllStuck {
                    kind: kind(),
                    stuck: stats.stuck,
                });
            }
            let broken = pool.gates().filter_map(|gate| gate.broken());
            illnesses.extend(broken.map(|reason| Illness::Layer {
                kind: kind(),
                reason,
            }));
            if pool.pause_reason() == Some(Pause::Undecodable) {
                illnesses.push(Illness::Undecodable { kind: kind() });
            }
        }
        if illnesses.is_empty() {
            Ok(())
        } else {
            Err(Unhealthy { illnesses })
        }
    }
}

impl fmt::Debug for Crew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crew")
            .field("pools", &self.pools)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<&str> = self.0.pools.iter().map(|pool| pool.name.as_str()).collect();
        f.debug_struct("Control").field("kinds", &kinds).finish()
    }
}

/// The running workers of one program. Has everything [`Control`] has.
#[must_use = "dropped, the workers stop"]
#[derive(Debug)]
pub struct Workers {
    control: Control,
    own: Option<Runtime>,
}

impl Workers {
    pub(crate) fn new(crew: Arc<Crew>, own: Option<Runtime>) -> Self {
        Self {
            control: Control(crew),
            own,
        }
    }

    /// A handle for others.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Stops: takes nothing new, gives back what has not started, waits up to `grace` for handlers, then asks the rest
    /// to stop, aborts those that do not within a few seconds, and waits until the store has every settlement.
    /// Interrupted messages are ready again and it costs them no attempt. A second call waits for the first.
    pub fn stop(&self, grace: Duration) -> Reply<StopReport> {
        Reply::new(self.control.0.stop(grace), Result::unwrap_or_default)
    }
}

impl Deref for Workers {
    type Target = Control;

    fn deref(&self) -> &Control {
        &self.control
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        let stopped = self.control.0.stop(Duration::ZERO);
        let Some(runtime) = self.own.take() else {
            return;
        };
        // The runtime must outlive the stop, and must not be dropped on a thread of another one.
        let reaper = std::thread::Builder::new().name("mq stop".to_owned());
        let spawned = reaper.spawn(move || {
            stopped.wait().ok();
            runtime.shutdown_background();
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, "cannot start a thread to stop the workers; they are dropped as they are");
        }
    }
}
