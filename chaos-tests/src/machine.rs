//! One engine on a simulated machine, with one pool that takes everything: what tests hold in their hands.

use std::fmt::Display;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mq::environment::Environment;
use mq::{Builder, Engine, Limit};
use mq_core::backend::{Backend, Delivery, Grant, SettleReceipt, SettleRequest};
use mq_core::command::{PoolSpec, Selector, Settlement};
use mq_core::id::{LeaseToken, PoolId, Seq};
use mq_core::message::NewMessage;
use mq_core::pending::{Abandoned, Pending};
use mq_core::retry::{Backoff, RetryPolicy};
use mq_core::time::{Clock, Timestamp};
use mq_core::view::Filter;
use mq_testing::clock::{ManualClock, START_MS};
use mq_testing::sim_disk::SimDisk;

use crate::puppets::{Moment, Puppets};
use crate::staged::StagedDisk;

/// The retry policy of the machine's pool, and of failures in tests.
pub const RETRY: RetryPolicy = RetryPolicy {
    failures_max: 3,
    backoff: Backoff::Fixed(Duration::from_secs(1)),
};
/// The lease of the machine's pool.
pub const LEASE: Duration = Duration::from_secs(30);

/// Turns of the commit thread that an answer may take. One or two are enough; whoever waits for more waits for ever.
const TURNS_MAX: usize = 200;
/// From then on the maintenance thread has turns too: on a full disk work waits for what it frees.
const TURNS_BEFORE_HOUSEKEEPING: usize = 8;

/// An answer that does not come, however often the engine's threads get their turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck(String);

impl std::fmt::Display for Stuck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "stuck: no answer after {TURNS_MAX} turns; {}", self.0)
    }
}

/// An engine on a simulated machine, with one pool that takes everything.
#[derive(Debug)]
pub struct Machine {
    engine: Option<Engine>,
    disk: SimDisk,
    backend: Arc<dyn Backend>,
    puppets: Puppets,
    clock: Arc<ManualClock>,
    pool: PoolId,
}

/// What an error says, with its causes.
pub fn text(error: impl Display) -> String {
    error.to_string()
}

impl Machine {
    /// Opens a small store: segments of 64 KiB, snapshots after 64 KiB, a cache of 16 KiB, room for 1,000 messages.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn open(disk: &SimDisk, life: u64) -> Result<Self, String> {
        Self::open_with(disk, life, |builder| builder)
    }

    /// [`Machine::open`] with other options.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn open_with(
        disk: &SimDisk,
        life: u64,
        options: impl FnOnce(Builder) -> Builder,
    ) -> Result<Self, String> {
        let clock = Arc::new(ManualClock::default());
        clock.set_wall(Timestamp::from_ms(START_MS + life * 1_000));
        Self::open_on(disk, clock, life, options)
    }

    /// [`Machine::open_with`] on a clock that goes on.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn open_on(
        disk: &SimDisk,
        clock: Arc<ManualClock>,
        seed: u64,
        options: impl FnOnce(Builder) -> Builder,
    ) -> Result<Self, String> {
        let puppets = Puppets::new();
        let environment = Environment {
            storage: Some(Arc::new(StagedDisk::new(disk.clone(), puppets.clone()))),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            seed: Some(7 + seed),
            spawn: Arc::new(puppets.clone()),
            park: Arc::new(puppets.clone()),
        };
        let builder = Engine::builder("simulated")
            .environment(environment)
            .capacity(Limit::messages(1_000).bytes(64 << 20))
            .segment_size_max(64 << 10)
            .snapshot_after(64 << 10)
            .payload_cache(16 << 10);
        let engine = options(builder)
            .open_wait()
            .map_err(|error| format!("open refused: {error}"))?;
        let backend = engine.backend();
        let pool = backend
            .attach(
                PoolSpec::one(Selector::default(), LEASE, RETRY),
                Arc::new(|| {}),
            )
            .map_err(text)?;
        Ok(Self {
            engine: Some(engine),
            disk: disk.clone(),
            backend,
            puppets,
            clock,
            pool,
        })
    }

    /// The engine, until it is closed.
    ///
    /// # Errors
    /// It was closed.
    pub fn engine(&self) -> Result<&Engine, String> {
        self.engine
            .as_ref()
            .ok_or_else(|| "the machine was closed".to_owned())
    }

    /// The engine as a backend.
    #[must_use]
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// The machine's clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<ManualClock> {
        &self.clock
    }

    /// Waits for an answer as a blocking caller does, who commits himself if he can; but for so many turns of the engine's
    /// threads and no longer. No time passes meanwhile.
    ///
    /// # Errors
    /// It does not come.
    pub fn wait<T>(&self, pending: Pending<T>) -> Result<Result<T, Abandoned>, Stuck> {
        let mut open = pending;
        for turn in 0..TURNS_MAX {
            match open.wait_for(Duration::ZERO) {
                Ok(answer) => return Ok(answer),
                Err(still) => open = still,
            }
            if turn < TURNS_BEFORE_HOUSEKEEPING {
                self.commit();
            } else {
                self.maintain();
            }
        }
        let (stats, puppets) = (self.backend.stats(), &self.puppets);
        Err(Stuck(format!("{stats:?}, {puppets:?}")))
    }

    /// Polls a call of the facade to its end, and lets the commit thread work in between.
    pub fn block<T>(&self, call: impl Future<Output = T>) -> T {
        let mut call = std::pin::pin!(call);
        let mut context = Context::from_waker(Waker::noop());
        loop {
            match call.as_mut().poll(&mut context) {
                Poll::Ready(answer) => return answer,
                Poll::Pending => self.commit(),
            }
        }
    }

    /// See [`Puppets::hold_at`].
    pub fn hold_at(&self, at: Option<(Moment, u64)>) {
        self.puppets.hold_at(at);
    }

    /// Whether a thread is held.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.puppets.is_held()
    }

    /// Everything decided so far is synced, and what follows from it has arrived.
    pub fn settle_down(&self) {
        for _ in 0..3 {
            // A look that is answered when all before it is synced; the waiting caller commits itself.
            drop(self.wait(self.backend.list(Filter::default(), Seq::NONE, 1)));
            self.commit();
        }
    }

    /// Lets the commit thread work until it sleeps.
    pub fn commit(&self) {
        self.puppets.run("mq-commit");
    }

    /// How long the commit thread meant to sleep when it last went to sleep.
    #[must_use]
    pub fn sleep_limit(&self) -> Option<Duration> {
        self.puppets.sleep_limit("mq-commit")
    }

    /// Lets the maintenance thread work until it sleeps, then the commit thread.
    pub fn maintain(&self) {
        self.puppets.run("mq-maintain");
        self.commit();
    }

    /// Takes a snapshot.
    ///
    /// # Errors
    /// It was not taken.
    pub fn snapshot(&self) -> Result<(), String> {
        let admin = self.engine()?.admin();
        let mut asked = std::pin::pin!(admin.snapshot());
        let mut context = Context::from_waker(Waker::noop());
        if asked.as_mut().poll(&mut context).is_pending() {
            self.maintain();
        }
        match asked.as_mut().poll(&mut context) {
            Poll::Ready(taken) => taken.map(drop).map_err(text),
            Poll::Pending => Err("a snapshot was not taken".to_owned()),
        }
    }

    /// Lets the thread of bulk jobs work until it sleeps, then the commit thread.
    pub fn run_bulk(&self) {
        self.puppets.run("mq-bulk");
        self.commit();
    }

    /// [`Machine::run_bulk`] if there may be a job.
    pub fn run_bulk_if(&self, wanted: bool) {
        if wanted {
            self.run_bulk();
        }
    }

    /// Time passes, and the commit thread notices.
    pub fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.commit();
    }

    /// Takes the machine's pool away: nobody takes anything.
    pub fn detach_pool(&self) {
        self.backend.detach(self.pool);
        self.commit();
    }

    /// Another pool that takes everything; none if the engine has stopped.
    #[must_use]
    pub fn attach_pool(&self) -> Option<PoolId> {
        let everything = PoolSpec::one(Selector::default(), LEASE, RETRY);
        self.backend.attach(everything, Arc::new(|| {})).ok()
    }

    /// Asks for up to `permits` messages, and takes unspent permits back.
    pub fn take(&self, permits: u32) -> Vec<Grant> {
        self.backend.checkout(self.pool, permits);
        self.commit();
        let grants = self.taken();
        drop(self.backend.withdraw(self.pool, permits));
        grants
    }

    /// Asks for messages and leaves the permits standing; see [`Machine::taken`].
    pub fn ask(&self, permits: u32) {
        self.backend.checkout(self.pool, permits);
        self.commit();
    }

    /// What has arrived in the pool.
    pub fn taken(&self) -> Vec<Grant> {
        self.delivered(|delivery| match delivery {
            Delivery::Grant(grant) => Some(grant),
            Delivery::CancelRequested(_) | Delivery::LeaseLost(_) => None,
        })
    }

    /// The leases of which the pool was told that somebody wants them cancelled.
    #[must_use]
    pub fn notices(&self) -> Vec<LeaseToken> {
        self.delivered(|delivery| match delivery {
            Delivery::CancelRequested(token) => Some(token),
            Delivery::Grant(_) | Delivery::LeaseLost(_) => None,
        })
    }

    /// Takes what has arrived in the pool; what is not wanted of it is gone.
    fn delivered<T>(&self, wanted: impl Fn(Delivery) -> Option<T>) -> Vec<T> {
        let mut deliveries = Vec::new();
        self.backend.take(self.pool, &mut deliveries);
        deliveries.into_iter().filter_map(wanted).collect()
    }

    /// Ends a lease.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn settle(
        &self,
        grant: &Grant,
        settlement: Settlement,
        staged: Vec<NewMessage>,
    ) -> Result<SettleReceipt, String> {
        let request = SettleRequest {
            token: grant.token,
            settlement,
            staged,
        };
        let settled = self.backend.settle(vec![request]);
        let answers = self.wait(settled).map_err(text)?.map_err(text)?;
        answers
            .into_iter()
            .next()
            .ok_or_else(|| "no answer".to_owned())?
            .map_err(text)
    }

    /// Closes in order. The engine's threads still run one at a time, so that equal runs close equally.
    ///
    /// # Errors
    /// Why it could not be done.
    pub fn close(&mut self) -> Result<(), String> {
        self.finish(|engine| engine.close_wait().map_err(text))
    }

    /// Drops the engine without closing it first, as a program may; [`Machine`]'s own drop is the death of the process.
    ///
    /// # Errors
    /// It panicked.
    pub fn let_go(mut self) -> Result<(), String> {
        self.finish(|engine| {
            drop(engine);
            Ok(())
        })
    }

    fn finish(
        &mut self,
        how: impl FnOnce(Engine) -> Result<(), String> + Send + 'static,
    ) -> Result<(), String> {
        let Some(engine) = self.engine.take() else {
            return Ok(());
        };
        self.hold_at(None);
        self.commit(); // asleep and not called: the next call is the close
        let closer = std::thread::spawn(move || how(engine));
        self.puppets.await_call("mq-commit");
        for thread in [
            "mq-bulk",
            "mq-maintain",
            "mq-commit",
            "mq-maintain",
            "mq-bulk",
        ] {
            self.puppets.run(thread);
        }
        self.puppets.release();
        closer
            .join()
            .unwrap_or_else(|_| Err("it panicked".to_owned()))
    }
}

/// A machine that goes away dies at that moment: what its threads do on their way out does not reach the disk.
impl Drop for Machine {
    fn drop(&mut self) {
        if self.engine.is_some() {
            self.disk.crash_after(self.disk.io_count());
        }
        if self.puppets.is_stuck() {
            std::mem::forget(self.engine.take()); // its end would wait for a thread that does not come back
            return;
        }
        self.puppets.release();
        drop(self.engine.take());
    }
}
