//! `mq verify`: every byte of a store, checked without opening it.
//!
//! What was looked at and what was found is data and goes to standard output; whether the store is sound is the exit
//! code.

use std::io::Write;

use anyhow::anyhow;
use mq_persistence::inspect::{Finding, VerifyReport, verify};
use serde::Serialize;

use crate::args::Folder;
use crate::escape::Escaped;
use crate::exit::{Exit, Failure, Result};
use crate::hint;
use crate::offline;
use crate::output::Output;

const EXAMPLES: &str = "\
Examples:
  mq verify --data ./data
  mq verify --data ./backup --json

Takes no lock and changes nothing. While another process owns the store, what it writes meanwhile can look like damage:
stop it, or look again, before believing it.";

/// Arguments of `mq verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    data: Folder,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// The report in JSON.
#[derive(Debug, Serialize)]
struct ReportJson {
    sound: bool,
    segments: u64,
    frames: u64,
    records: u64,
    bytes: u64,
    /// Whole snapshots.
    snapshots: Vec<String>,
    /// Messages whose payload was read back.
    messages: u64,
    findings: Vec<FindingJson>,
    /// Findings beyond those listed.
    findings_left_out: u64,
}

#[derive(Debug, Serialize)]
struct FindingJson {
    /// `notice`, `warning` or `damage`.
    severity: &'static str,
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    text: String,
}

impl ReportJson {
    fn new(report: &VerifyReport) -> ReportJson {
        ReportJson {
            sound: report.is_sound(),
            segments: report.segments,
            frames: report.frames,
            records: report.records,
            bytes: report.bytes,
            snapshots: report
                .snapshots
                .iter()
                .map(|(name, _)| name.clone())
                .collect(),
            messages: report.messages,
            findings: report.findings.iter().map(FindingJson::new).collect(),
            findings_left_out: report.findings_left_out,
        }
    }
}

impl FindingJson {
    fn new(finding: &Finding) -> FindingJson {
        FindingJson {
            severity: finding.severity.as_str(),
            file: finding.file.clone(),
            offset: finding.offset,
            text: finding.text.clone(),
        }
    }
}

/// Runs `mq verify`.
///
/// # Errors
/// With [`Exit::Corrupt`] when the store does not open or a message in it cannot be read.
pub(crate) fn run(arguments: &Arguments) -> Result {
    let report = verify(&offline::folder(&arguments.data.data)?)?;
    let json = ReportJson::new(&report);
    let mut output = Output::stdout();
    if arguments.json {
        output.json(&json)?;
    } else {
        describe(&json, &mut output)?;
    }
    output.flush()?;
    if json.sound {
        return Ok(());
    }
    let salvage = hint::salvage(&arguments.data.data);
    let error = anyhow!(
        "the store is damaged; nothing was changed. Keep a copy, then get out what is whole with: {salvage}"
    );
    Err(Failure::new(Exit::Corrupt, error))
}

fn describe(report: &ReportJson, output: &mut Output<impl Write>) -> Result {
    for finding in &report.findings {
        let at = finding
            .offset
            .map_or_else(String::new, |offset| format!(" at offset {offset}"));
        let text = Escaped(&finding.text);
        output.line(format_args!(
            "{}: {}{at}: {text}",
            finding.severity,
            Escaped(&finding.file)
        ))?;
    }
    if report.findings_left_out > 0 {
        output.line(format_args!("… and {} more", report.findings_left_out))?;
    }
    let facts = [
        ("segments", report.segments),
        ("frames", report.frames),
        ("records", report.records),
        ("bytes", report.bytes),
        ("messages read back", report.messages),
    ];
    for (name, count) in facts {
        output.line(format_args!("{name:<20} {count}"))?;
    }
    let verdict = if report.sound { "sound" } else { "damaged" };
    Ok(output.line(format_args!("{:<20} {verdict}", "the store is"))?)
}
