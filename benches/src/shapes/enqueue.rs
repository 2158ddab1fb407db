//! C1 to C4 and C13: enqueues into an engine in memory, each waited for.

use std::time::Duration;

use anyhow::Context;
use mq::environment::SystemClock;
use mq::{DedupPolicy, Engine, Key, Limit, NewMessage};
use mq_core::time::Clock;

use super::{middle, row};
use crate::plan::Plan;
use crate::report::Row;
use crate::store::{CAPACITY, Flavour, PAYLOAD_SIZE, fill, message};

const COUNTS: [usize; 3] = [1_000, 10_000, 100_000];
const PRODUCERS: usize = 10;
const REPEATED_KEYS: usize = 100;
const MILLION: usize = 1_000_000;

pub(super) fn plain(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    each(plan, "C1", "enqueue, in memory", |_| message(PAYLOAD_SIZE))
}

pub(super) fn unique(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    each(plan, "C2", "enqueue, unique keys, in memory", keyed)
}

pub(super) fn repeated(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    each(plan, "C3", "enqueue, repeated keys, in memory", |number| {
        keyed(number % REPEATED_KEYS)
    })
}

/// The newer message of a key replaces the older.
fn keyed(number: usize) -> anyhow::Result<NewMessage> {
    let mut message = message(PAYLOAD_SIZE)?;
    message.envelope.dedup_key = Some(Key::new(format!("key-{number:08}").into_bytes())?);
    message.dedup = Some(DedupPolicy::Replace);
    Ok(message)
}

fn each(
    plan: &Plan,
    id: &str,
    about: &str,
    message: fn(usize) -> anyhow::Result<NewMessage>,
) -> anyhow::Result<Vec<Row>> {
    COUNTS
        .into_iter()
        .map(|count| {
            let time = middle(plan, || {
                let engine = Engine::in_memory().capacity(CAPACITY).open_wait()?;
                let messages = (0..count)
                    .map(message)
                    .collect::<anyhow::Result<Vec<_>>>()?;
                let clock = SystemClock::start();
                for message in messages {
                    engine.enqueue_raw(message).wait()?;
                }
                let time = clock.monotonic();
                engine.close_wait()?;
                Ok(time)
            })?;
            Ok(row(id, about, count, time))
        })
        .collect()
}

pub(super) fn producers(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    COUNTS
        .into_iter()
        .map(|count| {
            let time = middle(plan, || ten_producers(count))?;
            Ok(row("C4", "enqueue, 10 producers, in memory", count, time))
        })
        .collect()
}

fn ten_producers(count: usize) -> anyhow::Result<Duration> {
    let engine = Engine::in_memory().capacity(CAPACITY).open_wait()?;
    let message = message(PAYLOAD_SIZE)?;
    let clock = SystemClock::start();
    std::thread::scope(|scope| {
        let produce = || {
            for _ in 0..count / PRODUCERS {
                engine.enqueue_raw(message.clone()).wait()?;
            }
            anyhow::Ok(())
        };
        let producers: Vec<_> = (0..PRODUCERS).map(|_| scope.spawn(produce)).collect();
        for producer in producers {
            producer.join().ok().context("a producer panicked")??;
        }
        anyhow::Ok(())
    })?;
    let time = clock.monotonic();
    engine.close_wait()?;
    Ok(time)
}

/// A store of a million is filled, and says so when one more comes.
pub(super) fn capacity(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let count = plan.size(MILLION, MILLION / 10);
    let limit = Limit::messages(count as u64).bytes(4 << 30);
    let engine = Engine::in_memory()
        .capacity(limit)
        .full_wait(Duration::ZERO)
        .open_wait()?;
    let clock = SystemClock::start();
    fill(&engine, Flavour::Plain, 0, count)?;
    let time = clock.monotonic();
    let more = engine.enqueue_raw(message(PAYLOAD_SIZE)?).wait();
    anyhow::ensure!(more.is_err(), "a full store took one more: {more:?}");
    engine.close_wait()?;
    Ok(vec![row(
        "C13",
        "fill the capacity, in memory, batches",
        count,
        time,
    )])
}
