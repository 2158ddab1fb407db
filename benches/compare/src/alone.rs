//! A peer in a program of its own: `PROGRAM --in DIR --for MS --runs N` prints a JSON list of results.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;

use crate::peer::{Peer, Work};
use crate::race::{self, Pace};

#[derive(Debug, Parser)]
struct Arguments {
    /// Folder for its files; it exists
    #[arg(long = "in")]
    folder: PathBuf,
    /// Milliseconds of a run
    #[arg(long = "for")]
    time: u64,
    /// How many runs
    #[arg(long)]
    runs: usize,
}

/// Opens a peer in a folder.
pub type Open = for<'a> fn(&'a Path) -> Work<'a, Box<dyn Peer>>;

/// Races the peers one after another and prints what came of it.
///
/// # Errors
/// The arguments are wrong, or nothing could be printed; a peer that does not open is a skipped result.
pub fn run(peers: &[(&str, Open)]) -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let pace = Pace {
        time: Duration::from_millis(arguments.time),
        runs: arguments.runs,
    };
    let runtime = runtime()?;
    let mut results = Vec::new();
    for (name, open) in peers {
        let folder = arguments.folder.join(name.replace([' ', ','], "-"));
        std::fs::create_dir_all(&folder)?;
        results.extend(runtime.block_on(async {
            match open(&folder).await {
                Ok(peer) => race::all(&*peer, &folder, pace).await,
                Err(error) => race::Result::skipped(name, &format!("{error:#}")),
            }
        }));
    }
    println!("{}", serde_json::to_string(&results)?);
    Ok(())
}

/// The runtime of every race: two threads.
///
/// # Errors
/// The system has no more threads.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
}
