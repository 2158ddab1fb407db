//! S1: durable enqueue by one blocking caller, beside what the disk does by itself.

use crate::load::beside_raw;
use crate::plan::Plan;
use crate::report::{Goal, Row};
use crate::store::PAYLOAD_SIZE;

/// One thread waits for each enqueue, in turns with raw syncs; each slice is divided by the raw syncs just before it.
pub(super) fn measure(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let beside = beside_raw(plan, None)?;
    let row = Row::plain(
        "S1",
        "durable enqueue, 1 blocking caller",
        beside.rate,
        "msg/s",
    )
    .judged_by(beside.raw, "raw syncs/s", beside.ratio, Goal::AtLeast(0.9))
    .costing(&beside.run, PAYLOAD_SIZE)
    .synced(&beside.run, 1);
    Ok(vec![row])
}
