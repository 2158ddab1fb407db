//! `mq index`: which fields of a kind's payloads are indexed, so that messages are found by them without reading all.

use mq::control::{Answer, Call, IndexJson, SetIndexCall};
use mq_core::index::{Index, Pointer};
use mq_core::name::KindName;

use crate::args::Data;
use crate::escape::Escaped;
use crate::exit::{Failure, Result};
use crate::output;
use crate::target::Target;

const LS_EXAMPLES: &str = "\
Examples:
  mq index ls --data ./data
  mq index ls --data ./data --json

A field with fewer indexed messages than the kind has in the store is not searched by yet: older messages are looked at one by one.";

const SET_EXAMPLES: &str = "\
Examples:
  mq index set --data ./data order.paid /order/sku /order/customer
  mq messages ls --data ./data --kind order.paid --where '/order/sku == \"tea-7\"'

It is stored, survives restarts, and is about messages that are enqueued from then on. It replaces the index that the kind had.";

/// Verbs of `mq index`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// List the kinds with an index, and how many of their messages are in it
    #[command(after_help = LS_EXAMPLES)]
    Ls(List),
    /// Index fields of a kind's payloads, so that messages are found by them without reading all
    #[command(after_help = SET_EXAMPLES)]
    Set(Set),
    /// Index nothing of a kind any more
    #[command(after_help = "Examples:\n  mq index clear --data ./data order.paid")]
    Clear(Clear),
}

/// Arguments of `mq index ls`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[command(flatten)]
    data: Data,
    /// Print a JSON object per kind
    #[arg(long)]
    json: bool,
}

/// Arguments of `mq index set`.
#[derive(Debug, clap::Args)]
pub(crate) struct Set {
    #[command(flatten)]
    data: Data,
    /// The kind
    #[arg(value_name = "KIND")]
    kind: KindName,
    /// JSON pointers to the fields, at most 8
    #[arg(value_name = "FIELD", required = true)]
    fields: Vec<Pointer>,
}

/// Arguments of `mq index clear`.
#[derive(Debug, clap::Args)]
pub(crate) struct Clear {
    #[command(flatten)]
    data: Data,
    /// The kind
    #[arg(value_name = "KIND")]
    kind: KindName,
}

/// Runs a verb of `mq index`.
///
/// # Errors
/// When the store cannot be reached, a field cannot be indexed, or the output fails.
pub(crate) fn run(verb: &Verb) -> Result {
    match verb {
        Verb::Ls(arguments) => list(arguments),
        Verb::Set(arguments) => {
            let checked = Index::new(arguments.fields.clone());
            checked.map_err(Failure::usage)?;
            let fields = arguments.fields.iter().map(Pointer::to_string);
            set(&arguments.data, &arguments.kind, fields.collect())
        }
        Verb::Clear(arguments) => set(&arguments.data, &arguments.kind, Vec::new()),
    }
}

fn set(data: &Data, kind: &KindName, fields: Vec<String>) -> Result {
    let is_new = !fields.is_empty();
    let kind = kind.to_string();
    Target::visit(data, |target, _| {
        let set = SetIndexCall {
            kind: kind.clone(),
            fields,
        };
        target.call(Call::SetIndex(set))?;
        let of_kind = indexes(target)?.into_iter().find(|it| it.kind == kind);
        let left = of_kind.filter(|_| is_new).map_or(0, |index| {
            let indexed = index.fields.iter().map(|field| field.messages);
            index.messages - indexed.min().unwrap_or(0).min(index.messages)
        });
        if left > 0 {
            output::remark(format_args!(
                "{left} messages of {kind} were enqueued before: until they have left the store, all are looked at"
            ));
        }
        Ok(())
    })
}

fn indexes(target: &Target) -> Result<Vec<IndexJson>> {
    target.ask(Call::Indexes {}, |answer| match answer {
        Answer::Indexes(indexes) => Some(indexes),
        _ => None,
    })
}

fn list(arguments: &List) -> Result {
    Target::visit(&arguments.data, |target, output| {
        let indexes = indexes(target)?;
        if arguments.json {
            return indexes.iter().try_for_each(|index| output.json(index));
        }
        let rows = indexes.iter().flat_map(|index| {
            index.fields.iter().map(|field| {
                vec![
                    index.kind.clone(),
                    Escaped(&field.field).to_string(),
                    field.messages.to_string(),
                    index.messages.to_string(),
                ]
            })
        });
        Ok(output.table(&["KIND", "FIELD", "INDEXED", "MESSAGES"], rows.collect())?)
    })
}
