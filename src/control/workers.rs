//! Calls about the workers of the process that owns the store: its pools and what runs in them.
//!
//! Nothing of it is journalled: parallelism and pauses of pools come from the program at each start.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use mq_dispatch::{PoolStats, Running};
use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::fault::CallError;
use crate::engine::Engine;

/// A kind of messages.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneKind {
    /// Its name.
    pub kind: String,
}

/// How many messages of a kind are to be handled at once.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaleCall {
    /// The kind.
    pub kind: String,
    /// So many at once, within the range that its handler allows.
    pub workers: u32,
}

/// A pool of workers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolJson {
    /// The kind it serves.
    pub kind: String,
    /// How many may run at once now.
    pub limit: u32,
    /// How many run now.
    pub running: u64,
    /// How many of them go on although their lease was taken away.
    pub stuck: u64,
    /// Whether it takes nothing new.
    pub paused: bool,
    /// Attempts started since the pool was.
    pub started: u64,
    /// Attempts that succeeded.
    pub succeeded: u64,
    /// Attempts that failed; panics and time limits included.
    pub failed: u64,
    /// Messages given up.
    pub dead_lettered: u64,
    /// From due to started, at most so many seconds for half of the attempts.
    pub wait_p50_seconds: f64,
    /// For 99 of 100.
    pub wait_p99_seconds: f64,
    /// From started to ended, at most so many seconds for half of the attempts.
    pub run_p50_seconds: f64,
    /// For 99 of 100.
    pub run_p99_seconds: f64,
}

/// A handler that runs now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunningJson {
    /// Its message.
    pub id: String,
    /// Its queue.
    pub queue: String,
    /// Its kind.
    pub kind: String,
    /// Which attempt it is.
    pub attempt: u32,
    /// How long it has been running.
    pub seconds: f64,
    /// How far it says it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done: Option<u64>,
    /// Of so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// What is counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Why it was asked to stop, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel: Option<String>,
    /// It goes on although its lease was taken away.
    pub stuck: bool,
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

impl From<&PoolStats> for PoolJson {
    fn from(pool: &PoolStats) -> Self {
        let seconds = |duration: Duration| duration.as_secs_f64();
        Self {
            kind: pool.kind.clone(),
            limit: pool.limit,
            running: count(pool.running),
            stuck: count(pool.stuck),
            paused: pool.paused,
            started: pool.totals.started,
            succeeded: pool.totals.succeeded,
            failed: pool.totals.failed,
            dead_lettered: pool.totals.dead_lettered,
            wait_p50_seconds: seconds(pool.wait.p50),
            wait_p99_seconds: seconds(pool.wait.p99),
            run_p50_seconds: seconds(pool.run.p50),
            run_p99_seconds: seconds(pool.run.p99),
        }
    }
}

impl From<&Running> for RunningJson {
    fn from(running: &Running) -> Self {
        let progress = running.progress.as_ref();
        Self {
            id: running.token.id.to_string(),
            queue: running.queue.to_string(),
            kind: running.kind.to_string(),
            attempt: running.attempt,
            seconds: running.since.as_secs_f64(),
            done: progress.map(|progress| progress.done),
            total: progress.map(|progress| progress.total),
            unit: progress.map(|progress| progress.unit.clone()),
            cancel: running.cancel.map(|reason| reason.as_str().to_owned()),
            stuck: running.stuck,
        }
    }
}

pub(super) fn pools(engine: &Engine) -> Answer {
    let pools = engine.admin().pools();
    Answer::Pools(pools.iter().map(PoolJson::from).collect())
}

pub(super) fn running(engine: &Engine) -> Answer {
    let running = engine.admin().running();
    Answer::Running(running.iter().map(RunningJson::from).collect())
}

/// Asks for another number of workers. What runs is not stopped, so that fewer may be in force only later: that is not
/// waited for.
pub(super) async fn scale(engine: &Engine, call: &ScaleCall) -> Result<Answer, CallError> {
    let workers = usize::try_from(call.workers).unwrap_or(usize::MAX);
    let mut reply = engine.admin().scale(&call.kind, workers);
    let so_far = poll_fn(|context| match Pin::new(&mut reply).poll(context) {
        Poll::Ready(answer) => Poll::Ready(answer),
        Poll::Pending => Poll::Ready(Ok(())),
    });
    so_far.await?;
    Ok(Answer::Done {})
}

pub(super) fn pause(engine: &Engine, call: &OneKind, paused: bool) -> Result<Answer, CallError> {
    let admin = engine.admin();
    if paused {
        admin.pause_kind(&call.kind)?;
    } else {
        admin.resume_kind(&call.kind)?;
    }
    Ok(Answer::Done {})
}
