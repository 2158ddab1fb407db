//! What waits for the disk: consequences of events that are applied and not durable yet.
//!
//! Invariant: nothing leaves before `durable` is told a mark that covers it; marks do not decrease.

use std::collections::VecDeque;

use crate::id::Seq;
use crate::key::KeyHash;

/// Consecutive messages that wait for one mark.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    mark: u64,
    /// The first.
    pub(super) first: Seq,
    /// How many.
    pub(super) len: u64,
}

/// A consequence for another message.
#[derive(Clone, Copy, Debug)]
pub(super) enum Follow {
    /// The first of this ordering key left.
    Chain(KeyHash),
    /// The message that another waits behind is over.
    Over(Seq),
}

/// Everything that waits.
#[derive(Debug, Default)]
pub(super) struct Limbo {
    runs: VecDeque<Run>,
    follows: VecDeque<(u64, Follow)>,
}

impl Limbo {
    /// Looks at `seq` again when `mark` is durable.
    pub(super) fn push(&mut self, mark: u64, seq: Seq) {
        if let Some(last) = self.runs.back_mut()
            && last.mark == mark
            && last.first.get() + last.len == seq.get()
        {
            last.len += 1;
            return;
        }
        self.runs.push_back(Run {
            mark,
            first: seq,
            len: 1,
        });
    }

    /// Lets something follow when `mark` is durable.
    pub(super) fn push_follow(&mut self, mark: u64, follow: Follow) {
        self.follows.push_back((mark, follow));
    }

    /// The next messages to be looked at now that `mark` is durable.
    pub(super) fn pop(&mut self, mark: u64) -> Option<Run> {
        self.runs.front().filter(|run| run.mark <= mark)?;
        self.runs.pop_front()
    }

    /// Whether anything waits for a mark.
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.follows.is_empty()
    }

    /// What follows next now that `mark` is durable.
    pub(super) fn pop_follow(&mut self, mark: u64) -> Option<Follow> {
        self.follows.front().filter(|(at, _)| *at <= mark)?;
        self.follows.pop_front().map(|(_, follow)| follow)
    }
}
