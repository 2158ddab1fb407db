//! Envelopes kept in memory as they were sealed, within a budget of bytes; the rest is read back from the journal.
//!
//! When the budget is full, what is there stays and newcomers are left to the disk: messages are handed out oldest
//! first, so the ones already cached are needed first. Without a journal there is no budget: memory is the store.
//!
//! Invariant: of a new message there is an envelope here until its frame is written and its place in the journal is known.

use std::collections::VecDeque;

use bytes::Bytes;
use hashbrown::HashMap;
use mq_core::id::Seq;

#[derive(Debug)]
pub(crate) struct EnvelopeCache {
    envelopes: HashMap<Seq, Bytes>,
    size: u64,
    size_max: u64,
    /// New messages that did not fit, with the frames they stand in: ascending in both. As many bytes as two frames have, at most.
    passing: VecDeque<(u64, Seq, Bytes)>,
    /// Other envelopes of messages that did not fit, likewise: the newest of each.
    edited: Vec<(u64, Seq, Bytes)>,
}

impl EnvelopeCache {
    /// A cache of at most `size_max` bytes of sealed envelopes and what keeping them takes.
    pub(crate) fn new(size_max: u64) -> Self {
        Self {
            envelopes: HashMap::new(),
            size: 0,
            size_max,
            passing: VecDeque::new(),
            edited: Vec::new(),
        }
    }

    /// Keeps the sealed envelope of a new message if it fits, else until frame `mark` is written.
    pub(crate) fn insert(&mut self, seq: Seq, envelope: &Bytes, mark: u64) {
        debug_assert!(!self.envelopes.contains_key(&seq), "{seq} is not new");
        if !self.keep(seq, envelope) {
            self.passing.push_back((mark, seq, envelope.clone()));
        }
    }

    fn keep(&mut self, seq: Seq, envelope: &Bytes) -> bool {
        let size = size_of_envelope(envelope);
        let fits = self.size.saturating_add(size) <= self.size_max;
        if fits {
            self.size += size;
            self.envelopes.insert(seq, envelope.clone());
        }
        fits
    }

    /// Frames up to `mark` are written: what did not fit is found there.
    pub(crate) fn note_written(&mut self, mark: u64) {
        while self.passing.front().is_some_and(|(of, ..)| *of <= mark) {
            self.passing.pop_front();
        }
        self.edited.retain(|(of, ..)| *of > mark);
    }

    /// Another envelope of a message that takes the place of what is written.
    pub(crate) fn edited(&self, seq: Seq) -> Option<&Bytes> {
        let mut edited = self.edited.iter();
        let (.., envelope) = edited.find(|(_, of, _)| *of == seq)?;
        Some(envelope)
    }

    /// The envelope of a message whose place in the journal is not known yet.
    pub(crate) fn passing(&self, seq: Seq) -> Option<&Bytes> {
        let place = self.passing.binary_search_by_key(&seq, |(_, seq, _)| *seq);
        self.passing.get(place.ok()?).map(|(.., envelope)| envelope)
    }

    /// Keeps another envelope of a message if it fits, else until frame `mark` is written; the older one never stays.
    pub(crate) fn replace(&mut self, seq: Seq, envelope: &Bytes, mark: u64) {
        drop(self.remove(seq));
        self.edited.retain(|(_, of, _)| *of != seq);
        if !self.keep(seq, envelope) {
            self.edited.push((mark, seq, envelope.clone()));
        }
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
        cache.insert(seq(1), &small, 1);
        cache.insert(seq(2), &large, 1);
        assert_eq!((cache.get(seq(1)), cache.get(seq(2))), (Some(&small), None));
        cache.replace(seq(1), &large, 1);
        assert_eq!(cache.get(seq(1)), None, "it is another message now");
        assert_eq!(cache.size, 0);
        assert_eq!(cache.edited(seq(1)), Some(&large), "until it is written");
        cache.note_written(1);
        assert_eq!(cache.edited(seq(1)), None);
        cache.replace(seq(1), &large, 2);
        cache.replace(seq(1), &small, 2);
        assert_eq!(cache.edited(seq(1)), None, "it is another message again");
        assert_eq!(cache.remove(seq(1)), Some(small));
        assert_eq!(cache.size, 0);
    }

    #[test]
    fn what_does_not_fit_is_there_until_it_is_written() {
        let mut cache = EnvelopeCache::new(0);
        let envelope = Bytes::from_static(b"sealed");
        for number in 1..=4 {
            cache.insert(seq(number), &envelope, number.div_ceil(2));
        }
        let passing = |cache: &EnvelopeCache| -> Vec<u64> {
            (1..=4)
                .filter(|number| cache.passing(seq(*number)).is_some())
                .collect()
        };
        assert_eq!(passing(&cache), [1, 2, 3, 4]);
        cache.note_written(1);
        assert_eq!(passing(&cache), [3, 4], "the first frame has two");
        cache.note_written(2);
        assert_eq!(passing(&cache), [0; 0]);
    }
}
