//! Those who wait for a message to be over: kept at the desk, answered when what ended it is durable.
//!
//! Invariants: at most [`WAITERS_LEN_MAX`] wait. Each is answered once: by the end of its message, by its own deadline
//! or by the engine's stop. A message nobody waits for costs one look at an empty table.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use mq_core::backend::Stopped;
use mq_core::command::{Accepted, Settlement};
use mq_core::event::Event;
use mq_core::id::{MessageId, Seq};
use mq_core::limits::WAITERS_LEN_MAX;
use mq_core::pending::Promise;
use mq_core::state::{Completion, DeadReason, Failure, State, StoredState, Tail};
use mq_core::time::Monotonic;
use mq_core::view::{Lookup, MessageView};

use super::effects::Effect;

/// How waiting for a message ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Succeeded {
        result: Option<Bytes>,
    },
    Discarded {
        failure: Option<Failure>,
    },
    Cancelled,
    Dead {
        reason: DeadReason,
        failure: Option<Failure>,
    },
    /// By this message, unless it left the store with its replacement.
    Replaced {
        by: Option<MessageId>,
    },
    NotKept,
    NeverIssued,
    TimedOut,
    TooMany,
}

pub(crate) type WaitPromise = Promise<Result<Over, Stopped>>;

/// One who waits.
#[derive(Debug)]
struct Waiter {
    ticket: u64,
    until: Option<Monotonic>,
    promise: WaitPromise,
}

/// All who wait.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    by_seq: HashMap<Seq, Vec<Waiter>>,
    deadlines: BTreeSet<(Monotonic, u64, Seq)>,
    len: usize,
    tickets: u64,
    /// What ended in the open frame, and somebody waits for.
    over: HashMap<Seq, Over>,
}

impl Waiters {
    /// Lets somebody wait for a live message; answers a ticket to give up with.
    pub(crate) fn add(
        &mut self,
        seq: Seq,
        until: Option<Monotonic>,
        promise: WaitPromise,
    ) -> Result<u64, WaitPromise> {
        if self.len >= WAITERS_LEN_MAX {
            return Err(promise);
        }
        self.tickets += 1;
        let ticket = self.tickets;
        self.len += 1;
        self.deadlines
            .extend(until.map(|until| (until, ticket, seq)));
        self.by_seq.entry(seq).or_default().push(Waiter {
            ticket,
            until,
            promise,
        });
        Ok(ticket)
    }

    /// Somebody does not wait any more.
    pub(crate) fn remove(&mut self, seq: Seq, ticket: u64) -> Option<WaitPromise> {
        let waiters = self.by_seq.get_mut(&seq)?;
        let at = waiters.iter().position(|waiter| waiter.ticket == ticket)?;
        let waiter = waiters.swap_remove(at);
        if waiters.is_empty() {
            self.by_seq.remove(&seq);
        }
        self.forget(seq, &waiter);
        Some(waiter.promise)
    }

    fn forget(&mut self, seq: Seq, waiter: &Waiter) {
        self.len -= 1;
        if let Some(until) = waiter.until {
            self.deadlines.remove(&(until, waiter.ticket, seq));
        }
    }

    fn is_awaited(&self, seq: Seq) -> bool {
        !self.by_seq.is_empty() && self.by_seq.contains_key(&seq)
    }

    /// An event was applied.
    pub(crate) fn note(&mut self, event: &Event) {
        if self.by_seq.is_empty() {
            return;
        }
        let (seq, over) = match event {
            Event::Finished { seq } => (*seq, Some(Over::NotKept)),
            Event::Changed(changed) => (changed.seq, over_of(&changed.state, &changed.tail)),
            Event::Opened { .. }
            | Event::Closed
            | Event::QueueDefined { .. }
            | Event::KindDefined { .. }
            | Event::QueueSet { .. }
            | Event::KindSet { .. }
            | Event::Schedule(_)
            | Event::Bulk(_)
            | Event::Enqueued(_)
            | Event::CheckedOut { .. }
            | Event::Returned { .. } => return,
        };
        if let Some(over) = over.filter(|_| self.is_awaited(seq)) {
            self.over.entry(seq).or_insert(over);
        }
    }

    /// A settlement let a message leave the store: says what the event does not.
    pub(crate) fn note_settled(&mut self, seq: Seq, settlement: &Settlement) {
        if let Some(over @ Over::NotKept) = self.over.get_mut(&seq) {
            *over = match settlement {
                Settlement::Succeed { result } => Over::Succeeded {
                    result: result.clone(),
                },
                Settlement::Discard { failure } => Over::Discarded {
                    failure: failure.clone(),
                },
                // Only what was cancelled leaves the store by them.
                Settlement::Cancel
                | Settlement::Fail { .. }
                | Settlement::Snooze { .. }
                | Settlement::Again { .. }
                | Settlement::SetAside { .. }
                | Settlement::Interrupt => Over::Cancelled,
                Settlement::DeadLetter { .. } => Over::NotKept,
            };
        }
    }

    /// A message left the store because it was cancelled.
    pub(crate) fn note_cancelled(&mut self, seq: Seq) {
        if let Some(over @ Over::NotKept) = self.over.get_mut(&seq) {
            *over = Over::Cancelled;
        }
    }

    /// What time let leave the store before it was over had been cancelled; retention ends only what was over before.
    pub(crate) fn note_tick(&mut self) {
        for over in self.over.values_mut() {
            if *over == Over::NotKept {
                *over = Over::Cancelled;
            }
        }
    }

    /// Messages took the places of others.
    pub(crate) fn note_replaced(&mut self, accepted: &[Accepted]) {
        if self.over.is_empty() {
            return;
        }
        for accepted in accepted {
            if let mq_core::command::Enqueue::Replaced { old } = accepted.enqueue
                && let Some(over) = self.over.get_mut(&old.seq())
            {
                *over = Over::Replaced {
                    by: Some(accepted.id),
                };
            }
        }
    }

    /// Moves out the answers to those whose messages are over.
    pub(crate) fn take_over(&mut self) -> Vec<Effect> {
        let mut answers = Vec::new();
        for (seq, over) in std::mem::take(&mut self.over) {
            for waiter in self.by_seq.remove(&seq).unwrap_or_default() {
                self.forget(seq, &waiter);
                answers.push(answer(waiter.promise, over.clone()));
            }
        }
        answers
    }

    /// Moves out the answers to those who have waited long enough.
    pub(crate) fn take_late(&mut self, now: Monotonic) -> Vec<Effect> {
        let mut answers = Vec::new();
        while let Some((_, ticket, seq)) = self.deadlines.first().copied()
            && self.first_deadline().is_some_and(|until| until <= now)
        {
            match self.remove(seq, ticket) {
                Some(promise) => answers.push(answer(promise, Over::TimedOut)),
                None => drop(self.deadlines.pop_first()),
            }
        }
        answers
    }

    /// When somebody has waited long enough.
    pub(crate) fn first_deadline(&self) -> Option<Monotonic> {
        self.deadlines.first().map(|(until, ..)| *until)
    }

    /// Moves out everybody: the engine stops.
    pub(crate) fn give_up(&mut self) -> Vec<Effect> {
        self.deadlines.clear();
        self.over.clear();
        self.len = 0;
        let waiters = self.by_seq.drain().flat_map(|(_, waiters)| waiters);
        waiters
            .map(|waiter| answer(waiter.promise, Over::NotKept))
            .collect()
    }
}

/// An answer on its way.
pub(crate) fn answer(promise: WaitPromise, over: Over) -> Effect {
    Effect::Answer(Box::new(move |stopped| {
        promise.keep(match stopped {
            None => Ok(over),
            Some(reason) => Err(reason.clone()),
        });
    }))
}

/// What a look-up says about a message that may be over.
pub(crate) fn over_by_lookup(lookup: &Lookup) -> Option<Over> {
    match lookup {
        Lookup::Found(view) => over_by_view(view),
        Lookup::SettledNotKept => Some(Over::NotKept),
        Lookup::NeverIssued => Some(Over::NeverIssued),
    }
}

fn over_by_view(view: &MessageView) -> Option<Over> {
    match &view.state {
        State::Completed { how } => Some(completed(*how, &view.tail)),
        State::Dead { reason } => Some(dead(*reason, &view.tail)),
        State::Superseded { by } => Some(Over::Replaced { by: Some(*by) }),
        State::Scheduled { .. }
        | State::Ready
        | State::Blocked { .. }
        | State::Leased { .. }
        | State::Held { .. } => None,
    }
}

fn over_of(state: &StoredState, tail: &Tail) -> Option<Over> {
    match state {
        StoredState::Completed { how, .. } => Some(completed(*how, tail)),
        StoredState::Dead { reason, .. } => Some(dead(*reason, tail)),
        StoredState::Superseded { .. } => Some(Over::Replaced { by: None }),
        StoredState::Pending { .. } | StoredState::Held { .. } => None,
    }
}

fn completed(how: Completion, tail: &Tail) -> Over {
    match how {
        Completion::Succeeded => Over::Succeeded {
            result: tail.result.clone(),
        },
        Completion::Discarded => Over::Discarded {
            failure: last_failure(tail),
        },
        Completion::Cancelled => Over::Cancelled,
    }
}

fn dead(reason: DeadReason, tail: &Tail) -> Over {
    Over::Dead {
        reason,
        failure: last_failure(tail),
    }
}

fn last_failure(tail: &Tail) -> Option<Failure> {
    tail.history.last()?.failure.clone()
}
