//! `cargo xtask compare`: puts the same loads on mq and on its peers and writes what came of it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Parser;
use mq_benches::{machine, page};
use mq_compare::peers::{ALL, Entry, PROGRAMS};
use mq_compare::race::{self, Load, Result};
use mq_compare::{chart, table};

/// How often the peers take turns.
const ROUNDS: usize = 3;

const HELP: &str = "\
Examples:
  cargo xtask compare                          every peer, about twenty minutes
  cargo xtask compare --quick mq redis         a look at two
  cargo xtask compare --page docs/performance.md

Servers are those of Debian's packages (redis-server, beanstalkd, postgresql, rabbitmq-server, nats-server), started on
loopback in a temporary folder and ended by their process id; services of the system are left alone. What is not installed
is skipped, and the table says so. Syncs are counted by the kernel (perf stat on the processes of the peer), which needs perf
and root; without them that column is empty.

Every peer gets the same payload (256 bytes), the same number of callers, each with one request in flight, and the same time,
each load on an empty store, after 0.4 s that do not count. The peers take turns under each load, three rounds, the second in reverse; the
middle one is told.";

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
    /// Writes the results of all rounds as a JSON list
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
    let names = || ALL.iter().map(|entry| entry.key).chain(PROGRAMS);
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
    std::fs::create_dir_all(&arguments.folder)?;
    let folder = tempfile::Builder::new()
        .prefix("mq-compare-")
        .tempdir_in(arguments.folder.canonicalize()?)
        .context("cannot make a folder for the stores")?;
    let mut peers: Vec<Runner> = Vec::new();
    peers.extend(
        ALL.into_iter()
            .filter(|entry| wanted(entry.key))
            .map(Runner::Linked),
    );
    for name in PROGRAMS.into_iter().filter(|name| wanted(name)) {
        peers.push(Runner::Apart(name, build(name)));
    }
    let mut rounds = Vec::new();
    for _ in 0..if arguments.quick { 1 } else { ROUNDS } {
        for load in 0..Load::ALL.len() {
            for peer in &peers {
                rounds.extend(peer.race(folder.path(), load, time));
            }
        }
        peers.reverse(); // nobody is always the first
    }
    let results = race::in_the_middle(&rounds);
    if let Some(file) = &arguments.json {
        std::fs::write(file, serde_json::to_vec_pretty(&rounds)?)?;
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

/// How a peer is raced.
enum Runner {
    /// This program is linked with it.
    Linked(Entry),
    /// It is a program of its own: where that is, unless it could not be built.
    Apart(&'static str, anyhow::Result<PathBuf>),
}

impl Runner {
    /// Puts a load on it, by its place among all.
    fn race(&self, folder: &Path, load: usize, time: Duration) -> Vec<Result> {
        let Some(kind) = Load::ALL.get(load) else {
            return Vec::new();
        };
        let time = time * if kind.is_heavy() { 2 } else { 1 };
        match self {
            Self::Linked(entry) => vec![race::once(entry.name, entry.open, folder, *kind, time)],
            Self::Apart(name, program) => apart(program, folder, load, time)
                .unwrap_or_else(|error| vec![Result::skipped(name, *kind, &format!("{error:#}"))]),
        }
    }
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
    program: &anyhow::Result<PathBuf>,
    folder: &Path,
    load: usize,
    time: Duration,
) -> anyhow::Result<Vec<Result>> {
    let program = program.as_ref().map_err(|error| anyhow!("{error:#}"))?;
    let output = Command::new(program)
        .args(["--load", &load.to_string()])
        .args(["--for", &time.as_millis().to_string(), "--in"])
        .arg(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        bail!("it did not run: {}", output.status);
    }
    serde_json::from_slice(&output.stdout).context("it told nonsense")
}
