//! S5: from enqueue to handler while nothing else happens.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use mq::environment::SystemClock;
use mq::{Engine, Fail, HandlerOptions, secs};
use mq_core::command::Selector;
use mq_core::time::Clock;
use tokio::sync::mpsc;

use crate::disk::RawFile;
use crate::latency::{Latency, Recorder};
use crate::measure::forget_store;
use crate::plan::Plan;
use crate::report::{Goal, Row};
use crate::store::{self, NAME, PAYLOAD_SIZE, builder};

/// Longer than a written ack waits for its sync: what is measured meets a quiet disk.
const PAUSE: Duration = Duration::from_millis(12);

/// One message at a time, timed from the call of enqueue to the first line of the handler. In the durable half, raw syncs
/// alternate with the messages, after the same pause, on the same disk.
pub(super) fn measure(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let (durable, raw) = runtime.block_on(durable(
        &plan.folder,
        &plan.store("store"),
        plan.size(500, 100),
    ))?;
    forget_store(&plan.store("store"))?;
    // From a task of the runtime, as in a server: a thread that only blocks on a future is woken, and wakes others, like a stranger.
    let count = plan.size(3_000, 500);
    let memory = runtime.spawn(in_memory(count));
    let memory = runtime.block_on(memory).context("a caller panicked")??;
    let bare = runtime.block_on(bare_wake(count))?;
    let durable = Row::plain(
        "S5 durable",
        "enqueue to handler, idle, p50",
        durable.p50,
        "µs",
    )
    .judged(raw.p50, "raw sync p50", Goal::AtMost(1.5))
    .noted(spread(&durable));
    let half = Row::plain(
        "S5 p50",
        "enqueue to handler, in memory, p50",
        memory.p50,
        "µs",
    )
    .judged(15.0, "goal", Goal::AtMost(1.0))
    .noted(format!(
        "{}; a thread wakes a task of another, nothing else, p50 {:.0} µs, p99 {:.0}",
        spread(&memory),
        bare.p50,
        bare.p99
    ));
    let most = Row::plain(
        "S5 p99",
        "enqueue to handler, in memory, p99",
        memory.p99,
        "µs",
    )
    .judged(60.0, "goal", Goal::AtMost(1.0));
    Ok(vec![durable, half, most])
}

fn spread(latency: &Latency) -> String {
    format!(
        "{} messages: p90 {:.0} µs, p99 {:.0}, longest {:.0}",
        latency.count, latency.p90, latency.p99, latency.max
    )
}

async fn durable(folder: &Path, store: &Path, count: usize) -> anyhow::Result<(Latency, Latency)> {
    let engine = builder(store).0.open().await?;
    let mut raw = RawFile::create(folder, 2 * PAYLOAD_SIZE)?;
    let syncs = Recorder::new()?;
    let idle = Idle::start(engine)?;
    let latency = idle
        .time(count, PAUSE, || {
            syncs.record(raw.write_and_sync()?);
            Ok(())
        })
        .await?;
    Ok((latency, syncs.summary()))
}

async fn in_memory(count: usize) -> anyhow::Result<Latency> {
    let engine = Engine::in_memory().open().await?;
    let idle = Idle::start(engine)?;
    idle.time(count, Duration::from_millis(1), || Ok(())).await
}

/// How long it takes to wake a task from a thread that is not of its runtime's: what any hand-over between threads costs here.
async fn bare_wake(count: usize) -> anyhow::Result<Latency> {
    let (clock, recorder) = (SystemClock::start(), Recorder::new()?);
    let (sender, mut receiver) = mpsc::unbounded_channel::<Duration>();
    let woken = recorder.clone();
    let task = tokio::spawn(async move {
        while let Some(sent) = receiver.recv().await {
            woken.record(clock.monotonic().saturating_sub(sent));
        }
    });
    for _ in 0..count {
        tokio::time::sleep(Duration::from_millis(1)).await;
        sender.send(clock.monotonic())?;
    }
    drop(sender);
    task.await?;
    Ok(recorder.summary())
}

/// An engine with one worker that says when it began.
struct Idle {
    engine: Engine,
    workers: mq::Workers,
    began: mpsc::UnboundedReceiver<Duration>,
    clock: SystemClock,
}

impl Idle {
    fn start(engine: Engine) -> anyhow::Result<Self> {
        let clock = SystemClock::start();
        let (sender, began) = mpsc::unbounded_channel();
        let selector = Selector {
            queue: Some(NAME.parse()?),
            kind: None,
        };
        let options = HandlerOptions::default().parallelism(1..=4);
        let workers = engine
            .workers()
            .handle_raw(selector, options, move |_, _| {
                let told = sender.send(clock.monotonic());
                async move { told.map_err(|_| Fail::retry("nobody listens")) }
            })
            .start()?;
        Ok(Self {
            engine,
            workers,
            began,
            clock,
        })
    }

    /// Sends `count` messages, each after a pause, `between` and another pause.
    async fn time(
        mut self,
        count: usize,
        pause: Duration,
        mut between: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<Latency> {
        let recorder = Recorder::new()?;
        let mut message = store::message(PAYLOAD_SIZE)?;
        message.envelope.payload = Bytes::from(vec![0x42; PAYLOAD_SIZE]);
        for _ in 0..count {
            tokio::time::sleep(pause).await;
            between()?;
            tokio::time::sleep(pause).await;
            let sent = self.clock.monotonic();
            self.engine.enqueue_raw(message.clone()).await?;
            let began = self.began.recv().await.context("the handler is gone")?;
            recorder.record(began.saturating_sub(sent));
        }
        self.workers.stop(secs(5)).await;
        self.engine.close().await?;
        Ok(recorder.summary())
    }
}
