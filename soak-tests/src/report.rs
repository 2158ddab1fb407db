//! The report of a soak run: what was done, what was promised and kept, what grew, with plots and every sample.

use std::path::Path;

use anyhow::Context;
use mq_benches::plot::{Across, Plot};

use crate::process::Usage;
use crate::series::{Latency, Sample, float, ms, slope};
use crate::soak::{Outcome, Setup};

const MIB: f64 = 1_048_576.0;
/// A life grows into its working set; slopes are taken from this age on.
const GROWN_UP_S: u64 = 120;

/// Writes `soak.md`, its plots and `samples.csv` into `folder`.
///
/// # Errors
/// A file cannot be written.
pub(crate) fn write(
    folder: &Path,
    setup: &Setup,
    outcome: &Outcome,
    note: &str,
) -> anyhow::Result<()> {
    let put = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    for (name, plot) in plots(outcome) {
        put(&format!("soak-{name}.svg"), &plot.svg())?;
    }
    put("samples.csv", &csv(&outcome.samples))?;
    put("soak.md", &text(setup, outcome, note))
}

fn minutes(sample: &Sample) -> f64 {
    sample.at.as_secs_f64() / 60.0
}

fn line(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> Vec<(f64, f64)> {
    samples
        .iter()
        .map(|sample| (minutes(sample), of(sample)))
        .collect()
}

fn by_minute(latency: &Latency) -> Vec<(f64, f64)> {
    let points = latency.by_minute.iter();
    points
        .map(|(at, micros)| (at.as_secs_f64() / 60.0, ms(*micros)))
        .collect()
}

fn plots(outcome: &Outcome) -> Vec<(&'static str, Plot)> {
    let samples = &outcome.samples;
    let plot = |title: &str, unit, series| Plot {
        title: title.to_owned(),
        across: Across::Linear("minutes"),
        unit,
        series,
    };
    vec![
        (
            "memory",
            plot(
                "Resident memory of the child",
                "MiB",
                vec![("", line(samples, |it| float(it.usage.memory) / MIB))],
            ),
        ),
        (
            "disk",
            plot(
                "The store's folder, and live bytes",
                "MiB",
                vec![
                    ("folder", line(samples, |it| float(it.disk) / MIB)),
                    (
                        "live",
                        line(samples, |it| float(it.figures.live_bytes) / MIB),
                    ),
                ],
            ),
        ),
        (
            "descriptors",
            plot(
                "Open descriptors and threads of the child",
                "",
                vec![
                    (
                        "descriptors",
                        line(samples, |it| float(it.usage.descriptors)),
                    ),
                    ("threads", line(samples, |it| float(it.usage.threads))),
                ],
            ),
        ),
        (
            "latency",
            plot(
                "99.9th percentile by minute, undisturbed",
                "milliseconds",
                vec![
                    ("enqueue", by_minute(&outcome.enqueue)),
                    ("to the handler", by_minute(&outcome.end_to_end)),
                ],
            ),
        ),
    ]
}

fn csv(samples: &[Sample]) -> String {
    let mut csv = "second,life,age_s,memory,descriptors,threads,disk,live,live_bytes,dead,journal,segments,spares,keys,clock_jumps,snapshots,sync_p99_us\n".to_owned();
    for it in samples {
        let (usage, figures) = (&it.usage, &it.figures);
        let words = [
            it.at.as_secs(),
            it.life,
            it.age.as_secs(),
            usage.memory,
            usage.descriptors,
            usage.threads,
            it.disk,
            figures.live,
            figures.live_bytes,
            figures.dead,
            figures.journal,
            figures.segments,
            figures.spares,
            figures.keys,
            figures.clock_jumps,
            figures.snapshots,
            figures.sync_p99_micros,
        ]
        .map(|word| word.to_string());
        csv.push_str(&words.join(","));
        csv.push('\n');
    }
    csv
}

/// What `uname`, the processor and the file system say.
fn machine(store: &Path) -> String {
    let uname = rustix::system::uname();
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{} {}, {model}, {cores} cores; store on {}",
        uname.sysname().to_string_lossy(),
        uname.release().to_string_lossy(),
        file_system(store).unwrap_or_else(|| "an unknown file system".to_owned())
    )
}

/// The type of the mount that a folder is on.
fn file_system(folder: &Path) -> Option<String> {
    let folder = folder.canonicalize().ok()?;
    let mounts = std::fs::read_to_string("/proc/mounts").ok()?;
    let mut best: Option<(usize, String)> = None;
    for line in mounts.lines() {
        let mut words = line.split(' ').skip(1);
        let (point, kind) = (words.next()?, words.next()?);
        let is_longer = best.as_ref().is_none_or(|(len, _)| point.len() > *len);
        if folder.starts_with(point) && is_longer {
            best = Some((point.len(), kind.to_owned()));
        }
    }
    best.map(|(_, kind)| kind)
}

fn text(setup: &Setup, outcome: &Outcome, note: &str) -> String {
    let mut text = String::new();
    let mut put = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    put(format!(
        "Ran for {:.1} minutes with seed {}: {} messages a second enqueued, {} in a paused queue.\n",
        outcome.ran.as_secs_f64() / 60.0,
        setup.seed,
        setup.rate,
        setup.cold
    ));
    put(format!("Machine: {}. {note}\n", machine(&setup.store)));
    for line in [verdict(outcome), blows(outcome), growth(outcome)] {
        put(line);
    }
    put(speed(outcome));
    for (name, plot) in plots(outcome) {
        put(format!("![{}](soak-{name}.svg)\n", plot.title));
    }
    text
}

fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = format!("| {} |\n", head.join(" | "));
    table.push_str(&format!("|{}\n", "---|".repeat(head.len())));
    for row in rows {
        table += &format!("| {} |\n", row.join(" | "));
    }
    table
}

fn verdict(outcome: &Outcome) -> String {
    let counts = outcome.judge.counts();
    let row = |what: &str, count: u64| vec![what.to_owned(), count.to_string()];
    let mut text = table(
        &["promise", "broken"],
        &[
            row("an acknowledged message is lost", counts.lost),
            row("a finished message comes back", counts.resurrected),
            row("a payload has other bytes", counts.altered),
            row("order, batches, keys, chains, complaints", counts.other),
            row("damage found by verify at the end", outcome.damages),
        ],
    );
    for violation in outcome.judge.violations() {
        text.push_str(&format!("\n- {violation}"));
    }
    text += &format!(
        "\n{} submitted, {} acknowledged, {} answered with an existing message; {} hand-outs and {} runs of a schedule; \
         {} told done, {} dead letters, {} replayed; {} audits listed {} messages; {} successes that were cut off by a \
         kill were decided by the next opening; {} hand-outs started after their lease was lost. verify read {} frames.\n",
        counts.submitted,
        counts.answered,
        counts.existing,
        counts.handed,
        counts.ticks,
        counts.done,
        counts.dead,
        counts.replayed,
        counts.audits,
        counts.listed,
        counts.decided_by_reopening,
        counts.late_starts,
        outcome.frames_read
    );
    text
}

fn blows(outcome: &Outcome) -> String {
    let blows = &outcome.blows;
    format!(
        "{} SIGKILLs, {} orderly restarts, {} SIGSTOPs ({:.0} s in all), {} jumps of the wall clock. \
         {} openings: median {:.1} ms, longest {:.1} ms.\n",
        blows.kills,
        blows.restarts,
        blows.stops,
        blows.stopped_for.as_secs_f64(),
        blows.jumps,
        outcome.openings.count(),
        outcome.openings.quantile_ms(0.5),
        outcome.openings.max_ms()
    )
}

/// Slopes within each long life, from the age at which it has grown into its working set.
fn growth(outcome: &Outcome) -> String {
    let mut rows = Vec::new();
    let lives = outcome.samples.last().map_or(0, |sample| sample.life);
    for life in 1..=lives {
        let of_life = |it: &&Sample| it.life == life && it.age.as_secs() >= GROWN_UP_S;
        let grown: Vec<&Sample> = outcome.samples.iter().filter(of_life).collect();
        let (Some(first), Some(last)) = (grown.first(), grown.last()) else {
            continue;
        };
        let span = last.at.saturating_sub(first.at).as_secs_f64() / 60.0;
        if span < 2.0 {
            continue;
        }
        let per_hour = |of: &dyn Fn(&Sample) -> f64| {
            let points: Vec<(f64, f64)> = grown
                .iter()
                .map(|it| (it.at.as_secs_f64() / 3_600.0, of(it)))
                .collect();
            slope(&points).map_or_else(|| "-".to_owned(), |slope| format!("{slope:+.2}"))
        };
        rows.push(vec![
            life.to_string(),
            format!("{span:.1}"),
            format!(
                "{:.1} → {:.1}",
                float(first.usage.memory) / MIB,
                float(last.usage.memory) / MIB
            ),
            per_hour(&|it| float(it.usage.memory) / MIB),
            per_hour(&|it| float(it.usage.descriptors)),
            per_hour(&|it| float(it.disk) / MIB),
            per_hour(&|it| float(it.figures.live)),
        ]);
    }
    let max = |of: &dyn Fn(&Sample) -> u64| outcome.samples.iter().map(of).max().unwrap_or(0);
    let usage = |of: &dyn Fn(&Usage) -> u64| max(&|it| of(&it.usage));
    let mut text = table(
        &[
            "life",
            "minutes",
            "memory MiB",
            "memory MiB/h",
            "descriptors/h",
            "disk MiB/h",
            "live messages/h",
        ],
        &rows,
    );
    text += &format!(
        "\nLives of more than {} minutes, from the age of {GROWN_UP_S} s on; slopes by least squares. At most: {:.1} MiB of memory, {} \
         descriptors, {} threads, {:.1} MiB on disk, {} live messages.\n",
        (GROWN_UP_S + 120) / 60,
        float(usage(&|it| it.memory)) / MIB,
        usage(&|it| it.descriptors),
        usage(&|it| it.threads),
        float(max(&|it| it.disk)) / MIB,
        max(&|it| it.figures.live)
    );
    text
}

fn speed(outcome: &Outcome) -> String {
    let row = |what: &str, latency: &Latency| {
        vec![
            what.to_owned(),
            latency.count().to_string(),
            format!("{:.2}", latency.quantile_ms(0.5)),
            format!("{:.2}", latency.quantile_ms(0.99)),
            format!("{:.2}", latency.quantile_ms(0.999)),
            format!("{:.1}", latency.max_ms()),
            latency.disturbed.to_string(),
        ]
    };
    let text = table(
        &[
            "milliseconds",
            "measured",
            "p50",
            "p99",
            "p99.9",
            "max",
            "left out",
        ],
        &[
            row("enqueue, synced", &outcome.enqueue),
            row("enqueue to handler", &outcome.end_to_end),
        ],
    );
    text + "\nLeft out: within 2 s of an opening or of a stop. To the handler: messages without keys or delay, of any \
            priority, as the parent saw both lines.\n"
}
