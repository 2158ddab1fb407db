//! Options of a store and how it is opened: every bad option is reported at once, before anything is touched.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mq_core::manager::DeadFull;
use mq_persistence::open::OpenError::InUse;

use mq_dispatch::Retry;

use crate::call::Call;
use crate::engine::Engine;
use crate::environment::Environment;
use crate::error::OpenError;
use crate::options::{Durability, Limit, Options};

/// Where the store is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Directory(PathBuf),
    Memory,
}

/// Options for opening a store. Nothing is checked before [`Builder::open`], and then everything at once.
#[must_use = "call open() or open_wait()"]
#[derive(Clone, Debug)]
pub struct Builder {
    pub(crate) place: Place,
    pub(crate) options: Options,
    pub(crate) environment: Environment,
    pub(crate) control: bool,
    owner_wait: Duration,
}

/// How often it is looked whether the store's owner has let it go.
const OWNER_LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a store that another process has only for a moment is waited for.
const BRIEF_WAIT: Duration = Duration::from_secs(2);
/// Ends what the lock says of an owner who has the store only for a moment.
pub(crate) const BRIEF: &str = " for one command";

impl Builder {
    pub(crate) fn at(path: PathBuf) -> Self {
        Self {
            place: Place::Directory(path),
            options: Options::default(),
            environment: Environment::real(),
            control: true,
            owner_wait: Duration::ZERO,
        }
    }

    pub(crate) fn in_memory() -> Self {
        Self {
            place: Place::Memory,
            options: Options::default(),
            environment: Environment::real(),
            control: true,
            owner_wait: Duration::ZERO,
        }
    }

    /// How the traces of an enqueue and of its attempts belong together. Default: the first attempt is a child.
    #[cfg(feature = "otel")]
    pub fn trace(mut self, mode: crate::otel::TraceMode) -> Self {
        self.options.trace = mode;
        self
    }

    /// What an enqueue waits for. Default: [`Durability::Synced`].
    pub fn durability(mut self, durability: Durability) -> Self {
        self.options.durability = durability;
        self
    }

    /// How much the store takes. Default: 1,048,576 messages, 8 GiB.
    pub fn capacity(mut self, capacity: Limit) -> Self {
        self.options.capacity = capacity;
        self
    }

    /// The largest payload in bytes. Default: 1 MiB; at most 16 MiB.
    pub fn payload_size_max(mut self, bytes: usize) -> Self {
        self.options.payload_size_max = bytes;
        self
    }

    /// Bytes of dead letters kept; when they are full, the queues that filled them take no more. Default: 1 GiB.
    pub fn dead_bytes(mut self, bytes: u64) -> Self {
        self.options.dead_bytes = bytes;
        self
    }

    /// What happens when dead letters fill their budget. Default: [`DeadFull::StopIntake`]; nothing is lost.
    pub fn on_dead_full(mut self, policy: DeadFull) -> Self {
        self.options.dead_full = policy;
        self
    }

    /// Bytes of completed messages kept for their retention; the oldest leave early. Default: 1 GiB.
    pub fn completed_bytes(mut self, bytes: u64) -> Self {
        self.options.completed_bytes = bytes;
        self
    }

    /// Keys of all sorts that the store holds; when they are used up, enqueues with keys are refused. Default: 1,000,000.
    pub fn keys(mut self, keys: u64) -> Self {
        self.options.keys = keys;
        self
    }

    /// How long an idempotency key answers with the first id. Default: 24 h.
    pub fn idempotency_window(mut self, window: Duration) -> Self {
        self.options.idempotency_window = window;
        self
    }

    /// How failures are tried again unless the message, its handler or its queue ([`crate::WorkersBuilder::queue`]) says
    /// otherwise. Default: 20 attempts, exponential from 1 second to 5 minutes.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.options.retry = Some(retry);
        self
    }

    /// How long an enqueue waits for room, in the store or in a queue with a limit, before it is refused. Default: 10 s.
    pub fn full_wait(mut self, limit: Duration) -> Self {
        self.options.full_wait = limit;
        self
    }

    /// Bytes of messages (payload, headers, keys, and about 160 bytes each for keeping them) kept in memory; the rest is read back from
    /// disk. Default: 64 MiB.
    pub fn payload_cache(mut self, bytes: u64) -> Self {
        self.options.payload_cache = bytes;
        self
    }

    /// The largest journal segment in bytes, 1 MiB to 1 GiB. Small stores begin with 1 MiB. Default: 64 MiB.
    pub fn segment_size_max(mut self, bytes: u32) -> Self {
        self.options.segment_size_max = bytes;
        self
    }

    /// A snapshot is taken when the journal has grown by this many bytes since the last one (and by twice that one's
    /// size). Default: 256 MiB.
    pub fn snapshot_after(mut self, bytes: u64) -> Self {
        self.options.snapshot_after = bytes;
        self
    }

    /// Whether other processes of the same user can operate the store while this one owns it, on `control.sock` in its
    /// folder: see [`crate::control`]. Default: yes, for a store in a real folder.
    pub fn control(mut self, served: bool) -> Self {
        self.control = served;
        self
    }

    /// How long [`Builder::open`] waits for another owner of the store to let it go, so that a new process can take over
    /// from the old one: start it, then send the old one SIGTERM. Default: not at all, but for two seconds if the owner has
    /// the store only [briefly](Builder::briefly).
    pub fn wait_for_owner(mut self, limit: Duration) -> Self {
        self.owner_wait = limit;
        self
    }

    /// Whether schedules fire in this process. A tool that opens a store only to look at it or to change something says no:
    /// what is due stays due for the program that does the work. Default: yes.
    pub fn fire_schedules(mut self, fire: bool) -> Self {
        self.options.fires_schedules = fire;
        self
    }

    /// The store is opened for a moment: to look at it, or for one call. Whoever opens it meanwhile waits up to two seconds
    /// instead of being refused, so that an operator's look does not make a program's start fail.
    pub fn briefly(mut self) -> Self {
        self.options.is_brief = true;
        self
    }

    /// The machine to run on: for simulations and tests.
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    /// Opens the store: creates, locks and recovers it. Under tokio on a thread that may block; another executor's thread
    /// waits for the disk.
    ///
    /// # Errors
    /// [`OpenError`]; the store is as it was.
    pub async fn open(self) -> Result<Engine, OpenError> {
        Call::new(move || self.open_wait()).await
    }

    /// [`Builder::open`] on this thread.
    ///
    /// # Errors
    /// [`OpenError`]; the store is as it was.
    pub fn open_wait(self) -> Result<Engine, OpenError> {
        let bad = self.options.check();
        if !bad.is_empty() {
            return Err(OpenError::Options(bad));
        }
        let clock = Arc::clone(&self.environment.clock);
        let parker = self.environment.park.parker();
        let since = clock.monotonic();
        loop {
            let waited = clock.monotonic().saturating_sub(since);
            let left = |owner: &str| self.wait_for(owner).saturating_sub(waited);
            match Engine::start(self.clone()) {
                Err(OpenError::Store(InUse { owner })) if !left(&owner).is_zero() => {
                    parker.park(Some(left(&owner).min(OWNER_LOOK_EVERY)));
                }
                opened => return opened,
            }
        }
    }

    fn wait_for(&self, owner: &str) -> Duration {
        if owner.ends_with(BRIEF) {
            self.owner_wait.max(BRIEF_WAIT)
        } else {
            self.owner_wait
        }
    }
}
