//! tower layers around handlers: what they see, what they decide, and that limits keep messages in the store.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use mq_core::command::Selector;
use mq_core::state::{DeadReason, Outcome as Ended};
use mq_dispatch::{
    AttemptError, AttemptRequest, AttemptResponse, Ctx, Fail, Handler, HandlerOptions, Illness,
    Outcome, Retry, SharedLayer, TraceLayer,
};
use mq_testing::logs::Logs;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tower::limit::{ConcurrencyLimitLayer, GlobalConcurrencyLimitLayer, RateLimitLayer};
use tower::load_shed::LoadShedLayer;
use tower::timeout::TimeoutLayer;
use tower::{BoxError, Layer, Service, ServiceBuilder};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::store::{Is, Store, Stored};
use crate::{Charge, Double, Notify};

type Seen = Arc<Mutex<Vec<String>>>;

/// Notes its name and the kind of each attempt that passes.
#[derive(Clone)]
struct Note {
    name: &'static str,
    seen: Seen,
}

impl<S> Layer<S> for Note {
    type Service = Noting<S>;

    fn layer(&self, inner: S) -> Noting<S> {
        let note = self.clone();
        Noting { note, inner }
    }
}

#[derive(Clone)]
struct Noting<S> {
    note: Note,
    inner: S,
}

impl<S: Service<AttemptRequest>> Service<AttemptRequest> for Noting<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: AttemptRequest) -> S::Future {
        let line = format!("{} {}", self.note.name, request.ctx().kind());
        self.note.seen.lock().push(line);
        self.inner.call(request)
    }
}

fn only(kind: &str) -> Selector {
    Selector {
        queue: None,
        kind: Some(kind.parse().unwrap()),
    }
}

async fn settle_down() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

fn end_of(stored: &Stored) -> (Ended, String) {
    let (outcome, failure) = stored.ends.last().unwrap().clone();
    (outcome, failure.unwrap_or_default().error_type)
}

struct Doubler;

impl Handler<Double> for Doubler {
    type Error = Fail;

    async fn run(&self, double: Double, _ctx: Ctx) -> Result<u64, Fail> {
        Ok(double.number * 2)
    }
}

#[tokio::test]
async fn layers_stand_around_every_form_of_handler_in_the_order_they_are_given() {
    fn notify(_notify: Notify) -> Outcome {
        Ok(())
    }
    let store = Store::new();
    let seen = Seen::default();
    let note = |name| Note {
        name,
        seen: Arc::clone(&seen),
    };
    let raw = |_grant, _ctx| async { Ok::<(), Fail>(()) };
    let raw_blocking = |_grant, _ctx: &Ctx| Ok::<(), Fail>(());
    let _workers = store
        .workers()
        .layer(note("outer"))
        .handle_with(|_: Charge| async {}, |h| h.layer(note("own")))
        .handler(Doubler)
        .handle_blocking(notify)
        .layer(note("inner"))
        .handle_raw(only("raw"), HandlerOptions::default(), raw)
        .handle_raw_blocking(only("raw.thread"), HandlerOptions::default(), raw_blocking)
        .start()
        .unwrap();
    let ids = [
        store.send(&Charge { order: 1 }),
        store.send(&Double { number: 21 }),
        store.send(&Notify { order: 1 }),
        store.post(message("raw").into()),
        store.post(message("raw.thread").into()),
    ];
    for id in ids {
        assert_eq!(store.ended(id, 1).await.ends[0].0, Ended::Succeeded);
    }
    let doubled = store.get(ids[1]);
    assert_eq!(doubled.is, Is::Succeeded(Some("42".into())), "its result");
    let mut seen = seen.lock().clone();
    let of = |kind: &str| -> Vec<String> {
        let mine = seen
            .iter()
            .filter(|line| line.ends_with(&format!(" {kind}")));
        mine.cloned().collect()
    };
    assert_eq!(of("charge"), ["outer charge", "inner charge", "own charge"]);
    for kind in ["double", "notify", "raw", "raw.thread"] {
        assert_eq!(of(kind), [format!("outer {kind}"), format!("inner {kind}")]);
    }
    assert_eq!(seen.drain(..).count(), 11);
}

fn message(kind: &str) -> mq_core::message::NewMessage {
    mq_core::message::NewMessage::new("q".parse().unwrap(), kind.parse().unwrap(), "{}".into())
}

#[tokio::test(start_paused = true)]
async fn a_timeout_layer_ends_an_attempt_as_timed_out() {
    let store = Store::new();
    let workers = store
        .workers()
        .layer(TimeoutLayer::new(Duration::from_secs(2)))
        .handle(|_: Charge| std::future::pending::<()>())
        .start()
        .unwrap();
    let id = store.send(&Charge { order: 7 });
    let stored = store.ended(id, 1).await;
    assert_eq!(end_of(&stored), (Ended::Failed, "timeout".to_owned()));
    settle_down().await;
    let totals = workers.stats().first().unwrap().totals;
    assert_eq!((totals.failed, totals.timed_out), (1, 1));
    assert!(workers.running().is_empty(), "its worker is free");
}

#[tokio::test]
async fn a_blocking_handler_that_a_layer_gives_up_on_is_asked_to_stop_and_keeps_its_worker() {
    let store = Store::new();
    let (told, hears) = std::sync::mpsc::channel::<()>();
    let hears = Mutex::new(hears);
    let workers = store
        .workers()
        .layer(TimeoutLayer::new(Duration::from_millis(1)))
        .handle_blocking_with(
            move |_: Charge, ctx: Ctx| -> Outcome {
                while ctx.cancel_reason().is_none() {
                    std::thread::yield_now();
                }
                hears.lock().recv()?;
                Ok(())
            },
            |h| h.parallelism(1..=1),
        )
        .start()
        .unwrap();
    let id = store.send(&Charge { order: 7 });
    while workers
        .running()
        .iter()
        .all(|running| running.cancel.is_none())
    {
        tokio::task::yield_now().await;
    }
    let next = store.send(&Charge { order: 8 });
    settle_down().await;
    assert_eq!(store.get(next).is, Is::Ready, "the thread is not free");
    told.send(()).unwrap();
    let stored = store.ended(id, 1).await;
    assert_eq!(end_of(&stored), (Ended::Failed, "timeout".to_owned()));
    told.send(()).unwrap();
    store.ended(next, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_concurrency_limit_keeps_messages_in_the_store() {
    let store = Store::new();
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let workers = store
        .workers()
        .layer(ConcurrencyLimitLayer::new(2))
        .handle_with(
            move |_: Charge| {
                let gate = Arc::clone(&opened);
                async move {
                    gate.acquire().await?.forget();
                    Ok::<(), Fail>(())
                }
            },
            |h| h.parallelism(1..=8),
        )
        .start()
        .unwrap();
    settle_down().await;
    assert_eq!(
        store.permits("charge"),
        2,
        "as many as the layer has room for"
    );
    for order in 0..20 {
        store.send(&Charge { order });
    }
    settle_down().await;
    assert_eq!((workers.running().len(), store.permits("charge")), (2, 0));
    let leased = |stored: &&Stored| stored.is == Is::Leased;
    assert_eq!(
        store.all().iter().filter(leased).count(),
        2,
        "no lease waits"
    );
    gate.add_permits(20);
    store.quiet().await;
    settle_down().await;
    assert_eq!(store.permits("charge"), 2);
    assert_eq!(workers.stats().first().unwrap().totals.given_back, 0);
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_keeps_messages_in_the_store() {
    let store = Store::new();
    let per_second = SharedLayer::new(RateLimitLayer::new(3, Duration::from_secs(1)));
    let workers = store.workers().layer(per_second);
    let workers = workers.handle(|_: Charge| async {}).start().unwrap();
    for order in 0..7 {
        store.send(&Charge { order });
    }
    let done = || {
        store
            .all()
            .iter()
            .filter(|stored| !stored.ends.is_empty())
            .count()
    };
    settle_down().await;
    assert_eq!(done(), 3);
    assert_eq!(store.permits("charge"), 0, "nothing is asked for meanwhile");
    tokio::time::sleep(Duration::from_millis(1_001)).await;
    settle_down().await;
    assert_eq!(done(), 6);
    tokio::time::sleep(Duration::from_secs(1)).await;
    store.quiet().await;
    assert_eq!(workers.stats().first().unwrap().totals.given_back, 0);
}

#[tokio::test(start_paused = true)]
async fn an_overloaded_layer_snoozes_at_no_cost() {
    let store = Store::new();
    let layers = ServiceBuilder::new()
        .layer(LoadShedLayer::new())
        .layer(ConcurrencyLimitLayer::new(1));
    let _workers = store
        .workers()
        .layer(layers)
        .handle_with(
            |_: Charge| std::future::pending::<()>(),
            |h| h.parallelism(2..=2),
        )
        .start()
        .unwrap();
    store.send(&Charge { order: 7 });
    store.send(&Charge { order: 8 });
    settle_down().await;
    let mut all = store.all();
    all.retain(|stored| !stored.ends.is_empty());
    let stored = all.pop().unwrap();
    assert!(all.is_empty(), "the other one runs");
    assert_eq!(end_of(&stored).0, Ended::Snoozed);
    assert_eq!(
        (stored.failures, stored.delays),
        (0, vec![Duration::from_secs(1)])
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_says_passes_through_layers_that_box_errors() {
    async fn charge(charge: Charge, ctx: Ctx) -> Outcome {
        ctx.stage(Notify { order: 1 }).await?;
        match charge.order {
            0 => Ok(()),
            1 => Err(Fail::dead_letter("declined")
                .error_type("Declined")
                .note("call")),
            2 => Err(Fail::snooze(Duration::from_secs(9))),
            3 => panic!("boom"),
            _ => Err(std::fmt::Error.into()),
        }
    }
    let store = Store::new();
    let _workers = store
        .workers()
        .layer(TraceLayer::new())
        .layer(TimeoutLayer::new(Duration::from_secs(60)))
        .handle(charge)
        .start()
        .unwrap();
    let ids: Vec<_> = (0..5).map(|order| store.send(&Charge { order })).collect();
    let mut ends = Vec::new();
    for id in &ids {
        ends.push(end_of(&store.ended(*id, 1).await));
    }
    let expected = [
        (Ended::Succeeded, ""),
        (Ended::DeadLettered, "Declined"),
        (Ended::Snoozed, ""),
        (Ended::Failed, "panic"),
        (Ended::Failed, "Error"),
    ];
    assert_eq!(ends, expected.map(|(end, class)| (end, class.to_owned())));
    assert_eq!(store.get(ids[1]).note.as_deref(), Some("call"));
    let staged = store
        .all()
        .iter()
        .filter(|stored| stored.message.kind.as_str() == "notify")
        .count();
    assert_eq!(staged, 1, "with the success");
    let broken = mq_core::message::NewMessage::new(
        "default".parse().unwrap(),
        "charge".parse().unwrap(),
        "[]".into(),
    );
    let stored = store.ended(store.post(broken.into()), 1).await;
    assert_eq!(stored.is, Is::Dead(DeadReason::Undecodable));
}

/// Answers in the handler's stead.
#[derive(Clone)]
struct Instead(fn() -> BoxError);

impl<S> Layer<S> for Instead {
    type Service = Self;

    fn layer(&self, _inner: S) -> Self {
        self.clone()
    }
}

impl Service<AttemptRequest> for Instead {
    type Response = AttemptResponse;
    type Error = BoxError;
    type Future = Ready<Result<AttemptResponse, BoxError>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: AttemptRequest) -> Self::Future {
        ready(Err((self.0)()))
    }
}

#[derive(Debug)]
struct Wrapped(AttemptError);

impl fmt::Display for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("wrapped")
    }
}

impl std::error::Error for Wrapped {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

#[tokio::test(start_paused = true)]
async fn a_layer_can_decide_in_the_handlers_stead() {
    async fn end_with(error: fn() -> BoxError) -> Stored {
        let store = Store::new();
        let workers = store.workers().layer(Instead(error));
        let _workers = workers.handle(|_: Charge| async {}).start().unwrap();
        store.ended(store.send(&Charge { order: 7 }), 1).await
    }
    let discarded = end_with(|| AttemptError::from(Fail::discard("gone")).into()).await;
    assert_eq!(discarded.is, Is::Discarded);
    let wrapped = || Wrapped(AttemptError::from(Fail::cancel())).into();
    assert_eq!(end_with(wrapped).await.is, Is::Cancelled);
    let other = end_with(|| std::io::Error::from(std::io::ErrorKind::NotConnected).into()).await;
    assert_eq!(end_of(&other), (Ended::Failed, "NotConnected".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_paused_pool_gives_its_places_under_a_shared_limit_back() {
    let store = Store::new();
    let shared = GlobalConcurrencyLimitLayer::new(1);
    let workers = store
        .workers()
        .layer(shared)
        .handle(|_: Charge| async {})
        .handle(|_: Notify| async {})
        .start()
        .unwrap();
    settle_down().await;
    let all = || store.permits("charge") + store.permits("notify");
    assert_eq!(all(), 1);
    workers.pause("charge").unwrap();
    settle_down().await;
    assert_eq!(store.permits("notify"), 1);
    workers.pause("notify").unwrap();
    workers.resume("charge").unwrap();
    settle_down().await;
    assert_eq!((store.permits("charge"), all()), (1, 1));
    workers.stop(Duration::ZERO).await;
    assert_eq!(store.pools(), 0);
}

/// Fails to become ready while it is broken.
#[derive(Clone)]
struct Breakable {
    broken: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

#[derive(Clone)]
struct Broken<S>(Breakable, S);

impl<S> Layer<S> for Breakable {
    type Service = Broken<S>;

    fn layer(&self, inner: S) -> Broken<S> {
        Broken(self.clone(), inner)
    }
}

impl<S: Service<AttemptRequest, Error = BoxError>> Service<AttemptRequest> for Broken<S> {
    type Response = S::Response;
    type Error = BoxError;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.asked.fetch_add(1, Ordering::Relaxed);
        if self.0.broken.load(Ordering::Relaxed) {
            return Poll::Ready(Err("no connection".into()));
        }
        self.1.poll_ready(context)
    }

    fn call(&mut self, request: AttemptRequest) -> S::Future {
        self.1.call(request)
    }
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_cannot_become_ready_makes_the_workers_unhealthy_until_it_can() {
    let store = Store::new();
    let layer = Breakable {
        broken: Arc::new(AtomicBool::new(true)),
        asked: Arc::default(),
    };
    let workers = store
        .workers()
        .layer(layer.clone())
        .handle_with(|_: Charge| async {}, |h| h.parallelism(1..=1))
        .start()
        .unwrap();
    let id = store.send(&Charge { order: 7 });
    tokio::time::sleep(Duration::from_secs(10)).await;
    let unhealthy = workers.health().unwrap_err();
    assert!(
        matches!(&unhealthy.illnesses[..], [Illness::Layer { reason, .. }] if reason == "no connection"),
        "{unhealthy}"
    );
    assert!(layer.asked.load(Ordering::Relaxed) < 15, "once a second");
    assert_eq!(store.get(id).is, Is::Ready, "no message suffers");
    layer.broken.store(false, Ordering::Relaxed);
    store.ended(id, 1).await;
    workers.health().unwrap();
}

/// Keeps the fields of each span of the trace layer.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<BTreeMap<u64, BTreeMap<String, String>>>>);

struct Fields<'a>(&'a mut BTreeMap<String, String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(
            field.name().to_owned(),
            format!("{value:?}").replace('"', ""),
        );
    }
}

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.name() == "mq.process"
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut spans = self.0.lock();
        let id = u64::try_from(spans.len()).unwrap() + 1;
        let fields = spans.entry(id).or_default();
        span.record(&mut Fields(fields));
        Id::from_u64(id)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let mut spans = self.0.lock();
        let fields = spans.entry(span.into_u64()).or_default();
        values.record(&mut Fields(fields));
    }

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}
    fn event(&self, _event: &Event<'_>) {}
    fn enter(&self, _span: &Id) {}
    fn exit(&self, _span: &Id) {}
}

#[tokio::test(start_paused = true)]
async fn the_trace_layer_makes_a_span_of_each_attempt_with_its_end() {
    async fn charge(charge: Charge) -> Outcome {
        match charge.order {
            0 => Ok(()),
            1 => Err(Fail::retry("declined").error_type("Declined")),
            _ => std::future::pending().await,
        }
    }
    let spans = Spans::default();
    let _listening = tracing::subscriber::set_default(spans.clone());
    // A listener of one thread alone would not be asked if another test's thread came upon the span first.
    Logs::listen();
    let store = Store::new();
    let workers = store.workers().layer(TraceLayer::new());
    let workers = workers
        .layer(TimeoutLayer::new(Duration::from_secs(2)))
        .handle_with(charge, |h| h.retry(Retry::never()))
        .start()
        .unwrap();
    for order in 0..3 {
        let id = store.send(&Charge { order });
        store.ended(id, 1).await;
    }
    let spans = spans.0.lock().clone();
    let field =
        |span: u64, name: &str| -> String { spans[&span].get(name).cloned().unwrap_or_default() };
    assert_eq!(spans.len(), 3);
    let ends = [1, 2, 3].map(|span| (field(span, "outcome"), field(span, "error_type")));
    let ends = ends
        .each_ref()
        .map(|(outcome, class)| (outcome.as_str(), class.as_str()));
    assert_eq!(
        ends,
        [
            ("succeeded", ""),
            ("failed", "Declined"),
            ("failed", "timeout")
        ]
    );
    assert_eq!(field(3, "elapsed_ms"), "2000");
    assert_eq!(
        (field(1, "kind"), field(1, "queue")),
        ("charge".to_owned(), "default".to_owned())
    );
    assert_eq!(
        (field(1, "attempt"), field(1, "message_id").is_empty()),
        ("1".to_owned(), false)
    );
    drop(workers);
}
