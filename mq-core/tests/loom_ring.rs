//! Every interleaving and every allowed stale read of small rings (up to three preemptions a run).
//!
//! Run: `RUSTFLAGS="--cfg loom" cargo test -p mq-core --release --target-dir target/loom --test loom_ring`.
//! No thread here repeats a refused call, so each model ends; what is left is taken out at the end and counted.

#![cfg(loom)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::VecDeque;

use loom::{
    model::Builder,
    sync::Arc,
    thread::{self, JoinHandle},
};
use mq_core::ring::Ring;

/// What one thread did: the values that it got into the ring, and those that it got out.
#[derive(Default)]
struct Done {
    pushed: Vec<u32>,
    popped: Vec<u32>,
}

type Shared = Arc<Ring<u32>>;

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

fn ring(capacity: usize) -> Shared {
    Arc::new(Ring::new(capacity).unwrap())
}

fn spawn(ring: &Shared, work: fn(&Ring<u32>, u32) -> Done, producer: u32) -> JoinHandle<Done> {
    let ring = Arc::clone(ring);
    thread::spawn(move || work(&ring, producer))
}

/// Producer `p` pushes `10 p + 1` and `10 p + 2`.
fn push_two(ring: &Ring<u32>, producer: u32) -> Done {
    let values = [producer * 10 + 1, producer * 10 + 2];
    Done {
        pushed: values
            .into_iter()
            .filter(|value| ring.try_push(*value).is_ok())
            .collect(),
        ..Done::default()
    }
}

fn push_batch(ring: &Ring<u32>, producer: u32) -> Done {
    let values = [producer * 10 + 1, producer * 10 + 2];
    let mut batch = VecDeque::from(values);
    let count = ring.try_push_all(&mut batch);
    assert!(
        batch.iter().eq(values.iter().skip(count)),
        "the rest of a batch stays in order"
    );
    Done {
        pushed: values.into_iter().take(count).collect(),
        ..Done::default()
    }
}

fn pop_two(ring: &Ring<u32>, _: u32) -> Done {
    Done {
        popped: [ring.try_pop(), ring.try_pop()]
            .into_iter()
            .flatten()
            .collect(),
        ..Done::default()
    }
}

fn pop_batch(ring: &Ring<u32>, _: u32) -> Done {
    let mut popped = Vec::new();
    let count = ring.pop_many(2, &mut popped);
    assert_eq!(count, popped.len());
    Done {
        popped,
        ..Done::default()
    }
}

/// Each value pushed came out once, and nobody saw two values of one producer in the wrong order.
fn assert_exactly_once(ring: &Ring<u32>, done: Vec<Done>) {
    let mut rest = Vec::new();
    while let Some(value) = ring.try_pop() {
        rest.push(value);
    }
    assert!(
        ring.is_empty(),
        "nobody is in the middle of anything, so nothing may hide a value"
    );
    let (pushed, mut popped): (Vec<_>, Vec<_>) = done
        .into_iter()
        .map(|done| (done.pushed, done.popped))
        .unzip();
    popped.push(rest);
    for seen in &popped {
        let of = |producer| seen.iter().filter(move |value| **value / 10 == producer);
        assert!(
            (0..3).all(|producer| of(producer).is_sorted()),
            "out of order: {seen:?}"
        );
    }
    let (mut pushed, mut popped) = (pushed.concat(), popped.concat());
    pushed.sort_unstable();
    popped.sort_unstable();
    assert_eq!(pushed, popped);
}

/// Two producers and two consumers (one of them the main thread) on a ring of two.
fn two_against_two(produce: fn(&Ring<u32>, u32) -> Done, consume: fn(&Ring<u32>, u32) -> Done) {
    check(move || {
        let ring = ring(2);
        let others = [
            spawn(&ring, produce, 0),
            spawn(&ring, produce, 1),
            spawn(&ring, consume, 0),
        ];
        let mut done = vec![consume(&ring, 0)];
        done.extend(others.into_iter().map(|thread| thread.join().unwrap()));
        assert_exactly_once(&ring, done);
    });
}

#[test]
fn single_values_come_out_exactly_once() {
    two_against_two(push_two, pop_two);
}

#[test]
fn batches_come_out_exactly_once() {
    two_against_two(push_batch, pop_batch);
}

#[test]
fn single_values_may_be_popped_in_batches() {
    two_against_two(push_two, pop_batch);
}

#[test]
fn batches_may_be_popped_singly() {
    two_against_two(push_batch, pop_two);
}

#[test]
fn a_slot_is_reused_only_after_its_value_is_out() {
    check(|| {
        let ring = ring(2);
        assert_eq!(ring.try_push_all(&mut VecDeque::from([1, 2])), 2);
        let consumer = spawn(&ring, pop_two, 0);
        let again = [spawn(&ring, push_two, 1), spawn(&ring, push_batch, 2)];
        let mut done = vec![Done {
            pushed: vec![1, 2],
            ..Done::default()
        }];
        done.push(consumer.join().unwrap());
        done.extend(again.into_iter().map(|thread| thread.join().unwrap()));
        assert_exactly_once(&ring, done);
    });
}

#[test]
fn what_is_left_is_dropped_once() {
    check(|| {
        // Loom fails a model that leaks one of its `Arc`s; a second drop would break the count.
        let value = Arc::new(());
        let ring = Arc::new(Ring::new(2).unwrap());
        let producer = {
            let (ring, value) = (Arc::clone(&ring), Arc::clone(&value));
            thread::spawn(move || ring.try_push(value).is_ok())
        };
        let consumer = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || ring.try_pop().is_some())
        };
        assert!(ring.try_push(Arc::clone(&value)).is_ok());
        assert!(producer.join().unwrap());
        let popped = usize::from(consumer.join().unwrap());
        assert_eq!(Arc::strong_count(&value), 3 - popped);
        drop(ring);
        assert_eq!(Arc::strong_count(&value), 1);
    });
}
