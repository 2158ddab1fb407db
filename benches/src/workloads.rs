//! The loads, end to end through the public interface, 256-byte payloads.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use mq::environment::SystemClock;
use mq::{Engine, Limit, NewMessage};
use mq_core::time::Clock;

/// Bytes of every payload.
pub const PAYLOAD_SIZE: usize = 256;
/// Room that no workload fills.
const CAPACITY: Limit = Limit::messages(64 << 20).bytes(32 << 30);

fn message() -> anyhow::Result<NewMessage> {
    Ok(NewMessage::new(
        "bench".parse()?,
        "bench".parse()?,
        Bytes::from_static(&[0x42; PAYLOAD_SIZE]),
    ))
}

/// S1: durable enqueues per second by one blocking caller, for about `time`.
///
/// # Errors
/// What the engine says.
pub fn one_blocking_caller(folder: &Path, time: Duration) -> anyhow::Result<f64> {
    let engine = Engine::builder(folder).capacity(CAPACITY).open_wait()?;
    let message = message()?;
    let clock = SystemClock::start();
    let mut count = 0_u64;
    while clock.monotonic() < time {
        engine.enqueue_raw(message.clone()).wait()?;
        count += 1;
    }
    let rate = count as f64 / clock.monotonic().as_secs_f64();
    engine.close_wait()?;
    Ok(rate)
}

/// S2, S3: durable enqueues per second by `tasks` concurrent tasks on one runtime thread (the engine's commit thread needs the
/// other of two cores), each waiting for its answer, for about `time`.
///
/// # Errors
/// What the engine says.
pub fn concurrent_tasks(folder: &Path, tasks: usize, time: Duration) -> anyhow::Result<f64> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let engine = Engine::builder(folder).capacity(CAPACITY).open().await?;
        let clock = Arc::new(SystemClock::start());
        let callers: Vec<_> = (0..tasks)
            .map(|_| {
                let (engine, clock) = (engine.clone(), Arc::clone(&clock));
                tokio::spawn(async move {
                    let message = message()?;
                    let mut count = 0_u64;
                    while clock.monotonic() < time {
                        engine.enqueue_raw(message.clone()).await?;
                        count += 1;
                    }
                    anyhow::Ok(count)
                })
            })
            .collect();
        let mut count = 0;
        for caller in callers {
            count += caller.await.context("a caller panicked")??;
        }
        let rate = count as f64 / clock.monotonic().as_secs_f64();
        engine.close().await?;
        Ok(rate)
    })
}

/// S7: bytes of resident memory that each of `messages` waiting messages costs, payload cache apart.
///
/// # Errors
/// What the engine or `/proc` says.
pub fn memory_per_message(folder: &Path, messages: usize) -> anyhow::Result<f64> {
    let engine = Engine::builder(folder)
        .capacity(CAPACITY)
        .payload_cache(0)
        .open_wait()?;
    fill(&engine, 1_000)?;
    let before = resident()?;
    fill(&engine, messages)?;
    let after = resident()?;
    engine.close_wait()?;
    Ok((after - before) / messages as f64)
}

/// Enqueues `messages` plain messages in batches.
///
/// # Errors
/// What the engine says.
pub fn fill(engine: &Engine, messages: usize) -> anyhow::Result<()> {
    let message = message()?;
    let mut left = messages;
    while left > 0 {
        let mut batch = engine.batch();
        for _ in 0..left.min(1_000) {
            batch = batch.push_raw(message.clone());
        }
        batch.wait()?;
        left -= left.min(1_000);
    }
    Ok(())
}

fn resident() -> anyhow::Result<f64> {
    let status =
        std::fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS in /proc/self/status")?;
    let kib: f64 = line
        .trim()
        .trim_end_matches("kB")
        .trim()
        .parse()
        .context("VmRSS is not a number")?;
    Ok(kib * 1024.0)
}
