//! Runs the suites of `chaos-tests`, built with optimisation and assertions.

use std::path::Path;

use crate::shell::Invocation;

/// The build with mistakes in it, in a folder of its own: nothing else is ever linked with it.
const CANARIES: &[(&str, &str)] = &[
    ("RUSTFLAGS", "--cfg mq_canary"),
    ("CARGO_TARGET_DIR", "target/canary"),
];

/// Runs the suites with these arguments.
///
/// # Errors
/// When a suite fails.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = suites(arguments);
    if arguments.contains(&"--canaries") {
        command = command.environment(CANARIES);
    }
    command.run(root)
}

/// The command that runs the suites.
pub(crate) fn suites(arguments: &[&str]) -> Invocation {
    let program = ["run", "--quiet", "--profile", "chaos", "-p", "chaos-tests"];
    Invocation::cargo(&program)
        .arguments(&["--bin", "chaos", "--"])
        .arguments(arguments)
}
