//! Long proofs that need more than cargo: sanitizers, fuzzing, mutants, coverage, lints of the dependencies.
//!
//! Each has a size that ends on a small machine, says how to ask for more, and brings what it needs into `target/tools`. What cannot be
//! had is said in one line, `skipped: NAME: reason`, and never counted as passed.

mod coverage;
mod coverage_report;
mod deny;
mod fuzz;
mod mutants;
mod needs;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::shell::Invocation;
use needs::Need;

/// A command that needs something of the machine.
struct Proof {
    name: &'static str,
    /// What `--help` says.
    help: &'static str,
    needs: &'static [Need],
    run: fn(&Path, &[&str]) -> anyhow::Result<Done>,
}

/// How a proof ended that did not fail.
enum Done {
    /// What was tried, for the last line.
    Passed(String),
    /// Part of it, or all, could not be tried.
    Skipped(String),
}

const PROOFS: &[Proof] = &[
    Proof {
        name: "tsan",
        help: "\
usage: cargo xtask tsan [--times N] [FILTER]

Data races, by ThreadSanitizer: the ring's threads in mq-core, and the facade's tests (or those that FILTER names), with the standard
library instrumented, too. A race is printed with both stacks and fails the command. A few minutes, the first build ten more.

  --times N   how much longer than in ci the tests of many threads run; default 5
",
        needs: &[Need::Nightly, Need::Component("rust-src")],
        run: tsan,
    },
    Proof {
        name: "miri",
        help: "\
usage: cargo xtask miri [--seeds N]

Undefined behaviour and forbidden orderings of the ring, and of the call that wakes a thread, under the interpreter miri: its tests, under N
schedules each. Tests of many threads send fewer values there.

  --seeds N   default 8, some minutes; the seeds are 0..N, so that a larger N repeats what a smaller one did. 64 for a night
",
        needs: &[Need::Nightly, Need::Component("miri")],
        run: miri,
    },
    Proof {
        name: "deny",
        help: "\
usage: cargo xtask deny

What dependencies may be (deny.toml): licences, sources, banned versions; and known advisories, if their database can be fetched.
",
        needs: &[Need::program("cargo-deny", "0.20.2")],
        run: deny::run,
    },
    Proof {
        name: "machete",
        help: "\
usage: cargo xtask machete

Dependencies that are declared and not used, in every package.
",
        needs: &[Need::program("cargo-machete", "0.9.2")],
        run: machete,
    },
    Proof {
        name: "mutants",
        help: mutants::HELP,
        needs: &[Need::program("cargo-mutants", "27.1.0")],
        run: mutants::run,
    },
    Proof {
        name: "coverage",
        help: coverage::HELP,
        needs: &[
            Need::program("cargo-llvm-cov", "0.8.7"),
            Need::Nightly,
            Need::Component("llvm-tools"),
        ],
        run: coverage::run,
    },
    Proof {
        name: "fuzz",
        help: fuzz::HELP,
        needs: &[Need::Compiler],
        run: fuzz::run,
    },
];

/// Whether a proof has this name.
pub(crate) fn is_one(name: &str) -> bool {
    PROOFS.iter().any(|proof| proof.name == name)
}

/// Runs one of them with more arguments.
///
/// # Errors
/// It failed. That it cannot run here is no error.
pub(crate) fn run(root: &Path, name: &str, more: &[&str]) -> anyhow::Result<()> {
    let proof = PROOFS.iter().find(|proof| proof.name == name);
    let proof = proof.with_context(|| format!("there is no proof called {name}"))?;
    if more.iter().any(|word| matches!(*word, "--help" | "-h")) {
        print!("{}", proof.help);
        return Ok(());
    }
    for need in proof.needs {
        if let Err(reason) = need.provide(root) {
            println!("skipped: {name}: {reason}");
            return Ok(());
        }
    }
    let started = now();
    match (proof.run)(root, more)? {
        Done::Passed(what) => println!("{name}: {what}, in {}", seconds(started.elapsed())),
        Done::Skipped(reason) => println!("skipped: {name}: {reason}"),
    }
    Ok(())
}

fn tsan(root: &Path, arguments: &[&str]) -> anyhow::Result<Done> {
    let (times, filter) = times_and_filter(arguments)?;
    let times = times.to_string();
    let ring = vec!["-p", "mq-core", "--lib", "--", "ring", "signal"];
    // Those that compile programs do so against the build next to them, which an instrumented one is not fit for.
    let facade = [
        "-p",
        "mq",
        "--lib",
        "--test",
        "it",
        "--",
        "--skip",
        "compiler::",
    ];
    let facade = [&facade[..], filter].concat();
    let mut passed = 0;
    for tests in [ring, facade] {
        println!("tsan: {}", tests.join(" "));
        let count = Invocation::cargo(&["+nightly", "test", "-Zbuild-std"])
            .arguments(&["--target", needs::host(root)?.as_str()])
            .arguments(&tests)
            .environment(&[
                ("RUSTFLAGS", "-Zsanitizer=thread"),
                ("CARGO_TARGET_DIR", "target/tsan"),
                ("MQ_STRESS", times.as_str()),
            ])
            .run_tests(root)?;
        if count.passed == 0 {
            bail!("no test ran");
        }
        passed += count.passed;
    }
    Ok(Done::Passed(format!("{passed} tests without a race")))
}

fn times_and_filter<'a>(arguments: &'a [&'a str]) -> anyhow::Result<(u32, &'a [&'a str])> {
    let ["--times", more @ ..] = arguments else {
        return Ok((5, arguments));
    };
    let (times, filter) = more.split_first().context("--times takes a number")?;
    Ok((times.parse().context("--times takes a number")?, filter))
}

fn miri(root: &Path, arguments: &[&str]) -> anyhow::Result<Done> {
    let seeds: u32 = match arguments {
        [] => 8,
        ["--seeds", seeds] => seeds.parse().context("--seeds takes a number")?,
        _ => bail!("unknown arguments; --help names them"),
    };
    let flags = format!("-Zmiri-many-seeds=0..{seeds}");
    Invocation::cargo(&["+nightly", "miri", "test", "-p", "mq-core", "--lib", "--"])
        .arguments(&["ring::", "signal::"])
        .environment(&[
            ("MIRIFLAGS", flags.as_str()),
            ("CARGO_TARGET_DIR", "target/miri"),
        ])
        .run(root)?;
    Ok(Done::Passed(format!("{seeds} schedules of each test")))
}

fn machete(root: &Path, arguments: &[&str]) -> anyhow::Result<Done> {
    Invocation::cargo(&["machete"])
        .arguments(arguments)
        .with_tools(root)
        .run(root)?;
    Ok(Done::Passed("every dependency is used".to_owned()))
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the seconds a proof took are measured on the real clock"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests;
