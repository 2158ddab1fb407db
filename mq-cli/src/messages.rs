//! `mq messages`: list them, show one, explain why one is not running.

mod explain;

use std::io::Write;

use anyhow::anyhow;
use mq_core::backend::Backend;
use mq_core::id::MessageId;
use mq_core::message::Envelope;
use mq_core::state::State;
use mq_core::view::{Lookup, MessageView, StateKind};

use crate::args::Data;
use crate::clock;
use crate::escape::Escaped;
use crate::exit::{Exit, Failure, Result};
use crate::listing::{self, Extent, Which};
use crate::output::Output;
use crate::store::Store;
use crate::view::{self, MessageJson};

/// Verbs of `mq messages`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// List messages, oldest first
    Ls(List),
    /// Show one message with its attempts and payload
    Show(Show),
    /// Say why a message is not running
    Explain(One),
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
        Verb::Explain(one) => explain_one(one),
    }
}

fn list(arguments: &List) -> Result {
    let filter = arguments.which.filter(arguments.state, None);
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
        let headings = [
            "ID", "QUEUE", "KIND", "STATE", "PRIORITY", "FAILURES", "ENQUEUED",
        ];
        output.table(&headings, rows)?;
        hint_at_more(more);
        Ok(())
    })
}

/// Says on standard error that a listing was cut.
pub(crate) fn hint_at_more(more: bool) {
    if more {
        eprintln!("mq: there are more; raise --limit, or go on with --after and the last id");
    }
}

fn row(view: &MessageView) -> Vec<String> {
    vec![
        view.id.to_string(),
        view.queue.to_string(),
        view.kind.to_string(),
        view::state(&view.state),
        view.priority.get().to_string(),
        view.tail.failures.to_string(),
        clock::moment(view.enqueued),
    ]
}

/// Shows one message, if `check` has nothing against it.
///
/// # Errors
/// As [`run`].
pub(crate) fn show(arguments: &Show, check: impl FnOnce(&MessageView) -> Result) -> Result {
    let id = arguments.one.id;
    Store::read(&arguments.one.data.data, |backend, output| {
        let view = find(backend, id)?;
        check(&view)?;
        let envelope = backend.envelope(id).wait()??.ok_or_else(|| not_kept(id))?;
        if arguments.payload {
            Ok(output.bytes(&envelope.payload)?)
        } else if arguments.json {
            output.json(&MessageJson::with_envelope(&view, &envelope))
        } else {
            describe(&view, &envelope, output)
        }
    })
}

/// The message `id`.
///
/// # Errors
/// With [`Exit::NotFound`] when the store does not hold it.
pub(crate) fn find(backend: &dyn Backend, id: MessageId) -> Result<MessageView> {
    match backend.message(id).wait()?? {
        Lookup::Found(view) => Ok(*view),
        Lookup::SettledNotKept => Err(not_kept(id)),
        Lookup::NeverIssued => {
            let error = anyhow!("this store never issued message {id}; is it the right folder?");
            Err(Failure::new(Exit::NotFound, error))
        }
    }
}

fn not_kept(id: MessageId) -> Failure {
    let error =
        anyhow!("message {id} is not in the store any more: it was completed, replaced or purged");
    Failure::new(Exit::NotFound, error)
}

fn describe(view: &MessageView, envelope: &Envelope, output: &mut Output<impl Write>) -> Result {
    let mut facts = vec![
        ("id", view.id.to_string()),
        ("queue", view.queue.to_string()),
        ("kind", view.kind.to_string()),
        ("state", view::state(&view.state)),
        ("priority", view.priority.get().to_string()),
        ("enqueued", clock::moment(view.enqueued)),
        ("handed out", format!("{} times", view.deliveries)),
        ("failures", view.tail.failures.to_string()),
    ];
    let keys = [
        ("idempotency key", &envelope.idempotency_key),
        ("dedup key", &envelope.dedup_key),
        ("ordering key", &envelope.ordering_key),
    ];
    facts.extend(
        keys.into_iter()
            .filter_map(|(name, key)| Some((name, key.as_ref()?.to_string()))),
    );
    facts.extend(
        view.tail
            .note
            .as_deref()
            .map(|note| ("note", Escaped(note).to_string())),
    );
    for (name, fact) in facts {
        output.line(format_args!("{name:<16} {fact}"))?;
    }
    for (name, value) in &envelope.headers {
        output.line(format_args!(
            "{:<16} {}: {}",
            "header",
            Escaped(name),
            Escaped(value)
        ))?;
    }
    for attempt in &view.tail.history {
        let error = attempt.failure.as_ref().map_or("", |failure| &failure.text);
        let (delivery, ended, outcome) = (
            attempt.delivery,
            clock::moment(attempt.ended),
            attempt.outcome.as_str(),
        );
        output.line(format_args!(
            "attempt {delivery:<8} {ended} {outcome} {}",
            Escaped(error)
        ))?;
    }
    Ok(output.line(format_args!(
        "{:<16} {}",
        "payload",
        view::payload(envelope)
    ))?)
}

fn explain_one(one: &One) -> Result {
    Store::visit(&one.data.data, |store, output| {
        let (backend, admin) = (store.backend(), store.engine().admin());
        let mut next = Some(one.id);
        while let Some(id) = next.take() {
            let view = find(backend.as_ref(), id)?;
            let reason = admin.explain(id);
            output.line(format_args!("{id}: {}", explain::sentence(&reason, &view)))?;
            next = match view.state {
                State::Blocked { by } => Some(by),
                State::Scheduled { .. }
                | State::Ready
                | State::Leased { .. }
                | State::Held { .. }
                | State::Completed { .. }
                | State::Dead { .. }
                | State::Superseded { .. } => None,
            };
        }
        Ok(())
    })
}
