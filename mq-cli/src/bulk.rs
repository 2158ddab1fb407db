//! Changes of many messages by filter: started, watched until they end, and told about. `mq jobs` looks at them.
//!
//! Standard output gets the job as JSON or one line; the exit code is 0 when it met everything. A job that is left behind
//! (this process is killed, the owner goes on) goes on by itself.

use std::thread;
use std::time::Duration;

use anyhow::anyhow;
use indicatif::ProgressBar;
use mq::Filter;
use mq::control::{Answer, BulkCall, BulkJobJson, Call, OneBulkJob, OperationJson};

use crate::args::Data;
use crate::clock::Stopwatch;
use crate::escape::{Escaped, EscapedLines};
use crate::exit::{Exit, Failure, Result};
use crate::hint;
use crate::listing;
use crate::output::{self, Output};
use crate::target::Target;

/// How long to wait before it is looked how far a job is: at first, and at last.
const LOOK_FIRST: Duration = Duration::from_millis(5);
const LOOK_LAST: Duration = Duration::from_millis(250);

/// A job that takes longer than this is told about, and where that is no terminal, every so often.
const TELL_AFTER: Duration = Duration::from_secs(1);
const TELL_EVERY: Duration = Duration::from_secs(10);

const LIST_EXAMPLES: &str = "\
Examples:
  mq jobs ls --data ./data
  mq jobs ls --data ./data --json | jq -r 'select(.state == \"running\") | .job'";

const SHOW_EXAMPLES: &str = "\
Examples:
  mq jobs show --data ./data 7";

const WAIT_EXAMPLES: &str = "\
Examples:
  mq jobs wait --data ./data 7

How far it is stands on standard error. 0: it has met everything; 1: it was cancelled or failed.";

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
    /// Wait until a bulk job has ended
    #[command(after_help = WAIT_EXAMPLES)]
    Wait(One),
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
    /// Change nothing; print the ids that would be changed
    #[arg(long)]
    pub(crate) dry_run: bool,
}

impl Pace {
    /// Changes every message that `filter` lets through: a job of the store, whatever their number, so that it is journalled,
    /// can be stopped, and goes on after a restart.
    ///
    /// # Errors
    /// As [`change_all`].
    pub(crate) fn change_all(
        &self,
        target: &Target,
        filter: Filter,
        operation: &OperationJson,
        output: &mut Output,
    ) -> Result {
        if self.dry_run {
            return listing::for_all(target, &filter, |message| Ok(output.line(&message.id)?));
        }
        let filter = if filter.is_empty() {
            Filter::all()
        } else {
            filter
        };
        let call = BulkCall {
            filter,
            operation: operation.clone(),
            rate: self.rate,
            by: self.by.clone(),
            dry_run: false,
        };
        change_all(target, call, output)
    }
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
        Verb::Wait(one) => Target::visit(&one.data, |target, output| {
            follow(target, look(target, one.job)?, output)
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
    let job = target.ask(Call::Bulk(call), job_of)?;
    follow(target, job, output)
}

/// Waits for the end of a job, telling how far it is on standard error.
fn follow(target: &Target, mut job: BulkJobJson, output: &mut Output) -> Result {
    let mut progress = Progress::new();
    let mut pause = LOOK_FIRST;
    while job.state == "running" {
        progress.tell(target, &job);
        thread::park_timeout(pause);
        pause = (pause * 2).min(LOOK_LAST);
        job = look(target, job.job)?;
    }
    progress.end();
    output.line(sentence(&job))?;
    let number = job.job.to_string();
    let show = hint::command(target.data(), "jobs show", &[], &[&number]);
    let error = match job.count("unreadable") {
        _ if job.state != "completed" => {
            anyhow!(
                "bulk job {number} is {}; what it did stays done, and all of it is shown by: {show}",
                job.state
            )
        }
        0 => return Ok(()),
        count => {
            let verify = hint::command(target.data(), "verify", &[], &[]);
            anyhow!(
                "{count} messages were left as they are: they may match, but their payloads are damaged. All that is wrong: {verify}"
            )
        }
    };
    Err(Failure::new(Exit::Failed, error))
}

/// How far a job is, on standard error: a line that is drawn anew on a terminal, else a line now and then.
#[derive(Debug)]
struct Progress {
    since: Stopwatch,
    bar: Option<ProgressBar>,
    /// When the next line is due.
    next: Duration,
}

impl Progress {
    fn new() -> Progress {
        Progress {
            since: Stopwatch::start(),
            bar: None,
            next: TELL_AFTER,
        }
    }

    fn tell(&mut self, target: &Target, job: &BulkJobJson) {
        let elapsed = self.since.elapsed();
        if elapsed < TELL_AFTER {
            return;
        }
        let is_first = self.bar.is_none();
        // Where standard error is no terminal it draws nothing.
        let bar = self.bar.get_or_insert_with(ProgressBar::new_spinner);
        if is_first {
            let number = job.job.to_string();
            let cancel = hint::command(target.data(), "jobs cancel", &[], &[&number]);
            let wait = hint::command(target.data(), "jobs wait", &[], &[&number]);
            let text = format!(
                "it is a job of the store, which goes on without this program. Stop it: {cancel}\nmq: wait for it again: {wait}"
            );
            bar.suspend(|| output::remark(EscapedLines(&text)));
        }
        if !bar.is_hidden() {
            bar.set_message(sentence(job));
            bar.tick();
        } else if elapsed >= self.next {
            self.next = elapsed + TELL_EVERY;
            output::remark(sentence(job));
        }
    }

    fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
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
