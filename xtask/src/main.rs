//! The project's own commands, run as `cargo xtask COMMAND`.
//!
//! `ci` is the one check before a change lands and what continuous integration runs; `tidy` is the part of it that
//! reads the source; `bench` and `compare` forward to programs that measure. Nothing here is part of the library.

mod chaos;
mod ci;
mod examples;
mod production;
mod proof;
mod shell;
mod tidy;
mod tidy_exceptions;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use shell::Invocation;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  ci                 every check, in order; stops at the first that fails
  ci --list          names the checks and what each one does
  ci --only STEP     one check
  tidy               sizes, forbidden words, unsafe code, file headers
  chaos [ARG...]     crashes, faults, damage: the suites; --help names the arguments
  tsan, miri         data races and undefined behaviour
  mutants, coverage  holes in the tests of the journal
  fuzz [ARG...]      libFuzzer on everything that reads bytes
  deny, machete      licences, advisories and unused dependencies; each of these seven says more on --help
  bench [ARG...]     speed beside the limits it is judged by; bench --help says more
  compare [ARG...]   the same loads on mq and on other queues; compare --help says more
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> anyhow::Result<()> {
    let root = root()?;
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["ci"] => ci::run_all(root),
        ["ci", "--list"] => {
            print!("{}", ci::list());
            Ok(())
        }
        ["ci", "--only", step] => ci::run_one(root, step),
        ["tidy"] => tidy::run(root),
        [name, rest @ ..] if proof::is_one(name) => proof::run(root, name, rest),
        ["chaos", rest @ ..] => chaos::run(root, rest),
        ["bench", rest @ ..] => Invocation::cargo(&["run", "--release", "-p", "mq-benches", "--"])
            .arguments(rest)
            .run(root),
        ["compare", rest @ ..] => Invocation::cargo(&["run", "--release"])
            .arguments(&["--manifest-path", "benches/compare/Cargo.toml", "--"])
            .arguments(rest)
            .run(root),
        [] | ["--help" | "-h" | "help"] => {
            print!("{USAGE}");
            Ok(())
        }
        _ => bail!("unknown command: {}\n\n{USAGE}", words.join(" ")),
    }
}

/// The top of the repository: the folder above this crate.
fn root() -> anyhow::Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the xtask crate stands at the top of a file system")
}
