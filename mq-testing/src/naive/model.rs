//! The state of the naive model: a list of messages and a handful of numbers.
//!
//! Invariant: everything else (states, chains, who holds a key, what is used) is computed from the list each time.
//! A command works on a copy of the whole model, which takes the place of the old one only if nothing was refused;
//! so "all or none" needs no thought.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mq_core::command::{Notice, PoolSpec};
use mq_core::id::{Incarnation, LeaseToken, MessageId, PoolId, Seq, StoreTag};
use mq_core::key::KeyHash;
use mq_core::limits;
use mq_core::name::QueueName;
use mq_core::queue::{QueueChange, QueueSettings};
use mq_core::state::{Outcome, State, StoredState};
use mq_core::time::{Now, StoreTime, Timestamp};

use super::message::Message;

/// The budgets of a naive store.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Stands in every id.
    pub tag: StoreTag,
    /// Live messages it takes.
    pub capacity_messages: u64,
    /// Bytes of live messages it takes.
    pub capacity_bytes: u64,
    /// Bytes of dead letters after which intake stops.
    pub dead_bytes: u64,
    /// Keys of all sorts.
    pub keys: u64,
    /// How long an idempotency key answers.
    pub idempotency_window: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tag: StoreTag::new(1),
            capacity_messages: limits::CAPACITY_MESSAGES_DEFAULT,
            capacity_bytes: limits::CAPACITY_BYTES_DEFAULT,
            dead_bytes: limits::DEAD_BYTES_DEFAULT,
            keys: limits::KEYS_DEFAULT,
            idempotency_window: limits::IDEMPOTENCY_WINDOW_DEFAULT,
        }
    }
}

/// What an idempotency key answers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remembered {
    pub(super) key: KeyHash,
    pub(super) id: MessageId,
    pub(super) payload: KeyHash,
    pub(super) until: StoreTime,
}

/// A key that counts against the budget of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum UsedKey {
    Idempotency(KeyHash),
    Dedup(KeyHash),
    Ordering(KeyHash),
}

/// A worker pool.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    pub(super) spec: PoolSpec,
    pub(super) permits: u32,
}

/// Numbers since the last opening.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) enqueued: u64,
    pub(super) duplicates: u64,
    pub(super) checked_out: u64,
    pub(super) outcomes: [u64; 9],
    pub(super) stale: u64,
}

/// The rules as plainly as they can be written: one list of messages, searched from end to end for everything.
///
/// It has no disk: what it answers is durable at once. Back-off has no jitter.
#[derive(Clone, Debug)]
pub struct Model {
    pub(super) limits: Limits,
    pub(super) messages: Vec<Message>,
    pub(super) queues: BTreeSet<QueueName>,
    pub(super) settings: BTreeMap<QueueName, QueueSettings>,
    /// While a producer's batch is added.
    pub(super) heeds_queue_limits: bool,
    pub(super) window: Vec<Remembered>,
    pub(super) pools: BTreeMap<PoolId, Pool>,
    pub(super) pools_issued: u32,
    pub(super) last_seq: Seq,
    pub(super) last_order: u64,
    pub(super) incarnation: Incarnation,
    pub(super) was_closed: bool,
    pub(super) notices: Vec<Notice>,
    pub(super) tally: Tally,
}

impl Model {
    /// An empty store that was never opened.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            messages: Vec::new(),
            queues: BTreeSet::new(),
            settings: BTreeMap::new(),
            heeds_queue_limits: false,
            window: Vec::new(),
            pools: BTreeMap::new(),
            pools_issued: 0,
            last_seq: Seq::NONE,
            last_order: 0,
            incarnation: Incarnation(0),
            was_closed: true,
            notices: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// How often it was opened.
    #[must_use]
    pub const fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Changes a setting of a queue.
    pub fn set_queue(&mut self, queue: &QueueName, change: QueueChange) {
        self.queues.insert(queue.clone());
        let settings = self.settings(queue).with(change);
        self.settings.insert(queue.clone(), settings);
    }

    /// The settings of a queue.
    pub(super) fn settings(&self, queue: &QueueName) -> QueueSettings {
        self.settings.get(queue).cloned().unwrap_or_default()
    }

    /// The last message of a dedup key that succeeded, if it is kept.
    pub(super) fn previous(&self, key: KeyHash) -> Option<&Message> {
        self.messages
            .iter()
            .find(|message| message.has_succeeded() && message.dedup == Some(key))
    }

    /// Dead letters of a dedup key, the newest first.
    pub(super) fn dead_of(&self, key: KeyHash) -> Vec<&Message> {
        let messages = self.messages.iter();
        let mut dead: Vec<_> = messages
            .filter(|message| message.is_dead() && message.dedup == Some(key))
            .collect();
        dead.sort_by_key(|message| std::cmp::Reverse(message.seq()));
        dead
    }

    /// Moves what pools must be told into `into`.
    pub fn take_notices(&mut self, into: &mut Vec<Notice>) {
        into.append(&mut self.notices);
    }

    pub(super) fn find(&self, seq: Seq) -> Option<&Message> {
        self.messages.iter().find(|message| message.seq() == seq)
    }

    pub(super) fn find_mut(&mut self, seq: Seq) -> Option<&mut Message> {
        self.messages
            .iter_mut()
            .find(|message| message.seq() == seq)
    }

    /// The message that `token` holds: same id, same delivery, same opening, and still handed out.
    pub(super) fn held_by(&self, token: LeaseToken) -> Option<&Message> {
        let holds = |message: &&Message| {
            message
                .lease
                .as_ref()
                .is_some_and(|lease| lease.token == token)
        };
        self.messages.iter().find(holds)
    }

    pub(super) fn remove(&mut self, seq: Seq) {
        self.messages.retain(|message| message.seq() != seq);
    }

    /// The live message that holds a dedup key: the newest, because a follower stands for the key.
    pub(super) fn key_holder(&self, key: KeyHash) -> Option<&Message> {
        self.messages
            .iter()
            .filter(|message| message.is_live() && message.dedup == Some(key))
            .max_by_key(|message| message.seq())
    }

    /// The message that comes before `message` and keeps it from running, if any.
    pub(super) fn comes_before(&self, message: &Message) -> Option<&Message> {
        let chain = self.messages.iter().filter(|other| {
            other.is_in_chain() && other.ordering.is_some() && other.ordering == message.ordering
        });
        chain
            .min_by_key(|other| (other.order, other.seq()))
            .filter(|first| first.seq() != message.seq())
            .or_else(|| message.behind.and_then(|leader| self.find(leader)))
    }

    /// What a message is now.
    pub(super) fn state(&self, message: &Message) -> State {
        match &message.stored {
            StoredState::Held { label, .. } => State::Held {
                label: label.clone(),
            },
            StoredState::Completed { how, .. } => State::Completed { how: *how },
            StoredState::Dead { reason, .. } => State::Dead { reason: *reason },
            StoredState::Superseded { .. } => State::Superseded {
                by: message.superseded_by.unwrap_or(message.id),
            },
            StoredState::Pending { due } => {
                if let Some(lease) = &message.lease {
                    State::Leased { token: lease.token }
                } else if !message.is_due {
                    State::Scheduled { due: *due }
                } else if let Some(first) = self.comes_before(message) {
                    State::Blocked { by: first.id }
                } else {
                    State::Ready
                }
            }
        }
    }

    /// Lets followers go whose leader is over.
    pub(super) fn follow_up(&mut self) {
        let leaders: Vec<Seq> = self
            .messages
            .iter()
            .filter(|message| message.is_live() || message.is_superseded())
            .map(Message::seq)
            .collect();
        for message in &mut self.messages {
            message.behind = message.behind.filter(|leader| leaders.contains(leader));
        }
    }

    /// Messages and bytes in use: live ones, and what leases reserved.
    pub(super) fn used(&self) -> (u64, u64) {
        let mut used = (0, 0);
        for message in &self.messages {
            if message.is_live() {
                used.0 += 1;
                used.1 += u64::from(message.size);
            }
            if let Some(lease) = &message.lease {
                used.0 += lease.reserved_messages;
                used.1 += lease.reserved_bytes;
            }
        }
        used
    }

    /// Bytes of dead letters.
    pub(super) fn dead_bytes(&self) -> u64 {
        let dead = self.messages.iter().filter(|message| message.is_dead());
        dead.map(Message::kept_size).sum()
    }

    /// Bytes of kept completed messages.
    pub(super) fn completed_bytes(&self) -> u64 {
        let kept = self
            .messages
            .iter()
            .filter(|message| message.is_completed());
        kept.map(Message::kept_size).sum()
    }

    /// Keys in use: remembered idempotency keys, dedup keys that are held, ordering keys with a chain.
    pub(super) fn keys(&self) -> BTreeSet<UsedKey> {
        let mut keys: BTreeSet<UsedKey> = self
            .window
            .iter()
            .map(|known| UsedKey::Idempotency(known.key))
            .collect();
        for message in &self.messages {
            let dedup = message.dedup.filter(|_| message.is_live());
            keys.extend(dedup.map(UsedKey::Dedup));
            let ordering = message.ordering.filter(|_| message.is_in_chain());
            keys.extend(ordering.map(UsedKey::Ordering));
        }
        keys
    }

    pub(super) fn count(&mut self, outcome: Outcome) {
        if let Some(count) = self.tally.outcomes.get_mut(outcome as usize) {
            *count += 1;
        }
    }

    /// The next place in line.
    pub(super) const fn next_order(&mut self) -> u64 {
        self.last_order += 1;
        self.last_order
    }
}

/// The due time of a pending message: zero when it may run at once.
pub(super) fn due_at(now: &Now, due: mq_core::message::Due) -> Timestamp {
    let moment = match due {
        mq_core::message::Due::Now => Timestamp::from_ms(0),
        mq_core::message::Due::After(delay) => now.wall.after(delay),
        mq_core::message::Due::At(moment) => moment,
    };
    if moment <= now.wall {
        Timestamp::from_ms(0)
    } else {
        moment
    }
}
