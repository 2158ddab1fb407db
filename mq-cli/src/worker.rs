//! `mq worker`: the workers of the process that owns the store, looked at and steered from outside.
//!
//! Nothing of it outlives that process: how many run at once, and whether a kind is taken at all, comes from the
//! program at each start.

use std::time::Duration;

use anyhow::anyhow;
use mq::control::{Answer, Call, OneKind, PoolJson, RunningJson, ScaleCall};
use mq_core::limits::PARALLELISM_MAX;

use crate::args::Data;
use crate::clock;
use crate::escape::Escaped;
use crate::exit::{Exit, Failure, Result};
use crate::output::{self, Output};
use crate::target::Target;

const LIST_EXAMPLES: &str = "\
Examples:
  mq worker ls --data ./data
  mq worker ls --data ./data --running --json | jq -r 'select(.seconds > 60) | .id'";

const SCALE_EXAMPLES: &str = "\
Examples:
  mq worker scale --data ./data image.resize 8

Within the range that the handler allows. What runs is not stopped: fewer are in force when enough have ended.";

/// Verbs of `mq worker`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// List the worker pools of the process that owns the store, or what runs in them
    #[command(after_help = LIST_EXAMPLES)]
    Ls(List),
    /// Handle more or fewer messages of a kind at once
    #[command(after_help = SCALE_EXAMPLES)]
    Scale(Scale),
    /// Start no more messages of a kind until it is resumed, or the process starts again
    #[command(after_help = "Examples:\n  mq worker pause --data ./data email.welcome")]
    Pause(One),
    /// Start messages of a kind again
    #[command(after_help = "Examples:\n  mq worker resume --data ./data email.welcome")]
    Resume(One),
}

/// Arguments of `mq worker ls`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[command(flatten)]
    data: Data,
    /// List the messages that are being worked on instead
    #[arg(long)]
    running: bool,
    /// Print a JSON object per pool, or per running message
    #[arg(long)]
    json: bool,
}

/// Arguments of `mq worker scale`.
#[derive(Debug, clap::Args)]
pub(crate) struct Scale {
    #[command(flatten)]
    one: One,
    /// So many at once
    #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(0..=i64::from(PARALLELISM_MAX)))]
    workers: u32,
}

/// One kind.
#[derive(Debug, clap::Args)]
pub(crate) struct One {
    #[command(flatten)]
    data: Data,
    /// The kind, as mq worker ls shows it
    #[arg(value_name = "KIND")]
    kind: String,
}

/// Runs a verb of `mq worker`.
///
/// # Errors
/// With [`Exit::NotFound`] if no process works on the store, or none on the kind.
pub(crate) fn run(verb: &Verb) -> Result {
    match verb {
        Verb::Ls(arguments) => list(arguments),
        Verb::Scale(arguments) => {
            let kind = arguments.one.kind.clone();
            let workers = arguments.workers;
            change(
                &arguments.one.data,
                Call::Scale(ScaleCall { kind, workers }),
            )
        }
        Verb::Pause(one) => change(&one.data, Call::PauseKind(one.kind())),
        Verb::Resume(one) => change(&one.data, Call::ResumeKind(one.kind())),
    }
}

impl One {
    fn kind(&self) -> OneKind {
        let kind = self.kind.clone();
        OneKind { kind }
    }
}

fn change(data: &Data, call: Call) -> Result {
    Target::visit(data, |target, _| {
        if target.is_own() {
            let error = anyhow!(
                "no process works on this store, so there are no workers to change: start the program that does (mq work is one)"
            );
            return Err(Failure::new(Exit::NotFound, error));
        }
        target.call(call).map(drop)
    })
}

fn list(arguments: &List) -> Result {
    Target::visit(&arguments.data, |target, output| {
        if arguments.running {
            let running = target.ask(Call::Running {}, |answer| match answer {
                Answer::Running(running) => Some(running),
                _ => None,
            })?;
            return show_running(&running, arguments.json, output);
        }
        let pools = target.ask(Call::Pools {}, |answer| match answer {
            Answer::Pools(pools) => Some(pools),
            _ => None,
        })?;
        if target.is_own() {
            output::remark("no process works on this store, so there are no workers");
        }
        show_pools(&pools, arguments.json, output)
    })
}

fn show_pools(pools: &[PoolJson], json: bool, output: &mut Output) -> Result {
    if json {
        return pools.iter().try_for_each(|pool| output.json(pool));
    }
    let headings = [
        "KIND",
        "RUNNING",
        "STUCK",
        "LIMIT",
        "STARTED",
        "SUCCEEDED",
        "FAILED",
        "DEAD",
        "RUN P50",
        "RUN P99",
        "PAUSED",
    ];
    let row = |pool: &PoolJson| {
        let counts = [
            pool.started,
            pool.succeeded,
            pool.failed,
            pool.dead_lettered,
        ];
        let mut row = vec![
            Escaped(&pool.kind).to_string(),
            pool.running.to_string(),
            pool.stuck.to_string(),
            pool.limit.to_string(),
        ];
        row.extend(counts.map(|count| count.to_string()));
        row.extend([pool.run_p50_seconds, pool.run_p99_seconds].map(duration));
        row.push(if pool.paused { "yes" } else { "no" }.to_owned());
        row
    };
    Ok(output.table(&headings, pools.iter().map(row).collect())?)
}

fn show_running(running: &[RunningJson], json: bool, output: &mut Output) -> Result {
    if json {
        return running.iter().try_for_each(|one| output.json(one));
    }
    let headings = [
        "ID", "QUEUE", "KIND", "ATTEMPT", "SINCE", "STUCK", "PROGRESS",
    ];
    let row = |one: &RunningJson| {
        let progress = one.done.zip(one.total).map(|(done, total)| {
            let unit = Escaped(one.unit.as_deref().unwrap_or_default()).to_string();
            format!("{done} of {total} {unit}")
        });
        vec![
            one.id.clone(),
            one.queue.clone(),
            one.kind.clone(),
            one.attempt.to_string(),
            duration(one.seconds),
            if one.stuck { "yes" } else { "no" }.to_owned(),
            progress.unwrap_or_default(),
        ]
    };
    Ok(output.table(&headings, running.iter().map(row).collect())?)
}

fn duration(seconds: f64) -> String {
    Duration::try_from_secs_f64(seconds).map_or_else(|_| "-".to_owned(), clock::duration)
}
