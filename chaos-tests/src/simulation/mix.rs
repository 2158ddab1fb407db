//! How often a life does what: drawn anew for each, so that some do one thing all the time and never another.
//!
//! Source: Groce et al., "Swarm testing", ISSTA 2012.

use mq_testing::random::SplitMix64;

/// One thing that a life does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Enqueue,
    Take,
    /// As `Take`, but what it asks for stays asked for.
    Ask,
    Settle,
    SettleStale,
    Checkpoint,
    Pass,
    Operate,
    Bulk,
    Pause,
    Snapshot,
    Maintain,
    /// Everything is settled, two snapshots stand, segments become free.
    Housekeep,
    Commit,
    /// A thread is held in the middle of a call to the disk, and others go on.
    Hold,
}

/// What is done how often, all in all.
const DEEDS: [(Deed, u64); 15] = [
    (Deed::Enqueue, 34),
    (Deed::Take, 14),
    (Deed::Ask, 4),
    (Deed::Settle, 22),
    (Deed::SettleStale, 3),
    (Deed::Checkpoint, 3),
    (Deed::Pass, 7),
    (Deed::Operate, 7),
    (Deed::Bulk, 1),
    (Deed::Pause, 2),
    (Deed::Snapshot, 2),
    (Deed::Maintain, 3),
    (Deed::Housekeep, 2),
    (Deed::Commit, 2),
    (Deed::Hold, 6),
];

/// The sizes of messages of a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sizes {
    Small,
    Mixed,
    /// Three or four fill a segment.
    Large,
}

/// What one life does.
#[derive(Clone, Debug)]
pub(super) struct Mix {
    deeds: Vec<(Deed, u64)>,
    pub(super) sizes: Sizes,
    /// Of ten answers, so many are waited for.
    pub(super) waits_of_10: u64,
    /// What has arrived is taken at once, or only when somebody looks.
    pub(super) prompt: bool,
    /// Many messages have keys.
    pub(super) keyed: bool,
    /// So many keys of each sort: with one alone, messages meet.
    pub(super) keys: u64,
}

impl Mix {
    pub(super) fn any(random: &mut SplitMix64) -> Self {
        let swarm = random.chance(2, 3);
        let mut deeds = Vec::new();
        for (deed, weight) in DEEDS {
            let factors: &[u64] = match deed {
                Deed::Enqueue | Deed::Take | Deed::Settle => &[1, 2, 2, 4],
                _ => &[0, 0, 2, 2, 8],
            };
            let factor = random.pick(factors).copied().unwrap_or(2);
            deeds.push((deed, weight * if swarm { factor } else { 2 }));
        }
        let sizes = [Sizes::Small, Sizes::Mixed, Sizes::Mixed, Sizes::Large];
        Self {
            deeds,
            sizes: random.pick(&sizes).copied().unwrap_or(Sizes::Mixed),
            waits_of_10: random.pick(&[1, 5, 5, 8]).copied().unwrap_or(5),
            prompt: random.chance(2, 3),
            keyed: random.chance(1, 3),
            keys: random.pick(&[1, 1, 3]).copied().unwrap_or(3),
        }
    }

    pub(super) fn pick(&self, random: &mut SplitMix64) -> Deed {
        let all: u64 = self.deeds.iter().map(|(_, weight)| weight).sum();
        let mut at = random.below(all);
        for (deed, weight) in &self.deeds {
            match at.checked_sub(*weight) {
                Some(rest) => at = rest,
                None => return *deed,
            }
        }
        Deed::Commit
    }
}
