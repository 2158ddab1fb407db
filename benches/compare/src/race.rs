//! The load: so many callers for so long, timed at the caller, with the kernel's count of syncs beside it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, bail};
use mq_benches::disk::raw_rate;
use mq_benches::kernel::KernelCount;
use mq_benches::latency::{Latency, Recorder};
use mq_benches::measure::middle;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::peer::{Blocker, Open, Peer, Producer};

/// More answers than so many for each sync and caller: not synced, whatever was said.
const HONEST: f64 = 1.02;
/// The disk by itself is looked at for so long before each load, with writes of so many bytes.
const RAW_TIME: Duration = Duration::from_millis(200);
const RAW_SIZE: usize = 512;
/// How long jobs may take to run dry after the callers have stopped.
const DRAIN: Duration = Duration::from_secs(60);

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

/// Puts every load on a peer once, each on a store of its own in `parent`: what one load leaves behind is not another's.
///
/// # Errors
/// What the file system or the system's threads say; a peer that does not open is a skipped result.
pub fn all(name: &str, open: Open, parent: &Path, time: Duration) -> anyhow::Result<Vec<Result>> {
    let mut results = Vec::new();
    for load in Load::ALL {
        let folder = parent.join("store");
        std::fs::create_dir(&folder)?;
        let runtime = runtime()?;
        let result = runtime.block_on(async {
            match open(&folder).await {
                Ok(peer) => anyhow::Ok(once(peer, load, &folder, time).await),
                Err(error) => Err(error),
            }
        });
        drop(runtime);
        std::fs::remove_dir_all(&folder).context("cannot remove the files of a peer")?;
        match result {
            Ok(result) => results.extend(result),
            Err(error) => return Ok(Result::skipped(name, &format!("{error:#}"))),
        }
    }
    Ok(results)
}

/// One load on a peer; none if the peer knows no such callers.
async fn once(peer: Box<dyn Peer>, load: Load, folder: &Path, time: Duration) -> Option<Result> {
    let about = peer.about();
    let raw = raw_rate(folder, RAW_SIZE, RAW_TIME).map_or(f64::NAN, |raw| raw.per_second);
    let measured = match load {
        Load::Blocking => blocking(&*peer, time).await.transpose()?,
        Load::Enqueue(callers) => enqueues(&*peer, callers, time).await,
        Load::Jobs(callers) => jobs(&*peer, callers, time).await,
    };
    let closed = peer.close().await;
    let outcome = match measured.and_then(|measured| closed.map(|()| measured)) {
        Ok(measured) => Outcome::Measured(measured),
        Err(error) => Outcome::Skipped(format!("{error:#}")),
    };
    let result = Result {
        peer: about.name,
        settings: about.settings,
        synced: about.synced,
        load,
        raw_syncs: raw,
        outcome,
    };
    eprintln!("{}", result.line());
    Some(result)
}

/// Of several rounds, the one in the middle of each peer and load.
#[must_use]
pub fn in_the_middle(rounds: Vec<Result>) -> Vec<Result> {
    let mut kinds: Vec<Vec<Result>> = Vec::new();
    for result in rounds {
        let same = |kind: &&mut Vec<Result>| {
            kind.iter()
                .any(|first| first.peer == result.peer && first.load == result.load)
        };
        match kinds.iter_mut().find(same) {
            Some(kind) => kind.push(result),
            None => kinds.push(vec![result]),
        }
    }
    let rate = |result: &Result| match &result.outcome {
        Outcome::Measured(measured) => measured.rate,
        Outcome::Skipped(_) => 0.0,
    };
    kinds
        .into_iter()
        .filter_map(|kind| middle(kind, rate))
        .collect()
}

/// The runtime of every race: two threads.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
}

impl Result {
    /// A peer that could not be started.
    #[must_use]
    pub fn skipped(peer: &str, reason: &str) -> Vec<Self> {
        let of = |load| Self {
            peer: peer.to_owned(),
            settings: String::new(),
            synced: true,
            load,
            raw_syncs: 0.0,
            outcome: Outcome::Skipped(reason.to_owned()),
        };
        eprintln!("{peer}: skipped: {reason}");
        Load::ALL.map(of).to_vec()
    }

    /// Whether it answered more often than its syncs allow, though it says that it syncs.
    #[must_use]
    pub fn is_dishonest(&self) -> bool {
        let Outcome::Measured(measured) = &self.outcome else {
            return false;
        };
        self.synced
            && measured
                .answers_per_sync_and_caller
                .is_some_and(|ratio| ratio > HONEST)
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
    let (recorder, kernel) = (Recorder::new()?, KernelCount::start(&peer.processes()));
    let began = Instant::now();
    let count = enqueue_until(producers, began + time, &recorder).await?;
    let elapsed = began.elapsed();
    measured(count, callers, elapsed, &recorder, kernel)
}

/// Enqueues from a thread outside of the runtime; none if the peer has no client that blocks.
async fn blocking(peer: &dyn Peer, time: Duration) -> anyhow::Result<Option<Measured>> {
    let Some(blocker) = peer.blocker() else {
        return Ok(None);
    };
    let blocker = blocker.context("a caller")?;
    let (recorder, kernel) = (Recorder::new()?, KernelCount::start(&peer.processes()));
    let (sender, ended) = tokio::sync::oneshot::channel();
    let began = Instant::now();
    let of_thread = recorder.clone();
    std::thread::spawn(move || {
        drop(sender.send(block_until(blocker, began + time, &of_thread)));
    });
    let count = ended.await.context("a caller panicked")??;
    measured(count, 1, began.elapsed(), &recorder, kernel).map(Some)
}

fn block_until(mut blocker: Blocker, end: Instant, recorder: &Recorder) -> anyhow::Result<u64> {
    let (mut count, mut began) = (0_u64, Instant::now());
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
    let (recorder, kernel) = (Recorder::new()?, KernelCount::start(&peer.processes()));
    let mut workers = peer.workers(callers, Arc::clone(&done)).await?;
    let began = Instant::now();
    let enqueued = enqueue_until(producers, began + time, &recorder).await?;
    while done.load(Relaxed) < enqueued {
        if began.elapsed() > time + DRAIN {
            bail!("{} of {enqueued} jobs were done", done.load(Relaxed));
        }
        workers.check().await?;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let elapsed = began.elapsed();
    workers.stop().await?;
    measured(enqueued, callers, elapsed, &recorder, kernel)
}

async fn enqueue_until(
    producers: Vec<Box<dyn Producer>>,
    end: Instant,
    recorder: &Recorder,
) -> anyhow::Result<u64> {
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
