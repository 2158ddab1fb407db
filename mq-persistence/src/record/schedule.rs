//! Fields of schedules: what happened to them, and how one stands in an image.

use std::sync::Arc;

use bytes::Bytes;
use mq_core::event::ScheduleEvent;
use mq_core::name::ScheduleName;
use mq_core::schedule::{LastFire, Schedule};
use mq_core::time::Timestamp;

use super::kind;
use super::state::{name, put_name, time};
use crate::error::DecodeError;
use crate::fields::{Fields, put_blob, put_u16, put_u32, put_u64};

pub(super) const fn kind_of(event: &ScheduleEvent) -> u8 {
    match event {
        ScheduleEvent::Set { .. } => kind::SCHEDULE_SET,
        ScheduleEvent::Paused { .. } => kind::SCHEDULE_PAUSED,
        ScheduleEvent::Removed { .. } => kind::SCHEDULE_REMOVED,
        ScheduleEvent::Fired { .. } => kind::SCHEDULE_FIRED,
    }
}

pub(super) fn encode(event: &ScheduleEvent, buffer: &mut Vec<u8>) {
    match event {
        ScheduleEvent::Set {
            name,
            timing,
            template,
            next,
        } => {
            put_name(buffer, name.as_str());
            put_moment(buffer, *next);
            put_blob(buffer, timing);
            put_blob(buffer, template);
        }
        ScheduleEvent::Paused { name, paused, next } => {
            put_name(buffer, name.as_str());
            buffer.push(u8::from(*paused));
            put_moment(buffer, *next);
        }
        ScheduleEvent::Removed { name } => put_name(buffer, name.as_str()),
        ScheduleEvent::Fired {
            name,
            due,
            at,
            runs,
            skipped,
            next,
        } => {
            put_name(buffer, name.as_str());
            put_u64(buffer, due.as_ms());
            put_u64(buffer, at.as_ms());
            put_u32(buffer, *runs);
            put_u64(buffer, *skipped);
            put_moment(buffer, *next);
        }
    }
}

pub(super) fn decode(found: u8, fields: &mut Fields<'_>) -> Result<ScheduleEvent, DecodeError> {
    let name = schedule_name(fields)?;
    match found {
        kind::SCHEDULE_SET => Ok(ScheduleEvent::Set {
            name,
            next: moment(fields)?,
            timing: blob(fields, "a timing")?,
            template: blob(fields, "a schedule's message")?,
        }),
        kind::SCHEDULE_PAUSED => Ok(ScheduleEvent::Paused {
            name,
            paused: fields.flag("a pause")?,
            next: moment(fields)?,
        }),
        kind::SCHEDULE_REMOVED => Ok(ScheduleEvent::Removed { name }),
        kind::SCHEDULE_FIRED => Ok(ScheduleEvent::Fired {
            name,
            due: time(fields, "a due time")?,
            at: time(fields, "the time of a fire")?,
            runs: fields.u32("the number of messages sent")?,
            skipped: fields.u64("the number of due times skipped")?,
            next: moment(fields)?,
        }),
        found => Err(DecodeError::UnknownType { found }),
    }
}

const NEXT: u16 = 1;
const LAST: u16 = 1 << 1;
const PAUSED: u16 = 1 << 2;
const SCHEDULE_BITS: u16 = (1 << 3) - 1;

pub(super) fn put_schedule(buffer: &mut Vec<u8>, schedule: &Schedule) {
    put_name(buffer, schedule.name.as_str());
    put_blob(buffer, &schedule.timing);
    put_blob(buffer, &schedule.template);
    put_u64(buffer, schedule.runs);
    put_u64(buffer, schedule.skipped);
    let bit = |is: bool, bit: u16| if is { bit } else { 0 };
    put_u16(
        buffer,
        bit(schedule.next.is_some(), NEXT)
            | bit(schedule.last.is_some(), LAST)
            | bit(schedule.paused, PAUSED),
    );
    if let Some(next) = schedule.next {
        put_u64(buffer, next.as_ms());
    }
    if let Some(last) = schedule.last {
        put_u64(buffer, last.due.as_ms());
        put_u64(buffer, last.at.as_ms());
    }
}

pub(super) fn schedule(fields: &mut Fields<'_>) -> Result<Arc<Schedule>, DecodeError> {
    let name = schedule_name(fields)?;
    let timing = blob(fields, "a timing")?;
    let template = blob(fields, "a schedule's message")?;
    let runs = fields.u64("the number of messages sent")?;
    let skipped = fields.u64("the number of due times skipped")?;
    let bits = fields.bits(SCHEDULE_BITS, "the parts of a schedule")?;
    let next = bits.when(NEXT, || time(fields, "the next time of a schedule"))?;
    let last = bits.when(LAST, || {
        Ok(LastFire {
            due: time(fields, "a due time")?,
            at: time(fields, "the time of a fire")?,
        })
    })?;
    Ok(Arc::new(Schedule {
        name,
        timing,
        template,
        next,
        paused: bits.has(PAUSED),
        last,
        runs,
        skipped,
    }))
}

/// A moment that may be absent: there 1, then the moment.
fn put_moment(buffer: &mut Vec<u8>, at: Option<Timestamp>) {
    buffer.push(u8::from(at.is_some()));
    if let Some(at) = at {
        put_u64(buffer, at.as_ms());
    }
}

fn moment(fields: &mut Fields<'_>) -> Result<Option<Timestamp>, DecodeError> {
    if fields.flag("a next time")? {
        time(fields, "a next time").map(Some)
    } else {
        Ok(None)
    }
}

fn schedule_name(fields: &mut Fields<'_>) -> Result<ScheduleName, DecodeError> {
    let what = "the name of a schedule";
    ScheduleName::new(name(fields, what)?).map_err(|_| DecodeError::Text { what })
}

fn blob(fields: &mut Fields<'_>, what: &'static str) -> Result<Bytes, DecodeError> {
    fields.blob(what).map(Bytes::copy_from_slice)
}
