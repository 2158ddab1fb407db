//! `mq dlq`: dead letters, listed, shown, brought back, removed.
//!
//! Replay and purge take ids, or `--all` with filters, which makes a bulk job; without either nothing happens. Each id is
//! printed once its change is durable.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::ArgGroup;
use mq::control::{Answer, Call, DeadGroupJson, MessageJson, OperationJson};
use mq_core::id::MessageId;
use mq_core::state::DeadReason;
use mq_core::view::StateKind;

use crate::args::Data;
use crate::bulk::Pace;
use crate::escape::Escaped;
use crate::exit::{Exit, Failure, Result};
use crate::listing::{self, Extent, Unreadable, Which};
use crate::messages::{self, Show};
use crate::output::Output;
use crate::target::Target;
use crate::view;

const GROUPS_EXAMPLES: &str = "\
Examples:
  mq dlq groups --data ./data
  mq dlq groups --data ./data --queue mail --json";

const REPLAY_EXAMPLES: &str = "\
Examples:
  mq dlq replay --data ./data ID
  mq dlq replay --data ./data --all --queue mail
  mq dlq replay --data ./data --all --error-type Declined --where '/cents >= 100' --rate 50
  mq dlq replay --data ./data --edit fixed.json ID";

const PURGE_EXAMPLES: &str = "\
Examples:
  mq dlq purge --data ./data ID
  mq dlq purge --data ./data --all --older-than 30d --dry-run";

/// Verbs of `mq dlq`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// List dead letters, oldest first
    #[command(
        after_help = "Examples:\n  mq dlq ls --data ./data --queue mail --reason budget_spent\n  mq dlq ls --data ./data --json | jq -r '.attempts[-1].error'"
    )]
    Ls(List),
    /// Show one dead letter with its attempts and payload
    #[command(after_help = "Examples:\n  mq dlq show --data ./data ID")]
    Show(Show),
    /// Count dead letters by kind, reason and type of error
    #[command(after_help = GROUPS_EXAMPLES)]
    Groups(Groups),
    /// Bring dead letters back with fresh budgets, at the end of the line
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay(Replay),
    /// Remove dead letters for good
    #[command(after_help = PURGE_EXAMPLES)]
    Purge(Purge),
}

/// Arguments of `mq dlq ls`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    which: Which,
    /// Only dead for this reason: budget_spent, dead_lettered, undecodable, crashed or expired
    #[arg(long, value_name = "REASON", value_parser = listing::reason)]
    reason: Option<DeadReason>,
    #[command(flatten)]
    extent: Extent,
    /// Print a JSON object per message
    #[arg(long)]
    json: bool,
}

/// Arguments of `mq dlq groups`.
#[derive(Debug, clap::Args)]
pub(crate) struct Groups {
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    which: Which,
    /// Print a JSON object per group
    #[arg(long)]
    json: bool,
}

fn groups(arguments: &Groups) -> Result {
    let filter = arguments.which.filter(Some(StateKind::Dead), None);
    Target::visit(&arguments.data, |target, output| {
        let found = target.ask(Call::DeadGroups { filter }, |answer| match answer {
            Answer::DeadGroups(groups) => Some(groups),
            _ => None,
        })?;
        if arguments.json {
            found
                .groups
                .iter()
                .try_for_each(|group| output.json(group))?;
        } else {
            show_groups(&found.groups, output)?;
        }
        Unreadable::count(found.unreadable).must_be_none(target.data())
    })
}

fn show_groups(groups: &[DeadGroupJson], output: &mut Output) -> Result {
    let text = |text: &Option<String>| {
        let text = text.as_deref().unwrap_or("-");
        Escaped(text).to_string()
    };
    let row = |group: &DeadGroupJson| {
        vec![
            group.count.to_string(),
            text(&group.kind),
            text(&group.reason),
            text(&group.error_type),
            group.oldest.clone(),
            group.newest.clone(),
            group.sample.clone(),
        ]
    };
    let headings = [
        "COUNT",
        "KIND",
        "REASON",
        "ERROR TYPE",
        "OLDEST",
        "NEWEST",
        "SAMPLE",
    ];
    Ok(output.table(&headings, groups.iter().map(row).collect())?)
}

/// Which dead letters to change.
#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("chosen").args(["ids", "all"]).required(true)))]
struct Chosen {
    #[command(flatten)]
    data: Data,
    /// The messages' ids
    #[arg(value_name = "ID")]
    ids: Vec<MessageId>,
    /// Every dead letter that the filters let through, as a bulk job
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    which: Which,
    /// Only dead for this reason: budget_spent, dead_lettered, undecodable, crashed or expired
    #[arg(long, value_name = "REASON", value_parser = listing::reason)]
    reason: Option<DeadReason>,
    #[command(flatten)]
    pace: Pace,
}

/// Arguments of `mq dlq replay`.
#[derive(Debug, clap::Args)]
pub(crate) struct Replay {
    #[command(flatten)]
    chosen: Chosen,
    /// Go on with the content of this file as payload
    #[arg(long, value_name = "FILE", conflicts_with = "all")]
    edit: Option<PathBuf>,
    /// The file need not be JSON
    #[arg(long, requires = "edit")]
    raw: bool,
}

/// Arguments of `mq dlq purge`.
#[derive(Debug, clap::Args)]
pub(crate) struct Purge {
    #[command(flatten)]
    chosen: Chosen,
}

/// Runs a verb of `mq dlq`.
///
/// # Errors
/// When the store cannot be opened, a message is not a dead letter, or the output fails.
pub(crate) fn run(verb: &Verb) -> Result {
    match verb {
        Verb::Ls(arguments) => list(arguments),
        Verb::Show(arguments) => messages::show(arguments, must_be_dead),
        Verb::Groups(arguments) => groups(arguments),
        Verb::Replay(arguments) => replay(arguments),
        Verb::Purge(arguments) => purge(arguments),
    }
}

fn list(arguments: &List) -> Result {
    let filter = arguments
        .which
        .filter(Some(StateKind::Dead), arguments.reason);
    let headings = [
        "ID",
        "QUEUE",
        "KIND",
        "REASON",
        "FAILURES",
        "DIED",
        "LAST ERROR",
    ];
    let table = messages::Table {
        headings: &headings,
        row,
    };
    table.show(&arguments.data, &filter, arguments.extent, arguments.json)
}

fn row(message: &MessageJson) -> Vec<String> {
    vec![
        message.id.clone(),
        message.queue.clone(),
        message.kind.clone(),
        message.reason.clone().unwrap_or_default(),
        message.failures.to_string(),
        message.died.clone().unwrap_or_default(),
        view::last_error(message),
    ]
}

fn must_be_dead(message: &MessageJson) -> Result {
    if message.reason.is_some() {
        return Ok(());
    }
    let error = anyhow!(
        "message {} is no dead letter: it is {}",
        message.id,
        view::state(message)
    );
    Err(Failure::new(Exit::NotFound, error))
}

fn replay(arguments: &Replay) -> Result {
    let payload_hex = match &arguments.edit {
        None => None,
        Some(_) if arguments.chosen.ids.len() != 1 => {
            return Err(Failure::usage(
                "--edit changes the payload of one message; give one id",
            ));
        }
        Some(path) => {
            let payload = fs::read(path).with_context(|| format!("read {}", path.display()))?;
            if !arguments.raw {
                must_be_json(path, &payload)?;
            }
            Some(mq::control::hex(&payload))
        }
    };
    arguments
        .chosen
        .change(&OperationJson::Replay { payload_hex })
}

/// Bytes that no handler could decode are refused here, as `mq enqueue` refuses them.
fn must_be_json(path: &Path, payload: &[u8]) -> Result {
    serde_json::from_slice::<serde::de::IgnoredAny>(payload)
        .map(drop)
        .map_err(|error| {
            Failure::usage(format_args!(
                "{} is not JSON: {error}; with --raw it is taken as it is",
                path.display()
            ))
        })
}

fn purge(arguments: &Purge) -> Result {
    arguments.chosen.change(&OperationJson::Purge {})
}

impl Chosen {
    /// Asks for `operation` on each chosen dead letter, and prints the ids.
    fn change(&self, operation: &OperationJson) -> Result {
        if !self.all && (self.which.is_set() || self.reason.is_some()) {
            return Err(Failure::usage("filters go with --all; ids need none"));
        }
        Target::visit(&self.data, |target, output| {
            if self.all {
                let filter = self.which.filter(Some(StateKind::Dead), self.reason);
                return self.pace.change_all(target, filter, operation, output);
            }
            for id in &self.ids {
                must_be_dead(&target.message(*id, false, false)?)?;
                self.change_one(target, &id.to_string(), operation, output)?;
            }
            Ok(())
        })
    }

    fn change_one(
        &self,
        target: &Target,
        id: &str,
        operation: &OperationJson,
        output: &mut Output,
    ) -> Result {
        if !self.pace.dry_run {
            target.operate_by(id, operation.clone(), &self.pace.by)?;
        }
        Ok(output.line(id)?)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Command;
    use crate::view::tests::dead;

    fn parses(words: &str) -> bool {
        Command::try_parse_from(words.split(' ')).is_ok()
    }

    #[test]
    fn nothing_is_changed_without_ids_or_all() {
        let id = dead("x").id;
        assert!(!parses("mq dlq purge --data d"));
        assert!(parses(&format!("mq dlq purge --data d {id}")));
        assert!(parses("mq dlq purge --data d --all"));
        assert!(!parses(&format!("mq dlq purge --data d --all {id}")));
    }

    #[test]
    fn a_filter_beside_ids_is_refused_before_the_store_is_opened() {
        let words = format!("mq dlq purge --data /nowhere --queue q {}", dead("x").id);
        let command = Command::try_parse_from(words.split(' ')).unwrap();
        let crate::args::Verb::Dlq(verb) = command.verb else {
            panic!("a verb of mq dlq");
        };
        assert_eq!(run(&verb).unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn only_a_dead_message_is_a_dead_letter() {
        assert!(must_be_dead(&dead("x")).is_ok());
        let ready = MessageJson {
            state: "ready".to_owned(),
            reason: None,
            ..dead("x")
        };
        assert_eq!(must_be_dead(&ready).unwrap_err().exit, Exit::NotFound);
    }

    #[test]
    fn a_listing_shows_when_the_owner_says_that_it_died() {
        let mut never_ran = dead("x");
        never_ran.died = Some("1970-01-01T00:00:09.000Z".to_owned());
        assert!(row(&never_ran).contains(&"1970-01-01T00:00:09.000Z".to_owned()));
    }
}
