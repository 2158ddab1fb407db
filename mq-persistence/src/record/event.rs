//! Fields of events.

use mq_core::event::{Changed, Enqueued, Event, LeaseAfter};
use mq_core::id::{Incarnation, KindId, QueueId};
use mq_core::key::KeyHash;
use mq_core::message::Sealed;
use mq_core::name::{KindName, QueueName};
use mq_core::time::Timestamp;

use super::index::{index, put_index, put_terms, terms};
use super::queue::{put_settings, settings};
use super::state::{
    name, priority, put_name, put_state, put_tail, state, store_time, tail, time, value,
};
use super::{bulk, kind, schedule};
use crate::error::DecodeError;
use crate::fields::{Fields, put_u16, put_u32, put_u64, put_u128};

/// The record type of an event, and the envelope that it brings.
pub(super) const fn kind_and_envelope(event: &Event) -> (u8, Option<&Sealed>) {
    match event {
        Event::Opened { .. } => (kind::OPENED, None),
        Event::Closed => (kind::CLOSED, None),
        Event::QueueDefined { .. } => (kind::QUEUE_DEFINED, None),
        Event::KindDefined { .. } => (kind::KIND_DEFINED, None),
        Event::QueueSet { .. } => (kind::QUEUE_SET, None),
        Event::KindSet { .. } => (kind::KIND_SET, None),
        Event::Enqueued(enqueued) => (kind::ENQUEUED, enqueued.sealed.as_ref()),
        Event::CheckedOut { .. } => (kind::CHECKED_OUT, None),
        Event::Returned { .. } => (kind::RETURNED, None),
        Event::Changed(changed) => (kind::CHANGED, changed.sealed.as_ref()),
        Event::Finished { .. } => (kind::FINISHED, None),
        Event::Schedule(event) => (schedule::kind_of(event), None),
        Event::Bulk(event) => (bulk::kind_of(event), None),
    }
}

pub(super) fn encode(event: &Event, buffer: &mut Vec<u8>) {
    match event {
        Event::Opened { incarnation, at } => {
            put_u32(buffer, incarnation.0);
            put_u64(buffer, at.as_ms());
        }
        Event::Closed => {}
        Event::QueueDefined { id, name } => {
            put_u32(buffer, id.0);
            put_name(buffer, name.as_str());
        }
        Event::KindDefined { id, name } => {
            put_u32(buffer, id.0);
            put_name(buffer, name.as_str());
        }
        Event::QueueSet { queue, settings } => {
            put_u32(buffer, queue.0);
            put_settings(buffer, settings);
        }
        Event::KindSet { kind, index } => {
            put_u32(buffer, kind.0);
            put_index(buffer, index);
        }
        Event::Enqueued(enqueued) => put_enqueued(buffer, enqueued),
        Event::CheckedOut {
            seq,
            delivery,
            solo,
        } => {
            put_u64(buffer, seq.get());
            put_u32(buffer, *delivery);
            buffer.push(u8::from(*solo));
        }
        Event::Returned { seq, delivery } => {
            put_u64(buffer, seq.get());
            put_u32(buffer, *delivery);
        }
        Event::Changed(changed) => put_changed(buffer, changed),
        Event::Finished { seq } => put_u64(buffer, seq.get()),
        Event::Schedule(event) => schedule::encode(event, buffer),
        Event::Bulk(event) => bulk::encode(event, buffer),
    }
}

pub(super) fn decode(found: u8, fields: &mut Fields<'_>) -> Result<Event, DecodeError> {
    match found {
        kind::OPENED => Ok(Event::Opened {
            incarnation: Incarnation(fields.u32("an incarnation")?),
            at: time(fields, "the time of an opening")?,
        }),
        kind::CLOSED => Ok(Event::Closed),
        kind::QUEUE_DEFINED => Ok(Event::QueueDefined {
            id: QueueId(fields.u32("a queue's number")?),
            name: queue_name(fields)?,
        }),
        kind::KIND_DEFINED => Ok(Event::KindDefined {
            id: KindId(fields.u32("a kind's number")?),
            name: kind_name(fields)?,
        }),
        kind::QUEUE_SET => Ok(Event::QueueSet {
            queue: QueueId(fields.u32("a queue's number")?),
            settings: settings(fields)?,
        }),
        kind::KIND_SET => Ok(Event::KindSet {
            kind: KindId(fields.u32("a kind's number")?),
            index: index(fields)?,
        }),
        kind::ENQUEUED => enqueued(fields).map(Event::Enqueued),
        kind::CHECKED_OUT => Ok(Event::CheckedOut {
            seq: fields.seq("a sequence")?,
            delivery: fields.u32("a delivery")?,
            solo: fields.flag("a solo run")?,
        }),
        kind::RETURNED => Ok(Event::Returned {
            seq: fields.seq("a sequence")?,
            delivery: fields.u32("a delivery")?,
        }),
        kind::CHANGED => changed(fields).map(Event::Changed),
        kind::FINISHED => Ok(Event::Finished {
            seq: fields.seq("a sequence")?,
        }),
        kind::BULK_STARTED..=kind::BULK_ENDED => bulk::decode(found, fields).map(Event::Bulk),
        kind::SCHEDULE_SET..=kind::SCHEDULE_FIRED => {
            schedule::decode(found, fields).map(Event::Schedule)
        }
        found => Err(DecodeError::UnknownType { found }),
    }
}

pub(super) fn queue_name(fields: &mut Fields<'_>) -> Result<QueueName, DecodeError> {
    let what = "the name of a queue";
    QueueName::new(name(fields, what)?).map_err(|_| DecodeError::Text { what })
}

pub(super) fn kind_name(fields: &mut Fields<'_>) -> Result<KindName, DecodeError> {
    let what = "the name of a kind";
    KindName::new(name(fields, what)?).map_err(|_| DecodeError::Text { what })
}

const ORDER: u16 = 1;
const JOINED: u16 = 1 << 1;
const EXPIRES: u16 = 1 << 2;
const IDEMPOTENCY: u16 = 1 << 3;
const DEDUP: u16 = 1 << 4;
const BEHIND: u16 = 1 << 5;
const ORDERING: u16 = 1 << 6;
const HALT_ON_DEAD: u16 = 1 << 7;
const PAYLOAD: u16 = 1 << 8;
const FAILURES_MAX: u16 = 1 << 9;
const RETAIN: u16 = 1 << 10;
const TERMS: u16 = 1 << 11;
const ENQUEUED_BITS: u16 = (1 << 12) - 1;

const NO_PAYLOAD: KeyHash = KeyHash(0);

fn enqueued_bits(enqueued: &Enqueued) -> u16 {
    let parts = [
        (enqueued.order != enqueued.seq.get(), ORDER),
        (enqueued.joined != enqueued.at, JOINED),
        (enqueued.expires.is_some(), EXPIRES),
        (enqueued.idempotency.is_some(), IDEMPOTENCY),
        (enqueued.dedup.is_some(), DEDUP),
        (enqueued.behind.is_some(), BEHIND),
        (enqueued.ordering.is_some(), ORDERING),
        (enqueued.halt_on_dead, HALT_ON_DEAD),
        (enqueued.payload != NO_PAYLOAD, PAYLOAD),
        (enqueued.failures_max.is_some(), FAILURES_MAX),
        (enqueued.retain_ms.is_some(), RETAIN),
        (!enqueued.terms.is_empty(), TERMS),
    ];
    let present = parts.iter().filter(|(present, _)| *present);
    present.fold(0, |bits, (_, bit)| bits | bit)
}

pub(super) fn put_enqueued(buffer: &mut Vec<u8>, enqueued: &Enqueued) {
    put_u64(buffer, enqueued.seq.get());
    put_u64(buffer, enqueued.at.as_ms());
    put_u32(buffer, enqueued.queue.0);
    put_u32(buffer, enqueued.kind.0);
    put_u32(buffer, enqueued.size);
    buffer.push(enqueued.priority.get());
    put_state(buffer, &enqueued.state);
    put_u16(buffer, enqueued_bits(enqueued));
    if enqueued.order != enqueued.seq.get() {
        put_u64(buffer, enqueued.order);
    }
    if enqueued.joined != enqueued.at {
        put_u64(buffer, enqueued.joined.as_ms());
    }
    if let Some(expires) = enqueued.expires {
        put_u64(buffer, expires.as_ms());
    }
    if let Some((key, until)) = enqueued.idempotency {
        put_u128(buffer, key.0);
        put_u64(buffer, until.as_ms());
    }
    if let Some(key) = enqueued.dedup {
        put_u128(buffer, key.0);
    }
    if let Some(behind) = enqueued.behind {
        put_u64(buffer, behind.get());
    }
    if let Some(key) = enqueued.ordering {
        put_u128(buffer, key.0);
    }
    if enqueued.payload != NO_PAYLOAD {
        put_u128(buffer, enqueued.payload.0);
    }
    if let Some(failures) = enqueued.failures_max {
        put_u32(buffer, failures);
    }
    if let Some(retain) = enqueued.retain_ms {
        put_u64(buffer, retain);
    }
    if !enqueued.terms.is_empty() {
        put_terms(buffer, &enqueued.terms);
    }
}

pub(super) fn enqueued(fields: &mut Fields<'_>) -> Result<Enqueued, DecodeError> {
    let seq = fields.seq("a sequence")?;
    let at = time(fields, "the time of an enqueue")?;
    let queue = QueueId(fields.u32("a queue's number")?);
    let kind = KindId(fields.u32("a kind's number")?);
    let size = fields.u32("the size of an envelope")?;
    let priority = priority(fields)?;
    let state = state(fields)?;
    let bits = fields.bits(ENQUEUED_BITS, "the parts of a message")?;
    Ok(Enqueued {
        seq,
        at,
        queue,
        kind,
        priority,
        state,
        order: bits
            .when(ORDER, || fields.u64("a place in line"))?
            .unwrap_or(seq.get()),
        joined: bits
            .when(JOINED, || time(fields, "a place in line"))?
            .unwrap_or(at),
        expires: bits.when(EXPIRES, || store_time(fields, "an expiry"))?,
        idempotency: bits.when(IDEMPOTENCY, || {
            let key = hash(fields, "an idempotency key")?;
            Ok((key, store_time(fields, "the end of a window")?))
        })?,
        dedup: bits.when(DEDUP, || hash(fields, "a dedup key"))?,
        behind: bits.when(BEHIND, || fields.seq("the sequence waited for"))?,
        ordering: bits.when(ORDERING, || hash(fields, "an ordering key"))?,
        halt_on_dead: bits.has(HALT_ON_DEAD),
        payload: bits
            .when(PAYLOAD, || hash(fields, "the identity of a payload"))?
            .unwrap_or(NO_PAYLOAD),
        failures_max: bits.when(FAILURES_MAX, || fields.u32("a failure budget"))?,
        retain_ms: bits.when(RETAIN, || fields.u64("a retention"))?,
        terms: bits.when(TERMS, || terms(fields))?.unwrap_or_default(),
        size,
        sealed: None,
    })
}

pub(super) fn hash(fields: &mut Fields<'_>, what: &'static str) -> Result<KeyHash, DecodeError> {
    fields.u128(what).map(KeyHash)
}

/// Bits of the byte that says what a change does to the lease; none for a lease that ends.
const LEASE_KEPT: u8 = 1;
const NEW_TERMS: u8 = 1 << 1;

fn put_changed(buffer: &mut Vec<u8>, changed: &Changed) {
    put_u64(buffer, changed.seq.get());
    put_u32(buffer, changed.queue.0);
    put_u64(buffer, changed.order);
    put_u64(buffer, changed.joined.as_ms());
    put_u32(buffer, changed.size);
    buffer.push(changed.priority.get());
    let lease = match changed.lease {
        LeaseAfter::Ended => 0,
        LeaseAfter::Kept => LEASE_KEPT,
    };
    buffer.push(
        lease
            | if changed.terms.is_some() {
                NEW_TERMS
            } else {
                0
            },
    );
    put_state(buffer, &changed.state);
    put_tail(buffer, &changed.tail);
    if let Some(terms) = &changed.terms {
        put_terms(buffer, terms);
    }
}

fn changed(fields: &mut Fields<'_>) -> Result<Changed, DecodeError> {
    let seq = fields.seq("a sequence")?;
    let queue = QueueId(fields.u32("a queue's number")?);
    let order = fields.u64("a place in line")?;
    let joined: Timestamp = time(fields, "a place in line")?;
    let size = fields.u32("the size of an envelope")?;
    let priority = priority(fields)?;
    let bits = fields.u8("what becomes of a lease")?;
    if bits & !(LEASE_KEPT | NEW_TERMS) != 0 {
        return Err(value("what becomes of a lease", bits));
    }
    let lease = if bits & LEASE_KEPT == 0 {
        LeaseAfter::Ended
    } else {
        LeaseAfter::Kept
    };
    Ok(Changed {
        seq,
        state: state(fields)?,
        lease,
        queue,
        priority,
        order,
        joined,
        size,
        tail: tail(fields)?,
        terms: if bits & NEW_TERMS == 0 {
            None
        } else {
            Some(terms(fields)?)
        },
        sealed: None,
    })
}
