//! Fields of bulk jobs: what happened to them, and how one stands in an image.

use std::sync::Arc;

use mq_core::bulk::{BulkCounts, BulkEnd, BulkId, BulkJob};
use mq_core::event::BulkEvent;
use mq_core::id::Seq;

use super::kind;
use super::state::{time, value};
use crate::error::DecodeError;
use crate::fields::{Fields, put_blob, put_u64};

const COMPLETED: u8 = 0;
const CANCELLED: u8 = 1;
const FAILED: u8 = 2;
/// Of a job in an image that runs.
const RUNNING: u8 = 3;

pub(super) const fn kind_of(event: &BulkEvent) -> u8 {
    match event {
        BulkEvent::Started { .. } => kind::BULK_STARTED,
        BulkEvent::Stepped { .. } => kind::BULK_STEPPED,
        BulkEvent::Ended { .. } => kind::BULK_ENDED,
    }
}

pub(super) fn encode(event: &BulkEvent, buffer: &mut Vec<u8>) {
    match event {
        BulkEvent::Started {
            id,
            spec,
            cutoff,
            by,
            at,
        } => {
            put_u64(buffer, id.0);
            put_u64(buffer, cutoff.get());
            put_u64(buffer, at.as_ms());
            put_blob(buffer, spec);
            put_blob(buffer, by.as_bytes());
        }
        BulkEvent::Stepped { id, cursor, counts } => {
            put_u64(buffer, id.0);
            put_u64(buffer, cursor.get());
            put_counts(buffer, counts);
        }
        BulkEvent::Ended { id, how, at } => {
            put_u64(buffer, id.0);
            put_u64(buffer, at.as_ms());
            put_end(buffer, how);
        }
    }
}

pub(super) fn decode(found: u8, fields: &mut Fields<'_>) -> Result<BulkEvent, DecodeError> {
    let id = BulkId(fields.u64("the number of a bulk job")?);
    match found {
        kind::BULK_STARTED => Ok(BulkEvent::Started {
            id,
            cutoff: seq(fields)?,
            at: time(fields, "the start of a bulk job")?,
            spec: fields.copied("what a bulk job does")?,
            by: fields.text("who started a bulk job")?.to_owned(),
        }),
        kind::BULK_STEPPED => Ok(BulkEvent::Stepped {
            id,
            cursor: seq(fields)?,
            counts: counts(fields)?,
        }),
        kind::BULK_ENDED => {
            let at = time(fields, "the end of a bulk job")?;
            let how = end(fields)?.ok_or(value("the end of a bulk job", RUNNING))?;
            Ok(BulkEvent::Ended { id, how, at })
        }
        found => Err(DecodeError::UnknownType { found }),
    }
}

pub(super) fn put_job(buffer: &mut Vec<u8>, job: &BulkJob) {
    put_u64(buffer, job.id.0);
    put_u64(buffer, job.cutoff.get());
    put_u64(buffer, job.started.as_ms());
    put_blob(buffer, &job.spec);
    put_blob(buffer, job.by.as_bytes());
    put_u64(buffer, job.cursor.get());
    put_counts(buffer, &job.counts);
    match &job.ended {
        None => buffer.push(RUNNING),
        Some((how, at)) => {
            put_end(buffer, how);
            put_u64(buffer, at.as_ms());
        }
    }
}

pub(super) fn job(fields: &mut Fields<'_>) -> Result<Arc<BulkJob>, DecodeError> {
    Ok(Arc::new(BulkJob {
        id: BulkId(fields.u64("the number of a bulk job")?),
        cutoff: seq(fields)?,
        started: time(fields, "the start of a bulk job")?,
        spec: fields.copied("what a bulk job does")?,
        by: fields.text("who started a bulk job")?.to_owned(),
        cursor: seq(fields)?,
        counts: counts(fields)?,
        ended: match end(fields)? {
            None => None,
            Some(how) => Some((how, time(fields, "the end of a bulk job")?)),
        },
    }))
}

/// A position among all messages; 0 is before the first.
fn seq(fields: &mut Fields<'_>) -> Result<Seq, DecodeError> {
    let what = "the position of a bulk job";
    match fields.u64(what)? {
        0 => Ok(Seq::NONE),
        found => Seq::new(found).ok_or(DecodeError::Value { what, found }),
    }
}

fn put_counts(buffer: &mut Vec<u8>, counts: &BulkCounts) {
    for (_, count) in counts.each() {
        put_u64(buffer, count);
    }
}

fn counts(fields: &mut Fields<'_>) -> Result<BulkCounts, DecodeError> {
    let mut counts = BulkCounts::default().each().map(|(_, count)| count);
    for count in &mut counts {
        *count = fields.u64("a count of a bulk job")?;
    }
    Ok(BulkCounts::of(counts))
}

fn put_end(buffer: &mut Vec<u8>, end: &BulkEnd) {
    match end {
        BulkEnd::Completed => buffer.push(COMPLETED),
        BulkEnd::Cancelled { by } => {
            buffer.push(CANCELLED);
            put_blob(buffer, by.as_bytes());
        }
        BulkEnd::Failed { reason } => {
            buffer.push(FAILED);
            put_blob(buffer, reason.as_bytes());
        }
    }
}

fn end(fields: &mut Fields<'_>) -> Result<Option<BulkEnd>, DecodeError> {
    let what = "the end of a bulk job";
    Ok(match fields.u8(what)? {
        COMPLETED => Some(BulkEnd::Completed),
        CANCELLED => Some(BulkEnd::Cancelled {
            by: fields.text("who cancelled a bulk job")?.to_owned(),
        }),
        FAILED => Some(BulkEnd::Failed {
            reason: fields.text("why a bulk job failed")?.to_owned(),
        }),
        RUNNING => None,
        found => return Err(value(what, found)),
    })
}
