//! `mq dlq`: dead letters, listed, shown, brought back, removed.
//!
//! Replay and purge take ids, or `--all` with filters; without either nothing happens. Each id is printed once its
//! change is durable.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use mq_core::backend::{Backend, OperateRequest};
use mq_core::id::MessageId;
use mq_core::state::{DeadReason, State};
use mq_core::time::Timestamp;
use mq_core::view::{MessageView, StateKind};

use crate::args::Data;
use crate::clock;
use crate::exit::{Exit, Failure, Result};
use crate::listing::{self, Extent, Which};
use crate::messages::{self, Show};
use crate::output::Output;
use crate::store::Store;
use crate::values;
use crate::view::{self, MessageJson};

const REPLAY_EXAMPLES: &str = "\
Examples:
  mq dlq replay --data ./data ID
  mq dlq replay --data ./data --all --queue mail
  mq dlq replay --data ./data --edit fixed.json ID";

const PURGE_EXAMPLES: &str = "\
Examples:
  mq dlq purge --data ./data ID
  mq dlq purge --data ./data --all --older-than 30d --dry-run";

/// Verbs of `mq dlq`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// List dead letters, oldest first
    Ls(List),
    /// Show one dead letter with its attempts and payload
    Show(Show),
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

/// Which dead letters to change.
#[derive(Debug, clap::Args)]
struct Chosen {
    #[command(flatten)]
    data: Data,
    /// The messages' ids
    #[arg(
        value_name = "ID",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    ids: Vec<MessageId>,
    /// Every dead letter that the filters let through
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    which: Which,
    /// Only dead for this reason: budget_spent, dead_lettered, undecodable, crashed or expired
    #[arg(long, value_name = "REASON", value_parser = listing::reason)]
    reason: Option<DeadReason>,
    /// Change nothing; print the ids that would be changed
    #[arg(long)]
    dry_run: bool,
}

/// Arguments of `mq dlq replay`.
#[derive(Debug, clap::Args)]
pub(crate) struct Replay {
    #[command(flatten)]
    chosen: Chosen,
    /// Go on with the content of this file as payload
    #[arg(long, value_name = "FILE", conflicts_with = "all")]
    edit: Option<PathBuf>,
}

/// Arguments of `mq dlq purge`.
#[derive(Debug, clap::Args)]
pub(crate) struct Purge {
    #[command(flatten)]
    chosen: Chosen,
    /// Only those that died longer ago than this, such as 30d
    #[arg(long, value_name = "TIME", value_parser = values::duration, requires = "all", conflicts_with = "ids")]
    older_than: Option<Duration>,
}

/// Runs a verb of `mq dlq`.
///
/// # Errors
/// When the store cannot be opened, a message is not a dead letter, or the output fails.
pub(crate) fn run(verb: &Verb) -> Result {
    match verb {
        Verb::Ls(arguments) => list(arguments),
        Verb::Show(arguments) => messages::show(arguments, must_be_dead),
        Verb::Replay(arguments) => replay(arguments),
        Verb::Purge(arguments) => purge(arguments),
    }
}

fn list(arguments: &List) -> Result {
    let filter = arguments
        .which
        .filter(Some(StateKind::Dead), arguments.reason);
    Store::read(&arguments.data.data, |backend, output| {
        if arguments.json {
            return listing::show_each(backend, &filter, arguments.extent, |view| {
                output.json(&MessageJson::new(view))
            })
            .map(drop);
        }
        let mut rows = Vec::new();
        let more = listing::show_each(backend, &filter, arguments.extent, |view| {
            rows.push(row(view));
            Ok(())
        })?;
        output.table(
            &[
                "ID",
                "QUEUE",
                "KIND",
                "REASON",
                "FAILURES",
                "DIED",
                "LAST ERROR",
            ],
            rows,
        )?;
        messages::hint_at_more(more);
        Ok(())
    })
}

fn row(view: &MessageView) -> Vec<String> {
    vec![
        view.id.to_string(),
        view.queue.to_string(),
        view.kind.to_string(),
        reason(view).map_or("", |reason| reason.as_str()).to_owned(),
        view.tail.failures.to_string(),
        clock::moment(died(view)),
        view::last_error(view),
    ]
}

fn reason(view: &MessageView) -> Option<DeadReason> {
    match view.state {
        State::Dead { reason } => Some(reason),
        State::Scheduled { .. }
        | State::Ready
        | State::Blocked { .. }
        | State::Leased { .. }
        | State::Held { .. }
        | State::Completed { .. }
        | State::Superseded { .. } => None,
    }
}

/// When its last attempt ended; one that never ran is as old as its enqueue.
fn died(view: &MessageView) -> Timestamp {
    view.tail
        .history
        .last()
        .map_or(view.enqueued, |attempt| attempt.ended)
}

fn must_be_dead(view: &MessageView) -> Result {
    if reason(view).is_some() {
        return Ok(());
    }
    let error = anyhow!(
        "message {} is no dead letter: it is {}",
        view.id,
        view::state(&view.state)
    );
    Err(Failure::new(Exit::NotFound, error))
}

fn replay(arguments: &Replay) -> Result {
    let edit = match &arguments.edit {
        None => None,
        Some(_) if arguments.chosen.ids.len() != 1 => {
            return Err(Failure::usage(
                "--edit changes the payload of one message; give one id",
            ));
        }
        Some(path) => {
            let payload = fs::read(path).with_context(|| format!("read {}", path.display()))?;
            Some(Bytes::from(payload))
        }
    };
    arguments
        .chosen
        .change(|_| true, &OperateRequest::Replay { edit })
}

fn purge(arguments: &Purge) -> Result {
    let Some(age) = arguments.older_than else {
        return arguments.chosen.change(|_| true, &OperateRequest::Purge);
    };
    let now = jiff::Timestamp::now().as_millisecond();
    let now = Timestamp::from_ms(u64::try_from(now).unwrap_or_default());
    arguments
        .chosen
        .change(|view| now.since(died(view)) > age, &OperateRequest::Purge)
}

impl Chosen {
    /// Asks for `request` on each chosen dead letter that `matches`, and prints the ids.
    fn change(&self, matches: impl Fn(&MessageView) -> bool, request: &OperateRequest) -> Result {
        if !self.all && (self.which.is_set() || self.reason.is_some()) {
            return Err(Failure::usage("filters go with --all; ids need none"));
        }
        Store::read(&self.data.data, |backend, output| {
            let ids = if self.all {
                self.find(backend, &matches)?
            } else {
                self.ids.clone()
            };
            for id in ids {
                must_be_dead(&messages::find(backend, id)?)?;
                self.change_one(backend, id, request, output)?;
            }
            Ok(())
        })
    }

    /// The ids come first, so that what a replay puts back into the line is not met again.
    fn find(
        &self,
        backend: &dyn Backend,
        matches: impl Fn(&MessageView) -> bool,
    ) -> Result<Vec<MessageId>> {
        let mut ids = Vec::new();
        let filter = self.which.filter(Some(StateKind::Dead), self.reason);
        listing::for_all(backend, &filter, |view| {
            ids.extend(matches(view).then_some(view.id));
            Ok(())
        })?;
        Ok(ids)
    }

    fn change_one(
        &self,
        backend: &dyn Backend,
        id: MessageId,
        request: &OperateRequest,
        output: &mut Output,
    ) -> Result {
        if !self.dry_run {
            backend.operate(id, request.clone()).wait()??;
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
        assert!(!parses(&format!(
            "mq dlq purge --data d --older-than 1d {id}"
        )));
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
        let ready = MessageView {
            state: State::Ready,
            ..dead("x")
        };
        assert_eq!(must_be_dead(&ready).unwrap_err().exit, Exit::NotFound);
    }

    #[test]
    fn a_dead_letter_is_as_old_as_its_last_attempt() {
        assert_eq!(died(&dead("x")), Timestamp::from_ms(2_000));
        let mut never_ran = dead("x");
        never_ran.tail.history.clear();
        assert_eq!(died(&never_ran), never_ran.enqueued);
    }
}
