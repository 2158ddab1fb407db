//! One value after another through a queue: the ring, its batch forms, crossbeam's `ArrayQueue` and a locked `VecDeque`.
//!
//! One thread pushes and pops in turn; more are half producers, half consumers. All queues have the same capacity and the
//! same reaction to a refusal: yield and try again. In a race every queue runs once in each round, right after one
//! another, every second round in reverse, so that a busy machine slows all of them.

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::{Barrier, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam::queue::ArrayQueue;
use mq::environment::SystemClock;
use mq_core::ring::Ring;
use mq_core::time::Clock;

const CAPACITY: usize = 1024;
const BATCH: usize = 32;
/// How many threads race.
pub const THREADS: [usize; 4] = [1, 2, 4, 8];

/// One side of a queue under test: each call moves what it can and says how many values that was.
pub trait Queue: Sync {
    /// Makes the queue; all have the same capacity.
    fn new() -> Self;
    /// Pushes some of the values from `next` on, at most `left`.
    fn push(&self, scratch: &mut VecDeque<u64>, next: u64, left: u64) -> u64;
    /// Pops some values, at most `left`, and adds them to `sum`.
    fn pop(&self, scratch: &mut Vec<u64>, left: u64, sum: &mut u64) -> u64;
}

impl Queue for Ring<u64> {
    fn new() -> Self {
        #[expect(clippy::expect_used, reason = "the capacity is a power of two")]
        Ring::new(CAPACITY).expect("a power of two")
    }

    fn push(&self, _: &mut VecDeque<u64>, next: u64, _: u64) -> u64 {
        u64::from(self.try_push(next).is_ok())
    }

    fn pop(&self, _: &mut Vec<u64>, _: u64, sum: &mut u64) -> u64 {
        self.try_pop().map_or(0, |value| add(sum, value))
    }
}

/// The ring through its batch forms.
#[derive(Debug)]
pub struct Batched(Ring<u64>);

impl Queue for Batched {
    fn new() -> Self {
        Self(Queue::new())
    }

    fn push(&self, scratch: &mut VecDeque<u64>, next: u64, left: u64) -> u64 {
        if scratch.is_empty() {
            scratch.extend((next..).take(BATCH.min(usize::try_from(left).unwrap_or(BATCH))));
        }
        self.0.try_push_all(scratch) as u64
    }

    fn pop(&self, scratch: &mut Vec<u64>, left: u64, sum: &mut u64) -> u64 {
        let count = self
            .0
            .pop_many(BATCH.min(usize::try_from(left).unwrap_or(BATCH)), scratch);
        scratch.drain(..).for_each(|value| _ = add(sum, value));
        count as u64
    }
}

impl Queue for ArrayQueue<u64> {
    fn new() -> Self {
        ArrayQueue::new(CAPACITY)
    }

    fn push(&self, _: &mut VecDeque<u64>, next: u64, _: u64) -> u64 {
        u64::from(ArrayQueue::push(self, next).is_ok())
    }

    fn pop(&self, _: &mut Vec<u64>, _: u64, sum: &mut u64) -> u64 {
        ArrayQueue::pop(self).map_or(0, |value| add(sum, value))
    }
}

/// The simplest thing that works: a bounded `VecDeque` under a lock.
#[derive(Debug)]
pub struct Locked(Mutex<VecDeque<u64>>);

impl Queue for Locked {
    fn new() -> Self {
        Self(Mutex::new(VecDeque::with_capacity(CAPACITY)))
    }

    fn push(&self, _: &mut VecDeque<u64>, next: u64, _: u64) -> u64 {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if values.len() == CAPACITY {
            return 0;
        }
        values.push_back(next);
        1
    }

    fn pop(&self, _: &mut Vec<u64>, _: u64, sum: &mut u64) -> u64 {
        let value = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front();
        value.map_or(0, |value| add(sum, value))
    }
}

fn add(sum: &mut u64, value: u64) -> u64 {
    *sum = sum.wrapping_add(value);
    1
}

/// How long `threads` threads take to move `count` values through a new queue.
#[must_use]
pub fn transfer<Q: Queue>(threads: usize, count: u64) -> Duration {
    let queue = Q::new();
    if threads == 1 {
        let clock = SystemClock::start();
        in_turn(&queue, count);
        return clock.monotonic();
    }
    let pairs = (threads / 2) as u64;
    let start = Barrier::new(threads + 1);
    let (queue, start) = (&queue, &start);
    let started = thread::scope(|scope| {
        for pair in 0..pairs {
            let share = count / pairs + u64::from(pair < count % pairs);
            scope.spawn(move || {
                start.wait();
                produce(queue, share);
            });
            scope.spawn(move || {
                start.wait();
                consume(queue, share);
            });
        }
        let clock = SystemClock::start();
        start.wait();
        clock
    });
    started.monotonic()
}

fn in_turn<Q: Queue>(queue: &Q, count: u64) {
    let (mut values, mut out, mut sum) = (VecDeque::new(), Vec::new(), 0);
    let mut moved = 0;
    while moved < count {
        queue.push(&mut values, moved, count - moved);
        moved += queue.pop(&mut out, count - moved, &mut sum);
    }
    black_box(sum);
}

fn produce<Q: Queue>(queue: &Q, count: u64) {
    let mut scratch = VecDeque::new();
    let mut pushed = 0;
    while pushed < count {
        match queue.push(&mut scratch, pushed, count - pushed) {
            0 => thread::yield_now(),
            some => pushed += some,
        }
    }
}

fn consume<Q: Queue>(queue: &Q, count: u64) {
    let (mut scratch, mut sum) = (Vec::new(), 0);
    let mut popped = 0;
    while popped < count {
        match queue.pop(&mut scratch, count - popped, &mut sum) {
            0 => thread::yield_now(),
            some => popped += some,
        }
    }
    black_box(sum);
}

/// What a race said. Rates in values per second, each the median; ratios are medians of the rounds' ratios.
#[derive(Clone, Copy, Debug)]
pub struct Paired {
    /// The ring, one value at a time.
    pub ring: f64,
    /// The ring's batch forms.
    pub batched: f64,
    /// `ArrayQueue`.
    pub array: f64,
    /// How many times faster the ring is than `ArrayQueue`.
    pub ring_by_array: f64,
    /// How many times faster its batch forms are.
    pub batched_by_array: f64,
    /// How many times faster the ring is than the locked deque.
    pub ring_by_locked: f64,
}

/// Lets all queues move `values` values in each of `rounds` rounds.
#[must_use]
pub fn race(threads: usize, rounds: usize, values: u64) -> Paired {
    let seconds: Vec<[f64; 4]> = (0..rounds)
        .map(|round| one_round(threads, round, values))
        .collect();
    let median = |of: fn(&[f64; 4]) -> f64| {
        let mut all: Vec<f64> = seconds.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
    };
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = |of| values as f64 / median(of);
    Paired {
        ring: rate(|[ring, _, _, _]| *ring),
        batched: rate(|[_, batched, _, _]| *batched),
        array: rate(|[_, _, array, _]| *array),
        ring_by_array: median(|[ring, _, array, _]| array / ring),
        batched_by_array: median(|[_, batched, array, _]| array / batched),
        ring_by_locked: median(|[ring, _, _, locked]| locked / ring),
    }
}

/// Seconds of the ring, its batch forms, `ArrayQueue` and the locked deque, every second time run in reverse.
fn one_round(threads: usize, round: usize, values: u64) -> [f64; 4] {
    let mut runs = [
        transfer::<Ring<u64>>,
        transfer::<Batched>,
        transfer::<ArrayQueue<u64>>,
        transfer::<Locked>,
    ];
    let seconds = |run: fn(usize, u64) -> Duration| run(threads, values).as_secs_f64();
    if round.is_multiple_of(2) {
        return runs.map(seconds);
    }
    runs.reverse();
    let mut reversed = runs.map(seconds);
    reversed.reverse();
    reversed
}
