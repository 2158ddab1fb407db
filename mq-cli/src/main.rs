//! The `mq` program: reads the command line, runs one verb, and ends with the exit code that tells how it went.
//!
//! Data goes to standard output, remarks to standard error. Verbs, exit codes and JSON are a contract.

// `println!` and `eprintln!` panic when nobody reads or the disk is full: `Output` answers with an error, `remark` goes on.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod backup;
mod bench;
mod bulk;
mod check;
mod clock;
mod config;
mod demo;
mod dlq;
#[cfg(test)]
mod documents;
mod dump;
mod enqueue;
mod escape;
mod exit;
mod hint;
mod index;
mod input;
mod listing;
mod messages;
mod offline;
mod output;
mod queue;
mod run;
mod salvage;
mod schedule;
mod signal;
mod stats;
mod store;
mod table;
mod target;
mod teach;
mod terminal;
#[cfg(feature = "top")]
mod top;
mod values;
mod verify;
mod view;
mod work;
mod worker;

use std::process::ExitCode;

use args::{Command, Verb};
use clap::Parser;
use escape::EscapedLines;
use exit::Exit;

fn main() -> ExitCode {
    match run(Command::parse()) {
        Ok(()) => Exit::Done.into(),
        // The reader of a listing has seen enough.
        Err(failure) if failure.is_broken_pipe() => Exit::Done.into(),
        Err(failure) => {
            output::remark(EscapedLines(&format!("{:#}", failure.error)));
            failure.exit.into()
        }
    }
}

fn run(command: Command) -> exit::Result {
    match command.verb {
        Verb::Enqueue(arguments) => enqueue::run(arguments),
        Verb::Work(arguments) => work::run(&arguments),
        Verb::Run(arguments) => run::run(arguments),
        Verb::Worker(verb) => worker::run(&verb),
        Verb::Dlq(verb) => dlq::run(&verb),
        Verb::Messages(verb) => messages::run(&verb),
        Verb::Jobs(verb) => bulk::run(&verb),
        Verb::Queue(verb) => queue::run(&verb),
        Verb::Index(verb) => index::run(&verb),
        Verb::Schedule(verb) => schedule::run(&verb),
        Verb::Check(arguments) => check::run(&arguments),
        Verb::Stats(arguments) => stats::run(&arguments),
        Verb::Backup(arguments) => backup::run(&arguments),
        Verb::Snapshot(arguments) => backup::run_snapshot(&arguments),
        #[cfg(feature = "top")]
        Verb::Top(arguments) => top::run(&arguments),
        #[cfg(not(feature = "top"))]
        Verb::Top { rest: _ } => Err(exit::Failure::usage(
            "this build has no `mq top`; have it with: cargo install --path mq-cli --features top",
        )),
        Verb::Verify(arguments) => verify::run(&arguments),
        Verb::Salvage(arguments) => salvage::run(&arguments),
        Verb::Dump(arguments) => dump::run(&arguments),
        Verb::Config => config::run(),
        Verb::Completions(arguments) => teach::completions(&arguments),
        Verb::Man(arguments) => teach::man(&arguments),
        Verb::Bench(arguments) => bench::run(&arguments),
        Verb::Demo(arguments) => demo::run(&arguments),
    }
}
