//! `mq backup` and `mq snapshot`: a store as a whole, copied or made quick to open, whoever owns it.

use std::path::PathBuf;

use mq::control::{Answer, BackupCall, Call};

use crate::args::Data;
use crate::escape::Escaped;
use crate::exit::{Failure, Result};
use crate::target::Target;

const BACKUP_EXAMPLES: &str = "\
Examples:
  mq backup --data ./data --to ./backup-monday
  mq backup --data ./data --to /mnt/backup/monday --rate 20000000

The copy holds everything that was answered before, is checked from end to end, and gets its name when it is whole; until then
it is called NAME.incomplete. It opens as a store, and is a fork of the one it was taken from: what was not settled runs again
wherever both are worked. The owner of the store makes the copy, with its rights.";

/// Arguments of `mq backup`.
#[derive(Debug, clap::Args)]
#[command(after_help = BACKUP_EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    data: Data,
    /// The copy's folder, which must be empty or not there
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Copy at most so many bytes in a second
    #[arg(long, value_name = "BYTES")]
    rate: Option<u64>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Arguments of `mq snapshot`.
#[derive(Debug, clap::Args)]
pub(crate) struct SnapshotArguments {
    #[command(flatten)]
    data: Data,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Runs `mq backup`.
///
/// # Errors
/// With [`Exit::Usage`](crate::exit::Exit::Usage) if the target is in use, with
/// [`Exit::Corrupt`](crate::exit::Exit::Corrupt) if a message cannot be read; the store is as it was.
pub(crate) fn run(arguments: &Arguments) -> Result {
    let to = std::path::absolute(&arguments.to)?;
    let to = to.into_os_string().into_string();
    let to = to.map_err(|_| Failure::usage("--to must be UTF-8."))?;
    Target::visit(&arguments.data, |target, output| {
        let rate = arguments.rate;
        let call = Call::Backup(BackupCall { to, rate });
        let copy = target.ask(call, |answer| match answer {
            Answer::Backup(copy) => Some(copy),
            _ => None,
        })?;
        if arguments.json {
            return output.json(&copy);
        }
        Ok(output.line(format_args!(
            "{}: {} messages in {} segments, {} bytes; checked",
            Escaped(&copy.to),
            copy.messages,
            copy.segments,
            copy.bytes
        ))?)
    })
}

/// Runs `mq snapshot`.
///
/// # Errors
/// When the store cannot be reached, or its disk has no room for a snapshot.
pub(crate) fn run_snapshot(arguments: &SnapshotArguments) -> Result {
    Target::visit(&arguments.data, |target, output| {
        let snapshot = target.ask(Call::Snapshot {}, |answer| match answer {
            Answer::Snapshot(snapshot) => Some(snapshot),
            _ => None,
        })?;
        if arguments.json {
            return output.json(&snapshot);
        }
        Ok(output.line(format_args!(
            "snapshot {}: {} messages in {} bytes, up to {}",
            snapshot.generation, snapshot.messages, snapshot.bytes, snapshot.position
        ))?)
    })
}
