//! A disk that takes its time: what comes later, and what does not wait for it.

use std::time::Duration;

use mq::prelude::*;
use mq_testing::{Effects, Harness};

use super::{Charge, charge, charge_of};

const SLOW: Duration = Duration::from_secs(3);

#[mq_testing::test(seeds = 5)]
async fn an_answer_comes_when_the_disk_is_done_and_callers_share_its_rounds() {
    let t = Harness::new().handle(charge);
    t.enqueue(charge_of(0)).await;
    assert_eq!(t.now().as_ms(), mq_testing::clock::START_MS, "no time");
    t.slow_disk(SLOW);
    let began = t.now();
    t.enqueue(charge_of(1)).await;
    assert_eq!(t.now().since(began), SLOW);
    let began = t.now();
    tokio::join!(t.enqueue(charge_of(2)), t.enqueue(charge_of(3)));
    assert_eq!(t.now().since(began), SLOW, "one round for both");
    t.slow_disk(Duration::ZERO);
    let began = t.now();
    t.enqueue(charge_of(4)).await;
    assert_eq!(t.now(), began);
    assert_eq!(t.run_until_empty().await.len(), 5);
}

#[mq_testing::test(seeds = 5)]
async fn a_caller_who_gives_up_on_a_slow_disk_has_perhaps_enqueued() {
    let t = Harness::new().handle(charge);
    t.enqueue(charge_of(0)).await;
    t.slow_disk(SLOW);
    let impatient = tokio::time::timeout(secs(1), t.enqueue(charge_of(1)));
    assert!(impatient.await.is_err());
    t.advance(SLOW).await;
    t.assert_enqueued::<Charge>(|charge| charge.order == 1)
        .once();
}

async fn linger(_: Charge, State(bank): State<Effects>) -> Outcome {
    bank.happen("charged").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    Ok(())
}

#[mq_testing::test(seeds = 5)]
async fn an_outcome_that_waits_for_the_disk_is_lost_in_a_crash() {
    let bank = Effects::new();
    let t = Harness::new().state(bank.clone()).handle(linger);
    t.enqueue(charge_of(1)).await;
    t.slow_disk(minutes(1));
    t.start_one().await;
    t.advance(secs(10)).await; // the handler has ended, five seconds ago
    assert_eq!(bank.times("charged"), 1);
    let t = t.crash().await;
    t.run_until_empty().await;
    assert_eq!(bank.times("charged"), 2, "its end was not written");
}
