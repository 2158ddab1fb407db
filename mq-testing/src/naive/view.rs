//! What readers see of the naive model.

use std::collections::BTreeMap;

use mq_core::id::{MessageId, Seq};
use mq_core::name::{KindName, QueueName};
use mq_core::state::{State, StoredState};
use mq_core::time::{Now, Timestamp};
use mq_core::view::{
    DeadCount, Filter, KeyIs, Lookup, MessageView, Page, QueueStats, StateKind, Stats,
};

use super::message::Message;
use super::model::Model;

impl Model {
    /// Looks a message up.
    #[must_use]
    pub fn lookup(&self, id: MessageId) -> Lookup {
        if let Some(message) = self.find(id.seq()).filter(|message| message.id == id) {
            return Lookup::Found(Box::new(self.view(message)));
        }
        if self.was_issued(id) {
            Lookup::SettledNotKept
        } else {
            Lookup::NeverIssued
        }
    }

    /// A page of messages.
    #[must_use]
    pub fn list(&self, now: &Now, filter: &Filter, after: Seq, limit: usize) -> Page {
        let mut messages: Vec<MessageView> = self
            .messages
            .iter()
            .filter(|message| message.seq() > after && self.matches(filter, message, now))
            .map(|message| self.view(message))
            .collect();
        messages.sort_by_key(|view| view.id.seq());
        let is_more = messages.len() > limit;
        messages.truncate(limit);
        let next = messages.last().map(|view| view.id.seq());
        Page {
            next: next.filter(|_| is_more),
            messages,
            ..Page::default()
        }
    }

    /// Counts.
    #[must_use]
    pub fn stats(&self, now: &Now) -> Stats {
        let (live_messages, live_bytes) = self.used();
        let suspects = self
            .messages
            .iter()
            .filter(|message| message.suspect && self.state(message) == State::Ready);
        Stats {
            queues: self
                .queues
                .iter()
                .map(|queue| self.queue_stats(now, queue))
                .collect(),
            live_messages,
            live_bytes,
            dead_bytes: self.dead_bytes(),
            completed_bytes: self.completed_bytes(),
            keys: self.keys().len() as u64,
            suspects: suspects.count() as u64,
            enqueued: self.tally.enqueued,
            duplicates: self.tally.duplicates,
            checked_out: self.tally.checked_out,
            outcomes: self.tally.outcomes,
            stale: self.tally.stale,
            dead_evicted: 0,
            oldest_dead: self
                .messages
                .iter()
                .filter_map(|message| match &message.stored {
                    StoredState::Dead { at, .. } => Some(*at),
                    StoredState::Pending { .. }
                    | StoredState::Held { .. }
                    | StoredState::Completed { .. }
                    | StoredState::Superseded { .. } => None,
                })
                .min()
                .map(|at| now.wall.since(at)),
            dead_counts: self.dead_counts(),
            unserved: self.unserved(),
            ..Stats::default()
        }
    }

    fn queue_stats(&self, now: &Now, queue: &QueueName) -> (QueueName, QueueStats) {
        let mut stats = QueueStats {
            paused: self.settings(queue).paused,
            ..QueueStats::default()
        };
        for message in self
            .messages
            .iter()
            .filter(|message| message.queue == *queue)
        {
            let state = self.state(message);
            if let Some(count) = stats.by_state.get_mut(state.kind() as usize) {
                *count += 1;
            }
            if state == State::Ready {
                let waited = now.wall.since(message.joined);
                stats.oldest_ready = stats.oldest_ready.max(Some(waited));
            }
        }
        (queue.clone(), stats)
    }

    fn dead_counts(&self) -> Vec<DeadCount> {
        let mut counts = BTreeMap::new();
        for message in &self.messages {
            if let StoredState::Dead { reason, .. } = message.stored {
                let key = (message.queue.clone(), message.kind.clone(), reason);
                *counts.entry(key).or_insert(0) += 1;
            }
        }
        let counts = counts.into_iter();
        let counts = counts.map(|((queue, kind, reason), count)| DeadCount {
            queue,
            kind,
            reason,
            count,
        });
        counts.collect()
    }

    fn unserved(&self) -> Vec<(QueueName, KindName, u64)> {
        let mut unserved = BTreeMap::new();
        for message in &self.messages {
            let is_served = self.pools.values().any(|pool| {
                let line = pool.spec.line_of(&message.queue, &message.kind);
                line.is_some()
            });
            if !is_served && self.state(message) == State::Ready {
                *unserved
                    .entry((message.queue.clone(), message.kind.clone()))
                    .or_insert(0) += 1;
            }
        }
        unserved
            .into_iter()
            .map(|((queue, kind), count)| (queue, kind, count))
            .collect()
    }

    fn view(&self, message: &Message) -> MessageView {
        MessageView {
            id: message.id,
            queue: message.queue.clone(),
            kind: message.kind.clone(),
            priority: message.priority,
            state: self.state(message),
            enqueued: message.enqueued,
            died: died(message),
            deliveries: message.deliveries,
            suspect: message.suspect,
            size: message.size,
            tail: message.tail.clone(),
        }
    }

    fn matches(&self, filter: &Filter, message: &Message, now: &Now) -> bool {
        let state = self.state(message);
        let failures = message.tail.history.iter().rev();
        let failure = failures
            .filter_map(|attempt| attempt.failure.as_ref())
            .next();
        let mut conditions = vec![
            is(&filter.queue, &message.queue),
            is(&filter.kind, &message.kind),
            is(&filter.state, &state.kind()),
            is(&filter.priority, &message.priority),
            !filter.live || message.is_live(),
            !filter.retrying || (state.kind() == StateKind::Scheduled && message.tail.failures > 0),
            filter.from.is_none_or(|from| message.enqueued >= from),
            filter.before.is_none_or(|before| message.enqueued < before),
            filter.last.is_none_or(|last| message.seq() <= last),
        ];
        let since = died(message).unwrap_or(message.enqueued);
        conditions.push(filter.older.is_none_or(|older| since < older));
        let reason = filter.reason.map(|reason| State::Dead { reason });
        conditions.push(is(&reason, &state));
        let label = filter.label.clone().map(|label| State::Held { label });
        conditions.push(is(&label, &state));
        conditions.push(
            filter
                .error_type
                .as_ref()
                .is_none_or(|wanted| failure.is_some_and(|failure| failure.error_type == *wanted)),
        );
        conditions.push(match filter.key {
            None => true,
            Some(KeyIs::Dedup(key)) => message.dedup == Some(key),
            Some(KeyIs::Ordering(key)) => message.ordering == Some(key),
            Some(KeyIs::Idempotency(key)) => self
                .window
                .iter()
                .any(|known| known.key == key && known.until > now.store && known.id == message.id),
        });
        conditions.into_iter().all(|holds| holds)
    }
}

fn is<T: PartialEq>(wanted: &Option<T>, found: &T) -> bool {
    wanted.as_ref().is_none_or(|wanted| wanted == found)
}

fn died(message: &Message) -> Option<Timestamp> {
    match message.stored {
        StoredState::Dead { at, .. } => Some(at),
        StoredState::Pending { .. }
        | StoredState::Held { .. }
        | StoredState::Completed { .. }
        | StoredState::Superseded { .. } => None,
    }
}
