//! `cargo xtask bench`: measures the goals and shapes that are asked for and prints each beside its yardstick.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Parser;
use mq_benches::goals::{self, GOALS, Goal};
use mq_benches::kernel::KernelCount;
use mq_benches::measure::forget_store;
use mq_benches::plan::Plan;
use mq_benches::report::{Goal as Judged, Row};
use mq_benches::shapes::SHAPES;
use mq_benches::{machine, page, report, scale, store};

const HELP: &str = "\
Examples:
  cargo xtask bench                      every goal, under ten minutes
  cargo xtask bench --quick S1 S2        a look at two of them
  cargo xtask bench --shapes             C1 to C13
  cargo xtask bench --scale              what a message costs beside a thousand, ten million, a million keys; a minute or more
  cargo xtask bench --json bench.json    and a file for programs

How to read a line: `S1 … 9 000 msg/s 0.92 × 9 800 (raw syncs/s), goal ≥ 0.9: met` says that mq reached 0.92 of what one
caller of pwrite and fdatasync reached on the same disk in the same minute. Goals that need a full-size run are `not judged`
by --quick. Exit code 1: a goal was missed, or a run was not as durable as it claimed.

What is counted where: syncs and bytes at the storage seam, outside of the engine, checked against the kernel's own count in
the line `syncs` (needs perf and root); written bytes as whole pages at the same seam; processor time on the process's clock; memory as
VmHWM. Latency counts from when a message was due, so a stall is not hidden by senders that wait.

Nothing else should run. The stores lie below --in, which should be on the disk that is meant, and are removed.";

/// Measures mq beside the limits it is judged by.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", after_help = HELP)]
struct Arguments {
    /// What to measure: S1 to S10, C1 to C13; all goals if nothing is named
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// A shorter, smaller and coarser run, under two minutes
    #[arg(long)]
    quick: bool,
    /// The thirteen shapes C1 to C13
    #[arg(long)]
    shapes: bool,
    /// Cost against size, from a thousand to ten million messages, and nothing else
    #[arg(long, conflicts_with = "ids")]
    scale: bool,
    /// Writes a JSON list of {id, value, unit, baseline, ratio, goal, met, …}
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Puts the table into a page, between the lines `<!-- goals -->` and `<!-- goals end -->` (shapes: `shapes`, scale: `scale`, with
    /// a plot in `img` beside the page)
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    /// Names what can be measured
    #[arg(long)]
    list: bool,
    /// Folder for the stores
    #[arg(long = "in", value_name = "DIR", default_value = "target")]
    folder: PathBuf,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let result = match words.split_first() {
        Some((first, rest)) if first == "child" => goals::run_child(rest),
        _ => run(&Arguments::parse()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.list {
        for goal in GOALS.iter().chain(&SHAPES) {
            println!("{:4} {}", goal.id, goal.about);
        }
        return Ok(());
    }
    std::fs::create_dir_all(&arguments.folder)?;
    let folder = tempfile::Builder::new()
        .prefix("mq-bench-")
        .tempdir_in(&arguments.folder)
        .context("cannot make a folder for the stores")?;
    let plan = if arguments.quick {
        Plan::quick(folder.path())
    } else {
        Plan::full(folder.path())
    };
    if cfg!(debug_assertions) {
        println!("this is not a release build: the numbers say little about mq");
    }
    let machine = machine::describe(&arguments.folder);
    println!("{machine}");
    if arguments.scale {
        return run_scale(arguments, &plan, &machine);
    }
    let wanted = wanted(arguments)?;
    let mut rows = vec![control(&plan)?];
    for goal in wanted {
        for row in (goal.measure)(&plan).with_context(|| format!("{} failed", goal.id))? {
            println!("{}", row.line());
            rows.push(row);
        }
    }
    if let Some(file) = &arguments.json {
        std::fs::write(file, serde_json::to_vec_pretty(&rows)?)?;
    }
    if let Some(file) = &arguments.page {
        for (name, goals) in [("goals", GOALS.as_slice()), ("shapes", SHAPES.as_slice())] {
            let rows: Vec<Row> = rows
                .iter()
                .filter(|row| row.is_of(goals))
                .cloned()
                .collect();
            if !rows.is_empty() {
                let table = report::table(&rows);
                page::put(file, name, &format!("{machine}\n\n{table}"))?;
            }
        }
    }
    let missed: Vec<&str> = rows
        .iter()
        .filter(|row| row.met == Some(false))
        .map(|row| row.id.as_str())
        .collect();
    if !missed.is_empty() {
        bail!("missed: {}", missed.join(", "));
    }
    Ok(())
}

/// Cost against size: no goals are judged.
fn run_scale(arguments: &Arguments, plan: &Plan, machine: &str) -> anyhow::Result<()> {
    let lines = scale::measure(plan)?;
    if let Some(file) = &arguments.json {
        std::fs::write(file, serde_json::to_vec_pretty(&lines)?)?;
    }
    if let Some(file) = &arguments.page {
        let table = scale::table(&lines);
        let how = if arguments.quick { " --quick" } else { "" };
        let head = format!("{machine}\n`cargo xtask bench --scale{how}`");
        page::put(file, "scale", &format!("{head}\n\n{table}"))?;
        let images = file.with_file_name("img");
        std::fs::create_dir_all(&images)?;
        std::fs::write(images.join("scale.svg"), scale::plot(&lines).svg())?;
    }
    Ok(())
}

fn wanted(arguments: &Arguments) -> anyhow::Result<Vec<Goal>> {
    let mut wanted = Vec::new();
    for id in &arguments.ids {
        let known = GOALS.iter().chain(&SHAPES).find(|goal| goal.id == id);
        wanted.push(*known.with_context(|| format!("{id:?} is not known; see --list"))?);
    }
    if arguments.shapes {
        wanted.extend(SHAPES);
    }
    if wanted.is_empty() {
        wanted.extend(GOALS);
    }
    Ok(wanted)
}

/// The whole life of a small store, with its syncs counted at the storage seam and by the kernel. The seam counts in every
/// run; it must not claim more syncs than there were.
fn control(plan: &Plan) -> anyhow::Result<Row> {
    let row = match KernelCount::start(&[std::process::id()]) {
        Ok(kernel) => {
            let seam = syncs_of_a_store(plan)?;
            let workload = "syncs of a small store, counted at the storage seam";
            #[expect(clippy::cast_precision_loss, reason = "a ratio")]
            let (seam, kernel) = (seam as f64, kernel.finish()? as f64);
            Row::plain("syncs", workload, seam, "syncs").judged(
                kernel,
                "the kernel's count",
                Judged::AtMost(1.02),
            )
        }
        Err(error) => Row::plain("syncs", "the kernel's count of syncs", 0.0, "syncs")
            .noted(format!("not counted: {error:#}")),
    };
    println!("{}", row.line());
    Ok(row)
}

fn syncs_of_a_store(plan: &Plan) -> anyhow::Result<u64> {
    let folder = plan.store("store-control");
    let (builder, counts) = store::builder(&folder);
    let engine = builder.open_wait()?;
    let message = store::message(store::PAYLOAD_SIZE)?;
    for _ in 0..1_000 {
        engine.enqueue_raw(message.clone()).wait()?;
    }
    engine.close_wait()?;
    drop(engine);
    forget_store(&folder)?;
    Ok(counts.read().syncs)
}
