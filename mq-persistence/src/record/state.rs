//! Fields of states and tails, shared by events and images.

use mq_core::message::Priority;
use mq_core::name::Label;
use mq_core::state::{Attempt, Completion, DeadReason, Failure, Outcome, StoredState, Tail};
use mq_core::time::{StoreTime, Timestamp};

use super::edit::{edits, put_edits};
use crate::error::DecodeError;
use crate::fields::{Fields, put_blob, put_u16, put_u32, put_u64};

const AT_ONCE: u8 = 0;
const PENDING: u8 = 1;
const HELD: u8 = 2;
const COMPLETED: u8 = 3;
const DEAD: u8 = 4;
const SUPERSEDED: u8 = 5;

pub(super) fn put_state(buffer: &mut Vec<u8>, state: &StoredState) {
    match state {
        StoredState::Pending { due } if due.as_ms() == 0 => buffer.push(AT_ONCE),
        StoredState::Pending { due } => {
            buffer.push(PENDING);
            put_u64(buffer, due.as_ms());
        }
        StoredState::Held { label, due } => {
            buffer.push(HELD);
            put_u64(buffer, due.as_ms());
            put_name(buffer, label.as_str());
        }
        StoredState::Completed { how, until } => {
            buffer.push(COMPLETED);
            buffer.push(completion_number(*how));
            put_u64(buffer, until.as_ms());
        }
        StoredState::Dead { reason, at } => {
            buffer.push(DEAD);
            buffer.push(reason_number(*reason));
            put_u64(buffer, at.as_ms());
        }
        StoredState::Superseded { by } => {
            buffer.push(SUPERSEDED);
            put_u64(buffer, by.get());
        }
    }
}

pub(super) fn state(fields: &mut Fields<'_>) -> Result<StoredState, DecodeError> {
    match fields.u8("a state")? {
        AT_ONCE => Ok(StoredState::Pending {
            due: Timestamp::from_ms(0),
        }),
        PENDING => Ok(StoredState::Pending {
            due: time(fields, "a due time")?,
        }),
        HELD => {
            let due = time(fields, "a due time")?;
            let label = Label::new(name(fields, "a label")?);
            let label = label.map_err(|_| DecodeError::Text { what: "a label" })?;
            Ok(StoredState::Held { label, due })
        }
        COMPLETED => Ok(StoredState::Completed {
            how: completion(fields)?,
            until: store_time(fields, "the end of a retention")?,
        }),
        DEAD => Ok(StoredState::Dead {
            reason: reason(fields)?,
            at: time(fields, "a time of death")?,
        }),
        SUPERSEDED => Ok(StoredState::Superseded {
            by: fields.seq("the sequence that supersedes")?,
        }),
        found => Err(value("a state", found)),
    }
}

const FAILURES: u16 = 1;
const CRASHES: u16 = 1 << 1;
const SNOOZES: u16 = 1 << 2;
const INTERRUPTIONS: u16 = 1 << 3;
const REPLAYS: u16 = 1 << 4;
const HISTORY: u16 = 1 << 5;
const CHECKPOINT: u16 = 1 << 6;
const RESULT: u16 = 1 << 7;
const CANCEL_REQUESTED: u16 = 1 << 8;
const NOTE: u16 = 1 << 9;
const EDITS: u16 = 1 << 10;
const TAIL_BITS: u16 = (1 << 11) - 1;

fn tail_bits(tail: &Tail) -> u16 {
    let parts = [
        (tail.failures != 0, FAILURES),
        (tail.crashes != 0, CRASHES),
        (tail.snoozes != 0, SNOOZES),
        (tail.interruptions != 0, INTERRUPTIONS),
        (tail.replays != 0, REPLAYS),
        (!tail.history.is_empty(), HISTORY),
        (tail.checkpoint.is_some(), CHECKPOINT),
        (tail.result.is_some(), RESULT),
        (tail.cancel_requested, CANCEL_REQUESTED),
        (tail.note.is_some(), NOTE),
        (!tail.edits.is_empty(), EDITS),
    ];
    let present = parts.iter().filter(|(present, _)| *present);
    present.fold(0, |bits, (_, bit)| bits | bit)
}

pub(super) fn put_tail(buffer: &mut Vec<u8>, tail: &Tail) {
    put_u16(buffer, tail_bits(tail));
    let counters = [
        tail.failures,
        tail.crashes,
        tail.snoozes,
        tail.interruptions,
        tail.replays,
    ];
    for counter in counters.into_iter().filter(|counter| *counter != 0) {
        put_u32(buffer, counter);
    }
    if !tail.history.is_empty() {
        // The rules keep five; more than a byte can count would be the oldest ones of a bug.
        let kept = tail.history.len().min(usize::from(u8::MAX));
        buffer.push(u8::try_from(kept).unwrap_or(u8::MAX));
        for attempt in tail.history.iter().skip(tail.history.len() - kept) {
            put_attempt(buffer, attempt);
        }
    }
    for blob in [&tail.checkpoint, &tail.result].into_iter().flatten() {
        put_blob(buffer, blob);
    }
    if let Some(note) = &tail.note {
        put_blob(buffer, note.as_bytes());
    }
    if !tail.edits.is_empty() {
        put_edits(buffer, &tail.edits);
    }
}

pub(super) fn tail(fields: &mut Fields<'_>) -> Result<Box<Tail>, DecodeError> {
    let bits = fields.bits(TAIL_BITS, "the parts of a tail")?;
    let mut counter = |bit, what| {
        bits.when(bit, || fields.u32(what))
            .map(Option::unwrap_or_default)
    };
    Ok(Box::new(Tail {
        failures: counter(FAILURES, "failures")?,
        crashes: counter(CRASHES, "crashes")?,
        snoozes: counter(SNOOZES, "snoozes")?,
        interruptions: counter(INTERRUPTIONS, "interruptions")?,
        replays: counter(REPLAYS, "replays")?,
        history: bits.when(HISTORY, || history(fields))?.unwrap_or_default(),
        checkpoint: bits.when(CHECKPOINT, || fields.copied("a checkpoint"))?,
        result: bits.when(RESULT, || fields.copied("a result"))?,
        cancel_requested: bits.has(CANCEL_REQUESTED),
        note: bits.when(NOTE, || fields.text("a note").map(str::to_owned))?,
        edits: bits.when(EDITS, || edits(fields))?.unwrap_or_default(),
    }))
}

fn put_attempt(buffer: &mut Vec<u8>, attempt: &Attempt) {
    put_u32(buffer, attempt.delivery);
    put_u64(buffer, attempt.ended.as_ms());
    buffer.push(outcome_number(attempt.outcome));
    buffer.push(u8::from(attempt.failure.is_some()));
    if let Some(failure) = &attempt.failure {
        put_blob(buffer, failure.error_type.as_bytes());
        put_blob(buffer, failure.text.as_bytes());
    }
}

fn history(fields: &mut Fields<'_>) -> Result<Vec<Attempt>, DecodeError> {
    let count = fields.u8("the length of a history")?;
    (0..count).map(|_| attempt(fields)).collect()
}

fn attempt(fields: &mut Fields<'_>) -> Result<Attempt, DecodeError> {
    Ok(Attempt {
        delivery: fields.u32("a delivery")?,
        ended: time(fields, "the end of an attempt")?,
        outcome: outcome(fields)?,
        failure: if fields.flag("a failure")? {
            Some(Failure {
                error_type: fields.text("the type of an error")?.to_owned(),
                text: fields.text("the text of an error")?.to_owned(),
            })
        } else {
            None
        },
    })
}

/// A name behind its length in one byte.
pub(super) fn put_name(buffer: &mut Vec<u8>, name: &str) {
    // A name has at most 128 bytes.
    let bytes = name.as_bytes();
    buffer.push(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
    buffer.extend_from_slice(bytes);
}

pub(super) fn name<'a>(
    fields: &mut Fields<'a>,
    what: &'static str,
) -> Result<&'a str, DecodeError> {
    let len = fields.u8(what)?;
    let bytes = fields.bytes(len.into(), what)?;
    str::from_utf8(bytes).map_err(|_| DecodeError::Text { what })
}

pub(super) fn time(fields: &mut Fields<'_>, what: &'static str) -> Result<Timestamp, DecodeError> {
    fields.u64(what).map(Timestamp::from_ms)
}

pub(super) fn store_time(
    fields: &mut Fields<'_>,
    what: &'static str,
) -> Result<StoreTime, DecodeError> {
    fields.u64(what).map(StoreTime::from_ms)
}

pub(super) fn priority(fields: &mut Fields<'_>) -> Result<Priority, DecodeError> {
    let level = fields.u8("a priority")?;
    Priority::new(level).ok_or(value("a priority", level))
}

pub(super) fn value(what: &'static str, found: u8) -> DecodeError {
    DecodeError::Value {
        what,
        found: found.into(),
    }
}

const fn completion_number(how: Completion) -> u8 {
    match how {
        Completion::Succeeded => 0,
        Completion::Discarded => 1,
        Completion::Cancelled => 2,
    }
}

fn completion(fields: &mut Fields<'_>) -> Result<Completion, DecodeError> {
    match fields.u8("a completion")? {
        0 => Ok(Completion::Succeeded),
        1 => Ok(Completion::Discarded),
        2 => Ok(Completion::Cancelled),
        found => Err(value("a completion", found)),
    }
}

const fn reason_number(reason: DeadReason) -> u8 {
    match reason {
        DeadReason::BudgetSpent => 0,
        DeadReason::DeadLettered => 1,
        DeadReason::Undecodable => 2,
        DeadReason::Crashed => 3,
        DeadReason::Expired => 4,
    }
}

fn reason(fields: &mut Fields<'_>) -> Result<DeadReason, DecodeError> {
    match fields.u8("a reason")? {
        0 => Ok(DeadReason::BudgetSpent),
        1 => Ok(DeadReason::DeadLettered),
        2 => Ok(DeadReason::Undecodable),
        3 => Ok(DeadReason::Crashed),
        4 => Ok(DeadReason::Expired),
        found => Err(value("a reason", found)),
    }
}

const fn outcome_number(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Succeeded => 0,
        Outcome::Failed => 1,
        Outcome::Snoozed => 2,
        Outcome::Interrupted => 3,
        Outcome::Cancelled => 4,
        Outcome::LeaseExpired => 5,
        Outcome::Crashed => 6,
        Outcome::Discarded => 7,
        Outcome::DeadLettered => 8,
    }
}

fn outcome(fields: &mut Fields<'_>) -> Result<Outcome, DecodeError> {
    match fields.u8("an outcome")? {
        0 => Ok(Outcome::Succeeded),
        1 => Ok(Outcome::Failed),
        2 => Ok(Outcome::Snoozed),
        3 => Ok(Outcome::Interrupted),
        4 => Ok(Outcome::Cancelled),
        5 => Ok(Outcome::LeaseExpired),
        6 => Ok(Outcome::Crashed),
        7 => Ok(Outcome::Discarded),
        8 => Ok(Outcome::DeadLettered),
        found => Err(value("an outcome", found)),
    }
}
