//! The caller's own share of an enqueue: check, hash the keys, read the indexed fields, encode, begin the checksum. Done on the caller's thread.

use std::sync::Arc;

use mq_core::backend::{EnqueueError, SettleError, SettleRequest};
use mq_core::command::{EnqueueBatch, Settle};
use mq_core::few::Few;
use mq_core::key::{KeyHash, KeyHasher};
use mq_core::message::{Draft, Envelope, InvalidMessage, NewMessage};
use mq_persistence::envelope::seal;

use super::jobs::PreparedSettle;
use super::shell::Shell;

/// A batch ready for the ring.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    /// What the rules decide on.
    pub(crate) batch: EnqueueBatch,
    /// What the cache keeps.
    pub(crate) envelopes: Few<Arc<Envelope>>,
}

impl Prepared {
    /// Checks and encodes messages. They are put where they stay: a draft is hundreds of bytes.
    pub(crate) fn add(
        &mut self,
        messages: Few<NewMessage>,
        shell: &Shell,
    ) -> Result<(), EnqueueError> {
        self.batch.drafts.reserve_exact(messages.len());
        self.envelopes.reserve_exact(messages.len());
        for (index, message) in messages.into_iter().enumerate() {
            let (draft, envelope) = prepare(message, shell)
                .map_err(|source| EnqueueError::Invalid { index, source })?;
            self.batch.drafts.push(draft);
            self.envelopes.push(envelope);
        }
        Ok(())
    }

    /// The messages, to be given back to a caller who is refused. Nothing is left.
    pub(crate) fn take_messages(&mut self) -> Vec<NewMessage> {
        let Self { batch, envelopes } = std::mem::take(self);
        let parts = batch.drafts.into_iter().zip(envelopes);
        parts
            .map(|(draft, envelope)| message_of(draft, envelope))
            .collect()
    }
}

/// The message that a draft and an envelope were prepared from.
fn message_of(draft: Draft, envelope: Arc<Envelope>) -> NewMessage {
    NewMessage {
        queue: draft.queue,
        kind: draft.kind,
        envelope: Arc::unwrap_or_clone(envelope),
        priority: draft.priority,
        due: draft.due,
        expires_in: draft.expires_in,
        hold: draft.hold,
        dedup: draft.dedup.map(|(_, policy)| policy),
        halt_on_dead: draft.halt_on_dead,
        failures_max: draft.failures_max,
        retain: draft.retain,
        awaited: draft.awaited,
        index: &[], // what its type declares was taken up when it was prepared
    }
}

/// Checks and encodes a settlement with what it stages.
pub(crate) fn prepare_settle(
    request: SettleRequest,
    shell: &Shell,
) -> Result<PreparedSettle, SettleError> {
    let mut staged = Vec::with_capacity(request.staged.len());
    let mut envelopes = Vec::with_capacity(request.staged.len());
    for (index, message) in request.staged.into_iter().enumerate() {
        let (draft, envelope) =
            prepare(message, shell).map_err(|source| SettleError::Invalid { index, source })?;
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

fn prepare(message: NewMessage, shell: &Shell) -> Result<(Draft, Arc<Envelope>), InvalidMessage> {
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
    let draft = Draft {
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
    };
    Ok((draft, Arc::new(envelope)))
}
