//! Runs every example as a user would: as a program, in an empty folder, to its end.
//!
//! An example passes when it exits with 0 within the limit. One that works until a signal comes is sent SIGTERM once it
//! has printed a line and listens for that signal, and has to end well after it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::shell::Invocation;

/// How long an example may say nothing: generous beside the second that each of them takes.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// How often it is looked whether a signal is due or the limit is over.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The call that marks an example as one that runs until it is told to stop.
const RUNS_UNTIL_SIGNAL: &str = "run_until_signal(";

#[derive(Debug)]
struct Example {
    name: String,
    until_signal: bool,
}

enum Event {
    Printed(String),
    Ended(std::io::Result<ExitStatus>),
}

/// Builds and runs every example of the facade.
///
/// # Errors
/// At the first example that does not build, does not exit with 0 or exceeds the limit.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let examples = list(&root.join("examples"))?;
    if examples.is_empty() {
        bail!("the folder examples/ holds no example");
    }
    // With every feature, so that examples that need one are built, too, and the library only once.
    Invocation::cargo(&["build", "--package", "mq", "--all-features", "--examples"]).run(root)?;
    for example in &examples {
        println!("example: {}", example.name);
        run_example(root, example).with_context(|| format!("example {}", example.name))?;
    }
    Ok(())
}

/// `examples/NAME.rs` and `examples/NAME/main.rs`, by name.
fn list(folder: &Path) -> anyhow::Result<Vec<Example>> {
    let mut examples = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        let source = if path.is_dir() {
            path.join("main.rs")
        } else {
            path.clone()
        };
        let name = path.file_stem().and_then(|stem| stem.to_str());
        let is_rust = source
            .extension()
            .is_some_and(|extension| extension == "rs");
        let (Some(name), true, true) = (name, is_rust, source.is_file()) else {
            continue;
        };
        examples.push(Example {
            name: name.to_owned(),
            until_signal: fs::read_to_string(&source)?.contains(RUNS_UNTIL_SIGNAL),
        });
    }
    examples.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(examples)
}

fn run_example(root: &Path, example: &Example) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let manifest = root.join("Cargo.toml");
    let manifest = manifest
        .to_str()
        .context("the repository's path is not UTF-8")?;
    let command = Invocation::cargo(&["run", "--quiet", "--manifest-path", manifest])
        .arguments(&["--package", "mq", "--all-features"])
        .arguments(&["--example", &example.name]);
    let mut child = command
        .command(folder.path())
        .process_group(0)
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child
        .stdout
        .take()
        .context("the example's output was piped")?;
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .context("no process id")?;
    let supervision = Supervision {
        events: &follow(child, stdout),
        pid,
        signal_due: example.until_signal,
        has_printed: false,
        silence: Duration::ZERO,
    };
    let status = supervision.run()?;
    if !status.success() {
        bail!("{status}");
    }
    Ok(())
}

/// Turns the child's output and end into events.
fn follow(mut child: Child, stdout: ChildStdout) -> Receiver<Event> {
    let (sender, receiver) = channel();
    let printed = sender.clone();
    thread::spawn(move || report_lines(stdout, &printed));
    // A receiver that is gone has given up on the example; there is nobody left to tell.
    thread::spawn(move || sender.send(Event::Ended(child.wait())).ok());
    receiver
}

fn report_lines(stdout: ChildStdout, printed: &Sender<Event>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        if printed.send(Event::Printed(line)).is_err() {
            return;
        }
    }
}

/// Follows an example to its end.
struct Supervision<'a> {
    events: &'a Receiver<Event>,
    pid: Pid,
    signal_due: bool,
    has_printed: bool,
    silence: Duration,
}

impl Supervision<'_> {
    fn run(mut self) -> anyhow::Result<ExitStatus> {
        loop {
            match self.events.recv_timeout(LOOK_EVERY) {
                Ok(Event::Printed(line)) => {
                    println!("  {line}");
                    self.has_printed = true;
                    self.silence = Duration::ZERO;
                }
                Ok(Event::Ended(status)) => return Ok(status?),
                Err(_) => self.look()?,
            }
        }
    }

    /// What there is to do when nothing happened for a while.
    fn look(&mut self) -> anyhow::Result<()> {
        self.silence += LOOK_EVERY;
        if self.silence > SILENCE_MAX {
            kill_process_group(self.pid, Signal::KILL)?;
            bail!(
                "neither ended nor printed a line for {} s",
                SILENCE_MAX.as_secs()
            );
        }
        if self.signal_due && self.has_printed && listens_for_sigterm(self.pid) {
            self.signal_due = false;
            kill_process(self.pid, Signal::TERM)?;
        }
        Ok(())
    }
}

/// Whether the process has a handler for SIGTERM, as Linux shows it; elsewhere a line printed has to be enough.
fn listens_for_sigterm(pid: Pid) -> bool {
    let status = Path::new("/proc")
        .join(pid.as_raw_nonzero().to_string())
        .join("status");
    fs::read_to_string(status).map_or(true, |status| catches_sigterm(&status))
}

/// Source: proc_pid_status(5): `SigCgt` is a mask in hexadecimal, signal 1 in the lowest bit.
fn catches_sigterm(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (Signal::TERM.as_raw() - 1)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_files_or_folders_with_a_main() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("hello.rs"), "fn main() {}").unwrap();
        fs::write(folder.path().join("notes.md"), "not an example").unwrap();
        fs::create_dir(folder.path().join("big")).unwrap();
        fs::write(
            folder.path().join("big/main.rs"),
            "engine.run_until_signal(workers)",
        )
        .unwrap();
        fs::create_dir(folder.path().join("shared")).unwrap();
        let found: Vec<(String, bool)> = list(folder.path())
            .unwrap()
            .into_iter()
            .map(|example| (example.name, example.until_signal))
            .collect();
        assert_eq!(
            found,
            [("big".to_owned(), true), ("hello".to_owned(), false)]
        );
    }

    #[test]
    fn a_handler_of_sigterm_is_seen_in_the_status() {
        assert!(catches_sigterm(
            "Name:\tx\nSigIgn:\t0000000000001000\nSigCgt:\t0000000000004002\n"
        ));
        assert!(!catches_sigterm("SigCgt:\t0000000000000002\n"));
        assert!(!catches_sigterm("Name:\tx\n"));
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        assert!(list(Path::new("no-such-folder")).is_err());
    }
}
