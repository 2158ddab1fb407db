//! Changes of many messages by filter: started, watched until they end, and told about. `mq jobs` looks at them.
//!
//! Standard output gets the job as JSON or one line; the exit code is 0 when it met everything. A job that is left behind
//! (this process is killed, the owner goes on) goes on by itself.

use std::thread;
use std::time::Duration;

use anyhow::anyhow;
use mq::control::{Answer, BulkCall, BulkJobJson, Call, OneBulkJob};

use crate::args::Data;
use crate::escape::Escaped;
use crate::exit::{Exit, Failure, Result};
use crate::output::Output;
use crate::target::Target;

/// How often to look how far a job is.
const LOOK_EVERY: Duration = Duration::from_millis(20);

const LIST_EXAMPLES: &str = "\
Examples:
  mq jobs ls --data ./data
  mq jobs ls --data ./data --json | jq -r 'select(.state == \"running\") | .job'";

const SHOW_EXAMPLES: &str = "\
Examples:
  mq jobs show --data ./data 7";

const CANCEL_EXAMPLES: &str = "\
Examples:
  mq jobs ls --data ./data
  mq jobs cancel --data ./data 7

What the job has done stays done.";

/// Verbs of `mq jobs`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// List bulk jobs that run, and the last that ended
    #[command(after_help = LIST_EXAMPLES)]
    Ls(List),
    /// Show one bulk job: what it looks for and does, by whom, and what came of it
    #[command(after_help = SHOW_EXAMPLES)]
    Show(One),
    /// Stop a bulk job
    #[command(after_help = CANCEL_EXAMPLES)]
    Cancel(Cancel),
}

/// Arguments of `mq jobs ls`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[command(flatten)]
    data: Data,
    /// Print a JSON object per job
    #[arg(long)]
    json: bool,
}

/// One job.
#[derive(Debug, clap::Args)]
pub(crate) struct One {
    #[command(flatten)]
    data: Data,
    /// The job's number
    #[arg(value_name = "JOB")]
    job: u64,
}

/// Arguments of `mq jobs cancel`.
#[derive(Debug, clap::Args)]
pub(crate) struct Cancel {
    #[command(flatten)]
    one: One,
    /// Who asks, for the record
    #[arg(long, value_name = "WHO", default_value = "mq")]
    by: String,
}

/// How a change of many messages is carried out.
#[derive(Debug, clap::Args)]
pub(crate) struct Pace {
    /// Change at most so many messages per second
    #[arg(long, value_name = "N", requires = "all", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: Option<u32>,
    /// Who asks, for the history of each message
    #[arg(long, value_name = "WHO", default_value = "mq")]
    pub(crate) by: String,
}

/// Runs a verb of `mq jobs`.
///
/// # Errors
/// When the store cannot be reached, there is no such job, or the output fails.
pub(crate) fn run(verb: &Verb) -> Result {
    match verb {
        Verb::Ls(arguments) => list(arguments),
        Verb::Show(one) => Target::visit(&one.data, |target, output| {
            output.json(&look(target, one.job)?)
        }),
        Verb::Cancel(cancel) => Target::visit(&cancel.one.data, |target, output| {
            let by = cancel.by.clone();
            let job = cancel.one.job;
            let job = target.ask(Call::CancelBulkJob(OneBulkJob { job, by }), job_of)?;
            Ok(output.line(sentence(&job))?)
        }),
    }
}

fn list(arguments: &List) -> Result {
    Target::visit(&arguments.data, |target, output| {
        let jobs = target.ask(Call::BulkJobs {}, |answer| match answer {
            Answer::BulkJobs(jobs) => Some(jobs),
            _ => None,
        })?;
        if arguments.json {
            return jobs.iter().try_for_each(|job| output.json(job));
        }
        let rows = jobs.iter().map(row).collect();
        let headings = ["JOB", "WHAT", "STATE", "BY", "STARTED", "DONE", "REFUSED"];
        Ok(output.table(&headings, rows)?)
    })
}

fn row(job: &BulkJobJson) -> Vec<String> {
    vec![
        job.job.to_string(),
        job.what.clone(),
        job.state.clone(),
        Escaped(&job.by).to_string(),
        job.started.clone(),
        (job.count("done") + job.count("requested")).to_string(),
        refused(job).to_string(),
    ]
}

fn refused(job: &BulkJobJson) -> u64 {
    let reasons = ["wrong_state", "not_kept", "key_held", "full"];
    reasons.iter().map(|reason| job.count(reason)).sum()
}

fn job_of(answer: Answer) -> Option<BulkJobJson> {
    match answer {
        Answer::BulkJob(job) => Some(*job),
        _ => None,
    }
}

fn look(target: &Target, job: u64) -> Result<BulkJobJson> {
    let by = String::new();
    target.ask(Call::BulkJob(OneBulkJob { job, by }), job_of)
}

/// Starts a job and waits for its end.
///
/// # Errors
/// When it is refused, or ends in another way than by having met everything.
pub(crate) fn change_all(target: &Target, call: BulkCall, output: &mut Output) -> Result {
    let mut job = target.ask(Call::Bulk(call), job_of)?;
    while job.state == "running" {
        thread::park_timeout(LOOK_EVERY);
        job = look(target, job.job)?;
    }
    output.line(sentence(&job))?;
    if job.state == "completed" {
        return Ok(());
    }
    let error = anyhow!(
        "bulk job {} is {}; mq jobs show says more",
        job.job,
        job.state
    );
    Err(Failure::new(Exit::Failed, error))
}

fn sentence(job: &BulkJobJson) -> String {
    let refusals = [
        "passed",
        "wrong_state",
        "not_kept",
        "key_held",
        "full",
        "unreadable",
    ];
    let refusals = refusals.iter().filter(|name| job.count(name) > 0);
    let refusals: String = refusals
        .map(|name| format!(", {name} {}", job.count(name)))
        .collect();
    let asked = match job.count("requested") {
        0 => String::new(),
        count => format!(", {count} asked to stop"),
    };
    let (number, state, what) = (job.job, &job.state, &job.what);
    let (matched, done) = (job.count("matched"), job.count("done"));
    format!("job {number} {state}: {what}, {matched} matched, {done} done{asked}{refusals}")
}
