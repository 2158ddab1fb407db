//! Parts of goals that need a process of their own: to be weighed alone, or to be killed.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use mq::environment::SystemClock;
use mq::{Engine, Limit, secs};
use mq_core::time::Clock;
use serde::{Deserialize, Serialize};

use crate::instruments::{forget_peak_memory, peak_memory, resident_memory};
use crate::latency::Recorder;
use crate::load::{Callers, runtime, start_workers};
use crate::process::{Child, say, wait_to_be_killed};
use crate::store::{Flavour, NAME, PAYLOAD_SIZE, fill, message};

/// More journal than any child writes: no snapshot but those asked for.
const NO_SNAPSHOT: u64 = 1 << 40;

/// What a child does.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// Weighs so many waiting messages, and lets 64 tasks enqueue beside them for so long.
    Weigh {
        flavour: Flavour,
        count: usize,
        load: Duration,
    },
    /// Fills a store, with a snapshot after the first `before`, and waits to be killed.
    Fill { count: usize, before: usize },
    /// Opens the store and says how long that took.
    Open,
}

/// What [`Work::Weigh`] finds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Weighed {
    /// Bytes of memory that each message costs at most, growth and a snapshot included.
    pub(super) peak_per_message: f64,
    /// Bytes that each costs when everything is quiet.
    pub(super) per_message: f64,
    /// Durable enqueues in a second beside them.
    pub(super) rate: f64,
}

/// What [`Work::Open`] finds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Opened {
    /// How long it took to open.
    pub(crate) seconds: f64,
    /// Live messages found.
    pub(crate) messages: u64,
    /// Records replayed from the journal.
    pub(crate) records: u64,
    /// Bytes of journal read.
    pub(crate) bytes: u64,
}

/// Starts a child that works on the store `store`.
pub(super) fn start(work: &Work, store: &Path) -> anyhow::Result<Child> {
    let words = match work {
        Work::Weigh {
            flavour,
            count,
            load,
        } => vec![
            "weigh".to_owned(),
            flavour.as_str().to_owned(),
            count.to_string(),
            load.as_millis().to_string(),
        ],
        Work::Fill { count, before } => {
            vec!["fill".to_owned(), count.to_string(), before.to_string()]
        }
        Work::Open => vec!["open".to_owned()],
    };
    Child::start(store, &words)
}

/// Runs as a child: `STORE WORK …`.
///
/// # Errors
/// The arguments are not those of a child, or what the engine says.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [store, "weigh", flavour, count, load] => {
            let flavour = Flavour::of(flavour).context("no such flavour")?;
            let load = Duration::from_millis(load.parse()?);
            let weighed = weigh(Path::new(store), flavour, count.parse()?, load)?;
            say(&weighed)?;
        }
        [store, "fill", count, before] => {
            fill_and_wait(Path::new(store), count.parse()?, before.parse()?)?;
        }
        [store, "enqueues", count] => counted(Path::new(store), count.parse()?, 0)?,
        [store, "jobs", count] => counted(Path::new(store), count.parse()?, 64)?,
        [store, "open"] => {
            say(&reopen(Path::new(store))?)?;
        }
        [store, "scale", shape, numbers @ ..] => {
            crate::scale::run_child(Path::new(store), shape, numbers)?;
        }
        _ => bail!("`child` is how this program calls itself"),
    }
    Ok(())
}

fn open(store: &Path, count: usize) -> anyhow::Result<Engine> {
    let room = 2 * count as u64 + (32 << 20);
    let engine = Engine::builder(store)
        .capacity(Limit::messages(room).bytes(1 << 40))
        .keys(room)
        .payload_cache(0)
        .snapshot_after(NO_SNAPSHOT)
        .open_wait()?;
    Ok(engine)
}

#[expect(clippy::cast_precision_loss, reason = "bytes per message")]
fn weigh(store: &Path, flavour: Flavour, count: usize, load: Duration) -> anyhow::Result<Weighed> {
    let engine = open(store, count)?;
    fill(&engine, flavour, 0, 1_000)?;
    let before = resident_memory()?;
    forget_peak_memory()?;
    fill(&engine, flavour, 1_000, count)?;
    let quiet = resident_memory()?;
    engine.admin().snapshot().wait()?;
    let peak = peak_memory()?;
    let per_message = |bytes: u64| bytes.saturating_sub(before) as f64 / count as f64;
    let rate = if load.is_zero() {
        f64::NAN
    } else {
        let clock = SystemClock::start();
        let answered = runtime()?.block_on(async {
            let callers = Callers {
                engine: &engine,
                tasks: 64,
                kind: NAME,
                size: PAYLOAD_SIZE,
            };
            let recorder = Recorder::new()?;
            callers.enqueue_until(clock, load, &recorder).await
        })?;
        answered as f64 / clock.monotonic().as_secs_f64()
    };
    engine.close_wait()?;
    Ok(Weighed {
        peak_per_message: per_message(peak),
        per_message: per_message(quiet),
        rate: if rate.is_nan() { 0.0 } else { rate },
    })
}

fn fill_and_wait(store: &Path, count: usize, before: usize) -> anyhow::Result<()> {
    let engine = open(store, count)?;
    if before > 0 {
        fill(&engine, Flavour::Plain, 0, before)?;
        engine.admin().snapshot().wait()?;
    }
    fill(&engine, Flavour::Plain, before, count - before)?;
    say(&"ready")?;
    wait_to_be_killed()
}

/// A fixed number of messages by 64 tasks, for counting instructions (`valgrind --tool=callgrind`), which does not depend on
/// who else is at work: `child STORE enqueues COUNT` and, with as many handlers, `child STORE jobs COUNT`.
fn counted(store: &Path, count: usize, workers: usize) -> anyhow::Result<()> {
    const TASKS: usize = 64;
    runtime()?.block_on(async {
        let engine = Engine::builder(store).open().await?;
        let workers = match workers {
            0 => None,
            some => Some(start_workers(&engine, some)?),
        };
        let callers: Vec<_> = (0..TASKS)
            .map(|_| {
                let engine = engine.clone();
                tokio::spawn(async move {
                    let message = message(PAYLOAD_SIZE)?;
                    for _ in 0..count / TASKS {
                        engine.enqueue_raw(message.clone()).await?;
                    }
                    anyhow::Ok(())
                })
            })
            .collect();
        for caller in callers {
            caller.await.context("a caller panicked")??;
        }
        if let Some((workers, _)) = workers {
            engine.run_queue_until_empty(Some(&NAME.parse()?)).await?;
            workers.stop(secs(5)).await;
        }
        engine.close().await?;
        Ok(())
    })
}

fn reopen(store: &Path) -> anyhow::Result<Opened> {
    let clock = SystemClock::start();
    let engine = open(store, 0)?;
    let seconds = clock.monotonic().as_secs_f64();
    let journal = engine.report().and_then(|report| report.journal.clone());
    let journal = journal.context("the store is new")?;
    let opened = Opened {
        seconds,
        messages: engine.stats().live_messages,
        records: journal.records,
        bytes: journal.bytes,
    };
    engine.close_wait()?;
    Ok(opened)
}
