//! S2: durable enqueue by 64 concurrent tasks, beside 64 times what the disk does by itself.

use crate::load::beside_raw;
use crate::plan::Plan;
use crate::report::{Goal, Row};
use crate::store::PAYLOAD_SIZE;

const TASKS: u32 = 64;

/// 64 tasks on one runtime thread, each waits for its answer, in turns with raw syncs. One sync can answer all of them at best.
pub(super) fn measure(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let beside = beside_raw(plan, Some(TASKS as usize))?;
    let (raw, ratio) = (
        f64::from(TASKS) * beside.raw,
        beside.ratio / f64::from(TASKS),
    );
    let row = Row::plain("S2", "durable enqueue, 64 tasks", beside.rate, "msg/s")
        .judged_by(raw, "64 × raw syncs/s", ratio, Goal::AtLeast(0.55))
        .costing(&beside.run, PAYLOAD_SIZE)
        .synced(&beside.run, TASKS as usize);
    Ok(vec![row])
}
