//! Names under which the store is observed: log events, their fields, and where they come from.
//!
//! Each name stands here once; docs/observability.md lists them, and a test compares. Payloads are never part of an event.
//!
//! | target | what | level |
//! |---|---|---|
//! | `mq::message` | what happened to a message, once it is durable | debug; failures warn, dead letters error |
//! | `mq::attempt` | a handler started, completed, failed | debug, info (one line an attempt), warn |
//! | `mq::store` | recovery, snapshots, freed segments, the watchdog, errors | info, debug, warn, error |

/// Events about one message, with the fields `message_id`, `queue`, `kind` and `attempt`.
pub mod message {
    /// Where they come from: filter them with `mq::message=warn`, say.
    pub const TARGET: &str = "mq::message";
    /// A message entered the store.
    pub const ENQUEUED: &str = "mq.message.enqueued";
    /// It was handed to a pool.
    pub const CHECKED_OUT: &str = "mq.message.checked_out";
    /// It completed: succeeded, discarded or cancelled.
    pub const ACKED: &str = "mq.message.acked";
    /// It waits again: for another attempt, after a snooze, an interruption, or given back unstarted.
    pub const REQUEUED: &str = "mq.message.requeued";
    /// It is a dead letter now.
    pub const DEAD: &str = "mq.message.dead";
    /// A dead letter came back.
    pub const REPLAYED: &str = "mq.message.replayed";
    /// Its lease ran out.
    pub const LEASE_EXPIRED: &str = "mq.message.lease_expired";
    /// A user changed it: held, released, moved, purged, and so on.
    pub const CHANGED: &str = "mq.message.changed";
    /// A duplicate was answered with an existing message or discarded.
    pub const DEDUPLICATED: &str = "mq.message.deduplicated";
    /// All of them.
    pub const ALL: [&str; 9] = [
        ENQUEUED,
        CHECKED_OUT,
        ACKED,
        REQUEUED,
        DEAD,
        REPLAYED,
        LEASE_EXPIRED,
        CHANGED,
        DEDUPLICATED,
    ];
}

/// Events about one attempt, with the fields of [`message`], and of its end `outcome`, `error_type` and `duration_s`.
pub mod attempt {
    /// Where they come from.
    pub const TARGET: &str = "mq::attempt";
    /// A handler starts.
    pub const STARTED: &str = "mq.handler.started";
    /// It ended as it wanted to.
    pub const COMPLETED: &str = "mq.handler.completed";
    /// It failed, or gave the message up.
    pub const FAILED: &str = "mq.handler.failed";
    /// It had its lease extended beyond the usual renewal.
    pub const LEASE_EXTENDED: &str = "mq.lease.extended";
    /// All of them.
    pub const ALL: [&str; 4] = [STARTED, COMPLETED, FAILED, LEASE_EXTENDED];
}

/// Events about the store.
pub mod store {
    /// Where they come from.
    pub const TARGET: &str = "mq::store";
    /// It was opened: what was found.
    pub const OPENED: &str = "mq.store.opened";
    /// It stopped after an error, for good.
    pub const JOURNAL_ERROR: &str = "mq.journal.error";
    /// A snapshot was taken.
    pub const SNAPSHOT: &str = "mq.snapshot.taken";
    /// There was no room for a snapshot.
    pub const SNAPSHOT_NO_ROOM: &str = "mq.snapshot.no_room";
    /// Segments of the journal were freed.
    pub const SEGMENTS_FREED: &str = "mq.journal.segments_freed";
    /// Records were copied together, so that their segments become free.
    pub const COMPACTED: &str = "mq.journal.compacted";
    /// Something is wrong that needs a person: see the fields `check`, `reason` and `next_step`.
    pub const WATCHDOG: &str = "mq.watchdog.raised";
    /// It is over.
    pub const WATCHDOG_OVER: &str = "mq.watchdog.cleared";
    /// All of them.
    pub const ALL: [&str; 8] = [
        OPENED,
        JOURNAL_ERROR,
        SNAPSHOT,
        SNAPSHOT_NO_ROOM,
        SEGMENTS_FREED,
        COMPACTED,
        WATCHDOG,
        WATCHDOG_OVER,
    ];
}

/// What went wrong in an attempt, in few words: the field `error_type` of log events, spans and metrics.
pub mod error_type {
    /// The handler answered an error.
    pub const HANDLER: &str = "handler_error";
    /// It ran past its time limit.
    pub const TIMEOUT: &str = "timeout";
    /// It panicked.
    pub const PANIC: &str = "panic";
    /// Its lease was lost: the answer was not taken.
    pub const LEASE_LOST: &str = "lease_lost";
    /// The payload could not be decoded.
    pub const DECODE: &str = "decode";
}
