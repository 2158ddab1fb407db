//! `mq queue`: list queues with what is in them, pause and resume them, set what happens to new messages.

mod settings;

use std::time::Duration;

use mq::Filter;
use mq::control::{Answer, BulkCall, Call, OneQueue, OperationJson, QueueJson};
use mq_core::name::QueueName;

use crate::args::Data;
use crate::bulk;
use crate::clock;
use crate::exit::Result;
use crate::output;
use crate::target::Target;

const PURGE_EXAMPLES: &str = "\
Examples:
  mq queue purge --data ./data mail

What waits is gone for good; what runs is asked to stop. Dead letters stay (see mq dlq purge), and so does what comes in meanwhile.
It is a bulk job: mq jobs ls keeps the record.";

const SHOW_EXAMPLES: &str = "\
Examples:
  mq queue show --data ./data mail
  mq queue show --data ./data mail --json";

const SET_EXAMPLES: &str = "\
Examples:
  mq queue set --data ./data mail --hold-new review
  mq queue set --data ./data mail --no-hold-new --retain-completed 7d
  mq queue set --data ./data mail --limit-messages 10000

It is stored, survives restarts, and is about messages that are enqueued from then on. The queue need not have been used.";

/// Verbs of `mq queue`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// List queues
    #[command(
        after_help = "Examples:\n  mq queue ls --data ./data\n  mq queue ls --data ./data --json | jq 'select(.oldest_ready_seconds > 60)'"
    )]
    Ls(List),
    /// Hand nothing out of a queue until it is resumed; enqueueing goes on
    #[command(after_help = "Examples:\n  mq queue pause --data ./data mail")]
    Pause(One),
    /// Hand out of a queue again
    #[command(after_help = "Examples:\n  mq queue resume --data ./data mail")]
    Resume(One),
    /// Cancel everything in a queue that is not over; dead letters stay
    #[command(after_help = PURGE_EXAMPLES)]
    Purge(One),
    /// Show what is set for a queue
    #[command(after_help = SHOW_EXAMPLES)]
    Show(settings::Show),
    /// Set what happens to new messages of a queue: hold them, keep them when they are completed, limit their number
    #[command(after_help = SET_EXAMPLES)]
    Set(settings::Set),
}

/// Arguments of `mq queue ls`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[command(flatten)]
    data: Data,
    /// Print a JSON object per queue
    #[arg(long)]
    json: bool,
}

/// One queue.
#[derive(Debug, clap::Args)]
pub(crate) struct One {
    #[command(flatten)]
    data: Data,
    /// The queue
    #[arg(value_name = "Q")]
    queue: QueueName,
}

/// Runs a verb of `mq queue`.
///
/// # Errors
/// When the store cannot be opened, or the output fails.
pub(crate) fn run(verb: &Verb) -> Result {
    match verb {
        Verb::Ls(arguments) => list(arguments),
        Verb::Pause(one) => pause(one, true),
        Verb::Resume(one) => pause(one, false),
        Verb::Purge(one) => purge(one),
        Verb::Show(arguments) => arguments.run(),
        Verb::Set(arguments) => arguments.run(),
    }
}

fn pause(one: &One, paused: bool) -> Result {
    let queue = OneQueue {
        queue: one.queue.to_string(),
    };
    let call = if paused {
        Call::PauseQueue(queue)
    } else {
        Call::ResumeQueue(queue)
    };
    Target::visit(&one.data, |target, _| {
        if paused && !is_known(target, &one.queue)? {
            output::remark(format_args!(
                "queue {} has never been used; it is paused for when it is",
                one.queue
            ));
        }
        target.call(call).map(drop)
    })
}

fn is_known(target: &Target, queue: &QueueName) -> Result<bool> {
    let queues = target.ask(Call::Queues {}, |answer| match answer {
        Answer::Queues(queues) => Some(queues),
        _ => None,
    })?;
    Ok(queues.iter().any(|it| it.queue == queue.as_str()))
}

fn purge(one: &One) -> Result {
    Target::visit(&one.data, |target, output| {
        let call = BulkCall {
            filter: Filter::new().queue(one.queue.as_str()).live(),
            operation: OperationJson::Cancel {},
            rate: None,
            by: "mq queue purge".to_owned(),
            dry_run: false,
        };
        bulk::change_all(target, call, output)
    })
}

fn list(arguments: &List) -> Result {
    Target::visit(&arguments.data, |target, output| {
        let queues = target.ask(Call::Queues {}, |answer| match answer {
            Answer::Queues(queues) => Some(queues),
            _ => None,
        })?;
        if arguments.json {
            return queues.iter().try_for_each(|queue| output.json(queue));
        }
        Ok(output.table(&headings(), queues.iter().map(row).collect())?)
    })
}

/// Headings of a table of queues.
pub(crate) fn headings() -> Vec<&'static str> {
    let states = [
        "SCHEDULED",
        "READY",
        "BLOCKED",
        "LEASED",
        "HELD",
        "COMPLETED",
        "DEAD",
        "SUPERSEDED",
    ];
    [&["QUEUE"], &states[..], &["OLDEST", "PAUSED"]].concat()
}

/// Row of a table of queues.
pub(crate) fn row(queue: &QueueJson) -> Vec<String> {
    let counts = [
        queue.scheduled,
        queue.ready,
        queue.blocked,
        queue.leased,
        queue.held,
        queue.completed,
        queue.dead,
        queue.superseded,
    ];
    let oldest = queue
        .oldest_ready_seconds
        .and_then(|age| Duration::try_from_secs_f64(age).ok());
    let oldest = oldest.map_or_else(|| "-".to_owned(), clock::duration);
    let paused = if queue.paused { "yes" } else { "no" };
    let ends = [oldest, paused.to_owned()];
    [queue.queue.clone()]
        .into_iter()
        .chain(counts.iter().map(u64::to_string))
        .chain(ends)
        .collect()
}

#[cfg(test)]
mod tests {
    use mq_core::view::StateKind;

    use super::*;

    #[test]
    fn each_count_stands_below_its_state() {
        let json = serde_json::json!({
            "queue": "mail", "paused": true, "scheduled": 1, "ready": 2, "blocked": 3, "leased": 4, "held": 5,
            "completed": 6, "dead": 7, "superseded": 8, "oldest_ready_seconds": 1.5,
        });
        let queue: QueueJson = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(serde_json::to_value(&queue).unwrap(), json);
        let row = row(&queue);
        let headings = headings();
        assert_eq!(row.len(), headings.len());
        for (index, state) in StateKind::ALL.into_iter().enumerate() {
            assert_eq!(headings[index + 1], state.as_str().to_uppercase());
            assert_eq!(row[index + 1], (index + 1).to_string());
        }
    }
}
