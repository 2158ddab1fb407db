//! How often a message allocates on its way: counted, because it is what the processor would spend most on. A program of its
//! own, because the counting allocator is the whole program's; its tests take turns, because side by side they would count together.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::System;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};

use mq::{Engine, Fail, HandlerOptions, NewMessage, Workers, hours, secs};
use mq_core::backend::WhenFull;
use mq_core::command::Selector;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::sync::Mutex;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

static TURN: Mutex<()> = Mutex::const_new(());
/// Callers at once, and handlers.
const TASKS: usize = 64;
/// Messages until tables and buffers have grown to their size.
const WARM: usize = 4_096;
/// Messages that are counted.
const COUNTED: usize = 8_192;
/// Of one durable enqueue: the job, its answer, the encoded envelope (two), and room for what grows in steps.
const PER_ENQUEUE: f64 = 4.4;
/// Of one message from its enqueue to its ack: besides these the grant, the lease, the handler's task.
const PER_JOB: f64 = 8.4;

/// Messages of a batch that waits for as many to leave a queue.
const BATCH: usize = 2_000;
/// Bytes for each message that leaves meanwhile. To plan such a batch once takes ten times as many.
const PER_LEAVE: usize = 16 << 10;

static MESSAGE: LazyLock<NewMessage> = LazyLock::new(|| {
    let name = "bench".parse().unwrap();
    NewMessage::new(name, "bench".parse().unwrap(), vec![7; 256].into())
});

/// So many durable enqueues by tasks that each wait for their answer.
async fn enqueue(engine: &Engine, count: usize) {
    let callers: Vec<_> = (0..TASKS)
        .map(|_| {
            let engine = engine.clone();
            tokio::spawn(async move {
                for _ in 0..count / TASKS {
                    engine.enqueue_raw(MESSAGE.clone()).await.unwrap();
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
}

fn start_workers(engine: &Engine, handled: &Arc<AtomicUsize>) -> Workers {
    let counter = Arc::clone(handled);
    let options = HandlerOptions::default().parallelism(1..=TASKS);
    let workers = engine.workers();
    let workers = workers.handle_raw(Selector::default(), options, move |_, _| {
        counter.fetch_add(1, Relaxed);
        async { Ok::<(), Fail>(()) }
    });
    workers.start().unwrap()
}

/// Allocations and reallocations of each of [`COUNTED`] pieces of work.
fn each(region: &Region<'_, System>) -> f64 {
    let change = region.change();
    (change.allocations + change.reallocations) as f64 / COUNTED as f64
}

#[tokio::test]
async fn a_message_allocates_little_beyond_itself() {
    let _turn = TURN.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(folder.path()).await.unwrap();
    enqueue(&engine, WARM).await;
    let region = Region::new(ALLOCATOR);
    enqueue(&engine, COUNTED).await;
    let per_enqueue = each(&region);

    let handled = Arc::new(AtomicUsize::new(0));
    let workers = start_workers(&engine, &handled);
    engine.run_until_empty().await.unwrap();
    enqueue(&engine, WARM).await;
    engine.run_until_empty().await.unwrap();
    let (region, before) = (Region::new(ALLOCATOR), handled.load(Relaxed));
    enqueue(&engine, COUNTED).await;
    engine.run_until_empty().await.unwrap();
    let per_job = each(&region);
    assert_eq!(handled.load(Relaxed) - before, COUNTED);
    workers.stop(secs(5)).await;
    engine.close().await.unwrap();

    println!("{per_enqueue:.2} allocations for each enqueue, {per_job:.2} for each job");
    assert!(
        per_enqueue <= PER_ENQUEUE && per_job <= PER_JOB,
        "{per_enqueue:.2} allocations for each enqueue (at most {PER_ENQUEUE}), {per_job:.2} for each job (at most {PER_JOB})"
    );
}

#[tokio::test]
async fn a_batch_that_waits_for_a_full_queue_costs_those_nothing_who_leave_it() {
    let _turn = TURN.lock().await;
    let engine = Engine::in_memory().open().await.unwrap();
    let limit = u64::try_from(BATCH).unwrap();
    let queue = engine.admin().queue("bench");
    queue.limit_messages(limit).await.unwrap();
    let batch = || vec![MESSAGE.clone(); BATCH];
    let backend = engine.backend();
    let sent = backend.enqueue(batch(), WhenFull::Refuse);
    let receipts = sent.await.unwrap().unwrap();
    let waiting = backend.enqueue(batch(), WhenFull::Wait(hours(1)));
    engine.sync().await.unwrap();
    let (leaving, last) = receipts.split_at(BATCH - 1);
    let region = Region::new(ALLOCATOR);
    for receipt in leaving {
        engine.cancel(receipt.accepted.id).await.unwrap();
    }
    let each = region.change().bytes_allocated / leaving.len();
    assert!(!waiting.is_done(), "one more has to leave");
    engine.cancel(last[0].accepted.id).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().len(), BATCH);
    println!("{each} bytes for each that leaves");
    assert!(
        each <= PER_LEAVE,
        "{each} bytes for each that leaves, at most {PER_LEAVE}"
    );
}
