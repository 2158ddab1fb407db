//! A PostgreSQL server of this run alone, for the peers that work on it.

use std::path::Path;
use std::process::Command;

use anyhow::Context;
use rustix::process::Signal;

use crate::server::{Server, User, folder, free_port, run};

/// Connections that the callers share, pipelined or queued where there are more callers.
pub const CONNECTIONS: u32 = 64;
/// Who may do everything, without a password, from loopback.
pub const USER: &str = "bench";
/// A database that is there.
pub const DATABASE: &str = "postgres";
/// Where Debian puts the programs that are not for users.
const FOLDERS: &str = "/usr/lib/postgresql";

/// Makes a cluster in a folder below `parent` and starts a server for it, with default settings but for the number of
/// connections. The port may be open before the server lets anybody in.
///
/// # Errors
/// It is not installed, or it does not come up.
pub fn start(parent: &Path) -> anyhow::Result<Server> {
    let user = User::instead_of_root("postgres")?;
    let folder = folder(parent, "postgres", user)?;
    let bin = std::fs::read_dir(FOLDERS)
        .context("postgresql is not installed")?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .max()
        .context("postgresql is not installed")?;
    let data = folder.join("data");
    let mut init = Command::new(bin.join("initdb"));
    init.args(["--auth", "trust", "--username", USER]);
    init.args(["--encoding", "UTF8", "-D"]);
    init.arg(&data).current_dir(&folder);
    let port = free_port()?;
    let mut command = Command::new(bin.join("postgres"));
    command.arg("-D").arg(&data).current_dir(&folder);
    command.args(["-h", "127.0.0.1", "-p", &port.to_string()]);
    for setting in ["max_connections=300", "unix_socket_directories="] {
        command.args(["-c", setting]);
    }
    if let Some(user) = user {
        user.run(&mut init);
        user.run(&mut command);
    }
    run(&mut init)?;
    Server::start(command, &folder, port, Signal::INT)
}
