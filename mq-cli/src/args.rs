//! The command line: what can be said, and the help that teaches it.
//!
//! Only what can be read off one argument is checked here; what needs several of them is checked by the verb.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::{
    backup, bench, bulk, check, demo, dlq, dump, enqueue, index, messages, queue, run, salvage,
    schedule, stats, teach, values, verify, work, worker,
};

const EXAMPLES: &str = "\
Examples:
  echo '{\"user\":7}' | mq enqueue --data ./data --queue mail
  mq work --data ./data --queue mail -- ./send-mail
  ls | mq run --data ./data --queue files --raw -- sh -c 'read f; gzip \"$f\"'
  mq dlq ls --data ./data
  mq messages explain --data ./data ID

Exit codes:
  0  done
  1  failed
  2  the command line is wrong
  3  another process owns the store, and cannot be asked
  4  the store is corrupt
  5  the store or the message is not there";

/// A durable work queue: what was enqueued survives kill -9 and power loss, and runs until it is done.
#[derive(Debug, Parser)]
#[command(name = "mq", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Command {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Enqueue a message per line of a file or of standard input
    Enqueue(enqueue::Arguments),
    /// Run a command for each message
    Work(work::Arguments),
    /// Run a command for each line of a file or of standard input, and end: a durable xargs
    Run(run::Arguments),
    /// Look at the workers of the process that owns the store, scale, pause and resume them
    #[command(subcommand)]
    Worker(worker::Verb),
    /// Look at dead letters, bring them back, or remove them
    #[command(subcommand)]
    Dlq(dlq::Verb),
    /// Look at messages, ask why one is not running, cancel, hold, move, reschedule them
    #[command(subcommand)]
    Messages(messages::Verb),
    /// Look at changes of many messages, and stop them
    #[command(subcommand)]
    Jobs(bulk::Verb),
    /// List queues, pause, resume and purge them
    #[command(subcommand)]
    Queue(queue::Verb),
    /// Index fields of payloads, so that messages are found by them without reading all
    #[command(subcommand)]
    Index(index::Verb),
    /// Messages that are sent again and again: store schedules, look at them, pause them
    #[command(subcommand)]
    Schedule(schedule::Verb),
    /// Count what is in the store
    #[command(
        after_help = "Examples:\n  mq stats --data ./data\n  mq stats --data ./data --json | jq .live_messages\n  mq stats --data ./data --prometheus > /var/lib/node_exporter/mq.prom"
    )]
    Stats(stats::Arguments),
    /// Ask whether the handlers of the process that owns the store can read what is stored
    Check(check::Arguments),
    /// Copy a store, while it works
    Backup(backup::Arguments),
    /// Take a snapshot now, so that the next opening is quick
    #[command(after_help = "Examples:\n  mq snapshot --data ./data")]
    Snapshot(backup::SnapshotArguments),
    /// Watch a store at work, on a terminal
    #[cfg(feature = "top")]
    Top(crate::top::Arguments),
    /// Watch a store at work, on a terminal (not part of this build: cargo install --path mq-cli --features top)
    #[cfg(not(feature = "top"))]
    #[command(after_help = "Examples:\n  mq top --data ./data")]
    Top {
        /// Whatever it would be asked
        #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Check every byte of a store; changes nothing and needs no owner
    Verify(verify::Arguments),
    /// Write what is whole in a damaged store into a new one, and list what is lost
    Salvage(salvage::Arguments),
    /// Print what stands in the journal; changes nothing and needs no owner
    Dump(dump::Arguments),
    /// Print every default and its range
    #[command(after_help = "Examples:\n  mq config")]
    Config,
    /// Print a script that completes the command line in a shell
    Completions(teach::CompletionsArguments),
    /// Print the manual page, of the program or of one verb
    Man(teach::ManArguments),
    /// Measure what this machine and its disk make of a store
    Bench(bench::Arguments),
    /// Run an order pipeline, kill it half-way, and prove that nothing was lost
    Demo(demo::Arguments),
}

/// Which store.
#[derive(Args, Clone, Debug)]
pub(crate) struct Data {
    /// The store's folder
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// How long to wait for another process that opens, closes or owns the store
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub(crate) wait: Option<Duration>,
}

/// Which store, for verbs that look at its files and take no lock.
#[derive(Args, Clone, Debug)]
pub(crate) struct Folder {
    /// The store's folder
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Command::command().debug_assert();
    }

    #[test]
    fn every_verb_has_help_that_teaches_with_examples() {
        for (path, verb) in verbs(&Command::command(), "mq") {
            assert!(verb.get_about().is_some(), "{path}");
            let after = verb.get_after_help().map(ToString::to_string);
            let example = format!("{path} ").replace("mq man ", "mq man");
            assert!(
                after.is_some_and(
                    |text| text.contains("Examples:") && text.contains(example.trim_end())
                ),
                "{path}"
            );
        }
    }

    /// The page that promises all this.
    const PAGE: &str = include_str!("../../docs/cli.md");

    /// Every verb below `command`, with its path.
    fn verbs(command: &clap::Command, path: &str) -> Vec<(String, clap::Command)> {
        let below = command.get_subcommands().flat_map(|verb| {
            let path = format!("{path} {}", verb.get_name());
            let mut verbs = verbs(verb, &path);
            if verbs.is_empty() {
                verbs.push((path, verb.clone()));
            }
            verbs
        });
        below.collect()
    }

    #[test]
    fn every_verb_and_option_stands_on_the_page() {
        for (path, verb) in verbs(&Command::command(), "mq") {
            let name = verb.get_name();
            assert!(
                PAGE.contains(&format!("`{path}`")) || PAGE.contains(&format!("`{name}`")),
                "{path}"
            );
            let shown = verb
                .get_arguments()
                .filter(|argument| !argument.is_hide_set());
            for option in shown.filter_map(clap::Arg::get_long) {
                let known = ["help", "version"].contains(&option);
                assert!(
                    known || PAGE.contains(&format!("`--{option}")),
                    "{path} --{option}"
                );
            }
        }
    }

    #[test]
    fn every_word_of_a_state_stands_on_the_page() {
        for state in mq_core::view::StateKind::ALL {
            assert!(
                PAGE.contains(&format!("`{}`", state.as_str())),
                "{}",
                state.as_str()
            );
        }
    }
}
