//! `mq bench`: what this machine and its disk make of a store, in a few seconds, in a temporary folder.
//!
//! It is a look, not a measurement to publish: one run of each, in the build at hand. Beside each number stands what the disk does by
//! itself, because a durable queue cannot answer one caller faster than that.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;
use mq::prelude::*;
use mq::{NewMessage, secs};
use serde::Serialize;

use crate::clock::Stopwatch;
use crate::exit::Result;
use crate::output::Output;
use crate::values;

/// Bytes of a payload.
const PAYLOAD_SIZE: usize = 256;
/// Callers at once, and jobs at once.
const CALLERS: usize = 64;
/// Bytes of the file whose syncs are counted; written once before, as a journal's segments are.
const FILE_SIZE: usize = 1 << 20;
/// Bytes of each write in it.
const WRITE_SIZE: usize = 4 << 10;

const EXAMPLES: &str = "\
Examples:
  mq bench
  mq bench --in /var/lib --for 5s --json

Makes a temporary folder, and removes it. Take a release build: cargo run --release -- bench.";

/// Arguments of `mq bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Where to make the temporary folder: on the disk that is meant
    #[arg(long = "in", value_name = "DIR")]
    folder: Option<PathBuf>,
    /// How long each of the four parts takes
    #[arg(long = "for", value_name = "TIME", default_value = "2s", value_parser = values::duration)]
    time: Duration,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// What was counted, in a second.
#[derive(Debug, Serialize)]
struct BenchJson {
    folder: String,
    /// A release build.
    optimised: bool,
    /// Writes of 4 KiB, each synced.
    disk_syncs_per_second: f64,
    /// Durable enqueues of one caller that waits for each.
    enqueue_1_per_second: f64,
    /// Durable enqueues of 64 callers.
    enqueue_64_per_second: f64,
    /// From enqueue to a settlement that is synced, 64 callers and 64 handlers.
    jobs_per_second: f64,
}

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "bench.job", queue = "bench-jobs")]
struct Job {
    text: String,
}

#[derive(Clone)]
struct Done(Arc<AtomicU64>);

async fn job(_: Job, State(done): State<Done>) -> Outcome {
    done.0.fetch_add(1, Relaxed);
    Ok(())
}

/// Runs `mq bench`.
///
/// # Errors
/// When the folder cannot be used.
pub(crate) fn run(arguments: &Arguments) -> Result {
    let parent = arguments.folder.clone().unwrap_or_else(std::env::temp_dir);
    let folder = tempfile::Builder::new()
        .prefix("mq-bench-")
        .tempdir_in(&parent)?;
    let syncs = disk_syncs(folder.path(), arguments.time)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime.context("cannot start a runtime")?;
    let data = folder.path().join("data");
    let (one, many, jobs) = runtime.block_on(store(&data, arguments.time))?;
    let counted = BenchJson {
        folder: parent.display().to_string(),
        optimised: !cfg!(debug_assertions),
        disk_syncs_per_second: syncs,
        enqueue_1_per_second: one,
        enqueue_64_per_second: many,
        jobs_per_second: jobs,
    };
    let mut output = Output::stdout();
    if arguments.json {
        output.json(&counted)?;
    } else {
        describe(&counted, &mut output)?;
    }
    Ok(output.flush()?)
}

/// How often a second the disk takes a write and its sync.
fn disk_syncs(folder: &Path, time: Duration) -> Result<f64> {
    let path = folder.join("raw");
    let file = OpenOptions::new().create_new(true).write(true).open(path)?;
    file.write_all_at(&vec![0; FILE_SIZE], 0)?;
    file.sync_all()?;
    let watch = Stopwatch::start();
    let mut syncs = 0;
    while watch.elapsed() < time {
        write_and_sync(&file, syncs)?;
        syncs += 1;
    }
    Ok(rate(syncs, watch.elapsed()))
}

fn write_and_sync(file: &File, nth: u64) -> std::io::Result<()> {
    let places = (FILE_SIZE / WRITE_SIZE) as u64;
    let offset = (nth % places) * WRITE_SIZE as u64;
    file.write_all_at(&[7; WRITE_SIZE], offset)?;
    file.sync_data()
}

/// Durable enqueues a second of one caller and of many, and jobs from end to end.
async fn store(data: &Path, time: Duration) -> anyhow::Result<(f64, f64, f64)> {
    let engine = Engine::open(data).await?;
    let one = callers(&engine, 1, time).await?;
    let many = callers(&engine, CALLERS, time).await?;
    let jobs = jobs(&engine, time).await?;
    engine.close().await?;
    Ok((one, many, jobs))
}

async fn callers(engine: &Engine, count: usize, time: Duration) -> anyhow::Result<f64> {
    let watch = Arc::new(Stopwatch::start());
    let callers: Vec<_> = (0..count)
        .map(|_| {
            let (engine, watch) = (engine.clone(), Arc::clone(&watch));
            tokio::spawn(async move {
                let mut answered = 0_u64;
                while watch.elapsed() < time {
                    engine.enqueue_raw(message()?).await?;
                    answered += 1;
                }
                anyhow::Ok(answered)
            })
        })
        .collect();
    let mut answered = 0;
    for caller in callers {
        answered += caller.await??;
    }
    Ok(rate(answered, watch.elapsed()))
}

async fn jobs(engine: &Engine, time: Duration) -> anyhow::Result<f64> {
    let done = Done(Arc::default());
    let workers = engine
        .workers()
        .state(done.clone())
        .handle_with(job, |handler| handler.parallelism(1..=CALLERS))
        .start()?;
    let watch = Arc::new(Stopwatch::start());
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (engine, watch) = (engine.clone(), Arc::clone(&watch));
            tokio::spawn(async move {
                while watch.elapsed() < time {
                    let text = "x".repeat(PAYLOAD_SIZE);
                    engine.enqueue(Job { text }).await?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for caller in callers {
        caller.await??;
    }
    engine
        .run_queue_until_empty(Some(&"bench-jobs".parse()?))
        .await?;
    let counted = rate(done.0.load(Relaxed), watch.elapsed());
    workers.stop(secs(5)).await;
    Ok(counted)
}

fn message() -> anyhow::Result<NewMessage> {
    let payload = vec![b'x'; PAYLOAD_SIZE];
    Ok(NewMessage::new(
        "bench".parse()?,
        "bench.plain".parse()?,
        payload.into(),
    ))
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn rate(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(0.001)
}

fn describe(counted: &BenchJson, output: &mut Output) -> Result {
    if !counted.optimised {
        output.line("this is not a release build: the numbers say little about mq")?;
    }
    let one = counted.disk_syncs_per_second;
    let facts = [
        ("disk alone, 4 KiB written and synced", one),
        ("durable enqueues, 1 caller", counted.enqueue_1_per_second),
        (
            "durable enqueues, 64 callers",
            counted.enqueue_64_per_second,
        ),
        (
            "jobs end to end, 64 callers, 64 handlers",
            counted.jobs_per_second,
        ),
    ];
    for (name, count) in facts {
        let times = count / one.max(1.0);
        output.line(format_args!(
            "{name:<42} {count:>12.0}/s  {times:>8.2} × disk"
        ))?;
    }
    Ok(())
}
