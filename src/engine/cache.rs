//! Envelopes kept in memory, within a budget of bytes; the rest is read back from the journal.
//!
//! When the budget is full, what is there stays and newcomers are left to the disk: messages are handed out oldest
//! first, so the ones already cached are needed first. Without a journal there is no budget: memory is the store.

use std::sync::Arc;

use hashbrown::HashMap;
use mq_core::id::Seq;
use mq_core::message::Envelope;

#[derive(Debug)]
pub(crate) struct EnvelopeCache {
    envelopes: HashMap<Seq, Arc<Envelope>>,
    size: u64,
    size_max: u64,
}

impl EnvelopeCache {
    /// A cache of at most `size_max` bytes of payload and headers.
    pub(crate) fn new(size_max: u64) -> Self {
        Self {
            envelopes: HashMap::new(),
            size: 0,
            size_max,
        }
    }

    /// Keeps `envelope` if it fits; an older one of the same message never stays.
    pub(crate) fn insert(&mut self, seq: Seq, envelope: &Arc<Envelope>) {
        let size = size_of_envelope(envelope);
        if self.size.saturating_add(size) > self.size_max {
            self.remove(seq);
            return;
        }
        self.size += size;
        if let Some(older) = self.envelopes.insert(seq, Arc::clone(envelope)) {
            self.size = self.size.saturating_sub(size_of_envelope(&older));
        }
    }

    pub(crate) fn get(&self, seq: Seq) -> Option<&Arc<Envelope>> {
        self.envelopes.get(&seq)
    }

    pub(crate) fn remove(&mut self, seq: Seq) {
        if let Some(envelope) = self.envelopes.remove(&seq) {
            self.size = self.size.saturating_sub(size_of_envelope(&envelope));
        }
    }
}

/// Payload, headers and what an entry costs beside them, in bytes.
fn size_of_envelope(envelope: &Envelope) -> u64 {
    const ENTRY_SIZE: usize = 256;
    let headers: usize = envelope
        .headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    u64::try_from(envelope.payload.len() + headers + ENTRY_SIZE).unwrap_or(u64::MAX)
}
