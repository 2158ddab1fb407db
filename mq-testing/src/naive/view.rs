//! What readers see of the naive model.

use std::collections::BTreeMap;

use mq_core::id::{MessageId, Seq};
use mq_core::name::{KindName, QueueName};
use mq_core::state::State;
use mq_core::time::Now;
use mq_core::view::{Filter, Lookup, MessageView, Page, QueueStats, StateKind, Stats};

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
    pub fn list(&self, filter: &Filter, after: Seq, limit: usize) -> Page {
        let mut messages: Vec<MessageView> = self
            .messages
            .iter()
            .filter(|message| message.seq() > after)
            .map(|message| self.view(message))
            .filter(|view| matches(filter, view))
            .collect();
        messages.sort_by_key(|view| view.id.seq());
        let is_more = messages.len() > limit;
        messages.truncate(limit);
        let next = messages.last().map(|view| view.id.seq());
        Page {
            next: next.filter(|_| is_more),
            messages,
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
            unserved: self.unserved(),
        }
    }

    fn queue_stats(&self, now: &Now, queue: &QueueName) -> (QueueName, QueueStats) {
        let mut stats = QueueStats {
            paused: self.paused.contains(queue),
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

    fn unserved(&self) -> Vec<(QueueName, KindName, u64)> {
        let mut unserved = BTreeMap::new();
        for message in &self.messages {
            let is_served = self.pools.values().any(|pool| {
                let selector = &pool.spec.selector;
                selector
                    .queue
                    .as_ref()
                    .is_none_or(|queue| *queue == message.queue)
                    && selector
                        .kind
                        .as_ref()
                        .is_none_or(|kind| *kind == message.kind)
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
            deliveries: message.deliveries,
            suspect: message.suspect,
            size: message.size,
            tail: message.tail.clone(),
        }
    }
}

fn matches(filter: &Filter, view: &MessageView) -> bool {
    let reason_fits = |reason| view.state == State::Dead { reason };
    filter
        .queue
        .as_ref()
        .is_none_or(|queue| *queue == view.queue)
        && filter.kind.as_ref().is_none_or(|kind| *kind == view.kind)
        && filter
            .state
            .is_none_or(|state: StateKind| state == view.state.kind())
        && filter.reason.is_none_or(reason_fits)
}
