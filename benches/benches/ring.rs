//! What moving a value through the ring costs, beside crossbeam's `ArrayQueue` and a locked `VecDeque`.
//!
//! `cargo bench -p mq-benches --bench ring` first prints paired ratios: each round runs every queue once, right after one
//! another, so that a busy machine slows all of them, and the median of the rounds' ratios is shown. Then criterion
//! measures each by itself. One thread pushes and pops in turn; more are half producers, half consumers. All queues have
//! the same capacity and the same reaction to a refusal: yield and try again.

#![expect(clippy::expect_used, reason = "a bench fails by panicking")]

use std::{
    collections::VecDeque,
    hint::black_box,
    sync::{Barrier, Mutex},
    thread,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput};
use crossbeam::queue::ArrayQueue;
use mq_core::ring::Ring;

const CAPACITY: usize = 1024;
const BATCH: usize = 32;
const THREADS: [usize; 4] = [1, 2, 4, 8];
const ROUNDS: usize = 9;
const VALUES_PER_ROUND: u64 = 1 << 20;

/// One side of a queue under test: each call moves what it can and says how many values that was.
trait Queue: Sync {
    /// Makes the queue; all have the same capacity.
    fn new() -> Self;
    /// Pushes some of the values from `next` on, at most `left`.
    fn push(&self, scratch: &mut VecDeque<u64>, next: u64, left: u64) -> u64;
    /// Pops some values, at most `left`, and adds them to `sum`.
    fn pop(&self, scratch: &mut Vec<u64>, left: u64, sum: &mut u64) -> u64;
}

impl Queue for Ring<u64> {
    fn new() -> Self {
        Ring::new(CAPACITY).expect("the capacity is a power of two")
    }

    fn push(&self, _: &mut VecDeque<u64>, next: u64, _: u64) -> u64 {
        u64::from(self.try_push(next).is_ok())
    }

    fn pop(&self, _: &mut Vec<u64>, _: u64, sum: &mut u64) -> u64 {
        self.try_pop().map_or(0, |value| add(sum, value))
    }
}

/// The ring through its batch forms.
struct Batched(Ring<u64>);

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
struct Locked(Mutex<VecDeque<u64>>);

impl Queue for Locked {
    fn new() -> Self {
        Self(Mutex::new(VecDeque::with_capacity(CAPACITY)))
    }

    fn push(&self, _: &mut VecDeque<u64>, next: u64, _: u64) -> u64 {
        let mut values = self.0.lock().expect("no holder panics");
        if values.len() == CAPACITY {
            return 0;
        }
        values.push_back(next);
        1
    }

    fn pop(&self, _: &mut Vec<u64>, _: u64, sum: &mut u64) -> u64 {
        let value = self.0.lock().expect("no holder panics").pop_front();
        value.map_or(0, |value| add(sum, value))
    }
}

fn add(sum: &mut u64, value: u64) -> u64 {
    *sum = sum.wrapping_add(value);
    1
}

/// How long `threads` threads take to move `count` values through a new queue.
#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn transfer<Q: Queue>(threads: usize, count: u64) -> Duration {
    let queue = Q::new();
    if threads == 1 {
        let started = Instant::now();
        in_turn(&queue, count);
        return started.elapsed();
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
        let started = Instant::now();
        start.wait();
        started
    });
    started.elapsed()
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

/// Prints, for each number of threads, how many times faster the ring is than its peers.
fn print_paired_ratios() {
    println!(
        "threads  ring/ArrayQueue  batch/ArrayQueue  ring/Mutex   (median of {ROUNDS} paired rounds)"
    );
    for threads in THREADS {
        let mut ratios = [const { Vec::new() }; 3];
        for round in 0..ROUNDS {
            let [ring, batched, array, locked] = one_round(threads, round);
            for (ratios, ratio) in
                ratios
                    .iter_mut()
                    .zip([array / ring, array / batched, locked / ring])
            {
                ratios.push(ratio);
            }
        }
        let [ring, batched, locked] = ratios.map(median);
        println!("{threads:>7}  {ring:>15.2}  {batched:>16.2}  {locked:>10.2}");
    }
}

/// Seconds of the ring, its batch forms, `ArrayQueue` and the locked deque, every second time run in reverse.
fn one_round(threads: usize, round: usize) -> [f64; 4] {
    let mut runs = [
        transfer::<Ring<u64>>,
        transfer::<Batched>,
        transfer::<ArrayQueue<u64>>,
        transfer::<Locked>,
    ];
    let seconds = |run: fn(usize, u64) -> Duration| run(threads, VALUES_PER_ROUND).as_secs_f64();
    if round.is_multiple_of(2) {
        return runs.map(seconds);
    }
    runs.reverse();
    let mut reversed = runs.map(seconds);
    reversed.reverse();
    reversed
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn measure_each(criterion: &mut Criterion) {
    for threads in THREADS {
        let mut group = criterion.benchmark_group(format!("ring/{threads}-threads"));
        group.throughput(Throughput::Elements(1));
        group.bench_function("ring", |b| {
            b.iter_custom(|n| transfer::<Ring<u64>>(threads, n))
        });
        group.bench_function("ring-batches", |b| {
            b.iter_custom(|n| transfer::<Batched>(threads, n))
        });
        group.bench_function("array-queue", |b| {
            b.iter_custom(|n| transfer::<ArrayQueue<u64>>(threads, n))
        });
        group.bench_function("locked-deque", |b| {
            b.iter_custom(|n| transfer::<Locked>(threads, n))
        });
        group.finish();
    }
}

fn main() {
    // Absent when the benches are only tried, as `cargo test --benches` does.
    if std::env::args().any(|argument| argument == "--bench") {
        print_paired_ratios();
    }
    let mut criterion = Criterion::default().configure_from_args();
    measure_each(&mut criterion);
    criterion.final_summary();
}
