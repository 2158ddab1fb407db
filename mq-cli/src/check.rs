//! `mq check`: whether the handlers of the process that owns the store can read what is stored.

use anyhow::anyhow;
use mq::control::{Answer, Call, CheckJson};

use crate::args::Data;
use crate::escape::Escaped;
use crate::exit::{Exit, Failure, Result};
use crate::output::Output;
use crate::target::Target;

const EXAMPLES: &str = "\
Examples:
  mq check --data ./data
  mq check --data ./data --json | jq -r '.failures[].id'

Each stored message of a kind that the running program decodes is decoded as its handler would, and nothing is changed.
To know it before a deploy: start the new program on a copy (mq backup), or call engine.check() in it.
0: all can be read; 1: some cannot; 5: no process works on the store.";

/// Arguments of `mq check`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    data: Data,
    /// Print a JSON object per kind
    #[arg(long)]
    json: bool,
}

/// Runs `mq check`.
///
/// # Errors
/// With [`Exit::NotFound`] if no process works on the store; with [`Exit::Failed`] if something cannot be read.
pub(crate) fn run(arguments: &Arguments) -> Result {
    Target::visit(&arguments.data, |target, output| {
        if target.is_own() {
            let error = anyhow!(
                "no process works on this store, so there are no handlers to check with: start the program that has them"
            );
            return Err(Failure::new(Exit::NotFound, error));
        }
        let reports = target.ask(Call::Check {}, |answer| match answer {
            Answer::Checked(reports) => Some(reports),
            _ => None,
        })?;
        if arguments.json {
            reports.iter().try_for_each(|report| output.json(report))?;
        } else {
            show(&reports, output)?;
        }
        let wrong: u64 = reports
            .iter()
            .map(|report| report.failed + report.newer)
            .sum();
        if wrong == 0 {
            return Ok(());
        }
        let error = anyhow!(
            "{wrong} stored messages cannot be handled by the running program; those that it cannot decode would go dead as \
             undecodable, those of a newer program would be held"
        );
        Err(Failure::new(Exit::Failed, error))
    })
}

fn show(reports: &[CheckJson], output: &mut Output) -> Result {
    let row = |report: &CheckJson| {
        let counts = [report.checked, report.failed, report.newer];
        let counts = counts.iter().map(u64::to_string);
        [Escaped(&report.kind).to_string()]
            .into_iter()
            .chain(counts)
            .collect()
    };
    let headings = ["KIND", "CHECKED", "FAILED", "NEWER"];
    output.table(&headings, reports.iter().map(row).collect())?;
    for failure in reports.iter().flat_map(|report| &report.failures) {
        let text = Escaped(&failure.text);
        output.line(format_args!("{} ({}): {text}", failure.id, failure.state))?;
    }
    Ok(())
}
