//! Time limits, renewal, cancellation and lost leases, all in paused time.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use mq_core::state::Outcome as Ended;
use mq_dispatch::{CancelReason, Cancelled, Ctx, Fail, Illness, Outcome, Retry, State};
use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::Charge;
use crate::store::{Is, Store, Stored};

const SECOND: Duration = Duration::from_secs(1);

/// Lets time pass for dispatch and store alike.
async fn pass(store: &Store, seconds: u32) {
    for _ in 0..seconds {
        tokio::time::sleep(SECOND).await;
        store.tick();
    }
}

fn error_type(stored: &Stored) -> String {
    let (_, failure) = stored.ends.first().unwrap().clone();
    failure.unwrap_or_default().error_type
}

#[tokio::test(start_paused = true)]
async fn the_lease_of_a_long_handler_is_renewed_while_it_lives() {
    async fn charge(_charge: Charge) -> Outcome {
        tokio::time::sleep(Duration::from_secs(200)).await;
        Ok(())
    }
    let store = Store::new();
    let _workers = store.workers().handle(charge).start().unwrap();
    let id = store.send(&Charge { order: 7 });
    pass(&store, 201).await;
    let stored = store.ended(id, 1).await;
    assert_eq!(stored.is, Is::Succeeded(None));
    assert!(
        (19..=21).contains(&store.renewals()),
        "{}",
        store.renewals()
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_renewed_while_nothing_runs() {
    let store = Store::new();
    let _workers = store
        .workers()
        .handle(|_: Charge| async {})
        .start()
        .unwrap();
    let id = store.send(&Charge { order: 7 });
    store.ended(id, 1).await;
    pass(&store, 100).await;
    assert_eq!(store.renewals(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_handler_past_its_time_limit_is_asked_to_stop_first() {
    async fn charge(_charge: Charge, ctx: Ctx) -> Result<(), Cancelled> {
        let reason = ctx.cancelled().await;
        assert_eq!(reason, CancelReason::Timeout);
        ctx.check_cancelled()
    }
    let store = Store::new();
    let workers = store.workers().handle_with(charge, |h| h.timeout(SECOND));
    let workers = workers.start().unwrap();
    let start = tokio::time::Instant::now();
    let id = store.send(&Charge { order: 7 });
    let stored = store.ended(id, 1).await;
    assert_eq!(start.elapsed().as_secs(), 1);
    assert_eq!(error_type(&stored), "timeout");
    assert_eq!(stored.failures, 1);
    assert_eq!(workers.stats().first().unwrap().totals.timed_out, 1);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_ignores_its_time_limit_is_aborted_and_its_worker_is_free() {
    struct Dropped(UnboundedSender<()>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.send(()).ok();
        }
    }
    let (told, mut hears) = unbounded_channel::<()>();
    let store = Store::new();
    let handler = move |_: Charge| {
        let dropped = Dropped(told.clone());
        async move {
            let _dropped = dropped;
            std::future::pending::<()>().await;
        }
    };
    let one =
        |h: mq_dispatch::HandlerOptions| h.parallelism(1..=1).timeout(SECOND).retry(Retry::never());
    let workers = store.workers().handle_with(handler, one).start().unwrap();
    let start = tokio::time::Instant::now();
    let first = store.send(&Charge { order: 7 });
    let second = store.send(&Charge { order: 8 });
    let stored = store.ended(first, 1).await;
    assert_eq!(start.elapsed().as_secs(), 6, "limit and grace");
    assert_eq!(error_type(&stored), "timeout");
    hears.recv().await.unwrap();
    store.ended(second, 1).await;
    let stats = workers.stats().pop().unwrap();
    assert_eq!((stats.stuck, stats.totals.timed_out), (0, 2));
    assert_eq!(store.stale(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_blocking_handler_that_ignores_its_time_limit_is_stuck_until_it_returns() {
    let (release, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let handler = move |_: Charge| {
        gate.lock().recv().ok();
    };
    let store = Store::new();
    let one =
        |h: mq_dispatch::HandlerOptions| h.parallelism(1..=1).timeout(SECOND).retry(Retry::never());
    let workers = store
        .workers()
        .handle_blocking_with(handler, one)
        .start()
        .unwrap();
    let first = store.send(&Charge { order: 7 });
    let second = store.send(&Charge { order: 8 });
    let stored = store.ended(first, 1).await;
    assert_eq!(error_type(&stored), "timeout");
    let renewals = store.renewals();
    pass(&store, 60).await;
    assert_eq!(store.renewals(), renewals, "its lease is no longer its own");
    assert_eq!(workers.stats().first().unwrap().stuck, 1);
    let kind = "charge".to_owned();
    let illnesses = workers.health().unwrap_err().illnesses;
    assert_eq!(illnesses, [Illness::AllStuck { kind, stuck: 1 }]);
    assert_eq!(store.get(second).is, Is::Ready, "its worker is not free");
    release.send(()).unwrap();
    release.send(()).unwrap();
    store.ended(second, 1).await;
    assert!(workers.health().is_ok());
}

#[tokio::test(start_paused = true)]
async fn extend_moves_the_time_limit() {
    async fn charge(_charge: Charge, ctx: Ctx) -> Outcome {
        ctx.extend(Duration::from_secs(100)).await?;
        tokio::time::sleep(Duration::from_secs(90)).await;
        Ok(())
    }
    let store = Store::new();
    let workers = store.workers().handle_with(charge, |h| h.timeout(SECOND));
    let _workers = workers.start().unwrap();
    let id = store.send(&Charge { order: 7 });
    pass(&store, 91).await;
    assert_eq!(store.ended(id, 1).await.is, Is::Succeeded(None));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_message_ends_cancelled_when_its_handler_obeys() {
    async fn charge(_charge: Charge, ctx: Ctx, State(told): State<UnboundedSender<()>>) -> Outcome {
        told.send(())?;
        ctx.cancelled().await;
        ctx.check_cancelled()?;
        Ok(())
    }
    let (told, mut hears) = unbounded_channel::<()>();
    let store = Store::new();
    let _workers = store.workers().state(told).handle(charge).start().unwrap();
    let id = store.send(&Charge { order: 7 });
    hears.recv().await.unwrap();
    store.cancel(id);
    assert_eq!(store.ended(id, 1).await.is, Is::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_finishes_in_spite_of_a_cancellation_has_succeeded() {
    async fn charge(_charge: Charge, ctx: Ctx, State(told): State<UnboundedSender<()>>) -> Outcome {
        told.send(())?;
        ctx.cancelled().await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        Ok(())
    }
    let (told, mut hears) = unbounded_channel::<()>();
    let store = Store::new();
    let _workers = store.workers().state(told).handle(charge).start().unwrap();
    let id = store.send(&Charge { order: 7 });
    hears.recv().await.unwrap();
    store.cancel(id);
    assert_eq!(
        store.ended(id, 1).await.is,
        Is::Succeeded(None),
        "it was not aborted"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_cancels_its_handler_and_its_answer_is_refused_and_counted() {
    let store = Store::new();
    let reasons = Arc::new(Mutex::new(Vec::new()));
    let handler = {
        let reasons = Arc::clone(&reasons);
        move |_: Charge, ctx: Ctx| {
            let reasons = Arc::clone(&reasons);
            async move {
                if ctx.attempt() == 1 {
                    let reason = ctx.cancelled().await;
                    reasons.lock().push(reason);
                    assert!(ctx.save_checkpoint(&1).await.is_err(), "it is fenced");
                    assert!(ctx.stage(Charge { order: 8 }).await.is_err());
                }
                Ok::<(), Fail>(())
            }
        }
    };
    let workers = store.workers().handle(handler).start().unwrap();
    let id = store.send(&Charge { order: 7 });
    store.until(id, |stored| stored.is == Is::Leased).await;
    tokio::time::sleep(SECOND).await;
    store.lose_lease(id);
    let stored = store
        .until(id, |stored| stored.is == Is::Succeeded(None))
        .await;
    let ends: Vec<Ended> = stored.ends.iter().map(|(outcome, _)| *outcome).collect();
    assert_eq!(ends, [Ended::LeaseExpired, Ended::Succeeded]);
    while store.stale() == 0 {
        tokio::task::yield_now().await;
    }
    tokio::task::yield_now().await;
    assert_eq!(*reasons.lock(), [CancelReason::LeaseLost]);
    let totals = workers.stats().first().unwrap().totals;
    assert_eq!((totals.refused, totals.succeeded), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_ignores_a_lost_lease_is_aborted() {
    let store = Store::new();
    let handler = |_: Charge, ctx: Ctx| async move {
        if ctx.attempt() == 1 {
            std::future::pending::<()>().await;
        }
    };
    let workers = store.workers().handle(handler).start().unwrap();
    let id = store.send(&Charge { order: 7 });
    tokio::time::sleep(SECOND).await;
    store.lose_lease(id);
    store
        .until(id, |stored| stored.is == Is::Succeeded(None))
        .await;
    assert_eq!(workers.running().len(), 1);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(workers.running().len(), 0);
    assert_eq!(workers.stats().first().unwrap().totals.refused, 1);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_finds_the_lease_stale_cancels_the_handler() {
    async fn charge(_charge: Charge, ctx: Ctx, State(told): State<UnboundedSender<CancelReason>>) {
        told.send(ctx.cancelled().await).ok();
    }
    let (told, mut hears) = unbounded_channel::<CancelReason>();
    let store = Store::new();
    let _workers = store.workers().state(told).handle(charge).start().unwrap();
    let id = store.send(&Charge { order: 7 });
    store.until(id, |stored| stored.is == Is::Leased).await;
    store.forget_lease(id);
    assert_eq!(hears.recv().await.unwrap(), CancelReason::LeaseLost);
}

#[test]
fn a_blocked_runtime_does_not_keep_leases_from_being_renewed() {
    // The only test in real time: the timers' own thread is what it is about. It waits for events, never for delays.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let store = Store::new();
    runtime.block_on(async {
        let blocked = Arc::clone(&store);
        let handler = move |_: Charge| {
            let store = Arc::clone(&blocked);
            async move {
                while store.renewals() < 2 {
                    std::thread::yield_now();
                }
            }
        };
        let workers = store.workers().timers(mq_dispatch::Timers::OwnThread);
        let workers = workers
            .handle_with(handler, |h| h.lease(SECOND))
            .start()
            .unwrap();
        let id = store.send(&Charge { order: 7 });
        store.ended(id, 1).await;
        workers.stop(SECOND).await;
    });
}

#[tokio::test(start_paused = true)]
async fn the_lease_of_an_ended_attempt_is_renewed_until_its_settlement_is_answered() {
    let store = Store::new();
    let handler = |charge: Charge| async move {
        if charge.order == 8 {
            std::future::pending::<()>().await;
        }
    };
    let workers = store
        .workers()
        .handle_with(handler, |h| h.timeout(SECOND).retry(Retry::never()));
    let workers = workers.start().unwrap();
    store.hold_settlements_up();
    let ended = store.send(&Charge { order: 7 });
    let taken_away = store.send(&Charge { order: 8 });
    pass(&store, 10).await;
    let queued = store.send(&Charge { order: 9 });
    pass(&store, 200).await;
    assert!(workers.running().is_empty());
    store.let_settlements_go();
    let queued = store.ended(queued, 1).await;
    assert_eq!(store.get(ended).is, Is::Succeeded(None));
    assert_eq!(queued.is, Is::Succeeded(None), "behind the first batch");
    let ends = store.get(taken_away).ends;
    assert_eq!(ends.first().unwrap().0, Ended::Failed);
    assert_eq!(store.stale(), 0);
    let renewals = store.renewals();
    pass(&store, 60).await;
    assert_eq!(store.renewals(), renewals, "nothing is held any more");
}
