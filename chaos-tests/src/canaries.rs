//! The mistakes that can be built in on purpose, and the suites that must notice each.
//!
//! They are made in a build with `--cfg mq_canary` (see `mq_core::canary`): `cargo xtask chaos --canaries` makes that build
//! and runs this table. A canary that survives is a hole in the suites, and fails the run; so does one that makes a suite hang,
//! because a hang tells nobody what is wrong.

/// One mistake.
#[derive(Clone, Copy, Debug)]
pub struct Canary {
    /// What it is called.
    pub name: &'static str,
    /// What it does wrong.
    pub what: &'static str,
    /// The suites to try, in this order, until one notices.
    pub suites: &'static [&'static str],
}

const SIMULATION: &[&str] = &["simulation"];
const CRASHES: &[&str] = &["crash-points", "simulation"];
const CALLS: &[&str] = &["failing-calls", "simulation"];
const ROT: &[&str] = &["bit-rot", "crash-points"];
const MARKS: &[&str] = &["watermark", "bit-rot"];
const POISON: &[&str] = &["poison", "simulation"];
const SEQUENCES: &[&str] = &["sequences", "simulation"];

const fn canary(name: &'static str, what: &'static str, suites: &'static [&'static str]) -> Canary {
    Canary { name, what, suites }
}

/// Every mistake.
pub const CANARIES: &[Canary] = &[
    canary(
        "answer-before-the-sync",
        "an enqueue is answered when it is written",
        CRASHES,
    ),
    canary(
        "duplicate-answered-early",
        "a duplicate is answered before its original is synced",
        SIMULATION,
    ),
    canary(
        "refusal-answered-early",
        "a refusal leaves on the strength of an unsynced event",
        SIMULATION,
    ),
    canary(
        "operator-answered-early",
        "an operator's change is answered before its sync",
        SIMULATION,
    ),
    canary(
        "ack-never-synced",
        "what was answered when written is not synced within 10 ms",
        SIMULATION,
    ),
    canary(
        "handed-out-before-the-sync",
        "a message is handed out before its enqueue is synced",
        CRASHES,
    ),
    canary(
        "successor-before-the-sync",
        "the next of an ordering key goes before the ack is synced",
        SEQUENCES,
    ),
    canary(
        "line-not-kept",
        "any message of an ordering key may go",
        CRASHES,
    ),
    canary(
        "handler-before-the-write",
        "a message is handed out before its checkout is written",
        SIMULATION,
    ),
    canary(
        "attempt-not-journalled",
        "a checkout is not journalled",
        SIMULATION,
    ),
    canary(
        "retry-not-journalled",
        "a failed attempt is not journalled",
        SIMULATION,
    ),
    canary(
        "requeue-as-two-records",
        "a retry is journalled a frame later than its settlement",
        SIMULATION,
    ),
    canary(
        "staged-as-two-records",
        "what a settlement brings forth is journalled a frame later",
        SIMULATION,
    ),
    canary(
        "dead-letter-not-journalled",
        "a burial is not journalled",
        SIMULATION,
    ),
    canary(
        "checkpoint-not-journalled",
        "a checkpoint is answered and not journalled",
        SIMULATION,
    ),
    canary(
        "opening-not-journalled",
        "an opening does not raise the incarnation durably",
        SIMULATION,
    ),
    canary(
        "pause-not-journalled",
        "a queue's pause is answered and not journalled",
        SEQUENCES,
    ),
    canary(
        "ack-not-fenced",
        "a lease of an earlier delivery is taken",
        SIMULATION,
    ),
    canary(
        "token-without-incarnation",
        "a lease of an earlier opening is taken",
        SIMULATION,
    ),
    canary(
        "innocents-pay",
        "every crash counts against all that ran",
        POISON,
    ),
    canary("no-suspects", "nobody is a suspect after a crash", POISON),
    canary("suspects-side-by-side", "suspects run side by side", POISON),
    canary(
        "keys-not-restored",
        "idempotency keys in a snapshot are forgotten",
        SIMULATION,
    ),
    canary(
        "wake-up-lost-on-restore",
        "what waits in a snapshot is never ready again",
        CRASHES,
    ),
    canary(
        "segment-name-not-synced",
        "a new segment's name is not synced",
        CRASHES,
    ),
    canary(
        "snapshot-name-not-synced",
        "a snapshot's name is not synced before segments go",
        CRASHES,
    ),
    canary(
        "snapshot-deleted-first",
        "the old snapshots go before the new one stands",
        CRASHES,
    ),
    canary(
        "segment-freed-before-the-sync",
        "a segment is freed for an ack that is not synced",
        CRASHES,
    ),
    canary(
        "segment-freed-under-a-reader",
        "a segment is recycled while somebody reads in it",
        &["readers"],
    ),
    canary(
        "segment-freed-for-the-newest",
        "segments that the older snapshot needs are freed",
        ROT,
    ),
    canary(
        "copy-not-noted",
        "compaction copies a message and forgets where to",
        CRASHES,
    ),
    canary(
        "sealed-segment-not-synced",
        "the old segment is not synced at a rotation",
        CRASHES,
    ),
    canary(
        "recovery-not-synced",
        "what recovery copied is not synced",
        CRASHES,
    ),
    canary(
        "unsynced-tail-not-copied",
        "frames that may not be durable are believed where they lie",
        CRASHES,
    ),
    canary(
        "close-not-synced",
        "a close in order is not synced",
        SIMULATION,
    ),
    canary(
        "failed-sync-tried-again",
        "a failed sync is tried again, and its Ok believed",
        CALLS,
    ),
    canary(
        "short-write-believed",
        "a short write is taken for a whole one",
        CALLS,
    ),
    canary(
        "no-salt",
        "recycled segments have one salt, and positions are not looked at",
        CRASHES,
    ),
    canary(
        "header-crc-ignored",
        "a frame header's checksum is not looked at",
        ROT,
    ),
    canary(
        "crc-without-watermark",
        "a frame header's checksum does not cover how far the journal is synced",
        ROT,
    ),
    canary(
        "record-crc-ignored",
        "a record's checksum is not looked at",
        ROT,
    ),
    canary(
        "watermark-stands-still",
        "frames do not say how far the journal is synced",
        MARKS,
    ),
    canary(
        "lock-not-taken",
        "a lock that another holds is passed over",
        &["two-processes"],
    ),
    canary(
        "lock-of-the-name-only",
        "the lock file is locked and the directory is not",
        &["two-processes"],
    ),
    canary(
        "look-from-before",
        "a look-up is answered with what was found the last time",
        &["linearizability"],
    ),
    canary(
        "priority-forgotten",
        "a snapshot forgets how urgent its messages are",
        &["model"],
    ),
];
