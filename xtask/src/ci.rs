//! Every check before a change lands, in one table, in the order in which they run.
//!
//! Cheap checks stand first. All but the concurrency models and the demo share the development profile, so that the
//! whole table builds the dependencies few times. The first failure ends the run and names the command that repeats it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::shell::{Invocation, TestCount};
use crate::{examples, production, tidy};

/// One check.
struct Step {
    name: &'static str,
    what: &'static str,
    work: Work,
}

/// What a check does.
enum Work {
    /// One cargo command.
    Cargo(&'static [&'static str], Environment),
    /// One cargo command that runs tests, whose totals are added up.
    Tests(&'static [&'static str], Environment),
    /// The source rules.
    Tidy,
    /// What production builds are made of.
    Production,
    /// The ring under miri, where miri is installed.
    Miri,
    /// Every example as a program.
    Examples,
}

type Environment = &'static [(&'static str, &'static str)];

/// What became of a check.
enum Outcome {
    Passed(TestCount),
    Skipped(&'static str),
}

const LOOM: Environment = &[
    ("RUSTFLAGS", "--cfg loom"),
    ("CARGO_TARGET_DIR", "target/loom"),
];
const SHUTTLE: Environment = &[
    ("RUSTFLAGS", "--cfg shuttle"),
    ("CARGO_TARGET_DIR", "target/shuttle"),
];
const MIRI: Environment = &[("CARGO_TARGET_DIR", "target/miri")];

const STEPS: &[Step] = &[
    Step {
        name: "fmt",
        what: "the source is formatted as rustfmt ships",
        work: Work::Cargo(&["fmt", "--all", "--check"], &[]),
    },
    Step {
        name: "tidy",
        what: "sizes, forbidden words, unsafe code, file headers",
        work: Work::Tidy,
    },
    Step {
        name: "production",
        what: "nothing that runs in production depends on mq-testing",
        work: Work::Production,
    },
    Step {
        name: "clippy",
        what: "every target, warnings are errors",
        work: Work::Cargo(
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ],
            &[],
        ),
    },
    Step {
        name: "top",
        what: "the view on a terminal, which is not built by default",
        work: Work::Cargo(
            &[
                "clippy",
                "-p",
                "mq-cli",
                "--features",
                "top",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ],
            &[],
        ),
    },
    Step {
        name: "top-tests",
        what: "what the view shows, at every size",
        work: Work::Tests(&["test", "-p", "mq-cli", "--features", "top", "top::"], &[]),
    },
    Step {
        name: "otel",
        what: "the facade with every feature: lints, and the tests of traces and metrics",
        work: Work::Cargo(
            &[
                "clippy",
                "--package",
                "mq",
                "--all-features",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ],
            &[],
        ),
    },
    Step {
        name: "otel-test",
        what: "traces go on through stored messages, metrics reach a meter",
        work: Work::Tests(
            &["test", "--package", "mq", "--all-features", "--lib", "otel"],
            &[],
        ),
    },
    Step {
        name: "rustdoc",
        what: "the reference builds without a warning",
        work: Work::Cargo(
            &["doc", "--workspace", "--no-deps"],
            &[("RUSTDOCFLAGS", "-D warnings")],
        ),
    },
    Step {
        name: "loom",
        what: "every interleaving of small models of the ring and the shell",
        work: Work::Tests(&["test", "-p", "mq-core", "--test", "loom_*"], LOOM),
    },
    Step {
        name: "shuttle",
        what: "many random schedules of their large models",
        work: Work::Tests(&["test", "-p", "mq-core", "--test", "shuttle_*"], SHUTTLE),
    },
    Step {
        name: "miri",
        what: "the ring and the signal under miri, where it is installed",
        work: Work::Miri,
    },
    Step {
        name: "examples",
        what: "every example ends with exit code 0 in a folder of its own",
        work: Work::Examples,
    },
    Step {
        name: "demo",
        what: "the program's own demonstration",
        work: Work::Cargo(&["run", "--release", "--", "demo"], &[]),
    },
    Step {
        name: "doctest",
        what: "every example in the reference",
        work: Work::Tests(&["test", "--workspace", "--doc"], &[]),
    },
    Step {
        name: "chaos",
        what: "the short form of every suite of cargo xtask chaos",
        work: Work::Cargo(
            &[
                "run",
                "-p",
                "chaos-tests",
                "--bin",
                "chaos",
                "--",
                "--quick",
            ],
            &[],
        ),
    },
    Step {
        name: "test",
        what: "unit, integration and crash tests of every crate",
        work: Work::Tests(
            &[
                "test",
                "--workspace",
                "--lib",
                "--bins",
                "--tests",
                "--examples",
            ],
            &[],
        ),
    },
];

/// The table, one line a step.
pub(crate) fn list() -> String {
    STEPS
        .iter()
        .map(|step| format!("{:<10} {}\n", step.name, step.what))
        .collect()
}

/// Runs every step in order.
///
/// # Errors
/// At the first step that fails; the later ones did not run.
pub(crate) fn run_all(root: &Path) -> anyhow::Result<()> {
    let started = now();
    let mut total = TestCount::default();
    for step in STEPS {
        total += run(root, step)?;
    }
    println!("ci: every step done in {}", seconds(started.elapsed()));
    println!("{} passed, {} failed", total.passed, total.failed);
    Ok(())
}

/// Runs the step called `name`.
///
/// # Errors
/// When there is no such step, or it fails.
pub(crate) fn run_one(root: &Path, name: &str) -> anyhow::Result<()> {
    let step = STEPS.iter().find(|step| step.name == name);
    let step =
        step.with_context(|| format!("no step is called {name}; the steps are\n{}", list()))?;
    run(root, step).map(drop)
}

fn run(root: &Path, step: &Step) -> anyhow::Result<TestCount> {
    println!("ci: {}: {}", step.name, step.what);
    let started = now();
    let outcome = work(root, &step.work);
    let took = seconds(started.elapsed());
    match outcome {
        Ok(Outcome::Passed(count)) => {
            println!("ci: {}: done in {took}", step.name);
            Ok(count)
        }
        Ok(Outcome::Skipped(reason)) => {
            println!("skipped: {}: {reason}", step.name);
            Ok(TestCount::default())
        }
        Err(error) => bail!(
            "{}: failed after {took}: {error:#}\nrun it again with: cargo xtask ci --only {}",
            step.name,
            step.name
        ),
    }
}

fn work(root: &Path, work: &Work) -> anyhow::Result<Outcome> {
    let passed = |()| Outcome::Passed(TestCount::default());
    match work {
        Work::Cargo(arguments, environment) => Invocation::cargo(arguments)
            .environment(environment)
            .run(root)
            .map(passed),
        Work::Tests(arguments, environment) => run_tests(root, arguments, environment),
        Work::Tidy => tidy::run(root).map(passed),
        Work::Production => production::check(root).map(passed),
        Work::Miri => miri(root),
        Work::Examples => examples::run(root).map(passed),
    }
}

/// A test command that ran no test is a mistake in this table, not a success.
fn run_tests(root: &Path, arguments: &[&str], environment: Environment) -> anyhow::Result<Outcome> {
    let command = Invocation::cargo(arguments).environment(environment);
    let count = command.run_tests(root)?;
    if count == TestCount::default() {
        bail!("{command}: no test ran");
    }
    Ok(Outcome::Passed(count))
}

fn miri(root: &Path) -> anyhow::Result<Outcome> {
    let installed = Invocation::cargo(&["+nightly", "miri", "--version"]).succeeds(root);
    if !installed {
        return Ok(Outcome::Skipped(
            "not installed (rustup +nightly component add miri)",
        ));
    }
    run_tests(
        root,
        &[
            "+nightly", "miri", "test", "-p", "mq-core", "--lib", "--", "ring::", "signal::",
        ],
        MIRI,
    )
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the seconds a step took are measured on the real clock"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn step_names_are_distinct_and_listed() {
        let names: BTreeSet<&str> = STEPS.iter().map(|step| step.name).collect();
        assert_eq!(names.len(), STEPS.len());
        for name in names {
            assert!(list().contains(name), "{name} is not listed");
        }
    }

    #[test]
    fn an_unknown_step_is_answered_with_the_table() {
        let error = run_one(Path::new("."), "lint").unwrap_err().to_string();
        assert!(
            error.contains("no step is called lint") && error.contains("clippy"),
            "{error}"
        );
    }
}
