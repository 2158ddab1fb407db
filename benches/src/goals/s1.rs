//! S1: durable enqueue by one blocking caller, beside what the disk does by itself.

use crate::load;
use crate::measure::beside_disk;
use crate::plan::Plan;
use crate::report::{Goal, Row};
use crate::store::PAYLOAD_SIZE;

/// One thread waits for each enqueue. The disk's own rate is measured before each run; the medians are divided.
pub(super) fn measure(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let (run, raw) = beside_disk(plan, plan.time / 3, |store| {
        load::one_blocking_caller(store, plan.time)
    })?;
    let raw = raw.map_or(f64::NAN, |raw| raw.per_second);
    let row = Row::plain(
        "S1",
        "durable enqueue, 1 blocking caller",
        run.rate(),
        "msg/s",
    )
    .judged(raw, "raw syncs/s", Goal::AtLeast(0.9))
    .costing(&run, PAYLOAD_SIZE)
    .synced(&run, 1);
    Ok(vec![row])
}
