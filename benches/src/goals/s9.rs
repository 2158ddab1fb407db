//! S9: what a byte of payload costs in bytes written, and how large the store is beside what is alive in it.

use std::path::Path;
use std::time::Duration;

use mq::secs;

use crate::disk::allocated;
use crate::instruments::written_by_disk;
use crate::latency::Recorder;
use crate::load::{Callers, runtime, start_workers};
use crate::measure::{Meter, Run, forget_store};
use crate::plan::Plan;
use crate::report::{Goal, Row};
use crate::store::{NAME, builder};

const SIZE: usize = 1024;
/// Tasks whose messages are handled, and tasks whose messages stay.
const TASKS: (usize, usize) = (60, 4);
/// A kind that nobody handles.
const KEPT: &str = "bench.kept";
/// The largest segment of a store with default options.
const SEGMENT_SIZE: u64 = 64 << 20;

/// 64 tasks enqueue 1 KiB each; of every sixteen messages fifteen are handled and one stays, so that snapshots and
/// compaction have work. Bytes are whole pages at the storage seam until the store was closed; what the disk itself wrote in
/// that time, for whomever, stands beside them.
pub(super) fn measure(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let store = plan.store("store");
    let before = written_by_disk(&plan.folder);
    let (run, size, live) = steady(&store, plan.time * 4)?;
    let by_disk = written_by_disk(&plan.folder).zip(before);
    let by_disk = by_disk.map_or_else(String::new, |(after, before)| {
        let mib = (after - before) >> 20;
        format!("the disk wrote {mib} MiB meanwhile, zero-filling included, for all who use it")
    });
    forget_store(&store)?;
    #[expect(clippy::cast_precision_loss, reason = "ratios")]
    let (payload, size, live) = (
        (run.messages * SIZE as u64) as f64,
        size as f64,
        (live + 4 * SEGMENT_SIZE * 2 / 5) as f64,
    );
    #[expect(clippy::cast_precision_loss, reason = "ratios")]
    let (written, zeros) = (run.counted.written as f64, run.counted.zeros as f64);
    Ok(vec![
        Row::plain(
            "S9 written",
            "pages written, zero-filling apart",
            written,
            "B",
        )
        .judged(payload, "payload bytes", Goal::AtMost(1.4))
        .costing(&run, SIZE)
        .noted(by_disk)
        .unjudged_if(plan.quick),
        Row::plain("S9 zeros", "bytes of zero-filling ahead", zeros, "B")
            .judged(payload, "payload bytes", Goal::AtMost(1.0))
            .unjudged_if(plan.quick),
        Row::plain(
            "S9 store",
            "the store's files at the end of the load",
            size,
            "B",
        )
        .judged(live, "live bytes + 1.6 segments", Goal::AtMost(2.5))
        .unjudged_if(plan.quick),
    ])
}

/// The run, the bytes of the store at its end, and the bytes alive in it.
fn steady(store: &Path, time: Duration) -> anyhow::Result<(Run, u64, u64)> {
    runtime()?.block_on(async {
        let (builder, counts) = builder(store);
        let engine = builder.open().await?;
        let (workers, _) = start_workers(&engine, TASKS.0)?;
        let (meter, recorder) = (Meter::start(&counts)?, Recorder::new()?);
        let callers = |tasks, kind| Callers {
            engine: &engine,
            tasks,
            kind,
            size: SIZE,
        };
        let (handled, kept) = (callers(TASKS.0, NAME), callers(TASKS.1, KEPT));
        let (handled, kept) = tokio::join!(
            handled.enqueue_until(meter.clock(), time, &recorder),
            kept.enqueue_until(meter.clock(), time, &recorder),
        );
        let (size, live) = (allocated(store)?, engine.stats().live_bytes);
        workers.stop(secs(5)).await;
        engine.close().await?;
        let run = meter.finish(handled? + kept?, Some(&recorder))?;
        Ok((run, size, live))
    })
}
