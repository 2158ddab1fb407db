//! Fields of the facts of an image.

use mq_core::id::{Incarnation, KindId, QueueId};
use mq_core::image::{Holder, ImageRecord, MessageImage};

use super::bulk::{job, put_job};
use super::event::{enqueued, hash, kind_name, put_enqueued, queue_name};
use super::index::{index, put_index};
use super::kind;
use super::queue::{put_settings, settings};
use super::schedule::{put_schedule, schedule};
use super::state::{put_name, put_state, put_tail, state, store_time, tail, time, value};
use crate::error::DecodeError;
use crate::fields::{Fields, put_u32, put_u64, put_u128};

pub(super) const fn kind_of(record: &ImageRecord) -> u8 {
    match record {
        ImageRecord::Counters { .. } => kind::COUNTERS,
        ImageRecord::Queue { .. } => kind::QUEUE,
        ImageRecord::Kind { .. } => kind::KIND,
        ImageRecord::Message(_) => kind::MESSAGE,
        ImageRecord::Key { .. } => kind::KEY,
        ImageRecord::Schedule(_) => kind::SCHEDULE,
        ImageRecord::Bulk(_) => kind::BULK,
    }
}

pub(super) fn encode(record: &ImageRecord, buffer: &mut Vec<u8>) {
    match record {
        ImageRecord::Counters {
            last_seq,
            last_order,
            incarnation,
        } => {
            put_u64(buffer, last_seq.get());
            put_u64(buffer, *last_order);
            put_u32(buffer, incarnation.0);
        }
        ImageRecord::Queue { id, name, settings } => {
            put_u32(buffer, id.0);
            put_name(buffer, name.as_str());
            put_settings(buffer, settings);
        }
        ImageRecord::Kind { id, name, index } => {
            put_u32(buffer, id.0);
            put_name(buffer, name.as_str());
            put_index(buffer, index);
        }
        ImageRecord::Message(message) => put_message(buffer, message),
        ImageRecord::Schedule(schedule) => put_schedule(buffer, schedule),
        ImageRecord::Bulk(job) => put_job(buffer, job),
        ImageRecord::Key {
            hash,
            seq,
            at,
            payload,
            until,
        } => {
            put_u128(buffer, hash.0);
            put_u64(buffer, seq.get());
            put_u64(buffer, at.as_ms());
            put_u128(buffer, payload.0);
            put_u64(buffer, until.as_ms());
        }
    }
}

pub(super) fn decode(found: u8, fields: &mut Fields<'_>) -> Result<ImageRecord, DecodeError> {
    match found {
        kind::COUNTERS => Ok(ImageRecord::Counters {
            last_seq: fields.seq("the last sequence")?,
            last_order: fields.u64("the last place in line")?,
            incarnation: Incarnation(fields.u32("an incarnation")?),
        }),
        kind::QUEUE => Ok(ImageRecord::Queue {
            id: QueueId(fields.u32("a queue's number")?),
            name: queue_name(fields)?,
            settings: settings(fields)?,
        }),
        kind::KIND => Ok(ImageRecord::Kind {
            id: KindId(fields.u32("a kind's number")?),
            name: kind_name(fields)?,
            index: index(fields)?,
        }),
        kind::MESSAGE => message(fields).map(ImageRecord::Message),
        kind::SCHEDULE => schedule(fields).map(ImageRecord::Schedule),
        kind::BULK => job(fields).map(ImageRecord::Bulk),
        kind::KEY => Ok(ImageRecord::Key {
            hash: hash(fields, "an idempotency key")?,
            seq: fields.seq("a sequence")?,
            at: time(fields, "the time of an enqueue")?,
            payload: hash(fields, "the identity of a payload")?,
            until: store_time(fields, "the end of a window")?,
        }),
        found => Err(DecodeError::UnknownType { found }),
    }
}

fn put_message(buffer: &mut Vec<u8>, message: &MessageImage) {
    put_enqueued(buffer, &message.facts);
    put_state(buffer, &message.state);
    put_u32(buffer, message.deliveries);
    buffer.push(match message.holder {
        Holder::Nobody => 0,
        Holder::Lease => 1,
        Holder::SoloLease => 2,
        Holder::Suspect => 3,
    });
    buffer.push(u8::from(message.tail.is_some()));
    if let Some(tail) = &message.tail {
        put_tail(buffer, tail);
    }
}

fn message(fields: &mut Fields<'_>) -> Result<MessageImage, DecodeError> {
    let facts = enqueued(fields)?;
    let state = state(fields)?;
    let deliveries = fields.u32("the number of deliveries")?;
    let holder = match fields.u8("a holder")? {
        0 => Holder::Nobody,
        1 => Holder::Lease,
        2 => Holder::SoloLease,
        3 => Holder::Suspect,
        found => return Err(value("a holder", found)),
    };
    let tail = if fields.flag("a tail")? {
        Some(tail(fields)?)
    } else {
        None
    };
    Ok(MessageImage {
        facts,
        state,
        tail,
        deliveries,
        holder,
    })
}
