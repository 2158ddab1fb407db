//! C5 to C7: what a consumer pays for a message that waits in memory: through the contract that worker pools use.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use mq::environment::{Parker, SystemClock};
use mq::{Backend, Engine, Environment};
use mq_core::backend::Delivery;
use mq_core::command::{PoolSpec, Selector};
use mq_core::id::{LeaseToken, PoolId};
use mq_core::retry::RetryPolicy;
use mq_core::time::Clock;

use super::{middle, row};
use crate::plan::Plan;
use crate::report::Row;
use crate::store::{CAPACITY, Flavour, fill};

const COUNTS: [usize; 2] = [1_000, 10_000];
const LEASE: Duration = Duration::from_secs(60);

pub(super) fn one(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    each(plan, "C5", "checkout, 1 consumer, in memory", 1, false)
}

pub(super) fn ten(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    each(plan, "C6", "checkout, 10 consumers, in memory", 10, false)
}

pub(super) fn extended(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    each(plan, "C7", "checkout and extend, in memory", 1, true)
}

fn each(
    plan: &Plan,
    id: &str,
    about: &str,
    consumers: usize,
    extends: bool,
) -> anyhow::Result<Vec<Row>> {
    COUNTS
        .into_iter()
        .map(|count| {
            let time = middle(plan, || checkouts(count, consumers, extends))?;
            Ok(row(id, about, count, time))
        })
        .collect()
}

/// Each consumer asks for one message, waits until it has it, and asks for the next; leases are kept.
fn checkouts(count: usize, consumers: usize, extends: bool) -> anyhow::Result<Duration> {
    let engine = Engine::in_memory().capacity(CAPACITY).open_wait()?;
    fill(&engine, Flavour::Plain, 0, count)?;
    let clock = SystemClock::start();
    std::thread::scope(|scope| {
        let consume = || {
            let consumer = Consumer::attach(engine.backend())?;
            for _ in 0..count / consumers {
                let token = consumer.checkout();
                if extends {
                    let answers = consumer.backend.extend(vec![token], LEASE).wait()?;
                    answers.into_iter().collect::<Result<(), _>>()?;
                }
            }
            anyhow::Ok(())
        };
        let consumers: Vec<_> = (0..consumers).map(|_| scope.spawn(consume)).collect();
        for consumer in consumers {
            consumer.join().ok().context("a consumer panicked")??;
        }
        anyhow::Ok(())
    })?;
    let time = clock.monotonic();
    engine.close_wait()?;
    Ok(time)
}

struct Consumer {
    backend: Arc<dyn Backend>,
    pool: PoolId,
    parker: Arc<dyn Parker>,
}

impl Consumer {
    fn attach(backend: Arc<dyn Backend>) -> anyhow::Result<Self> {
        let parker = Environment::real().park.parker();
        let called = Arc::clone(&parker);
        let spec = PoolSpec::one(Selector::default(), LEASE, RetryPolicy::default());
        let pool = backend.attach(spec, Arc::new(move || called.unpark()))?;
        Ok(Self {
            backend,
            pool,
            parker,
        })
    }

    fn checkout(&self) -> LeaseToken {
        self.backend.checkout(self.pool, 1);
        let mut inbox = Vec::new();
        loop {
            self.backend.take(self.pool, &mut inbox);
            for delivery in inbox.drain(..) {
                if let Delivery::Grant(grant) = delivery {
                    return grant.token;
                }
            }
            self.parker.park(None);
        }
    }
}
