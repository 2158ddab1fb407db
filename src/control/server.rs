//! The owner's side: a socket in the store's folder, served by one thread for as long as the engine is open.
//!
//! Invariants
//! - The socket is made and removed while the store's lock is held, so that it always belongs to the owner, and what a
//!   dead owner left behind may be replaced.
//! - Nothing a caller does holds up the engine: lines, connections, calls under way and their bytes are bounded, and
//!   who does not read its answers is hung up on.
//! - Answers leave in the order of the calls. A message is put on its way when its line was read, so many can share a
//!   sync; any other call is carried out before the next line is read.
//! - Closing reads no further line, lets the answers of those that were read out, and then waits for nobody.
//!
//! Only a store in a real folder has a socket; a simulated one and one in memory have none.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use mq_core::limits::CONTROL_CONNECTIONS_MAX;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time;

use super::fault::CallError;
use super::line::{AnswerLine, Greeting};
use super::place;
use super::{PROTOCOL, connection};
use crate::engine::{Engine, program_name};
use crate::environment::Spawn;

/// How long callers that do not read their last answers hold up the end of the engine.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long to wait after the system had no more files for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Whether other processes can talk to this owner.
#[derive(Debug)]
#[non_exhaustive]
pub enum ControlSocket {
    /// No: it is turned off, or the store is not in a real folder.
    Off,
    /// Yes, here.
    At(PathBuf),
    /// No: it could not be made. Everything else works.
    Failed {
        /// Where it should be.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Calls are taken.
    Serving,
    /// No further line is read.
    Closing,
    /// Every answer is there.
    Closed,
}

/// The owner's end of a socket that is served.
#[derive(Debug)]
pub(crate) struct Server {
    phase: watch::Sender<Phase>,
}

impl Server {
    /// Makes the socket in `folder` and serves `engine` on a thread of its own, which ends after [`Server::end`].
    ///
    /// # Errors
    /// What the system said; nothing is left behind.
    pub(crate) fn start(
        folder: &Path,
        engine: Engine,
        spawn: &dyn Spawn,
    ) -> io::Result<(Server, PathBuf, JoinHandle<()>)> {
        let folder = fs::canonicalize(folder)?;
        let listener = bind(&folder)?;
        let path = place::socket(&folder);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (phase, watched) = watch::channel(Phase::Serving);
        let remove = Remove(path.clone());
        let work = move || {
            let served = runtime.block_on(serve(listener, &engine, watched));
            // A call that takes long holds nothing up: it finds the engine closed.
            runtime.shutdown_timeout(LAST_WORDS);
            drop(remove);
            if let Err(error) = served {
                tracing::warn!(%error, "the control socket is not served any more");
            }
        };
        let thread = spawn.spawn("mq-control", Box::new(work))?;
        Ok((Server { phase }, path, thread))
    }

    /// Reads no further line. Call it before the engine is closed.
    pub(crate) fn stop_taking(&self) {
        self.advance(Phase::Closing);
    }

    /// Ends the thread within [`LAST_WORDS`]. Call it when the engine is closed.
    pub(crate) fn end(&self) {
        self.advance(Phase::Closed);
    }

    fn advance(&self, to: Phase) {
        self.phase.send_if_modified(|phase| {
            let later = *phase < to;
            *phase = (*phase).max(to);
            later
        });
    }
}

/// Removes the socket when the thread is done, or was never started.
struct Remove(PathBuf);

impl Drop for Remove {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::debug!(%error, "the control socket was gone already");
        }
    }
}

/// Makes the socket, in the place of one that a dead owner left behind: the caller holds the store's lock.
fn bind(folder: &Path) -> io::Result<StdListener> {
    let path = place::socket(folder);
    match fs::symlink_metadata(&path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(&path)?,
        Ok(_) => {
            let text = "something that is no socket has its name; move it away";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = place::reach(folder, |path| StdListener::bind(path))?;
    let remove = Remove(path.clone());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    std::mem::forget(remove);
    Ok(listener)
}

async fn serve(
    listener: StdListener,
    engine: &Engine,
    mut phase: watch::Receiver<Phase>,
) -> io::Result<()> {
    let listener = UnixListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = reached(&mut phase, Phase::Closing) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() >= CONTROL_CONNECTIONS_MAX => refuse(&stream),
                Ok((stream, _)) => {
                    connections.spawn(connection::run(stream, engine.clone(), phase.clone()));
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection was not accepted");
                    time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let too_late = async {
        reached(&mut phase, Phase::Closed).await;
        time::sleep(LAST_WORDS).await;
    };
    tokio::select! {
        () = async { while connections.join_next().await.is_some() {} } => {}
        () = too_late => {}
    }
    Ok(())
}

/// Resolves when the end has come as far as `wanted`.
pub(super) async fn reached(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    // An error means that the owner's end is gone, which is the end too.
    phase.wait_for(|phase| *phase >= wanted).await.ok();
}

/// The owner's first line.
pub(super) fn greeting() -> Greeting {
    Greeting {
        protocol: PROTOCOL,
        mq: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        program: program_name(),
    }
}

/// One line, as far as the socket's buffer takes it: nobody waits for whoever came too late.
fn refuse(stream: &UnixStream) {
    let text = format!(
        "the owner serves {CONTROL_CONNECTIONS_MAX} connections already; try again when one has ended"
    );
    let line = AnswerLine::new(None, Err(CallError::new("busy", text)));
    let Ok(mut bytes) = serde_json::to_vec(&line) else {
        return;
    };
    bytes.push(b'\n');
    if let Err(error) = stream.try_write(&bytes) {
        tracing::debug!(%error, "a caller was refused without a word");
    }
}
