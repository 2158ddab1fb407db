//! Queues, kinds and the lines between them: names to numbers and back, and what is counted per queue.
//!
//! Invariants: numbers are given in order of first use and never change. A line is a (queue, kind) pair that has been
//! used; a [`Place`] is a line and a priority in four bytes.

use hashbrown::HashMap;

use crate::id::{KindId, QueueId};
use crate::index::Index;
use crate::message::Priority;
use crate::name::{KindName, QueueName};
use crate::queue::QueueSettings;
use crate::view::StateKind;

const PRIORITIES: u32 = 10;

/// A line and a priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(u32);

impl Place {
    /// Nobody's.
    pub(super) const NONE: Place = Place(0);

    /// The place of `priority` in `line`; `None` if lines are used up.
    pub(super) fn new(line: usize, priority: Priority) -> Option<Self> {
        let line = u32::try_from(line).ok()?;
        let base = line.checked_mul(PRIORITIES)?;
        Some(Self(base.checked_add(u32::from(priority.get()))?))
    }

    /// Index of its line.
    pub(super) const fn line(self) -> usize {
        (self.0 / PRIORITIES) as usize
    }

    /// Its lane within the line.
    pub(super) const fn level(self) -> usize {
        (self.0 % PRIORITIES) as usize
    }

    /// Its priority.
    pub(super) const fn priority(self) -> Priority {
        match Priority::new((self.0 % PRIORITIES) as u8) {
            Some(priority) => priority,
            None => Priority::DEFAULT,
        }
    }
}

/// A queue.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    /// Its name.
    pub(super) name: QueueName,
    /// What its operator set.
    pub(super) settings: Box<QueueSettings>,
    /// Messages by state, in the order of [`StateKind::ALL`].
    pub(super) by_state: [u64; 8],
    /// Of the scheduled ones, those that wait for another attempt.
    pub(super) retrying: u64,
    /// Its lines.
    pub(super) lines: Vec<usize>,
}

impl Queue {
    /// Messages that count against its limit.
    pub(super) fn live(&self) -> u64 {
        let states = [
            StateKind::Scheduled,
            StateKind::Ready,
            StateKind::Blocked,
            StateKind::Leased,
            StateKind::Held,
        ];
        let counts = states
            .iter()
            .filter_map(|state| self.by_state.get(*state as usize));
        counts.sum()
    }

    /// Ready, leased, superseded but running, or waiting for another attempt; what only waits in a paused queue does not count.
    pub(super) fn active(&self) -> u64 {
        let waiting = if self.settings.paused {
            0
        } else {
            self.count_of(StateKind::Ready) + self.retrying
        };
        waiting + self.count_of(StateKind::Leased) + self.count_of(StateKind::Superseded)
    }

    /// Messages in a state.
    pub(super) fn count_of(&self, state: StateKind) -> u64 {
        let count = self.by_state.get(state as usize);
        count.copied().unwrap_or_default()
    }
}

/// A number that was defined twice, out of order or under a name that has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadDefinition;

/// Names and numbers.
#[derive(Debug, Default)]
pub(super) struct Names {
    queues: Vec<Queue>,
    queue_ids: HashMap<QueueName, QueueId>,
    kinds: Vec<KindName>,
    /// Of each kind: its messages in the store.
    kind_messages: Vec<u64>,
    /// Of each kind: its indexed fields.
    kind_indexes: Vec<Index>,
    kind_ids: HashMap<KindName, KindId>,
    lines: Vec<(QueueId, KindId)>,
    line_ids: HashMap<(QueueId, KindId), usize>,
}

fn next_number(len: usize) -> Option<u32> {
    u32::try_from(len).ok().filter(|number| *number < u32::MAX)
}

impl Names {
    /// The number of a queue.
    pub(super) fn queue_id(&self, name: &QueueName) -> Option<QueueId> {
        self.queue_ids.get(name).copied()
    }

    /// The number of a kind.
    pub(super) fn kind_id(&self, name: &KindName) -> Option<KindId> {
        self.kind_ids.get(name).copied()
    }

    /// The number the `nth` next new queue gets; `None` if they are used up.
    pub(super) fn next_queue(&self, nth: usize) -> Option<QueueId> {
        next_number(self.queues.len() + nth).map(QueueId)
    }

    /// The number the `nth` next new kind gets; `None` if they are used up.
    pub(super) fn next_kind(&self, nth: usize) -> Option<KindId> {
        next_number(self.kinds.len() + nth).map(KindId)
    }

    /// Defines a queue under the next number.
    pub(super) fn define_queue(
        &mut self,
        id: QueueId,
        name: &QueueName,
        settings: Box<QueueSettings>,
    ) -> Result<(), BadDefinition> {
        if self.next_queue(0) != Some(id) || self.queue_ids.contains_key(name) {
            return Err(BadDefinition);
        }
        self.queue_ids.insert(name.clone(), id);
        self.queues.push(Queue {
            name: name.clone(),
            settings,
            by_state: [0; 8],
            retrying: 0,
            lines: Vec::new(),
        });
        Ok(())
    }

    /// Defines a kind under the next number.
    pub(super) fn define_kind(&mut self, id: KindId, name: &KindName) -> Result<(), BadDefinition> {
        if self.next_kind(0) != Some(id) || self.kind_ids.contains_key(name) {
            return Err(BadDefinition);
        }
        self.kind_ids.insert(name.clone(), id);
        self.kinds.push(name.clone());
        self.kind_messages.push(0);
        self.kind_indexes.push(Index::NONE);
        Ok(())
    }

    /// The queue with this number.
    pub(super) fn queue(&self, id: QueueId) -> Option<&Queue> {
        self.queues.get(id.0 as usize)
    }

    /// The queue with this number.
    pub(super) fn queue_mut(&mut self, id: QueueId) -> Option<&mut Queue> {
        self.queues.get_mut(id.0 as usize)
    }

    /// All queues, by number.
    pub(super) fn queues(&self) -> impl Iterator<Item = (QueueId, &Queue)> {
        self.queues
            .iter()
            .zip(0..)
            .map(|(queue, id)| (QueueId(id), queue))
    }

    /// The kind with this number.
    pub(super) fn kind(&self, id: KindId) -> Option<&KindName> {
        self.kinds.get(id.0 as usize)
    }

    /// All kinds, by number.
    pub(super) fn kinds(&self) -> &[KindName] {
        &self.kinds
    }

    /// The indexed fields of a kind.
    pub(super) fn index(&self, id: KindId) -> &Index {
        const NONE: &Index = &Index::NONE;
        self.kind_indexes.get(id.0 as usize).unwrap_or(NONE)
    }

    /// The indexed fields of all kinds, by number.
    pub(super) fn indexes(&self) -> &[Index] {
        &self.kind_indexes
    }

    /// Sets the indexed fields of a kind; says whether there is one of that number.
    pub(super) fn set_index(&mut self, id: KindId, index: Index) -> bool {
        let known = self.kind_indexes.get_mut(id.0 as usize);
        known.map(|known| *known = index).is_some()
    }

    /// Messages of a kind in the store.
    pub(super) fn messages(&self, id: KindId) -> u64 {
        self.kind_messages.get(id.0 as usize).copied().unwrap_or(0)
    }

    /// Counts one message more or less of the kind at a place; answers that kind.
    pub(super) fn count_message(&mut self, place: Place, more: bool) -> Option<KindId> {
        let (_, kind) = self.of_line(place.line())?;
        let count = self.kind_messages.get_mut(kind.0 as usize)?;
        *count = if more {
            count.saturating_add(1)
        } else {
            count.saturating_sub(1)
        };
        Some(kind)
    }

    /// All lines, by index.
    pub(super) fn lines(&self) -> &[(QueueId, KindId)] {
        &self.lines
    }

    /// The line of a queue and a kind, if it was used.
    pub(super) fn find_line(&self, queue: QueueId, kind: KindId) -> Option<usize> {
        self.line_ids.get(&(queue, kind)).copied()
    }

    /// Adds a line for a queue and a kind that have none; answers its index.
    pub(super) fn add_line(&mut self, queue: QueueId, kind: KindId) -> Option<usize> {
        let line = self.lines.len();
        self.kind(kind)?;
        self.queue_mut(queue)?.lines.push(line);
        self.lines.push((queue, kind));
        self.line_ids.insert((queue, kind), line);
        Some(line)
    }

    /// Queue and kind of a line.
    pub(super) fn of_line(&self, line: usize) -> Option<(QueueId, KindId)> {
        self.lines.get(line).copied()
    }

    /// The names at a place.
    pub(super) fn at(&self, place: Place) -> Option<(&Queue, &KindName)> {
        let (queue, kind) = self.of_line(place.line())?;
        Some((self.queue(queue)?, self.kind(kind)?))
    }

    /// Counts one message more or less that waits for another attempt.
    pub(super) fn count_retrying(&mut self, place: Place, more: bool) {
        let queue = self.of_line(place.line()).map(|(queue, _)| queue);
        if let Some(queue) = queue.and_then(|queue| self.queue_mut(queue)) {
            queue.retrying = if more {
                queue.retrying.saturating_add(1)
            } else {
                queue.retrying.saturating_sub(1)
            };
        }
    }

    /// Counts one message more or less in a state.
    pub(super) fn count(&mut self, place: Place, state: StateKind, more: bool) {
        let queue = self.of_line(place.line()).map(|(queue, _)| queue);
        let Some(queue) = queue.and_then(|queue| self.queue_mut(queue)) else {
            return;
        };
        if let Some(count) = queue.by_state.get_mut(state as usize) {
            *count = if more {
                count.saturating_add(1)
            } else {
                count.saturating_sub(1)
            };
        }
    }
}
