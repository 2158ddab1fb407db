//! Envelopes kept in memory as they were sealed, within a budget of bytes; the rest is read back from the journal.
//!
//! When the budget is full, what is there stays and newcomers are left to the disk: messages are handed out oldest
//! first, so the ones already cached are needed first. Without a journal there is no budget: memory is the store.

use bytes::Bytes;
use hashbrown::HashMap;
use mq_core::id::Seq;

#[derive(Debug)]
pub(crate) struct EnvelopeCache {
    envelopes: HashMap<Seq, Bytes>,
    size: u64,
    size_max: u64,
}

impl EnvelopeCache {
    /// A cache of at most `size_max` bytes of sealed envelopes and what keeping them takes.
    pub(crate) fn new(size_max: u64) -> Self {
        Self {
            envelopes: HashMap::new(),
            size: 0,
            size_max,
        }
    }

    /// Keeps the sealed envelope of a new message if it fits.
    pub(crate) fn insert(&mut self, seq: Seq, envelope: &Bytes) {
        debug_assert!(!self.envelopes.contains_key(&seq), "{seq} is not new");
        let size = size_of_envelope(envelope);
        if self.size.saturating_add(size) <= self.size_max {
            self.size += size;
            self.envelopes.insert(seq, envelope.clone());
        }
    }

    /// Keeps another envelope of a message if it fits; the older one never stays.
    pub(crate) fn replace(&mut self, seq: Seq, envelope: &Bytes) {
        drop(self.remove(seq));
        self.insert(seq, envelope);
    }

    pub(crate) fn get(&self, seq: Seq) -> Option<&Bytes> {
        self.envelopes.get(&seq)
    }

    pub(crate) fn remove(&mut self, seq: Seq) -> Option<Bytes> {
        let envelope = self.envelopes.remove(&seq)?;
        self.size = self.size.saturating_sub(size_of_envelope(&envelope));
        Some(envelope)
    }
}

/// The envelope and what an entry costs beside them, in bytes: its place in the table, and what `Bytes` and the allocator add.
fn size_of_envelope(envelope: &Bytes) -> u64 {
    const ENTRY_SIZE: usize = 160;
    u64::try_from(envelope.len() + ENTRY_SIZE).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seq(number: u64) -> Seq {
        Seq::new(number).unwrap_or(Seq::NONE)
    }

    #[test]
    fn what_does_not_fit_is_left_to_the_disk_and_an_older_envelope_never_stays() {
        let mut cache = EnvelopeCache::new(1_000);
        let (small, large) = (Bytes::from(vec![1; 100]), Bytes::from(vec![2; 900]));
        cache.insert(seq(1), &small);
        cache.insert(seq(2), &large);
        assert_eq!((cache.get(seq(1)), cache.get(seq(2))), (Some(&small), None));
        cache.replace(seq(1), &large);
        assert_eq!(cache.get(seq(1)), None, "it is another message now");
        assert_eq!(cache.size, 0);
        cache.replace(seq(1), &small);
        assert_eq!(cache.remove(seq(1)), Some(small));
        assert_eq!(cache.size, 0);
    }
}
