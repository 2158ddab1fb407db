//! What a queue owes its callers: told everything that a test did and saw, it says which promises were broken.
//!
//! The test calls a method before and after each thing it does: *submitted* before, *answered* after. When the machine dies in
//! between, either outcome is right; the oracle allows both and nothing else. It knows messages by names the test chooses (a number in
//! the payload, say), because a test cannot know the id of a message whose enqueue was never answered.
//!
//! Invariants:
//! 1. Every check is of what a caller could see. No check depends on the store's format or on how it recovers.
//! 2. Each call costs O(log n).
//!
//! What it does not do: judge a refusal to open. After a mere crash, refusing is a broken promise; after damage that the test did to
//! durable bytes, it may be right. The test knows which it was.
//!
//! Source: the set and total-queue checkers of Jepsen, with durability: an unanswered enqueue may come back or not.

mod terms;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

pub use terms::{Ending, Submission, Survives};
pub use verdict::Verdict;

/// What the oracle knows of one message.
#[derive(Clone, Debug)]
struct Known<Id> {
    submission: Submission,
    submitted_at: u64,
    submitted_in: u64,
    answered: Option<(u64, Survives)>,
    refused: bool,
    settle_submitted_in: Option<u64>,
    settled: Option<Survives>,
    /// The life in which it was last about to become a dead letter.
    burial_submitted_in: Option<u64>,
    dead: Option<Survives>,
    /// The last life in which it was seen.
    seen_in: Option<u64>,
    /// The message whose settlement brought it into being.
    staged_by: Option<Id>,
}

/// Messages of one ordering key.
#[derive(Clone, Debug)]
struct Line<Id> {
    /// Answered, and neither settlement nor burial begun: when each was answered.
    waiting: BTreeSet<(u64, Id)>,
    /// The latest submission that was ever handed out.
    latest_handed_out: Option<(u64, Id)>,
}

/// Messages that are there all or none.
#[derive(Clone, Debug)]
struct Group<Id> {
    parent: Option<Id>,
    members: Vec<Id>,
}

/// The book-keeper of one test. `Id` is the test's own name for a message.
#[derive(Clone, Debug)]
pub struct Oracle<Id> {
    now: u64,
    life: u64,
    messages: BTreeMap<Id, Known<Id>>,
    lines: BTreeMap<Vec<u8>, Line<Id>>,
    groups: Vec<Group<Id>>,
    /// For each message, the groups that its settlements staged: one for each attempt.
    staged_in: BTreeMap<Id, Vec<usize>>,
    handed_out_by_dedup_key: BTreeMap<Vec<u8>, BTreeSet<Id>>,
    verdict: Verdict<Id>,
}

impl<Id: Copy + Ord + Debug> Default for Oracle<Id> {
    fn default() -> Self {
        Self::new()
    }
}

impl<Id: Copy + Ord + Debug> Oracle<Id> {
    /// An oracle for an empty store.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            now: 0,
            life: 0,
            messages: BTreeMap::new(),
            lines: BTreeMap::new(),
            groups: Vec::new(),
            staged_in: BTreeMap::new(),
            handed_out_by_dedup_key: BTreeMap::new(),
            verdict: Verdict::clean(),
        }
    }

    /// An enqueue is about to be called.
    pub fn submitted(&mut self, id: Id, submission: Submission) {
        let submitted_at = self.tick();
        self.messages.insert(
            id,
            Known {
                submission,
                submitted_at,
                submitted_in: self.life,
                answered: None,
                refused: false,
                settle_submitted_in: None,
                settled: None,
                burial_submitted_in: None,
                dead: None,
                seen_in: None,
                staged_by: None,
            },
        );
    }

    /// An enqueue of several messages as one is about to be called: all of them come back, or none.
    pub fn batch_submitted(&mut self, batch: impl IntoIterator<Item = (Id, Submission)>) {
        let mut members = Vec::new();
        for (id, submission) in batch {
            self.submitted(id, submission);
            members.push(id);
        }
        self.groups.push(Group {
            parent: None,
            members,
        });
    }

    /// The enqueue was answered: the message is there, and survives what was promised.
    pub fn answered(&mut self, id: Id, survives: Survives) {
        let now = self.tick();
        let Some(known) = self.messages.get_mut(&id) else {
            return;
        };
        let first_at = match known.answered {
            Some((at, former)) => {
                known.answered = Some((at, former.max(survives)));
                return;
            }
            None => now,
        };
        known.answered = Some((first_at, survives));
        if known.settle_submitted_in.is_none() && known.burial_submitted_in.is_none() {
            self.join_line(id);
        }
    }

    /// The enqueue was refused: the message must never be seen. Not for an answer that leaves the outcome open; say nothing then.
    pub fn refused(&mut self, id: Id) {
        if let Some(known) = self.messages.get_mut(&id) {
            known.refused = true;
        }
    }

    /// The message was handed to a handler with these bytes.
    pub fn delivered(&mut self, id: Id, payload: &[u8]) {
        self.check_sight(id, payload);
        self.check_burial(id);
        self.check_order(id);
        self.check_dedup(id);
        self.saw(id);
    }

    /// The message was found in the store without being handed out: it is scheduled, held or dead, and running until empty leaves it.
    pub fn present(&mut self, id: Id, payload: &[u8]) {
        self.check_sight(id, payload);
        self.saw(id);
    }

    /// Bytes were handed out that name no message at all.
    pub fn delivered_unknown(&mut self, payload: &[u8]) {
        self.verdict.unknown_payloads.push(payload.to_vec());
    }

    /// A settlement that ends the message (ack, discard, replacement by another, purge of a dead letter) is about to be called. From now on
    /// it need not come back. A dead letter has not ended: see [`burial_submitted`](Self::burial_submitted).
    pub fn settle_submitted(&mut self, id: Id) {
        self.settle_submitted_with(id, []);
    }

    /// As [`settle_submitted`](Self::settle_submitted), with messages staged in it: they come into being when it takes effect, all or none.
    pub fn settle_submitted_with(
        &mut self,
        id: Id,
        staged: impl IntoIterator<Item = (Id, Submission)>,
    ) {
        self.begin_settlement(id);
        let mut members = Vec::new();
        for (child, submission) in staged {
            self.submitted(child, submission);
            if let Some(known) = self.messages.get_mut(&child) {
                known.staged_by = Some(id);
            }
            members.push(child);
        }
        // An empty group says that what an earlier attempt staged is no part of this one.
        if !members.is_empty() || self.staged_in.contains_key(&id) {
            self.staged_in
                .entry(id)
                .or_default()
                .push(self.groups.len());
            self.groups.push(Group {
                parent: Some(id),
                members,
            });
        }
    }

    /// The settlement was answered: it survives what was promised, and what was staged in it is answered with it.
    pub fn settled(&mut self, id: Id, survives: Survives) {
        if let Some(known) = self.messages.get_mut(&id) {
            known.settled = known.settled.max(Some(survives));
        }
        for child in self.staged_last(id) {
            self.answered(child, survives);
        }
    }

    /// The settlement was refused (the lease was stale, say): the message is as it was, and what was staged must never be seen.
    pub fn settle_refused(&mut self, id: Id) {
        for child in self.staged_last(id) {
            self.refused(child);
        }
        if let Some(known) = self.messages.get_mut(&id) {
            known.settle_submitted_in = None;
        }
        self.join_line(id);
    }

    /// The message is about to become a dead letter: its successors may be handed out, its dedup key is free, and it must still be there.
    pub fn burial_submitted(&mut self, id: Id) {
        let life = self.life;
        if let Some(known) = self.messages.get_mut(&id) {
            known.burial_submitted_in = Some(life);
        }
        self.leave_line(id);
    }

    /// It is a dead letter, and must not be handed out any more.
    pub fn buried(&mut self, id: Id, survives: Survives) {
        if let Some(known) = self.messages.get_mut(&id) {
            known.dead = known.dead.max(Some(survives));
        }
    }

    /// The dead letter is about to be replayed: it may be handed out, behind all that were submitted before this call.
    pub fn replay_submitted(&mut self, id: Id) {
        let (now, life) = (self.tick(), self.life);
        if let Some(known) = self.messages.get_mut(&id) {
            (known.burial_submitted_in, known.dead) = (None, None);
            // While it was dead, another may have had its dedup key.
            (known.submitted_at, known.submitted_in) = (now, life);
            known.answered = known.answered.map(|(_, survives)| (now, survives));
        }
        self.join_line(id);
    }

    /// The store's life ended; the next call is about its next life.
    pub fn ended(&mut self, ending: Ending) {
        self.life += 1;
        if ending != Ending::PowerLost {
            return;
        }
        for (id, known) in &mut self.messages {
            // What was only written has become what was never answered.
            if let Some((answered_at, Survives::Kill)) = known.answered {
                known.answered = None;
                if let Some(key) = &known.submission.ordering_key {
                    line(&mut self.lines, key)
                        .waiting
                        .remove(&(answered_at, *id));
                }
            }
            known.settled = known
                .settled
                .filter(|survives| *survives == Survives::PowerLoss);
            known.dead = known
                .dead
                .filter(|survives| *survives == Survives::PowerLoss);
        }
    }

    /// The promises broken so far, however far the store got; whether something is missing cannot be said yet.
    pub fn so_far(&self) -> Verdict<Id> {
        self.verdict.clone()
    }

    /// The promises broken, now that this life of the store was run until it was empty: whatever must still be there was seen in it.
    pub fn when_empty(&self) -> Verdict<Id> {
        let mut verdict = self.verdict.clone();
        for (id, known) in &self.messages {
            let owed = known.answered.is_some() && known.settle_submitted_in.is_none();
            if owed && known.seen_in != Some(self.life) {
                verdict.lost.push(*id);
            }
        }
        for group in &self.groups {
            let seen = group
                .members
                .iter()
                .filter(|member| self.was_there(**member))
                .count();
            if seen != 0 && seen != group.members.len() {
                verdict.split.push((group.parent, group.members.clone()));
            }
        }
        verdict
    }

    /// How many messages were ever submitted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether none was ever submitted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Messages that must be there and have no settlement begun.
    #[must_use]
    pub fn owed(&self) -> Vec<Id> {
        let owed =
            |known: &Known<Id>| known.answered.is_some() && known.settle_submitted_in.is_none();
        self.messages
            .iter()
            .filter(|(_, known)| owed(known))
            .map(|(id, _)| *id)
            .collect()
    }

    const fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    fn was_there(&self, id: Id) -> bool {
        self.messages
            .get(&id)
            .is_some_and(|known| known.seen_in.is_some() || known.settle_submitted_in.is_some())
    }

    /// Remembers that the message is there, and that nothing may be seen that could still be lost.
    fn saw(&mut self, id: Id) {
        let life = self.life;
        let Some(known) = self.messages.get_mut(&id) else {
            return;
        };
        known.seen_in = Some(life);
        let durability = known.submission.durability;
        // A settlement of an earlier life did not take effect: the message is owed again.
        if known
            .settle_submitted_in
            .is_some_and(|submitted_in| submitted_in < life)
        {
            known.settle_submitted_in = None;
            if known.burial_submitted_in.is_none() {
                self.join_line(id);
            }
        }
        self.answered(id, durability);
    }

    /// A dead letter is not handed out. If an earlier life was about to make it one, that did not take effect.
    fn check_burial(&mut self, id: Id) {
        let life = self.life;
        let Some(known) = self.messages.get_mut(&id) else {
            return;
        };
        if known.dead.is_some() {
            self.verdict.resurrected.push(id);
        } else if known.burial_submitted_in == Some(life) {
            self.verdict.repeated.push(id);
        } else if known.burial_submitted_in.take().is_some() {
            self.join_line(id);
        }
    }

    /// The checks that any sight of a message allows.
    fn check_sight(&mut self, id: Id, payload: &[u8]) {
        let Some(known) = self.messages.get(&id) else {
            self.verdict.unexpected.push(id);
            return;
        };
        if known.refused {
            self.verdict.unexpected.push(id);
        }
        if known.submission.payload != payload {
            self.verdict.altered.push(id);
        }
        if known.settled.is_some() {
            self.verdict.resurrected.push(id);
        } else if known.settle_submitted_in == Some(self.life) {
            self.verdict.repeated.push(id);
        }
        self.check_staging(id);
    }

    /// A staged message and the message that staged it are never both there.
    fn check_staging(&mut self, id: Id) {
        let groups = self
            .staged_in
            .get(&id)
            .into_iter()
            .flatten()
            .filter_map(|index| self.groups.get(*index));
        // This message was not settled after all, but what its settlement staged was seen.
        let leaked = groups
            .into_iter()
            .find(|group| group.members.iter().any(|member| self.was_seen(*member)));
        if let Some(group) = leaked {
            self.verdict
                .split
                .push((group.parent, group.members.clone()));
        }
        let parent = self.messages.get(&id).and_then(|known| known.staged_by);
        let parent_unsettled = parent
            .and_then(|parent| self.messages.get(&parent))
            .is_some_and(|parent| {
                parent.seen_in == Some(self.life) && parent.settle_submitted_in != Some(self.life)
            });
        if parent_unsettled {
            self.verdict.split.push((parent, vec![id]));
        }
    }

    /// What the latest settlement of a message staged.
    fn staged_last(&self, id: Id) -> Vec<Id> {
        let last = self.staged_in.get(&id).and_then(|groups| groups.last());
        last.and_then(|index| self.groups.get(*index))
            .map(|group| group.members.clone())
            .unwrap_or_default()
    }

    fn begin_settlement(&mut self, id: Id) {
        let life = self.life;
        let Some(known) = self.messages.get_mut(&id) else {
            return;
        };
        known.settle_submitted_in = Some(life);
        self.leave_line(id);
    }

    /// The message waits in the line of its ordering key, at the place its answer gave it.
    fn join_line(&mut self, id: Id) {
        let Some(known) = self.messages.get(&id) else {
            return;
        };
        if let (Some(key), Some((answered_at, _))) =
            (&known.submission.ordering_key, known.answered)
        {
            line(&mut self.lines, key).waiting.insert((answered_at, id));
        }
    }

    fn leave_line(&mut self, id: Id) {
        let Some(known) = self.messages.get(&id) else {
            return;
        };
        if let (Some(key), Some((answered_at, _))) =
            (&known.submission.ordering_key, known.answered)
        {
            line(&mut self.lines, key)
                .waiting
                .remove(&(answered_at, id));
        }
    }

    fn was_seen(&self, id: Id) -> bool {
        self.messages
            .get(&id)
            .is_some_and(|known| known.seen_in.is_some())
    }

    /// Predecessors are settled before a message of the same ordering key is handed out, and never come back after it.
    fn check_order(&mut self, id: Id) {
        let Some(known) = self.messages.get(&id) else {
            return;
        };
        let Some(key) = &known.submission.ordering_key else {
            return;
        };
        let (submitted_at, answered_at) = (known.submitted_at, known.answered.map(|(at, _)| at));
        let line = line(&mut self.lines, key);
        if let Some((first_answered_at, first)) = line.waiting.first().copied()
            && first != id
            && first_answered_at < submitted_at
        {
            self.verdict.out_of_order.push((first, id));
        }
        if let Some((latest, successor)) = line.latest_handed_out
            && answered_at.is_some_and(|answered_at| answered_at < latest)
        {
            self.verdict.out_of_order.push((id, successor));
        }
        if line
            .latest_handed_out
            .is_none_or(|(latest, _)| latest < submitted_at)
        {
            line.latest_handed_out = Some((submitted_at, id));
        }
    }

    /// No other message with this dedup key is live: handed out and not settled in this life, or brought into it together with this one.
    fn check_dedup(&mut self, id: Id) {
        let Some(known) = self.messages.get(&id) else {
            return;
        };
        let Some(key) = known.submission.dedup_key.clone() else {
            return;
        };
        let restored = |known: &Known<Id>| known.submitted_in < self.life;
        let id_restored = restored(known);
        let handed_out = self.handed_out_by_dedup_key.entry(key).or_default();
        let rival = handed_out
            .iter()
            .copied()
            .filter(|other| *other != id)
            .find(|other| {
                self.messages.get(other).is_some_and(|other| {
                    let buried = other.dead.is_some() || other.burial_submitted_in.is_some();
                    let live = other.settle_submitted_in.is_none();
                    let together = id_restored && restored(other);
                    other.seen_in == Some(self.life) && !buried && (live || together)
                })
            });
        if let Some(rival) = rival {
            self.verdict.rivals.push((rival, id));
        }
        handed_out.insert(id);
    }
}

fn line<'a, Id: Ord>(lines: &'a mut BTreeMap<Vec<u8>, Line<Id>>, key: &[u8]) -> &'a mut Line<Id> {
    lines.entry(key.to_vec()).or_insert_with(|| Line {
        waiting: BTreeSet::new(),
        latest_handed_out: None,
    })
}
