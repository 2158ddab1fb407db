//! What programs and operators do to running workers, with and without a runtime.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use mq::environment::{Environment, Park, Parker};
use mq::prelude::*;
use mq::{ControlError, CtxError, Error, OpenError, StateKind};
use mq_testing::clock::ManualClock;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "image.resize")]
struct Resize {
    id: u64,
}

async fn resize(_resize: Resize, State(gate): State<Arc<Semaphore>>) -> Outcome {
    gate.acquire().await?.forget();
    Ok(())
}

fn count(engine: &Engine, state: StateKind) -> u64 {
    let stats = engine.stats();
    let counts = stats
        .queues
        .iter()
        .flat_map(|(_, queue)| StateKind::ALL.iter().zip(queue.by_state));
    counts
        .filter(|(kind, _)| **kind == state)
        .map(|(_, count)| count)
        .sum()
}

async fn until_running(engine: &Engine, count: usize) {
    while engine.admin().running().len() != count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_operator_scales_and_pauses_a_kind_without_having_its_workers() {
    let engine = Engine::in_memory().open().await.unwrap();
    let admin = engine.admin();
    let error = admin.scale("image.resize", 8).await.unwrap_err();
    assert!(matches!(error, ControlError::UnknownKind { .. }), "{error}");
    let gate = Arc::new(Semaphore::new(0));
    let workers = engine
        .workers()
        .state(Arc::clone(&gate))
        .handle_with(resize, |h| h.parallelism(1..=8))
        .start()
        .unwrap();
    admin.scale("image.resize", 1).await.unwrap();
    for id in 0..12 {
        engine.enqueue(Resize { id }).await.unwrap();
    }
    until_running(&engine, 1).await;
    admin.scale("image.resize", 8).await.unwrap();
    until_running(&engine, 8).await;
    assert_eq!(admin.pools().first().unwrap().limit, 8);
    admin.pause_kind("image.resize").unwrap();
    gate.add_permits(12);
    until_running(&engine, 0).await;
    assert_eq!(
        count(&engine, StateKind::Ready),
        4,
        "nothing new was started"
    );
    admin.resume_kind("image.resize").unwrap();
    engine.run_until_empty().await.unwrap();
    workers.stop(secs(5)).await;
    assert!(admin.pools().is_empty(), "stopped workers are not listed");
    let error = admin.pause_kind("image.resize").unwrap_err();
    assert!(matches!(error, ControlError::UnknownKind { .. }), "{error}");
}

#[tokio::test]
async fn a_blocking_call_on_a_runtime_thread_is_an_error_and_not_a_deadlock() {
    async fn checkpoint(_resize: Resize, ctx: Ctx) -> Outcome {
        match ctx.save_checkpoint(&1).wait() {
            Err(CtxError::OnRuntimeThread) => Ok(()),
            other => Err(Fail::dead_letter(format!("{other:?}"))),
        }
    }
    let engine = Engine::in_memory().open().await.unwrap();
    let workers = engine.workers().handle(checkpoint).start().unwrap();
    engine.enqueue(Resize { id: 1 }).await.unwrap();
    let error = engine.run_until_empty_wait().unwrap_err();
    assert!(matches!(error, Error::OnRuntimeThread), "{error}");
    engine.run_until_empty().await.unwrap();
    assert_eq!(count(&engine, StateKind::Dead), 0);
    let error = workers.scale("image.resize", 2).wait().unwrap_err();
    assert!(matches!(error, ControlError::OnRuntimeThread), "{error}");
    assert!(workers.stop(secs(5)).wait().unfinished);
    assert!(!workers.stop(secs(5)).await.unfinished);
}

#[test]
fn a_program_without_async_does_everything_by_waiting() {
    fn resize(message: Resize, ctx: Ctx, State(done): State<Sender<u64>>) -> Outcome {
        ctx.save_checkpoint(&message.id).wait()?;
        if message.id == 1 {
            ctx.stage(Resize { id: 2 }).wait()?;
        }
        done.send(message.id)?;
        Ok(())
    }
    let (done, hears) = channel::<u64>();
    let engine = Engine::in_memory().open_wait().unwrap();
    let workers = engine
        .workers()
        .state(done)
        .handle_blocking(resize)
        .start()
        .unwrap();
    engine.enqueue(Resize { id: 1 }).wait().unwrap();
    engine.run_until_empty_wait().unwrap();
    assert_eq!(hears.try_iter().collect::<Vec<_>>(), [1, 2]);
    engine.admin().scale("image.resize", 1).wait().unwrap();
    let report = workers.stop(secs(5)).wait();
    assert_eq!((report.stuck, report.unfinished), (0, false));
    engine.close_wait().unwrap();
}

/// The first place to sleep does `work` instead of sleeping; the others are real.
struct Instead(Mutex<Option<Box<dyn FnMut() + Send>>>);

impl std::fmt::Debug for Instead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Instead")
    }
}

impl Park for Instead {
    fn parker(&self) -> Arc<dyn Parker> {
        match self.0.lock().take() {
            Some(work) => Arc::new(Instead(Mutex::new(Some(work)))),
            None => Environment::real().park.parker(),
        }
    }
}

impl Parker for Instead {
    fn park(&self, _limit: Option<Duration>) {
        if let Some(work) = &mut *self.0.lock() {
            work();
        }
    }

    fn unpark(&self) {}
}

#[test]
fn a_new_process_takes_over_when_the_old_one_lets_go() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    let old = Engine::builder(&path).open_wait().unwrap();
    old.enqueue(Resize { id: 1 }).wait().unwrap();
    let mut environment = Environment::real();
    environment.park = Arc::new(Instead(Mutex::new(Some(Box::new(move || {
        old.close_wait().unwrap();
    })))));
    let new = Engine::builder(&path)
        .wait_for_owner(secs(30))
        .environment(environment)
        .open_wait()
        .unwrap();
    assert_eq!(
        count(&new, StateKind::Ready),
        1,
        "what the old one took is there"
    );
}

#[test]
fn who_waits_for_the_owner_in_vain_is_told_who_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    let _old = Engine::builder(&path).open_wait().unwrap();
    let clock = Arc::new(ManualClock::default());
    let hand = Arc::clone(&clock);
    let mut environment = Environment::real();
    environment.clock = clock;
    environment.park = Arc::new(Instead(Mutex::new(Some(Box::new(move || {
        hand.advance(secs(4));
    })))));
    let error = Engine::builder(&path)
        .wait_for_owner(secs(10))
        .environment(environment)
        .open_wait()
        .unwrap_err();
    assert!(matches!(error, OpenError::Store(_)), "{error:?}");
    let own = format!("pid {}", std::process::id());
    assert!(error.to_string().contains(&own), "{error}");
}

#[derive(Clone)]
struct Payments(&'static str);

#[derive(Clone)]
struct Mailer(&'static str);

#[derive(Clone, FromRef)]
struct App {
    payments: Payments,
    mailer: Mailer,
    #[from_ref(skip)]
    name: &'static str,
}

fn app() -> App {
    App {
        payments: Payments("payments"),
        mailer: Mailer("mailer"),
        name: "shop",
    }
}

#[tokio::test]
async fn a_handler_asks_for_the_part_of_the_state_that_it_needs() {
    async fn charge(
        _resize: Resize,
        State(payments): State<Payments>,
        State(mailer): State<Mailer>,
        State(app): State<App>,
        State(told): State<Sender<[&'static str; 3]>>,
    ) -> Outcome {
        told.send([payments.0, mailer.0, app.name])?;
        Ok(())
    }
    let (told, hears) = channel::<[&str; 3]>();
    let engine = Engine::in_memory().open().await.unwrap();
    let workers = engine
        .workers()
        .state_parts(app())
        .state(told)
        .handle(charge);
    let workers = workers.start().unwrap();
    engine.enqueue(Resize { id: 1 }).await.unwrap();
    engine.run_until_empty().await.unwrap();
    assert_eq!(hears.recv().unwrap(), ["payments", "mailer", "shop"]);
    workers.stop(secs(5)).await;
}

#[tokio::test]
async fn a_part_that_was_not_given_is_reported_at_the_start_and_so_is_one_given_twice() {
    async fn charge(_resize: Resize, State(_): State<Payments>, State(_): State<&'static str>) {}
    let engine = Engine::in_memory().open().await.unwrap();
    let started = engine.workers().state(app()).handle(charge).start();
    let text = started.unwrap_err().to_string();
    assert!(
        text.contains("Payments") && text.contains(".state_parts(…)"),
        "{text}"
    );
    let started = engine.workers().state_parts(app()).handle(charge).start();
    let text = started.unwrap_err().to_string();
    assert!(
        text.starts_with("1 problem") && text.contains("State<&str>"),
        "{text}"
    );
    let started = engine
        .workers()
        .state(Mailer("other"))
        .state_parts(app())
        .start();
    let text = started.unwrap_err().to_string();
    assert!(text.contains("Mailer was given twice"), "{text}");
}

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "image.crop", aliases = ["image.cut"])]
struct Crop {
    id: u64,
}

/// How many run now, and the most there were.
#[derive(Clone, Default)]
struct Crowd(Arc<Mutex<(usize, usize)>>);

impl Crowd {
    async fn visit(&self) {
        {
            let mut crowd = self.0.lock();
            crowd.0 += 1;
            crowd.1 = crowd.1.max(crowd.0);
        }
        tokio::task::yield_now().await;
        self.0.lock().0 -= 1;
    }
}

#[tokio::test]
async fn handlers_and_aliases_share_one_pool_of_a_real_engine() {
    async fn resize(_resize: Resize, State(crowd): State<Crowd>) {
        crowd.visit().await;
    }
    async fn crop(_crop: Crop, State(crowd): State<Crowd>) {
        crowd.visit().await;
    }
    let engine = Engine::in_memory().open().await.unwrap();
    let crowd = Crowd::default();
    for id in 0..40 {
        engine.enqueue(Resize { id }).await.unwrap();
        engine.enqueue(Crop { id }).await.unwrap();
        let mut old = mq::encode(&Crop { id }).unwrap();
        old.kind = "image.cut".parse().unwrap();
        engine.enqueue_raw(old).await.unwrap();
    }
    let workers = engine
        .workers()
        .state(crowd.clone())
        .pool("images", |p| p.parallelism(1..=3))
        .handle_with(resize, |h| h.pool("images"))
        .handle_with(crop, |h| h.pool("images"))
        .start()
        .unwrap();
    engine.run_until_empty().await.unwrap();
    workers.stop(secs(5)).await;
    let pool = workers.stats().remove(0);
    assert_eq!((pool.kind.as_str(), pool.totals.succeeded), ("images", 120));
    assert_eq!(crowd.0.lock().1, 3, "as many as the pool says, and no more");
    assert_eq!(pool.totals.given_back, 0);
}

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "scan")]
struct Scan {
    number: u64,
    page: String,
}

async fn give_up(scan: Scan) -> Outcome {
    Err(Fail::dead_letter(std::io::Error::other("unreadable")).note(scan.number.to_string()))
}

/// Who chose so has the newest dead letters and an open intake, whatever fails.
#[tokio::test]
async fn dead_letters_evict_the_oldest_where_that_was_chosen_and_intake_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let builder = || {
        Engine::builder(folder.path().join("data"))
            .dead_bytes(1 << 20)
            .on_dead_full(mq::DeadFull::EvictOldest)
    };
    let engine = builder().open().await.unwrap();
    let workers = engine.workers().handle(give_up).start().unwrap();
    let mut ids = Vec::new();
    for number in 0..20 {
        let page = "x".repeat(100 << 10);
        let receipt = engine.enqueue(Scan { number, page }).await.unwrap();
        ids.push(receipt.accepted.id);
        engine.run_until_empty().await.unwrap();
    }
    while engine.stats().dead.bytes > 1 << 20 {
        tokio::task::yield_now().await;
    }
    let stats = engine.stats();
    assert_eq!(stats.died, 20);
    assert_eq!(stats.dead_evicted, 20 - stats.dead.total);
    let [counted] = &stats.dead_counts[..] else {
        panic!("{:?}", stats.dead_counts);
    };
    assert_eq!(
        (counted.kind.as_str(), counted.count),
        ("scan", stats.dead.total)
    );
    assert_eq!(counted.reason, mq::DeadReason::DeadLettered);
    workers.stop(secs(25)).await;
    engine.close().await.unwrap();

    let engine = builder().open().await.unwrap();
    let left = engine
        .admin()
        .dead_letters()
        .list(mq::Filter::new())
        .await
        .unwrap();
    let left: Vec<_> = left.messages.iter().map(|view| view.id).collect();
    assert!((8..=11).contains(&left.len()), "{left:?}");
    assert_eq!(left, ids[20 - left.len()..], "the newest stay");
    engine.close().await.unwrap();
}
