//! `mq stats`: what is in the store, by queue and in all.

use mq::control::{Answer, Call, StatsJson};

use crate::args::Data;
use crate::exit::Result;
use crate::queue;
use crate::target::Target;

/// Arguments of `mq stats`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    data: Data,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    /// Print Prometheus text; counters and latencies are those of the process that owns the store, since it opened it
    #[arg(long, conflicts_with = "json")]
    prometheus: bool,
}

/// Runs `mq stats`.
///
/// # Errors
/// When the store cannot be reached, or the output fails.
pub(crate) fn run(arguments: &Arguments) -> Result {
    Target::visit(&arguments.data, |target, output| {
        if arguments.prometheus {
            let text = target.ask(Call::Metrics {}, |answer| match answer {
                Answer::Metrics(text) => Some(text),
                _ => None,
            })?;
            return Ok(output.bytes(text.as_bytes())?);
        }
        let stats = target.ask(Call::Stats {}, |answer| match answer {
            Answer::Stats(stats) => Some(stats),
            _ => None,
        })?;
        if arguments.json {
            return output.json(&stats);
        }
        let rows = stats.queues.iter().map(queue::row).collect();
        output.table(&queue::headings(), rows)?;
        output.line("")?;
        Ok(output.facts(facts(&stats))?)
    })
}

fn facts(stats: &StatsJson) -> [(&'static str, String); 10] {
    let of = |used: u64, limit: u64| format!("{used} of {limit}");
    let per_second = |rate: f64| format!("{rate:.1}");
    [
        (
            "messages that count against the capacity",
            of(stats.live_messages, stats.capacity_messages),
        ),
        ("bytes of these", of(stats.live_bytes, stats.capacity_bytes)),
        ("bytes of dead letters", stats.dead_bytes.to_string()),
        (
            "bytes of completed messages",
            stats.completed_bytes.to_string(),
        ),
        ("keys", stats.keys.to_string()),
        ("suspects", stats.suspects.to_string()),
        ("waiting for room", stats.waiting_for_room.to_string()),
        ("enqueued a second", per_second(stats.enqueued_per_second)),
        ("ended a second", per_second(stats.ended_per_second)),
        ("failed a second", per_second(stats.failed_per_second)),
    ]
}
