//! A peer in a program of its own: `PROGRAM --in DIR --for MS` prints a JSON list of results.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::peer::Open;
use crate::race;

#[derive(Debug, Parser)]
struct Arguments {
    /// Folder for its files; it exists
    #[arg(long = "in")]
    folder: PathBuf,
    /// Milliseconds of a load
    #[arg(long = "for")]
    time: u64,
}

/// Races the peers one after another and prints what came of it.
///
/// # Errors
/// The arguments are wrong, or nothing could be printed; a peer that does not open is a skipped result.
pub fn run(peers: &[(&str, Open)]) -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let time = Duration::from_millis(arguments.time);
    let mut results = Vec::new();
    for (name, open) in peers {
        results.extend(race::all(name, *open, &arguments.folder, time)?);
    }
    println!("{}", serde_json::to_string(&results)?);
    Ok(())
}
