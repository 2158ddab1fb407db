//! `mq queue`: list queues with what is in them, pause and resume them.

use mq_core::name::QueueName;
use mq_core::view::{QueueStats, StateKind};
use serde::Serialize;

use crate::args::Data;
use crate::clock;
use crate::exit::Result;
use crate::store::Store;

/// Verbs of `mq queue`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// List queues
    Ls(List),
    /// Hand nothing out of a queue until it is resumed; enqueueing goes on
    Pause(One),
    /// Hand out of a queue again
    Resume(One),
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

/// A queue in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct QueueJson {
    queue: String,
    paused: bool,
    scheduled: u64,
    ready: u64,
    blocked: u64,
    leased: u64,
    held: u64,
    completed: u64,
    dead: u64,
    superseded: u64,
    /// How long the oldest ready message has been waiting.
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_ready_seconds: Option<f64>,
}

impl QueueJson {
    /// What is in a queue.
    pub(crate) fn new(name: &QueueName, stats: &QueueStats) -> QueueJson {
        let counts = StateKind::ALL.into_iter().zip(stats.by_state);
        let mut json = QueueJson {
            queue: name.to_string(),
            paused: stats.paused,
            scheduled: 0,
            ready: 0,
            blocked: 0,
            leased: 0,
            held: 0,
            completed: 0,
            dead: 0,
            superseded: 0,
            oldest_ready_seconds: stats.oldest_ready.map(|age| age.as_secs_f64()),
        };
        for (state, count) in counts {
            *json.count(state) = count;
        }
        json
    }

    fn count(&mut self, state: StateKind) -> &mut u64 {
        match state {
            StateKind::Scheduled => &mut self.scheduled,
            StateKind::Ready => &mut self.ready,
            StateKind::Blocked => &mut self.blocked,
            StateKind::Leased => &mut self.leased,
            StateKind::Held => &mut self.held,
            StateKind::Completed => &mut self.completed,
            StateKind::Dead => &mut self.dead,
            StateKind::Superseded => &mut self.superseded,
        }
    }
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
    }
}

fn pause(one: &One, paused: bool) -> Result {
    Store::read(&one.data.data, |backend, _| {
        Ok(backend.pause_queue(one.queue.clone(), paused).wait()??)
    })
}

fn list(arguments: &List) -> Result {
    Store::read(&arguments.data.data, |backend, output| {
        let queues = backend.stats().queues;
        if arguments.json {
            let mut queues = queues.iter();
            return queues.try_for_each(|(name, stats)| output.json(&QueueJson::new(name, stats)));
        }
        let rows = queues
            .iter()
            .map(|(name, stats)| row(name, stats))
            .collect();
        Ok(output.table(&headings(), rows)?)
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
pub(crate) fn row(name: &QueueName, stats: &QueueStats) -> Vec<String> {
    let counts = stats.by_state.iter().map(u64::to_string);
    let oldest = stats
        .oldest_ready
        .map_or_else(|| "-".to_owned(), clock::duration);
    let paused = if stats.paused { "yes" } else { "no" };
    let ends = [oldest, paused.to_owned()];
    [name.to_string()]
        .into_iter()
        .chain(counts)
        .chain(ends)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn stats() -> QueueStats {
        QueueStats {
            by_state: [1, 2, 3, 4, 5, 6, 7, 8],
            paused: true,
            oldest_ready: Some(Duration::from_millis(1_500)),
        }
    }

    #[test]
    fn the_json_of_a_queue_is_a_contract() {
        let json =
            serde_json::to_value(QueueJson::new(&"mail".parse().unwrap(), &stats())).unwrap();
        let expected = serde_json::json!({
            "queue": "mail", "paused": true, "scheduled": 1, "ready": 2, "blocked": 3, "leased": 4, "held": 5,
            "completed": 6, "dead": 7, "superseded": 8, "oldest_ready_seconds": 1.5,
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn each_count_stands_below_its_state() {
        let row = row(&"mail".parse().unwrap(), &stats());
        let headings = headings();
        assert_eq!(row.len(), headings.len());
        for (index, state) in StateKind::ALL.into_iter().enumerate() {
            assert_eq!(headings[index + 1], state.as_str().to_uppercase());
            assert_eq!(row[index + 1], (index + 1).to_string());
        }
    }
}
