//! One thread at a time through every path of the ring, then many. Orderings are the business of the loom models.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use proptest::prelude::*;

use super::{Ring, RingCapacityError};

fn ring<T>(capacity: usize) -> Ring<T> {
    Ring::new(capacity).unwrap()
}

/// A ring of four whose positions overflow `usize` after four values.
fn ring_about_to_overflow<T>() -> Ring<T> {
    Ring::starting_at(usize::MAX - 3, 4).unwrap()
}

#[test]
fn capacities_other_than_powers_of_two_from_two_up_are_refused() {
    for capacity in [0, 1, 3, 6, 100, usize::MAX] {
        assert_eq!(
            Ring::<u8>::new(capacity).unwrap_err(),
            RingCapacityError { capacity }
        );
    }
    for capacity in [2, 4, 1024] {
        assert_eq!(ring::<u8>(capacity).capacity(), capacity);
    }
}

#[test]
fn a_full_ring_gives_the_value_back() {
    let ring = ring(2);
    assert_eq!(ring.try_push('a'), Ok(()));
    assert_eq!(ring.try_push('b'), Ok(()));
    assert_eq!(ring.try_push('c'), Err('c'));
    assert_eq!(ring.try_pop(), Some('a'));
    assert_eq!(ring.try_push('c'), Ok(()));
}

#[test]
fn values_come_out_in_order_lap_after_lap() {
    let ring = ring_about_to_overflow();
    for lap in 0..10 {
        assert_eq!(ring.try_pop(), None);
        for n in 0..3 {
            assert_eq!(ring.try_push(lap * 3 + n), Ok(()));
        }
        for n in 0..3 {
            assert_eq!(ring.try_pop(), Some(lap * 3 + n));
        }
    }
}

#[test]
fn a_batch_that_does_not_fit_keeps_its_rest_in_order() {
    let ring = ring_about_to_overflow();
    assert_eq!(ring.try_push(0), Ok(()));
    let mut batch = VecDeque::from([1, 2, 3, 4, 5]);
    assert_eq!(ring.try_push_all(&mut batch), 3);
    assert_eq!(batch, [4, 5]);
    assert_eq!(ring.try_push_all(&mut batch), 0);
    assert_eq!(batch, [4, 5]);
}

#[test]
fn a_batch_pop_appends_at_most_what_was_asked() {
    let ring = ring_about_to_overflow();
    ring.try_push_all(&mut VecDeque::from([1, 2, 3, 4]));
    let mut out = vec![0];
    assert_eq!(ring.pop_many(0, &mut out), 0);
    assert_eq!(ring.pop_many(3, &mut out), 3);
    assert_eq!(out, [0, 1, 2, 3]);
    assert_eq!(ring.pop_many(usize::MAX, &mut out), 1);
    assert_eq!(ring.pop_many(usize::MAX, &mut out), 0);
    assert_eq!(out, [0, 1, 2, 3, 4]);
}

#[test]
fn a_stalled_producer_delays_its_own_cell_and_loses_nothing() {
    let ring = ring(8);
    assert_eq!(ring.try_push(0), Ok(()));
    let stalled = ring.claim(&ring.tail, 1, |_| ()).unwrap();
    assert_eq!(ring.try_push_all(&mut VecDeque::from([2, 3])), 2);

    let mut out = Vec::new();
    assert_eq!(
        ring.pop_many(8, &mut out),
        1,
        "a batch must end before the unpublished cell"
    );
    assert_eq!(ring.pop_many(8, &mut out), 0);
    assert_eq!(ring.try_pop(), None);

    // SAFETY: the claim above, of a free slot.
    unsafe { ring.slot(stalled.first).publish(stalled.first, 1) };
    assert_eq!(ring.pop_many(8, &mut out), 3);
    assert_eq!(out, [0, 1, 2, 3]);
}

#[test]
fn a_stalled_consumer_keeps_its_cell_from_being_overwritten() {
    let ring = ring(4);
    assert_eq!(ring.try_push_all(&mut VecDeque::from([0, 1, 2, 3])), 4);
    let stalled = ring.claim(&ring.head, 1, |_| ()).unwrap();
    assert_eq!(ring.try_pop(), Some(1));

    assert_eq!(ring.try_push(4), Err(4));
    assert_eq!(ring.try_push_all(&mut VecDeque::from([4])), 0);

    // SAFETY: the claim above, of a published slot.
    let taken = unsafe { ring.slot(stalled.first).take(stalled.first, 4) };
    assert_eq!(taken, 0);
    assert_eq!(ring.try_push_all(&mut VecDeque::from([4, 5, 6])), 2);
    let mut out = Vec::new();
    assert_eq!(ring.pop_many(8, &mut out), 4);
    assert_eq!(out, [2, 3, 4, 5]);
}

#[test]
fn a_quiet_ring_knows_its_length() {
    let ring = ring_about_to_overflow();
    assert!(ring.is_empty());
    for n in 1..=4 {
        assert_eq!(ring.try_push(()), Ok(()));
        assert_eq!((ring.len(), ring.is_empty()), (n, false));
    }
    assert_eq!(ring.try_push(()), Err(()));
    assert_eq!(ring.try_pop(), Some(()));
    assert_eq!(ring.len(), 3);
    assert_eq!(format!("{ring:?}"), "Ring { len: 3, capacity: 4, .. }");
}

/// Counts its drops.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn every_value_is_dropped_once() {
    let drops = Arc::new(AtomicUsize::new(0));
    let ring = ring(8);
    let mut batch = (0..12)
        .map(|_| Counted(Arc::clone(&drops)))
        .collect::<VecDeque<_>>();
    assert_eq!(ring.try_push_all(&mut batch), 8);
    drop(batch);
    assert_eq!(
        drops.load(Ordering::Relaxed),
        4,
        "what did not fit is the caller's to drop"
    );

    drop(ring.try_pop());
    let mut out = Vec::new();
    assert_eq!(ring.pop_many(2, &mut out), 2);
    assert_eq!(drops.load(Ordering::Relaxed), 5);
    drop(out);
    assert_eq!(
        drops.load(Ordering::Relaxed),
        7,
        "what was popped is the caller's to drop"
    );

    drop(ring);
    assert_eq!(
        drops.load(Ordering::Relaxed),
        12,
        "what is left is dropped with the ring"
    );
}

#[derive(Clone, Debug)]
enum Op {
    Push(String),
    Pop,
    PushAll(Vec<String>),
    PopMany(usize),
}

fn any_op() -> impl Strategy<Value = Op> {
    let value = any::<u32>().prop_map(|n| n.to_string());
    prop_oneof![
        3 => value.clone().prop_map(Op::Push),
        3 => Just(Op::Pop),
        2 => prop::collection::vec(value, 0..12).prop_map(Op::PushAll),
        2 => (0..12_usize).prop_map(Op::PopMany),
    ]
}

/// Does `op` to both and fails where the ring answers something else than a bounded `VecDeque`.
fn apply(op: Op, ring: &Ring<String>, model: &mut VecDeque<String>) -> Result<(), TestCaseError> {
    let room = ring.capacity() - model.len();
    match op {
        Op::Push(value) if room == 0 => prop_assert_eq!(ring.try_push(value.clone()), Err(value)),
        Op::Push(value) => {
            model.push_back(value.clone());
            prop_assert_eq!(ring.try_push(value), Ok(()));
        }
        Op::Pop => prop_assert_eq!(ring.try_pop(), model.pop_front()),
        Op::PushAll(values) => {
            let fits = room.min(values.len());
            model.extend(values[..fits].iter().cloned());
            let mut batch = VecDeque::from(values.clone());
            prop_assert_eq!(ring.try_push_all(&mut batch), fits);
            prop_assert_eq!(batch, &values[fits..]);
        }
        Op::PopMany(max) => {
            let mut out = Vec::new();
            prop_assert_eq!(ring.pop_many(max, &mut out), max.min(model.len()));
            prop_assert_eq!(&out, &model.drain(..out.len()).collect::<Vec<_>>());
        }
    }
    prop_assert_eq!(ring.len(), model.len());
    Ok(())
}

proptest! {
    // A failure prints the shrunk operations, which are all there is to reproduce it.
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 8 } else { 512 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn alone_it_behaves_like_a_bounded_deque(
        power in 1..5_u32,
        laps_before_overflow in 0..3_usize,
        ops in prop::collection::vec(any_op(), 0..if cfg!(miri) { 30 } else { 200 }),
    ) {
        let capacity = 1 << power;
        let first = 0_usize.wrapping_sub(laps_before_overflow * capacity);
        let ring = Ring::starting_at(first, capacity).unwrap();
        let mut model = VecDeque::new();
        for op in ops {
            apply(op, &ring, &mut model)?;
        }
    }
}

/// A value of the stress tests: which producer, and its how-manieth.
type Tagged = (usize, usize);

const PRODUCERS: usize = 3;
const CONSUMERS: usize = 3;
const EACH: usize = if cfg!(miri) { 40 } else { 40_000 };

/// Runs producers against consumers until all is popped, and checks every promise about what came out.
fn stress(
    capacity: usize,
    produce: fn(&Ring<Box<Tagged>>, usize),
    consume: fn(&Ring<Box<Tagged>>, &mut Vec<Box<Tagged>>),
) {
    let ring = ring(capacity);
    let popped = AtomicUsize::new(0);
    let mut seen = thread::scope(|scope| {
        for producer in 0..PRODUCERS {
            let ring = &ring;
            scope.spawn(move || produce(ring, producer));
        }
        let consumers = [(); CONSUMERS].map(|()| {
            scope.spawn(|| {
                let mut out = Vec::new();
                while popped.load(Ordering::Relaxed) < PRODUCERS * EACH {
                    let before = out.len();
                    consume(&ring, &mut out);
                    popped.fetch_add(out.len() - before, Ordering::Relaxed);
                    if out.len() == before {
                        thread::yield_now();
                    }
                }
                out
            })
        });
        consumers.map(|consumer| consumer.join().unwrap())
    });
    for out in &mut seen {
        assert!((0..PRODUCERS).all(|producer| {
            out.iter()
                .filter(|value| value.0 == producer)
                .is_sorted_by_key(|value| value.1)
        }));
    }
    let mut all = seen.into_iter().flatten().collect::<Vec<_>>();
    all.sort_unstable();
    let expected = (0..PRODUCERS).flat_map(|producer| (0..EACH).map(move |n| (producer, n)));
    assert!(
        all.iter().map(|value| **value).eq(expected),
        "a value was lost or came twice"
    );
}

fn produce_singly(ring: &Ring<Box<Tagged>>, producer: usize) {
    for n in 0..EACH {
        let mut value = Box::new((producer, n));
        while let Err(refused) = ring.try_push(value) {
            value = refused;
            thread::yield_now();
        }
    }
}

fn produce_in_batches(ring: &Ring<Box<Tagged>>, producer: usize) {
    let mut batch = VecDeque::new();
    for n in 0..EACH {
        batch.push_back(Box::new((producer, n)));
        // Lengths 1 to 5, so that runs of every length meet the end of the ring.
        while (batch.len() > n % 5 || n + 1 == EACH) && !batch.is_empty() {
            if ring.try_push_all(&mut batch) == 0 {
                thread::yield_now();
            }
        }
    }
}

#[test]
fn each_value_of_many_threads_comes_out_once_and_in_order() {
    for capacity in [2, 64] {
        stress(capacity, produce_singly, |ring, out| {
            out.extend(ring.try_pop())
        });
    }
}

#[test]
fn each_value_of_many_batches_comes_out_once_and_in_order() {
    for capacity in [2, 64] {
        stress(capacity, produce_in_batches, |ring, out| {
            ring.pop_many(7, out);
        });
    }
}

#[test]
fn batches_and_single_values_mix() {
    let produce = |ring: &Ring<Box<Tagged>>, producer: usize| match producer % 2 {
        0 => produce_singly(ring, producer),
        _ => produce_in_batches(ring, producer),
    };
    stress(8, produce, |ring, out| {
        out.extend(ring.try_pop());
        ring.pop_many(3, out);
    });
}
