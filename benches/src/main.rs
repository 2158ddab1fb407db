//! `cargo xtask bench [--quick] [--json FILE] [S1 …]`: measures the goals and prints each beside its yardstick.

use std::path::Path;
use std::time::Duration;

use std::process::ExitCode;

use anyhow::bail;
use mq_benches::report::{Goal, Measured, median};
use mq_benches::{raw, workloads};

/// Waiting messages of the memory measurement.
const BACKLOG: usize = 1_000_000;

struct Plan {
    runs: usize,
    time: Duration,
    json: Option<String>,
    wanted: Vec<String>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let plan = parse(std::env::args().skip(1))?;
    let folder =
        tempfile::tempdir_in(std::env::var_os("MQ_BENCH_DIR").unwrap_or_else(|| ".".into()))?;
    let mut measured = Vec::new();
    for (id, measure) in MEASUREMENTS {
        if plan.wanted.is_empty() || plan.wanted.iter().any(|wanted| wanted == id) {
            let result = measure(folder.path(), &plan)?;
            println!("{}", result.line());
            measured.push(result);
        }
    }
    if let Some(file) = &plan.json {
        std::fs::write(file, serde_json::to_vec_pretty(&measured)?)?;
    }
    // S7 is a goal for 10 M messages; at 1 M its figure is shown and not judged.
    if measured
        .iter()
        .any(|result| !result.met && result.id != "S7")
    {
        bail!("a goal was missed");
    }
    Ok(())
}

type Measure = fn(&Path, &Plan) -> anyhow::Result<Measured>;

const MEASUREMENTS: [(&str, Measure); 3] = [("S1", s1), ("S2", s2), ("S7", s7)];

fn parse(arguments: impl Iterator<Item = String>) -> anyhow::Result<Plan> {
    let mut plan = Plan {
        runs: 5,
        time: Duration::from_secs(4),
        json: None,
        wanted: Vec::new(),
    };
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => {
                plan.runs = 3;
                plan.time = Duration::from_secs(1);
            }
            "--json" => {
                plan.json = Some(
                    arguments
                        .next()
                        .ok_or_else(|| anyhow::anyhow!("--json needs a file"))?,
                )
            }
            id if MEASUREMENTS.iter().any(|(known, _)| *known == id) => plan.wanted.push(argument),
            other => {
                bail!("{other:?} is not known; usage: bench [--quick] [--json FILE] [S1 S2 S7]")
            }
        }
    }
    Ok(plan)
}

/// Runs the workload and its yardstick in turn, and takes the medians of both and of their ratios' runs.
fn interleaved(
    folder: &Path,
    plan: &Plan,
    workload: impl Fn(&Path) -> anyhow::Result<f64>,
) -> anyhow::Result<(f64, f64)> {
    let (mut values, mut baselines) = (Vec::new(), Vec::new());
    for run in 0..plan.runs {
        baselines.push(raw::syncs_per_second(folder, 512, plan.time / 2)?);
        let store = folder.join(format!("store-{run}"));
        values.push(workload(&store)?);
        std::fs::remove_dir_all(&store)?;
    }
    Ok((median(values), median(baselines)))
}

fn s1(folder: &Path, plan: &Plan) -> anyhow::Result<Measured> {
    let (value, raw) = interleaved(folder, plan, |store| {
        workloads::one_blocking_caller(store, plan.time)
    })?;
    Ok(Measured::new(
        "S1",
        "durable enqueue, 1 blocking caller",
        "msg/s",
        value,
        raw,
        Goal::AtLeast(0.6),
    ))
}

fn s2(folder: &Path, plan: &Plan) -> anyhow::Result<Measured> {
    let (value, raw) = interleaved(folder, plan, |store| {
        workloads::concurrent_tasks(store, 64, plan.time)
    })?;
    Ok(Measured::new(
        "S2",
        "durable enqueue, 64 tasks, 1 runtime thread",
        "msg/s",
        value,
        64.0 * raw,
        Goal::AtLeast(0.3),
    ))
}

fn s7(folder: &Path, _plan: &Plan) -> anyhow::Result<Measured> {
    let store = folder.join("store-memory");
    let value = workloads::memory_per_message(&store, BACKLOG)?;
    std::fs::remove_dir_all(&store)?;
    Ok(Measured::new(
        "S7",
        "memory per waiting message at 1 M",
        "bytes",
        value,
        64.0,
        Goal::AtMost(1.0),
    ))
}
