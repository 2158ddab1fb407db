//! Keys: three different things, never one option.
//!
//! *Idempotency*: a producer's retry answers the first id. *Dedup*: at most one live message, with a named policy.
//! *Ordering*: one after the other. In memory and in events a key is a 128-bit keyed hash: a chance collision
//! of two keys is as good as impossible, and an attacker who does not know the store's secret cannot make one.

use std::fmt;
use std::hash::Hasher;

use bytes::Bytes;
use siphasher::sip128::{Hasher128, SipHasher24};

use crate::limits::KEY_SIZE_MAX;
use crate::name::QueueName;

/// Any 1 to 512 bytes that a producer uses as a key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key(Bytes);

/// Why a key was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key must have 1 to {KEY_SIZE_MAX} bytes, not {size}; hash longer ones yourself")]
pub struct KeyError {
    /// The size it had.
    pub size: usize,
}

impl KeyError {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "key"
    }
}

impl Key {
    /// Checks and wraps a key.
    ///
    /// # Errors
    /// [`KeyError`] if it is empty or longer than [`KEY_SIZE_MAX`] bytes.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, KeyError> {
        let bytes = bytes.into();
        if bytes.is_empty() || bytes.len() > KEY_SIZE_MAX {
            return Err(KeyError { size: bytes.len() });
        }
        Ok(Self(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_ascii().fmt(f)
    }
}

/// A key, or the bytes of a payload, as 128 bits under the store's secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub u128);

/// Hashes keys with the store's secret. Source: SipHash-2-4, <https://www.aumasson.jp/siphash/siphash.pdf>.
#[derive(Clone, Copy)]
pub struct KeyHasher {
    secret: [u8; 16],
}

impl KeyHasher {
    /// A hasher under the secret that the store drew when it was created.
    #[must_use]
    pub const fn new(secret: [u8; 16]) -> Self {
        Self { secret }
    }

    /// Hash of `key` within `queue`: the same key in two queues is two keys.
    #[must_use]
    pub fn key(&self, queue: &QueueName, key: &Key) -> KeyHash {
        let mut hasher = SipHasher24::new_with_key(&self.secret);
        hasher.write(queue.as_str().as_bytes());
        hasher.write_u8(0); // not allowed in a name, so that ("a", "bc") and ("ab", "c") differ
        hasher.write(key.as_bytes());
        KeyHash(hasher.finish128().as_u128())
    }

    /// Hash that identifies a payload.
    #[must_use]
    pub fn payload(&self, payload: &[u8]) -> KeyHash {
        let mut hasher = SipHasher24::new_with_key(&self.secret);
        hasher.write(payload);
        KeyHash(hasher.finish128().as_u128())
    }
}

impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHasher(secret)")
    }
}

/// What happens when a live message holds the dedup key already. Live is scheduled, ready, blocked, leased or held.
///
/// The last message of a key that succeeded and is retained is the key's *previous version*: a newer success of the key
/// takes its place, whatever else happens to messages of the key leaves it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DedupPolicy {
    /// The new message takes the old one's place in line, with a new id and fresh budgets; if the old one is running,
    /// it becomes superseded and its outcome is discarded. Under another ordering key it joins the end of that key.
    Replace,
    /// The old message stays; its id is the answer.
    Keep,
    /// The enqueue is refused.
    Reject,
    /// Same bytes: nothing happens and the old id is the answer. Other bytes: as [`DedupPolicy::Replace`]. If no message
    /// of the key is live or dead, the bytes are compared with the previous version, if that is kept.
    DiscardIdentical,
    /// If the old one is not running, it is the answer. If it runs, at most one more waits behind it.
    RunOnceMore,
    /// As [`DedupPolicy::Replace`], and dead letters of the key are replaced, too: whatever became of the last message of
    /// a key, there is one afterwards, and it waits.
    Upsert,
}
