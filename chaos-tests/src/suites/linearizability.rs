//! Small histories of real threads that call one engine at once: for each there must be an order of its calls, one after the
//! other and none outside the time it took, in which a plain list of messages gives the same answers.
//!
//! The seed says who calls what; the order in which threads come to it is the operating system's, so that a failure prints its
//! history instead of replaying. The disk is simulated, the clock and the threads are real.
//!
//! Source: Wing and Gong, "Testing and verifying concurrent objects", 1993; Lowe, "Testing for linearizability", 2016, for
//! remembering what was tried.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mq::Engine;
use mq::environment::Environment;
use mq_core::backend::{
    Backend, Delivery, EnqueueError, OperateError, OperateRequest, SettleError, SettleRequest,
    WhenFull,
};
use mq_core::command::{
    Enqueue, EnqueueRefused, Operated, PoolSpec, Selector, SettleRefused, Settlement,
};
use mq_core::id::{LeaseToken, MessageId, PoolId};
use mq_core::key::{DedupPolicy, Key};
use mq_core::message::NewMessage;
use mq_core::pending::Pending;
use mq_core::state::State;
use mq_core::view::Lookup;
use mq_testing::random::SplitMix64;
use mq_testing::sim_disk::SimDisk;
use parking_lot::Mutex;

use crate::machine::{LEASE, RETRY, text};
use crate::suite::{Outcome, Run};

const CLIENTS: usize = 3;
const CALLS: u64 = 5;
/// Keys that messages share.
const KEYS: u64 = 2;
/// How long a call may take: it takes microseconds.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// How often a client looks for what it asked for.
const LOOKS_MAX: u64 = 50;

/// What a client called, and what it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Call {
    /// Enqueue under a key, of which only one may live.
    Enqueue { key: u64, answer: (bool, MessageId) },
    /// Ask for one message; nothing may always come.
    Take(Option<LeaseToken>),
    /// Succeed: whether the lease was taken.
    Settle { token: LeaseToken, taken: bool },
    /// Cancel.
    Cancel { id: MessageId, answer: Cancelled },
    /// Look it up.
    Look { id: MessageId, answer: Seen },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cancelled {
    Done,
    Requested,
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Seen {
    Waits,
    Held,
    Over,
}

/// A call and the moments between which it took place.
#[derive(Clone, Debug)]
struct Took {
    client: usize,
    from: u64,
    to: u64,
    call: Call,
}

/// What the plain list knows of a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Known {
    id: u128,
    key: u64,
    delivery: u32,
    seen: Seen,
}

/// One history after the other.
pub(super) fn histories(run: &Run) -> Outcome {
    let cases = run.level.of(400, 5_000, 500_000);
    run.each_seed(cases, |seed| {
        let history = play(seed)?;
        check(&history)?;
        run.tried(0);
        Ok(())
    })
    .into()
}

/// One client of the engine.
struct Client<'a> {
    number: usize,
    backend: &'a dyn Backend,
    pool: PoolId,
    random: SplitMix64,
    ticks: &'a AtomicU64,
    /// Messages that somebody was told of.
    ids: &'a Mutex<Vec<MessageId>>,
    tokens: Vec<LeaseToken>,
    took: Vec<Took>,
}

fn play(seed: u64) -> Result<Vec<Took>, String> {
    let disk = SimDisk::new();
    let environment = Environment {
        storage: Some(Arc::new(disk)),
        seed: Some(seed),
        ..Environment::real()
    };
    let engine = Engine::builder("simulated").environment(environment);
    let engine = engine.open_wait().map_err(text)?;
    let backend = engine.backend();
    let (ticks, ids) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let spec = PoolSpec::one(Selector::default(), LEASE, RETRY);
        clients.push(Client {
            number,
            backend: &*backend,
            pool: backend.attach(spec, Arc::new(|| {})).map_err(text)?,
            random: SplitMix64::new(seed.wrapping_mul(31).wrapping_add(number as u64)),
            ticks: &ticks,
            ids: &ids,
            tokens: Vec::new(),
            took: Vec::new(),
        });
    }
    let histories: Vec<Result<Vec<Took>, String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = clients
            .into_iter()
            .map(|client| scope.spawn(move || client.live()))
            .collect();
        let joined = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
        joined
            .map(|joined| joined.unwrap_or_else(|_| Err("a client panicked".to_owned())))
            .collect()
    });
    let mut history = Vec::new();
    for took in histories {
        history.extend(took?);
    }
    history.sort_by_key(|took| took.from);
    Ok(history)
}

impl Client<'_> {
    fn live(mut self) -> Result<Vec<Took>, String> {
        for _ in 0..CALLS {
            let from = self.ticks.fetch_add(1, Ordering::SeqCst);
            let called = match self.random.below(10) {
                0..3 => self.enqueue()?,
                3..5 => self.take()?,
                5..7 if !self.tokens.is_empty() => self.settle()?,
                5..8 => self.cancel()?,
                _ => self.look()?,
            };
            let to = self.ticks.fetch_add(1, Ordering::SeqCst);
            let client = self.number;
            self.took.extend(called.map(|call| Took {
                client,
                from,
                to,
                call,
            }));
        }
        Ok(self.took)
    }

    fn answer<T>(&self, pending: Pending<T>) -> Result<T, String> {
        match pending.wait_for(ANSWER_MAX) {
            Ok(answer) => answer.map_err(text),
            Err(_) => {
                let (number, took) = (self.number, &self.took);
                Err(format!(
                    "stuck: client {number} gets no answer after {took:?}"
                ))
            }
        }
    }

    fn enqueue(&mut self) -> Result<Option<Call>, String> {
        let key = self.random.below(KEYS);
        let (queue, kind) = ("orders".parse(), "order".parse());
        let (queue, kind) = (queue.map_err(text)?, kind.map_err(text)?);
        let mut message = NewMessage::new(queue, kind, b"{}".to_vec().into());
        message.envelope.dedup_key = Key::new(format!("sku-{key}")).ok();
        let policies = [DedupPolicy::Keep, DedupPolicy::Reject];
        message.dedup = self.random.pick(&policies).copied();
        let asked = self.backend.enqueue(vec![message], WhenFull::Refuse);
        let answer = match self.answer(asked)? {
            Ok(receipts) => receipts.first().map(|receipt| {
                let is_new = receipt.accepted.enqueue == Enqueue::New;
                (is_new, receipt.accepted.id)
            }),
            Err(EnqueueError::Refused {
                refused: EnqueueRefused::KeyHeld { id },
                ..
            }) => Some((false, id)),
            Err(error) => return Err(error.to_string()),
        };
        self.ids.lock().extend(answer.map(|(_, id)| id));
        Ok(answer.map(|answer| Call::Enqueue { key, answer }))
    }

    fn take(&mut self) -> Result<Option<Call>, String> {
        self.backend.checkout(self.pool, 1);
        let patience = self.random.below(LOOKS_MAX);
        let mut came = None;
        for _ in 0..patience {
            came = self.came();
            if came.is_some() {
                break;
            }
            std::thread::yield_now();
        }
        if came.is_none() && self.answer(self.backend.withdraw(self.pool, 1))? == 0 {
            came = self.await_grant()?;
        }
        self.tokens.extend(came);
        self.ids.lock().extend(came.map(|token| token.id));
        Ok(Some(Call::Take(came)))
    }

    /// It was handed out and is on its way.
    fn await_grant(&self) -> Result<Option<LeaseToken>, String> {
        let started = crate::suite::now();
        while started.elapsed() < ANSWER_MAX {
            if let Some(token) = self.came() {
                return Ok(Some(token));
            }
            std::thread::yield_now();
        }
        Err("stuck: what was handed out does not arrive".to_owned())
    }

    fn came(&self) -> Option<LeaseToken> {
        let mut deliveries = Vec::new();
        self.backend.take(self.pool, &mut deliveries);
        deliveries.into_iter().find_map(|delivery| match delivery {
            Delivery::Grant(grant) => Some(grant.token),
            Delivery::CancelRequested(_) | Delivery::LeaseLost(_) => None,
        })
    }

    fn settle(&mut self) -> Result<Option<Call>, String> {
        let Some(token) = self.random.pick(&self.tokens).copied() else {
            return Ok(None);
        };
        let request = SettleRequest {
            token,
            settlement: Settlement::Succeed { result: None },
            staged: Vec::new(),
        };
        let answers = self.answer(self.backend.settle(vec![request]))?;
        let taken = match answers.into_iter().next() {
            Some(Ok(_)) => true,
            Some(Err(SettleError::Refused(SettleRefused::Stale(_)))) => false,
            Some(Err(error)) => return Err(error.to_string()),
            None => return Err("no answer to a settlement".to_owned()),
        };
        Ok(Some(Call::Settle { token, taken }))
    }

    fn any_id(&mut self) -> Option<MessageId> {
        let ids = self.ids.lock();
        self.random.pick(&ids).copied()
    }

    fn cancel(&mut self) -> Result<Option<Call>, String> {
        let Some(id) = self.any_id() else {
            return Ok(None);
        };
        let asked = self.backend.operate(id, OperateRequest::Cancel);
        let answer = match self.answer(asked)? {
            Ok(Operated::Done) => Cancelled::Done,
            Ok(Operated::Requested) => Cancelled::Requested,
            Err(OperateError::Refused(_)) => Cancelled::Refused,
            Err(error) => return Err(error.to_string()),
        };
        Ok(Some(Call::Cancel { id, answer }))
    }

    fn look(&mut self) -> Result<Option<Call>, String> {
        let Some(id) = self.any_id() else {
            return Ok(None);
        };
        let answer = match self.answer(self.backend.message(id))?.map_err(text)? {
            Lookup::Found(view) => match view.state {
                State::Leased { .. } => Seen::Held,
                State::Scheduled { .. } | State::Ready | State::Blocked { .. } => Seen::Waits,
                State::Held { .. }
                | State::Completed { .. }
                | State::Dead { .. }
                | State::Superseded { .. } => return Err(format!("{id} is {:?}", view.state)),
            },
            Lookup::SettledNotKept => Seen::Over,
            Lookup::NeverIssued => return Err(format!("{id} was issued and is unknown")),
        };
        Ok(Some(Call::Look { id, answer }))
    }
}

/// The plain list: what a call does to it, if it can be answered like that.
fn apply(list: &[Known], call: &Call) -> Option<Vec<Known>> {
    let mut list = list.to_vec();
    let find =
        |list: &mut [Known], id: MessageId| list.iter().position(|known| known.id == id.as_u128());
    match *call {
        Call::Enqueue { key, answer } => {
            let (is_new, id) = answer;
            let lives = |known: &&Known| known.key == key && known.seen != Seen::Over;
            let holder = list.iter().find(lives).map(|known| known.id);
            if is_new {
                let is_free = holder.is_none() && find(&mut list, id).is_none();
                list.push(Known {
                    id: id.as_u128(),
                    key,
                    delivery: 0,
                    seen: Seen::Waits,
                });
                is_free.then_some(list)
            } else {
                (holder == Some(id.as_u128())).then_some(list)
            }
        }
        Call::Take(None) => Some(list),
        Call::Take(Some(token)) => {
            let known = find(&mut list, token.id).and_then(|at| list.get_mut(at))?;
            let fits = known.seen == Seen::Waits && token.delivery > known.delivery;
            (known.seen, known.delivery) = (Seen::Held, token.delivery);
            fits.then_some(list)
        }
        Call::Settle { token, taken } => {
            let known = find(&mut list, token.id).and_then(|at| list.get_mut(at))?;
            let valid = known.seen == Seen::Held && known.delivery == token.delivery;
            if valid {
                known.seen = Seen::Over;
            }
            (valid == taken).then_some(list)
        }
        Call::Cancel { id, answer } => {
            let known = find(&mut list, id).and_then(|at| list.get_mut(at))?;
            let right = match known.seen {
                Seen::Waits => Cancelled::Done,
                Seen::Held => Cancelled::Requested,
                Seen::Over => Cancelled::Refused,
            };
            if right == Cancelled::Done {
                known.seen = Seen::Over;
            }
            (right == answer).then_some(list)
        }
        Call::Look { id, answer } => {
            let known = find(&mut list, id).and_then(|at| list.get(at))?;
            (known.seen == answer).then_some(list)
        }
    }
}

/// Whether there is an order.
fn check(history: &[Took]) -> Result<(), String> {
    let mut tried = HashSet::new();
    if order(history, 0, &[], &mut tried) {
        return Ok(());
    }
    let lines = history.iter().map(|took| {
        let Took {
            client,
            from,
            to,
            call,
        } = took;
        format!("\n  {from:>3} to {to:>3}, client {client}: {call:?}")
    });
    let lines: String = lines.collect();
    Err(format!(
        "no order of these calls explains their answers:{lines}"
    ))
}

/// Puts one of the calls next that began before any that is left has ended; `done` has a bit for each that is in order.
fn order(
    history: &[Took],
    done: u64,
    list: &[Known],
    tried: &mut HashSet<(u64, Vec<Known>)>,
) -> bool {
    let left = || {
        let all = history.iter().enumerate();
        all.filter(|(index, _)| done & (1 << index) == 0)
    };
    let Some(first_end) = left().map(|(_, took)| took.to).min() else {
        return true;
    };
    if !tried.insert((done, list.to_vec())) {
        return false;
    }
    left()
        .filter(|(_, took)| took.from < first_end)
        .any(|(index, took)| {
            apply(list, &took.call)
                .is_some_and(|next| order(history, done | (1 << index), &next, tried))
        })
}

#[cfg(test)]
mod tests {
    use mq_core::id::{Seq, StoreTag};

    use super::*;

    fn id(seq: u64) -> MessageId {
        MessageId::new(1, Seq::new(seq).unwrap(), StoreTag::new(1))
    }

    fn took(from: u64, to: u64, call: Call) -> Took {
        Took {
            client: 0,
            from,
            to,
            call,
        }
    }

    fn enqueue(from: u64, to: u64, is_new: bool, seq: u64) -> Took {
        let answer = (is_new, id(seq));
        took(from, to, Call::Enqueue { key: 0, answer })
    }

    #[test]
    fn two_enqueues_at_once_may_be_answered_with_one_message() {
        check(&[enqueue(0, 3, false, 1), enqueue(1, 2, true, 1)]).unwrap();
    }

    #[test]
    fn an_answer_that_names_a_later_message_is_explained_by_no_order() {
        check(&[enqueue(0, 1, false, 1), enqueue(2, 3, true, 1)]).unwrap_err();
    }

    #[test]
    fn a_look_that_was_over_before_the_cancellation_began_cannot_see_it() {
        let cancel = Call::Cancel {
            id: id(1),
            answer: Cancelled::Done,
        };
        let look = |answer| Call::Look { id: id(1), answer };
        let history = |seen| {
            let cancel = took(4, 5, cancel.clone());
            [enqueue(0, 1, true, 1), took(2, 3, look(seen)), cancel]
        };
        check(&history(Seen::Waits)).unwrap();
        check(&history(Seen::Over)).unwrap_err();
    }
}
