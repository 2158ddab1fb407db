//! S3: durable enqueue by very many: 1024 tasks, and callers with batches of 1000, sustained.

use crate::disk;
use crate::load;
use crate::measure::{forget_store, repeated};
use crate::plan::Plan;
use crate::report::{Goal, Row};
use crate::store::{BATCH_LEN, PAYLOAD_SIZE};

const TASKS: usize = 1024;
/// Payload that the sustained load writes at most, whatever the disk has.
const SUSTAINED_SIZE_MAX: u64 = 16 << 30;

/// Threads that send batches: what one prepares overlaps with what another's sync waits for.
const CALLERS: usize = 4;

/// The tasks are repeated as usual, and so is one caller with batches, who shows what they cost without any overlap. Several callers
/// with batches go on for a minute, or until a quarter of the free disk is filled, so that segments, spares and snapshots are those
/// of production.
pub(super) fn measure(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let run = repeated(plan, |store| {
        load::concurrent_tasks(store, TASKS, plan.time)
    })?;
    let tasks = Row::plain(
        "S3 tasks",
        "durable enqueue, 1024 tasks",
        run.rate(),
        "msg/s",
    )
    .judged(2e6, "goal", Goal::AtLeast(1.0))
    .costing(&run, PAYLOAD_SIZE)
    .synced(&run, TASKS);

    let bytes = (disk::free_bytes(&plan.folder)? / 4).min(SUSTAINED_SIZE_MAX);
    let run = repeated(plan, |store| load::batches(store, 1, plan.time, bytes))?;
    let one = Row::plain(
        "S3 one",
        "durable batches of 1000, 1 caller",
        run.rate(),
        "msg/s",
    )
    .costing(&run, PAYLOAD_SIZE)
    .synced(&run, BATCH_LEN);

    let store = plan.store("store-sustained");
    let run = load::batches(&store, CALLERS, plan.sustained, bytes)?;
    forget_store(&store)?;
    let workload = format!(
        "durable batches of 1000, {CALLERS} callers, {:.0} s",
        run.elapsed.as_secs_f64()
    );
    let batches = Row::plain("S3 batches", workload, run.rate(), "msg/s")
        .judged(2.5e6, "goal", Goal::AtLeast(1.0))
        .costing(&run, PAYLOAD_SIZE)
        .synced(&run, CALLERS * BATCH_LEN);
    Ok(vec![tasks, one, batches])
}
