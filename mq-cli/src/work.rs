//! `mq work`: a command for each message.
//!
//! The command's end decides (see [`verdict`]). The first signal lets running commands finish within their grace, the
//! second ends them at once at no cost to their messages. With `--until-empty` the run ends by itself when nothing is
//! [left](left) to wait for.

mod child;
pub(crate) mod left;
pub(crate) mod pool;
mod retry;
mod search;
mod verdict;

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use mq_core::backend::Backend;
use mq_core::limits::{FAILURES_DEFAULT, FAILURES_MAX, PARALLELISM_MAX, TIMEOUT_DEFAULT};
use mq_core::name::{KindName, QueueName};
use mq_core::retry::{Backoff, RetryPolicy};
use tokio::time::{self, MissedTickBehavior};

use crate::args::Data;
use crate::escape::Escaped;
use crate::exit::{Failure, Result};
use crate::hint;
use crate::output;
use crate::signal::Signals;
use crate::store::{Missing, Store};
use crate::values;
use child::Program;
use left::Scope;

/// How often it is looked whether the store still serves; and at most, whether nothing of one kind is left.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long nothing may happen before it is looked all the same whether anything of one kind is left.
const LOOK_AT_LAST: Duration = Duration::from_secs(5);

const EXAMPLES: &str = "\
Examples:
  Send mails, eight at a time, each within a minute:
    mq work --data ./data --queue mail --parallelism 8 --timeout 1m -- ./send-mail
  Resize every image once and end:
    mq work --data ./data --queue images --until-empty -- sh -c 'read f; convert \"$f\" -resize 50% \"small-$f\"'
  Try three times, ten seconds apart:
    mq work --data ./data --queue q --max-attempts 3 --backoff fixed:10s -- ./job

The command gets the payload on standard input, and in its environment
  MQ_MESSAGE_ID, MQ_ATTEMPT, MQ_QUEUE, MQ_KIND, MQ_LEASE (unique to this run of this message).
What its exit code means:
  0    done
  75   come back later (see --snooze); costs no attempt
  100  never: the message becomes a dead letter
  else, or killed by a signal, or over its time limit (its process group is killed):
       a failed attempt; the end of its standard error is kept as the reason
--until-empty exits with 1 if a message went dead in this run.";

/// Arguments of `mq work`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    data: Data,
    /// The queue
    #[arg(long, value_name = "Q")]
    queue: QueueName,
    /// Only messages of this kind
    #[arg(long, value_name = "K")]
    kind: Option<KindName>,
    #[command(flatten)]
    how: How,
    /// End when nothing is ready, running or waiting for another attempt
    #[arg(long)]
    until_empty: bool,
    /// The command and its arguments
    #[arg(value_name = "CMD", last = true, required = true)]
    command: Vec<OsString>,
}

/// How commands are run.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct How {
    /// Run at most so many commands at once; by default one per core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(PARALLELISM_MAX)))]
    parallelism: Option<u32>,
    /// Time limit of one attempt; by default 5m
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    timeout: Option<Duration>,
    /// Failed attempts before a message becomes a dead letter
    #[arg(long, value_name = "N", default_value_t = FAILURES_DEFAULT, value_parser = clap::value_parser!(u32).range(1..=i64::from(FAILURES_MAX)))]
    max_attempts: u32,
    /// Time between attempts: none, fixed:5s, linear:1s..5m or exponential:1s..5m (the default)
    #[arg(long, value_name = "BACKOFF", value_parser = retry::backoff)]
    backoff: Option<Backoff>,
    /// How long after exit code 75 a message comes back
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = values::duration)]
    snooze: Duration,
}

/// What a pool of commands does.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) scope: Scope,
    program: Program,
    parallelism: usize,
    retry: RetryPolicy,
    snooze: Duration,
}

impl How {
    /// The plan to run `command` for the messages of `scope`.
    ///
    /// # Errors
    /// When the command cannot be run.
    pub(crate) fn plan(&self, scope: Scope, command: &[OsString]) -> Result<Plan> {
        let mut words = command.iter().cloned();
        let name = words.next().unwrap_or_default();
        if !search::can_be_run(&name) {
            let name = name.to_string_lossy();
            return Err(Failure::usage(format_args!(
                "{} is not a program that can be run",
                Escaped(&name)
            )));
        }
        let program = Program {
            name,
            arguments: words.collect(),
            timeout: self.timeout.unwrap_or(TIMEOUT_DEFAULT),
        };
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let parallelism = self
            .parallelism
            .and_then(|given| usize::try_from(given).ok());
        let backoff = self.backoff.unwrap_or(RetryPolicy::default().backoff);
        Ok(Plan {
            scope,
            program,
            parallelism: parallelism.unwrap_or(cores),
            retry: RetryPolicy {
                failures_max: self.max_attempts,
                backoff,
            },
            snooze: self.snooze,
        })
    }
}

/// Runs `mq work`.
///
/// # Errors
/// When the command or the store is not there, the store stops, or with `--until-empty` a message went dead.
pub(crate) fn run(arguments: &Arguments) -> Result {
    let scope = Scope {
        queue: arguments.queue.clone(),
        kind: arguments.kind.clone(),
    };
    let plan = arguments.how.plan(scope, &arguments.command)?;
    let wait = arguments.data.wait.unwrap_or_default();
    let store = Store::open(&arguments.data.data, Missing::Refuse, wait)?;
    let ledger = Ledger::begin(&arguments.data.data, &store, &plan.scope);
    let runtime = runtime()?;
    let worked = runtime.block_on(work(&store, &plan, arguments.until_empty));
    drop(runtime);
    let outcome = ledger.end(&store, &plan.scope);
    let closed = store.close();
    worked?;
    closed?;
    match outcome {
        Err(_) if !arguments.until_empty => Ok(()),
        outcome => outcome,
    }
}

/// The threads that look after commands.
///
/// # Errors
/// When the system has no more threads.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    Ok(runtime)
}

/// What a run left behind.
#[derive(Debug)]
pub(crate) struct Ledger {
    data: PathBuf,
    dead_before: u64,
}

impl Ledger {
    /// Before the run.
    pub(crate) fn begin(data: &Path, store: &Store, scope: &Scope) -> Ledger {
        Ledger {
            data: data.to_owned(),
            dead_before: scope.dead(store.backend().as_ref()),
        }
    }

    /// Behind the run: says what stays.
    ///
    /// # Errors
    /// When messages went dead meanwhile.
    pub(crate) fn end(self, store: &Store, scope: &Scope) -> Result {
        let backend = store.backend();
        if let Some(stays) = scope.what_stays(backend.as_ref()) {
            output::remark(format_args!("queue {} still holds {stays}", scope.queue));
        }
        match scope
            .dead(backend.as_ref())
            .saturating_sub(self.dead_before)
        {
            0 => Ok(()),
            dead => {
                let queue = ["--queue", scope.queue.as_str()];
                let list = hint::command(&self.data, "dlq ls", &queue, &[]);
                Err(anyhow::anyhow!("{dead} messages went dead in this run; see: {list}").into())
            }
        }
    }
}

/// Runs commands until a signal comes, nothing is left, or the store stops.
async fn work(store: &Store, plan: &Plan, until_empty: bool) -> Result {
    let mut signals = Signals::listen()?;
    let workers = pool::start(store, plan)?;
    let ended = tokio::select! {
        () = signals.next() => Ok(()),
        ended = nothing_left(store, &plan.scope, until_empty) => ended,
    };
    workers.stop(signals.next()).await;
    ended
}

/// Resolves when nothing is left to wait for, if that is asked for, or when the store stops.
pub(crate) async fn nothing_left(store: &Store, scope: &Scope, until_empty: bool) -> Result {
    if until_empty && scope.kind.is_none() {
        return Ok(store
            .engine()
            .run_queue_until_empty(Some(&scope.queue))
            .await?);
    }
    let mut look = time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The engine counts by queue; one kind of it is looked for whenever something has happened.
    let mut events = until_empty.then(|| store.engine().events());
    loop {
        look.tick().await;
        store.must_serve()?;
        let Some(events) = &mut events else {
            continue;
        };
        while events.try_next().is_some() {}
        if is_empty(store.backend(), scope.clone()).await? {
            return Ok(());
        }
        // The end of the stream is the end of the store, which the next round tells.
        time::timeout(LOOK_AT_LAST, events.next()).await.ok();
    }
}

/// Reading waits for the store, and must not hold up the commands meanwhile.
async fn is_empty(backend: Arc<dyn Backend>, scope: Scope) -> Result<bool> {
    let looked = tokio::task::spawn_blocking(move || scope.is_empty(backend.as_ref()));
    looked.await.map_err(anyhow::Error::from)?
}
