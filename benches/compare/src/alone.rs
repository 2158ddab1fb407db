//! A peer in a program of its own: `PROGRAM --in DIR --load N --for MS` prints a JSON list of results.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;

use crate::peer::Open;
use crate::race::{self, Load};

#[derive(Debug, Parser)]
struct Arguments {
    /// Folder for its files; it exists
    #[arg(long = "in")]
    folder: PathBuf,
    /// Which load, by its place among all
    #[arg(long)]
    load: usize,
    /// Milliseconds of it
    #[arg(long = "for")]
    time: u64,
}

/// Races the peers one after another and prints what came of it.
///
/// # Errors
/// The arguments are wrong, or nothing could be printed.
pub fn run(peers: &[(&str, Open)]) -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let time = Duration::from_millis(arguments.time);
    let load = Load::ALL.get(arguments.load).context("no such load")?;
    let once =
        |(name, open): &(&str, Open)| race::once(name, *open, &arguments.folder, *load, time);
    let results: Vec<_> = peers.iter().map(once).collect();
    println!("{}", serde_json::to_string(&results)?);
    Ok(())
}
