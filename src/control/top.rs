//! One picture of a working store, for a view that is refreshed: depths, rates, what runs, how the disk does.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::answer::{Answer, QueueJson};
use super::workers::RunningJson;
use crate::engine::Engine;

/// Handlers in a picture: those that have been running longest.
const RUNNING_MAX: usize = 100;

/// A picture.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TopJson {
    /// Process id of the owner.
    pub pid: u32,
    /// How long the store has been open.
    pub open_seconds: f64,
    /// Queues by name.
    pub queues: Vec<QueueJson>,
    /// Enqueued in a second, over the last minute.
    pub enqueued_per_second: f64,
    /// Ended in a second: succeeded, cancelled, discarded or given up.
    pub ended_per_second: f64,
    /// Failed attempts in a second.
    pub failed_per_second: f64,
    /// Dead letters.
    pub dead: u64,
    /// By how many they grew in the last quarter of an hour; negative if there are fewer.
    pub dead_growth: i64,
    /// The handlers that have been running longest, at most 100.
    pub running: Vec<RunningJson>,
    /// How many run.
    pub running_count: u64,
    /// Half of all syncs took at most so long; absent in memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync_p50_ms: Option<f64>,
    /// 99 % of all syncs did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync_p99_ms: Option<f64>,
    /// Bytes of the journal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub journal_bytes: Option<u64>,
    /// Free bytes of the disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_free_bytes: Option<u64>,
    /// New messages are refused because the disk is nearly full.
    pub disk_refuses: bool,
    /// Enqueues that wait for room.
    pub waiting_for_room: u64,
}

/// Takes a picture.
pub(super) fn top(engine: &Engine) -> Answer {
    let stats = engine.stats();
    let mut running = engine.admin().running();
    running.sort_by_key(|it| std::cmp::Reverse(it.since));
    let sync = stats.journal.as_ref().map(crate::stats::JournalStats::sync);
    let in_ms = |time: Duration| time.as_secs_f64() * 1_000.0;
    Answer::Top(Box::new(TopJson {
        pid: std::process::id(),
        open_seconds: stats.open_for.as_secs_f64(),
        queues: stats.store.queues.iter().map(QueueJson::from).collect(),
        enqueued_per_second: stats.rates.enqueued,
        ended_per_second: stats.rates.ended,
        failed_per_second: stats.rates.failed,
        dead: stats.dead.total,
        dead_growth: stats.dead.growth,
        running: running
            .iter()
            .take(RUNNING_MAX)
            .map(RunningJson::from)
            .collect(),
        running_count: running.len() as u64,
        sync_p50_ms: sync.as_ref().map(|it| in_ms(it.p50)),
        sync_p99_ms: sync.as_ref().map(|it| in_ms(it.p99)),
        journal_bytes: stats.journal.as_ref().map(|it| it.size),
        disk_free_bytes: stats.disk.and_then(|it| it.free),
        disk_refuses: stats.disk.is_some_and(|it| it.refuses),
        waiting_for_room: stats.waiting_for_room,
    }))
}
