//! Records as names and values, for people and programs that print them.
//!
//! Invariant: every field that is on disk is there; one that is absent on disk is absent here.

mod bulk;
mod index;
mod schedule;

use bytes::Bytes;
use mq_core::event::{Changed, Enqueued, Event, LeaseAfter};
use mq_core::id::Seq;
use mq_core::image::{Holder, ImageRecord, MessageImage};
use mq_core::key::KeyHash;
use mq_core::queue::QueueSettings;
use mq_core::state::{Attempt, Completion, StoredState, Tail};

use crate::record::{Previous, Record};

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number: an identity, a count, milliseconds, bytes.
    Number(u64),
    /// A text.
    Text(String),
    /// Yes or no.
    Flag(bool),
    /// Bytes that are the user's.
    Bytes(Bytes),
    /// Fields of its own.
    Fields(Fields),
    /// Several values.
    List(Vec<Value>),
}

/// Fields by name, in the order of the format.
pub type Fields = Vec<(&'static str, Value)>;

/// The name of a record, and its fields.
pub(super) fn describe(record: &Record) -> (&'static str, Fields) {
    match record {
        Record::Event(event) => of_event(event),
        Record::Image(image) => of_image(image),
        Record::Relocated { seq, from } => {
            let fields = vec![number("seq", seq.get()), text("from", from)];
            ("relocated", fields)
        }
        Record::Previous(previous) => ("previous", of_previous(previous)),
        Record::Next { segment } => ("next", vec![number("segment", (*segment).into())]),
        Record::Ignored { kind } => ("unknown", vec![number("type", (*kind).into())]),
    }
}

fn of_event(event: &Event) -> (&'static str, Fields) {
    match event {
        Event::Opened { incarnation, at } => {
            let incarnation = number("incarnation", incarnation.0.into());
            ("opened", vec![incarnation, number("at", at.as_ms())])
        }
        Event::Closed => ("closed", Vec::new()),
        Event::QueueDefined { id, name } => (
            "queue_defined",
            vec![number("queue", id.0.into()), text("name", name)],
        ),
        Event::KindDefined { id, name } => (
            "kind_defined",
            vec![number("kind", id.0.into()), text("name", name)],
        ),
        Event::QueueSet { queue, settings } => {
            let mut fields = vec![number("queue", queue.0.into())];
            fields.extend(of_settings(settings));
            ("queue_set", fields)
        }
        Event::KindSet { kind, index } => {
            let fields = vec![number("kind", kind.0.into()), index::of_index(index)];
            ("kind_set", fields)
        }
        Event::Enqueued(enqueued) => ("enqueued", of_enqueued(enqueued)),
        Event::CheckedOut {
            seq,
            delivery,
            solo,
        } => {
            let mut fields = of_delivery(*seq, *delivery);
            fields.push(flag("solo", *solo));
            ("checked_out", fields)
        }
        Event::Returned { seq, delivery } => ("returned", of_delivery(*seq, *delivery)),
        Event::Changed(changed) => ("changed", of_changed(changed)),
        Event::Finished { seq } => ("finished", vec![number("seq", seq.get())]),
        Event::Schedule(event) => schedule::of_event(event),
        Event::Bulk(event) => bulk::of_event(event),
    }
}

fn of_settings(settings: &QueueSettings) -> Fields {
    let QueueSettings {
        paused,
        hold_new,
        retain_completed,
        messages_max,
    } = settings;
    let mut fields = vec![flag("paused", *paused)];
    fields.extend(hold_new.as_ref().map(|label| text("hold_new", label)));
    let retain = retain_completed.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
    fields.extend(retain.map(|ms| number("retain_completed_ms", ms)));
    fields.extend(messages_max.map(|limit| number("messages_max", limit)));
    fields
}

fn of_image(image: &ImageRecord) -> (&'static str, Fields) {
    match image {
        ImageRecord::Counters {
            last_seq,
            last_order,
            incarnation,
        } => {
            let fields = vec![
                number("last_seq", last_seq.get()),
                number("last_order", *last_order),
                number("incarnation", incarnation.0.into()),
            ];
            ("counters", fields)
        }
        ImageRecord::Queue { id, name, settings } => {
            let mut fields = vec![number("queue", id.0.into()), text("name", name)];
            fields.extend(of_settings(settings));
            ("queue", fields)
        }
        ImageRecord::Kind { id, name, index } => {
            let mut fields = vec![number("kind", id.0.into()), text("name", name)];
            fields.extend((!index.is_empty()).then(|| index::of_index(index)));
            ("kind", fields)
        }
        ImageRecord::Message(message) => ("message", of_message(message)),
        ImageRecord::Schedule(known) => ("schedule", schedule::of_schedule(known)),
        ImageRecord::Bulk(job) => ("bulk", bulk::of_job(job)),
        ImageRecord::Key {
            hash,
            seq,
            at,
            payload,
            until,
        } => {
            let fields = vec![
                key("key", *hash),
                number("seq", seq.get()),
                number("at", at.as_ms()),
                key("payload", *payload),
                number("until", until.as_ms()),
            ];
            ("key", fields)
        }
    }
}

fn of_previous(previous: &Previous) -> Fields {
    vec![
        text("end", previous.end),
        number("crc", previous.crc.into()),
        text("read_end", previous.read_end),
        number("frames", previous.frames.into()),
    ]
}

fn of_delivery(seq: Seq, delivery: u32) -> Fields {
    vec![
        number("seq", seq.get()),
        number("delivery", delivery.into()),
    ]
}

fn of_enqueued(enqueued: &Enqueued) -> Fields {
    let mut fields = vec![
        number("seq", enqueued.seq.get()),
        number("at", enqueued.at.as_ms()),
        number("queue", enqueued.queue.0.into()),
        number("kind", enqueued.kind.0.into()),
        number("priority", enqueued.priority.get().into()),
        ("state", Value::Fields(of_state(&enqueued.state))),
        number("order", enqueued.order),
        number("joined", enqueued.joined.as_ms()),
        number("size", enqueued.size.into()),
        flag("halt_on_dead", enqueued.halt_on_dead),
    ];
    let expires = enqueued.expires.map(|at| number("expires", at.as_ms()));
    let idempotency = enqueued.idempotency.map(|(hash, until)| {
        let parts = vec![key("key", hash), number("until", until.as_ms())];
        ("idempotency", Value::Fields(parts))
    });
    let optional = [
        expires,
        idempotency,
        enqueued.dedup.map(|hash| key("dedup_key", hash)),
        enqueued.behind.map(|seq| number("behind", seq.get())),
        enqueued.ordering.map(|hash| key("ordering_key", hash)),
        (enqueued.payload.0 != 0).then(|| key("payload", enqueued.payload)),
        enqueued
            .failures_max
            .map(|max| number("failures_max", max.into())),
        enqueued.retain_ms.map(|ms| number("retain_ms", ms)),
        (!enqueued.terms.is_empty()).then(|| index::of_terms(&enqueued.terms)),
    ];
    fields.extend(optional.into_iter().flatten());
    fields
}

fn of_changed(changed: &Changed) -> Fields {
    let lease = match changed.lease {
        LeaseAfter::Ended => "ended",
        LeaseAfter::Kept => "kept",
    };
    let mut fields = vec![
        number("seq", changed.seq.get()),
        ("state", Value::Fields(of_state(&changed.state))),
        text("lease", lease),
        number("queue", changed.queue.0.into()),
        number("priority", changed.priority.get().into()),
        number("order", changed.order),
        number("joined", changed.joined.as_ms()),
        number("size", changed.size.into()),
        ("tail", Value::Fields(of_tail(&changed.tail))),
    ];
    fields.extend(changed.terms.as_ref().map(index::of_terms));
    fields
}

fn of_message(message: &MessageImage) -> Fields {
    let mut fields = of_enqueued(&message.facts);
    let holder = match message.holder {
        Holder::Nobody => "nobody",
        Holder::Lease => "lease",
        Holder::SoloLease => "solo_lease",
        Holder::Suspect => "suspect",
    };
    fields.retain(|(name, _)| *name != "state");
    fields.push(("state", Value::Fields(of_state(&message.state))));
    fields.push(number("deliveries", message.deliveries.into()));
    fields.push(text("holder", holder));
    let tail = message.tail.as_deref();
    fields.extend(tail.map(|tail| ("tail", Value::Fields(of_tail(tail)))));
    fields
}

fn of_state(state: &StoredState) -> Fields {
    match state {
        StoredState::Pending { due } => vec![text("is", "pending"), number("due", due.as_ms())],
        StoredState::Held { label, due } => vec![
            text("is", "held"),
            text("label", label),
            number("due", due.as_ms()),
        ],
        StoredState::Completed { how, until } => {
            let how = match how {
                Completion::Succeeded => "succeeded",
                Completion::Discarded => "discarded",
                Completion::Cancelled => "cancelled",
            };
            let until = number("until", until.as_ms());
            vec![text("is", "completed"), text("how", how), until]
        }
        StoredState::Dead { reason, at } => vec![
            text("is", "dead"),
            text("reason", reason.as_str()),
            number("at", at.as_ms()),
        ],
        StoredState::Superseded { by } => {
            vec![text("is", "superseded"), number("by", by.get())]
        }
    }
}

fn of_tail(tail: &Tail) -> Fields {
    let history = tail.history.iter().map(|it| Value::Fields(of_attempt(it)));
    let mut fields = vec![
        number("failures", tail.failures.into()),
        number("crashes", tail.crashes.into()),
        number("snoozes", tail.snoozes.into()),
        number("interruptions", tail.interruptions.into()),
        number("replays", tail.replays.into()),
        ("history", Value::List(history.collect())),
        flag("cancel_requested", tail.cancel_requested),
    ];
    let bytes = |name, bytes: &Option<Bytes>| bytes.clone().map(|it| (name, Value::Bytes(it)));
    let optional = [
        bytes("checkpoint", &tail.checkpoint),
        bytes("result", &tail.result),
        tail.note.as_deref().map(|note| text("note", note)),
    ];
    fields.extend(optional.into_iter().flatten());
    if !tail.edits.is_empty() {
        let edits = tail.edits.iter().map(|it| Value::Fields(bulk::of_edit(it)));
        fields.push(("edits", Value::List(edits.collect())));
    }
    fields
}

fn of_attempt(attempt: &Attempt) -> Fields {
    let mut fields = vec![
        number("delivery", attempt.delivery.into()),
        number("ended", attempt.ended.as_ms()),
        text("outcome", attempt.outcome.as_str()),
    ];
    if let Some(failure) = &attempt.failure {
        fields.push(text("error_type", &failure.error_type));
        fields.push(text("text", &failure.text));
    }
    fields
}

const fn number(name: &'static str, number: u64) -> (&'static str, Value) {
    (name, Value::Number(number))
}

const fn flag(name: &'static str, flag: bool) -> (&'static str, Value) {
    (name, Value::Flag(flag))
}

fn text(name: &'static str, text: impl ToString) -> (&'static str, Value) {
    (name, Value::Text(text.to_string()))
}

fn key(name: &'static str, hash: KeyHash) -> (&'static str, Value) {
    (name, Value::Text(format!("{:032x}", hash.0)))
}
