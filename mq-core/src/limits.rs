//! Every limit and default of the rules, once, with its unit and reason.

use std::time::Duration;

/// Bytes of a queue, kind or label name.
pub const NAME_SIZE_MAX: usize = 128;
/// Bytes of an idempotency, dedup or ordering key.
pub const KEY_SIZE_MAX: usize = 512;
/// Default and usual limit of a payload in bytes.
pub const PAYLOAD_SIZE_DEFAULT: usize = 1 << 20;
/// The largest payload that can be configured, in bytes: one frame must hold it.
pub const PAYLOAD_SIZE_MAX: usize = 16 << 20;
/// Bytes of all header names and values of a message together.
pub const HEADERS_SIZE_MAX: usize = 16 << 10;
/// Bytes of one attempt's error text; longer ones are cut.
pub const ERROR_SIZE_MAX: usize = 4 << 10;
/// Bytes of one attempt's error type; longer ones are cut.
pub const ERROR_TYPE_SIZE_MAX: usize = 256;
/// Bytes of a checkpoint.
pub const CHECKPOINT_SIZE_MAX: usize = 64 << 10;
/// Bytes of a stored result.
pub const RESULT_SIZE_MAX: usize = 256 << 10;
/// Attempts kept in a message's history; older ones are forgotten.
pub const HISTORY_LEN_MAX: usize = 5;
/// Changes by users kept in a message's history; older ones are forgotten.
pub const EDITS_LEN_MAX: usize = 5;
/// Indexed fields of one kind.
pub const INDEX_LEN_MAX: usize = 8;
/// Bytes of a pointer to an indexed field.
pub const POINTER_SIZE_MAX: usize = 255;
/// Bytes of the name of whoever changed a message or started a bulk job; longer ones are cut.
pub const ACTOR_SIZE_MAX: usize = 128;
/// Bytes that say what a bulk job looks for and does.
pub const BULK_SPEC_SIZE_MAX: usize = 64 << 10;
/// Bulk jobs that run at once.
pub const BULK_RUNNING_MAX: usize = 16;
/// Bulk jobs that ended and are remembered.
pub const BULK_KEPT_MAX: usize = 100;
/// Messages that one step of a bulk job looks at or changes.
pub const BULK_STEP_LEN_MAX: usize = 1_024;
/// Dead letters of one dedup key that one enqueue may replace.
pub const UPSERT_DEAD_MAX: usize = 64;
/// Events one command may produce: they share one frame.
pub const COMMAND_EVENTS_MAX: usize = 16_384;
/// Encoded bytes one command may produce: they share one frame.
pub const COMMAND_SIZE_MAX: usize = 32 << 20;
/// Failures a message may have before it goes dead.
pub const FAILURES_DEFAULT: u32 = 20;
/// The largest failure budget.
pub const FAILURES_MAX: u32 = 1_000;
/// Stands for a failure budget without end.
pub const FAILURES_UNLIMITED: u32 = u32::MAX;
/// Crashes during a message's own solo run before it goes dead.
pub const CRASHES_MAX: u32 = 3;
/// Default messages a store takes (scheduled, ready, blocked, leased and held).
pub const CAPACITY_MESSAGES_DEFAULT: u64 = 1 << 20;
/// Default payload bytes a store takes.
pub const CAPACITY_BYTES_DEFAULT: u64 = 8 << 30;
/// The smallest and largest message capacity.
pub const CAPACITY_MESSAGES_RANGE: (u64, u64) = (64, 1 << 32);
/// Bytes of dead letters kept; a full budget stops intake of the queue that filled it.
pub const DEAD_BYTES_DEFAULT: u64 = 1 << 30;
/// Bytes of completed messages kept for their retention; the oldest go first when it is full.
pub const COMPLETED_BYTES_DEFAULT: u64 = 1 << 30;
/// How long the result of a message is kept whose enqueue waits for it, unless it is retained anyhow.
pub const RESULT_RETENTION_DEFAULT: Duration = Duration::from_secs(3600);
/// Callers that may wait for messages to be over; further ones are refused.
pub const WAITERS_LEN_MAX: usize = 65_536;
/// How long an idempotency key answers with the first id.
pub const IDEMPOTENCY_WINDOW_DEFAULT: Duration = Duration::from_secs(24 * 3600);
/// Keys of all sorts a store holds; a full table refuses keyed enqueues and never forgets early.
pub const KEYS_DEFAULT: u64 = 1_000_000;
/// Default lease.
pub const LEASE_DEFAULT: Duration = Duration::from_secs(30);
/// The shortest and longest lease.
pub const LEASE_RANGE: (Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(12 * 3600));
/// How often the engine renews the lease of a live handler.
pub const RENEWAL_DEFAULT: Duration = Duration::from_secs(10);
/// Default time limit of a handler.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5 * 60);
/// Default time a stop waits for running handlers.
pub const GRACE_DEFAULT: Duration = Duration::from_secs(25);
/// How long an enqueue waits for room before it is refused as full.
pub const FULL_WAIT_DEFAULT: Duration = Duration::from_secs(10);
/// Default bytes of messages kept in memory: payloads, headers, keys, and what keeping them takes.
pub const PAYLOAD_CACHE_DEFAULT: u64 = 64 << 20;
/// First and last delay of the default exponential back-off.
pub const BACKOFF_RANGE_DEFAULT: (Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(5 * 60));
/// Jitter of the default back-off, in per cent of the delay, either way.
pub const JITTER_PERCENT: u64 = 10;
/// By how much one step of priority lets a message overtake: bounded waiting for the lowest.
pub const PRIORITY_STEP: Duration = Duration::from_secs(60);
/// The most that store time advances over one closed gap.
pub const CLOSED_GAP_MAX: Duration = Duration::from_secs(24 * 3600);
/// Longest delay or schedule accepted: 100 years.
pub const DELAY_MAX: Duration = Duration::from_secs(100 * 366 * 24 * 3600);
/// Schedules of a store.
pub const SCHEDULES_LEN_MAX: usize = 10_000;
/// Bytes of all schedules' names, timings and messages together: they are kept in memory.
pub const SCHEDULES_SIZE_MAX: u64 = 64 << 20;
/// Bytes of one schedule's timing.
pub const SCHEDULE_TIMING_SIZE_MAX: usize = 512;
/// Bytes of one schedule's message with its options, as the facade writes it.
pub const SCHEDULE_TEMPLATE_SIZE_MAX: usize = 64 << 10;
/// Connections to the control socket of a store at once; the next one is refused.
pub const CONTROL_CONNECTIONS_MAX: usize = 64;
/// The lowest rate of a backup, in bytes of a second: the segments that it copies are not recycled meanwhile.
pub const BACKUP_RATE_MIN: u64 = 64 << 10;
/// Workers of one pool.
pub const PARALLELISM_MAX: u32 = 10_000;

const _: () = assert!(
    PAYLOAD_SIZE_MAX < COMMAND_SIZE_MAX,
    "one message must fit into one frame"
);
const _: () = assert!(
    HISTORY_LEN_MAX * (ERROR_SIZE_MAX + ERROR_TYPE_SIZE_MAX)
        + CHECKPOINT_SIZE_MAX
        + RESULT_SIZE_MAX
        < COMMAND_SIZE_MAX
);
