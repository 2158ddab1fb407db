//! `cargo xtask compare`: puts the same loads on mq and on its peers and writes what came of it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use mq_benches::{machine, page};
use mq_compare::peers::{ALL, Entry, PROGRAMS};
use mq_compare::race::{self, Pace, Result};
use mq_compare::{alone, chart, table};

const HELP: &str = "\
Examples:
  cargo xtask compare                          every peer, about ten minutes
  cargo xtask compare --quick mq redis         a look at two
  cargo xtask compare --page docs/performance.md

Servers are those of Debian's packages (redis-server, beanstalkd, postgresql, rabbitmq-server, nats-server), started on
loopback in a temporary folder and ended by their process id; services of the system are left alone. What is not installed
is skipped, and the table says so. Syncs are counted by the kernel (perf stat on the processes of the peer), which needs perf
and root; without them that column is empty.

Every peer gets the same payload (256 bytes), the same number of callers, each with one request in flight, and the same time.";

/// The same loads on mq and on other queues.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask compare", after_help = HELP)]
struct Arguments {
    /// Which peers; all if none is named
    #[arg(value_name = "PEER")]
    peers: Vec<String>,
    /// One short run of each load
    #[arg(long)]
    quick: bool,
    /// Writes the results as a JSON list
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Puts tables between `<!-- peers -->` and `<!-- peers end -->` of a page, and plots into `img` beside it
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    /// Names the peers
    #[arg(long)]
    list: bool,
    /// Folder for the stores: on the disk that is meant
    #[arg(long = "in", value_name = "DIR", default_value = "target")]
    folder: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let names = || ALL.iter().map(|entry| entry.name).chain(PROGRAMS);
    if arguments.list {
        names().for_each(|name| println!("{name}"));
        return Ok(());
    }
    if let Some(unknown) = arguments
        .peers
        .iter()
        .find(|peer| !names().any(|name| name == *peer))
    {
        bail!("{unknown:?} is not known; see --list");
    }
    let wanted =
        |name: &str| arguments.peers.is_empty() || arguments.peers.iter().any(|peer| peer == name);
    let machine = machine::describe(&arguments.folder);
    eprintln!("{machine}");
    let pace = Pace {
        time: Duration::from_millis(if arguments.quick { 700 } else { 2_000 }),
        runs: if arguments.quick { 1 } else { 3 },
    };
    std::fs::create_dir_all(&arguments.folder)?;
    let folder = tempfile::Builder::new()
        .prefix("mq-compare-")
        .tempdir_in(arguments.folder.canonicalize()?)
        .context("cannot make a folder for the stores")?;
    let mut results = Vec::new();
    for entry in ALL.into_iter().filter(|entry| wanted(entry.name)) {
        results.extend(linked(entry, folder.path(), pace)?);
    }
    for name in PROGRAMS.into_iter().filter(|name| wanted(name)) {
        results.extend(apart(name, folder.path(), pace));
    }
    if let Some(file) = &arguments.json {
        std::fs::write(file, serde_json::to_vec_pretty(&results)?)?;
    }
    let tables = table::markdown(&results);
    if let Some(file) = &arguments.page {
        page::put(file, "peers", &format!("{machine}\n\n{tables}"))?;
        let beside = file.parent().unwrap_or(Path::new("."));
        chart::write_all(&results, &beside.join("img"))?;
    } else {
        println!("{tables}");
    }
    Ok(())
}

/// Races a peer that this program is linked with. Its files are removed before the next one starts.
fn linked(entry: Entry, parent: &Path, pace: Pace) -> anyhow::Result<Vec<Result>> {
    let folder = parent.join(entry.name);
    std::fs::create_dir(&folder)?;
    let runtime = alone::runtime()?;
    let results = runtime.block_on(async {
        match (entry.open)(&folder).await {
            Ok(peer) => race::all(&*peer, &folder, pace).await,
            Err(error) => Result::skipped(entry.name, &format!("{error:#}")),
        }
    });
    drop(runtime);
    std::fs::remove_dir_all(&folder).context("cannot remove the files of a peer")?;
    Ok(results)
}

/// Builds and races a peer that is a program of its own.
fn apart(name: &str, parent: &Path, pace: Pace) -> Vec<Result> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(name)
        .join("Cargo.toml");
    let folder = parent.join(name);
    let raced = || {
        std::fs::create_dir(&folder)?;
        let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["run", "--release", "--quiet", "--manifest-path"])
            .arg(&manifest)
            .arg("--target-dir")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("target"))
            .args(["--", "--for", &pace.time.as_millis().to_string()])
            .args(["--runs", &pace.runs.to_string(), "--in"])
            .arg(&folder)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            bail!("it could not be built or did not run: {}", output.status);
        }
        serde_json::from_slice(&output.stdout).context("it told nonsense")
    };
    raced().unwrap_or_else(|error: anyhow::Error| Result::skipped(name, &format!("{error:#}")))
}
