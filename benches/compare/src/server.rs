//! Servers of this run alone: on loopback, in a folder of their own, ended by their process id.
//!
//! Nothing that the system runs is touched: ports are free ones, configuration comes from the command line, and a server that
//! cannot be found or does not come up is an error that names it.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a server gets to answer, and to end.
const PATIENCE: Duration = Duration::from_secs(40);

/// A server that runs; it ends with this.
#[derive(Debug)]
pub struct Server {
    child: Child,
    ending: Signal,
    /// Its port on loopback.
    pub port: u16,
}

impl Server {
    /// Starts a command and waits until its port takes connections. What it prints goes into `log` in its folder.
    ///
    /// # Errors
    /// It is not installed, or it does not come up.
    pub fn start(
        mut command: Command,
        folder: &Path,
        port: u16,
        ending: Signal,
    ) -> anyhow::Result<Self> {
        let log = File::create(folder.join("log"))?;
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{name} is not installed"))?;
        let mut server = Self {
            child,
            ending,
            port,
        };
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if let Some(status) = server.child.try_wait()? {
                bail!("{name} ended: {status}: {}", tail(&folder.join("log")));
            }
            if began.elapsed() > PATIENCE {
                bail!("{name} does not answer: {}", tail(&folder.join("log")));
            }
            pause();
        }
        Ok(server)
    }

    /// The process and all its children.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        let mut family = vec![self.child.id()];
        let parents = parents();
        let mut looked = 0;
        while let Some(parent) = family.get(looked).copied() {
            looked += 1;
            let children = parents.iter().filter(|(_, of)| *of == parent);
            family.extend(children.map(|(child, _)| *child));
        }
        family
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let asked = id.is_some_and(|id| kill_process(id, self.ending).is_ok());
        let began = Instant::now();
        while asked && began.elapsed() < PATIENCE {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            pause();
        }
        // It would not end by itself: it, and what it has started.
        for id in self.processes() {
            let id = i32::try_from(id).ok().and_then(Pid::from_raw);
            let _gone = id.map(|id| kill_process(id, Signal::KILL));
        }
        drop(self.child.wait());
    }
}

fn pause() {
    std::thread::park_timeout(Duration::from_millis(20));
}

/// Every process and its parent.
fn parents() -> Vec<(u32, u32)> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| {
            let id: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?;
            Some((id, parent.parse().ok()?))
        })
        .collect()
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(3).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}

/// A port on loopback that nobody uses now.
///
/// # Errors
/// There is none.
pub fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// A new folder below `parent`, which a server that runs as `user` can use; `None` is the user of this process.
///
/// # Errors
/// What the file system says.
pub fn folder(parent: &Path, name: &str, user: Option<User>) -> anyhow::Result<PathBuf> {
    let folder = parent.join(name);
    std::fs::create_dir(&folder)?;
    if let Some(user) = user {
        std::fs::set_permissions(parent, std::fs::Permissions::from_mode(0o755))?;
        chown(&folder, Some(user.id), Some(user.group))?;
    }
    Ok(folder)
}

/// A user whom a server runs as that refuses to run as root.
#[derive(Clone, Copy, Debug)]
pub struct User {
    id: u32,
    group: u32,
}

impl User {
    /// The user `name`, if this process is root and may become it.
    ///
    /// # Errors
    /// There is no such user.
    pub fn instead_of_root(name: &str) -> anyhow::Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let users = std::fs::read_to_string("/etc/passwd")?;
        let line = users
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let mut fields = line.with_context(|| format!("no user {name}"))?.split(':');
        let mut number = || fields.nth(1).and_then(|word| word.parse().ok());
        let id = number().context("a user without a number")?;
        let group = fields.next().and_then(|word| word.parse().ok());
        Ok(Some(Self {
            id,
            group: group.context("a user without a group")?,
        }))
    }

    /// Lets a command run as this user.
    pub fn run(self, command: &mut Command) {
        command.uid(self.id).gid(self.group);
    }
}

/// Runs a command to its end.
///
/// # Errors
/// It is not installed, or it failed; its last words are in the error.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{name} is not installed"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        bail!("{name} failed: {}", words.trim());
    }
    Ok(())
}
