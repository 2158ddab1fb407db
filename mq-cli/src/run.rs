//! `mq run`: enqueues lines and works on them in one process, until all is done: a durable xargs.
//!
//! Lines go in while commands run. What was taken and not done when the process is killed is done by the next run on
//! the same queue; that the next run does not take a line again is what its key is for.

use std::ffi::OsString;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};

use crate::args::Data;
use crate::enqueue::pipeline::{self, Intake};
use crate::enqueue::sender::{Sender, Sent};
use crate::enqueue::{Source, What};
use crate::exit::Result;
use crate::output::Output;
use crate::signal::Signals;
use crate::store::{Missing, Store};
use crate::values::KeySource;
use crate::work::left::Scope;
use crate::work::pool;
use crate::work::{How, Ledger, Plan, nothing_left, runtime};

const EXAMPLES: &str = "\
Examples:
  Resize every picture; killed half-way, the same line goes on where it was:
    find . -name '*.png' | mq run --data ./data --queue images --raw --once -- sh -c 'read f; convert \"$f\" -resize 50% \"small-$f\"'
  Charge every order once, four at a time, three attempts each:
    mq run --data ./data --queue orders --idempotency-key /order_id --parallelism 4 --max-attempts 3 orders.jsonl -- ./charge

The command is called as by mq work (see mq work --help): the line on its standard input, its exit code decides.
What earlier runs left in the queue is done too. The run ends when the input is at its end and nothing is ready, running
or waiting for another attempt.
Exit codes: 0 all is done; 1 a message went dead, a line was refused, or the run was interrupted.";

/// Arguments of `mq run`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    what: What,
    /// Take each distinct line only once in 24 hours: its content is its idempotency key
    #[arg(long, conflicts_with = "idempotency_key")]
    once: bool,
    #[command(flatten)]
    how: How,
    /// The command and its arguments
    #[arg(value_name = "CMD", last = true, required = true)]
    command: Vec<OsString>,
}

/// Runs `mq run`.
///
/// # Errors
/// When the command is not there, the store cannot be opened or stops, a line is refused, a message went dead, or the
/// run was interrupted.
pub(crate) fn run(mut arguments: Arguments) -> Result {
    if arguments.once {
        arguments.what.idempotency_key = Some(KeySource::Line);
    }
    let scope = Scope {
        queue: arguments.what.queue.clone(),
        kind: None,
    };
    let plan = arguments.how.plan(scope, &arguments.command)?;
    let source = Source::open(arguments.what)?;
    let wait = arguments.data.wait.unwrap_or_default();
    let store = Store::open(&arguments.data.data, Missing::Create, wait)?;
    let ledger = Ledger::begin(&arguments.data.data, &store, &plan.scope);
    let runtime = runtime()?;
    let ran = runtime.block_on(feed_and_work(&store, &plan, source));
    // What reads the input may stand in a read that never ends.
    runtime.shutdown_background();
    let outcome = ledger.end(&store, &plan.scope);
    let closed = store.close();
    ran?;
    closed?;
    outcome
}

async fn feed_and_work(store: &Store, plan: &Plan, source: Source) -> Result {
    let mut signals = Signals::listen()?;
    let workers = pool::start(store, plan)?;
    let (intake, fed) = feed(store, source);
    let all_done = async {
        let lines = fed.await.context("the input's thread ended")?;
        nothing_left(store, &plan.scope, true).await?;
        lines.map(drop)
    };
    let ended = tokio::select! {
        () = signals.next() => {
            Err(anyhow!("interrupted; what was taken is stored, and the same command goes on with it").into())
        }
        ended = all_done => ended,
    };
    // Closing waits for a line that is just going in, and workers may be what it waits for.
    let closing = tokio::task::spawn_blocking(move || intake.close());
    workers.stop(signals.next()).await;
    drop(closing);
    ended
}

type Fed = tokio::task::JoinHandle<Result<u64>>;

/// Takes lines; resolves when the input is at its end, or at the first line that is refused, with how many were taken.
///
/// A full store holds the input up, for as long as it takes the commands to make room.
fn feed(store: &Store, source: Source) -> (Arc<Intake<Sent>>, Fed) {
    let sender = Sender::own(store, Duration::MAX);
    let (intake, answers) = pipeline::start();
    source.feed(Arc::clone(&intake), sender);
    let reported = Arc::clone(&intake);
    let fed = tokio::task::spawn_blocking(move || {
        pipeline::report(
            &answers,
            &reported,
            &mut Output::new(io::sink()),
            &mut io::stderr(),
        )
    });
    (intake, fed)
}
