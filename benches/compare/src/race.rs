//! The load: so many callers for so long, timed at the caller, with the kernel's count of syncs beside it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;
use mq_benches::disk::raw_rate;
use mq_benches::kernel::KernelCount;
use mq_benches::latency::{Latency, Recorder};
use mq_benches::measure::middle;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::peer::{Blocker, Open, Peer, Producer, Workers};

/// More answers than so many for each sync and caller: not synced, whatever was said.
const HONEST: f64 = 1.02;
/// The disk by itself is looked at for so long before each load, with writes of so many bytes.
const RAW_TIME: Duration = Duration::from_millis(200);
const RAW_SIZE: usize = 512;
/// How long jobs may take to run dry after the callers have stopped.
const DRAIN: Duration = Duration::from_secs(60);
/// Load before what is measured, so that nobody is measured while files, caches and plans are new.
const WARM_UP: Duration = Duration::from_millis(400);

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Load {
    /// Enqueues by one thread that blocks until its answer is there.
    Blocking,
    /// Enqueues by so many callers, each of which waits for its answer.
    Enqueue(usize),
    /// Enqueue, handler, ack: so many callers and as many handlers.
    Jobs(usize),
}

impl Load {
    /// All that are raced.
    pub const ALL: [Self; 5] = [
        Self::Blocking,
        Self::Enqueue(1),
        Self::Enqueue(64),
        Self::Enqueue(1024),
        Self::Jobs(64),
    ];

    /// So many callers that each has few turns: it takes twice the time.
    #[must_use]
    pub const fn is_heavy(self) -> bool {
        matches!(self, Self::Enqueue(1_000..))
    }

    /// In words.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Blocking => "enqueue, 1 thread that blocks".to_owned(),
            Self::Enqueue(1) => "enqueue, 1 task".to_owned(),
            Self::Enqueue(callers) => format!("enqueue, {callers} tasks"),
            Self::Jobs(callers) => format!("enqueue → handle → ack, {callers} and {callers}"),
        }
    }
}

/// What a peer did under a load, or why it did not.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Result {
    /// The peer.
    pub peer: String,
    /// Its version and settings.
    pub settings: String,
    /// An answered enqueue is synced, as it says.
    pub synced: bool,
    /// The load.
    pub load: Load,
    /// Writes of 512 bytes with their sync that the disk did in a second just before, one after another.
    pub raw_syncs: f64,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a load.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The run in the middle.
    Measured(Measured),
    /// Why there is none.
    Skipped(String),
}

/// One run.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// Answers or jobs in a second.
    pub rate: f64,
    /// How long callers waited.
    pub latency_us: Latency,
    /// Answers or jobs.
    pub count: u64,
    /// Syncs that the kernel counted in the peer's processes; none where it was not asked.
    pub syncs: Option<u64>,
    /// Answers that one caller got from one sync.
    pub answers_per_sync_and_caller: Option<f64>,
}

/// Puts a load on a peer once, on a store of its own in `parent`: what one load leaves behind is not another's. Whatever goes wrong is
/// a result that says so.
#[must_use]
pub fn once(name: &str, open: Open, parent: &Path, load: Load, time: Duration) -> Result {
    let folder = parent.join("store");
    let run = || {
        std::fs::create_dir(&folder)?;
        let runtime = runtime()?;
        let result = runtime.block_on(async {
            let peer = open(&folder).await?;
            anyhow::Ok(measure(name, peer, load, &folder, time).await)
        });
        drop(runtime);
        std::fs::remove_dir_all(&folder).context("cannot remove the files of a peer")?;
        result
    };
    let result = run().unwrap_or_else(|error| {
        drop(std::fs::remove_dir_all(&folder)); // the next load says so if it is still there
        Result::skipped(name, load, &format!("{error:#}"))
    });
    eprintln!("{}", result.line());
    result
}

async fn measure(
    name: &str,
    peer: Box<dyn Peer>,
    load: Load,
    folder: &Path,
    time: Duration,
) -> Result {
    let about = peer.about();
    let raw = raw_rate(folder, RAW_SIZE, RAW_TIME).map_or(f64::NAN, |raw| raw.per_second);
    let measured = match load {
        Load::Blocking => blocking(&*peer, time).await,
        Load::Enqueue(callers) => enqueues(&*peer, callers, time).await,
        Load::Jobs(callers) => jobs(&*peer, callers, time).await,
    };
    let closed = peer.close().await;
    let outcome = match measured.and_then(|measured| closed.map(|()| measured)) {
        Ok(measured) => Outcome::Measured(measured),
        Err(error) => Outcome::Skipped(format!("{error:#}")),
    };
    Result {
        peer: name.to_owned(),
        settings: about.settings,
        synced: about.synced,
        load,
        raw_syncs: raw,
        outcome,
    }
}

/// Of several rounds, the one in the middle of each peer and load; one that was not measured counts only where none was. Who did not
/// sync under one load is not synced under any.
#[must_use]
pub fn in_the_middle(rounds: &[Result]) -> Vec<Result> {
    let mut middles: Vec<Result> = Vec::new();
    for first in rounds {
        let is_same = |other: &Result| other.peer == first.peer && other.load == first.load;
        if middles.iter().any(is_same) {
            continue;
        }
        let all = rounds.iter().filter(|round| is_same(round));
        let measured = all.filter_map(|round| Some((round, round.measured()?.rate)));
        let middle = middle(measured.collect(), |(_, rate)| *rate);
        middles.push(middle.map_or(first, |(round, _)| round).clone());
    }
    let caught = |row: &Result| {
        middles
            .iter()
            .any(|other| other.peer == row.peer && other.is_dishonest())
    };
    let caught: Vec<bool> = middles.iter().map(caught).collect();
    for (row, caught) in middles.iter_mut().zip(caught) {
        row.synced &= !caught;
    }
    middles
}

/// The runtime of every race: two threads.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
}

impl Result {
    /// A load that was not measured.
    #[must_use]
    pub fn skipped(peer: &str, load: Load, reason: &str) -> Self {
        Self {
            peer: peer.to_owned(),
            settings: String::new(),
            synced: true,
            load,
            raw_syncs: 0.0,
            outcome: Outcome::Skipped(reason.to_owned()),
        }
    }

    /// What was measured, unless it was skipped.
    #[must_use]
    pub const fn measured(&self) -> Option<Measured> {
        match &self.outcome {
            Outcome::Measured(measured) => Some(*measured),
            Outcome::Skipped(_) => None,
        }
    }

    /// Whether it answered more often than its syncs allow, though it says that it syncs.
    #[must_use]
    pub fn is_dishonest(&self) -> bool {
        let measured = self.measured();
        let ratio = measured.and_then(|measured| measured.answers_per_sync_and_caller);
        self.synced && ratio.is_some_and(|ratio| ratio > HONEST)
    }

    fn line(&self) -> String {
        let load = self.load.name();
        match &self.outcome {
            Outcome::Measured(measured) => format!(
                "{:24} {load:36} {:>10.0} /s, p50 {:>7.0} µs, p99 {:>7.0}, {} syncs{}",
                self.peer,
                measured.rate,
                measured.latency_us.p50,
                measured.latency_us.p99,
                measured
                    .syncs
                    .map_or_else(|| "uncounted".to_owned(), |syncs| syncs.to_string()),
                if self.is_dishonest() {
                    ", NOT SYNCED"
                } else {
                    ""
                }
            ),
            Outcome::Skipped(reason) => format!("{:24} {load:36} skipped: {reason}", self.peer),
        }
    }
}

async fn producers(peer: &dyn Peer, count: usize) -> anyhow::Result<Vec<Box<dyn Producer>>> {
    let mut producers = Vec::new();
    for _ in 0..count {
        producers.push(peer.producer().await.context("a caller")?);
    }
    Ok(producers)
}

async fn enqueues(peer: &dyn Peer, callers: usize, time: Duration) -> anyhow::Result<Measured> {
    let producers = producers(peer, callers).await?;
    let (_, producers) = enqueue_for(producers, WARM_UP, &Recorder::new()?).await?;
    let (recorder, kernel) = (Recorder::new()?, KernelCount::start(&peer.processes()));
    let began = Instant::now();
    let (count, _) = enqueue_for(producers, time, &recorder).await?;
    let elapsed = began.elapsed();
    measured(count, callers, elapsed, &recorder, kernel)
}

/// Enqueues from a thread outside of the runtime.
async fn blocking(peer: &dyn Peer, time: Duration) -> anyhow::Result<Measured> {
    let mut blocker = peer.blocker().await.context("a caller")?;
    let (recorder, kernel) = (Recorder::new()?, KernelCount::start(&peer.processes()));
    let (sender, ended) = tokio::sync::oneshot::channel();
    let (of_thread, unrecorded) = (recorder.clone(), Recorder::new()?);
    std::thread::spawn(move || {
        let run = || {
            block_for(&mut blocker, WARM_UP, &unrecorded)?;
            let kernel = kernel;
            let began = Instant::now();
            let count = block_for(&mut blocker, time, &of_thread)?;
            measured(count, 1, began.elapsed(), &of_thread, kernel)
        };
        drop(sender.send(run()));
    });
    ended.await.context("a caller panicked")?
}

fn block_for(blocker: &mut Blocker, time: Duration, recorder: &Recorder) -> anyhow::Result<u64> {
    let (mut count, mut began) = (0_u64, Instant::now());
    let end = began + time;
    while began < end {
        blocker()?;
        let now = Instant::now();
        recorder.record(now - began);
        (began, count) = (now, count + 1);
    }
    Ok(count)
}

async fn jobs(peer: &dyn Peer, callers: usize, time: Duration) -> anyhow::Result<Measured> {
    let producers = producers(peer, callers).await?;
    let done = Arc::new(AtomicU64::new(0));
    let mut workers = peer.workers(callers, Arc::clone(&done)).await?;
    let (warm, producers) = enqueue_for(producers, WARM_UP, &Recorder::new()?).await?;
    until_done(&mut workers, &done, warm, DRAIN).await?;
    let (recorder, kernel) = (Recorder::new()?, KernelCount::start(&peer.processes()));
    let before = done.load(Relaxed);
    let began = Instant::now();
    let (enqueued, _) = enqueue_for(producers, time, &recorder).await?;
    until_done(&mut workers, &done, before + enqueued, DRAIN).await?;
    let (elapsed, count) = (began.elapsed(), done.load(Relaxed) - before);
    workers.stop().await?;
    measured(count, callers, elapsed, &recorder, kernel)
}

/// Waits until so many jobs are done, or for so long: who is slower is measured by what he has done by then.
async fn until_done(
    workers: &mut Workers,
    done: &AtomicU64,
    count: u64,
    limit: Duration,
) -> anyhow::Result<()> {
    let began = Instant::now();
    while done.load(Relaxed) < count && began.elapsed() < limit {
        workers.check().await?;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// Lets the callers enqueue for so long; answers how often they did, and the callers.
async fn enqueue_for(
    producers: Vec<Box<dyn Producer>>,
    time: Duration,
    recorder: &Recorder,
) -> anyhow::Result<(u64, Vec<Box<dyn Producer>>)> {
    let end = Instant::now() + time;
    let callers: Vec<_> = producers
        .into_iter()
        .map(|mut producer| {
            let recorder = recorder.clone();
            tokio::spawn(async move {
                let (mut count, mut began) = (0_u64, Instant::now());
                while began < end {
                    producer.enqueue().await?;
                    let now = Instant::now();
                    recorder.record(now - began);
                    (began, count) = (now, count + 1);
                }
                anyhow::Ok((count, producer))
            })
        })
        .collect();
    let (mut count, mut producers) = (0, Vec::new());
    for caller in callers {
        let (of_caller, producer) = caller.await.context("a caller panicked")??;
        count += of_caller;
        producers.push(producer);
    }
    Ok((count, producers))
}

#[expect(clippy::cast_precision_loss, reason = "rates")]
fn measured(
    count: u64,
    callers: usize,
    elapsed: Duration,
    recorder: &Recorder,
    kernel: anyhow::Result<KernelCount>,
) -> anyhow::Result<Measured> {
    let syncs = kernel.and_then(KernelCount::finish).ok();
    let ratio = syncs.map(|syncs| count as f64 / (syncs.max(1) as f64 * callers as f64));
    Ok(Measured {
        rate: count as f64 / elapsed.as_secs_f64(),
        latency_us: recorder.summary(),
        count,
        syncs,
        answers_per_sync_and_caller: ratio,
    })
}
