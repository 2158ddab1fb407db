//! Random schedules of more threads and longer runs than loom can exhaust. Shuttle prints a failing schedule.
//!
//! Run: `RUSTFLAGS="--cfg shuttle" cargo test -p mq-core --release --target-dir target/shuttle --test shuttle_ring`.
//! Every atomic access is sequentially consistent here: this finds wrong logic, loom finds wrong orderings.

#![cfg(shuttle)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::VecDeque;

use mq_core::ring::Ring;
use shuttle::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

const PRODUCERS: usize = 3;
const CONSUMERS: usize = 3;
const EACH: usize = 6;
const SCHEDULES: usize = 20_000;

type Value = (usize, usize);

fn produce_singly(ring: &Ring<Value>, producer: usize) {
    for n in 0..EACH {
        while ring.try_push((producer, n)).is_err() {
            thread::yield_now();
        }
    }
}

fn produce_in_batches(ring: &Ring<Value>, producer: usize) {
    let mut batch = (0..EACH).map(|n| (producer, n)).collect::<VecDeque<_>>();
    while !batch.is_empty() {
        if ring.try_push_all(&mut batch) == 0 {
            thread::yield_now();
        }
    }
}

fn consume(ring: &Ring<Value>, consumer: usize, popped: &AtomicUsize) -> Vec<Value> {
    let mut out = Vec::new();
    while popped.load(SeqCst) < PRODUCERS * EACH {
        let count = match consumer % 2 {
            0 => ring.pop_many(3, &mut out),
            _ => ring.try_pop().map_or(0, |value| {
                out.push(value);
                1
            }),
        };
        popped.fetch_add(count, SeqCst);
        if count == 0 {
            thread::yield_now();
        }
    }
    out
}

/// Producers, every second one with batches, against consumers, every second one with batches.
fn all_come_out_once_and_in_order(capacity: usize) {
    let ring = Arc::new(Ring::new(capacity).unwrap());
    let popped = Arc::new(AtomicUsize::new(0));
    for producer in 0..PRODUCERS {
        let ring = Arc::clone(&ring);
        thread::spawn(move || match producer % 2 {
            0 => produce_singly(&ring, producer),
            _ => produce_in_batches(&ring, producer),
        });
    }
    let consumers = [0, 1, 2].map(|consumer| {
        let (ring, popped) = (Arc::clone(&ring), Arc::clone(&popped));
        thread::spawn(move || consume(&ring, consumer, &popped))
    });
    let seen = consumers.map(|consumer| consumer.join().unwrap());
    assert_eq!(seen.len(), CONSUMERS);
    for out in &seen {
        let of = |producer| out.iter().filter(move |value| value.0 == producer);
        assert!(
            (0..PRODUCERS).all(|producer| of(producer).is_sorted()),
            "out of order: {out:?}"
        );
    }
    let mut all = seen.concat();
    all.sort_unstable();
    assert!(
        all.into_iter()
            .eq((0..PRODUCERS).flat_map(|producer| (0..EACH).map(move |n| (producer, n))))
    );
}

#[test]
fn random_schedules_lose_and_double_nothing() {
    for capacity in [2, 4] {
        shuttle::check_random(move || all_come_out_once_and_in_order(capacity), SCHEDULES);
    }
}

#[test]
fn schedules_with_few_preemptions_lose_and_double_nothing() {
    for capacity in [2, 4] {
        shuttle::check_pct(
            move || all_come_out_once_and_in_order(capacity),
            SCHEDULES,
            3,
        );
    }
}
