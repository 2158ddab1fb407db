//! The caller's own share of an enqueue: check, hash the keys, read the indexed fields, encode, begin the checksum. Done on the caller's thread.

use mq_core::backend::{EnqueueError, SettleError, SettleRequest};
use mq_core::command::{EnqueueBatch, Settle};
use mq_core::few::Few;
use mq_core::key::{KeyHash, KeyHasher};
use mq_core::message::{Draft, InvalidMessage, NewMessage};
use mq_persistence::envelope::{seal, unseal};

use super::shell::Shell;

/// Checks and encodes messages into `batch`. They are put where they stay: a draft is hundreds of bytes.
pub(crate) fn prepare_batch(
    batch: &mut EnqueueBatch,
    messages: Few<NewMessage>,
    shell: &Shell,
) -> Result<(), EnqueueError> {
    batch.drafts.reserve_exact(messages.len());
    for (index, message) in messages.into_iter().enumerate() {
        let draft =
            prepare(message, shell).map_err(|source| EnqueueError::Invalid { index, source })?;
        batch.drafts.push(draft);
    }
    Ok(())
}

/// The messages that a batch was prepared from, to be given back to a caller who is refused.
pub(crate) fn messages_of(batch: &EnqueueBatch) -> Vec<NewMessage> {
    batch.drafts.iter().filter_map(message_of).collect()
}

/// The message that a draft was prepared from. What was sealed a moment ago can be read; if not, no message is better than a wrong one.
fn message_of(draft: &Draft) -> Option<NewMessage> {
    let envelope = unseal(&draft.sealed.bytes);
    let envelope = envelope.inspect_err(|error| {
        debug_assert!(false, "what was sealed can be read: {error}");
        tracing::error!(%error, "a message that was refused cannot be given back");
    });
    Some(NewMessage {
        queue: draft.queue.clone(),
        kind: draft.kind.clone(),
        envelope: envelope.ok()?,
        priority: draft.priority,
        due: draft.due,
        expires_in: draft.expires_in,
        hold: draft.hold.clone(),
        dedup: draft.dedup.map(|(_, policy)| policy),
        halt_on_dead: draft.halt_on_dead,
        failures_max: draft.failures_max,
        retain: draft.retain,
        awaited: draft.awaited,
        index: &[], // what its type declares was taken up when it was prepared
    })
}

/// Checks and encodes a settlement with what it stages.
pub(crate) fn prepare_settle(request: SettleRequest, shell: &Shell) -> Result<Settle, SettleError> {
    let staged = request.staged.into_iter().enumerate();
    let staged = staged.map(|(index, message)| {
        prepare(message, shell).map_err(|source| SettleError::Invalid { index, source })
    });
    Ok(Settle {
        token: request.token,
        settlement: request.settlement,
        staged: staged.collect::<Result<_, _>>()?,
    })
}

fn prepare(message: NewMessage, shell: &Shell) -> Result<Draft, InvalidMessage> {
    message.check(shell.payload_size_max)?;
    let identity = &shell.identity;
    let envelope = message.envelope;
    let hasher = KeyHasher::new(identity.secret);
    let hash = |key: &Option<_>| key.as_ref().map(|key| hasher.key(&message.queue, key));
    let is_keyed = envelope.idempotency_key.is_some() || envelope.dedup_key.is_some();
    let (idempotency, dedup, ordering) = (
        hash(&envelope.idempotency_key),
        hash(&envelope.dedup_key),
        hash(&envelope.ordering_key),
    );
    let terms = shell.terms_of(&message.kind, &envelope.payload);
    Ok(Draft {
        queue: message.queue,
        kind: message.kind,
        priority: message.priority,
        due: message.due,
        expires_in: message.expires_in,
        hold: message.hold,
        idempotency,
        dedup: dedup.zip(message.dedup),
        ordering,
        halt_on_dead: message.halt_on_dead,
        payload: if is_keyed {
            hasher.payload(&envelope.payload)
        } else {
            KeyHash::default()
        },
        failures_max: message.failures_max,
        retain: message.retain,
        awaited: message.awaited,
        terms,
        sealed: seal(&envelope, identity),
    })
}
