//! Traces go on through stored messages: what is stored, what is a child, what is linked.

use bytes::Bytes;
use mq_core::backend::Grant;
use mq_core::command::Selector;
use mq_core::message::NewMessage;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, global};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};

use super::{TraceMode, context};
use crate::Fail;
use crate::duration::{minutes, secs};
use crate::engine::Engine;

/// The spans of the whole test program; each test looks for its own queue.
fn spans() -> &'static InMemorySpanExporter {
    static SPANS: std::sync::OnceLock<InMemorySpanExporter> = std::sync::OnceLock::new();
    SPANS.get_or_init(|| {
        let spans = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder()
            .with_simple_exporter(spans.clone())
            .build();
        global::set_tracer_provider(provider);
        spans
    })
}

fn of_queue(name: &str) -> Vec<SpanData> {
    let all = spans().get_finished_spans().unwrap();
    let wanted = |span: &SpanData| span.name.ends_with(&format!(" {name}"));
    let mut mine: Vec<SpanData> = all.into_iter().filter(wanted).collect();
    mine.sort_by_key(|span| span.start_time);
    mine
}

fn attribute(span: &SpanData, name: &str) -> Option<String> {
    let mut attributes = span.attributes.iter();
    attributes
        .find(|it| it.key.as_str() == name)
        .map(|it| it.value.as_str().into_owned())
}

fn message(queue: &str) -> NewMessage {
    NewMessage::new(
        queue.parse().unwrap(),
        "traced".parse().unwrap(),
        Bytes::from_static(b"\"secret\""),
    )
}

/// Handles a queue; the first `failures` attempts fail. Answers the trace that each attempt ran in.
async fn handle(engine: &Engine, failures: u32) -> Vec<String> {
    let (send, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let handler = move |grant: Grant, _ctx: crate::Ctx| {
        let send = send.clone();
        async move {
            tokio::task::yield_now().await;
            let trace = Context::current().span().span_context().trace_id();
            send.send(trace.to_string()).unwrap();
            if grant.attempt <= failures {
                Err(Fail::retry_in(secs(0), "busy"))
            } else {
                Ok(())
            }
        }
    };
    let options = crate::HandlerOptions::default();
    let workers = engine
        .workers()
        .handle_raw(Selector::default(), options, handler);
    let workers = workers.start().unwrap();
    engine.run_until_empty().await.unwrap();
    workers.stop(secs(5)).await;
    let mut traces = Vec::new();
    while let Ok(trace) = seen.try_recv() {
        traces.push(trace);
    }
    traces
}

#[tokio::test]
async fn the_first_attempt_is_a_child_of_the_enqueue_and_later_ones_are_linked() {
    spans();
    let engine = Engine::in_memory().open().await.unwrap();
    let caller = global::tracer("test").start("caller");
    let sending = {
        let _entered = Context::current_with_span(caller).attach();
        engine.enqueue_raw(message("otel.child")).submit().unwrap()
    };
    let id = sending.await.unwrap().accepted.id;
    let seen = handle(&engine, 1).await;
    let [enqueue, first, second] = &of_queue("otel.child")[..] else {
        panic!("{:?}", of_queue("otel.child"));
    };
    let created = &enqueue.span_context;
    assert_eq!(
        (enqueue.name.as_ref(), enqueue.span_kind.clone()),
        ("enqueue otel.child", SpanKind::Producer)
    );
    assert!(
        enqueue.parent_span_id != opentelemetry::trace::SpanId::INVALID,
        "under its caller"
    );
    assert_eq!(
        (first.name.as_ref(), first.span_kind.clone()),
        ("process otel.child", SpanKind::Consumer)
    );
    assert_eq!(first.parent_span_id, created.span_id());
    assert_eq!(first.span_context.trace_id(), created.trace_id());
    assert_eq!(first.links[0].span_context.span_id(), created.span_id());
    assert_eq!(attribute(first, "error.type").unwrap(), "handler_error");
    assert!(matches!(first.status, Status::Error { .. }));
    assert_ne!(second.span_context.trace_id(), created.trace_id());
    assert_eq!(second.links[0].span_context.span_id(), created.span_id());
    assert_eq!(
        attribute(second, "mq.message.outcome").unwrap(),
        "succeeded"
    );
    assert_eq!(second.status, Status::Unset);
    for span in [enqueue, first, second] {
        assert_eq!(
            attribute(span, "messaging.message.id").unwrap(),
            id.to_string()
        );
        assert_eq!(attribute(span, "messaging.system").unwrap(), "mq");
        assert!(!format!("{span:?}").contains("secret"), "no payload");
    }
    let traces = [first, second].map(|span| span.span_context.trace_id().to_string());
    assert_eq!(seen, traces, "handlers run in their spans");
}

#[tokio::test]
async fn linked_batched_and_switched_off() {
    spans();
    let open = |mode| Engine::in_memory().trace(mode).open();
    let linked = open(TraceMode::Link).await.unwrap();
    linked.enqueue_raw(message("otel.link")).await.unwrap();
    handle(&linked, 0).await;
    let spans = of_queue("otel.link");
    assert_ne!(
        spans[1].span_context.trace_id(),
        spans[0].span_context.trace_id()
    );
    assert_eq!(
        spans[1].links[0].span_context.span_id(),
        spans[0].span_context.span_id()
    );

    let batched = open(TraceMode::Child).await.unwrap();
    let batch = batched.batch().push_raw(message("otel.batch"));
    batch.push_raw(message("otel.batch")).await.unwrap();
    handle(&batched, 0).await;
    let spans = of_queue("otel.batch");
    assert_eq!(
        attribute(&spans[0], "messaging.batch.message_count").unwrap(),
        "2"
    );
    assert_eq!(spans.len(), 3);
    assert!(
        spans[1..].iter().all(|it| it.links.len() == 1
            && it.span_context.trace_id() != spans[0].span_context.trace_id())
    );

    let off = open(TraceMode::Off).await.unwrap();
    let receipt = off.enqueue_raw(message("otel.off")).await.unwrap();
    let stored = off.envelope(receipt.accepted.id).await.unwrap().unwrap();
    assert!(stored.headers.is_empty());
    handle(&off, 0).await;
    assert_eq!(of_queue("otel.off").len(), 0);
}

#[tokio::test]
async fn a_long_delay_and_a_context_of_the_callers_own() {
    spans();
    let engine = Engine::in_memory().open().await.unwrap();
    let own = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut mine = message("otel.own");
    mine.envelope
        .headers
        .push(("traceparent".to_owned(), own.to_owned()));
    let receipt = engine.enqueue_raw(mine).await.unwrap();
    let stored = engine.envelope(receipt.accepted.id).await.unwrap().unwrap();
    assert_eq!(stored.headers.len(), 1, "it is not overwritten");
    handle(&engine, 0).await;
    let process = of_queue("otel.own").pop().unwrap();
    assert_eq!(process.span_context.trace_id().to_string(), own[3..35]);

    let clock = std::sync::Arc::new(mq_testing::clock::ManualClock::default());
    let environment = crate::Environment {
        clock: std::sync::Arc::clone(&clock) as std::sync::Arc<dyn mq_core::time::Clock>,
        ..crate::Environment::real()
    };
    let engine = Engine::in_memory().environment(environment);
    let engine = engine.open().await.unwrap();
    let delayed = engine.enqueue_raw(message("otel.late")).delay(minutes(2));
    delayed.await.unwrap();
    clock.advance(minutes(2));
    engine.sync().await.unwrap();
    handle(&engine, 0).await;
    let [enqueue, process] = &of_queue("otel.late")[..] else {
        panic!("{:?}", of_queue("otel.late"));
    };
    let created = &enqueue.span_context;
    assert_ne!(process.span_context.trace_id(), created.trace_id());
    assert_eq!(process.links[0].span_context.span_id(), created.span_id());
}

#[test]
fn contexts_that_are_not_whole_are_left_alone() {
    let with = |value: &str| {
        let mut envelope = message("otel.none").envelope;
        envelope
            .headers
            .push(("traceparent".to_owned(), value.to_owned()));
        context::extract(&envelope)
    };
    let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert!(with(good).unwrap().is_sampled());
    assert!(
        with(&good.replace("00-0", "cc-0")).is_some(),
        "a later version"
    );
    for bad in [
        "",
        "00",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-ä",
    ] {
        assert!(with(bad).is_none(), "{bad}");
    }
}

#[test]
fn counters_and_gauges_reach_the_meter_under_their_names() {
    use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};
    let exporter = InMemoryMetricExporter::default();
    let provider = SdkMeterProvider::builder()
        .with_periodic_exporter(exporter.clone())
        .build();
    let engine = Engine::in_memory().open_wait().unwrap();
    super::metrics(
        &engine,
        &opentelemetry::metrics::MeterProvider::meter(&provider, "mq"),
    );
    engine.enqueue_raw(message("otel.metrics")).wait().unwrap();
    provider.force_flush().unwrap();
    let exported = format!("{:?}", exporter.get_finished_metrics().unwrap());
    for name in [
        "messaging.client.sent.messages",
        "mq.queue.depth",
        "mq.enqueue.rejected",
    ] {
        assert!(exported.contains(name), "{name} in {exported}");
    }
    assert!(exported.contains("otel.metrics"));
    engine.close_wait().unwrap();
}

#[test]
fn what_the_disk_does_and_how_long_enqueues_take_are_histograms() {
    use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};
    let exporter = InMemoryMetricExporter::default();
    let provider = SdkMeterProvider::builder()
        .with_periodic_exporter(exporter.clone())
        .build();
    opentelemetry::global::set_meter_provider(provider.clone());
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::builder(folder.path().join("data"))
        .open_wait()
        .unwrap();
    super::metrics(&engine, &opentelemetry::global::meter("mq"));
    engine.enqueue_raw(message("otel.disk")).wait().unwrap();
    engine.admin().snapshot().wait().unwrap();
    engine.close_wait().unwrap();
    provider.force_flush().unwrap();
    let exported = format!("{:?}", exporter.get_finished_metrics().unwrap());
    for name in [
        "mq.journal.fsync.duration",
        "mq.journal.append.duration",
        "mq.journal.batch.size",
        "mq.snapshot.duration",
        "messaging.client.operation.duration",
    ] {
        assert!(exported.contains(name), "{name} in {exported}");
    }
}
