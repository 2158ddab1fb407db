//! What the tests reach: lines and branches of each package, and the arms of mq-persistence that handle an error and were never taken.

use std::path::Path;

use anyhow::bail;

use super::Done;
use super::coverage_report::Report;
use crate::shell::Invocation;

pub(super) const HELP: &str = "\
usage: cargo xtask coverage

The tests of mq-core and mq-persistence, instrumented by LLVM (nightly: branches are counted only there); ten to twenty minutes with the build.
Prints lines, regions and branches of each package, then each place in mq-persistence where an error could have been passed on or made and
never was: `?` and `Err(...)`. The numbers are in target/coverage.json for other programs; nothing is judged here.
";

const OUTPUT: &str = "target/coverage.json";

pub(super) fn run(root: &Path, arguments: &[&str]) -> anyhow::Result<Done> {
    if !arguments.is_empty() {
        bail!("coverage takes no arguments; --help says more");
    }
    let mut command = Invocation::cargo(&["+nightly", "llvm-cov", "--branch", "--json"])
        .arguments(&["--skip-functions", "--output-path", OUTPUT])
        .arguments(&["--lib", "--tests", "--ignore-run-fail"]);
    for package in ["mq-core", "mq-persistence"] {
        command = command.arguments(&["-p", package]);
    }
    command.with_tools(root).run(root)?;
    let json = std::fs::read_to_string(root.join(OUTPUT))?;
    let report = Report::read(&json, root)?;
    print!("{}", report.packages());
    let arms = report.untaken_arms("mq-persistence/src");
    for arm in &arms {
        println!("{arm}");
    }
    Ok(Done::Passed(format!(
        "{} places in mq-persistence where an error was never passed on",
        arms.len()
    )))
}
