//! Tests of handlers: the real engine on a simulated disk and clock, with crashes where the test wants them.
//!
//! [`Harness`] is what a test holds in its hand; [`test`](macro@crate::test) gives it a world to live in. Nothing runs by
//! itself: [`Harness::run_one`] runs one attempt, [`Harness::run_until_empty`] runs everything there is.
//!
//! Invariants
//! 1. The engine and the workers are the production ones. Simulated are the disk, the clock, the threads' turns and the
//!    process's death, through the engine's five seams.
//! 2. The same test with the same seed does the same, operation by operation on the disk.
//!
//! Deterministic are the engine, the dispatch of messages, time, tasks on the runtime and blocking handlers. Not
//! deterministic is what a test brings along: its own threads, real files and sockets, `tokio::select!` without `biased`,
//! iteration over maps with random hashers.

mod checks;
mod effects;
mod explore;
mod gate;
mod handlers;
mod life;
mod lives;
mod process;
mod puppets;
mod ran;
mod record;
mod running;
mod seeds;
mod trouble;
mod unit;
mod world;

use std::fmt;
use std::sync::Arc;

use mq::{
    AsyncHandler, BlockingHandler, Builder, Engine, Handler, HandlerOptions, Message, MessageId,
    Request, Stats, WorkersBuilder,
};
use parking_lot::Mutex;

pub use checks::{Enqueued, Observed};
pub use effects::Effects;
pub use explore::{Explored, explore, explore_test};
pub use ran::Ran;
pub use seeds::{Finished, TestName, run, run_test};
pub use unit::{Called, Unit, call};

use crate::sim_disk::SimDisk;
use process::{Process, Setup};
use record::Record;
use world::World;

/// An engine with handlers on a simulated machine: what a test holds in its hand.
///
/// Made inside `#[mq_testing::test]` or [`run`]. Register state and handlers first; the engine opens with the first call
/// that needs it, and lives until the harness is dropped, [crashed](Harness::crash) or [restarted](Harness::restart).
///
/// The same test with the same seed does the same, operation by operation on the disk: engine, dispatch, time, tasks on the
/// runtime and blocking handlers are deterministic. Not deterministic is what a test brings along: its own threads, real
/// files and sockets, `tokio::select!` without `biased`, iteration over maps with random hashers.
///
/// # Panics
/// Every method panics when what it is asked for cannot be done, with a text that says why. That fails the test, and the
/// seed and what happened are printed.
///
/// # Examples
/// ```
/// use mq::prelude::*;
/// use mq_testing::Harness;
///
/// #[derive(Serialize, Deserialize, Message)]
/// #[message(kind = "email.welcome")]
/// struct SendWelcome { user_id: u64 }
///
/// async fn send_welcome(message: SendWelcome, Attempt(attempt): Attempt) -> Outcome {
///     if attempt < 3 {
///         return Err(Fail::retry(format!("no answer for user {}", message.user_id)));
///     }
///     Ok(())
/// }
///
/// mq_testing::run(7, || async {
///     let t = Harness::new().handle(send_welcome);
///     let id = t.enqueue(SendWelcome { user_id: 7 }).await;
///     t.run_one().await.assert_retry();
///     t.run_until_empty().await; // the clock moves over the back-offs
///     t.message(id).assert_succeeded().assert_attempts(3);
/// });
/// ```
#[must_use = "a harness does nothing until it is asked to"]
pub struct Harness {
    world: Arc<World>,
    setup: Setup,
    disk: Mutex<SimDisk>,
    record: Arc<Mutex<Record>>,
    process: Mutex<Option<Arc<Process>>>,
    attempts_max: usize,
}

impl Harness {
    /// A machine with an empty disk, and no handlers yet.
    ///
    /// # Panics
    /// Outside of `#[mq_testing::test]` and [`run`].
    #[expect(
        clippy::new_without_default,
        reason = "it panics outside of a simulated world, which a default must not"
    )]
    pub fn new() -> Self {
        let Some(world) = World::current() else {
            fail(
                "a Harness lives in a simulated world: write #[mq_testing::test] above the test \
                 instead of #[test] or #[tokio::test], or call mq_testing::run",
            )
        };
        Self {
            world,
            setup: Setup::default(),
            disk: Mutex::default(),
            record: Arc::default(),
            process: Mutex::default(),
            attempts_max: running::ATTEMPTS_MAX,
        }
    }

    /// Shares a value with the handlers, as [`WorkersBuilder::state`]. It is cloned for every life of the process, so an
    /// `Arc` in it stands for the world outside, which no crash undoes.
    pub fn state<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.setting_up().state(value);
        self
    }

    /// Handles messages with an async function, as [`WorkersBuilder::handle`].
    pub fn handle<F, Arguments>(self, function: F) -> Self
    where
        F: AsyncHandler<Arguments>,
        Arguments: 'static,
    {
        self.handle_with(function, |options| options)
    }

    /// As [`Harness::handle`], with settings.
    pub fn handle_with<F, Arguments>(
        mut self,
        function: F,
        options: impl FnOnce(HandlerOptions) -> HandlerOptions,
    ) -> Self
    where
        F: AsyncHandler<Arguments>,
        Arguments: 'static,
    {
        let options = options(HandlerOptions::default());
        self.setting_up().function(function, options);
        self
    }

    /// Handles messages with a value that implements [`Handler`].
    pub fn handler<M: Message, H: Handler<M>>(mut self, handler: H) -> Self {
        self.setting_up().typed(handler);
        self
    }

    /// Handles messages with a function that blocks. Everything else, time included, stands still while it runs.
    pub fn handle_blocking<F, Arguments>(self, function: F) -> Self
    where
        F: BlockingHandler<Arguments>,
        Arguments: 'static,
    {
        self.handle_blocking_with(function, |options| options)
    }

    /// As [`Harness::handle_blocking`], with settings.
    pub fn handle_blocking_with<F, Arguments>(
        mut self,
        function: F,
        options: impl FnOnce(HandlerOptions) -> HandlerOptions,
    ) -> Self
    where
        F: BlockingHandler<Arguments>,
        Arguments: 'static,
    {
        let options = options(HandlerOptions::default());
        self.setting_up().blocking(function, options);
        self
    }

    /// Anything else that a [`WorkersBuilder`] can do; called once for every life of the process. Handlers registered here
    /// may run on for a few simulated seconds after a crash: prefer the methods above for handlers.
    pub fn workers(
        mut self,
        register: impl Fn(WorkersBuilder) -> WorkersBuilder + Send + Sync + 'static,
    ) -> Self {
        self.setting_up().custom(register);
        self
    }

    /// Options of the store; called once for every life of the process.
    pub fn options(mut self, options: impl Fn(Builder) -> Builder + Send + Sync + 'static) -> Self {
        self.setting_up();
        self.setup.options.push(Box::new(options));
        self
    }

    /// How many attempts [`Harness::run_until_empty`] makes before it calls it a livelock. Default: 10,000.
    pub fn attempts_max(mut self, attempts: usize) -> Self {
        self.attempts_max = attempts;
        self
    }

    fn setting_up(&mut self) -> &mut handlers::Handlers {
        if self.process.lock().is_some() {
            fail(
                "the engine runs already: register state, handlers and options before the first message",
            );
        }
        &mut self.setup.handlers
    }

    /// The present life of the process; it begins with the first call.
    fn process(&self) -> Arc<Process> {
        let mut process = self.process.lock();
        if let Some(process) = &*process {
            return Arc::clone(process);
        }
        let disk = self.disk.lock().clone();
        match Process::start(&self.world, &self.setup, disk, &self.record) {
            Ok(started) => Arc::clone(process.insert(Arc::new(started))),
            Err(text) => {
                drop(process);
                fail(&text)
            }
        }
    }

    /// Enqueues a message; returns when it is durable.
    pub async fn enqueue<M: Message>(&self, message: M) -> MessageId {
        self.enqueue_with(message, |request| request).await
    }

    /// As [`Harness::enqueue`], with what a producer can say: `|request| request.delay(secs(5)).priority(8)`.
    ///
    /// The id is that of the message that does the work: an earlier one's, if a key says so.
    pub async fn enqueue_with<M: Message>(
        &self,
        message: M,
        options: impl FnOnce(Request<M>) -> Request<M>,
    ) -> MessageId {
        let request = options(self.engine().enqueue(message));
        match request.await {
            Ok(receipt) => {
                let accepted = receipt.accepted;
                self.world.tell(format_args!(
                    "#{} {} is enqueued",
                    accepted.id.seq(),
                    M::KIND
                ));
                accepted.id
            }
            Err(error) => fail(&format!(
                "{} could not be enqueued: {}",
                M::KIND,
                process::chain(&error)
            )),
        }
    }

    /// The engine of the present life, for everything else: producers with batches, admin, events.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.process().engine.clone()
    }

    /// Counts of the whole store.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.engine().stats()
    }

    /// The simulated disk, to make calls fail ([`SimDisk::fail_nth`]), to fill it up, or to look at its trace.
    #[must_use]
    pub fn disk(&self) -> SimDisk {
        self.disk.lock().clone()
    }

    /// Makes the disk slow from now on, in this life and in those to come: each round of writing begins so much later, and
    /// what arrives meanwhile shares the round. Zero is as quick as ever.
    ///
    /// Answers, hand-outs and outcomes come later by as much, while handlers, leases and due times go on. Not slowed down:
    /// blocking calls (`.wait()`), opening and closing.
    pub fn slow_disk(&self, latency: std::time::Duration) {
        self.world.tell(format_args!("the disk takes {latency:?}"));
        self.world.set_disk_latency(latency);
        self.process().puppets.set_latency(latency);
    }

    /// The seed of this run.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.world.seed
    }

    /// What has happened so far, one line each, with simulated times.
    #[must_use]
    pub fn story(&self) -> String {
        self.world.story()
    }
}

impl fmt::Debug for Harness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Harness")
            .field("seed", &self.world.seed)
            .field("is_running", &self.process.lock().is_some())
            .finish_non_exhaustive()
    }
}

/// Fails the test.
#[track_caller]
#[expect(clippy::panic, reason = "a test fails by panicking")]
fn fail(text: &str) -> ! {
    panic!("{text}")
}
