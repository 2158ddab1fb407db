//! What the race said, as Markdown for a page.

use mq_benches::report::grouped;

use crate::race::{Load, Outcome, Result};

/// The name under which mq races.
pub const MQ: &str = "mq";

/// A table for each load, the fastest first, those that do not sync behind the others, those that were skipped last.
#[must_use]
pub fn markdown(results: &[Result]) -> String {
    let mut out = String::new();
    for load in Load::ALL {
        let rows = sorted(results, load);
        if rows.is_empty() {
            continue;
        }
        let mq = rows
            .iter()
            .find(|row| row.peer == MQ)
            .and_then(|row| row.measured())
            .map(|measured| measured.rate);
        // No job is timed from enqueue to ack: peers cannot say when theirs was enqueued.
        let latency = match load {
            Load::Jobs(_) => "enqueue ",
            Load::Blocking | Load::Enqueue(_) => "",
        };
        out.push_str(&format!("### {}\n\n![{}](img/{})\n\n| | per second | mq is | {latency}p50 µs | {latency}p99 µs | syncs counted | answers per sync and caller | raw syncs/s just before |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
            load.name(),
            load.name(),
            crate::chart::file_name(load)
        ));
        for row in rows {
            out.push_str(&line(row, mq));
        }
        out.push('\n');
    }
    out.push_str("Settings:\n\n");
    for row in sorted(results, Load::Enqueue(64)) {
        if !row.settings.is_empty() {
            out.push_str(&format!("- {}: {}.\n", row.peer, row.settings));
        }
    }
    out
}

/// The results under one load, in the order of the table.
#[must_use]
pub fn sorted(results: &[Result], load: Load) -> Vec<&Result> {
    let mut rows: Vec<&Result> = results.iter().filter(|row| row.load == load).collect();
    rows.sort_by(|left, right| {
        let key = |row: &Result| {
            let rate = row
                .measured()
                .map_or(f64::NEG_INFINITY, |measured| measured.rate);
            (is_durable(row) && rate > 0.0, rate)
        };
        let ((left, left_rate), (right, right_rate)) = (key(left), key(right));
        right.cmp(&left).then(right_rate.total_cmp(&left_rate))
    });
    rows
}

/// Whether it synced what it answered, as far as can be seen.
#[must_use]
pub fn is_durable(result: &Result) -> bool {
    result.synced && !result.is_dishonest()
}

fn line(row: &Result, mq: Option<f64>) -> String {
    let name = if is_durable(row) {
        row.peer.clone()
    } else {
        format!("{} *(not synced)*", row.peer)
    };
    let Outcome::Measured(measured) = &row.outcome else {
        return match &row.outcome {
            Outcome::Skipped(reason) => {
                format!("| {name} | skipped: {} | | | | | | |\n", one_line(reason))
            }
            Outcome::Measured(_) => String::new(),
        };
    };
    let times = mq.map(|mq| format!("{:.1} ×", mq / measured.rate));
    #[expect(clippy::cast_precision_loss, reason = "a number for people")]
    let syncs = measured.syncs.map(|syncs| grouped(syncs as f64));
    let ratio = measured.answers_per_sync_and_caller;
    let ratio = ratio.filter(|_| measured.syncs != Some(0));
    format!(
        "| {name} | {} | {} | {} | {} | {} | {} | {} |\n",
        grouped(measured.rate),
        times.unwrap_or_default(),
        grouped(measured.latency_us.p50),
        grouped(measured.latency_us.p99),
        syncs.unwrap_or_else(|| "not counted".to_owned()),
        ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
        grouped(row.raw_syncs),
    )
}

fn one_line(reason: &str) -> String {
    reason.replace(['\n', '|'], " ")
}
