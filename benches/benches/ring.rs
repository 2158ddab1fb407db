//! What moving a value through the ring costs, beside crossbeam's `ArrayQueue` and a locked `VecDeque`.
//!
//! `cargo bench -p mq-benches --bench ring` first prints paired ratios, then criterion measures each by itself.

use criterion::{Criterion, Throughput};
use crossbeam::queue::ArrayQueue;
use mq_benches::ring_race::{Batched, Locked, THREADS, race, transfer};
use mq_core::ring::Ring;

const ROUNDS: usize = 9;
const VALUES_PER_ROUND: u64 = 1 << 20;

/// Prints, for each number of threads, how many times faster the ring is than its peers.
fn print_paired_ratios() {
    println!(
        "threads  ring/ArrayQueue  batch/ArrayQueue  ring/Mutex   (median of {ROUNDS} paired rounds)"
    );
    for threads in THREADS {
        let paired = race(threads, ROUNDS, VALUES_PER_ROUND);
        let (ring, batched, locked) = (
            paired.ring_by_array,
            paired.batched_by_array,
            paired.ring_by_locked,
        );
        println!("{threads:>7}  {ring:>15.2}  {batched:>16.2}  {locked:>10.2}");
    }
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
