//! The producer: a steady stream of numbers, each enqueued as its class says, many in flight.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use mq::{Dedup, EnqueueError, Outgoing, Pending, Receipt, Request};
use mq_core::time::Clock;
use tokio::sync::Semaphore;
use tokio::time::MissedTickBehavior;

use super::handlers::{Cold, Doomed, Flaky, Line, Step, Work};
use super::{Child, micros};
use crate::line::Said;
use crate::plan::{Class, GROUP, Name, dedup_key, delay, idempotency_key, ordering_key, priority};

/// Enqueues that are not answered.
const IN_FLIGHT: usize = 512;
/// Beyond so many messages in the store it waits for the workers.
const LIVE_MAX: u64 = 20_000;
const TICK: Duration = Duration::from_millis(20);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Enqueues from `first` on until the child drains.
pub(super) async fn produce(child: Arc<Child>, first: u64, rate: u64) {
    let mut number = first.next_multiple_of(GROUP);
    let permits = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    // Owed so far, in messages times ticks a second.
    let mut owed = 0;
    while !child.draining.load(Relaxed) && rate > 0 {
        ticks.tick().await;
        let live = child.engine.stats().store.live_messages;
        if live > LIVE_MAX + child.plan.cold {
            continue;
        }
        let filling = number < child.plan.cold + GROUP;
        owed += if filling { 20_000 } else { rate } * 20;
        while owed >= GROUP * 1_000 {
            owed -= GROUP * 1_000;
            send_group(&child, number, &permits).await;
            number += GROUP;
        }
    }
    // What is in flight is answered before the child ends.
    let all = u32::try_from(IN_FLIGHT).unwrap_or(u32::MAX);
    drop(permits.acquire_many(all).await);
}

async fn send_group(child: &Arc<Child>, first: u64, permits: &Arc<Semaphore>) {
    if child.plan.is_batched(first) {
        return send_batch(child, first, permits).await;
    }
    for number in first..first + GROUP {
        let name = Name::first_stage(number);
        child.mouth.say(&Said::Submitted(name));
        let began = child.clock.monotonic();
        let submitted = submit(child, number);
        follow(child, name, began, submitted, permits).await;
    }
}

fn submit(child: &Child, number: u64) -> Result<Pending<Receipt>, EnqueueError> {
    let name = Name::first_stage(number);
    let engine = &child.engine;
    let class = child.plan.class(number);
    match class {
        Class::Ordered => options(engine.enqueue(Line::from(name)), class, number).submit(),
        Class::Chain => options(engine.enqueue(Step::from(name)), class, number).submit(),
        Class::Flaky => options(engine.enqueue(Flaky::from(name)), class, number).submit(),
        Class::Doomed => options(engine.enqueue(Doomed::from(name)), class, number).submit(),
        Class::Plain
        | Class::Once
        | Class::Later
        | Class::Keep
        | Class::Batch
        | Class::Cold
        | Class::Pinned => options(engine.enqueue(Work::from(name)), class, number).submit(),
    }
}

fn options<M>(request: Request<M>, class: Class, number: u64) -> Request<M> {
    match class {
        Class::Plain => request.priority(priority(number)),
        Class::Ordered => request.ordering_key(ordering_key(number).to_string()),
        Class::Once => request.idempotency_key(idempotency_key(number)),
        Class::Later => request.delay(delay(number)),
        Class::Keep => request.dedup(Dedup::keep(dedup_key(number))),
        Class::Chain
        | Class::Flaky
        | Class::Doomed
        | Class::Batch
        | Class::Cold
        | Class::Pinned => request,
    }
}

async fn send_batch(child: &Arc<Child>, first: u64, permits: &Arc<Semaphore>) {
    child.mouth.say(&Said::BatchSubmitted { number: first });
    let class = child.plan.class(first);
    let mut batch = child.engine.batch();
    for number in first..first + GROUP {
        let name = Name::first_stage(number);
        batch = batch.push(match class {
            Class::Cold => Outgoing::new(&Cold::from(name)),
            Class::Pinned => Outgoing::new(&Work::from(name)).delay(YEAR),
            _ => Outgoing::new(&Work::from(name)).priority(priority(number)),
        });
    }
    let began = child.clock.monotonic();
    let Ok(permit) = Arc::clone(permits).acquire_many_owned(1).await else {
        return;
    };
    let pending = match batch.submit() {
        Ok(pending) => pending,
        Err(error) => return refused(child, Name::first_stage(first), &error),
    };
    let child = Arc::clone(child);
    tokio::spawn(async move {
        let _permit = permit;
        match pending.await {
            Ok(receipts) => {
                for (number, receipt) in (first..).zip(receipts) {
                    answered(&child, Name::first_stage(number), began, &receipt);
                }
            }
            Err(error) => {
                for number in first..first + GROUP {
                    refused(&child, Name::first_stage(number), &error);
                }
            }
        }
    });
}

/// Waits for the answer in the background and says it.
async fn follow(
    child: &Arc<Child>,
    name: Name,
    began: Duration,
    submitted: Result<Pending<Receipt>, EnqueueError>,
    permits: &Arc<Semaphore>,
) {
    let pending = match submitted {
        Ok(pending) => pending,
        Err(error) => return refused(child, name, &error),
    };
    let Ok(permit) = Arc::clone(permits).acquire_owned().await else {
        return;
    };
    let child = Arc::clone(child);
    tokio::spawn(async move {
        let _permit = permit;
        match pending.await {
            Ok(receipt) => answered(&child, name, began, &receipt),
            Err(error) => refused(&child, name, &error),
        }
    });
}

fn answered(child: &Child, name: Name, began: Duration, receipt: &Receipt) {
    let took = child.clock.monotonic().saturating_sub(began);
    child.mouth.say(&Said::Answered {
        name,
        seq: receipt.id().seq().get(),
        micros: micros(took),
        is_new: receipt.is_new(),
    });
}

/// A full disk refuses for certain. An engine that has stopped says nothing about what was stored.
fn refused(child: &Child, name: Name, error: &EnqueueError) {
    match error {
        EnqueueError::Full { .. } => child.mouth.say(&Said::Refused(name)),
        EnqueueError::Poisoned { .. } => {
            child.mouth.give_up(format!("{}: {error}", name.0));
        }
        _ => child
            .mouth
            .trouble(format!("enqueue of {}: {error}", name.0)),
    }
}

/// A producer that does not know whether its message arrived sends it again with the same key.
pub(super) fn send_again(child: &Arc<Child>, name: Name) {
    let number = name.number();
    let request = child
        .engine
        .enqueue(Work::from(name))
        .idempotency_key(idempotency_key(number));
    let began = child.clock.monotonic();
    match request.submit() {
        Ok(pending) => {
            let child = Arc::clone(child);
            tokio::spawn(async move {
                match pending.await {
                    Ok(receipt) => answered(&child, name, began, &receipt),
                    Err(error) => refused(&child, name, &error),
                }
            });
        }
        Err(error) => refused(child, name, &error),
    }
}
