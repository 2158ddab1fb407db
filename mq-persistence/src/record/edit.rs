//! Fields of the changes that users made to a message.

use mq_core::name::{Label, QueueName};
use mq_core::state::{Edit, EditKind};

use super::event::queue_name;
use super::state::{name, priority, put_name, time, value};
use crate::error::DecodeError;
use crate::fields::{Fields, put_blob, put_u64};

const CANCEL: u8 = 0;
const HOLD: u8 = 1;
const RELEASE: u8 = 2;
const RUN_NOW: u8 = 3;
const RESCHEDULE: u8 = 4;
const SET_PRIORITY: u8 = 5;
const MOVE: u8 = 6;
const REPLAY: u8 = 7;

/// The rules keep five; more than a byte can count would be the oldest ones of a bug.
pub(super) fn put_edits(buffer: &mut Vec<u8>, edits: &[Edit]) {
    let kept = edits.len().min(usize::from(u8::MAX));
    buffer.push(u8::try_from(kept).unwrap_or(u8::MAX));
    for edit in edits.iter().skip(edits.len() - kept) {
        put_u64(buffer, edit.at.as_ms());
        put_blob(buffer, edit.by.as_bytes());
        put_kind(buffer, &edit.what);
    }
}

fn put_kind(buffer: &mut Vec<u8>, what: &EditKind) {
    match what {
        EditKind::Cancel => buffer.push(CANCEL),
        EditKind::Hold { label } => {
            buffer.push(HOLD);
            put_name(buffer, label.as_str());
        }
        EditKind::Release { label } => {
            buffer.push(RELEASE);
            put_name(buffer, label.as_str());
        }
        EditKind::RunNow => buffer.push(RUN_NOW),
        EditKind::Reschedule { due } => {
            buffer.push(RESCHEDULE);
            put_u64(buffer, due.as_ms());
        }
        EditKind::SetPriority { from, to } => {
            buffer.extend_from_slice(&[SET_PRIORITY, from.get(), to.get()]);
        }
        EditKind::Move { from, to } => {
            buffer.push(MOVE);
            put_name(buffer, from.as_str());
            put_name(buffer, to.as_str());
        }
        EditKind::Replay { edited } => buffer.extend_from_slice(&[REPLAY, u8::from(*edited)]),
    }
}

pub(super) fn edits(fields: &mut Fields<'_>) -> Result<Vec<Edit>, DecodeError> {
    let count = fields.u8("the number of changes")?;
    (0..count).map(|_| edit(fields)).collect()
}

fn edit(fields: &mut Fields<'_>) -> Result<Edit, DecodeError> {
    Ok(Edit {
        at: time(fields, "the time of a change")?,
        by: fields.text("who made a change")?.to_owned(),
        what: kind(fields)?,
    })
}

fn kind(fields: &mut Fields<'_>) -> Result<EditKind, DecodeError> {
    let what = "a change";
    Ok(match fields.u8(what)? {
        CANCEL => EditKind::Cancel,
        HOLD => EditKind::Hold {
            label: label(fields)?,
        },
        RELEASE => EditKind::Release {
            label: label(fields)?,
        },
        RUN_NOW => EditKind::RunNow,
        RESCHEDULE => EditKind::Reschedule {
            due: time(fields, "a due time")?,
        },
        SET_PRIORITY => EditKind::SetPriority {
            from: priority(fields)?,
            to: priority(fields)?,
        },
        MOVE => {
            let from: QueueName = queue_name(fields)?;
            let to = queue_name(fields)?;
            EditKind::Move { from, to }
        }
        REPLAY => EditKind::Replay {
            edited: fields.flag("a new payload")?,
        },
        found => return Err(value(what, found)),
    })
}

fn label(fields: &mut Fields<'_>) -> Result<Label, DecodeError> {
    let what = "a label";
    Label::new(name(fields, what)?).map_err(|_| DecodeError::Text { what })
}
