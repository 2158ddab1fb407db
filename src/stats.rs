//! What an engine is doing, in numbers: one snapshot for people, programs and monitoring.
//!
//! Reading costs one look under the manager token, whose length grows with the number of queues and not with messages, and
//! copies of counters. Nothing is scanned and nothing waits for the disk.

mod trend;

use std::ops::Deref;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use mq_core::command::EnqueueRefused;
use mq_core::histogram::{Distribution, Percentiles};
use mq_core::time::Timestamp;
use mq_core::view::{StateKind, Stats as StoreStats};
use mq_dispatch::PoolStats;

use crate::engine::{Engine, Shell};
use crate::health::Alarm;
use crate::options::Limit;
pub use trend::Rates;
pub(crate) use trend::{Sample, Trends, total};

/// Why an enqueue was refused, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// The store was full, also after waiting.
    Full,
    /// The disk was full but for what settling needs.
    Disk,
    /// The batch could never fit.
    TooLarge,
    /// The queue had as many messages as its operator lets it have.
    QueueFull,
    /// The queue had filled the budget of dead letters.
    DeadLettersFull,
    /// An idempotency key stood for other bytes.
    KeyReused,
    /// A dedup key was held, or stood twice in a batch.
    KeyHeld,
    /// The key budget was used up.
    KeysFull,
    /// Anything else that the rules do not allow.
    Rules,
    /// The message was not valid.
    Invalid,
    /// The engine had stopped.
    Stopped,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Full,
        Self::Disk,
        Self::TooLarge,
        Self::QueueFull,
        Self::DeadLettersFull,
        Self::KeyReused,
        Self::KeyHeld,
        Self::KeysFull,
        Self::Rules,
        Self::Invalid,
        Self::Stopped,
    ];

    /// The word in metrics and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Disk => "disk",
            Self::TooLarge => "too_large",
            Self::QueueFull => "queue_full",
            Self::DeadLettersFull => "dead_letters_full",
            Self::KeyReused => "key_reused",
            Self::KeyHeld => "key_held",
            Self::KeysFull => "keys_full",
            Self::Rules => "rules",
            Self::Invalid => "invalid",
            Self::Stopped => "stopped",
        }
    }
}

impl From<&EnqueueRefused> for Refusal {
    fn from(refused: &EnqueueRefused) -> Self {
        match refused {
            EnqueueRefused::Full { .. } => Self::Full,
            EnqueueRefused::TooLarge { .. } => Self::TooLarge,
            EnqueueRefused::QueueFull { .. } => Self::QueueFull,
            EnqueueRefused::DeadLettersFull { .. } => Self::DeadLettersFull,
            EnqueueRefused::KeyReused { .. } => Self::KeyReused,
            EnqueueRefused::KeyHeld { .. } | EnqueueRefused::KeyTwiceInBatch { .. } => {
                Self::KeyHeld
            }
            EnqueueRefused::KeysFull { .. } => Self::KeysFull,
            EnqueueRefused::NumbersUsedUp { .. } => Self::Rules,
        }
    }
}

/// What an engine is doing, in numbers. Counters count since the store was opened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// When it was read.
    pub at: Timestamp,
    /// How long the store has been open.
    pub open_for: Duration,
    /// How long opening it took.
    pub recovery: Duration,
    /// Messages by queue and state, ages, keys, bytes, outcomes. They may be ahead of the disk by one sync.
    pub store: StoreStats,
    /// What the store takes.
    pub capacity: Limit,
    /// How fast things go.
    pub rates: Rates,
    /// The worker pools of this program: limits, how many run, and percentiles of wait and run time, by kind.
    pub pools: Vec<PoolStats>,
    /// The dead letters.
    pub dead: DeadStats,
    /// The journal; `None` in memory.
    pub journal: Option<JournalStats>,
    /// The disk; `None` in memory.
    pub disk: Option<DiskStats>,
    /// Enqueues that were refused, by reason; all reasons, also those that never came up.
    pub refused: Vec<(Refusal, u64)>,
    /// Enqueues that wait for room now.
    pub waiting_for_room: u64,
    /// How often the wall clock jumped by more than a minute.
    pub clock_jumps: u64,
    /// Of these, backwards.
    pub clock_jumps_backward: u64,
    /// What the watchdog has found and is not over.
    pub alarms: Vec<Alarm>,
}

/// The dead letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadStats {
    /// How many there are.
    pub total: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their budget in bytes: when it is used up, queues that have some take no more messages.
    pub limit: u64,
    /// How long the oldest has been one.
    pub oldest: Option<Duration>,
    /// By how many they grew in the last quarter of an hour; negative if there are fewer now.
    pub growth: i64,
}

/// The journal. Sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JournalStats {
    /// Its size.
    pub size: u64,
    /// Its segments.
    pub segments: usize,
    /// Segments kept ready, in bytes.
    pub spares: u64,
    /// Written and not synced.
    pub lag: u64,
    /// How long the write or sync that runs now has taken so far; `None` if none runs.
    pub busy_for: Option<Duration>,
    /// Written since the newest snapshot.
    pub since_snapshot: u64,
    /// How long ago the newest snapshot was taken.
    pub snapshot_age: Option<Duration>,
    /// How often a write had to wait for a new segment.
    pub starved: u64,
    /// Syncs, in microseconds.
    pub syncs: Distribution,
    /// Writes of frames, in microseconds.
    pub appends: Distribution,
    /// Events in each frame.
    pub batches: Distribution,
    /// Snapshots, in microseconds.
    pub snapshots: Distribution,
}

impl JournalStats {
    /// How long syncs take.
    #[must_use]
    pub fn sync(&self) -> Percentiles {
        self.syncs.percentiles()
    }
}

/// The disk, as it was at the last look, at most a few seconds ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskStats {
    /// Free bytes; `None` if the file system does not say.
    pub free: Option<u64>,
    /// With less than this free, new messages may be refused so that settling always has room.
    pub limit: u64,
    /// When that is so, if the disk goes on filling as in the last quarter of an hour.
    pub full_in: Option<Duration>,
    /// New messages are refused now.
    pub refuses: bool,
    /// The process, or the system, has too many files open: no segment can be made, however much is free.
    pub lacks_files: bool,
}

/// What the store counts can be read directly: `stats.live_messages`.
impl Deref for Stats {
    type Target = StoreStats;

    fn deref(&self) -> &StoreStats {
        &self.store
    }
}

impl Stats {
    /// Messages in a state, in all queues.
    #[must_use]
    pub fn total(&self, state: StateKind) -> u64 {
        total(&self.store, state)
    }

    /// How long the oldest ready message of all queues that are not paused has been waiting.
    #[must_use]
    pub fn oldest_ready(&self) -> Option<Duration> {
        let open = self.store.queues.iter().filter(|(_, queue)| !queue.paused);
        open.filter_map(|(_, queue)| queue.oldest_ready).max()
    }
}

impl Engine {
    /// What the engine is doing, in numbers. See [`Stats`] for what each costs and means.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shell().stats()
    }
}

impl Shell {
    /// See [`Engine::stats`].
    pub(crate) fn stats(&self) -> Stats {
        let shell = self;
        let sight = &shell.sight;
        let look = shell.look(|desk, now| (desk.manager.stats(now), *now, desk.facts()));
        let (store, now, facts) = look;
        let holdings = *sight.holdings.lock();
        let free = holdings.and_then(|holdings| holdings.free);
        let monotonic = shell.clock().monotonic();
        let sample = Sample::of(monotonic, &store, free);
        let trends = sight.trends.lock();
        let dead = DeadStats {
            total: total(&store, StateKind::Dead),
            bytes: store.dead_bytes,
            limit: sight.dead_bytes,
            oldest: store.oldest_dead,
            growth: trends.dead_growth(&sample),
        };
        let disk = holdings.map(|holdings| DiskStats {
            free,
            limit: holdings.scarce_below,
            full_in: free.and_then(|free| trends.full_in(monotonic, free, holdings.scarce_below)),
            refuses: facts.disk_low,
            lacks_files: holdings.lacks_files,
        });
        let rates = trends.rates(&sample);
        drop(trends);
        let journal = holdings.map(|holdings| JournalStats {
            size: holdings.journal,
            segments: holdings.segments,
            spares: holdings.spares,
            lag: sight.lag.load(Relaxed),
            busy_for: sight.disk_silent_for(monotonic),
            since_snapshot: holdings.since_snapshot,
            snapshot_age: holdings.snapshot.map(|taken| now.wall.since(taken.wall)),
            starved: holdings.starved,
            syncs: sight.sync.read(),
            appends: sight.append.read(),
            batches: sight.batch.read(),
            snapshots: sight.snapshot.read(),
        });
        Stats {
            at: now.wall,
            open_for: Duration::from_millis(now.monotonic.as_ms()),
            recovery: sight.recovery,
            store,
            capacity: sight.capacity,
            rates,
            pools: shell.roster.stats(),
            dead,
            journal,
            disk,
            refused: sight.refusals(),
            waiting_for_room: facts.waiting_for_room,
            clock_jumps: facts.jumps,
            clock_jumps_backward: facts.jumps_backward,
            alarms: sight.watch.lock().alarms(monotonic),
        }
    }
}
