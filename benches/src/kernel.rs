//! Syncs as the kernel counts them: `perf stat` on its tracepoints of `fdatasync`, `fsync` and `msync`.
//!
//! It needs `perf` and a readable tracefs, which usually means root; where they are not there, nothing is counted and that
//! is said. The tracepoints cost every system call a little, a tenth of a
//! microsecond or so: the goals are measured without, other queues and mq beside them all with.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use mq::environment::Environment;
use rustix::process::{Pid, Signal, kill_process};

/// The calls that make something durable.
const EVENTS: &str = "syscalls:sys_enter_fdatasync,syscalls:sys_enter_fsync,syscalls:sys_enter_msync,syscalls:sys_enter_sync_file_range";

/// How long `perf` gets to attach itself.
const SETTLE: Duration = Duration::from_millis(400);

/// How often it is tried again.
const RETRIES: usize = 3;

fn is_alive(process: &u32) -> bool {
    Path::new("/proc").join(process.to_string()).exists()
}

/// A count that runs.
#[derive(Debug)]
pub struct KernelCount(Child);

impl KernelCount {
    /// Begins to count the syncs of some processes and of the threads and processes they start from now on.
    ///
    /// # Errors
    /// `perf` is not there, or may not look.
    pub fn start(processes: &[u32]) -> anyhow::Result<Self> {
        let mut started = Self::start_once(processes);
        // A process that has just ended makes perf give up.
        for _ in 0..RETRIES {
            if started.is_ok() {
                break;
            }
            let alive: Vec<u32> = processes.iter().copied().filter(is_alive).collect();
            started = Self::start_once(&alive);
        }
        started
    }

    fn start_once(processes: &[u32]) -> anyhow::Result<Self> {
        let list: Vec<String> = processes.iter().map(u32::to_string).collect();
        let mut child = Command::new("perf")
            .args(["stat", "-x", ",", "-e", EVENTS, "-p", &list.join(",")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start perf")?;
        Environment::real().park.parker().park(Some(SETTLE));
        if child.try_wait()?.is_some() {
            bail!("perf stat ended at once: it may not count system calls here");
        }
        Ok(Self(child))
    }

    /// Ends the count and says how many syncs there were.
    ///
    /// # Errors
    /// `perf` told something else than numbers.
    pub fn finish(self) -> anyhow::Result<u64> {
        let id = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        kill_process(id.context("perf has no process id")?, Signal::INT)?;
        let output = self.0.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stderr);
        let counts: Vec<u64> = text
            .lines()
            .filter(|line| line.contains("syscalls:"))
            .filter_map(|line| line.split(',').next()?.parse().ok())
            .collect();
        if counts.is_empty() {
            bail!("perf stat counted nothing: {}", text.trim());
        }
        Ok(counts.iter().sum())
    }
}
