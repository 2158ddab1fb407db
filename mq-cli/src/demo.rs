//! `mq demo`: an order pipeline that is killed half-way, and the proof that nothing was lost.
//!
//! The parent makes or takes an orders file, runs the shop (a store with three handlers) in a child process, kills the
//! child with SIGKILL half-way, starts it again, then finds the orders that failed for good among the dead letters,
//! corrects and replays them. Handlers append what they did to an effects log. The table at the end is computed from
//! the orders file and the effects log alone ([`audit`]); the store is not asked.

pub(crate) mod audit;
mod disk;
mod effects;
mod orders;
mod shop;

use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use self::audit::Audit;
use self::effects::{Effect, EffectsLog};
use crate::clock::Stopwatch;
use crate::exit::{Exit, Failure, Result};
use crate::output;

/// Orders made when no file is given.
const ORDERS: u64 = 20_000;
/// Effects of one order that goes through: order, payment, receipt.
const STEPS: u64 = 3;

/// Run an order pipeline, kill it half-way, and prove that nothing was lost.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  mq demo                      # 20,000 made orders in a temporary folder
  mq demo orders.jsonl         # your own: {\"id\": \"o-1\", \"customer\": \"c-1\", \"cents\": 995, \"card\": \"4000…\"} per line
  mq demo --dir shop           # keep orders.jsonl, effects.jsonl and the store in ./shop
  mq demo --audit shop         # compute the table again from those two files")]
pub(crate) struct Arguments {
    /// Orders, one JSON object per line; made if not given.
    file: Option<PathBuf>,
    /// Where to work; a temporary folder if not given. Must not hold a former demo.
    #[arg(long, conflicts_with = "audit")]
    dir: Option<PathBuf>,
    /// Only compute the table from the files of a former demo in this folder.
    #[arg(long, value_name = "DIR", conflicts_with = "file")]
    audit: Option<PathBuf>,
    /// How many orders to make.
    #[arg(long, default_value_t = ORDERS, conflicts_with_all = ["file", "audit"])]
    orders: u64,
    /// The child's part.
    #[arg(long, hide = true, requires = "dir")]
    shop: bool,
}

/// Runs the verb.
pub(crate) fn run(arguments: &Arguments) -> Result {
    if let Some(folder) = &arguments.audit {
        return report(&Audit::of(folder)?);
    }
    match (&arguments.dir, arguments.shop) {
        (Some(folder), true) => shop::run(folder),
        (Some(folder), false) => {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("cannot create {}", folder.display()))?;
            play(folder, arguments)
        }
        (None, _) => {
            let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
            play(folder.path(), arguments)
        }
    }
}

fn play(folder: &Path, arguments: &Arguments) -> Result {
    let orders = orders::prepare(folder, arguments.file.as_deref(), arguments.orders)?;
    let effects = EffectsLog::create(folder)?;
    let started = Stopwatch::start();
    let bar = progress_bar(orders.distinct * STEPS);

    bar.set_message("first life, until it is killed");
    let killed = serve_until(folder, &bar, Some(orders.distinct * STEPS / 2))?;
    effects.append(&Effect::Killed { effects: killed })?;
    bar.set_message("second life, until it is empty");
    serve_until(folder, &bar, None)?;
    bar.set_message("dead letters, corrected and replayed");
    let replayed = replay_dead_letters(folder, &effects)?;
    if replayed > 0 {
        serve_until(folder, &bar, None)?;
    }
    bar.finish_and_clear();

    let syncs_per_second = disk::syncs_per_second(folder)?;
    effects.append(&Effect::Ran {
        seconds: started.elapsed().as_secs_f64(),
        syncs_per_second,
    })?;
    report(&Audit::of(folder)?)
}

fn report(audit: &Audit) -> Result {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", audit.table())?;
    writeln!(out, "lost {}", audit.lost())?;
    out.flush()?;
    match audit.lost() {
        0 => Ok(()),
        lost => Err(Failure::new(
            Exit::Failed,
            anyhow::anyhow!("{lost} effects of orders are missing"),
        )),
    }
}

/// Runs the shop in a child process; kills it at `kill_at` effects, or waits until it has nothing left to do. Answers how
/// many effects it had reported.
fn serve_until(folder: &Path, bar: &ProgressBar, kill_at: Option<u64>) -> Result<u64> {
    let mut child = Running(start_shop(folder)?);
    let lines = child
        .0
        .stdout
        .take()
        .context("the child has no standard output")?;
    let mut done = 0;
    for line in BufReader::new(lines).lines() {
        let line = line.context("cannot read what the child prints")?;
        let Some(count) = line
            .strip_prefix("effects ")
            .and_then(|count| count.parse().ok())
        else {
            continue;
        };
        done = count;
        bar.set_position(done);
        if kill_at.is_some_and(|limit| done >= limit) {
            child.0.kill().context("cannot kill the child")?; // SIGKILL
            child.0.wait().context("cannot wait for the killed child")?;
            return Ok(done);
        }
    }
    let status = child.0.wait().context("cannot wait for the child")?;
    if kill_at.is_none() && !status.success() {
        return Err(Failure::new(
            Exit::Failed,
            anyhow::anyhow!("the shop ended with {status}; its messages are above"),
        ));
    }
    Ok(done)
}

fn start_shop(folder: &Path) -> Result<Child> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let child = Command::new(program)
        .args(["demo", "--shop", "--dir"])
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the child")?;
    Ok(child)
}

/// A child that does not outlive an error of its parent.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has usually ended; then there is nobody to kill, and nothing to say.
        if self.0.kill().is_ok() && self.0.wait().is_err() {
            output::remark(format_args!(
                "the demo's child {} could not be waited for",
                self.0.id()
            ));
        }
    }
}

/// Finds the orders whose card was declined, gives them another card, and brings them back.
fn replay_dead_letters(folder: &Path, effects: &EffectsLog) -> Result<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(shop::replay_dead_letters(folder, effects))
}

fn progress_bar(length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length);
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template("{msg:38} {bar:30} {pos}/{len} effects, {elapsed}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
