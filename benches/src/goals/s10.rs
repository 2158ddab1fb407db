//! S10: what an enqueue waits at worst while segments rotate, snapshots are taken and old segments are compacted.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;
use mq::environment::SystemClock;
use mq::{Engine, Environment};
use mq_core::time::Clock;

use crate::disk::RawFile;
use crate::latency::{Latency, Recorder};
use crate::load::{open_loop, paced, runtime, start_workers};
use crate::measure::forget_store;
use crate::plan::Plan;
use crate::report::{Goal, Row, grouped};
use crate::store::{NAME, PAYLOAD_SIZE, builder};

/// Messages in a second, whether answers come or not.
const RATE: u64 = 10_000;
/// Small segments, so that several fill in a second.
const SEGMENT_SIZE: u32 = 2 << 20;
/// A snapshot is taken so often.
const SNAPSHOT_EVERY: Duration = Duration::from_millis(700);
/// Stretches of load, each followed by two of raw syncs.
const STRETCHES: u32 = 6;

/// An open load of ten thousand in a second meets handlers that ack them, segments of 2 MiB and a snapshot every 0.7 s;
/// stretches of raw syncs on the idle engine alternate with it. Latency counts from the moment a message was due, and so it does
/// for a raw sync at each tick: a machine that wakes a thread late is not taken for an engine that stalls.
pub(super) fn measure(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let store = plan.store("store");
    let stretch = plan.time * 4 / STRETCHES;
    let Measured { load, raw, ticks } = alternate(&plan.folder, &store, stretch)?;
    forget_store(&store)?;
    let (bare, slow) = (4.0 * raw.p50, 1.5 * ticks.p999);
    let (most, name) = if bare > slow {
        (bare, "4 × raw p50")
    } else {
        (slow, "1.5 × p99.9 of raw syncs at the same ticks")
    };
    let workload = format!("enqueue at {} /s beside upkeep, p99.9", grouped(10_000.0));
    let row = Row::plain("S10", workload, load.p999, "µs")
        .judged(most, name, Goal::AtMost(1.0))
        .noted(format!(
            "load p50 {:.0}, p99 {:.0}, longest {:.0} µs; raw syncs at the same ticks p50 {:.0}, p99 {:.0}, p99.9 {:.0}, longest {:.0} µs; \
             one after the other p50 {:.0}, p99.9 {:.0}, longest {:.0} µs",
            load.p50, load.p99, load.max, ticks.p50, ticks.p99, ticks.p999, ticks.max, raw.p50, raw.p999, raw.max
        ));
    Ok(vec![row])
}

struct Measured {
    /// Enqueues, from when they were due.
    load: Latency,
    /// Raw syncs one after the other, from the write on.
    raw: Latency,
    /// A raw sync at each tick, from when that was due.
    ticks: Latency,
}

fn alternate(folder: &Path, store: &Path, stretch: Duration) -> anyhow::Result<Measured> {
    let (builder, _) = builder(store);
    let engine = builder.segment_size_max(SEGMENT_SIZE).open_wait()?;
    let runtime = runtime()?;
    let (workers, _) = {
        let _inside = runtime.enter();
        start_workers(&engine, 64)?
    };
    let (load, raw, ticks) = (Recorder::new()?, Recorder::new()?, Recorder::new()?);
    for _ in 0..STRETCHES {
        let snapshots = Snapshots::start(&engine);
        open_loop(&engine, RATE, PAYLOAD_SIZE, stretch, &load)?;
        snapshots.stop()?;
        runtime.block_on(engine.run_queue_until_empty(Some(&NAME.parse()?)))?;
        let mut file = RawFile::create(folder, 2 * PAYLOAD_SIZE)?;
        let (clock, mut began, mut ended) = (SystemClock::start(), Duration::ZERO, Duration::ZERO);
        paced(&clock, stretch, |due| {
            // One sync is for all ticks that were due when it began, as one frame is for all messages.
            if due > began {
                began = clock.monotonic();
                file.write_and_sync()?;
                ended = clock.monotonic();
            }
            ticks.record(ended.saturating_sub(due));
            Ok(())
        })?;
        let mut passed = Duration::ZERO;
        while passed < stretch / 2 {
            let took = file.write_and_sync()?;
            raw.record(took);
            passed += took;
        }
    }
    workers.stop(Duration::from_secs(5)).wait();
    engine.close_wait()?;
    Ok(Measured {
        load: load.summary(),
        raw: raw.summary(),
        ticks: ticks.summary(),
    })
}

/// A thread that takes one snapshot after another.
struct Snapshots {
    ends: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<anyhow::Result<()>>,
}

impl Snapshots {
    fn start(engine: &Engine) -> Self {
        let (engine, ends) = (engine.clone(), Arc::new(AtomicBool::new(false)));
        let ended = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            let parker = Environment::real().park.parker();
            while !ended.load(Relaxed) {
                engine.admin().snapshot().wait()?;
                parker.park(Some(SNAPSHOT_EVERY));
            }
            anyhow::Ok(())
        });
        Self { ends, thread }
    }

    fn stop(self) -> anyhow::Result<()> {
        self.ends.store(true, Relaxed);
        let ended = self.thread.join();
        ended.ok().context("the snapshots panicked")?
    }
}
