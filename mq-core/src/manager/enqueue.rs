//! Deciding an enqueue: keys, room and numbers, for a batch or for what a settlement stages.
//!
//! Invariants: all of a batch or none; the decision sees the state as the events before it in the same command leave
//! it. Nothing is looked up by name more than twice per message.

mod naming;

use std::time::Duration;

use hashbrown::{HashMap, HashSet};

use crate::command::{Accepted, Enqueue, EnqueueBatch, EnqueueRefused};
use crate::event::{Changed, Enqueued, Event, LeaseAfter};
use crate::few::Few;
use crate::id::{KindId, MessageId, QueueId, Seq};
use crate::key::{DedupPolicy, KeyHash};
use crate::limits::{
    COMMAND_EVENTS_MAX, COMMAND_SIZE_MAX, RESULT_RETENTION_DEFAULT, UPSERT_DEAD_MAX,
};
use crate::message::{Draft, Due};
use crate::name::{KindName, QueueName};
use crate::queue::QueueSettings;
use crate::state::{StoredState, Tail, note_of_replaced};
use crate::time::{Now, Timestamp};

use super::entry::{Entry, Tag};
use super::names::Queue;
use super::room::Need;
use super::{Command, QueueManager, Sealed};

impl Sealed for EnqueueBatch {}

impl Command for EnqueueBatch {
    type Answer = Few<Accepted>;
    type Refused = EnqueueRefused;

    fn decide(
        &self,
        manager: &QueueManager,
        now: &Now,
        events: &mut Vec<Event>,
    ) -> Result<Few<Accepted>, EnqueueRefused> {
        let mut plan = Plan::new(manager, now, None, Need::default());
        plan.heeds_queue_limits = true;
        plan.run(&self.drafts, events)
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
    /// A new message in the place of others: of a live one, of dead letters, or of both.
    Replace { old: Option<Seq>, dead: Vec<Seq> },
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
    /// What later messages of the batch must know of earlier ones; none in a batch of one.
    earlier: Option<Box<Earlier>>,
    /// Messages behind the one that is decided.
    later: usize,
    /// Keys that the batch uses for the first time.
    new_keys: u64,
    accepted: Few<Accepted>,
    /// Producers heed the limits of queues; handlers and schedules, who cannot wait, do not.
    heeds_queue_limits: bool,
}

/// What the messages of a batch so far have brought.
#[derive(Default)]
struct Earlier {
    /// Queues and kinds used for the first time.
    queues: HashMap<QueueName, QueueId>,
    kinds: HashMap<KindName, KindId>,
    idempotency: HashMap<KeyHash, (MessageId, KeyHash)>,
    dedup: HashMap<KeyHash, usize>,
    ordering: HashSet<KeyHash>,
    /// Of queues with a limit: live messages added, and replaced.
    changes: HashMap<QueueId, (u64, u64)>,
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
            earlier: None,
            later: 0,
            new_keys: 0,
            accepted: Few::new(),
            heeds_queue_limits: false,
        }
    }

    /// Decides the batch. Events are appended only if all of it is accepted.
    pub(super) fn run(
        mut self,
        drafts: &[Draft],
        events: &mut Vec<Event>,
    ) -> Result<Few<Accepted>, EnqueueRefused> {
        let before = events.len();
        self.accepted.reserve_exact(drafts.len());
        let outcome = self.check_size(drafts).and_then(|()| {
            drafts.iter().enumerate().try_for_each(|(index, draft)| {
                self.later = drafts.len() - index - 1;
                self.add(index, draft, events)
            })
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
        if self.new_keys > 0 && self.manager.keys_len().saturating_add(self.new_keys) > limit {
            return Err(EnqueueRefused::KeysFull { limit });
        }
        let config = &self.manager.config;
        self.manager
            .room
            .check(&self.need, config.capacity_messages, config.capacity_bytes)
    }

    /// Where to note what later messages must know, if there are any.
    fn for_later(&mut self) -> Option<&mut Earlier> {
        (self.later > 0).then(|| &mut **self.earlier.get_or_insert_default())
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
        let (old, dead, behind) = match verdict {
            Verdict::Known(accepted) => {
                self.accepted.push(accepted);
                return Ok(());
            }
            Verdict::New { behind } => (None, Vec::new(), behind),
            Verdict::Replace { old, dead } => (old, dead, None),
        };
        let queue = self.queue(&draft.queue, !dead.is_empty(), events)?;
        self.check_queue_limit(queue, old)?;
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
        let note = self.replace_dead(&dead, &mut enqueue, events);
        self.note_keys(index, draft, &new);
        self.need.messages += 1;
        self.need.bytes += u64::from(new.size);
        let id = MessageId::new(new.at.as_ms(), new.seq, self.manager.config.tag);
        self.accepted.push(Accepted { id, enqueue });
        let noted = note.map(|note| noted(&new, note));
        events.push(Event::Enqueued(new));
        if let Some(noted) = noted {
            events.push(Event::Changed(noted)); // `extend` would copy an event, even if there is none
        }
        Ok(())
    }

    /// The message that the idempotency key stands for already.
    fn known(&self, draft: &Draft) -> Result<Option<MessageId>, EnqueueRefused> {
        let Some(key) = draft.idempotency else {
            return Ok(None);
        };
        let tag = self.manager.config.tag;
        let earlier = self.earlier.as_ref();
        let in_batch = earlier.and_then(|earlier| earlier.idempotency.get(&key).copied());
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
        let earlier = self.earlier.as_ref();
        if let Some(first) = earlier.and_then(|earlier| earlier.dedup.get(&key)) {
            return Err(EnqueueRefused::KeyTwiceInBatch {
                first: *first,
                second: index,
            });
        }
        let Some((old, entry)) = self.holder(key) else {
            return Ok(self.without_holder(key, policy, draft));
        };
        let id = entry.id(old, self.manager.config.tag);
        let known = |enqueue| Verdict::Known(Accepted { id, enqueue });
        let replace = |dead| Verdict::Replace {
            old: Some(old),
            dead,
        };
        let is_running =
            entry.tag == Tag::Leased && self.settling.is_none_or(|settling| settling.seq != old);
        let is_same = self.is_same(old, entry, draft);
        Ok(match policy {
            DedupPolicy::Replace => replace(Vec::new()),
            DedupPolicy::Upsert => replace(self.manager.dead_of(key, UPSERT_DEAD_MAX)),
            DedupPolicy::Keep => known(Enqueue::Existing),
            DedupPolicy::Reject => return Err(EnqueueRefused::KeyHeld { id }),
            DedupPolicy::DiscardIdentical if is_same => known(Enqueue::Discarded),
            DedupPolicy::DiscardIdentical => replace(Vec::new()),
            DedupPolicy::RunOnceMore if is_running => Verdict::New { behind: Some(old) },
            DedupPolicy::RunOnceMore => known(Enqueue::Existing),
        })
    }

    /// Whether a message with a dedup key has the same payload.
    fn is_same(&self, seq: Seq, entry: &Entry, draft: &Draft) -> bool {
        let keys = self.manager.table.keys_of(seq, entry);
        keys.dedup
            .is_some_and(|dedup| dedup.payload == draft.payload)
    }

    /// A dedup key that no live message holds: its dead letters and its previous version may matter.
    fn without_holder(&self, key: KeyHash, policy: DedupPolicy, draft: &Draft) -> Verdict {
        let manager = self.manager;
        match policy {
            DedupPolicy::Upsert => Verdict::Replace {
                old: None,
                dead: manager.dead_of(key, UPSERT_DEAD_MAX),
            },
            // A message that this very command settles is about to be the previous version, or dead.
            DedupPolicy::DiscardIdentical
                if manager.key_holder(key).is_none() && manager.dead_of(key, 1).is_empty() =>
            {
                let previous = manager.previous_version(key);
                let previous = previous.and_then(|seq| Some((seq, manager.table.get(seq)?)));
                let same = previous.filter(|(seq, entry)| self.is_same(*seq, entry, draft));
                same.map_or(Verdict::New { behind: None }, |(seq, entry)| {
                    Verdict::Known(Accepted {
                        id: entry.id(seq, manager.config.tag),
                        enqueue: Enqueue::Discarded,
                    })
                })
            }
            DedupPolicy::DiscardIdentical
            | DedupPolicy::Replace
            | DedupPolicy::Keep
            | DedupPolicy::Reject
            | DedupPolicy::RunOnceMore => Verdict::New { behind: None },
        }
    }

    /// Lets dead letters leave whose place the new message takes; answers what is noted about the newest.
    fn replace_dead(
        &self,
        dead: &[Seq],
        enqueue: &mut Enqueue,
        events: &mut Vec<Event>,
    ) -> Option<String> {
        events.extend(dead.iter().map(|seq| Event::Finished { seq: *seq }));
        let newest = *dead.first()?;
        let entry = self.manager.table.get(newest)?;
        let id = entry.id(newest, self.manager.config.tag);
        if let Enqueue::New = enqueue {
            *enqueue = Enqueue::Replaced { old: id };
        }
        let StoredState::Dead { reason, .. } = entry.stored_state() else {
            return None;
        };
        let failure = entry.tail().and_then(|tail| tail.history.last());
        let failure = failure.and_then(|attempt| attempt.failure.as_ref());
        Some(note_of_replaced(id, reason, failure))
    }

    /// Refuses a message too many for its queue. One that replaces a live message of the queue is none.
    fn check_queue_limit(&mut self, id: QueueId, old: Option<Seq>) -> Result<(), EnqueueRefused> {
        if !self.heeds_queue_limits {
            return Ok(());
        }
        let old = old.and_then(|old| self.manager.table.get(old));
        let old = old.and_then(|entry| self.manager.names.of_line(entry.place.line()));
        let old = old.map(|(queue, _)| queue);
        if let Some(old) = old.filter(|old| self.limit_of(*old).is_some())
            && let Some(earlier) = self.for_later()
        {
            earlier.changes.entry(old).or_default().1 += 1;
        }
        let Some((queue, limit)) = self.limit_of(id) else {
            return Ok(());
        };
        let earlier = self.earlier.as_ref();
        let changes = earlier.and_then(|earlier| earlier.changes.get(&id).copied());
        let (added, replaced) = changes.unwrap_or_default();
        let used = (queue.live() + added).saturating_sub(replaced);
        if used >= limit && old != Some(id) {
            let queue = queue.name.clone();
            return Err(EnqueueRefused::QueueFull { queue, used, limit });
        }
        if let Some(earlier) = self.for_later() {
            earlier.changes.entry(id).or_default().0 += 1;
        }
        Ok(())
    }

    /// A queue with its limit, if it has one.
    fn limit_of(&self, id: QueueId) -> Option<(&'a Queue, u64)> {
        let queue = self.manager.names.queue(id)?;
        Some((queue, queue.settings.messages_max?))
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
        let keys = self.manager.table.keys_of(old, entry);
        // A place in line counts within one ordering key; in another one it would jump the queue, perhaps past a
        // message that runs.
        new.order = if new.ordering.is_none() || new.ordering == keys.ordering {
            entry.order()
        } else {
            self.last_order += 1;
            self.last_order
        };
        new.joined = Timestamp::from_ms(entry.joined());
        new.behind = entry.behind();
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
        let settings = self.manager.names.queue(queue);
        let settings = settings.map(|queue| &*queue.settings);
        let hold_new = settings.and_then(|settings| settings.hold_new.as_ref());
        let state = match draft.hold.as_ref().or(hold_new) {
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
            retain_ms: retention(draft, settings).map(super::whole_ms),
            terms: draft.terms.clone(),
            size: u32::try_from(draft.sealed.bytes.len()).unwrap_or(u32::MAX),
            sealed: Some(draft.sealed.clone()),
        }
    }

    fn note_keys(&mut self, index: usize, draft: &Draft, new: &Enqueued) {
        let manager = self.manager;
        if let Some(key) = draft.idempotency {
            self.new_keys += 1;
            let id = MessageId::new(new.at.as_ms(), new.seq, manager.config.tag);
            if let Some(earlier) = self.for_later() {
                earlier.idempotency.insert(key, (id, draft.payload));
            }
        }
        if let Some((key, _)) = draft.dedup {
            self.new_keys += u64::from(manager.key_holder(key).is_none());
            if let Some(earlier) = self.for_later() {
                earlier.dedup.insert(key, index);
            }
        }
        if let Some(key) = draft.ordering
            && !manager.chains.contains(key, &manager.table)
        {
            let earlier = self.earlier.as_ref();
            let is_known = earlier.is_some_and(|earlier| earlier.ordering.contains(&key));
            self.new_keys += u64::from(!is_known);
            if let Some(earlier) = self.for_later() {
                earlier.ordering.insert(key);
            }
        }
    }
}

/// How long a message is kept after its completion: its own word, else its queue's, and long enough for those who ask.
fn retention(draft: &Draft, settings: Option<&QueueSettings>) -> Option<Duration> {
    let of_queue = || settings.and_then(|settings| settings.retain_completed);
    draft.retain.or_else(|| {
        let asked_for = draft.awaited.then_some(RESULT_RETENTION_DEFAULT);
        of_queue().max(asked_for)
    })
}

/// The change that notes something about a new message.
fn noted(new: &Enqueued, note: String) -> Changed {
    Changed {
        seq: new.seq,
        state: new.state.clone(),
        lease: LeaseAfter::Ended,
        queue: new.queue,
        priority: new.priority,
        order: new.order,
        joined: new.joined,
        size: new.size,
        tail: Box::new(Tail {
            note: Some(note),
            ..Tail::default()
        }),
        terms: None,
        sealed: None,
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
