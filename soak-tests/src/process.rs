//! The child as the parent holds it: started, spoken to, listened to, stopped, continued, killed; never left behind.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use anyhow::Context;
use mq::environment::SystemClock;
use mq_core::time::Clock;
use rustix::process::{Pid, Signal, kill_process};

use crate::child::{Arguments, Told};
use crate::line::Said;

/// Lines that are read ahead; then the child waits.
const LINES: usize = 65_536;

/// A line and when it was read, on the parent's monotonic clock.
pub(crate) type Heard = (Duration, anyhow::Result<Said>);

/// A running child.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Heard>,
}

impl Process {
    /// Starts this program again as the child, behind `wrapper` if there is one (`strace …`); what it says on standard
    /// error goes to `errors`, if given.
    ///
    /// # Errors
    /// The operating system refused.
    pub(crate) fn start(
        wrapper: &[String],
        arguments: &Arguments,
        clock: SystemClock,
        errors: Option<File>,
    ) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut command = match wrapper.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
            None => Command::new(program),
        };
        command
            .arg("child")
            .args(words(arguments))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if let Some(errors) = errors {
            command.stderr(errors);
        }
        let mut child = command.spawn().context("cannot start the child")?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("the child has no output")?;
        let (sender, lines) = sync_channel(LINES);
        std::thread::spawn(move || {
            let mut reader = BufReader::with_capacity(1 << 16, stdout);
            let mut line = String::new();
            loop {
                line.clear();
                let heard = match reader.read_line(&mut line) {
                    Ok(0) => return,
                    // A last line that was cut by the kill was not said.
                    Ok(_) if !line.ends_with('\n') => return,
                    Ok(_) => Said::parse(line.trim_end()),
                    Err(error) => Err(error.into()),
                };
                if sender.send((clock.monotonic(), heard)).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            child,
            stdin,
            lines,
        })
    }

    /// Says something. A child that has died does not hear it.
    pub(crate) fn tell(&mut self, told: &Told) {
        if let Some(stdin) = &mut self.stdin
            && stdin.write_all(told.line().as_bytes()).is_err()
        {
            self.stdin = None;
        }
    }

    /// The next line, if one comes within `limit`; `None` for none; an error when no more come.
    pub(crate) fn hear(&self, limit: Duration) -> Result<Option<Heard>, RecvTimeoutError> {
        match self.lines.recv_timeout(limit) {
            Ok(heard) => Ok(Some(heard)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(ended @ RecvTimeoutError::Disconnected) => Err(ended),
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// There is no such process.
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("no process id")?, signal).context("cannot signal the child")
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub(crate) fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        drop(self.stdin.take());
        self.child.wait().context("cannot wait for the child")
    }

    /// Its figures, as the operating system sees them.
    pub(crate) fn figures(&self) -> Option<Usage> {
        Usage::of(self.child.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has usually ended; then there is nobody to kill, and nothing to say.
        if self.child.kill().is_ok() && self.child.wait().is_err() {
            eprintln!("the child {} could not be waited for", self.child.id());
        }
    }
}

fn words(arguments: &Arguments) -> Vec<String> {
    let mut words = vec![
        "--store".to_owned(),
        arguments.store.display().to_string(),
        format!("--first={}", arguments.first),
        format!("--rate={}", arguments.rate),
        format!("--cold={}", arguments.cold),
        format!("--offset={}", arguments.offset),
        format!("--segment={}", arguments.segment),
        format!("--seed={}", arguments.seed),
    ];
    if arguments.frail {
        words.push("--frail".to_owned());
    }
    words
}

/// What a process uses.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Resident memory in bytes.
    pub(crate) memory: u64,
    /// Open descriptors.
    pub(crate) descriptors: u64,
    pub(crate) threads: u64,
}

impl Usage {
    fn of(pid: u32) -> Option<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        Some(Self {
            memory: field("VmRSS:")? * 1024,
            descriptors: descriptors as u64,
            threads: field("Threads:")?,
        })
    }
}

/// Bytes that the files of a folder take on the disk.
pub(crate) fn disk_use(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let files = entries.filter_map(|entry| entry.ok()?.metadata().ok());
    files.map(|file| file.blocks() * 512).sum()
}
