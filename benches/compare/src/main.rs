//! `cargo xtask compare`: puts the same loads on mq and on its peers and writes what came of it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Parser;
use mq_benches::{machine, page};
use mq_compare::peers::{ALL, PROGRAMS};
use mq_compare::race::{self, Result};
use mq_compare::{chart, table};

/// How often the peers take turns.
const ROUNDS: usize = 3;

const HELP: &str = "\
Examples:
  cargo xtask compare                          every peer, about fifteen minutes
  cargo xtask compare --quick mq redis         a look at two
  cargo xtask compare --page docs/performance.md

Servers are those of Debian's packages (redis-server, beanstalkd, postgresql, rabbitmq-server, nats-server), started on
loopback in a temporary folder and ended by their process id; services of the system are left alone. What is not installed
is skipped, and the table says so. Syncs are counted by the kernel (perf stat on the processes of the peer), which needs perf
and root; without them that column is empty.

Every peer gets the same payload (256 bytes), the same number of callers, each with one request in flight, and the same time,
each load on an empty store. The peers take turns, three rounds; the one in the middle is told.";

/// The same loads on mq and on other queues.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask compare", after_help = HELP)]
struct Arguments {
    /// Which peers; all if none is named
    #[arg(value_name = "PEER")]
    peers: Vec<String>,
    /// One short round
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
    let time = Duration::from_millis(if arguments.quick { 700 } else { 2_000 });
    let rounds = if arguments.quick { 1 } else { ROUNDS };
    std::fs::create_dir_all(&arguments.folder)?;
    let folder = tempfile::Builder::new()
        .prefix("mq-compare-")
        .tempdir_in(arguments.folder.canonicalize()?)
        .context("cannot make a folder for the stores")?;
    let programs: Vec<_> = PROGRAMS
        .into_iter()
        .filter(|name| wanted(name))
        .map(|name| (name, build(name)))
        .collect();
    let mut results = Vec::new();
    for _ in 0..rounds {
        for entry in ALL.into_iter().filter(|entry| wanted(entry.name)) {
            let own = own_folder(folder.path(), entry.name)?;
            results.extend(race::all(entry.name, entry.open, &own, time)?);
        }
        for (name, program) in &programs {
            let own = own_folder(folder.path(), name)?;
            results.extend(apart(name, program, &own, time));
        }
    }
    let results = race::in_the_middle(results);
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

fn own_folder(parent: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let folder = parent.join(name);
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Builds a peer that is a program of its own, before anything is measured; answers where the program is.
fn build(name: &str) -> anyhow::Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = here.join("target");
    let built = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "--quiet", "--manifest-path"])
        .arg(here.join(name).join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .stdin(Stdio::null())
        .status()?;
    if !built.success() {
        bail!("it could not be built: {built}");
    }
    Ok(target.join("release").join(format!("mq-compare-{name}")))
}

/// Races a peer that is a program of its own.
fn apart(
    name: &str,
    program: &anyhow::Result<PathBuf>,
    folder: &Path,
    time: Duration,
) -> Vec<Result> {
    let raced = || {
        let program = program.as_ref().map_err(|error| anyhow!("{error:#}"))?;
        let output = Command::new(program)
            .args(["--for", &time.as_millis().to_string(), "--in"])
            .arg(folder)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            bail!("it did not run: {}", output.status);
        }
        serde_json::from_slice(&output.stdout).context("it told nonsense")
    };
    raced().unwrap_or_else(|error: anyhow::Error| Result::skipped(name, &format!("{error:#}")))
}
