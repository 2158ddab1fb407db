//! `mq salvage`: what is whole in a damaged store, into a new one.
//!
//! What came out and what did not is data and goes to standard output; whether everything came out is the exit code.

use std::io::Write;
use std::path::PathBuf;

use anyhow::anyhow;
use mq::control::moment;
use mq::environment::SystemClock;
use mq_core::manager::Config;
use mq_core::time::Clock;
use mq_persistence::open::{JournalOptions, OpenInputs};
use mq_persistence::salvage::{QueueBefore, SalvageError, SalvageReport, ScheduleBefore, salvage};
use mq_persistence::storage::{FreshDirectory, FreshError};
use serde::Serialize;

use crate::escape::Escaped;
use crate::exit::{Exit, Failure, Result};
use crate::offline;
use crate::output::Output;

const EXAMPLES: &str = "\
Examples:
  mq salvage --data ./data --to ./rescued
  mq salvage --data ./data --to ./rescued --json

Reads ./data and changes nothing in it but its LOCK. Ids of messages hold in the new store. Messages whose end is among what
is lost come back and run again: they are listed. If part of the journal is lost, every schedule comes out paused, and the
settings of queues are listed as they were before: look at both before you start a worker. Ends with 1 if anything is lost.";

/// Arguments of `mq salvage`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The damaged store's folder
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The new store's folder, which must be empty or not there
    #[arg(long, value_name = "NEW")]
    to: PathBuf,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// The report in JSON.
#[derive(Debug, Serialize)]
struct ReportJson {
    complete: bool,
    /// Messages in the new store.
    messages: u64,
    /// The snapshot that replay began with.
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot: Option<String>,
    losses: Vec<LossJson>,
    lost: Vec<LostJson>,
    lost_count: u64,
    /// First and last sequence of messages that may have been enqueued in what is lost; without a last: an open end.
    unknown: Vec<RowJson>,
    /// Ids of messages whose end may be among what is lost.
    may_run_again: Vec<String>,
    may_run_again_count: u64,
    /// Numbers of bulk jobs that ran; they have ended as failed.
    ended_jobs: Vec<u64>,
    /// As they were before the loss; they are paused now.
    schedules: Vec<ScheduleJson>,
    schedules_count: u64,
    /// As they were before the loss, and are now.
    queues: Vec<QueueJson>,
    queues_count: u64,
    renamed: Vec<String>,
    notes: Vec<String>,
    identity_lost: bool,
}

#[derive(Debug, Serialize)]
struct ScheduleJson {
    name: String,
    was_paused: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Debug, Serialize)]
struct QueueJson {
    name: String,
    paused: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    hold_new: Option<String>,
    /// For ever is the largest number.
    #[serde(skip_serializing_if = "Option::is_none")]
    retain_completed_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages_max: Option<u64>,
}

#[derive(Debug, Serialize)]
struct LossJson {
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    reason: String,
}

#[derive(Debug, Serialize)]
struct LostJson {
    sequence: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    reason: String,
}

#[derive(Debug, Serialize)]
struct RowJson {
    first: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<u64>,
}

impl ReportJson {
    fn new(report: SalvageReport) -> ReportJson {
        ReportJson {
            complete: report.is_complete(),
            messages: report.messages,
            snapshot: report.snapshot,
            losses: report
                .losses
                .into_iter()
                .map(|loss| LossJson {
                    file: loss.file,
                    offset: loss.offset,
                    size: loss.size,
                    reason: loss.reason,
                })
                .collect(),
            lost: report
                .lost
                .into_iter()
                .map(|lost| LostJson {
                    sequence: lost.seq,
                    id: lost.id.map(|id| id.to_string()),
                    reason: lost.reason,
                })
                .collect(),
            lost_count: report.lost_count,
            unknown: report
                .unknown
                .into_iter()
                .map(|(first, last)| RowJson {
                    first,
                    last: (last != u64::MAX).then_some(last),
                })
                .collect(),
            may_run_again: report
                .may_run_again
                .iter()
                .map(ToString::to_string)
                .collect(),
            may_run_again_count: report.may_run_again_count,
            ended_jobs: report.ended_jobs.iter().map(|job| job.id.0).collect(),
            schedules: report.schedules.iter().map(ScheduleJson::new).collect(),
            schedules_count: report.schedules_count,
            queues: report.queues.iter().map(QueueJson::new).collect(),
            queues_count: report.queues_count,
            renamed: report.renamed,
            notes: report.notes,
            identity_lost: report.identity_lost,
        }
    }
}

impl ScheduleJson {
    fn new(schedule: &ScheduleBefore) -> ScheduleJson {
        ScheduleJson {
            name: schedule.name.to_string(),
            was_paused: schedule.paused,
            next: schedule.next.map(moment),
        }
    }
}

impl QueueJson {
    fn new(queue: &QueueBefore) -> QueueJson {
        let settings = &queue.settings;
        let retained = settings.retain_completed.map(|span| span.as_millis());
        QueueJson {
            name: queue.name.to_string(),
            paused: settings.paused,
            hold_new: settings.hold_new.as_ref().map(ToString::to_string),
            retain_completed_ms: retained.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX)),
            messages_max: settings.messages_max,
        }
    }
}

/// Runs `mq salvage`.
///
/// # Errors
/// With [`Exit::Owned`] if the store is in use, with [`Exit::Usage`] if the target is; with [`Exit::Failed`] if something is lost,
/// after everything else came out.
pub(crate) fn run(arguments: &Arguments) -> Result {
    let source = offline::folder(&arguments.data)?;
    let target = FreshDirectory::check(&arguments.to)?;
    let keys = std::hash::RandomState::new();
    let mut drawn = 0_u64;
    let mut random = || {
        use std::hash::BuildHasher;
        drawn += 1;
        keys.hash_one(drawn) // SipHash of a counter under keys from the operating system
    };
    let inputs = OpenInputs {
        wall: SystemClock::start().wall(),
        random: &mut random,
        config: Config::default(),
        owner: format!("pid {} (mq salvage)", std::process::id()),
    };
    let options = JournalOptions::default();
    let report = match salvage(&source, &target.storage(), &options, inputs) {
        Ok(report) => ReportJson::new(report),
        Err(error) => {
            target.give_up()?;
            return Err(error.into());
        }
    };
    target.finish()?;
    let mut output = Output::stdout();
    if arguments.json {
        output.json(&report)?;
    } else {
        describe(&report, &mut output)?;
    }
    output.flush()?;
    if report.complete {
        return Ok(());
    }
    let error = anyhow!(
        "not everything came out; the damaged store is as it was. Keep it until nobody misses anything"
    );
    Err(Failure::new(Exit::Failed, error))
}

fn describe(report: &ReportJson, output: &mut Output<impl Write>) -> Result {
    for loss in &report.losses {
        let at = loss
            .offset
            .map_or_else(String::new, |offset| format!(" at offset {offset}"));
        let size = loss
            .size
            .map_or_else(String::new, |size| format!(", {size} bytes"));
        let (file, reason) = (Escaped(&loss.file), Escaped(&loss.reason));
        output.line(format_args!("lost: {file}{at}{size}: {reason}"))?;
    }
    for lost in &report.lost {
        let id = lost.id.as_deref().unwrap_or("of unknown id");
        let reason = Escaped(&lost.reason);
        output.line(format_args!(
            "lost: message {id} (number {}): {reason}",
            lost.sequence
        ))?;
    }
    for row in &report.unknown {
        let first = row.first;
        match row.last {
            Some(last) => output.line(format_args!(
                "lost: messages number {first} to {last}, as far as they had not ended"
            ))?,
            None => output.line(format_args!(
                "lost: messages from number {first} on, if there were any"
            ))?,
        }
    }
    for id in &report.may_run_again {
        output.line(format_args!(
            "message {id} may have ended, or been held, in what is lost; it runs again"
        ))?;
    }
    describe_settings(report, output)?;
    for name in &report.renamed {
        output.line(format_args!("a name is lost; it is called {name} now"))?;
    }
    for note in &report.notes {
        output.line(Escaped(note))?;
    }
    if report.identity_lost {
        output.line(
            "IDENT is lost: ids of messages are new, and earlier keys match nothing any more",
        )?;
    }
    let facts = [
        ("messages in the new store", report.messages),
        ("messages known to be lost", report.lost_count),
        ("messages that may run again", report.may_run_again_count),
        ("schedules to be looked at", report.schedules_count),
        ("queues to be looked at", report.queues_count),
    ];
    for (name, count) in facts {
        output.line(format_args!("{name:<28} {count}"))?;
    }
    Ok(())
}

/// What an operator has to look at before anything runs.
fn describe_settings(report: &ReportJson, output: &mut Output<impl Write>) -> Result {
    for job in &report.ended_jobs {
        output.line(format_args!(
            "bulk job {job} has not gone on: it may have been cancelled in what is lost"
        ))?;
    }
    for schedule in &report.schedules {
        let name = &schedule.name;
        let before = if schedule.was_paused {
            ", as it was"
        } else {
            ""
        };
        let next = schedule.next.as_deref();
        let next = next.map_or_else(String::new, |next| format!("; it was to fire at {next}"));
        output.line(format_args!(
            "schedule {name} is paused{before}{next}; it may have been changed or removed in what is lost"
        ))?;
    }
    for queue in &report.queues {
        let QueueJson {
            name,
            paused,
            hold_new,
            retain_completed_ms,
            messages_max,
        } = queue;
        let mut settings = vec![if *paused { "paused" } else { "not paused" }.to_owned()];
        settings.extend(hold_new.as_ref().map(|label| format!("holds as {label}")));
        settings.extend(retain_completed_ms.map(|ms| format!("keeps for {ms} ms")));
        settings.extend(messages_max.map(|limit| format!("takes {limit} messages")));
        let settings = settings.join(", ");
        output.line(format_args!(
            "queue {name} is set as before the loss: {settings}; it may have been set otherwise since"
        ))?;
    }
    Ok(())
}

impl From<SalvageError> for Failure {
    fn from(error: SalvageError) -> Failure {
        let exit = match &error {
            SalvageError::InUse { .. } => Exit::Owned,
            SalvageError::Inspect(_) => Exit::NotFound,
            SalvageError::NothingWhole => Exit::Corrupt,
            SalvageError::Target(_)
            | SalvageError::Open(_)
            | SalvageError::Journal(_)
            | SalvageError::NoRoom => Exit::Failed,
        };
        Failure::new(exit, error)
    }
}

impl From<FreshError> for Failure {
    fn from(error: FreshError) -> Failure {
        let exit = match &error {
            FreshError::InUse { .. } | FreshError::Leftover { .. } | FreshError::Refused { .. } => {
                Exit::Usage
            }
            FreshError::Rename { .. } | FreshError::Unsynced { .. } => Exit::Failed,
        };
        Failure::new(exit, error)
    }
}
