//! A stop takes nothing new, waits, asks, aborts, and costs no attempt.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use mq_core::backend::Grant;
use mq_core::state::Outcome as Ended;
use mq_dispatch::{
    Ctx, Ended as AttemptEnded, Fail, HandlerOptions, Observation, Observer, Outcome, StopReport,
};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::Charge;
use crate::store::{Is, Store};

const GRACE: Duration = Duration::from_secs(25);

fn one(h: HandlerOptions) -> HandlerOptions {
    h.parallelism(1..=1)
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_running_handlers_and_starts_no_more() {
    async fn charge(_charge: Charge) -> Outcome {
        tokio::time::sleep(Duration::from_secs(20)).await;
        Ok(())
    }
    let store = Store::new();
    let workers = store.workers().handle_with(charge, one).start().unwrap();
    let first = store.send(&Charge { order: 1 });
    let second = store.send(&Charge { order: 2 });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let start = tokio::time::Instant::now();
    let report = workers.stop(GRACE).await;
    assert_eq!(start.elapsed().as_secs(), 19);
    assert_eq!(report, StopReport::default());
    assert_eq!(store.get(first).is, Is::Succeeded(None));
    let second = store.get(second);
    assert_eq!((second.is, second.ends.len()), (Is::Ready, 0));
    assert_eq!(store.pools(), 0, "the pools are detached");
}

#[tokio::test(start_paused = true)]
async fn after_the_grace_handlers_are_asked_and_their_interruption_costs_nothing() {
    async fn charge(_charge: Charge, ctx: Ctx) -> Result<(), std::io::Error> {
        ctx.cancelled().await;
        Err(std::io::Error::other("the connection was closed under it"))
    }
    let store = Store::new();
    let workers = store.workers().handle(charge).start().unwrap();
    let id = store.send(&Charge { order: 1 });
    store.until(id, |stored| stored.is == Is::Leased).await;
    tokio::task::yield_now().await;
    let start = tokio::time::Instant::now();
    let report = workers.stop(GRACE).await;
    assert_eq!(start.elapsed(), GRACE);
    assert_eq!((report.asked_to_stop, report.aborted), (1, 0));
    let stored = store.get(id);
    assert_eq!(stored.ends.first().unwrap().0, Ended::Interrupted);
    assert_eq!((stored.is, stored.failures), (Is::Ready, 0));
}

#[tokio::test(start_paused = true)]
async fn handlers_that_do_not_obey_are_aborted_at_no_cost() {
    let store = Store::new();
    let handler = |_: Charge| std::future::pending::<()>();
    let workers = store.workers().handle(handler).start().unwrap();
    let id = store.send(&Charge { order: 1 });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let report = workers.stop(GRACE).await;
    assert_eq!((report.aborted, report.stuck), (1, 0));
    let stored = store.get(id);
    assert_eq!(stored.ends.first().unwrap().0, Ended::Interrupted);
    assert_eq!(stored.failures, 0);
    assert!(workers.running().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_does_not_obey_is_reported_as_stuck() {
    let (release, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let handler = move |_: Charge| {
        gate.lock().recv().ok();
    };
    let store = Store::new();
    let workers = store.workers().handle_blocking(handler).start().unwrap();
    let id = store.send(&Charge { order: 1 });
    while workers.running().is_empty() {
        tokio::task::yield_now().await;
    }
    let report = workers.stop(GRACE).await;
    assert_eq!((report.aborted, report.stuck), (1, 1));
    assert_eq!(store.get(id).ends.first().unwrap().0, Ended::Interrupted);
    release.send(()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_granted_message_that_has_not_started_goes_back() {
    let store = Store::new();
    let gate = Arc::new(Semaphore::new(0));
    let handler = {
        let gate = Arc::clone(&gate);
        move |_: Charge| {
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await?.forget();
                Ok::<(), Fail>(())
            }
        }
    };
    let workers = store.workers().handle_with(handler, one).start().unwrap();
    let first = store.send(&Charge { order: 1 });
    while workers.running().is_empty() {
        tokio::task::yield_now().await;
    }
    workers.scale("charge", 1).await.unwrap();
    gate.add_permits(1);
    store.ended(first, 1).await;
    while store.permits("charge") == 0 {
        tokio::task::yield_now().await;
    }
    let second = store.send(&Charge { order: 2 }); // granted, and not taken yet
    let report = workers.stop(GRACE).await;
    assert_eq!(report.given_back, 1);
    assert_eq!(store.get(first).is, Is::Succeeded(None));
    let second = store.get(second);
    assert_eq!((second.is, second.ends.len()), (Is::Ready, 0));
}

#[tokio::test(start_paused = true)]
async fn dropped_workers_stop_by_themselves_at_no_cost() {
    async fn charge(_charge: Charge, ctx: Ctx) -> Outcome {
        ctx.cancelled().await;
        Err("asked to stop".into())
    }
    let store = Store::new();
    let workers = store.workers().handle(charge).start().unwrap();
    let control = workers.control();
    let id = store.send(&Charge { order: 1 });
    store.until(id, |stored| stored.is == Is::Leased).await;
    tokio::task::yield_now().await;
    drop(workers);
    let stored = store.ended(id, 1).await;
    assert_eq!(stored.ends.first().unwrap().0, Ended::Interrupted);
    while store.pools() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(
        control.scale("charge", 1).await.is_err(),
        "they are stopped"
    );
}

#[tokio::test(start_paused = true)]
async fn a_second_stop_waits_for_the_first() {
    async fn charge(_charge: Charge) -> Outcome {
        tokio::time::sleep(Duration::from_secs(20)).await;
        Ok(())
    }
    let store = Store::new();
    let workers = store.workers().handle(charge).start().unwrap();
    let id = store.send(&Charge { order: 1 });
    store.until(id, |stored| stored.is == Is::Leased).await;
    tokio::task::yield_now().await;
    let (first, second) = tokio::join!(workers.stop(GRACE), workers.stop(Duration::ZERO));
    assert_eq!(first, second);
    assert_eq!(workers.stop(GRACE).await, first, "and so does a third");
    assert_eq!(store.get(id).is, Is::Succeeded(None));
}

#[test]
fn a_runtime_that_goes_away_interrupts_its_handlers_at_no_cost() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let store = Store::new();
    let (workers, id) = runtime.block_on(async {
        let handler = |_: Charge| std::future::pending::<()>();
        let workers = store.workers().handle(handler).start().unwrap();
        let id = store.send(&Charge { order: 1 });
        while workers.running().is_empty() {
            tokio::task::yield_now().await;
        }
        (workers, id)
    });
    drop(runtime);
    let stored = store.get(id);
    assert_eq!(stored.ends.first().unwrap().0, Ended::Interrupted);
    assert_eq!(stored.failures, 0);
    let report = workers.stop(GRACE).wait();
    assert_eq!(report.stuck, 0, "a stop without a runtime answers too");
}

/// Watches attempts; the end of each waits on its thread until the test lets it go on.
#[derive(Debug)]
struct Slow {
    told: mpsc::Sender<()>,
    go_on: Arc<Mutex<mpsc::Receiver<()>>>,
}

struct SlowEnd {
    told: mpsc::Sender<()>,
    go_on: Arc<Mutex<mpsc::Receiver<()>>>,
}

impl Observer for Slow {
    fn started(&self, _grant: &Grant, _waited: Option<Duration>) -> Box<dyn Observation> {
        let (told, go_on) = (self.told.clone(), Arc::clone(&self.go_on));
        Box::new(SlowEnd { told, go_on })
    }
}

impl Observation for SlowEnd {
    fn within(&self, work: &mut dyn FnMut()) {
        work();
    }

    fn ended(&self, _ended: &AttemptEnded) {
        self.told.send(()).unwrap();
        self.go_on.lock().recv().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_the_settlement_of_an_attempt_that_is_just_ending() {
    let (told, hears) = mpsc::channel();
    let (release, go_on) = mpsc::channel();
    let go_on = Arc::new(Mutex::new(go_on));
    let store = Store::new();
    let workers = store.workers().observer(Arc::new(Slow { told, go_on }));
    let workers = workers.handle_blocking(|_: Charge| ()).start().unwrap();
    let id = store.send(&Charge { order: 1 });
    while hears.try_recv().is_err() {
        tokio::task::yield_now().await;
    }
    let mut stopped = Box::pin(workers.stop(GRACE));
    let soon = tokio::time::timeout(Duration::from_secs(300), &mut stopped).await;
    assert!(soon.is_err(), "its success is not settled yet");
    release.send(()).unwrap();
    stopped.await;
    assert_eq!(store.get(id).is, Is::Succeeded(None));
}

#[tokio::test(start_paused = true)]
async fn handlers_are_aborted_while_the_store_does_not_answer() {
    let store = Store::new();
    let handler = |_: Charge| std::future::pending::<()>();
    let workers = store
        .workers()
        .handle_with(handler, |h| h.parallelism(1..=3))
        .start()
        .unwrap();
    for order in 1..=3 {
        store.send(&Charge { order });
    }
    while workers.running().len() < 3 {
        tokio::task::yield_now().await;
    }
    store.hold_settlements_up();
    let stopped = workers.stop(GRACE);
    tokio::time::sleep(GRACE + Duration::from_secs(6)).await;
    assert!(workers.running().is_empty(), "each of them is aborted");
    assert_eq!(store.held_up(), 3, "and the store was told of each");
    store.let_settlements_go();
    let report = stopped.await;
    assert_eq!((report.aborted, report.stuck), (3, 0));
}
