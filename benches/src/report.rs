//! What a measurement says: value, what it is divided by, ratio, goal, met; as a line, as JSON, and as a table for a page.

use serde::Serialize;

use crate::latency::Latency;
use crate::measure::Run;

/// A durable load whose callers get more than so many answers each from one sync was not durable.
const HONEST: f64 = 1.02;

/// One measured figure.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Which goal, such as `S1`; a part of one has a word behind it: `S3 batches`.
    pub id: String,
    /// What was measured.
    pub workload: String,
    /// The median of the runs.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// What it is divided by, in the same unit.
    pub baseline: Option<f64>,
    /// What that is, in words.
    pub baseline_is: String,
    /// `value / baseline`.
    pub ratio: Option<f64>,
    /// The floor or ceiling of the ratio.
    pub goal: Option<f64>,
    /// Whether the goal is a floor (`true`) or a ceiling.
    pub at_least: bool,
    /// Whether it was reached; none where there is no goal, or the run was too small to judge it.
    pub met: Option<bool>,
    /// What it cost.
    #[serde(flatten)]
    pub facts: Facts,
}

/// What a workload cost, where that was looked at.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Facts {
    /// Messages of the run in the middle.
    pub messages: Option<u64>,
    /// Syncs of that run, counted at the storage seam.
    pub syncs: Option<u64>,
    /// Answers that one caller got from one sync, at most 1 if each was synced.
    pub answers_per_sync_and_caller: Option<f64>,
    /// Processor time of the whole process, in microseconds.
    pub cpu_us_per_message: Option<f64>,
    /// Bytes of pages written for each byte of payload, zero-filling included; counted at the storage seam.
    pub written_per_payload_byte: Option<f64>,
    /// The largest resident size of the process so far, in bytes.
    pub peak_memory: Option<u64>,
    /// How long callers waited, in microseconds.
    pub latency_us: Option<Latency>,
    /// What else has to be known.
    pub note: Option<String>,
}

/// What a ratio has to be.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// A floor.
    AtLeast(f64),
    /// A ceiling.
    AtMost(f64),
}

impl Row {
    /// A figure without a goal.
    #[must_use]
    pub fn plain(id: &str, workload: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            id: id.to_owned(),
            workload: workload.into(),
            value,
            unit,
            baseline: None,
            baseline_is: String::new(),
            ratio: None,
            goal: None,
            at_least: true,
            met: None,
            facts: Facts::default(),
        }
    }

    /// Divides by `baseline` and judges.
    #[must_use]
    pub fn judged(mut self, baseline: f64, baseline_is: &str, goal: Goal) -> Self {
        let ratio = self.value / baseline;
        (self.goal, self.at_least, self.met) = match goal {
            Goal::AtLeast(floor) => (Some(floor), true, Some(ratio >= floor)),
            Goal::AtMost(ceiling) => (Some(ceiling), false, Some(ratio <= ceiling)),
        };
        (self.baseline, self.ratio) = (Some(baseline), Some(ratio));
        baseline_is.clone_into(&mut self.baseline_is);
        self
    }

    /// As [`Row::judged`], by the median of paired ratios, which is not quite the ratio of the medians.
    #[must_use]
    pub fn judged_by(self, baseline: f64, baseline_is: &str, ratio: f64, goal: Goal) -> Self {
        let mut row = self.judged(baseline, baseline_is, goal);
        row.ratio = Some(ratio);
        row.met = Some(match goal {
            Goal::AtLeast(floor) => ratio >= floor,
            Goal::AtMost(ceiling) => ratio <= ceiling,
        });
        row
    }

    /// The run was too small to judge it by.
    #[must_use]
    pub fn unjudged_if(mut self, too_small: bool) -> Self {
        if too_small {
            self.met = None;
            self = self.noted("too small to be judged");
        }
        self
    }

    /// A remark.
    #[must_use]
    pub fn noted(mut self, remark: impl Into<String>) -> Self {
        let remark = remark.into();
        self.facts.note = Some(match self.facts.note {
            Some(before) => format!("{before}; {remark}"),
            None => remark,
        });
        self
    }

    /// What a run of messages with payloads of `size` bytes cost.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "ratios")]
    pub fn costing(mut self, run: &Run, size: usize) -> Self {
        let messages = run.messages.max(1) as f64;
        let written = (run.counted.written + run.counted.zeros) as f64;
        let note = self.facts.note.take();
        self.facts = Facts {
            messages: Some(run.messages),
            syncs: Some(run.counted.syncs),
            answers_per_sync_and_caller: self.facts.answers_per_sync_and_caller,
            cpu_us_per_message: Some(run.used.cpu.as_secs_f64() * 1e6 / messages),
            written_per_payload_byte: Some(written / (messages * size as f64)),
            peak_memory: Some(run.used.peak_memory),
            latency_us: run.latency,
            note,
        };
        self
    }

    /// Holds a durable run to its syncs: `callers` who wait can get one answer each from one sync. More fails the report.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "ratios")]
    pub fn synced(mut self, run: &Run, callers: usize) -> Self {
        let possible = run.counted.syncs as f64 * callers as f64;
        let ratio = run.messages as f64 / possible;
        self.facts.answers_per_sync_and_caller = Some(ratio);
        if ratio > HONEST {
            self.met = Some(false);
            self = self.noted("NOT SYNCED: more answers than the syncs can have given");
        }
        self
    }

    /// Whether it belongs to one of these goals.
    #[must_use]
    pub fn is_of(&self, goals: &[crate::goals::Goal]) -> bool {
        let id = self.id.split(' ').next();
        goals.iter().any(|goal| Some(goal.id) == id)
    }

    /// A line for people.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = format!(
            "{:12} {:52} {:>12} {:9}",
            self.id,
            self.workload,
            grouped(self.value),
            self.unit
        );
        if let (Some(baseline), Some(ratio), Some(goal)) = (self.baseline, self.ratio, self.goal) {
            let (baseline, name) = (grouped(baseline), &self.baseline_is);
            line += &format!(
                " {ratio:>7.3} × {baseline:>11} ({name}), goal {} {goal}: {}",
                self.sign(),
                self.verdict()
            );
        }
        line + &self.cost_line()
    }

    fn cost_line(&self) -> String {
        let facts = &self.facts;
        let mut parts = Vec::new();
        if let Some(syncs) = facts.syncs {
            parts.push(format!("{syncs} syncs"));
        }
        if let Some(ratio) = facts.answers_per_sync_and_caller {
            parts.push(format!("{ratio:.2} answers per sync and caller"));
        }
        if let Some(cpu) = facts.cpu_us_per_message {
            parts.push(format!("{cpu:.2} µs CPU per message"));
        }
        if let Some(bytes) = facts.written_per_payload_byte {
            parts.push(format!("{bytes:.2} B written per B"));
        }
        if let Some(latency) = facts.latency_us {
            parts.push(format!(
                "p50 {:.0} µs, p99 {:.0}, p99.9 {:.0}",
                latency.p50, latency.p99, latency.p999
            ));
        }
        parts.extend(facts.note.clone());
        if parts.is_empty() {
            return String::new();
        }
        format!("\n             {}", parts.join(" · "))
    }

    const fn sign(&self) -> &'static str {
        if self.at_least { "≥" } else { "≤" }
    }

    const fn verdict(&self) -> &'static str {
        match self.met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None if self.goal.is_none() => "",
            None => "not judged",
        }
    }

    /// A line of a table with the columns of [`table`].
    #[must_use]
    pub fn table_line(&self) -> String {
        let number = |value: Option<f64>| value.map(grouped).unwrap_or_default();
        let goal = self.goal.map(|goal| format!("{} {goal}", self.sign()));
        let latency = self.facts.latency_us;
        let cpu = self.facts.cpu_us_per_message;
        format!(
            "| {} | {} | {} {} | {} {} | {} | {} | {} | {} | {} | {} |\n",
            self.id,
            self.workload,
            grouped(self.value),
            self.unit,
            number(self.baseline),
            self.baseline_is,
            self.ratio.map(|r| format!("{r:.3}")).unwrap_or_default(),
            goal.unwrap_or_default(),
            self.verdict(),
            number(
                self.facts
                    .syncs
                    .map(|n| u32::try_from(n).unwrap_or(u32::MAX).into())
            ),
            cpu.map(|cpu| format!("{cpu:.2}")).unwrap_or_default(),
            latency
                .map(|l| format!("{:.0} / {:.0} / {:.0}", l.p50, l.p99, l.p999))
                .unwrap_or_default(),
        )
    }
}

const TABLE_HEAD: &str = "\
| id | workload | value | beside | ratio | goal | | syncs | CPU µs/msg | p50 / p99 / p99.9 µs |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
";

/// A table of rows for a page.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let lines: String = rows.iter().map(Row::table_line).collect();
    format!("{TABLE_HEAD}{lines}")
}

/// A number with as many digits as people need: groups of three above 1000, three digits below, none behind a whole number.
#[must_use]
pub fn grouped(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    if value.abs() < 1000.0 {
        let digits = match value.abs() {
            whole if whole.fract() == 0.0 => 0,
            small if small < 10.0 => 2,
            _ => 1,
        };
        return format!("{value:.digits$}");
    }
    let whole = format!("{value:.0}");
    let mut out = String::new();
    for (place, digit) in whole.chars().enumerate() {
        let left = whole.len() - place;
        if place > 0 && left.is_multiple_of(3) && !out.ends_with('-') {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}
