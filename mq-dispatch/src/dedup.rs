//! What an enqueue means when its dedup key is known already.

use std::time::Duration;

use mq_core::key::{DedupPolicy, Key, KeyError};
use mq_core::message::NewMessage;
use mq_core::queue::FOREVER;

/// What happens when a live message has the same dedup key. See [`DedupPolicy`].
#[derive(Clone, Debug)]
pub struct Dedup {
    key: Vec<u8>,
    policy: DedupPolicy,
    /// Kept so long after its completion, unless the request or its queue says otherwise.
    retain: Option<Duration>,
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

    /// Nothing happens if the bytes are the same; else as [`Dedup::replace`]. Compared with the live message of the key,
    /// or, if none is live or dead, with its previous version: its last success, if that is retained.
    #[must_use]
    pub fn discard_identical(key: impl ToString) -> Self {
        Self::new(key, DedupPolicy::DiscardIdentical)
    }

    /// As [`Dedup::replace`], and dead letters of the key are replaced, too: afterwards there is one message with this
    /// key, and it waits, whatever became of the last one. The newest dead letter is noted at the new message.
    #[must_use]
    pub fn upsert(key: impl ToString) -> Self {
        Self::new(key, DedupPolicy::Upsert)
    }

    /// For syncs that send everything and want what changed to be processed: [`Dedup::discard_identical`], and a success
    /// is kept for ever as the previous version that the next sync is compared with, unless a
    /// retention of its own says otherwise.
    #[must_use]
    pub fn idempotent(key: impl ToString) -> Self {
        Self {
            retain: Some(FOREVER),
            ..Self::discard_identical(key)
        }
    }

    /// At most one more behind the running one.
    #[must_use]
    pub fn run_once_more(key: impl ToString) -> Self {
        Self::new(key, DedupPolicy::RunOnceMore)
    }

    /// Gives a message built by hand this key and policy.
    ///
    /// # Errors
    /// [`KeyError`] if the key is empty or longer than 512 bytes; the message is as it was.
    pub fn set_on(self, message: &mut NewMessage) -> Result<(), KeyError> {
        message.envelope.dedup_key = Some(Key::new(self.key)?);
        message.dedup = Some(self.policy);
        message.retain = message.retain.or(self.retain);
        Ok(())
    }

    fn new(key: impl ToString, policy: DedupPolicy) -> Self {
        Self {
            key: key.to_string().into_bytes(),
            policy,
            retain: None,
        }
    }
}
