//! Handlers that end in every way, on several threads, while their pool is scaled, paused and resumed all the time.

use std::sync::Arc;
use std::time::Duration;

use mq_dispatch::{Attempt, Fail, HandlerOptions, Outcome, Retry, State, Workers};
use mq_testing::random::SplitMix64;

use crate::Charge;
use crate::store::{Is, Store};

const MESSAGES: u64 = 400;
const WORKERS: usize = 8;
const CHANGES: u32 = 60;

/// Ends in a way that follows from seed, message and attempt.
async fn charge(charge: Charge, Attempt(attempt): Attempt, State(seed): State<u64>) -> Outcome {
    let mut random = SplitMix64::new(seed ^ (charge.order << 32) ^ u64::from(attempt));
    for _ in 0..random.below(4) {
        tokio::task::yield_now().await;
    }
    match random.below(8) {
        0 => Err("bad luck".into()),
        1 => panic!("worse luck"),
        2 => Err(Fail::retry_in(Duration::ZERO, "try again")),
        3 => Err(Fail::discard("nothing to do")),
        _ => Ok(()),
    }
}

async fn disturb(workers: &Workers, random: &mut SplitMix64) {
    match random.below(4) {
        0 => {
            workers.pause("charge").unwrap();
            for _ in 0..random.below(20) {
                tokio::task::yield_now().await;
            }
            workers.resume("charge").unwrap();
        }
        1 => {
            // Not awaited: the next change comes before this one is in force.
            drop(workers.scale("charge", 1));
        }
        _ => {
            let limit = 1 + usize::try_from(random.below(8)).unwrap();
            workers.scale("charge", limit).await.unwrap();
            let running = workers.running().len();
            assert!(running <= limit, "{running} run, {limit} may");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn no_message_is_lost_or_handled_twice_and_no_worker_is_lost_in_a_storm() {
    for seed in 1..=12 {
        println!("seed {seed}");
        storm(seed).await;
    }
}

async fn storm(seed: u64) {
    let mut random = SplitMix64::new(seed);
    let store = Store::new();
    let options = |h: HandlerOptions| {
        h.parallelism(1..=WORKERS)
            .retry(Retry::immediately().max_attempts(50))
    };
    let workers = store
        .workers()
        .state(seed)
        .handle_with(charge, options)
        .start()
        .unwrap();
    let producer = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for order in 0..MESSAGES {
                store.send(&Charge { order });
                tokio::task::yield_now().await;
            }
        })
    };
    for _ in 0..CHANGES {
        disturb(&workers, &mut random).await;
    }
    producer.await.unwrap();
    workers.scale("charge", WORKERS).await.unwrap();
    store.quiet().await;
    while !workers.running().is_empty() || store.permits("charge") < 8 {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.permits("charge"), 8, "each worker is free, once");
    let all = store.all();
    let is_done = |is: &Is| matches!(is, Is::Succeeded(None) | Is::Discarded);
    assert!(all.iter().all(|stored| is_done(&stored.is)));
    let ends: usize = all.iter().map(|stored| stored.ends.len()).sum();
    let totals = workers.stats().first().unwrap().totals;
    assert_eq!(totals.started, u64::try_from(ends).unwrap(), "{totals:?}");
    assert_eq!((store.stale(), totals.refused), (0, 0));
    workers.stop(Duration::from_secs(25)).await;
}
