//! What an enqueue means when its dedup key is known already.

use mq_core::key::DedupPolicy;

/// What happens when a live message has the same dedup key. See [`DedupPolicy`].
#[derive(Clone, Debug)]
pub struct Dedup {
    key: Vec<u8>,
    policy: DedupPolicy,
}

impl Dedup {
    /// The new message takes the old one's place; a running old one is superseded.
    #[must_use]
    pub fn replace(key: impl ToString) -> Self {
        Self::new(key, DedupPolicy::Replace)
    }

    /// The old message stays and its id is the answer.
    #[must_use]
    pub fn keep(key: impl ToString) -> Self {
        Self::new(key, DedupPolicy::Keep)
    }

    /// The enqueue is refused.
    #[must_use]
    pub fn reject(key: impl ToString) -> Self {
        Self::new(key, DedupPolicy::Reject)
    }

    /// Nothing happens if the bytes are the same; else as [`Dedup::replace`].
    #[must_use]
    pub fn discard_identical(key: impl ToString) -> Self {
        Self::new(key, DedupPolicy::DiscardIdentical)
    }

    /// At most one more behind the running one.
    #[must_use]
    pub fn run_once_more(key: impl ToString) -> Self {
        Self::new(key, DedupPolicy::RunOnceMore)
    }

    pub(super) fn into_parts(self) -> (Vec<u8>, DedupPolicy) {
        (self.key, self.policy)
    }

    fn new(key: impl ToString, policy: DedupPolicy) -> Self {
        Self {
            key: key.to_string().into_bytes(),
            policy,
        }
    }
}
