//! What a test says to the oracle: the terms of a submission, of an answer, and of an ending.

/// What an answer promises to survive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Survives {
    /// The end of the process: written, not synced.
    Kill,
    /// A loss of power: synced.
    #[default]
    PowerLoss,
}

/// How one life of the store ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Closed, with everything synced.
    Closed,
    /// The process was killed; what was written is still there.
    Killed,
    /// The power was lost; only what was synced is still there.
    PowerLost,
}

/// A message as it was submitted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Submission {
    /// Its bytes.
    pub payload: Vec<u8>,
    /// Messages with equal ordering keys are handed out in order, one at a time.
    pub ordering_key: Option<Vec<u8>>,
    /// Of messages with equal dedup keys at most one is live. Leave it out for a policy that allows more.
    pub dedup_key: Option<Vec<u8>>,
    /// What it must survive before anyone may see it. Whatever is handed out has reached that, answered or not.
    pub durability: Survives,
}

impl Submission {
    /// A message without keys.
    #[must_use]
    pub fn plain(payload: impl Into<Vec<u8>>) -> Self {
        Self {
            payload: payload.into(),
            ..Self::default()
        }
    }
}
