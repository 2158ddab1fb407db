//! The loads, end to end through the public interface.
//!
//! *Closed*: so many callers, each waits for its answer before it sends again; the rate is what comes out. *Open*: so many
//! messages in a second, whether answers come or not, and each is timed from the moment it should have been sent, so that
//! a stall is counted for all whom it delays.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;
use mq::environment::SystemClock;
use mq::{Engine, Environment, Fail, HandlerOptions, Workers, secs};
use mq_core::command::Selector;
use mq_core::time::Clock;
use tokio::runtime::Runtime;

use crate::disk;
use crate::latency::Recorder;
use crate::measure::{Meter, Run, forget_store, middle};
use crate::plan::Plan;
use crate::store::{self, NAME, PAYLOAD_SIZE, builder};

/// Threads of the runtime that the tasks share: the engine's commit thread needs the other of two cores.
const RUNTIME_THREADS: usize = 1;
/// Every how many milliseconds an open load sends what is due.
const TICK: Duration = Duration::from_micros(500);

/// A runtime for tasks that are the load.
///
/// # Errors
/// The system has no more threads.
pub fn runtime() -> anyhow::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(RUNTIME_THREADS).enable_all().build();
    runtime.context("cannot start a runtime")
}

/// Slices in which the disk by itself and a load take turns.
const SLICES: u32 = 12;
/// Bytes of a write of the disk by itself: a message of 256 bytes with its frame and its record.
const RAW_WRITE_SIZE: usize = 512;

/// A load that took turns with raw syncs on the same disk.
#[derive(Clone, Copy, Debug)]
pub struct BesideRaw {
    /// All slices of the load together.
    pub run: Run,
    /// Its rate in the slice in the middle.
    pub rate: f64,
    /// Raw syncs in a second, in the slice in the middle.
    pub raw: f64,
    /// The ratio of both in the slice in the middle: each slice is divided by the raw syncs just before it.
    pub ratio: f64,
}

/// Durable enqueues of so many tasks, or of one thread that blocks, in turns with raw syncs: whoever else uses the disk slows
/// both.
///
/// # Errors
/// What the engine or the disk says.
pub fn beside_raw(plan: &Plan, tasks: Option<usize>) -> anyhow::Result<BesideRaw> {
    let store = plan.store("store");
    let (builder, counts) = builder(&store);
    let engine = builder.open_wait()?;
    let (runtime, recorder) = (runtime()?, Recorder::new()?);
    let (mut slices, mut run) = (Vec::new(), None::<Run>);
    for _ in 0..SLICES {
        let raw = disk::raw_rate(&plan.folder, RAW_WRITE_SIZE, plan.time / 8)?.per_second;
        let (meter, time) = (Meter::start(&counts)?, plan.time / 4);
        let count = if let Some(tasks) = tasks {
            let callers = Callers {
                engine: &engine,
                tasks,
                kind: NAME,
                size: PAYLOAD_SIZE,
            };
            runtime.block_on(callers.enqueue_until(meter.clock(), time, &recorder))?
        } else {
            block(&engine, &meter, time, &recorder)?
        };
        let slice = meter.finish(count, Some(&recorder))?;
        slices.push((slice.rate(), raw));
        run = Some(run.map_or(slice, |before| before.and(&slice)));
    }
    engine.close_wait()?;
    forget_store(&store)?;
    let middle = |of: fn(&(f64, f64)) -> f64| {
        middle(slices.clone(), of).map_or(f64::NAN, |slice| of(&slice))
    };
    Ok(BesideRaw {
        run: run.context("no slice was run")?,
        rate: middle(|(rate, _)| *rate),
        raw: middle(|(_, raw)| *raw),
        ratio: middle(|(rate, raw)| rate / raw),
    })
}

/// This thread waits for each durable enqueue, until the meter shows `time`.
fn block(
    engine: &Engine,
    meter: &Meter,
    time: Duration,
    recorder: &Recorder,
) -> anyhow::Result<u64> {
    let message = store::message(PAYLOAD_SIZE)?;
    let (mut count, mut began) = (0, meter.elapsed());
    while began < time {
        engine.enqueue_raw(message.clone()).wait()?;
        let now = meter.elapsed();
        recorder.record(now.saturating_sub(began));
        (began, count) = (now, count + 1);
    }
    Ok(count)
}

/// So many threads, each of which waits for each of its durable batches, for about `time` and at most `bytes` bytes of payload
/// together.
///
/// # Errors
/// What the engine says.
pub fn batches(folder: &Path, threads: usize, time: Duration, bytes: u64) -> anyhow::Result<Run> {
    let (builder, counts) = builder(folder);
    let engine = builder.open_wait()?;
    let recorder = Recorder::new()?;
    let most = bytes / PAYLOAD_SIZE as u64;
    let sent = AtomicU64::new(0);
    let meter = Meter::start(&counts)?;
    let caller = || {
        let message = store::message(PAYLOAD_SIZE)?;
        let mut began = meter.elapsed();
        while began < time && sent.load(Relaxed) < most {
            let mut batch = engine.batch();
            for _ in 0..store::BATCH_LEN {
                batch = batch.push_raw(message.clone());
            }
            batch.wait()?;
            let now = meter.elapsed();
            recorder.record(now.saturating_sub(began));
            began = now;
            sent.fetch_add(store::BATCH_LEN as u64, Relaxed);
        }
        anyhow::Ok(())
    };
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..threads).map(|_| scope.spawn(caller)).collect();
        callers.into_iter().try_for_each(|caller| {
            let ended = caller.join();
            ended.map_err(|_| anyhow::anyhow!("a caller panicked"))?
        })
    })?;
    let run = meter.finish(sent.into_inner(), Some(&recorder))?;
    engine.close_wait()?;
    Ok(run)
}

/// Durable enqueues of so many tasks, each of which waits for its answer, on a new store.
///
/// # Errors
/// What the engine says.
pub fn concurrent_tasks(folder: &Path, tasks: usize, time: Duration) -> anyhow::Result<Run> {
    runtime()?.block_on(async {
        let (builder, counts) = builder(folder);
        let engine = builder.open().await?;
        let meter = Meter::start(&counts)?;
        let recorder = Recorder::new()?;
        let until = meter.clock();
        let callers = Callers {
            engine: &engine,
            tasks,
            kind: NAME,
            size: PAYLOAD_SIZE,
        };
        let count = callers.enqueue_until(until, time, &recorder).await?;
        let run = meter.finish(count, Some(&recorder))?;
        engine.close().await?;
        Ok(run)
    })
}

/// Tasks that enqueue and wait, on the runtime they are started on.
#[derive(Clone, Copy, Debug)]
pub struct Callers<'a> {
    /// Where they enqueue.
    pub engine: &'a Engine,
    /// How many there are.
    pub tasks: usize,
    /// The kind of their messages.
    pub kind: &'a str,
    /// Bytes of each payload.
    pub size: usize,
}

impl Callers<'_> {
    /// Enqueues until the clock shows `end`; answers how many were answered.
    ///
    /// # Errors
    /// What the engine says.
    pub async fn enqueue_until(
        &self,
        clock: SystemClock,
        end: Duration,
        recorder: &Recorder,
    ) -> anyhow::Result<u64> {
        let callers: Vec<_> = (0..self.tasks)
            .map(|_| {
                let (engine, recorder) = (self.engine.clone(), recorder.clone());
                let message = store::message_of(self.kind, self.size);
                tokio::spawn(async move {
                    let message = message?;
                    let (mut count, mut began) = (0_u64, clock.monotonic());
                    while began < end {
                        engine.enqueue_raw(message.clone()).await?;
                        let now = clock.monotonic();
                        recorder.record(now.saturating_sub(began));
                        (began, count) = (now, count + 1);
                    }
                    anyhow::Ok(count)
                })
            })
            .collect();
        let mut count = 0;
        for caller in callers {
            count += caller.await.context("a caller panicked")??;
        }
        Ok(count)
    }
}

/// How end-to-end load is made.
#[derive(Clone, Copy, Debug)]
pub struct Jobs {
    /// Tasks that enqueue and wait for their answer.
    pub tasks: usize,
    /// Handlers at once.
    pub workers: usize,
    /// Bytes of each payload.
    pub size: usize,
    /// How long is enqueued.
    pub time: Duration,
}

impl Jobs {
    /// Enqueue, handle, ack. A job counts when its ack is synced: the clock stops after the store is empty and everything
    /// is synced, so that what is still on its way at the end of `time` costs time, too.
    ///
    /// # Errors
    /// What the engine says.
    pub fn run(&self, folder: &Path) -> anyhow::Result<Run> {
        runtime()?.block_on(async {
            let (builder, counts) = builder(folder);
            let engine = builder.open().await?;
            let (workers, handled) = start_workers(&engine, self.workers)?;
            let (meter, recorder) = (Meter::start(&counts)?, Recorder::new()?);
            let callers = Callers {
                engine: &engine,
                tasks: self.tasks,
                kind: NAME,
                size: self.size,
            };
            let clock = meter.clock();
            let sent = callers.enqueue_until(clock, self.time, &recorder).await?;
            engine.run_queue_until_empty(Some(&NAME.parse()?)).await?;
            engine.sync().await?;
            let done = handled.load(Relaxed);
            anyhow::ensure!(done == sent, "{sent} were sent and {done} handled");
            let run = meter.finish(handled.load(Relaxed), Some(&recorder))?;
            workers.stop(secs(5)).await;
            engine.close().await?;
            Ok(run)
        })
    }
}

/// Workers whose handler does nothing, and the count of what it did.
///
/// # Errors
/// What dispatch says.
pub fn start_workers(engine: &Engine, workers: usize) -> anyhow::Result<(Workers, Arc<AtomicU64>)> {
    let handled = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&handled);
    let selector = Selector {
        queue: Some(NAME.parse()?),
        kind: Some(NAME.parse()?),
    };
    let options = HandlerOptions::default().parallelism(1..=workers);
    let workers = engine
        .workers()
        .handle_raw(selector, options, move |_, _| {
            counter.fetch_add(1, Relaxed);
            async { Ok::<(), Fail>(()) }
        })
        .start()?;
    Ok((workers, handled))
}

/// Sends `rate` messages of `size` bytes in a second for `time`, from this thread, in ticks of half a millisecond; records how
/// long each answer took from the moment its tick was due.
///
/// # Errors
/// What the engine says.
pub fn open_loop(
    engine: &Engine,
    rate: u64,
    size: usize,
    time: Duration,
    recorder: &Recorder,
) -> anyhow::Result<()> {
    let clock = SystemClock::start();
    let (sender, receiver) = std::sync::mpsc::channel::<(Duration, mq::Pending<_, _>)>();
    let collector = {
        let recorder = recorder.clone();
        std::thread::spawn(move || {
            for (due, pending) in receiver {
                pending.wait()?;
                recorder.record(clock.monotonic().saturating_sub(due));
            }
            anyhow::Ok(())
        })
    };
    let message = store::message(size)?;
    let mut sent = 0_u64;
    paced(&clock, time, |due| {
        let target = u64::try_from(due.as_nanos() * u128::from(rate) / 1_000_000_000)?;
        for _ in sent..target {
            let pending = engine.enqueue_raw(message.clone()).submit()?;
            sender.send((due, pending)).context("nobody collects")?;
        }
        sent = target;
        Ok(())
    })?;
    drop(sender);
    let collected = collector.join();
    collected.map_err(|_| anyhow::anyhow!("the collector panicked"))?
}

/// Acts at each tick of an open load, on this thread, until the clock shows `time`; says when the tick was due. A tick that comes
/// late, because the machine woke this thread late or the one before took long, delays none of those after it.
///
/// # Errors
/// What `act` says.
pub fn paced(
    clock: &SystemClock,
    time: Duration,
    mut act: impl FnMut(Duration) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let parker = Environment::real().park.parker();
    let mut due = Duration::ZERO;
    while due < time {
        due += TICK;
        let wait = due.saturating_sub(clock.monotonic());
        if !wait.is_zero() {
            parker.park(Some(wait));
        }
        act(due)?;
    }
    Ok(())
}
