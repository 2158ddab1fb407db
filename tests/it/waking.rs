//! What runs inside the engine and is not its own: wakers, and listeners of its log.

use std::future::IntoFuture;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use mq::environment::Spawn;
use mq::{Engine, Limit, NewMessage, Schedule, secs};
use mq_testing::clock::ManualClock;

/// A hang is a failure.
const LIMIT: Duration = Duration::from_secs(30);

type Work = Box<dyn FnOnce() + Send>;

/// Does its work when it is woken, there and then, as an executor does that drops a task.
struct Doing(Mutex<Option<Work>>);

impl Wake for Doing {
    fn wake(self: Arc<Self>) {
        let work = self.0.lock().unwrap().take();
        work.into_iter().for_each(|work| work());
    }
}

fn message() -> NewMessage {
    let (queue, kind) = ("mail".parse().unwrap(), "welcome".parse().unwrap());
    NewMessage::new(queue, kind, "{}".into())
}

/// Enqueues, with a waker that does this.
fn enqueue_then(engine: &Engine, work: impl FnOnce() + Send + 'static) {
    let waker = Waker::from(Arc::new(Doing(Mutex::new(Some(Box::new(work))))));
    let mut request = Box::pin(engine.enqueue_raw(message()).into_future());
    let polled = request.as_mut().poll(&mut Context::from_waker(&waker));
    if polled.is_ready() {
        waker.wake(); // as quick as that
    }
    std::mem::forget(request); // a task that nobody drops
}

#[test]
fn the_last_handle_may_be_dropped_by_a_waker_on_a_thread_of_the_engine() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let engine = Engine::builder(&data).open_wait().unwrap();
    let (tells, told) = mpsc::channel();
    let (lets, is_let) = mpsc::channel();
    let last = engine.clone();
    enqueue_then(&engine, move || {
        is_let.recv_timeout(LIMIT).unwrap();
        drop(last);
        tells.send(()).unwrap();
    });
    drop(engine);
    lets.send(()).unwrap();
    told.recv_timeout(LIMIT).unwrap();
    let again = Engine::builder(&data).wait_for_owner(secs(30));
    let again = again.open_wait().unwrap();
    assert_eq!(again.stats().store.live_messages, 1);
    again.close_wait().unwrap();
}

/// Whoever waits may commit, and wake others.
#[test]
fn the_last_handle_may_be_dropped_by_a_waker_on_the_thread_of_another_caller() {
    for _ in 0..50 {
        let engine = Engine::in_memory().open_wait().unwrap();
        let (tells, told) = mpsc::channel();
        let last = engine.clone();
        let request = engine.enqueue_raw(message());
        enqueue_then(&engine, move || {
            drop(last);
            tells.send(()).unwrap();
        });
        drop(engine);
        drop(request.wait());
        told.recv_timeout(LIMIT).unwrap();
    }
}

/// Does its work when a schedule that is due cannot fire.
struct Listener(Mutex<Option<Work>>);

impl tracing::Subscriber for Listener {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().contains("scheduler") && *metadata.level() == tracing::Level::WARN
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        let work = self.0.lock().unwrap().take();
        work.into_iter().for_each(|work| work());
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// Threads whose log goes to a listener.
#[derive(Debug)]
struct Listened(Arc<dyn Spawn>, tracing::Dispatch);

impl Spawn for Listened {
    fn spawn(&self, name: &str, work: Work) -> std::io::Result<std::thread::JoinHandle<()>> {
        let listener = self.1.clone();
        let work = move || tracing::dispatcher::with_default(&listener, work);
        self.0.spawn(name, Box::new(work))
    }
}

#[test]
fn a_caller_commits_while_schedules_are_looked_at() {
    let clock = Arc::new(ManualClock::default());
    let (asks, asked) = mpsc::channel();
    let (answers, answered) = mpsc::channel();
    let look = move || {
        asks.send(()).unwrap();
        answered.recv_timeout(LIMIT).unwrap_or_default()
    };
    let listener = tracing::Dispatch::new(Listener(Mutex::new(Some(Box::new(look)))));
    let mut environment = mq::Environment::real();
    environment.clock = clock.clone();
    environment.spawn = Arc::new(Listened(environment.spawn, listener));
    let builder = Engine::in_memory().environment(environment);
    let engine = builder.capacity(Limit::messages(64)).open_wait().unwrap();
    let schedule = Schedule::every(secs(10)).message(message());
    engine.schedules().put("poll", schedule).wait().unwrap();
    let full = (0..64).fold(engine.batch(), |batch, _| batch.push_raw(message()));
    full.wait().unwrap();
    clock.advance(secs(10));
    let same = engine.clone();
    let notices = std::thread::spawn(move || same.sync().wait()); // a round notices the clock
    asked.recv_timeout(LIMIT).unwrap();
    let (tells, told) = mpsc::channel();
    let other = engine.clone();
    let other = std::thread::spawn(move || {
        let one_more = other.batch().push_raw(message()).refuse_when_full();
        tells.send(one_more.wait().is_err()).unwrap_or_default();
    });
    let answer = told.recv_timeout(secs(10));
    answers.send(()).unwrap();
    other.join().unwrap();
    notices.join().unwrap().unwrap();
    assert_eq!(answer, Ok(true), "a caller could not commit meanwhile");
    engine.close_wait().unwrap();
}
