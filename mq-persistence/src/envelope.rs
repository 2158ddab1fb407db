//! Envelopes as bytes: what a caller's thread encodes and checksums before it hands a message in, and what is read back for a
//! handler.
//!
//! Invariants: the payload comes last and is read without copying; [`unseal`] takes any bytes.
//!
//! What it does not do: verify checksums ([`read_sealed`](crate::record::read_sealed) did, when the bytes came from the disk).

use bytes::Bytes;
use mq_core::id::MessageId;
use mq_core::key::Key;
use mq_core::message::{ContentType, Envelope, Headers, Sealed};

use crate::error::DecodeError;
use crate::fields::{Bits, Fields, len_u32, put_blob, put_u16, put_u32, put_u128};
use crate::identity::Identity;

const HEADERS: u16 = 1;
const IDEMPOTENCY_KEY: u16 = 1 << 1;
const DEDUP_KEY: u16 = 1 << 2;
const ORDERING_KEY: u16 = 1 << 3;
const CORRELATION: u16 = 1 << 4;
const CAUSE: u16 = 1 << 5;
const KNOWN_BITS: u16 = (1 << 6) - 1;

/// Version, content type and the bits of what is present.
const FIXED_SIZE: usize = 5;
/// The least bytes that a header takes, which bounds what is allocated for a number of them.
const HEADER_SIZE_MIN: usize = 8;

/// Encodes an envelope and computes the first part of its record's checksum.
#[must_use]
pub fn seal(envelope: &Envelope, identity: &Identity) -> Sealed {
    // One byte more than it takes: of a vector that is full, `Bytes` would allocate its shared header at the first clone, on the
    // thread that commits.
    let size = size_of(envelope);
    let mut bytes = Vec::with_capacity(size + 1);
    put_u16(&mut bytes, envelope.version);
    bytes.push(match envelope.content_type {
        ContentType::Json => 0,
        ContentType::Text => 1,
        ContentType::Binary => 2,
    });
    put_u16(&mut bytes, present(envelope));
    if !envelope.headers.is_empty() {
        put_headers(&mut bytes, &envelope.headers);
    }
    for key in keys_of(envelope) {
        put_blob(&mut bytes, key.as_bytes());
    }
    for id in ids_of(envelope) {
        put_u128(&mut bytes, id.as_u128());
    }
    bytes.extend_from_slice(&envelope.payload);
    let crc = identity.seed().checksum(&bytes);
    debug_assert_eq!(
        bytes.len(),
        size,
        "what is kept in memory is counted by its length"
    );
    Sealed {
        bytes: bytes.into(),
        crc,
    }
}

/// Decodes an envelope; its payload and keys share the memory of `bytes`.
///
/// # Errors
/// [`DecodeError`] if the bytes are not an envelope of this version.
pub fn unseal(bytes: &Bytes) -> Result<Envelope, DecodeError> {
    let mut fields = Fields::new(bytes);
    let version = fields.u16("the version of a payload")?;
    let content_type = match fields.u8("a content type")? {
        0 => ContentType::Json,
        1 => ContentType::Text,
        2 => ContentType::Binary,
        found => {
            return Err(DecodeError::Value {
                what: "a content type",
                found: found.into(),
            });
        }
    };
    let bits = fields.bits(KNOWN_BITS, "the parts of an envelope")?;
    let headers = bits.when(HEADERS, || headers(&mut fields))?;
    let mut key = |bit, what| key(bits, bit, what, &mut fields, bytes);
    let idempotency_key = key(IDEMPOTENCY_KEY, "an idempotency key")?;
    let dedup_key = key(DEDUP_KEY, "a dedup key")?;
    let ordering_key = key(ORDERING_KEY, "an ordering key")?;
    let correlation = bits.when(CORRELATION, || id(&mut fields))?;
    let cause = bits.when(CAUSE, || id(&mut fields))?;
    Ok(Envelope {
        version,
        content_type,
        payload: bytes.slice_ref(fields.rest()),
        headers: headers.unwrap_or_default(),
        idempotency_key,
        dedup_key,
        ordering_key,
        correlation,
        cause,
    })
}

fn present(envelope: &Envelope) -> u16 {
    let parts = [
        (!envelope.headers.is_empty(), HEADERS),
        (envelope.idempotency_key.is_some(), IDEMPOTENCY_KEY),
        (envelope.dedup_key.is_some(), DEDUP_KEY),
        (envelope.ordering_key.is_some(), ORDERING_KEY),
        (envelope.correlation.is_some(), CORRELATION),
        (envelope.cause.is_some(), CAUSE),
    ];
    let present = parts.iter().filter(|(present, _)| *present);
    present.fold(0, |bits, (_, bit)| bits | bit)
}

/// Its keys, in the order in which they are written.
fn keys_of(envelope: &Envelope) -> impl Iterator<Item = &Key> {
    let keys = [
        &envelope.idempotency_key,
        &envelope.dedup_key,
        &envelope.ordering_key,
    ];
    keys.into_iter().flatten()
}

/// The ids it names, in the order in which they are written.
fn ids_of(envelope: &Envelope) -> impl Iterator<Item = MessageId> {
    [envelope.correlation, envelope.cause].into_iter().flatten()
}

/// Bytes that an envelope takes: what is sealed is kept in memory, too, and counted there.
fn size_of(envelope: &Envelope) -> usize {
    let headers = envelope.headers.iter();
    let headers = headers.map(|(name, value)| HEADER_SIZE_MIN + name.len() + value.len());
    let count_size = if envelope.headers.is_empty() { 0 } else { 4 };
    let keys = keys_of(envelope);
    FIXED_SIZE
        + count_size
        + headers.sum::<usize>()
        + keys.map(|key| 4 + key.as_bytes().len()).sum::<usize>()
        + ids_of(envelope).count() * 16
        + envelope.payload.len()
}

fn put_headers(bytes: &mut Vec<u8>, headers: &Headers) {
    put_u32(bytes, u32::try_from(headers.len()).unwrap_or(u32::MAX));
    for (name, value) in headers {
        put_blob(bytes, name.as_bytes());
        put_blob(bytes, value.as_bytes());
    }
}

fn headers(fields: &mut Fields<'_>) -> Result<Headers, DecodeError> {
    let count = usize::try_from(fields.u32("the number of headers")?).unwrap_or(usize::MAX);
    let mut headers = Headers::with_capacity(count.min(fields.rest().len() / HEADER_SIZE_MIN));
    for _ in 0..count {
        let name = fields.text("the name of a header")?.to_owned();
        let value = fields.text("the value of a header")?.to_owned();
        headers.push((name, value));
    }
    Ok(headers)
}

fn key(
    bits: Bits,
    bit: u16,
    what: &'static str,
    fields: &mut Fields<'_>,
    bytes: &Bytes,
) -> Result<Option<Key>, DecodeError> {
    bits.when(bit, || {
        let key = bytes.slice_ref(fields.blob(what)?);
        let found = len_u32(&key).into();
        Key::new(key).map_err(|_| DecodeError::Value { what, found })
    })
}

fn id(fields: &mut Fields<'_>) -> Result<MessageId, DecodeError> {
    let what = "the id of a message";
    MessageId::from_u128(fields.u128(what)?).ok_or(DecodeError::Text { what })
}
