//! Attempts are seen from outside: by an observer, in the log, on the roster.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use mq_core::backend::Grant;
use mq_core::id::MessageId;
use mq_core::state::Outcome as Outcomes;
use mq_dispatch::{Ctx, Ended, Fail, Observation, Observer, Outcome, Roster};
use mq_macros::Message;
use mq_testing::logs::Logs;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::Charge;
use crate::store::{Is, Store};

/// A message of this file's tests alone, so that its log lines can be told from others.
#[derive(Debug, Clone, Serialize, Deserialize, Message)]
#[message(kind = "watched", queue = "watched", crate = mq_dispatch)]
struct Watched {
    secret: String,
}

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

#[derive(Debug, Default)]
struct Watcher {
    seen: Arc<Mutex<Vec<String>>>,
}

struct Watch(Arc<Mutex<Vec<String>>>);

impl Observer for Watcher {
    fn started(&self, grant: &Grant, _waited: Option<Duration>) -> Box<dyn Observation> {
        let seen = format!("started {} attempt {}", grant.kind, grant.attempt);
        self.seen.lock().push(seen);
        Box::new(Watch(Arc::clone(&self.seen)))
    }
}

impl Observation for Watch {
    fn within(&self, work: &mut dyn FnMut()) {
        INSIDE.set(true);
        work();
        INSIDE.set(false);
    }

    fn ended(&self, ended: &Ended) {
        let error = ended.error_type.unwrap_or("no error");
        let seen = format!("ended {} with {error}", ended.outcome.as_str());
        self.0.lock().push(seen);
    }
}

/// After so many attempts, the back-off passes.
async fn again(store: &Store, id: MessageId, attempts: usize) {
    store.ended(id, attempts).await;
    tokio::time::advance(Duration::from_secs(60)).await;
    store.tick();
}

#[tokio::test(start_paused = true)]
async fn an_observer_sees_each_attempt_from_start_to_end_and_surrounds_every_step() {
    let store = Store::new();
    let watcher = Arc::new(Watcher::default());
    let seen = Arc::clone(&watcher.seen);
    let handler = |_: Charge, ctx: Ctx| async move {
        assert!(INSIDE.get(), "before the first await");
        tokio::task::yield_now().await;
        assert!(INSIDE.get(), "after it");
        if ctx.attempt() == 1 {
            Err(Fail::from(std::fmt::Error))
        } else {
            Ok(())
        }
    };
    let workers = store.workers().observer(watcher).handle(handler);
    let _workers = workers.start().unwrap();
    let id = store.send(&Charge { order: 7 });
    again(&store, id, 1).await;
    store.ended(id, 2).await;
    assert_eq!(
        *seen.lock(),
        [
            "started charge attempt 1",
            "ended failed with handler_error",
            "started charge attempt 2",
            "ended succeeded with no error",
        ]
    );
    assert!(!INSIDE.get());
}

#[tokio::test(start_paused = true)]
async fn an_observer_is_told_of_attempts_that_the_engine_ends() {
    let store = Store::new();
    let watcher = Arc::new(Watcher::default());
    let seen = Arc::clone(&watcher.seen);
    let handler = |_: Charge| async {
        std::future::pending::<()>().await;
        Outcome::Ok(())
    };
    let workers = store.workers().observer(watcher);
    let workers = workers.handle_with(handler, |it| it.timeout(Duration::from_secs(1)));
    let _workers = workers.start().unwrap();
    let id = store.send(&Charge { order: 7 });
    store.ended(id, 1).await;
    assert_eq!(
        seen.lock().get(..2).unwrap(),
        ["started charge attempt 1", "ended failed with timeout"],
        "told once"
    );
}

#[tokio::test(start_paused = true)]
async fn each_attempt_is_logged_with_its_fields_and_never_its_payload() {
    let logs = Logs::listen();
    let store = Store::new();
    let handler = |message: Watched| async move {
        match message.secret.as_str() {
            "4711-good" => Ok(()),
            _ => Err(Fail::dead_letter("no such card").error_type("Declined")),
        }
    };
    let _workers = store.workers().handle(handler).start().unwrap();
    let (good, bad) = ("4711-good".to_owned(), "4711-bad".to_owned());
    let good = store.send(&Watched { secret: good });
    store.ended(good, 1).await;
    let bad = store.send(&Watched { secret: bad });
    store.ended(bad, 1).await;
    let lines = logs.with("kind", "watched");
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            let fields = ["message_id", "queue", "attempt", "outcome", "error_type"];
            (
                line.name,
                line.level.as_str(),
                fields.map(|it| line.field(it)),
            )
        })
        .collect();
    let (good, bad) = (good.to_string(), bad.to_string());
    assert_eq!(
        told,
        [
            (
                "mq.handler.started",
                "DEBUG",
                [&good, "watched", "1", "", ""]
            ),
            (
                "mq.handler.completed",
                "INFO",
                [&good, "watched", "1", "succeeded", ""]
            ),
            (
                "mq.handler.started",
                "DEBUG",
                [&bad, "watched", "1", "", ""]
            ),
            (
                "mq.handler.failed",
                "WARN",
                [&bad, "watched", "1", "dead_lettered", "handler_error"]
            ),
        ]
    );
    assert!(lines.iter().all(|line| line.target == "mq::attempt"));
    assert!(
        lines
            .iter()
            .all(|line| !format!("{line:?}").contains("4711"))
    );
}

#[tokio::test(start_paused = true)]
async fn the_roster_lists_workers_until_they_have_stopped_and_keeps_nobody_running() {
    let store = Store::new();
    let roster = Roster::default();
    let handler = |_: Charge| async { Outcome::Ok(()) };
    let start = || {
        let workers = store.workers().roster(roster.clone());
        workers.handle(handler).start().unwrap()
    };
    let workers = start();
    assert_eq!(roster.controls().len(), 1);
    workers.stop(Duration::from_secs(1)).await;
    assert!(roster.controls().is_empty());
    drop(start());
    while !roster.controls().is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_are_counted_by_how_many_a_message_took() {
    let store = Store::new();
    let handler = |_: Charge, ctx: Ctx| async move {
        if ctx.attempt() < 3 {
            Err(Fail::from(std::fmt::Error))
        } else {
            Ok(())
        }
    };
    let workers = store.workers().handle(handler).start().unwrap();
    let id = store.send(&Charge { order: 7 });
    again(&store, id, 1).await;
    again(&store, id, 2).await;
    let stored = store.ended(id, 3).await;
    assert_eq!(stored.ends.last().unwrap().0, Outcomes::Succeeded);
    let stats = workers.stats().pop().unwrap();
    assert_eq!((stats.attempts.count(), stats.attempts.sum()), (1, 3));
    assert_eq!((stats.runs.count(), stats.run.count), (3, 3));
}

/// Panics when it is told of an end, or of every other start.
#[derive(Debug, Default)]
struct Frail(AtomicUsize);

impl Observer for Frail {
    fn started(&self, _grant: &Grant, _waited: Option<Duration>) -> Box<dyn Observation> {
        assert_eq!(self.0.fetch_add(1, Relaxed) % 2, 0, "another bug");
        Box::new(Self::default())
    }
}

impl Observation for Frail {
    fn within(&self, work: &mut dyn FnMut()) {
        work();
    }

    fn ended(&self, _ended: &Ended) {
        panic!("the observer has a bug");
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_panics_costs_neither_the_success_nor_the_worker() {
    let store = Store::new();
    let workers = store.workers().observer(Arc::new(Frail::default()));
    let workers = workers
        .handle_with(|_: Charge| async {}, |h| h.parallelism(1..=1))
        .start()
        .unwrap();
    let first = store.send(&Charge { order: 1 });
    let second = store.send(&Charge { order: 2 });
    let third = store.send(&Charge { order: 3 });
    for id in [first, second, third] {
        let soon = tokio::time::timeout(Duration::from_secs(1), store.ended(id, 1));
        assert_eq!(soon.await.unwrap().is, Is::Succeeded(None));
    }
    assert!(workers.running().is_empty());
}
