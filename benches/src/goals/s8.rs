//! S8: how long it takes to open a store whose process was killed, with nothing of it in the page cache.

use super::child::{self, Opened, Work};
use crate::disk::forget_cached;
use crate::measure::forget_store;
use crate::plan::Plan;
use crate::report::{Goal, Row};

/// Of a hundred messages so many are in the snapshot: the rest is the journal that is written before the next one is due
/// (twice the snapshot's size).
const IN_SNAPSHOT_PERCENT: usize = 75;

/// A process of its own fills a store and is killed with signal 9; the files are dropped from the page cache; another
/// process opens the store. Once with a snapshot of three quarters, once with a journal alone.
pub(super) fn measure(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let count = plan.size(10_000_000, 400_000);
    let before = count / 100 * IN_SNAPSHOT_PERCENT;
    let whole = killed_and_opened(plan, count, before)?;
    let replay = killed_and_opened(plan, count / 4, 0)?;
    let workload = format!("cold reopen after kill -9, {} k waiting", count / 1000);
    let reopen = Row::plain("S8 reopen", workload, whole.seconds, "s")
        .judged(5.0, "goal", Goal::AtMost(1.0))
        .unjudged_if(plan.quick)
        .noted(told(&whole));
    let records = rate(replay.records, replay.seconds);
    let bytes = rate(replay.bytes, replay.seconds);
    let workload = format!("replay of {} k records", replay.records / 1000);
    let replay = if bytes / 1e9 > records / 2e6 {
        Row::plain("S8 replay", workload, bytes, "B/s").judged(1e9, "goal", Goal::AtLeast(1.0))
    } else {
        Row::plain("S8 replay", workload, records, "records/s").judged(
            2e6,
            "goal",
            Goal::AtLeast(1.0),
        )
    }
    .noted(format!("{records:.0} records/s, {:.2} GB/s", bytes / 1e9))
    .unjudged_if(plan.quick)
    .noted(told(&replay));
    Ok(vec![reopen, replay])
}

#[expect(clippy::cast_precision_loss, reason = "a rate")]
fn rate(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}

fn told(opened: &Opened) -> String {
    format!(
        "{} messages found, {} records and {} MB replayed in {:.2} s",
        opened.messages,
        opened.records,
        opened.bytes >> 20,
        opened.seconds
    )
}

fn killed_and_opened(plan: &Plan, count: usize, before: usize) -> anyhow::Result<Opened> {
    let store = plan.store("store-killed");
    let mut filling = child::start(&Work::Fill { count, before }, &store)?;
    filling.hear::<String>()?;
    filling.kill()?;
    forget_cached(&store)?;
    let opened: Opened = child::start(&Work::Open, &store)?.answer()?;
    forget_store(&store)?;
    anyhow::ensure!(
        opened.messages == count as u64,
        "{count} messages were answered and {} came back",
        opened.messages
    );
    Ok(opened)
}
