//! The child process: the whole engine under mixed load, saying on standard output what it is about to do and what was
//! answered. It is told what to do on standard input, and ends when that does.

mod audit;
mod handlers;
mod operator;
mod producer;

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;
use mq::environment::Environment;
use mq::{Engine, Event, Filter, What};
use mq_core::time::Clock;
use tokio::sync::mpsc;

use crate::clock::ShiftedClock;
use crate::line::{Fate, Said};
use crate::plan::{Name, Plan};

/// Events that the listener has room for.
const EVENTS: usize = 65_536;
/// Idempotency keys are remembered so long.
pub(crate) const WINDOW: Duration = Duration::from_secs(120);
/// With what a process ends whose engine has stopped.
pub(crate) const GAVE_UP: i32 = 4;
/// How long handlers may take to end.
const GRACE: Duration = Duration::from_secs(20);
/// The wall clock at the end: whatever was delayed, but by a year, is due.
const FAR: i64 = 10 * 24 * 3_600_000;

/// The child's part of the command line.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The store's folder.
    #[arg(long)]
    pub(crate) store: PathBuf,
    /// The first number that was not given to a message yet.
    #[arg(long)]
    pub(crate) first: u64,
    /// Messages enqueued a second; 0 for none.
    #[arg(long)]
    pub(crate) rate: u64,
    /// Messages in the paused queue.
    #[arg(long)]
    pub(crate) cold: u64,
    /// How far the wall clock is off, in milliseconds.
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) offset: i64,
    /// The largest segment, in bytes.
    #[arg(long)]
    pub(crate) segment: u32,
    /// For what the operator does.
    #[arg(long)]
    pub(crate) seed: u64,
    /// The machine is made to fail: end when the engine has stopped.
    #[arg(long)]
    pub(crate) frail: bool,
}

/// What the parent says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// The wall clock is off by so many milliseconds from now on.
    Clock(i64),
    /// This message may not have arrived: send it again.
    Again(Name),
    /// List everything.
    Audit(u64),
    /// Stop producing and work everything off.
    Drain,
    /// Close the store and end.
    Close,
}

impl Told {
    /// With its line end.
    pub(crate) fn line(&self) -> String {
        match self {
            Self::Clock(offset) => format!("clock {offset}\n"),
            Self::Again(name) => format!("again {}\n", name.0),
            Self::Audit(number) => format!("audit {number}\n"),
            Self::Drain => "drain\n".to_owned(),
            Self::Close => "close\n".to_owned(),
        }
    }

    fn parse(line: &str) -> anyhow::Result<Self> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        Ok(match word {
            "clock" => Self::Clock(rest.parse()?),
            "again" => Self::Again(Name(rest.parse()?)),
            "audit" => Self::Audit(rest.parse()?),
            "drain" => Self::Drain,
            "close" => Self::Close,
            other => anyhow::bail!("the parent said {other:?}"),
        })
    }
}

/// Standard output. Whoever cannot speak any more ends: the parent is gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mouth;

impl Mouth {
    pub(crate) fn say(self, said: &Said) {
        let line = said.line();
        let mut out = std::io::stdout().lock();
        if out.write_all(line.as_bytes()).is_err() || out.flush().is_err() {
            std::process::exit(3);
        }
    }

    pub(crate) fn trouble(self, text: impl std::fmt::Display) {
        self.say(&Said::Trouble(text.to_string()));
    }

    /// The engine has stopped: a process that has nothing else to do ends.
    pub(crate) fn give_up(self, text: impl std::fmt::Display) -> ! {
        self.say(&Said::GaveUp(text.to_string()));
        std::process::exit(GAVE_UP)
    }
}

/// What all parts of the child share.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) engine: Engine,
    pub(crate) clock: Arc<ShiftedClock>,
    pub(crate) mouth: Mouth,
    pub(crate) plan: Plan,
    /// Producers stop.
    pub(crate) draining: AtomicBool,
    /// Operators stop, too.
    pub(crate) ending: AtomicBool,
}

/// Runs until it is told to end, or killed.
///
/// # Errors
/// What the engine refused.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    let ran = runtime.block_on(live(arguments));
    if let Err(error) = &ran {
        Mouth.trouble(format!("{error:#}"));
    }
    ran
}

async fn live(arguments: &Arguments) -> anyhow::Result<()> {
    let clock = Arc::new(ShiftedClock::new(arguments.offset));
    let engine = open(arguments, &clock).await?;
    let child = Arc::new(Child {
        engine,
        clock,
        mouth: Mouth,
        plan: Plan {
            cold: arguments.cold,
        },
        draining: AtomicBool::new(false),
        ending: AtomicBool::new(false),
    });
    listen_to_events(&child);
    audit::list_all(&child, 0).await?;
    operator::set_up(&child).await?;
    let workers = handlers::start(&child)?;
    let mut orders = listen_to_parent();
    let producer = tokio::spawn(producer::produce(
        Arc::clone(&child),
        arguments.first,
        arguments.rate,
    ));
    let operator = tokio::spawn(operator::operate(Arc::clone(&child), arguments.seed));
    while let Some(told) = orders.recv().await {
        match told {
            Told::Clock(offset) => child.clock.set_offset(offset),
            Told::Again(name) => producer::send_again(&child, name),
            Told::Audit(number) => audit::list_all(&child, number).await?,
            Told::Drain => drain(&child).await?,
            Told::Close => break,
        }
    }
    child.draining.store(true, Relaxed);
    child.ending.store(true, Relaxed);
    producer.await.context("the producer")?;
    operator.await.context("the operator")?;
    workers.stop(GRACE).await;
    let mouth = child.mouth;
    child.engine.clone().close().await.context("cannot close")?;
    mouth.say(&Said::Closed);
    Ok(())
}

async fn open(arguments: &Arguments, clock: &Arc<ShiftedClock>) -> anyhow::Result<Engine> {
    let environment = Environment {
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        ..Environment::real()
    };
    let full_wait = Duration::from_secs(if arguments.frail { 1 } else { 10 });
    let began = clock.monotonic();
    let engine = Engine::builder(&arguments.store)
        .environment(environment)
        .segment_size_max(arguments.segment)
        .snapshot_after(u64::from(arguments.segment) * 2)
        .payload_cache(4 << 20)
        .idempotency_window(WINDOW)
        .full_wait(full_wait)
        .wait_for_owner(Duration::from_secs(10))
        .open()
        .await
        .context("cannot open the store")?;
    let took = clock.monotonic().saturating_sub(began);
    Mouth.say(&Said::Opened {
        micros: micros(took),
    });
    Ok(engine)
}

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Standard input, a line at a time; nothing more when it ends.
fn listen_to_parent() -> mpsc::UnboundedReceiver<Told> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let told = line
                .map_err(anyhow::Error::from)
                .and_then(|line| Told::parse(&line));
            match told {
                Ok(told) => {
                    if sender.send(told).is_err() {
                        return;
                    }
                }
                Err(error) => return Mouth.trouble(format!("{error:#}")),
            }
        }
    });
    receiver
}

/// Says what became of messages, when it is durable.
fn listen_to_events(child: &Child) {
    let capacity = std::num::NonZeroUsize::new(EVENTS).unwrap_or(std::num::NonZeroUsize::MIN);
    let mut events = child.engine.events_up_to(capacity);
    let mouth = child.mouth;
    std::thread::spawn(move || {
        while let Some(event) = events.wait() {
            match event {
                Event::Message(event) => {
                    if let Some(fate) = fate(&event.what) {
                        let seq = event.id.seq().get();
                        mouth.say(&Said::Told { seq, fate });
                    }
                }
                Event::Gap { missed } => mouth.say(&Said::Gap(missed)),
                _ => {}
            }
        }
    });
}

const fn fate(what: &What) -> Option<Fate> {
    match what {
        What::Succeeded | What::Discarded | What::Cancelled | What::Superseded => Some(Fate::Done),
        What::Dead { .. } => Some(Fate::Dead),
        What::Replayed => Some(Fate::Replayed),
        _ => None,
    }
}

/// Stops producing, makes everything due that was not delayed by a year, and works until there is nothing left to do.
async fn drain(child: &Child) -> anyhow::Result<()> {
    child.draining.store(true, Relaxed);
    child.clock.set_offset(child.clock.offset().max(0) + FAR);
    operator::open_everything(child).await?;
    loop {
        child.engine.run_until_empty().await?;
        let replayed = operator::replay_dead(child).await?;
        let waiting = Filter::new().state(mq::StateKind::Scheduled);
        let waiting = child.engine.messages(waiting).count().await?.matched;
        if replayed == 0 && waiting <= crate::plan::GROUP {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    child.mouth.say(&Said::Drained);
    Ok(())
}
