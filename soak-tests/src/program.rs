//! The command line: a soak run, or the child's part of it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};

use crate::{child, plan, report, soak};

/// Runs the whole engine for long under load, kills, stops and clock jumps, and judges it from outside.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// How long.
    #[arg(long, default_value_t = 24, conflicts_with = "minutes")]
    hours: u64,
    /// How long, in minutes.
    #[arg(long)]
    minutes: Option<u64>,
    /// Messages enqueued a second.
    #[arg(long, default_value_t = 200)]
    rate: u64,
    /// Messages in a paused queue, a multiple of four.
    #[arg(long, default_value_t = 10_000)]
    backlog: u64,
    /// For another order of blows.
    #[arg(long, default_value_t = 20_261)]
    seed: u64,
    /// Where the store is and the report goes; the store must not exist.
    #[arg(long, default_value = "target/soak")]
    out: PathBuf,
    /// Said in the report about the machine.
    #[arg(long, default_value = "")]
    note: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The child's part.
    #[command(hide = true)]
    Child(child::Arguments),
}

/// The program of this package.
pub fn program() -> ExitCode {
    ended(run(&Arguments::parse()))
}

/// For programs whose suites start them again as the child: does the child's part if that is what this process is.
#[must_use]
pub fn child_if_asked() -> Option<ExitCode> {
    let is_child = std::env::args().nth(1).is_some_and(|word| word == "child");
    is_child.then(program)
}

fn ended(ran: anyhow::Result<ExitCode>) -> ExitCode {
    ran.unwrap_or_else(|error| {
        eprintln!("soak-tests: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        Some(Command::Child(child)) => child::run(child).map(|()| ExitCode::SUCCESS),
        None => soak(arguments),
    }
}

fn soak(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let minutes = arguments.minutes.unwrap_or(arguments.hours * 60);
    std::fs::create_dir_all(&arguments.out)
        .with_context(|| format!("cannot create {}", arguments.out.display()))?;
    let store = arguments.out.join("store");
    anyhow::ensure!(
        !store.exists(),
        "{} holds the store of a former run; remove it, or name another folder with --out",
        store.display()
    );
    let setup = soak::Setup {
        store: store.clone(),
        total: Duration::from_secs(minutes * 60),
        rate: arguments.rate,
        cold: arguments.backlog.next_multiple_of(plan::GROUP),
        seed: arguments.seed,
    };
    println!(
        "seed {}: {minutes} minutes in {}",
        setup.seed,
        store.display()
    );
    let outcome = soak::run(setup.clone())?;
    report::write(&arguments.out, &setup, &outcome, &arguments.note)?;
    let violations = outcome.judge.counts().violations();
    println!(
        "lost {}, resurrected {}, violations {violations}: {}",
        outcome.judge.counts().lost,
        outcome.judge.counts().resurrected,
        arguments.out.join("soak.md").display()
    );
    if violations > 0 {
        return Ok(ExitCode::FAILURE);
    }
    std::fs::remove_dir_all(&store).context("cannot remove the store")?;
    Ok(ExitCode::SUCCESS)
}
