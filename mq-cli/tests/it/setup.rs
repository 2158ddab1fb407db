//! A store in a temporary folder, and ways to run the program on it.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tempfile::TempDir;

/// A folder for one store.
#[derive(Debug)]
pub(crate) struct Store {
    folder: TempDir,
}

/// What a run of the program left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Exit code; −1 if a signal ended it.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

impl Ran {
    /// The lines of its output, if it ended with 0.
    pub(crate) fn lines(&self) -> Vec<&str> {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self.stdout.lines().collect()
    }

    /// Each line of its output as JSON, if it ended with 0.
    pub(crate) fn json(&self) -> Vec<serde_json::Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap();
        self.lines().into_iter().map(parse).collect()
    }

    /// Its only JSON value.
    pub(crate) fn only_json(&self) -> serde_json::Value {
        let mut values = self.json();
        assert_eq!(values.len(), 1, "{}", self.stdout);
        values.remove(0)
    }
}

/// `mq ARGUMENTS`, for what needs no store.
pub(crate) fn mq(arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mq"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    ended(command.spawn().unwrap())
}

impl Store {
    /// A folder in which the store is not there yet.
    pub(crate) fn new() -> Store {
        Store {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// The store's folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Another file beside it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `mq VERB --data DIR REST`.
    pub(crate) fn command(&self, verb: &str, rest: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mq"));
        command
            .args(verb.split(' '))
            .arg("--data")
            .arg(self.data())
            .args(rest);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn mq(&self, verb: &str, rest: &[&str]) -> Ran {
        ended(self.command(verb, rest).spawn().unwrap())
    }

    /// Runs the program to its end with `input` on its standard input.
    pub(crate) fn mq_with(&self, input: &[u8], verb: &str, rest: &[&str]) -> Ran {
        let mut child = self
            .command(verb, rest)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // A program that stops reading early is no failure of the test.
        let feeding = thread::spawn(move || stdin.write_all(&input).ok());
        let ran = ended(child);
        feeding.join().unwrap();
        ran
    }

    /// Enqueues each line as it is into `queue`, and answers the ids.
    pub(crate) fn enqueue(&self, queue: &str, lines: &[String]) -> Vec<String> {
        let input = lines
            .iter()
            .map(|line| format!("{line}\n"))
            .collect::<String>();
        let ran = self.mq_with(input.as_bytes(), "enqueue", &["--queue", queue, "--raw"]);
        let ids: Vec<String> = ran.lines().into_iter().map(str::to_owned).collect();
        assert_eq!(ids.len(), lines.len());
        ids
    }

    /// Works on `queue` with a command that gives each message up: it goes dead.
    pub(crate) fn give_up(&self, queue: &str) -> Ran {
        let gives_up = ["--until-empty", "--", "sh", "-c", "exit 100"];
        self.mq("work", &[&["--queue", queue], &gives_up[..]].concat())
    }

    /// The store's counts.
    pub(crate) fn stats(&self) -> serde_json::Value {
        self.mq("stats", &["--json"]).only_json()
    }

    /// How many messages count against the capacity.
    pub(crate) fn live(&self) -> u64 {
        self.stats()
            .get("live_messages")
            .and_then(serde_json::Value::as_u64)
            .unwrap()
    }
}

fn ended(child: Child) -> Ran {
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A terminal of `columns` and 24 rows: its own end, and where programs open theirs.
pub(crate) fn terminal(columns: u16) -> (OwnedFd, String) {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let size = Winsize {
        ws_row: 24,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&terminal, size).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    (terminal, name.into_string().unwrap())
}

/// A program that is running, line by line.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    /// Its standard input, until it is dropped.
    pub(crate) stdin: Option<ChildStdin>,
    lines: BufReader<ChildStdout>,
}

impl Running {
    /// Starts `command` with its input and output in the test's hands; its errors go to the test's.
    pub(crate) fn start(mut command: Command) -> Running {
        let mut child = command
            .stdin(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        Running {
            stdin: child.stdin.take(),
            lines: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    /// The next line of its output, without its end; `None` when there will be none. A line without an end is none.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.strip_suffix('\n').map(str::to_owned)
    }

    /// Every line that is left.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.line()).collect()
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn pid(&self) -> Pid {
        let id = i32::try_from(self.child.id()).unwrap();
        Pid::from_raw(id).unwrap()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// From here on its writes beyond the first `bytes` of a file fail, as on a full disk.
    pub(crate) fn let_no_file_grow_beyond(&self, bytes: u64) {
        let limit = Rlimit {
            current: Some(bytes),
            maximum: Some(bytes),
        };
        prlimit(Some(self.pid()), Resource::Fsize, limit).unwrap();
    }

    /// Waits for its end and answers its exit code; −1 if a signal ended it.
    pub(crate) fn wait(&mut self) -> i32 {
        drop(self.stdin.take());
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has usually ended; if a test failed half-way, it must not stay behind.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
