//! The process that piles messages up: how many, what each costs, and what a job costs beside them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;
use mq::environment::SystemClock;
use mq::{Cursor, Engine, Fail, Filter, HandlerOptions, Limit, NewMessage, secs};
use mq_core::command::Selector;
use mq_core::message::Due;
use mq_core::time::Clock;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::instruments::{Reading, forget_peak_memory, peak_memory, resident_memory};
use crate::load::runtime;
use crate::process::{say, wait_to_be_killed};
use crate::store::{BATCH_LEN, Flavour, NAME, message, message_of};

/// Payloads kept in memory, in bytes: next to nothing, so that it is the messages that are weighed.
const CACHE_SIZE: u64 = 1 << 20;
/// A kind that nobody handles.
const KEPT: &str = "bench.kept";
const ORDERING_KEYS: usize = 100_000;
const QUEUES: usize = 1_000;
const PERMITS: usize = 10_000;
/// Handlers at once, and tasks that enqueue, unless it is said otherwise.
const USUAL: usize = 64;
/// Messages before memory is looked at for the first time.
const FIRST: usize = 100;
/// How often it is said how far it is.
const TOLD_EVERY: usize = 1_000_000;
/// Pages that are read.
const PAGES: u32 = 100;

/// What is piled up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Plain messages that nobody takes.
    Waiting,
    /// Due in an hour and later, each at a moment of its own.
    Delayed,
    /// Each with a dedup key of its own.
    Keyed,
    /// With one of [`ORDERING_KEYS`].
    Ordered,
    /// In one of [`QUEUES`].
    Queues,
    /// Plain, for [`PERMITS`] handlers at once.
    Permits,
}

impl Shape {
    const ALL: [Self; 6] = [
        Self::Waiting,
        Self::Delayed,
        Self::Keyed,
        Self::Ordered,
        Self::Queues,
        Self::Permits,
    ];

    /// The word on the command line.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delayed => "delayed",
            Self::Keyed => "keyed",
            Self::Ordered => "ordered",
            Self::Queues => "queues",
            Self::Permits => "permits",
        }
    }

    /// In words.
    pub(super) const fn about(self) -> &'static str {
        match self {
            Self::Waiting => "plain messages",
            Self::Delayed => "delayed messages",
            Self::Keyed => "messages with a dedup key each",
            Self::Ordered => "messages of 100 000 ordering keys",
            Self::Queues => "messages in 1 000 queues",
            Self::Permits => "plain messages, 10 000 handlers at once",
        }
    }

    /// Whether the jobs are taken from the pile; otherwise they are enqueued beside it.
    const fn is_worked_off(self) -> bool {
        match self {
            Self::Ordered | Self::Queues | Self::Permits => true,
            Self::Waiting | Self::Delayed | Self::Keyed => false,
        }
    }

    const fn handlers(self) -> usize {
        match self {
            Self::Permits => PERMITS,
            Self::Waiting | Self::Delayed | Self::Keyed | Self::Ordered | Self::Queues => USUAL,
        }
    }

    fn message(self, number: usize, size: usize) -> anyhow::Result<NewMessage> {
        let mut new = match self {
            Self::Keyed => Flavour::Keyed.message(size, number)?,
            Self::Ordered => Flavour::Ordered.message(size, number % ORDERING_KEYS)?,
            Self::Waiting | Self::Delayed | Self::Queues | Self::Permits => message(size)?,
        };
        match self {
            Self::Waiting | Self::Keyed => new.kind = KEPT.parse()?,
            Self::Delayed => {
                new.due = Due::After(secs(3600) + Duration::from_millis(number as u64));
            }
            Self::Queues => new.queue = format!("{NAME}.{:04}", number % QUEUES).parse()?,
            Self::Ordered | Self::Permits => {}
        }
        Ok(new)
    }
}

/// What a pile of a size costs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Step {
    /// How many wait.
    pub(super) waiting: u64,
    /// Processor time of one durable enqueue in batches, in microseconds, since the step before.
    pub(super) enqueue_us: f64,
    /// So many were enqueued in a second.
    pub(super) enqueues_per_second: f64,
    /// Bytes of memory that each message takes.
    pub(super) memory_each: f64,
    /// Processor time of one job, from enqueue to ack, or from the pile to ack.
    pub(super) job_us: f64,
    /// How long it takes to list a hundred messages from somewhere in the pile.
    pub(super) page_us: f64,
}

/// What the whole pile costs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Pile {
    /// Messages that are left in the store.
    pub(super) left: u64,
    /// Bytes of memory that each costs at most, growth and a snapshot included.
    pub(super) memory_each_at_most: f64,
    /// How long a snapshot takes.
    pub(super) snapshot_seconds: f64,
}

/// Runs as a child: piles up to each of the steps in turn; `numbers` are the payload size, the jobs and the steps.
///
/// # Errors
/// The arguments are not those of a child, or what the engine says.
pub fn run(store: &Path, shape: &str, numbers: &[&str]) -> anyhow::Result<()> {
    let shape = Shape::ALL.into_iter().find(|it| it.as_str() == shape);
    let shape = shape.context("no such shape")?;
    let numbers: Result<Vec<usize>, _> = numbers.iter().map(|number| number.parse()).collect();
    let numbers = numbers?;
    let ([size, jobs, steps @ ..], Some(most)) = (numbers.as_slice(), numbers.last()) else {
        anyhow::bail!("a payload size, a number of jobs and sizes of the pile are wanted");
    };
    let pile = Piling {
        engine: open(store)?,
        clock: SystemClock::start(),
        shape,
        size: *size,
    };
    pile.fill(0, FIRST.min(*most))?;
    let before = resident_memory()?;
    #[expect(clippy::cast_precision_loss, reason = "bytes per message")]
    let each = |bytes: u64, count: usize| bytes.saturating_sub(before) as f64 / count as f64;
    forget_peak_memory()?;
    let mut waiting = FIRST.min(*most);
    let mut weighed = (Duration::ZERO, 0);
    for step in steps {
        let to = (*step).max(waiting);
        let (enqueue_us, enqueues_per_second) = pile.grow(waiting, to)?;
        let memory_each = each(resident_memory()?, to);
        if step == most {
            // Before any jobs: handlers, and what is cached for them, are no part of the pile.
            weighed = (pile.snapshot()?, peak_memory()?);
        }
        say(&Step {
            waiting: to as u64,
            enqueue_us,
            enqueues_per_second,
            memory_each,
            job_us: pile.jobs(*jobs)?,
            page_us: pile.page(to)?,
        })?;
        waiting = to;
    }
    say(&Pile {
        left: pile.engine.stats().live_messages,
        memory_each_at_most: each(weighed.1, waiting),
        snapshot_seconds: weighed.0.as_secs_f64(),
    })?;
    wait_to_be_killed()
}

fn open(store: &Path) -> anyhow::Result<Engine> {
    Ok(Engine::builder(store)
        .capacity(Limit::messages(64 << 20).bytes(1 << 40))
        .keys(64 << 20)
        .payload_cache(CACHE_SIZE)
        .open_wait()?)
}

struct Piling {
    engine: Engine,
    clock: SystemClock,
    shape: Shape,
    size: usize,
}

impl Piling {
    /// From `from` messages to `to`: microseconds for each, and how many in a second.
    fn grow(&self, from: usize, to: usize) -> anyhow::Result<(f64, f64)> {
        let (reading, began) = (Reading::now()?, self.clock.monotonic());
        self.fill(from, to)?;
        let count = to.saturating_sub(from).max(1);
        let took = self.clock.monotonic().saturating_sub(began);
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let rate = count as f64 / took.as_secs_f64();
        Ok((each(reading.used()?.cpu, count), rate))
    }

    /// How long a snapshot takes.
    fn snapshot(&self) -> anyhow::Result<Duration> {
        let began = self.clock.monotonic();
        self.engine.admin().snapshot().wait()?;
        Ok(self.clock.monotonic().saturating_sub(began))
    }

    /// Does so many jobs: microseconds for each.
    fn jobs(&self, jobs: usize) -> anyhow::Result<f64> {
        let reading = Reading::now()?;
        let done = if self.shape.is_worked_off() {
            self.work_off(jobs)?
        } else {
            self.enqueue_and_work(jobs)?
        };
        Ok(each(reading.used()?.cpu, done))
    }

    /// Enqueues in batches from this thread.
    fn fill(&self, from: usize, to: usize) -> anyhow::Result<()> {
        let began = self.clock.monotonic();
        let mut number = from;
        while number < to {
            let end = (number + BATCH_LEN).min(to);
            let mut batch = self.engine.batch();
            for number in number..end {
                batch = batch.push_raw(self.shape.message(number, self.size)?);
            }
            batch.wait()?;
            if end / TOLD_EVERY > number / TOLD_EVERY {
                let seconds = self.clock.monotonic().saturating_sub(began).as_secs();
                eprintln!("scale:   {} million after {seconds} s", end / TOLD_EVERY);
            }
            number = end;
        }
        Ok(())
    }

    /// Takes messages from the pile; answers how many.
    fn work_off(&self, jobs: usize) -> anyhow::Result<usize> {
        self.work(jobs, async { Ok(()) })
    }

    /// Handles messages until there were `jobs`, beside `load`; answers how many.
    fn work(
        &self,
        jobs: usize,
        load: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<usize> {
        let (handled, enough) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let (counter, told) = (Arc::clone(&handled), Arc::clone(&enough));
        runtime()?.block_on(async {
            let workers = self.handlers(move || {
                if counter.fetch_add(1, Relaxed) + 1 == jobs {
                    told.notify_one();
                }
            })?;
            load.await?;
            enough.notified().await;
            workers.stop(secs(30)).await;
            anyhow::Ok(())
        })?;
        self.engine.sync().wait()?;
        Ok(handled.load(Relaxed))
    }

    /// Enqueues messages beside the pile, which are handled at once; answers how many.
    fn enqueue_and_work(&self, jobs: usize) -> anyhow::Result<usize> {
        self.work(jobs / USUAL * USUAL, async {
            let callers: Vec<_> = (0..USUAL)
                .map(|_| {
                    let (engine, size) = (self.engine.clone(), self.size);
                    tokio::spawn(async move {
                        let message = message_of(NAME, size)?;
                        for _ in 0..jobs / USUAL {
                            engine.enqueue_raw(message.clone()).await?;
                        }
                        anyhow::Ok(())
                    })
                })
                .collect();
            for caller in callers {
                caller.await.context("a caller panicked")??;
            }
            Ok(())
        })
    }

    fn handlers(&self, note: impl Fn() + Send + Sync + 'static) -> anyhow::Result<mq::Workers> {
        let selector = Selector {
            queue: None,
            kind: Some(NAME.parse()?),
        };
        let options = HandlerOptions::default().parallelism(1..=self.shape.handlers());
        let workers = self.engine.workers();
        let workers = workers.handle_raw(selector, options, move |_, _| {
            note();
            async { Ok::<(), Fail>(()) }
        });
        Ok(workers.start()?)
    }

    /// How long it takes to list a hundred messages from the middle of the pile, in microseconds.
    fn page(&self, waiting: usize) -> anyhow::Result<f64> {
        let messages = self.engine.messages(Filter::new());
        let middle: Cursor = (waiting / 2).to_string().parse()?;
        let began = self.clock.monotonic();
        for _ in 0..PAGES {
            messages.page(middle, 100).wait()?;
        }
        let took = self.clock.monotonic().saturating_sub(began);
        Ok(took.as_secs_f64() * 1e6 / f64::from(PAGES))
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds per message")]
fn each(cpu: Duration, count: usize) -> f64 {
    cpu.as_secs_f64() * 1e6 / count as f64
}
