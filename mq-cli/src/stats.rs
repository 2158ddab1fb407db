//! `mq stats`: what is in the store, by queue and in all.

use mq_core::view::Stats;
use serde::Serialize;

use crate::args::Data;
use crate::exit::Result;
use crate::queue::{self, QueueJson};
use crate::store::Store;

/// Arguments of `mq stats`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    data: Data,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// The store in JSON.
#[derive(Debug, Serialize)]
struct StatsJson {
    /// Messages that count against the capacity.
    live_messages: u64,
    live_bytes: u64,
    dead_bytes: u64,
    completed_bytes: u64,
    keys: u64,
    /// Messages that wait for their run alone.
    suspects: u64,
    queues: Vec<QueueJson>,
}

impl StatsJson {
    fn new(stats: &Stats) -> StatsJson {
        StatsJson {
            live_messages: stats.live_messages,
            live_bytes: stats.live_bytes,
            dead_bytes: stats.dead_bytes,
            completed_bytes: stats.completed_bytes,
            keys: stats.keys,
            suspects: stats.suspects,
            queues: stats
                .queues
                .iter()
                .map(|(name, queue)| QueueJson::new(name, queue))
                .collect(),
        }
    }
}

/// Runs `mq stats`.
///
/// # Errors
/// When the store cannot be opened, or the output fails.
pub(crate) fn run(arguments: &Arguments) -> Result {
    Store::read(&arguments.data.data, |backend, output| {
        let stats = backend.stats();
        if arguments.json {
            return output.json(&StatsJson::new(&stats));
        }
        let rows = stats
            .queues
            .iter()
            .map(|(name, queue)| queue::row(name, queue))
            .collect();
        output.table(&queue::headings(), rows)?;
        output.line("")?;
        let facts = [
            (
                "messages that count against the capacity",
                stats.live_messages,
            ),
            ("bytes of these", stats.live_bytes),
            ("bytes of dead letters", stats.dead_bytes),
            ("bytes of completed messages", stats.completed_bytes),
            ("keys", stats.keys),
            ("suspects", stats.suspects),
        ];
        for (name, count) in facts {
            output.line(format_args!("{name:<42} {count}"))?;
        }
        Ok(())
    })
}
