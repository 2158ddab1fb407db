//! The caller's own share of an enqueue: check, hash the keys, encode, begin the checksum. Done on the caller's thread.

use std::sync::Arc;

use mq_core::backend::{EnqueueError, SettleError, SettleRequest};
use mq_core::command::{EnqueueBatch, Settle};
use mq_core::key::{KeyHash, KeyHasher};
use mq_core::message::{Draft, Envelope, InvalidMessage, NewMessage};
use mq_persistence::envelope::seal;
use mq_persistence::identity::Identity;

use super::jobs::PreparedSettle;

/// A batch ready for the ring: what the rules decide on, what the cache keeps, what a refusal gives back.
pub(crate) type Prepared = (EnqueueBatch, Vec<Arc<Envelope>>, Vec<NewMessage>);

/// Checks and encodes a batch.
pub(crate) fn prepare_batch(
    messages: Vec<NewMessage>,
    identity: &Identity,
    payload_size_max: usize,
) -> Result<Prepared, EnqueueError> {
    let mut drafts = Vec::with_capacity(messages.len());
    let mut envelopes = Vec::with_capacity(messages.len());
    for (index, message) in messages.iter().enumerate() {
        let (draft, envelope) = prepare(message, identity, payload_size_max)
            .map_err(|source| EnqueueError::Invalid { index, source })?;
        drafts.push(draft);
        envelopes.push(envelope);
    }
    Ok((EnqueueBatch { drafts }, envelopes, messages))
}

/// Checks and encodes a settlement with what it stages.
pub(crate) fn prepare_settle(
    request: SettleRequest,
    identity: &Identity,
    payload_size_max: usize,
) -> Result<PreparedSettle, SettleError> {
    let mut staged = Vec::with_capacity(request.staged.len());
    let mut envelopes = Vec::with_capacity(request.staged.len());
    for (index, message) in request.staged.iter().enumerate() {
        let (draft, envelope) = prepare(message, identity, payload_size_max)
            .map_err(|source| SettleError::Invalid { index, source })?;
        staged.push(draft);
        envelopes.push(envelope);
    }
    Ok(PreparedSettle {
        settle: Settle {
            token: request.token,
            settlement: request.settlement,
            staged,
        },
        envelopes,
    })
}

fn prepare(
    message: &NewMessage,
    identity: &Identity,
    payload_size_max: usize,
) -> Result<(Draft, Arc<Envelope>), InvalidMessage> {
    message.check(payload_size_max)?;
    let envelope = Arc::new(message.envelope.clone());
    let hasher = KeyHasher::new(identity.secret);
    let hash = |key: &Option<_>| key.as_ref().map(|key| hasher.key(&message.queue, key));
    let is_keyed = envelope.idempotency_key.is_some() || envelope.dedup_key.is_some();
    let draft = Draft {
        queue: message.queue.clone(),
        kind: message.kind.clone(),
        priority: message.priority,
        due: message.due,
        expires_in: message.expires_in,
        hold: message.hold.clone(),
        idempotency: hash(&envelope.idempotency_key),
        dedup: hash(&envelope.dedup_key).zip(message.dedup),
        ordering: hash(&envelope.ordering_key),
        halt_on_dead: message.halt_on_dead,
        payload: if is_keyed {
            hasher.payload(&envelope.payload)
        } else {
            KeyHash::default()
        },
        failures_max: message.failures_max,
        retain: message.retain,
        awaited: message.awaited,
        sealed: seal(&envelope, identity),
    };
    Ok((draft, envelope))
}
