//! C8 to C10: the journal, a snapshot, and recovery, at sizes where what does not depend on size shows.

use mq::environment::SystemClock;
use mq_core::time::Clock;

use super::{middle, row};
use crate::measure::forget_store;
use crate::plan::Plan;
use crate::report::Row;
use crate::store::{Flavour, PAYLOAD_SIZE, builder, fill, message};

const COUNTS: [usize; 3] = [100, 1_000, 10_000];

/// One caller waits until each is synced: the disk decides.
pub(super) fn enqueue(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for count in COUNTS {
        let time = middle(plan, || {
            let store = plan.store("store");
            let engine = builder(&store).0.open_wait()?;
            let message = message(PAYLOAD_SIZE)?;
            let clock = SystemClock::start();
            for _ in 0..count {
                engine.enqueue_raw(message.clone()).wait()?;
            }
            let time = clock.monotonic();
            engine.close_wait()?;
            forget_store(&store)?;
            Ok(time)
        })?;
        rows.push(row("C8", "durable enqueue, 1 caller", count, time));
    }
    Ok(rows)
}

pub(super) fn snapshot(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for count in COUNTS {
        let time = middle(plan, || {
            let store = plan.store("store");
            let engine = builder(&store).0.open_wait()?;
            fill(&engine, Flavour::Plain, 0, count)?;
            let clock = SystemClock::start();
            engine.admin().snapshot().wait()?;
            let time = clock.monotonic();
            engine.close_wait()?;
            forget_store(&store)?;
            Ok(time)
        })?;
        rows.push(row("C9", "snapshot, synced", count, time));
    }
    Ok(rows)
}

/// The store is left without a close, and opened again by another engine of this process.
pub(super) fn replay(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for count in COUNTS {
        let time = middle(plan, || {
            let store = plan.store("store");
            let engine = builder(&store).0.open_wait()?;
            fill(&engine, Flavour::Plain, 0, count)?;
            drop(engine);
            let clock = SystemClock::start();
            let engine = builder(&store).0.open_wait()?;
            let time = clock.monotonic();
            let found = engine.stats().live_messages;
            anyhow::ensure!(found == count as u64, "{found} of {count} came back");
            engine.close_wait()?;
            forget_store(&store)?;
            Ok(time)
        })?;
        rows.push(row("C10", "open with replay", count, time));
    }
    Ok(rows)
}
