//! Dispatch against the naive model of all the rules: what handlers say becomes what the store knows.

use std::sync::Arc;
use std::time::Duration;

use mq_core::backend::{Backend, OperateRequest, WhenFull};
use mq_core::command::Operated;
use mq_core::id::MessageId;
use mq_core::name::QueueName;
use mq_core::state::{Completion, DeadReason, Outcome as Ended, State as Is};
use mq_core::time::{Clock, Timestamp};
use mq_core::view::{Lookup, MessageView, StateKind};
use mq_dispatch::{Ctx, Fail, Outcome, Outgoing, Retry, State, Timers, Workers, WorkersBuilder};
use mq_testing::naive::{Limits, Naive};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use crate::{Charge, Double};

const SECOND: Duration = Duration::from_secs(1);

/// tokio's paused time as the clock of the store.
#[derive(Debug)]
struct TestClock(Instant);

impl Clock for TestClock {
    fn wall(&self) -> Timestamp {
        Timestamp::from_ms(1_767_225_600_000).after(self.monotonic())
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

fn open() -> Arc<Naive> {
    let clock = Arc::new(TestClock(Instant::now()));
    Arc::new(Naive::new(clock, Limits::default()))
}

fn workers(store: &Arc<Naive>) -> WorkersBuilder {
    // Whatever falls due is seen within the second, as long as the store is used.
    let pumped = Arc::downgrade(store);
    drop(tokio::spawn(async move {
        while let Some(store) = pumped.upgrade() {
            store.pump();
            drop(store);
            tokio::time::sleep(SECOND).await;
        }
    }));
    WorkersBuilder::new(Arc::clone(store) as Arc<dyn Backend>)
        .timers(Timers::Runtime)
        .clock(Arc::new(TestClock(Instant::now())))
}

async fn enqueue(store: &Naive, message: impl Into<Outgoing>) -> MessageId {
    let message = message.into().into_message().unwrap();
    let receipts = store
        .enqueue(vec![message], WhenFull::Refuse)
        .await
        .unwrap();
    receipts.unwrap().first().unwrap().accepted.id
}

async fn look(store: &Naive, id: MessageId) -> MessageView {
    match store.message(id).await.unwrap().unwrap() {
        Lookup::Found(view) => *view,
        other => panic!("{id} is gone: {other:?}"),
    }
}

/// Looks each second until the message is what it should be.
async fn until(store: &Naive, id: MessageId, kind: StateKind) -> MessageView {
    loop {
        let view = look(store, id).await;
        if view.state.kind() == kind {
            return view;
        }
        tokio::time::sleep(SECOND).await;
    }
}

async fn operate(store: &Naive, id: MessageId, request: OperateRequest) -> Operated {
    store.operate(id, request).await.unwrap().unwrap()
}

/// Workers that say which message they handle.
fn telling(store: &Arc<Naive>) -> (Workers, UnboundedReceiver<u64>) {
    async fn charge(charge: Charge, State(told): State<UnboundedSender<u64>>) -> Outcome {
        told.send(charge.order)?;
        Ok(())
    }
    let (told, hears) = unbounded_channel();
    let workers = workers(store).state(told).handle(charge).start().unwrap();
    (workers, hears)
}

#[tokio::test(start_paused = true)]
async fn a_spent_budget_is_dead_with_the_last_errors_in_its_history() {
    async fn charge(_charge: Charge, ctx: Ctx) -> Outcome {
        Err(format!("attempt {}", ctx.attempt()).into())
    }
    let store = open();
    let retry = Retry::fixed(Duration::from_secs(30)).max_attempts(3);
    let workers = workers(&store).handle_with(charge, |h| h.retry(retry));
    let _workers = workers.start().unwrap();
    let id = enqueue(&store, Charge { order: 7 }).await;
    let dead = until(&store, id, StateKind::Dead).await;
    let reason = DeadReason::BudgetSpent;
    assert_eq!(dead.state, Is::Dead { reason });
    let texts: Vec<String> = dead
        .tail
        .history
        .iter()
        .map(|attempt| attempt.failure.clone().unwrap().text)
        .collect();
    assert_eq!(texts, ["attempt 1", "attempt 2", "attempt 3"]);
}

#[tokio::test(start_paused = true)]
async fn messages_of_one_ordering_key_run_in_order_through_a_back_off() {
    async fn charge(
        charge: Charge,
        ctx: Ctx,
        State(told): State<UnboundedSender<(u64, u32)>>,
    ) -> Outcome {
        told.send((charge.order, ctx.attempt()))?;
        if charge.order == 1 && ctx.attempt() == 1 {
            return Err("not yet".into());
        }
        Ok(())
    }
    let (told, mut hears) = unbounded_channel::<(u64, u32)>();
    let store = open();
    let _workers = workers(&store).state(told).handle(charge).start().unwrap();
    for order in 0..3 {
        let message = Outgoing::new(&Charge { order }).ordering_key("customer-3");
        enqueue(&store, message).await;
    }
    for expected in [(0, 1), (1, 1), (1, 2), (2, 1)] {
        assert_eq!(hears.recv().await.unwrap(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn every_way_to_become_ready_reaches_a_free_worker() {
    let store = open();
    let restored = enqueue(&store, Charge { order: 1 }).await;
    let (_workers, mut hears) = telling(&store);
    assert_eq!(hears.recv().await, Some(1), "{restored} was there before");

    enqueue(&store, Charge { order: 2 }).await;
    assert_eq!(hears.recv().await, Some(2), "fresh");

    let hour = Duration::from_secs(3600);
    let later = |order| Outgoing::new(&Charge { order }).delay(hour);
    enqueue(&store, later(3)).await;
    assert_eq!(hears.recv().await, Some(3), "fallen due");

    let id = enqueue(&store, later(4)).await;
    operate(&store, id, OperateRequest::RunNow).await;
    assert_eq!(hears.recv().await, Some(4), "run now");

    let held = Outgoing::new(&Charge { order: 5 }).hold("look");
    let id = enqueue(&store, held).await;
    operate(&store, id, OperateRequest::Release).await;
    assert_eq!(hears.recv().await, Some(5), "released");

    let queue = QueueName::new("default").unwrap();
    store
        .pause_queue(queue.clone(), true)
        .await
        .unwrap()
        .unwrap();
    enqueue(&store, Charge { order: 6 }).await;
    tokio::time::sleep(hour).await;
    assert!(hears.try_recv().is_err(), "the queue is paused");
    store.pause_queue(queue, false).await.unwrap().unwrap();
    assert_eq!(hears.recv().await, Some(6), "resumed");
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_is_replayed_is_handled_again() {
    async fn charge(_charge: Charge, State(told): State<UnboundedSender<()>>) -> Outcome {
        told.send(())?;
        Err(Fail::dead_letter("declined").note("ask the customer"))
    }
    let (told, mut hears) = unbounded_channel::<()>();
    let store = open();
    let _workers = workers(&store).state(told).handle(charge).start().unwrap();
    let id = enqueue(&store, Charge { order: 7 }).await;
    let dead = until(&store, id, StateKind::Dead).await;
    assert_eq!(dead.tail.note.as_deref(), Some("ask the customer"));
    hears.recv().await.unwrap();
    operate(&store, id, OperateRequest::Replay { edit: None }).await;
    hears.recv().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_running_message_that_is_cancelled_completes_as_cancelled() {
    async fn charge(_charge: Charge, ctx: Ctx) -> Outcome {
        ctx.cancelled().await;
        ctx.check_cancelled()?;
        Ok(())
    }
    let store = open();
    let _workers = workers(&store).handle(charge).start().unwrap();
    let kept = Outgoing::new(&Charge { order: 7 }).retain(Duration::from_secs(3600));
    let id = enqueue(&store, kept).await;
    until(&store, id, StateKind::Leased).await;
    let operated = operate(&store, id, OperateRequest::Cancel).await;
    assert_eq!(operated, Operated::Requested);
    let done = until(&store, id, StateKind::Completed).await;
    let how = Completion::Cancelled;
    assert_eq!(done.state, Is::Completed { how });
}

#[tokio::test(start_paused = true)]
async fn the_result_of_a_retained_message_is_kept() {
    async fn double(double: Double) -> Result<u64, Fail> {
        Ok(double.number * 2)
    }
    let store = open();
    let _workers = workers(&store).handle(double).start().unwrap();
    let kept = Outgoing::new(&Double { number: 21 }).retain(Duration::from_secs(3600));
    let id = enqueue(&store, kept).await;
    let done = until(&store, id, StateKind::Completed).await;
    assert_eq!(done.tail.result.as_deref(), Some(b"42".as_slice()));
}

#[tokio::test(start_paused = true)]
async fn a_long_handler_keeps_its_lease_and_a_dead_process_loses_it() {
    async fn charge(
        _charge: Charge,
        ctx: Ctx,
        State(told): State<UnboundedSender<bool>>,
    ) -> Outcome {
        told.send(ctx.is_suspect())?;
        tokio::time::sleep(Duration::from_secs(100)).await;
        Ok(())
    }
    let (told, mut hears) = unbounded_channel::<bool>();
    let store = open();
    let kept = Outgoing::new(&Charge { order: 7 }).retain(Duration::from_secs(36_000));
    let id = enqueue(&store, kept).await;
    let first = workers(&store)
        .state(told.clone())
        .handle(charge)
        .start()
        .unwrap();
    assert!(!hears.recv().await.unwrap());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(
        look(&store, id).await.deliveries,
        1,
        "twice the lease, and still its own"
    );
    let reopened = Arc::new(store.crash());
    let _second = workers(&reopened)
        .state(told)
        .handle(charge)
        .start()
        .unwrap();
    assert!(hears.recv().await.unwrap(), "it runs as a suspect");
    let done = until(&reopened, id, StateKind::Completed).await;
    let ends: Vec<Ended> = done
        .tail
        .history
        .iter()
        .map(|attempt| attempt.outcome)
        .collect();
    assert_eq!(ends, [Ended::Crashed, Ended::Succeeded]);
    assert!(first.health().is_err(), "its store is gone");
}

#[tokio::test(start_paused = true)]
async fn a_stop_costs_no_attempt_and_gives_everything_back() {
    let store = open();
    let handler = |_: Charge| std::future::pending::<()>();
    let workers = workers(&store);
    let workers = workers
        .handle_with(handler, |h| h.parallelism(1..=2))
        .start()
        .unwrap();
    let mut ids = Vec::new();
    for order in 0..5 {
        ids.push(enqueue(&store, Charge { order }).await);
    }
    tokio::time::sleep(SECOND).await;
    assert_eq!(workers.running().len(), 2);
    workers.stop(Duration::from_secs(25)).await;
    for id in ids {
        let view = look(&store, id).await;
        assert_eq!(
            (view.state.kind(), view.tail.failures),
            (StateKind::Ready, 0)
        );
    }
    assert_eq!(workers.stats().first().unwrap().totals.interrupted, 2);
}

#[tokio::test(start_paused = true)]
async fn waiting_times_are_measured_by_the_stores_clock() {
    let store = open();
    enqueue(&store, Charge { order: 7 }).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let wall = Arc::clone(&store);
    let clock = TestClock(Instant::now() - Duration::from_secs(60));
    let workers = WorkersBuilder::new(wall as Arc<dyn Backend>)
        .timers(Timers::Runtime)
        .clock(Arc::new(clock))
        .handle(|_: Charge| async {})
        .start()
        .unwrap();
    while workers.stats().first().unwrap().totals.succeeded == 0 {
        tokio::task::yield_now().await;
    }
    let waited = workers.stats().first().unwrap().wait.p50;
    assert!((60..=68).contains(&waited.as_secs()), "{waited:?}");
}
