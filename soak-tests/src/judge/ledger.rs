//! One byte a name and one bit a sequence number: what a run of days needs to remember of every message.

use crate::plan::Name;

/// Something that is known of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Flag {
    Submitted = 1,
    Answered = 2,
    Refused = 4,
    Handed = 8,
    /// A handler was about to return success, and whether it took effect is not known.
    Finishing = 16,
    Done = 32,
    /// It was a dead letter at some time.
    Dead = 64,
}

/// Flags by name.
#[derive(Debug, Default)]
pub(super) struct Ledger(Vec<u8>);

impl Ledger {
    pub(super) fn set(&mut self, name: Name, flag: Flag) {
        let index = index(name.0);
        if index >= self.0.len() {
            self.0.resize(index + 1, 0);
        }
        if let Some(flags) = self.0.get_mut(index) {
            *flags |= flag as u8;
        }
    }

    pub(super) fn clear(&mut self, name: Name, flag: Flag) {
        if let Some(flags) = self.0.get_mut(index(name.0)) {
            *flags &= !(flag as u8);
        }
    }

    pub(super) fn has(&self, name: Name, flag: Flag) -> bool {
        let flags = self.0.get(index(name.0)).copied().unwrap_or_default();
        flags & flag as u8 != 0
    }

    /// All names up to the largest that is known.
    pub(super) fn names(&self) -> impl Iterator<Item = Name> {
        (0..self.0.len() as u64).map(Name)
    }
}

/// A set of sequence numbers.
#[derive(Debug, Default)]
pub(super) struct SeqSet(Vec<u64>);

impl SeqSet {
    pub(super) fn insert(&mut self, seq: u64) {
        let word = index(seq / 64);
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        if let Some(bits) = self.0.get_mut(word) {
            *bits |= 1 << (seq % 64);
        }
    }

    pub(super) fn contains(&self, seq: u64) -> bool {
        let bits = self.0.get(index(seq / 64)).copied().unwrap_or_default();
        bits & (1 << (seq % 64)) != 0
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
