//! One command of another program: printable as it would be typed, run with its output passed through.
//!
//! A test run's closing lines are added up on the way, so that the whole check can end with one total. Nothing is
//! captured or reordered: what a person sees is what the command printed.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::mem;
use std::ops::AddAssign;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};

/// How long a test command may print nothing: longer than the longest build and the longest test take.
const SILENCE_MAX: Duration = Duration::from_secs(15 * 60);

/// Where the project's own commands install programs that they need, from the top of the repository.
pub(crate) const TOOLS: &str = "target/tools";

/// A command line with its environment.
#[derive(Clone, Debug)]
pub(crate) struct Invocation {
    environment: Vec<(&'static str, String)>,
    arguments: Vec<String>,
    /// The path on which programs are looked for, if not that of this program.
    path: Option<OsString>,
}

impl Invocation {
    /// `cargo ARGUMENTS…`, with the cargo found on the path so that `+toolchain` works.
    pub(crate) fn cargo(arguments: &[&str]) -> Invocation {
        let words = arguments.iter().map(|word| (*word).to_owned());
        Invocation {
            environment: Vec::new(),
            arguments: words.collect(),
            path: None,
        }
    }

    /// Appends arguments.
    pub(crate) fn arguments(mut self, more: &[&str]) -> Invocation {
        self.arguments
            .extend(more.iter().map(|word| (*word).to_owned()));
        self
    }

    /// Sets environment variables of the command.
    pub(crate) fn environment(mut self, variables: &[(&'static str, &str)]) -> Invocation {
        let variables = variables.iter();
        self.environment
            .extend(variables.map(|(name, value)| (*name, (*value).to_owned())));
        self
    }

    /// Looks for programs in [`TOOLS`] first.
    pub(crate) fn with_tools(mut self, root: &Path) -> Invocation {
        let mut path = root.join(TOOLS).join("bin").into_os_string();
        if let Some(rest) = std::env::var_os("PATH") {
            path.push(":");
            path.push(rest);
        }
        self.path = Some(path);
        self
    }

    /// The command, ready to spawn, in `folder`.
    pub(crate) fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new("cargo");
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .envs(self.path.iter().map(|path| ("PATH", path)))
            // Set by `cargo run` for this program; some subcommands take it for a sign that they were not started by cargo.
            .env_remove("CARGO_PKG_NAME")
            .current_dir(folder)
            .stdin(Stdio::null());
        command
    }

    /// Runs the command with its output passed through.
    ///
    /// # Errors
    /// When it cannot be started or does not exit with 0.
    pub(crate) fn run(&self, folder: &Path) -> anyhow::Result<()> {
        let status = self
            .command(folder)
            .status()
            .with_context(|| format!("start {self}"))?;
        if !status.success() {
            bail!("{self}: {status}");
        }
        Ok(())
    }

    /// Runs a test command with its output passed through, and adds up the tests it reports.
    ///
    /// # Errors
    /// When it cannot be started, says nothing for [`SILENCE_MAX`], or does not exit with 0.
    pub(crate) fn run_tests(&self, folder: &Path) -> anyhow::Result<TestCount> {
        let mut command = self.command(folder);
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {self}"))?;
        let stdout = child
            .stdout
            .take()
            .context("the child's output was piped")?;
        let Some(count) = pass_through(&lines(BufReader::new(stdout)), &mut io::stdout())? else {
            end(&mut child)?;
            bail!(
                "{self}: printed nothing for {} minutes: a test hangs",
                SILENCE_MAX.as_secs() / 60
            );
        };
        let status = child.wait()?;
        if !status.success() {
            bail!("{self}: {status}");
        }
        Ok(count)
    }

    /// Runs the command and answers what it printed.
    ///
    /// # Errors
    /// When it cannot be started, does not exit with 0 or prints no text.
    pub(crate) fn output(&self, folder: &Path) -> anyhow::Result<String> {
        let ended = self.command(folder).stderr(Stdio::inherit()).output();
        let ended = ended.with_context(|| format!("start {self}"))?;
        if !ended.status.success() {
            bail!("{self}: {}", ended.status);
        }
        Ok(String::from_utf8(ended.stdout)?)
    }

    /// Whether the command exits with 0; what it prints is dropped.
    pub(crate) fn succeeds(&self, folder: &Path) -> bool {
        let mut command = self.command(folder);
        let silent = command.stdout(Stdio::null()).stderr(Stdio::null());
        silent.status().is_ok_and(|status| status.success())
    }
}

impl fmt::Display for Invocation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.environment {
            write!(out, "{name}={} ", quoted(value))?;
        }
        write!(out, "cargo")?;
        for word in &self.arguments {
            write!(out, " {}", quoted(word))?;
        }
        Ok(())
    }
}

fn quoted(word: &str) -> String {
    if word.contains([' ', '*', '\'']) {
        format!("'{}'", word.replace('\'', r"'\''"))
    } else {
        word.to_owned()
    }
}

/// How many tests ran, as the test runner counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TestCount {
    /// Tests that passed.
    pub(crate) passed: u64,
    /// Tests that failed.
    pub(crate) failed: u64,
}

impl AddAssign for TestCount {
    fn add_assign(&mut self, other: TestCount) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// The lines of `output` as they come, read on a thread of their own so that they can be waited for with a limit.
fn lines(mut output: impl BufRead + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
            if sender.send(mem::take(&mut line)).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Copies lines until they end and adds up what they count; `None` if they stopped coming.
fn pass_through(lines: &Receiver<Vec<u8>>, to: &mut impl Write) -> io::Result<Option<TestCount>> {
    let mut total = TestCount::default();
    loop {
        match lines.recv_timeout(SILENCE_MAX) {
            Ok(line) => {
                to.write_all(&line)?;
                total += closing_line(&String::from_utf8_lossy(&line)).unwrap_or_default();
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(Some(total)),
            Err(RecvTimeoutError::Timeout) => return Ok(None),
        }
    }
}

/// Kills a command and what it started itself. The command stays in the group of this program, so that an interrupt
/// from the keyboard reaches it; so its children are looked for by their parent.
fn end(child: &mut Child) -> io::Result<()> {
    let parent = child.id().to_string();
    let ended = Command::new("pkill")
        .args(["-KILL", "-P", &parent])
        .status();
    if ended.is_err() {
        eprintln!("xtask: there is no pkill here; what cargo started may go on running");
    }
    child.kill()?;
    child.wait().map(drop)
}

/// Reads `test result: ok. 3 passed; 0 failed; …`.
fn closing_line(line: &str) -> Option<TestCount> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut count = TestCount::default();
    for part in counts.split(';') {
        match part.trim().split_once(' ') {
            Some((number, "passed")) => count.passed = number.parse().ok()?,
            Some((number, "failed")) => count.failed = number.parse().ok()?,
            _ => {}
        }
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_of_a_test_run_are_added_up() {
        let output = "running 3 tests\n\
            test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
            test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n";
        let mut seen = Vec::new();
        let count = pass_through(&lines(output.as_bytes()), &mut seen).unwrap();
        assert_eq!(seen, output.as_bytes());
        let expected = TestCount {
            passed: 7,
            failed: 2,
        };
        assert_eq!(count, Some(expected));
    }

    #[test]
    fn other_lines_count_nothing() {
        assert_eq!(closing_line("test result_is_kept ... ok"), None);
        assert_eq!(closing_line("3 passed; 0 failed"), None);
    }

    #[test]
    fn a_command_is_printed_as_it_would_be_typed() {
        let command = Invocation::cargo(&["test", "--test", "loom_*"])
            .environment(&[("RUSTFLAGS", "--cfg loom")]);
        assert_eq!(
            command.to_string(),
            "RUSTFLAGS='--cfg loom' cargo test --test 'loom_*'"
        );
    }
}
