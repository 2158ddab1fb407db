//! Every way a message becomes ready reaches a free worker, and no more run at once than may.

use std::sync::Arc;
use std::time::Duration;

use mq_core::state::Outcome as Ended;
use mq_dispatch::{ControlError, Fail, HandlerOptions, Outcome, Outgoing, Retry, Workers};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::store::{Is, Store};
use crate::{Charge, Double, Notify};

async fn charge(_charge: Charge) -> Outcome {
    Ok(())
}

/// Workers whose handlers wait for the gate, `count` at once.
fn gated(store: &Arc<Store>, gate: &Arc<Semaphore>, count: usize) -> Workers {
    let gate = Arc::clone(gate);
    let handler = move |_: Charge| {
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await?.forget();
            Ok::<(), Fail>(())
        }
    };
    let options = |h: HandlerOptions| h.parallelism(1..=count).timeout(Duration::MAX);
    store
        .workers()
        .handle_with(handler, options)
        .start()
        .unwrap()
}

fn send(store: &Store, count: u64) {
    for order in 0..count {
        store.send(&Charge { order });
    }
}

/// Lets everything that can run without time passing run.
async fn settle_down() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_waits_from_before_the_start_is_handled() {
    let store = Store::new();
    let id = store.send(&Charge { order: 7 });
    let _workers = store.workers().handle(charge).start().unwrap();
    store.ended(id, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_fresh_message_is_handled() {
    let store = Store::new();
    let _workers = store.workers().handle(charge).start().unwrap();
    settle_down().await;
    let id = store.send(&Charge { order: 7 });
    store.ended(id, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_falls_due_is_handled() {
    let store = Store::new();
    let _workers = store.workers().handle(charge).start().unwrap();
    let id = store.post(Outgoing::new(&Charge { order: 7 }).delay(Duration::from_secs(60)));
    tokio::time::sleep(Duration::from_secs(59)).await;
    store.tick();
    settle_down().await;
    assert!(store.get(id).ends.is_empty());
    tokio::time::sleep(Duration::from_secs(1)).await;
    store.tick();
    store.ended(id, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_released_message_is_handled() {
    let store = Store::new();
    let _workers = store.workers().handle(charge).start().unwrap();
    let id = store.post(Outgoing::new(&Charge { order: 7 }).hold("later"));
    settle_down().await;
    assert_eq!(store.get(id).is, Is::Held);
    store.release(id);
    store.ended(id, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_message_comes_to_another_pool_when_its_lease_runs_out() {
    let store = Store::new();
    let stuck = store
        .workers()
        .handle(|_: Charge| std::future::pending::<()>());
    let stuck = stuck.start().unwrap();
    let id = store.send(&Charge { order: 7 });
    settle_down().await;
    stuck.pause("charge").unwrap();
    settle_down().await;
    let _workers = store.workers().handle(charge).start().unwrap();
    // The clock of the store alone goes on: nobody renews.
    store.lose_lease(id);
    let stored = store.ended(id, 2).await;
    let ends: Vec<Ended> = stored.ends.iter().map(|(outcome, _)| *outcome).collect();
    assert_eq!(ends, [Ended::LeaseExpired, Ended::Succeeded]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_becomes_free_takes_the_next_message() {
    let store = Store::new();
    let gate = Arc::new(Semaphore::new(0));
    let workers = gated(&store, &gate, 2);
    send(&store, 5);
    settle_down().await;
    assert_eq!(workers.running().len(), 2);
    assert_eq!(store.permits("charge"), 0, "no worker is free");
    gate.add_permits(1);
    settle_down().await;
    assert_eq!(workers.running().len(), 2, "the next one has started");
    gate.add_permits(9);
    store.quiet().await;
    settle_down().await;
    assert_eq!(store.permits("charge"), 2, "each free worker is one permit");
}

#[tokio::test(start_paused = true)]
async fn scaling_up_is_in_force_at_once() {
    let store = Store::new();
    let gate = Arc::new(Semaphore::new(0));
    let workers = gated(&store, &gate, 8);
    workers.scale("charge", 1).await.unwrap();
    send(&store, 9);
    settle_down().await;
    assert_eq!(workers.running().len(), 1);
    workers.scale("charge", 8).await.unwrap();
    settle_down().await;
    assert_eq!(workers.running().len(), 8);
}

#[tokio::test(start_paused = true)]
async fn scaling_down_is_in_force_when_enough_handlers_have_ended() {
    let store = Store::new();
    let gate = Arc::new(Semaphore::new(0));
    let workers = gated(&store, &gate, 4);
    send(&store, 9);
    settle_down().await;
    let mut scaled = Box::pin(workers.scale("charge", 2));
    settle_down().await;
    assert_eq!(workers.running().len(), 4, "nothing is stopped");
    gate.add_permits(1);
    settle_down().await;
    assert_eq!(workers.running().len(), 3, "nothing new starts");
    let soon = tokio::time::timeout(Duration::ZERO, &mut scaled).await;
    assert!(soon.is_err(), "three still run");
    gate.add_permits(1);
    scaled.await.unwrap();
    settle_down().await;
    assert_eq!(workers.running().len(), 2);
    gate.add_permits(9);
    store.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_pool_scales_down_at_once() {
    let store = Store::new();
    let gate = Arc::new(Semaphore::new(0));
    let workers = gated(&store, &gate, 4);
    workers.scale("charge", 1).await.unwrap();
    assert_eq!(store.permits("charge"), 1);
    workers.scale("charge.old", 3).await.unwrap();
    assert_eq!(
        workers.stats().first().unwrap().limit,
        3,
        "by its alias too"
    );
}

#[tokio::test(start_paused = true)]
async fn scaling_keeps_to_the_authors_range_and_to_known_kinds() {
    let store = Store::new();
    let gate = Arc::new(Semaphore::new(0));
    let workers = gated(&store, &gate, 4);
    for given in [0, 5] {
        let error = workers.scale("charge", given).await.unwrap_err();
        assert!(matches!(error, ControlError::OutOfRange { .. }), "{error}");
    }
    let error = workers.scale("change", 2).await.unwrap_err();
    assert!(error.to_string().contains("there are: charge"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_paused_pool_starts_nothing_and_goes_on_when_resumed() {
    let store = Store::new();
    let workers = store.workers().handle(charge).start().unwrap();
    workers.pause("charge").unwrap();
    settle_down().await;
    assert_eq!(store.permits("charge"), 0);
    let id = store.send(&Charge { order: 7 });
    settle_down().await;
    assert_eq!(store.get(id).is, Is::Ready);
    workers.resume("charge").unwrap();
    store.ended(id, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_message_granted_across_a_pause_goes_back_unharmed() {
    let store = Store::new();
    let workers = store.workers().handle(charge).start().unwrap();
    let id = store.send(&Charge { order: 7 }); // granted, not taken yet
    workers.pause("charge").unwrap();
    let stored = store.until(id, |stored| stored.is == Is::Ready).await;
    assert!(stored.ends.is_empty());
    assert_eq!(workers.stats().first().unwrap().totals.given_back, 1);
}

#[tokio::test(start_paused = true)]
async fn settlements_of_many_handlers_share_batches() {
    let store = Store::new();
    let gate = Arc::new(Semaphore::new(0));
    let _workers = gated(&store, &gate, 64);
    send(&store, 64);
    settle_down().await;
    gate.add_permits(64);
    store.quiet().await;
    let batches = store.batches();
    assert_eq!(batches.iter().sum::<usize>(), 64);
    assert!(batches.len() <= 4, "{batches:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_messages_are_each_handled_once() {
    let store = Store::new();
    let workers = store.workers();
    let workers = workers
        .handle_with(charge, |h| h.parallelism(1..=64))
        .start()
        .unwrap();
    send(&store, 2_000);
    store.quiet().await;
    workers.stop(Duration::from_secs(25)).await;
    assert!(store.all().iter().all(|stored| stored.ends.len() == 1));
    let stats = workers.stats().pop().unwrap();
    assert_eq!(
        (stats.totals.started, stats.totals.succeeded),
        (2_000, 2_000)
    );
    assert_eq!((stats.run.count, stats.running), (2_000, 0));
}

/// Two handlers that wait for the gate and share four workers.
fn sharing(store: &Arc<Store>, gate: &Arc<Semaphore>) -> Workers {
    async fn wait(gate: Arc<Semaphore>) -> Outcome {
        gate.acquire().await?.forget();
        Ok(())
    }
    let (one, other) = (Arc::clone(gate), Arc::clone(gate));
    store
        .workers()
        .pool("bulk", |p| p.parallelism(1..=4))
        .handle_with(
            move |_: Charge| wait(Arc::clone(&one)),
            |h| h.pool("bulk").timeout(Duration::MAX),
        )
        .handle_with(
            move |_: Notify| wait(Arc::clone(&other)),
            |h| h.pool("bulk").retry(Retry::never()),
        )
        .handle(|double: Double| async move { Ok::<_, Fail>(double.number * 2) })
        .start()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn handlers_that_share_a_pool_run_no_more_at_once_than_it_says_all_together() {
    let store = Store::new();
    let gate = Arc::new(Semaphore::new(0));
    let workers = sharing(&store, &gate);
    for order in 0..6 {
        store.send(&Charge { order });
        store.send(&Notify { order });
    }
    settle_down().await;
    let running = workers.running();
    let kinds: Vec<&str> = running
        .iter()
        .map(|running| running.kind.as_str())
        .collect();
    assert_eq!(
        kinds,
        ["charge", "notify", "charge", "notify"],
        "in the order of the store"
    );
    let apart = store.send(&Double { number: 21 });
    store.ended(apart, 1).await;
    let pools: Vec<String> = workers.stats().into_iter().map(|pool| pool.kind).collect();
    assert_eq!(pools, ["bulk", "double"]);
    gate.add_permits(12);
    store.quiet().await;
    settle_down().await;
    let totals = workers.stats().first().unwrap().totals;
    assert_eq!(
        (totals.started, totals.succeeded, totals.given_back),
        (12, 12, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_shared_pool_is_scaled_and_paused_as_a_whole_by_any_of_its_names() {
    let store = Store::new();
    let gate = Arc::new(Semaphore::new(0));
    let workers = sharing(&store, &gate);
    workers.scale("bulk", 1).await.unwrap();
    store.send(&Notify { order: 1 });
    store.send(&Charge { order: 2 });
    settle_down().await;
    assert_eq!(workers.running().len(), 1);
    workers.scale("notify", 2).await.unwrap();
    settle_down().await;
    assert_eq!(workers.running().len(), 2);
    workers.pause("charge").unwrap();
    gate.add_permits(9);
    settle_down().await;
    let late = store.send(&Notify { order: 3 });
    settle_down().await;
    assert_eq!(store.get(late).is, Is::Ready);
    workers.resume("bulk").unwrap();
    store.ended(late, 1).await;
}

#[tokio::test(start_paused = true)]
async fn each_handler_of_a_shared_pool_keeps_its_own_settings() {
    let store = Store::new();
    let fail = || async { Outcome::Err(Fail::retry("no")) };
    let _workers = store
        .workers()
        .pool("bulk", |p| p.parallelism(1..=4))
        .handle_with(move |_: Charge| fail(), |h| h.pool("bulk"))
        .handle_with(
            move |_: Notify| fail(),
            |h| h.pool("bulk").retry(Retry::never()),
        )
        .start()
        .unwrap();
    let again = store.send(&Charge { order: 1 });
    let once = store.send(&Notify { order: 1 });
    assert_eq!(store.ended(again, 1).await.delays, [Duration::from_secs(1)]);
    assert!(matches!(store.ended(once, 1).await.is, Is::Dead(_)));
}

#[tokio::test(start_paused = true)]
async fn layers_of_one_handler_hold_the_permits_of_its_pool_back() {
    let store = Store::new();
    let _workers = store
        .workers()
        .pool("bulk", |p| p.parallelism(1..=4))
        .handle_with(
            |_: Charge| async {},
            |h| {
                h.pool("bulk")
                    .layer(tower::limit::ConcurrencyLimitLayer::new(2))
            },
        )
        .handle_with(|_: Notify| async {}, |h| h.pool("bulk"))
        .start()
        .unwrap();
    settle_down().await;
    assert_eq!(store.permits("charge"), 2);
    for order in 0..9 {
        store.send(&Charge { order });
        store.send(&Notify { order });
    }
    store.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_shared_pools_is_said_at_the_start() {
    let store = Store::new();
    let started = store
        .workers()
        .pool("empty", |p| p)
        .pool("twice", |p| p.parallelism(0..=2))
        .pool("twice", |p| p)
        .pool("notify", |p| p)
        .handle_with(charge, |h| h.pool("twice").parallelism(1..=4))
        .handle_with(|_: Notify| async {}, |h| h.pool("notify"))
        .handle_with(|_: Double| async { Ok::<_, Fail>(1) }, |h| h.pool("buk"))
        .start();
    let text = started.unwrap_err().to_string();
    assert!(text.starts_with("6 problems"), "{text}");
    for problem in [
        "pool empty: the pool has no handlers",
        "pool twice: parallelism 0..=2",
        "pool twice: the name \"twice\" is taken",
        "pool notify: the name \"notify\" is taken",
        "charge: it shares the pool \"twice\", whose parallelism",
        "double: there is no pool \"buk\"; add it: `.pool(\"buk\", |p| p.parallelism(1..=4))`",
    ] {
        assert!(text.contains(problem), "{problem} is not in {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_scaling_down_that_overtakes_a_scaling_up_is_answered() {
    let store = Store::new();
    let gate = Arc::new(Semaphore::new(0));
    let workers = gated(&store, &gate, 4);
    workers.scale("charge", 1).await.unwrap();
    let (told, hears) = std::sync::mpsc::channel();
    let (release, go_on) = std::sync::mpsc::channel();
    let go_on = Mutex::new(go_on);
    store.on_checkout(move || {
        told.send(()).unwrap();
        go_on.lock().recv().unwrap();
    });
    let control = workers.control();
    let up = std::thread::spawn(move || drop(control.scale("charge", 4)));
    hears.recv().unwrap();
    let down = workers.scale("charge", 1);
    release.send(()).unwrap();
    up.join().unwrap();
    let answered = tokio::time::timeout(Duration::from_secs(60), down).await;
    answered.expect("the limit is in force").unwrap();
    assert_eq!(store.permits("charge"), 1);
}
