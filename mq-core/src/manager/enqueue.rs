//! Deciding an enqueue: keys, room and numbers, for a batch or for what a settlement stages.
//!
//! Invariants: all of a batch or none; the decision sees the state as the events before it in the same command leave
//! it. Nothing is looked up by name more than twice per message.

use hashbrown::{HashMap, HashSet};

use crate::command::{Accepted, Enqueue, EnqueueBatch, EnqueueRefused};
use crate::event::{Enqueued, Event, LeaseAfter};
use crate::id::{KindId, MessageId, QueueId, Seq};
use crate::key::{DedupPolicy, KeyHash};
use crate::limits::{COMMAND_EVENTS_MAX, COMMAND_SIZE_MAX};
use crate::message::{Draft, Due};
use crate::name::{KindName, QueueName};
use crate::state::StoredState;
use crate::time::{Now, Timestamp};
use crate::view::StateKind;

use super::entry::{Entry, Tag};
use super::room::Need;
use super::{Command, QueueManager, Sealed};

impl Sealed for EnqueueBatch {}

impl Command for EnqueueBatch {
    type Answer = Vec<Accepted>;
    type Refused = EnqueueRefused;

    fn decide(
        &self,
        manager: &QueueManager,
        now: &Now,
        events: &mut Vec<Event>,
    ) -> Result<Vec<Accepted>, EnqueueRefused> {
        Plan::new(manager, now, None, Need::default()).run(&self.drafts, events)
    }
}

/// The message whose settlement stages the batch, as it will be when the batch is applied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settling {
    /// Which.
    pub(super) seq: Seq,
    /// It gave up its keys; otherwise it waits again.
    pub(super) is_over: bool,
}

/// What a draft comes to.
enum Verdict {
    /// A new message, perhaps behind another.
    New { behind: Option<Seq> },
    /// A new message in the place of another.
    Replace { old: Seq },
    /// No new message.
    Known(Accepted),
}

/// A batch being decided.
pub(super) struct Plan<'a> {
    manager: &'a QueueManager,
    now: &'a Now,
    settling: Option<Settling>,
    need: Need,
    last_seq: Seq,
    last_order: u64,
    /// Queues and kinds that the batch uses for the first time.
    queues: HashMap<QueueName, QueueId>,
    kinds: HashMap<KindName, KindId>,
    keys: BatchKeys,
    accepted: Vec<Accepted>,
}

/// Keys that earlier messages of the batch have used.
#[derive(Default)]
struct BatchKeys {
    idempotency: HashMap<KeyHash, (MessageId, KeyHash)>,
    dedup: HashMap<KeyHash, usize>,
    ordering: HashSet<KeyHash>,
    new: u64,
}

impl<'a> Plan<'a> {
    /// A plan that starts from `need`.
    pub(super) fn new(
        manager: &'a QueueManager,
        now: &'a Now,
        settling: Option<Settling>,
        need: Need,
    ) -> Self {
        Self {
            manager,
            now,
            settling,
            need,
            last_seq: manager.last_seq,
            last_order: manager.last_order,
            queues: HashMap::new(),
            kinds: HashMap::new(),
            keys: BatchKeys::default(),
            accepted: Vec::new(),
        }
    }

    /// Decides the batch. Events are appended only if all of it is accepted.
    pub(super) fn run(
        mut self,
        drafts: &[Draft],
        events: &mut Vec<Event>,
    ) -> Result<Vec<Accepted>, EnqueueRefused> {
        let before = events.len();
        self.accepted.reserve_exact(drafts.len());
        let outcome = self.check_size(drafts).and_then(|()| {
            drafts
                .iter()
                .enumerate()
                .try_for_each(|(index, draft)| self.add(index, draft, events))
        });
        let outcome = outcome.and_then(|()| self.check_room(events.len() - before));
        if let Err(refused) = outcome {
            events.truncate(before);
            if let EnqueueRefused::KeyHeld { .. } = refused {
                self.manager.tally.duplicate();
            }
            return Err(refused);
        }
        for accepted in &self.accepted {
            if matches!(accepted.enqueue, Enqueue::Existing | Enqueue::Discarded) {
                self.manager.tally.duplicate();
            }
        }
        Ok(self.accepted)
    }

    fn check_size(&self, drafts: &[Draft]) -> Result<(), EnqueueRefused> {
        let messages = drafts.len();
        let bytes = drafts.iter().map(size_of_draft).sum();
        let config = &self.manager.config;
        let fits = messages <= COMMAND_EVENTS_MAX
            && bytes <= u64::try_from(COMMAND_SIZE_MAX).unwrap_or(u64::MAX)
            && bytes <= config.capacity_bytes
            && u64::try_from(messages).is_ok_and(|len| len <= config.capacity_messages);
        if fits {
            Ok(())
        } else {
            Err(EnqueueRefused::TooLarge { messages, bytes })
        }
    }

    fn check_room(&self, events: usize) -> Result<(), EnqueueRefused> {
        if events > COMMAND_EVENTS_MAX {
            return Err(EnqueueRefused::TooLarge {
                messages: self.accepted.len(),
                bytes: self.need.bytes,
            });
        }
        let limit = self.manager.config.keys;
        if self.keys.new > 0 && self.manager.keys_len().saturating_add(self.keys.new) > limit {
            return Err(EnqueueRefused::KeysFull { limit });
        }
        let config = &self.manager.config;
        self.manager
            .room
            .check(&self.need, config.capacity_messages, config.capacity_bytes)
    }

    fn add(
        &mut self,
        index: usize,
        draft: &Draft,
        events: &mut Vec<Event>,
    ) -> Result<(), EnqueueRefused> {
        let verdict = match self.known(draft)? {
            Some(id) => Verdict::Known(Accepted {
                id,
                enqueue: Enqueue::Existing,
            }),
            None => self.dedup(index, draft)?,
        };
        let (old, behind) = match verdict {
            Verdict::Known(accepted) => {
                self.accepted.push(accepted);
                return Ok(());
            }
            Verdict::New { behind } => (None, behind),
            Verdict::Replace { old } => (Some(old), None),
        };
        let queue = self.queue(&draft.queue, events)?;
        let kind = self.kind(&draft.kind, events)?;
        if self.last_seq == Seq::MAX {
            return Err(EnqueueRefused::NumbersUsedUp { what: "sequence" });
        }
        self.last_seq = self.last_seq.next();
        let mut new = self.enqueued(draft, queue, kind);
        new.behind = behind;
        let mut enqueue = Enqueue::New;
        if let Some(old) = old {
            enqueue = self.replace(old, &mut new, events);
        } else {
            self.last_order += 1;
            new.order = self.last_order;
        }
        self.note_keys(index, draft, &new);
        self.need.messages += 1;
        self.need.bytes += u64::from(new.size);
        let id = MessageId::new(new.at.as_ms(), new.seq, self.manager.config.tag);
        self.accepted.push(Accepted { id, enqueue });
        events.push(Event::Enqueued(new));
        Ok(())
    }

    /// The message that the idempotency key stands for already.
    fn known(&self, draft: &Draft) -> Result<Option<MessageId>, EnqueueRefused> {
        let Some(key) = draft.idempotency else {
            return Ok(None);
        };
        let tag = self.manager.config.tag;
        let in_batch = self.keys.idempotency.get(&key).copied();
        let known = in_batch.or_else(|| {
            let known = self.manager.window.get(key, self.now.store)?;
            Some((
                MessageId::new(known.at.as_ms(), known.seq, tag),
                known.payload.into(),
            ))
        });
        match known {
            Some((id, payload)) if payload != draft.payload => {
                Err(EnqueueRefused::KeyReused { id })
            }
            Some((id, _)) => Ok(Some(id)),
            None => Ok(None),
        }
    }

    fn dedup(&self, index: usize, draft: &Draft) -> Result<Verdict, EnqueueRefused> {
        let Some((key, policy)) = draft.dedup else {
            return Ok(Verdict::New { behind: None });
        };
        if let Some(first) = self.keys.dedup.get(&key) {
            return Err(EnqueueRefused::KeyTwiceInBatch {
                first: *first,
                second: index,
            });
        }
        let Some((old, entry)) = self.holder(key) else {
            return Ok(Verdict::New { behind: None });
        };
        let id = entry.id(old, self.manager.config.tag);
        let known = |enqueue| Verdict::Known(Accepted { id, enqueue });
        let is_running =
            entry.tag == Tag::Leased && self.settling.is_none_or(|settling| settling.seq != old);
        let is_same = entry
            .dedup()
            .is_some_and(|dedup| dedup.payload == draft.payload);
        Ok(match policy {
            DedupPolicy::Replace => Verdict::Replace { old },
            DedupPolicy::Keep => known(Enqueue::Existing),
            DedupPolicy::Reject => return Err(EnqueueRefused::KeyHeld { id }),
            DedupPolicy::DiscardIdentical if is_same => known(Enqueue::Discarded),
            DedupPolicy::DiscardIdentical => Verdict::Replace { old },
            DedupPolicy::RunOnceMore if is_running => Verdict::New { behind: Some(old) },
            DedupPolicy::RunOnceMore => known(Enqueue::Existing),
        })
    }

    /// The live message with a dedup key.
    fn holder(&self, key: KeyHash) -> Option<(Seq, &'a Entry)> {
        let seq = self.manager.key_holder(key)?;
        let is_over = |settling: Settling| settling.seq == seq && settling.is_over;
        if self.settling.is_some_and(is_over) {
            return None;
        }
        Some((seq, self.manager.table.get(seq)?))
    }

    /// Puts `new` into the place of `old`.
    fn replace(&mut self, old: Seq, new: &mut Enqueued, events: &mut Vec<Event>) -> Enqueue {
        let Some(entry) = self.manager.table.get(old) else {
            return Enqueue::New;
        };
        // A place in line counts within one ordering key; in another one it would jump the queue, perhaps past a
        // message that runs.
        new.order = if new.ordering.is_none() || new.ordering == entry.ordering() {
            entry.order
        } else {
            self.last_order += 1;
            self.last_order
        };
        new.joined = Timestamp::from_ms(entry.joined);
        new.behind = entry.dedup().and_then(|dedup| dedup.behind);
        new.behind = new.behind.filter(|behind| self.manager.leads(*behind));
        self.need.freed_messages += 1;
        self.need.freed_bytes += u64::from(entry.size);
        let is_settling = self.settling.is_some_and(|settling| settling.seq == old);
        if entry.tag == Tag::Leased && !is_settling {
            let state = StoredState::Superseded { by: new.seq };
            let tail = entry.tail().cloned().unwrap_or_default();
            let changed = self
                .manager
                .changed(old, entry, state, LeaseAfter::Kept, tail);
            events.extend(changed.map(Event::Changed));
        } else {
            events.push(Event::Finished { seq: old });
        }
        Enqueue::Replaced {
            old: entry.id(old, self.manager.config.tag),
        }
    }

    fn enqueued(&self, draft: &Draft, queue: QueueId, kind: KindId) -> Enqueued {
        let now = self.now;
        let due = due_at(draft.due, now);
        let at_once = due == Timestamp::from_ms(0);
        let state = match &draft.hold {
            Some(label) => StoredState::Held {
                label: label.clone(),
                due,
            },
            None => StoredState::Pending { due },
        };
        let until = now.store.after(self.manager.config.idempotency_window);
        Enqueued {
            seq: self.last_seq,
            at: now.wall,
            queue,
            kind,
            priority: draft.priority,
            state,
            order: 0,
            joined: if at_once { now.wall } else { due },
            expires: draft.expires_in.map(|after| now.store.after(after)),
            idempotency: draft.idempotency.map(|key| (key, until)),
            dedup: draft.dedup.map(|(key, _)| key),
            behind: None,
            ordering: draft.ordering,
            halt_on_dead: draft.halt_on_dead && draft.ordering.is_some(),
            payload: draft.payload,
            failures_max: draft.failures_max,
            retain_ms: draft.retain.map(super::whole_ms),
            size: u32::try_from(draft.sealed.bytes.len()).unwrap_or(u32::MAX),
            sealed: Some(draft.sealed.clone()),
        }
    }

    fn note_keys(&mut self, index: usize, draft: &Draft, new: &Enqueued) {
        if let Some(key) = draft.idempotency {
            let id = MessageId::new(new.at.as_ms(), new.seq, self.manager.config.tag);
            self.keys.idempotency.insert(key, (id, draft.payload));
            self.keys.new += 1;
        }
        if let Some((key, _)) = draft.dedup {
            self.keys.dedup.insert(key, index);
            self.keys.new += u64::from(self.manager.key_holder(key).is_none());
        }
        if let Some(key) = draft.ordering
            && !self.manager.chains.contains(key, &self.manager.table)
            && self.keys.ordering.insert(key)
        {
            self.keys.new += 1;
        }
    }

    /// The number of a queue that takes messages; a new one is defined.
    fn queue(
        &mut self,
        name: &QueueName,
        events: &mut Vec<Event>,
    ) -> Result<QueueId, EnqueueRefused> {
        let names = &self.manager.names;
        if let Some(id) = names.queue_id(name) {
            self.check_dead_letters(id)?;
            return Ok(id);
        }
        if let Some(id) = self.queues.get(name) {
            return Ok(*id);
        }
        let id = names
            .next_queue(self.queues.len())
            .ok_or(EnqueueRefused::NumbersUsedUp { what: "queue" })?;
        self.queues.insert(name.clone(), id);
        let name = name.clone();
        events.push(Event::QueueDefined { id, name });
        Ok(id)
    }

    fn check_dead_letters(&self, id: QueueId) -> Result<(), EnqueueRefused> {
        let (used, limit) = (self.manager.room.dead_bytes, self.manager.config.dead_bytes);
        let queue = self.manager.names.queue(id).filter(|queue| {
            let dead = queue.by_state.get(StateKind::Dead as usize);
            used >= limit && dead.is_some_and(|dead| *dead > 0)
        });
        queue.map_or(Ok(()), |queue| {
            Err(EnqueueRefused::DeadLettersFull {
                queue: queue.name.clone(),
                used,
                limit,
            })
        })
    }

    fn kind(&mut self, name: &KindName, events: &mut Vec<Event>) -> Result<KindId, EnqueueRefused> {
        let names = &self.manager.names;
        if let Some(id) = names.kind_id(name) {
            return Ok(id);
        }
        if let Some(id) = self.kinds.get(name) {
            return Ok(*id);
        }
        let id = names
            .next_kind(self.kinds.len())
            .ok_or(EnqueueRefused::NumbersUsedUp { what: "kind" })?;
        self.kinds.insert(name.clone(), id);
        let name = name.clone();
        events.push(Event::KindDefined { id, name });
        Ok(id)
    }
}

fn size_of_draft(draft: &Draft) -> u64 {
    u64::try_from(draft.sealed.bytes.len()).unwrap_or(u64::MAX)
}

/// The moment a message is due; zero for at once.
pub(super) fn due_at(due: Due, now: &Now) -> Timestamp {
    let at = match due {
        Due::Now => now.wall,
        Due::After(delay) => now.wall.after(delay),
        Due::At(at) => at,
    };
    if at <= now.wall {
        Timestamp::from_ms(0)
    } else {
        at
    }
}
