//! Many threads at once on one engine, on real files: producers that block and that await, workers, an operator, and a close in the
//! midst of it. What ThreadSanitizer runs (`cargo xtask tsan`, which sets `MQ_STRESS` to try more).
//!
//! Nothing is timed: a wake-up that is lost makes a test hang.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;

use mq::prelude::*;
use mq::{Durability, EnqueueError, Limit, Lookup, MessageId};
use parking_lot::Mutex;

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "job", queue = "work")]
struct Job {
    producer: u64,
    number: u64,
}

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<(u64, u64)>>>);

async fn note(job: Job, State(seen): State<Seen>) -> Outcome {
    if job.number.is_multiple_of(16) {
        tokio::task::yield_now().await;
    }
    seen.0.lock().push((job.producer, job.number));
    Ok(())
}

/// How many messages each producer sends, in whole tens.
fn each() -> u64 {
    let times = std::env::var("MQ_STRESS").ok();
    let times = times.and_then(|times| times.parse().ok());
    200 * times.unwrap_or(1_u64)
}

fn produce_blocking(engine: &Engine, producer: u64) {
    for number in 0..each() {
        let request = engine.enqueue(Job { producer, number });
        let request = match number % 3 {
            0 => request.durability(Durability::Buffered),
            1 => request.ordering_key(producer.to_le_bytes()),
            _ => request,
        };
        request.wait().unwrap();
    }
}

async fn produce_batches(engine: Engine, producer: u64) {
    for ten in 0..each() / 10 {
        let jobs = (ten * 10..ten * 10 + 10).map(|number| Job { producer, number });
        engine.batch().extend(jobs).await.unwrap();
    }
}

async fn produce_ahead(engine: Engine, producer: u64) {
    let requests = (0..each()).map(|number| engine.enqueue(Job { producer, number }));
    let pending: Vec<_> = requests.map(|request| request.submit().unwrap()).collect();
    for answer in pending {
        answer.await.unwrap();
    }
}

/// Looks and meddles until the others are done.
fn operate(engine: &Engine, is_over: &AtomicBool) {
    let admin = engine.admin();
    while !is_over.load(Relaxed) {
        admin.pause_queue("work").wait().unwrap();
        assert!(engine.stats().enqueued <= 4 * each());
        admin.resume_queue("work").wait().unwrap();
        admin.snapshot().wait().unwrap();
        engine.sync().wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_many_threads_send_is_handled_once_whatever_an_operator_does() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::open(directory.path().join("data")).await.unwrap();
    let seen = Seen::default();
    let workers = engine.workers().state(seen.clone()).handle(note);
    let workers = workers.start().unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let operator = thread::spawn({
        let (engine, is_over) = (engine.clone(), Arc::clone(&is_over));
        move || operate(&engine, &is_over)
    });
    let blocking = [0, 1].map(|producer| {
        let engine = engine.clone();
        thread::spawn(move || produce_blocking(&engine, producer))
    });
    let batches = tokio::spawn(produce_batches(engine.clone(), 2));
    let ahead = tokio::spawn(produce_ahead(engine.clone(), 3));
    batches.await.unwrap();
    ahead.await.unwrap();
    let rest = tokio::task::spawn_blocking(move || {
        for producer in blocking {
            producer.join().unwrap();
        }
        is_over.store(true, Relaxed);
        operator.join().unwrap();
    });
    rest.await.unwrap();
    engine.run_until_empty().await.unwrap();
    workers.stop(secs(60)).await;
    engine.close().await.unwrap();
    let mut seen = std::mem::take(&mut *seen.0.lock());
    seen.sort_unstable();
    let sent = (0..4).flat_map(|producer| (0..each()).map(move |number| (producer, number)));
    assert!(seen.into_iter().eq(sent));
}

/// Sends until the engine is closed; answers what was acknowledged.
fn send_until_closed(engine: &Engine, producer: u64) -> Vec<MessageId> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        match engine.enqueue(Job { producer, number }).wait() {
            Ok(receipt) => acknowledged.push(receipt.id()),
            Err(EnqueueError::Closed) => break,
            Err(other) => unreachable!("{other:?}"),
        }
    }
    acknowledged
}

async fn submit_until_closed(engine: Engine, producer: u64) -> Vec<MessageId> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        match engine.enqueue(Job { producer, number }).await {
            Ok(receipt) => acknowledged.push(receipt.id()),
            Err(EnqueueError::Closed) => break,
            Err(other) => unreachable!("{other:?}"),
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_sends_while_the_engine_closes_is_answered_and_the_answer_is_true() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let mut acknowledged = Vec::new();
    for _ in 0..each() / 50 {
        let engine = Engine::open(&path).await.unwrap();
        let blocking = [0, 1].map(|producer| {
            let engine = engine.clone();
            thread::spawn(move || send_until_closed(&engine, producer))
        });
        let awaiting = tokio::spawn(submit_until_closed(engine.clone(), 2));
        while engine.stats().enqueued < 20 {
            tokio::task::yield_now().await;
        }
        engine.close().await.unwrap();
        acknowledged.extend(awaiting.await.unwrap());
        for sender in blocking {
            acknowledged.extend(sender.join().unwrap());
        }
    }
    let engine = Engine::open(&path).await.unwrap();
    for id in acknowledged {
        let found = engine.message(id).await.unwrap();
        assert!(matches!(found, Lookup::Found(_)), "{id}: {found:?}");
    }
    engine.close().await.unwrap();
}

/// Sent is sent: more than a ring holds and a frame takes.
#[test]
fn what_was_sent_before_the_close_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::builder(folder.path()).open_wait().unwrap();
    let number = 20_000;
    let send = |number| {
        engine
            .enqueue(Job {
                producer: 1,
                number,
            })
            .submit()
    };
    let pending: Vec<_> = (0..number).map(|number| send(number).unwrap()).collect();
    engine.close_wait().unwrap();
    for pending in pending {
        pending.wait().unwrap();
    }
    let engine = Engine::builder(folder.path()).open_wait().unwrap();
    assert_eq!(engine.stats().store.live_messages, number);
    engine.close_wait().unwrap();
}

/// Whoever keeps house gets his turn between two frames, and so does the close: the ring of submissions is never empty here.
#[test]
fn under_a_load_that_never_pauses_there_are_snapshots_and_a_close() {
    let folder = tempfile::tempdir().unwrap();
    let builder = Engine::builder(folder.path()).capacity(Limit::messages(100_000_000));
    let engine = builder.open_wait().unwrap();
    let sent = AtomicU64::new(0);
    let narrow = engine.admin().queue("narrow");
    narrow.limit_messages(1).wait().unwrap();
    thread::scope(|scope| {
        let engine = &engine;
        // The second waits for room that never comes, and leads meanwhile.
        scope.spawn(|| {
            for number in 0..2 {
                let job = engine
                    .enqueue(Job {
                        producer: 9,
                        number,
                    })
                    .queue("narrow");
                drop(job.wait());
            }
        });
        for producer in 0..2 {
            let sent = &sent;
            scope.spawn(move || {
                for number in 0.. {
                    let Ok(pending) = engine.enqueue(Job { producer, number }).submit() else {
                        return;
                    };
                    sent.fetch_add(1, Relaxed);
                    drop(pending);
                }
            });
        }
        while sent.load(Relaxed) < 20_000 {
            thread::yield_now();
        }
        engine.admin().snapshot().wait().unwrap();
        engine.close_wait().unwrap();
    });
}
