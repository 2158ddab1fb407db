//! Enqueueing: keys first, then budgets, then a new message at the end of the list.

use std::time::Duration;

use mq_core::command::{Accepted, Enqueue, EnqueueRefused};
use mq_core::id::MessageId;
use mq_core::key::{DedupPolicy, KeyHash};
use mq_core::limits::{COMMAND_EVENTS_MAX, COMMAND_SIZE_MAX, RESULT_RETENTION_DEFAULT};
use mq_core::message::Draft;
use mq_core::queue::QueueSettings;
use mq_core::state::{StoredState, Tail, note_of_replaced};
use mq_core::time::{Now, Timestamp};

use super::message::Message;
use super::model::{Model, Remembered, due_at};

impl Model {
    /// Stores a batch, all or none.
    ///
    /// # Errors
    /// [`EnqueueRefused`]; nothing was stored.
    pub fn enqueue(
        &mut self,
        now: &Now,
        drafts: &[Draft],
    ) -> Result<Vec<Accepted>, EnqueueRefused> {
        let mut next = self.clone();
        next.heeds_queue_limits = true;
        let outcome = next.add_all(now, drafts, self).and_then(|accepted| {
            next.check_budgets(self)?;
            Ok(accepted)
        });
        if outcome.is_ok() {
            next.heeds_queue_limits = false;
            *self = next;
        }
        self.count_duplicates(&outcome);
        outcome
    }

    /// Counts duplicates that were answered with an existing message, discarded or refused.
    pub(super) fn count_duplicates(&mut self, outcome: &Result<Vec<Accepted>, EnqueueRefused>) {
        let known = |accepted: &&Accepted| {
            matches!(accepted.enqueue, Enqueue::Existing | Enqueue::Discarded)
        };
        self.tally.duplicates += match outcome {
            Ok(accepted) => accepted.iter().filter(known).count() as u64,
            Err(EnqueueRefused::KeyHeld { .. }) => 1,
            Err(_) => 0,
        };
    }

    /// Adds messages without asking for room. `before` is the store as the command found it: what the command itself
    /// makes of dead letters does not count yet.
    pub(super) fn add_all(
        &mut self,
        now: &Now,
        drafts: &[Draft],
        before: &Self,
    ) -> Result<Vec<Accepted>, EnqueueRefused> {
        let bytes = drafts
            .iter()
            .map(|draft| draft.sealed.bytes.len() as u64)
            .sum();
        if drafts.len() > COMMAND_EVENTS_MAX
            || bytes > COMMAND_SIZE_MAX as u64
            || drafts.len() as u64 > self.limits.capacity_messages
            || bytes > self.limits.capacity_bytes
        {
            return Err(EnqueueRefused::TooLarge {
                messages: drafts.len(),
                bytes,
            });
        }
        let mut accepted = Vec::new();
        for draft in drafts {
            let one = self.add(now, draft, (drafts, &accepted), before)?;
            accepted.push(one);
        }
        Ok(accepted)
    }

    fn add(
        &mut self,
        now: &Now,
        draft: &Draft,
        earlier: (&[Draft], &[Accepted]),
        before: &Self,
    ) -> Result<Accepted, EnqueueRefused> {
        if let Some(existing) = self.same_request(now, draft)? {
            return Ok(existing);
        }
        check_twice(draft, earlier)?;
        let holder = draft
            .dedup
            .and_then(|(key, policy)| Some((self.key_holder(key)?.clone(), policy)));
        let Some((old, policy)) = holder else {
            return self.add_without_holder(now, draft, before);
        };
        let existing = Accepted {
            id: old.id,
            enqueue: Enqueue::Existing,
        };
        match policy {
            DedupPolicy::Replace => self.replace(now, draft, &old, before),
            DedupPolicy::Upsert => self.upsert(now, draft, Some(&old), before),
            DedupPolicy::Keep => Ok(existing),
            DedupPolicy::Reject => Err(EnqueueRefused::KeyHeld { id: old.id }),
            DedupPolicy::DiscardIdentical if old.payload == draft.payload => Ok(Accepted {
                id: old.id,
                enqueue: Enqueue::Discarded,
            }),
            DedupPolicy::DiscardIdentical => self.replace(now, draft, &old, before),
            DedupPolicy::RunOnceMore if old.lease.is_none() => Ok(existing),
            DedupPolicy::RunOnceMore => self.insert_behind(now, draft, &old, before),
        }
    }

    /// No live message holds the dedup key, if there is one: what became of the last one may matter.
    fn add_without_holder(
        &mut self,
        now: &Now,
        draft: &Draft,
        before: &Self,
    ) -> Result<Accepted, EnqueueRefused> {
        match draft.dedup {
            Some((_, DedupPolicy::Upsert)) => self.upsert(now, draft, None, before),
            Some((key, DedupPolicy::DiscardIdentical)) => {
                let is_over = before.key_holder(key).is_none() && before.dead_of(key).is_empty();
                let previous = before.previous(key).filter(|_| is_over);
                match previous.filter(|previous| previous.payload == draft.payload) {
                    Some(previous) => Ok(Accepted {
                        id: previous.id,
                        enqueue: Enqueue::Discarded,
                    }),
                    None => self.insert(now, draft, None, before),
                }
            }
            Some((
                _,
                DedupPolicy::Replace
                | DedupPolicy::Keep
                | DedupPolicy::Reject
                | DedupPolicy::RunOnceMore,
            ))
            | None => self.insert(now, draft, None, before),
        }
    }

    /// Takes the place of the live message, if there is one, and of the dead letters of the key.
    fn upsert(
        &mut self,
        now: &Now,
        draft: &Draft,
        old: Option<&Message>,
        before: &Self,
    ) -> Result<Accepted, EnqueueRefused> {
        let key = draft.dedup.map(|(key, _)| key).unwrap_or_default();
        let dead: Vec<Message> = before.dead_of(key).into_iter().cloned().collect();
        let Some(newest) = dead.first() else {
            return match old {
                Some(old) => self.replace(now, draft, old, before),
                None => self.insert(now, draft, None, before),
            };
        };
        for message in &dead {
            self.remove(message.seq());
        }
        let mut without_dead = before.clone();
        without_dead.messages.retain(|message| !message.is_dead());
        let mut accepted = match old {
            Some(old) => self.replace(now, draft, old, &without_dead)?,
            None => self.insert(now, draft, None, &without_dead)?,
        };
        if let Enqueue::New = accepted.enqueue {
            accepted.enqueue = Enqueue::Replaced { old: newest.id };
        }
        if let StoredState::Dead { reason, .. } = newest.stored
            && let Some(message) = self.find_mut(accepted.id.seq())
        {
            let failure = newest.tail.history.last();
            let failure = failure.and_then(|attempt| attempt.failure.as_ref());
            message.tail.note = Some(note_of_replaced(newest.id, reason, failure));
        }
        Ok(accepted)
    }

    /// A queue with a limit takes no message too many; one that replaces a live message of the queue is none.
    fn check_queue_limit(
        &self,
        draft: &Draft,
        old: Option<&Message>,
    ) -> Result<(), EnqueueRefused> {
        let Some(limit) = self.settings(&draft.queue).messages_max else {
            return Ok(());
        };
        let is_live = |message: &&Message| message.is_live() && message.queue == draft.queue;
        let used = self.messages.iter().filter(is_live).count() as u64;
        let queue = draft.queue.clone();
        if used >= limit && old.filter(is_live).is_none() {
            return Err(EnqueueRefused::QueueFull { queue, used, limit });
        }
        Ok(())
    }

    /// The answer of the idempotency key, if it is remembered.
    fn same_request(&self, now: &Now, draft: &Draft) -> Result<Option<Accepted>, EnqueueRefused> {
        let known = self
            .window
            .iter()
            .find(|known| Some(known.key) == draft.idempotency && known.until > now.store);
        let Some(known) = known else {
            return Ok(None);
        };
        if known.payload != draft.payload {
            return Err(EnqueueRefused::KeyReused { id: known.id });
        }
        Ok(Some(Accepted {
            id: known.id,
            enqueue: Enqueue::Existing,
        }))
    }

    fn insert_behind(
        &mut self,
        now: &Now,
        draft: &Draft,
        old: &Message,
        before: &Self,
    ) -> Result<Accepted, EnqueueRefused> {
        let accepted = self.insert(now, draft, None, before)?;
        if let Some(message) = self.find_mut(accepted.id.seq()) {
            message.behind = Some(old.seq());
        }
        Ok(accepted)
    }

    fn replace(
        &mut self,
        now: &Now,
        draft: &Draft,
        old: &Message,
        before: &Self,
    ) -> Result<Accepted, EnqueueRefused> {
        if old.lease.is_none() {
            self.remove(old.seq());
        }
        // A message that its own handler replaces hands on the place it had while it ran.
        let place = before.find(old.seq()).unwrap_or(old);
        let accepted = self.insert(now, draft, Some(place), before)?;
        if let Some(running) = self.find_mut(old.seq()) {
            running.stored = StoredState::Superseded {
                by: accepted.id.seq(),
            };
            running.superseded_by = Some(accepted.id);
            running.suspect = false; // it will not run again
        }
        self.follow_up();
        Ok(accepted)
    }

    fn insert(
        &mut self,
        now: &Now,
        draft: &Draft,
        old: Option<&Message>,
        before: &Self,
    ) -> Result<Accepted, EnqueueRefused> {
        before.check_dead_letters(draft)?;
        if self.heeds_queue_limits {
            self.check_queue_limit(draft, old)?;
        }
        let seq = self.last_seq.next();
        self.last_seq = seq;
        let id = MessageId::new(now.wall.as_ms(), seq, self.limits.tag);
        if let Some(key) = draft.idempotency {
            self.remember_key(now, key, id, draft.payload);
        }
        let message = self.fresh(now, draft, id, old);
        self.messages.push(message);
        self.queues.insert(draft.queue.clone());
        self.tally.enqueued += 1;
        let enqueue = old.map_or(Enqueue::New, |old| Enqueue::Replaced { old: old.id });
        Ok(Accepted { id, enqueue })
    }

    /// A queue that has dead letters takes no more messages once their budget is full.
    fn check_dead_letters(&self, draft: &Draft) -> Result<(), EnqueueRefused> {
        let queue_died = |message: &Message| message.is_dead() && message.queue == draft.queue;
        let (used, limit) = (self.dead_bytes(), self.limits.dead_bytes);
        if used < limit || !self.messages.iter().any(queue_died) {
            return Ok(());
        }
        let queue = draft.queue.clone();
        Err(EnqueueRefused::DeadLettersFull { queue, used, limit })
    }

    fn remember_key(&mut self, now: &Now, key: KeyHash, id: MessageId, payload: KeyHash) {
        self.window.retain(|known| known.key != key);
        self.window.push(Remembered {
            key,
            id,
            payload,
            until: now.store.after(self.limits.idempotency_window),
        });
    }

    fn fresh(&mut self, now: &Now, draft: &Draft, id: MessageId, old: Option<&Message>) -> Message {
        let due = due_at(now, draft.due);
        let keeps_order =
            |old: &&Message| draft.ordering.is_none() || draft.ordering == old.ordering;
        let old_order = old.filter(keeps_order).map(|old| old.order);
        let order = old_order.unwrap_or_else(|| self.next_order());
        let own_joined = now.wall.max(due);
        let settings = self.settings(&draft.queue);
        let mut message = Message {
            id,
            enqueued: now.wall,
            queue: draft.queue.clone(),
            kind: draft.kind.clone(),
            priority: draft.priority,
            order,
            joined: old.map_or(own_joined, |old| old.joined),
            stored: StoredState::Pending { due },
            superseded_by: None,
            is_due: due <= now.wall,
            lease: None,
            suspect: false,
            started: false,
            deliveries: 0,
            expires: draft.expires_in.map(|expires| now.store.after(expires)),
            dedup: draft.dedup.map(|(key, _)| key),
            behind: old.and_then(|old| old.behind),
            ordering: draft.ordering,
            halt_on_dead: draft.halt_on_dead,
            payload: draft.payload,
            failures_max: draft.failures_max,
            retain: retain(draft, &settings),
            size: u32::try_from(draft.sealed.bytes.len()).unwrap_or(u32::MAX),
            tail: Tail::default(),
        };
        if let Some(label) = draft.hold.as_ref().or(settings.hold_new.as_ref()) {
            message.stored = StoredState::Held {
                label: label.clone(),
                due,
            };
        }
        message
    }

    /// Refuses what `before` did not use and does not fit.
    pub(super) fn check_budgets(&self, before: &Self) -> Result<(), EnqueueRefused> {
        let limits = &self.limits;
        let old_keys = before.keys();
        let new_keys = self.keys().difference(&old_keys).count();
        // A key that the same command frees is free for the next one only.
        if new_keys > 0 && (old_keys.len() + new_keys) as u64 > limits.keys {
            return Err(EnqueueRefused::KeysFull { limit: limits.keys });
        }
        self.check_room(before)
    }

    /// Refuses messages and bytes that `before` did not use and that do not fit.
    pub(super) fn check_room(&self, before: &Self) -> Result<(), EnqueueRefused> {
        let limits = &self.limits;
        let (messages, bytes) = self.used();
        let (old_messages, old_bytes) = before.used();
        if messages > limits.capacity_messages && messages > old_messages {
            return Err(EnqueueRefused::Full {
                used: old_messages,
                limit: limits.capacity_messages,
                unit: "messages",
            });
        }
        if bytes > limits.capacity_bytes && bytes > old_bytes {
            return Err(EnqueueRefused::Full {
                used: old_bytes,
                limit: limits.capacity_bytes,
                unit: "bytes",
            });
        }
        Ok(())
    }

    /// Forgets idempotency keys whose window is over, and notices what fell due.
    pub fn advance(&mut self, now: &Now) {
        self.window.retain(|known| known.until > now.store);
        for message in &mut self.messages {
            if let StoredState::Pending { due } = message.stored {
                message.is_due |= due <= now.wall;
            }
        }
    }
}

/// Its own word, else its queue's, and an hour at least for a result that is waited for.
fn retain(draft: &Draft, settings: &QueueSettings) -> Option<Duration> {
    let asked_for = draft.awaited.then_some(RESULT_RETENTION_DEFAULT);
    draft.retain.or(settings.retain_completed.max(asked_for))
}

/// One batch stores one message for each dedup key.
fn check_twice(draft: &Draft, earlier: (&[Draft], &[Accepted])) -> Result<(), EnqueueRefused> {
    let (drafts, accepted) = earlier;
    let key = draft.dedup.map(|(key, _)| key);
    let stored =
        |accepted: &Accepted| matches!(accepted.enqueue, Enqueue::New | Enqueue::Replaced { .. });
    let twice = drafts.iter().zip(accepted).position(|(other, accepted)| {
        key.is_some() && other.dedup.map(|(key, _)| key) == key && stored(accepted)
    });
    let second = accepted.len();
    twice.map_or(Ok(()), |first| {
        Err(EnqueueRefused::KeyTwiceInBatch { first, second })
    })
}

/// A moment as due times write it down: zero for at once.
pub(super) const AT_ONCE: Timestamp = Timestamp::from_ms(0);
