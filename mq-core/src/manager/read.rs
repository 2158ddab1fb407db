//! Reading: one message, counts. Nothing changes. Pages of messages are in [`super::find`].

use bytes::Bytes;

use crate::id::{MessageId, QueueId, Seq};
use crate::key::KeyHash;
use crate::limits::{COMMAND_EVENTS_MAX, COMMAND_SIZE_MAX};
use crate::name::{KindName, QueueName};
use crate::queue::QueueSettings;
use crate::state::{Attempt, State, StoredState};
use crate::time::{Now, Timestamp};
use crate::view::{Lookup, MessageView, QueueStats, StateKind, Stats};

use super::QueueManager;
use super::entry::{Entry, Tag, flag};
use super::room::Need;

/// What a grant says beside the envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantFacts {
    /// Its queue.
    pub queue: QueueName,
    /// Its kind.
    pub kind: KindName,
    /// Failures so far plus one.
    pub attempt: u32,
    /// When it was enqueued.
    pub enqueued: Timestamp,
    /// When it was due.
    pub due: Timestamp,
    /// It runs as the one suspect.
    pub suspect: bool,
    /// What the last attempt saved.
    pub checkpoint: Option<Bytes>,
    /// How the last attempt ended.
    pub last: Option<Attempt>,
}

/// What is said of a message when something happens to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glimpse {
    /// Its id.
    pub id: MessageId,
    /// Its queue.
    pub queue: QueueName,
    /// Its kind.
    pub kind: KindName,
    /// What it is. Of those that wait, it is not said whether they are blocked.
    pub state: StateKind,
    /// Failures so far plus one.
    pub attempt: u32,
    /// How often it was handed out.
    pub deliveries: u32,
}

impl QueueManager {
    /// What is said of a message when something happens to it; `None` if it is not in the store. Costs one look-up.
    #[must_use]
    pub fn glimpse(&self, seq: Seq) -> Option<Glimpse> {
        let entry = self.table.get(seq)?;
        let (queue, kind) = self.names.at(entry.place)?;
        Some(Glimpse {
            id: entry.id(seq, self.config.tag),
            queue: queue.name.clone(),
            kind: kind.clone(),
            state: entry.tag.kind(),
            attempt: entry
                .tail()
                .map_or(0, |tail| tail.failures)
                .saturating_add(1),
            deliveries: entry.deliveries,
        })
    }

    /// The name of a queue by its number.
    #[must_use]
    pub fn queue_name(&self, id: QueueId) -> Option<&QueueName> {
        self.names.queue(id).map(|queue| &queue.name)
    }

    /// Whether some pool has a permit for a message that may be handed out: then the next grant is due at once.
    #[must_use]
    pub fn could_grant(&self) -> bool {
        self.pools.is_hungry()
    }

    /// What is known of an id.
    #[must_use]
    pub fn lookup(&self, now: &Now, id: MessageId) -> Lookup {
        let seq = id.seq();
        if id.tag() != self.config.tag || seq > self.last_seq || seq == Seq::NONE {
            return Lookup::NeverIssued;
        }
        let Some(entry) = self.table.get(seq) else {
            return Lookup::SettledNotKept;
        };
        if entry.id(seq, self.config.tag) != id {
            return Lookup::NeverIssued;
        }
        self.view(now, seq, entry)
            .map_or(Lookup::SettledNotKept, |view| Lookup::Found(Box::new(view)))
    }

    pub(super) fn view(&self, now: &Now, seq: Seq, entry: &Entry) -> Option<MessageView> {
        let (queue, kind) = self.names.at(entry.place)?;
        Some(MessageView {
            id: entry.id(seq, self.config.tag),
            queue: queue.name.clone(),
            kind: kind.clone(),
            priority: entry.priority(),
            state: self.state_of(now, seq, entry),
            enqueued: Timestamp::from_ms(entry.at()),
            died: entry.died(),
            deliveries: entry.deliveries,
            suspect: entry.has(flag::SUSPECT),
            size: entry.size,
            tail: entry.tail().cloned().unwrap_or_default(),
        })
    }

    /// The state as people see it.
    fn state_of(&self, now: &Now, seq: Seq, entry: &Entry) -> State {
        match (entry.tag, entry.stored_state()) {
            (Tag::Leased, _) => self
                .token_of(seq)
                .map_or(State::Ready, |token| State::Leased { token }),
            (_, StoredState::Held { label, .. }) => State::Held { label },
            (_, StoredState::Completed { how, .. }) => State::Completed { how },
            (_, StoredState::Dead { reason, .. }) => State::Dead { reason },
            (_, StoredState::Superseded { by }) => {
                // The message that took its place may be over already; then its number has to do.
                let at = self.table.get(by).map_or(0, |entry| entry.at());
                State::Superseded {
                    by: MessageId::new(at, by, self.config.tag),
                }
            }
            (tag, StoredState::Pending { due }) => {
                if tag == Tag::Scheduled || (tag == Tag::Limbo && due > now.wall) {
                    State::Scheduled { due }
                } else {
                    self.blocker(seq, entry)
                        .map_or(State::Ready, |by| State::Blocked { by })
                }
            }
        }
    }

    /// The message that comes before a pending one.
    pub(super) fn blocker(&self, seq: Seq, entry: &Entry) -> Option<MessageId> {
        let keys = self.table.keys_of(seq, entry);
        let chain = keys
            .ordering
            .and_then(|key| self.chains.first(key, &self.table))
            .filter(|first| *first != seq);
        let behind = || {
            let behind = entry.behind()?;
            (self.followers.get(&behind.get()) == Some(&seq)).then_some(behind)
        };
        let by = chain.or_else(behind)?;
        Some(self.table.get(by)?.id(by, self.config.tag))
    }

    /// The previous version of a dedup key: its last message that succeeded, if that is retained.
    #[must_use]
    pub fn previous(&self, key: KeyHash) -> Option<MessageId> {
        let seq = self.previous_version(key)?;
        Some(self.table.get(seq)?.id(seq, self.config.tag))
    }

    /// The dedup key of a message in the store.
    #[must_use]
    pub fn dedup_key(&self, id: MessageId) -> Option<KeyHash> {
        let entry = self.table.get(id.seq())?;
        let dedup = self.table.keys_of(id.seq(), entry).dedup?;
        (entry.id(id.seq(), self.config.tag) == id).then_some(dedup.key)
    }

    /// The settings of a queue; the defaults if nobody has used it yet.
    #[must_use]
    pub fn queue_settings(&self, name: &QueueName) -> QueueSettings {
        let id = self.names.queue_id(name);
        let queue = id.and_then(|id| self.names.queue(id));
        queue.map_or_else(QueueSettings::default, |queue| (*queue.settings).clone())
    }

    /// Whether it is worth planning to add so much to the store: there is room, or there never will be, and planning says so.
    /// Looks at sums only.
    #[must_use]
    pub fn is_worth_planning(&self, messages: u64, bytes: u64) -> bool {
        let need = Need {
            messages,
            bytes,
            ..Need::default()
        };
        let config = &self.config;
        let is_too_much = messages > config.capacity_messages.min(COMMAND_EVENTS_MAX as u64)
            || bytes > config.capacity_bytes.min(COMMAND_SIZE_MAX as u64);
        let checked = self
            .room
            .check(&need, config.capacity_messages, config.capacity_bytes);
        is_too_much || checked.is_ok()
    }

    /// The same for so many messages more in a queue.
    #[must_use]
    pub fn is_worth_planning_for(&self, name: &QueueName, messages: u64) -> bool {
        let queue = self
            .names
            .queue_id(name)
            .and_then(|id| self.names.queue(id));
        let limited = queue.and_then(|queue| Some((queue, queue.settings.messages_max?)));
        limited.is_none_or(|(queue, limit)| {
            messages == 0 || messages > limit || queue.live().saturating_add(messages) <= limit
        })
    }

    /// Counts. The cost grows with the number of queues and of the kinds used in them, not with messages.
    #[must_use]
    pub fn stats(&self, now: &Now) -> Stats {
        let mut stats = Stats {
            live_messages: self.room.used_messages(),
            live_bytes: self.room.used_bytes(),
            dead_bytes: self.room.dead_bytes,
            completed_bytes: self.room.completed_bytes,
            keys: self.keys_len(),
            oldest_dead: self
                .timers
                .dead
                .first()
                .map(|(at, _)| now.wall.since(Timestamp::from_ms(at))),
            dead_counts: self.dead_counts(),
            ..Stats::default()
        };
        self.tally.write(&mut stats);
        for (_, queue) in self.names.queues() {
            let lines = queue.lines.iter().filter_map(|line| self.lines.get(*line));
            let oldest = lines
                .filter_map(|line| line.oldest_joined(&self.table))
                .min();
            let shown = QueueStats {
                by_state: queue.by_state,
                paused: queue.settings.paused,
                oldest_ready: oldest.map(|at| now.wall.since(Timestamp::from_ms(at))),
            };
            stats.queues.push((queue.name.clone(), shown));
        }
        stats
            .queues
            .sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        for (line, (queue, kind)) in self.lines.iter().zip(self.names.lines()) {
            stats.suspects += u64::try_from(line.suspects.len()).unwrap_or(u64::MAX);
            let ready = line.ready_len();
            if ready > 0
                && !self.pools.is_served(&line.groups)
                && let Some(queue) = self.names.queue(*queue)
                && let Some(kind) = self.names.kind(*kind)
            {
                let unserved = (queue.name.clone(), kind.clone(), ready);
                stats.unserved.push(unserved);
            }
        }
        stats.unserved.sort_unstable();
        stats
    }

    /// What a grant of `seq` says beside the envelope; `None` if it is not in the store.
    #[must_use]
    pub fn grant_facts(&self, seq: Seq) -> Option<GrantFacts> {
        let entry = self.table.get(seq)?;
        let (queue, kind) = self.names.at(entry.place)?;
        let tail = entry.tail();
        let due = match entry.due() {
            0 => entry.at(),
            due => due,
        };
        Some(GrantFacts {
            queue: queue.name.clone(),
            kind: kind.clone(),
            attempt: tail.map_or(0, |tail| tail.failures).saturating_add(1),
            enqueued: Timestamp::from_ms(entry.at()),
            due: Timestamp::from_ms(due),
            suspect: entry.has(flag::SOLO),
            checkpoint: tail.and_then(|tail| tail.checkpoint.clone()),
            last: tail.and_then(|tail| tail.history.last().cloned()),
        })
    }
}
