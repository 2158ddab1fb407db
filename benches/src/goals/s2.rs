//! S2: durable enqueue by 64 concurrent tasks, beside 64 times what the disk does by itself.

use crate::load;
use crate::measure::beside_disk;
use crate::plan::Plan;
use crate::report::{Goal, Row};
use crate::store::PAYLOAD_SIZE;

const TASKS: u32 = 64;

/// 64 tasks on one runtime thread, each waits for its answer. One sync can answer all of them at best.
pub(super) fn measure(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let (run, raw) = beside_disk(plan, plan.time / 3, |store| {
        load::concurrent_tasks(store, TASKS as usize, plan.time)
    })?;
    let raw = raw.map_or(f64::NAN, |raw| raw.per_second);
    let row = Row::plain("S2", "durable enqueue, 64 tasks", run.rate(), "msg/s")
        .judged(
            f64::from(TASKS) * raw,
            "64 × raw syncs/s",
            Goal::AtLeast(0.55),
        )
        .costing(&run, PAYLOAD_SIZE)
        .synced(&run, TASKS as usize);
    Ok(vec![row])
}
