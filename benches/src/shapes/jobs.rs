//! C11 and C12: producers, handlers and acks in memory.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::Context;
use mq::environment::SystemClock;
use mq::{Engine, secs};
use mq_core::time::Clock;

use super::{middle, row};
use crate::load::{runtime, start_workers};
use crate::plan::Plan;
use crate::report::Row;
use crate::store::{CAPACITY, NAME, PAYLOAD_SIZE, message};

const COUNTS: [usize; 2] = [1_000, 5_000];

pub(super) fn one(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    each(plan, "C11", 1)
}

pub(super) fn five(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    each(plan, "C12", 5)
}

fn each(plan: &Plan, id: &str, both: usize) -> anyhow::Result<Vec<Row>> {
    COUNTS
        .into_iter()
        .map(|count| {
            let time = middle(plan, || runtime()?.block_on(jobs(count, both)))?;
            let about = format!("end to end, {both} producers, {both} consumers, in memory");
            Ok(row(id, &about, count, time))
        })
        .collect()
}

async fn jobs(count: usize, both: usize) -> anyhow::Result<Duration> {
    let engine = Engine::in_memory().capacity(CAPACITY).open().await?;
    let (workers, handled) = start_workers(&engine, both)?;
    let clock = SystemClock::start();
    let producers: Vec<_> = (0..both)
        .map(|_| {
            let engine = engine.clone();
            tokio::spawn(async move {
                let message = message(PAYLOAD_SIZE)?;
                for _ in 0..count / both {
                    engine.enqueue_raw(message.clone()).await?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for producer in producers {
        producer.await.context("a producer panicked")??;
    }
    engine.run_queue_until_empty(Some(&NAME.parse()?)).await?;
    let time = clock.monotonic();
    let handled = handled.load(Relaxed);
    anyhow::ensure!(handled == count as u64, "{handled} of {count} were handled");
    workers.stop(secs(5)).await;
    engine.close().await?;
    Ok(time)
}
