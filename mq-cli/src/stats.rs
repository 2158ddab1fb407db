//! `mq stats`: what is in the store, by queue and in all.

use mq::control::{Answer, Call};

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
}

/// Runs `mq stats`.
///
/// # Errors
/// When the store cannot be reached, or the output fails.
pub(crate) fn run(arguments: &Arguments) -> Result {
    Target::visit(&arguments.data, |target, output| {
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
        Ok(output.facts(facts)?)
    })
}
