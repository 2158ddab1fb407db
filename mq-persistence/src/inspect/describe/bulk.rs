//! Records about bulk jobs as names and values.

use mq_core::bulk::{BulkCounts, BulkEnd, BulkJob};
use mq_core::event::BulkEvent;
use mq_core::state::{Edit, EditKind};

use super::{Fields, Value, flag, number, text};

pub(super) fn of_event(event: &BulkEvent) -> (&'static str, Fields) {
    match event {
        BulkEvent::Started {
            id,
            spec,
            cutoff,
            by,
            at,
        } => {
            let fields = vec![
                number("job", id.0),
                ("spec", Value::Bytes(spec.clone())),
                number("cutoff", cutoff.get()),
                text("by", by),
                number("at", at.as_ms()),
            ];
            ("bulk_started", fields)
        }
        BulkEvent::Stepped { id, cursor, counts } => {
            let fields = vec![
                number("job", id.0),
                number("cursor", cursor.get()),
                of_counts(counts),
            ];
            ("bulk_stepped", fields)
        }
        BulkEvent::Ended { id, how, at } => {
            let mut fields = vec![number("job", id.0), number("at", at.as_ms())];
            fields.extend(of_end(how));
            ("bulk_ended", fields)
        }
    }
}

pub(super) fn of_job(job: &BulkJob) -> Fields {
    let mut fields = vec![
        number("job", job.id.0),
        ("spec", Value::Bytes(job.spec.clone())),
        number("cutoff", job.cutoff.get()),
        text("by", &job.by),
        number("started", job.started.as_ms()),
        number("cursor", job.cursor.get()),
        of_counts(&job.counts),
    ];
    if let Some((how, at)) = &job.ended {
        fields.push(number("ended", at.as_ms()));
        fields.extend(of_end(how));
    }
    fields
}

fn of_counts(counts: &BulkCounts) -> (&'static str, Value) {
    let counts = counts.each().into_iter();
    let counts = counts.map(|(name, count)| number(name, count)).collect();
    ("counts", Value::Fields(counts))
}

fn of_end(how: &BulkEnd) -> Fields {
    let word = text("how", how.as_str());
    match how {
        BulkEnd::Completed => vec![word],
        BulkEnd::Cancelled { by } => vec![word, text("cancelled_by", by)],
        BulkEnd::Failed { reason } => vec![word, text("reason", reason)],
    }
}

/// A change of one message by a user.
pub(super) fn of_edit(edit: &Edit) -> Fields {
    let mut fields = vec![
        number("at", edit.at.as_ms()),
        text("by", &edit.by),
        text("what", edit.what.as_str()),
    ];
    match &edit.what {
        EditKind::Cancel | EditKind::RunNow => {}
        EditKind::Hold { label } | EditKind::Release { label } => fields.push(text("label", label)),
        EditKind::Reschedule { due } => fields.push(number("due", due.as_ms())),
        EditKind::SetPriority { from, to } => {
            fields.push(number("from", from.get().into()));
            fields.push(number("to", to.get().into()));
        }
        EditKind::Move { from, to } => {
            fields.push(text("from", from));
            fields.push(text("to", to));
        }
        EditKind::Replay { edited } => fields.push(flag("edited", *edited)),
    }
    fields
}
