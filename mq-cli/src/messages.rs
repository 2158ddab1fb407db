//! `mq messages`: list them, show one, explain why one is not running, change them.

mod operate;

use std::io::Write;

use mq::Filter;
use mq::control::{Answer, Call, EditJson, MessageJson, OperationJson};
use mq_core::id::MessageId;
use mq_core::view::StateKind;

use crate::args::Data;
use crate::escape::{Escaped, EscapedBytes};
use crate::exit::Result;
use crate::listing::{self, Extent, Which};
use crate::output::{self, Output};
use crate::target::Target;
use crate::view;

const LIST_EXAMPLES: &str = "\
Examples:
  mq messages ls --data ./data --queue mail --state scheduled
  mq messages ls --data ./data --json --limit 1000 | jq -r 'select(.failures > 3) | .id'";

const SHOW_EXAMPLES: &str = "\
Examples:
  mq messages show --data ./data ID
  mq messages show --data ./data --payload ID > payload.json";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  mq messages explain --data ./data ID

Says what it waits for: a time, another message of its ordering key (which is then explained too), a paused queue, a free
worker, a worker that takes its kind at all.";

const HOLD_EXAMPLES: &str = "\
Examples:
  mq messages hold --data ./data --label audit ID
  mq messages release --data ./data ID";

const RESCHEDULE_EXAMPLES: &str = "\
Examples:
  mq messages reschedule --data ./data --delay 2h ID
  mq messages reschedule --data ./data --at 2026-01-31T12:00:00Z ID";

const PURGE_EXAMPLES: &str = "\
Examples:
  mq messages purge --data ./data ID
  mq messages purge --data ./data --all --state completed --older-than 7d --dry-run
  mq messages purge --data ./data --all --state held --held-as audit --queue mail

What waits or runs is not purged: cancel it. With --all the state must be said: held, completed or dead.";

/// Verbs of `mq messages`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// List messages, oldest first
    #[command(after_help = LIST_EXAMPLES)]
    Ls(List),
    /// Show one message with its attempts and payload
    #[command(after_help = SHOW_EXAMPLES)]
    Show(Show),
    /// Say why a message is not running
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(Explain),
    /// Stop messages for good: at once if they wait; a running handler is asked to stop
    #[command(after_help = "Examples:\n  mq messages cancel --data ./data ID ID")]
    Cancel(operate::Chosen),
    /// Make scheduled messages due now
    #[command(name = "run-now")]
    #[command(after_help = "Examples:\n  mq messages run-now --data ./data ID")]
    RunNow(operate::Chosen),
    /// Set waiting messages aside under a label of your own
    #[command(after_help = HOLD_EXAMPLES)]
    Hold(operate::Hold),
    /// Let held messages go on
    #[command(after_help = "Examples:\n  mq messages release --data ./data ID")]
    Release(operate::Chosen),
    /// Put waiting messages into another queue
    #[command(after_help = "Examples:\n  mq messages move --data ./data --to slow ID")]
    Move(operate::Move),
    /// Give waiting messages another priority
    #[command(name = "set-priority")]
    #[command(after_help = "Examples:\n  mq messages set-priority --data ./data --priority 9 ID")]
    SetPriority(operate::SetPriority),
    /// Give waiting messages another due time
    #[command(after_help = RESCHEDULE_EXAMPLES)]
    Reschedule(operate::Reschedule),
    /// Remove held, completed or dead messages for good
    #[command(after_help = PURGE_EXAMPLES)]
    Purge(operate::Purge),
}

/// Arguments of `mq messages ls`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    which: Which,
    /// Only in this state: scheduled, ready, blocked, leased, held, completed, dead or superseded
    #[arg(long, value_name = "STATE", value_parser = listing::state)]
    state: Option<StateKind>,
    #[command(flatten)]
    extent: Extent,
    /// Print a JSON object per message
    #[arg(long)]
    json: bool,
}

/// Arguments of `mq messages show` and `mq dlq show`.
#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    #[command(flatten)]
    one: One,
    /// Print the payload's bytes and nothing else
    #[arg(long, conflicts_with = "json")]
    payload: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Arguments of `mq messages explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct Explain {
    #[command(flatten)]
    one: One,
    /// Print a JSON object for the message and for each that it waits for
    #[arg(long)]
    json: bool,
}

/// One message.
#[derive(Debug, clap::Args)]
pub(crate) struct One {
    #[command(flatten)]
    data: Data,
    /// The message's id, as enqueue printed it
    #[arg(value_name = "ID")]
    id: MessageId,
}

/// Runs a verb of `mq messages`.
///
/// # Errors
/// When the store cannot be opened, the message is not there, or the output fails.
pub(crate) fn run(verb: &Verb) -> Result {
    match verb {
        Verb::Ls(arguments) => list(arguments),
        Verb::Show(arguments) => show(arguments, |_| Ok(())),
        Verb::Explain(arguments) => explain(arguments),
        Verb::Cancel(chosen) => chosen.change(&OperationJson::Cancel {}),
        Verb::RunNow(chosen) => chosen.change(&OperationJson::RunNow {}),
        Verb::Hold(arguments) => arguments.run(),
        Verb::Release(chosen) => chosen.change(&OperationJson::Release {}),
        Verb::Move(arguments) => arguments.run(),
        Verb::SetPriority(arguments) => arguments.run(),
        Verb::Reschedule(arguments) => arguments.run(),
        Verb::Purge(arguments) => arguments.run(),
    }
}

fn list(arguments: &List) -> Result {
    let filter = arguments.which.filter(arguments.state, None);
    let headings = [
        "ID", "QUEUE", "KIND", "STATE", "PRIORITY", "FAILURES", "ENQUEUED",
    ];
    let table = Table {
        headings: &headings,
        row,
    };
    table.show(&arguments.data, &filter, arguments.extent, arguments.json)
}

/// How messages are listed.
pub(crate) struct Table<'a> {
    pub(crate) headings: &'a [&'a str],
    pub(crate) row: fn(&MessageJson) -> Vec<String>,
}

impl Table<'_> {
    /// Lists the messages that match.
    ///
    /// # Errors
    /// When the store cannot be reached, the output fails, or messages had to be left out.
    pub(crate) fn show(&self, data: &Data, filter: &Filter, extent: Extent, json: bool) -> Result {
        Target::visit(data, |target, output| {
            let mut rows = Vec::new();
            let walked = listing::show_each(target, filter, extent, |message| {
                if json {
                    return output.json(message);
                }
                rows.push((self.row)(message));
                Ok(())
            })?;
            if !json {
                if rows.is_empty() && !walked.was_cut {
                    output::remark("nothing matches");
                }
                output.table(self.headings, rows)?;
            }
            walked.unreadable.must_be_none(target.data())
        })
    }
}

fn row(message: &MessageJson) -> Vec<String> {
    vec![
        message.id.clone(),
        message.queue.clone(),
        message.kind.clone(),
        view::state(message),
        message.priority.to_string(),
        message.failures.to_string(),
        message.enqueued.clone(),
    ]
}

/// Shows one message, if `check` has nothing against it.
///
/// # Errors
/// As [`run`].
pub(crate) fn show(arguments: &Show, check: impl FnOnce(&MessageJson) -> Result) -> Result {
    let exact = !arguments.json;
    Target::visit(&arguments.one.data, |target, output| {
        let message = target.message(arguments.one.id, true, exact)?;
        check(&message)?;
        if arguments.payload {
            Ok(output.bytes(&message.payload_bytes().unwrap_or_default())?)
        } else if arguments.json {
            output.json(&message)
        } else {
            describe(&message, output)
        }
    })
}

fn describe(message: &MessageJson, output: &mut Output<impl Write>) -> Result {
    let mut facts = vec![
        ("id", message.id.clone()),
        ("queue", message.queue.clone()),
        ("kind", message.kind.clone()),
        ("state", view::state(message)),
        ("priority", message.priority.to_string()),
        ("enqueued", message.enqueued.clone()),
        ("handed out", format!("{} times", message.deliveries)),
        ("failures", message.failures.to_string()),
    ];
    let texts = [
        ("idempotency key", &message.idempotency_key),
        ("dedup key", &message.dedup_key),
        ("ordering key", &message.ordering_key),
        ("note", &message.note),
    ];
    facts.extend(
        texts
            .into_iter()
            .filter_map(|(name, text)| Some((name, Escaped(text.as_ref()?).to_string()))),
    );
    let headers = message.headers.iter().flatten();
    facts.extend(headers.map(|(name, value)| {
        let header = format!("{}: {}", Escaped(name), Escaped(value));
        ("header", header)
    }));
    facts.extend(message.edits.iter().map(|edit| ("edit", edited(edit))));
    facts.extend(message.attempts.iter().map(|attempt| {
        let error = Escaped(attempt.error.as_deref().unwrap_or_default());
        let (delivery, ended, outcome) = (attempt.delivery, &attempt.ended, &attempt.outcome);
        ("attempt", format!("{delivery}: {ended} {outcome} {error}"))
    }));
    let payload = message.payload_bytes().unwrap_or_default();
    facts.push(("payload", EscapedBytes(&payload).to_string()));
    Ok(output.facts(facts)?)
}

fn explain(arguments: &Explain) -> Result {
    Target::visit(&arguments.one.data, |target, output| {
        let id = arguments.one.id.to_string();
        let chain = target.ask(Call::Explain { id }, |answer| match answer {
            Answer::Explained(chain) => Some(chain),
            _ => None,
        })?;
        for explained in chain {
            if arguments.json {
                output.json(&explained)?;
            } else {
                let text = Escaped(&explained.text);
                output.line(format_args!("{}: {text}", explained.id))?;
            }
        }
        Ok(())
    })
}

/// What a user did, when, and who it was.
fn edited(edit: &EditJson) -> String {
    let details = [&edit.label, &edit.due, &edit.from, &edit.to];
    let details = details.into_iter().flatten().map(String::as_str);
    let details: Vec<&str> = details
        .chain(edit.edited.then_some("with another payload"))
        .collect();
    let by = if edit.by.is_empty() {
        "somebody"
    } else {
        &edit.by
    };
    let what = [edit.what.clone(), details.join(" → ")].join(" ");
    Escaped(&format!("{} {} by {by}", edit.at, what.trim_end())).to_string()
}
