//! Worker pools and their permits, and which lane goes next for whom. All of it is volatile.
//!
//! Invariants: pools with the same selectors form a group, and a group knows the heads of all lanes it may take from by
//! rank, so that choosing costs a few tree steps. `hungry` lists the groups that have both a permit and a head; they
//! take turns, and so do the pools of a group.

use std::collections::{BTreeSet, VecDeque};

use hashbrown::HashMap;

use crate::command::PoolSpec;
use crate::id::PoolId;
use crate::name::{KindName, QueueName};
use crate::retry::RetryPolicy;

use super::lanes::Rank;
use super::names::Place;

/// A pool.
#[derive(Debug)]
pub(super) struct Pool {
    /// Its settings.
    pub(super) spec: PoolSpec,
    group: usize,
    permits: u32,
}

/// A queue and a kind, or any of them.
type Taken = (Option<QueueName>, Option<KindName>);

/// Pools with the same selectors.
#[derive(Debug, Default)]
struct Group {
    taken: Vec<Taken>,
    pools: usize,
    /// Pools with permits, the next one first.
    takers: VecDeque<PoolId>,
    heads: BTreeSet<(Rank, Place)>,
    suspects: BTreeSet<(u64, usize)>,
    /// The place in line under which it stands among the groups hungry for a suspect.
    hungry_for: Option<u64>,
}

/// Which lane or line is to be taken from, and for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// The first suspect of a line.
    Suspect {
        /// The line.
        line: usize,
        /// For this pool.
        pool: PoolId,
    },
    /// The head of a lane.
    Head {
        /// The lane.
        place: Place,
        /// For this pool.
        pool: PoolId,
    },
}

/// All pools.
#[derive(Debug, Default)]
pub(super) struct Pools {
    pools: HashMap<PoolId, Pool>,
    issued: u32,
    groups: Vec<Group>,
    group_ids: HashMap<Vec<Taken>, usize>,
    /// The groups that have a selector.
    groups_by: HashMap<Taken, Vec<usize>>,
    hungry: BTreeSet<usize>,
    hungry_for_suspects: BTreeSet<(u64, usize)>,
    /// The group that was served last.
    served: usize,
}

impl Pools {
    /// A pool.
    pub(super) fn get(&self, pool: PoolId) -> Option<&Pool> {
        self.pools.get(&pool)
    }

    /// Adds a pool without permits. Answers its number and, if no pool had its selectors, the number of its new group,
    /// whose lanes are to be listed by [`Pools::list_head`] and [`Pools::list_suspect`].
    pub(super) fn attach(&mut self, spec: PoolSpec) -> (PoolId, Option<usize>) {
        let selectors = spec.lines.iter().map(|line| &line.selector);
        let mut taken: Vec<Taken> = selectors
            .map(|selector| (selector.queue.clone(), selector.kind.clone()))
            .collect();
        taken.sort_unstable();
        taken.dedup();
        let known = self.group_ids.get(&taken).copied();
        let group = known.unwrap_or_else(|| self.add_group(taken));
        if let Some(group) = self.groups.get_mut(group) {
            group.pools += 1;
        }
        let id = PoolId(self.issued);
        self.issued = self.issued.wrapping_add(1);
        let pool = Pool {
            spec,
            group,
            permits: 0,
        };
        self.pools.insert(id, pool);
        (id, known.is_none().then_some(group))
    }

    fn add_group(&mut self, taken: Vec<Taken>) -> usize {
        let index = self.groups.len();
        for one in &taken {
            self.groups_by.entry(one.clone()).or_default().push(index);
        }
        self.group_ids.insert(taken.clone(), index);
        self.groups.push(Group {
            taken,
            ..Group::default()
        });
        index
    }

    /// Removes a pool and its permits.
    pub(super) fn detach(&mut self, id: PoolId) {
        self.withdraw(id, u32::MAX);
        if let Some(pool) = self.pools.remove(&id)
            && let Some(group) = self.groups.get_mut(pool.group)
        {
            group.pools -= 1;
        }
    }

    /// Adds permits.
    pub(super) fn add_permits(&mut self, id: PoolId, permits: u32) {
        let Some(pool) = self.pools.get_mut(&id) else {
            return;
        };
        let had_none = pool.permits == 0;
        pool.permits = pool.permits.saturating_add(permits);
        if had_none && permits > 0 {
            let index = pool.group;
            if let Some(group) = self.groups.get_mut(index) {
                group.takers.push_back(id);
            }
            self.refresh(index);
        }
    }

    /// Takes back up to so many permits; answers how many.
    pub(super) fn withdraw(&mut self, id: PoolId, permits: u32) -> u32 {
        let Some(pool) = self.pools.get_mut(&id) else {
            return 0;
        };
        let taken = pool.permits.min(permits);
        pool.permits -= taken;
        if pool.permits == 0 {
            let index = pool.group;
            if let Some(group) = self.groups.get_mut(index) {
                group.takers.retain(|taker| *taker != id);
            }
            self.refresh(index);
        }
        taken
    }

    /// Spends a permit and lets the other pools of the group go first next time.
    pub(super) fn spend(&mut self, id: PoolId) {
        let Some(pool) = self.pools.get_mut(&id) else {
            return;
        };
        self.served = pool.group;
        let index = pool.group;
        pool.permits = pool.permits.saturating_sub(1);
        let is_left = pool.permits > 0;
        if let Some(group) = self.groups.get_mut(index) {
            if group.takers.front() == Some(&id) {
                group.takers.pop_front();
            } else {
                group.takers.retain(|taker| *taker != id);
            }
            if is_left {
                group.takers.push_back(id);
            }
        }
        if !is_left {
            self.refresh(index);
        }
    }

    /// The groups that take `queue` and `kind`, each once.
    pub(super) fn groups_of(&self, queue: &QueueName, kind: &KindName) -> Vec<usize> {
        let candidates = [
            (Some(queue.clone()), Some(kind.clone())),
            (Some(queue.clone()), None),
            (None, Some(kind.clone())),
            (None, None),
        ];
        let found = candidates.iter().filter_map(|one| self.groups_by.get(one));
        let mut groups: Vec<usize> = found.flatten().copied().collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// Whether a group takes `queue` and `kind`.
    pub(super) fn takes(&self, group: usize, queue: &QueueName, kind: &KindName) -> bool {
        self.groups.get(group).is_some_and(|group| {
            group.taken.iter().any(|(of_queue, of_kind)| {
                of_queue.as_ref().is_none_or(|name| name == queue)
                    && of_kind.as_ref().is_none_or(|name| name == kind)
            })
        })
    }

    /// Whether some group has both a permit and a message.
    pub(super) fn is_hungry(&self) -> bool {
        !self.hungry.is_empty()
    }

    /// Whether any of the groups has a pool.
    pub(super) fn is_served(&self, groups: &[usize]) -> bool {
        self.some_group(groups, |group| group.pools > 0)
    }

    /// Whether any of the groups has a permit.
    pub(super) fn has_permit(&self, groups: &[usize]) -> bool {
        self.some_group(groups, |group| !group.takers.is_empty())
    }

    fn some_group(&self, groups: &[usize], test: impl Fn(&Group) -> bool) -> bool {
        groups
            .iter()
            .filter_map(|group| self.groups.get(*group))
            .any(test)
    }

    /// Lists a lane under `new` instead of `old`.
    pub(super) fn list_head(
        &mut self,
        groups: &[usize],
        place: Place,
        old: Option<Rank>,
        new: Option<Rank>,
    ) {
        for index in groups {
            let Some(group) = self.groups.get_mut(*index) else {
                continue;
            };
            let had_heads = !group.heads.is_empty();
            if let Some(rank) = old {
                group.heads.remove(&(rank, place));
            }
            if let Some(rank) = new {
                group.heads.insert((rank, place));
            }
            if had_heads == group.heads.is_empty() {
                self.refresh(*index);
            }
        }
    }

    /// Lists the first suspect of a line under `new` instead of `old`.
    pub(super) fn list_suspect(
        &mut self,
        groups: &[usize],
        line: usize,
        old: Option<u64>,
        new: Option<u64>,
    ) {
        for index in groups {
            let Some(group) = self.groups.get_mut(*index) else {
                continue;
            };
            if let Some(order) = old {
                group.suspects.remove(&(order, line));
            }
            if let Some(order) = new {
                group.suspects.insert((order, line));
            }
            self.refresh(*index);
        }
    }

    /// Brings `hungry` and `hungry_for_suspects` up to date for one group.
    fn refresh(&mut self, index: usize) {
        let Some(group) = self.groups.get_mut(index) else {
            return;
        };
        let can_take = !group.takers.is_empty();
        if can_take && !group.heads.is_empty() {
            self.hungry.insert(index);
        } else {
            self.hungry.remove(&index);
        }
        let suspect = group.suspects.first().map(|(order, _)| *order);
        let wanted = suspect.filter(|_| can_take);
        if group.hungry_for != wanted {
            if let Some(order) = group.hungry_for {
                self.hungry_for_suspects.remove(&(order, index));
            }
            if let Some(order) = wanted {
                self.hungry_for_suspects.insert((order, index));
            }
            group.hungry_for = wanted;
        }
    }

    /// What to hand out next: the first suspect, if one may run, else the best head of the group whose turn it is.
    pub(super) fn choose(&self, suspects_too: bool) -> Option<Choice> {
        if suspects_too && let Some((_, index)) = self.hungry_for_suspects.first() {
            let group = self.groups.get(*index)?;
            let (_, line) = *group.suspects.first()?;
            let pool = *group.takers.front()?;
            return Some(Choice::Suspect { line, pool });
        }
        let after = self.hungry.range(self.served + 1..).next();
        let index = after.or_else(|| self.hungry.first())?;
        let group = self.groups.get(*index)?;
        let (_, place) = *group.heads.first()?;
        let pool = *group.takers.front()?;
        Some(Choice::Head { place, pool })
    }

    /// Lease and retry policy of a pool for a queue and kind, which are looked up only if they matter.
    pub(super) fn terms<'a>(
        &self,
        id: PoolId,
        names: impl FnOnce() -> Option<(&'a QueueName, &'a KindName)>,
    ) -> Option<(std::time::Duration, RetryPolicy)> {
        let spec = &self.get(id)?.spec;
        let line = match spec.lines.as_slice() {
            [only] => only,
            _ => {
                let (queue, kind) = names()?;
                spec.line_of(queue, kind)?
            }
        };
        Some((spec.lease, line.retry))
    }
}
