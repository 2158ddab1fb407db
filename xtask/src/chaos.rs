//! Runs the suites of `chaos-tests`, built with optimisation and assertions.

use std::path::Path;

use crate::shell::Invocation;

/// Runs the suites with these arguments.
///
/// # Errors
/// When a suite fails.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    suites(arguments).run(root)
}

/// The command that runs the suites.
pub(crate) fn suites(arguments: &[&str]) -> Invocation {
    let program = ["run", "--quiet", "--profile", "chaos", "-p", "chaos-tests"];
    Invocation::cargo(&program)
        .arguments(&["--bin", "chaos", "--"])
        .arguments(arguments)
}
