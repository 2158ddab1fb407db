//! One run of the user's command for one message.
//!
//! The command gets the payload on its standard input and the facts in its environment, in a process group of its own,
//! so that a signal meant for this program does not reach it, and so that all of it can be ended at once. What it
//! prints on standard output passes through; standard error passes through too, and its last 4 KiB become the error
//! text of a failed attempt.
//!
//! Standard input is a file in memory, not a pipe: it is whole before the command starts, so that a command that
//! outlives this program never takes the beginning of a payload for all of it.
//!
//! Invariants: a group is signalled only while its leader has not been waited for, so that its id cannot belong to
//! others; a run that is dropped kills its group. Processes that the command leaves behind when it ends by itself are
//! left alone.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use mq_core::limits::ERROR_SIZE_MAX;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;
use tokio::time;

use super::verdict::Ended;

/// How long the error text may still trickle in after the command ended: what it wrote is in the pipe by then, but a
/// process it left behind may hold the pipe open for ever.
const STDERR_GRACE: Duration = Duration::from_millis(100);

/// The user's command.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// Its name or path.
    pub(crate) name: OsString,
    /// Its arguments.
    pub(crate) arguments: Vec<OsString>,
    /// How long one run may take.
    pub(crate) timeout: Duration,
}

/// What a run is for.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// Standard input.
    pub(crate) payload: Bytes,
    /// `MQ_MESSAGE_ID`.
    pub(crate) message_id: String,
    /// `MQ_ATTEMPT`.
    pub(crate) attempt: u32,
    /// `MQ_QUEUE`.
    pub(crate) queue: String,
    /// `MQ_KIND`.
    pub(crate) kind: String,
    /// `MQ_LEASE`.
    pub(crate) lease: String,
}

impl Program {
    /// Runs the command for `job` until it ends, its time is up, or `stop` resolves.
    pub(crate) async fn run(&self, job: Job, stop: impl Future<Output = ()>) -> Ended {
        let mut child = match self.spawn(&job) {
            Ok(child) => child,
            Err(error) => return Ended::NotStarted(error),
        };
        let group = Group::of(&child);
        let tail = Tail::default();
        let reading = child
            .stderr
            .take()
            .map(|stderr| tokio::spawn(pass_through(stderr, tail.clone())));
        let ended = tokio::select! {
            status = child.wait() => reaped(status, group),
            () = time::sleep(self.timeout) => {
                end(&mut child, group).await;
                Ended::TimedOut(self.timeout)
            }
            () = stop => {
                end(&mut child, group).await;
                Ended::Stopped
            }
        };
        finish_reading(reading).await;
        ended.with_error_text(&tail.text())
    }

    fn spawn(&self, job: &Job) -> io::Result<Child> {
        Command::new(&self.name)
            .args(&self.arguments)
            .env("MQ_MESSAGE_ID", &job.message_id)
            .env("MQ_ATTEMPT", job.attempt.to_string())
            .env("MQ_QUEUE", &job.queue)
            .env("MQ_KIND", &job.kind)
            .env("MQ_LEASE", &job.lease)
            .stdin(whole(&job.payload)?)
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
    }
}

fn reaped(status: io::Result<ExitStatus>, group: Group) -> Ended {
    match status {
        Ok(status) => {
            group.forget();
            Ended::Exited(status)
        }
        // The group is killed as it is dropped: its leader may still be running.
        Err(error) => Ended::NotStarted(error),
    }
}

/// Kills the whole group and waits for its leader.
async fn end(child: &mut Child, group: Group) {
    group.kill();
    if child.wait().await.is_ok() {
        group.forget();
    }
}

/// The payload as a file in memory, to be read from its beginning.
fn whole(payload: &[u8]) -> io::Result<Stdio> {
    let mut file = file_in_memory()?;
    file.write_all(payload)?;
    file.rewind()?;
    Ok(Stdio::from(file))
}

#[cfg(target_os = "linux")]
fn file_in_memory() -> io::Result<File> {
    use rustix::fs::{MemfdFlags, memfd_create};
    Ok(File::from(memfd_create("mq payload", MemfdFlags::CLOEXEC)?))
}

/// Elsewhere an unnamed temporary file does the same, more slowly.
#[cfg(not(target_os = "linux"))]
fn file_in_memory() -> io::Result<File> {
    tempfile::tempfile()
}

/// Copies the command's errors to ours and remembers the end of them.
async fn pass_through(mut stderr: ChildStderr, tail: Tail) -> io::Result<()> {
    let mut buffer = vec![0; ERROR_SIZE_MAX];
    let mut ours = tokio::io::stderr();
    loop {
        let len = stderr.read(&mut buffer).await?;
        let Some(bytes) = buffer.get(..len).filter(|bytes| !bytes.is_empty()) else {
            return Ok(());
        };
        tail.push(bytes);
        // Whoever read ours may be gone; the command must not suffer for it.
        ours.write_all(bytes).await.ok();
    }
}

async fn finish_reading(reading: Option<JoinHandle<io::Result<()>>>) {
    if let Some(mut reading) = reading
        && time::timeout(STDERR_GRACE, &mut reading).await.is_err()
    {
        reading.abort();
    }
}

/// The process group of a run.
#[derive(Debug)]
struct Group {
    leader: Option<Pid>,
}

impl Group {
    fn of(child: &Child) -> Group {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Group {
            leader: id.and_then(Pid::from_raw),
        }
    }

    fn kill(&self) {
        if let Some(leader) = self.leader {
            // The only failure is that no process of the group is left, which is what was wanted.
            kill_process_group(leader, Signal::KILL).ok();
        }
    }

    /// The leader has been waited for: from now on its id may be another process's.
    fn forget(mut self) {
        self.leader = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last [`ERROR_SIZE_MAX`] bytes of what was pushed.
#[derive(Clone, Debug, Default)]
struct Tail {
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Tail {
    fn push(&self, more: &[u8]) {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.extend_from_slice(more);
        let surplus = bytes.len().saturating_sub(ERROR_SIZE_MAX);
        bytes.drain(..surplus);
    }

    fn text(&self) -> String {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }
}

#[cfg(test)]
mod tests;
