//! A producer's span around an enqueue, and its duration: from the call to its answer.

use std::fmt::Display;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mq_core::backend::Stopped;
use mq_core::command::EnqueueRefused;
use mq_core::message::NewMessage;
use mq_core::time::Clock;
use opentelemetry::global::{self, BoxedSpan};
use opentelemetry::metrics::Histogram;
use opentelemetry::trace::{Span, SpanKind, Status, Tracer};
use opentelemetry::{Context, KeyValue};

use super::{TraceMode, context, names};
use crate::stats::Refusal;

/// Bounds in seconds, as the conventions have them and with finer ones: a sync takes some 100 µs.
const TIMES: [f64; 18] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1,
    0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// An enqueue on its way: its span, if it is traced, and when it began.
pub(crate) struct EnqueueTrace {
    span: Option<BoxedSpan>,
    clock: Arc<dyn Clock>,
    began: Duration,
    durations: Histogram<f64>,
    queue: String,
    error: Option<&'static str>,
}

/// How long the enqueues of one engine took, on the meter that is the global one at the first of them.
#[derive(Debug, Default)]
pub(crate) struct Durations(OnceLock<Histogram<f64>>);

impl Durations {
    fn histogram(&self) -> Histogram<f64> {
        let built = self.0.get_or_init(|| {
            global::meter(names::SCOPE)
                .f64_histogram(names::OPERATION_DURATION)
                .with_unit("s")
                .with_description("Enqueues, from the call to the answer.")
                .with_boundaries(TIMES.to_vec())
                .build()
        });
        built.clone()
    }
}

impl std::fmt::Debug for EnqueueTrace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EnqueueTrace")
    }
}

impl EnqueueTrace {
    /// Begins an enqueue: its span, whose context is stored in the messages; none if nothing traces.
    pub(crate) fn begin(
        mode: TraceMode,
        durations: &Durations,
        clock: &Arc<dyn Clock>,
        batch: &mut [NewMessage],
    ) -> Option<Box<Self>> {
        let queue = batch.first()?.queue.to_string();
        let span = match mode {
            TraceMode::Off => None,
            TraceMode::Child | TraceMode::Link => traced(&queue, batch),
        };
        Some(Box::new(Self {
            span,
            began: clock.monotonic(),
            durations: durations.histogram(),
            clock: Arc::clone(clock),
            queue,
            error: None,
        }))
    }

    /// It was taken in, under these ids.
    pub(crate) fn accepted(&mut self, accepted: &[mq_core::command::Accepted]) {
        if let ([only], Some(span)) = (accepted, &mut self.span) {
            span.set_attribute(KeyValue::new(names::MESSAGE_ID, only.id.to_string()));
        }
    }

    /// It was refused.
    pub(crate) fn refused(&mut self, refused: &EnqueueRefused) {
        self.failed(Refusal::from(refused), refused);
    }

    fn failed(&mut self, refusal: Refusal, reason: &dyn Display) {
        self.error = Some(refusal.as_str());
        if let Some(span) = &mut self.span {
            span.set_attribute(KeyValue::new(names::ERROR_TYPE, refusal.as_str()));
            span.set_status(Status::error(reason.to_string()));
        }
    }

    /// It is answered, or never will be.
    pub(crate) fn end(mut self, stopped: Option<&Stopped>) {
        if let Some(stopped) = stopped {
            self.failed(Refusal::Stopped, stopped);
        }
        let mut attributes = vec![
            KeyValue::new(names::SYSTEM, names::SYSTEM_VALUE),
            KeyValue::new(names::OPERATION_NAME, "enqueue"),
            KeyValue::new(names::OPERATION_TYPE, "send"),
            KeyValue::new(names::DESTINATION, self.queue),
        ];
        attributes.extend(
            self.error
                .map(|error| KeyValue::new(names::ERROR_TYPE, error)),
        );
        let took = self.clock.monotonic().saturating_sub(self.began);
        self.durations.record(took.as_secs_f64(), &attributes);
        if let Some(mut span) = self.span {
            span.end();
        }
    }
}

fn traced(queue: &str, batch: &mut [NewMessage]) -> Option<BoxedSpan> {
    let tracer = global::tracer(names::SCOPE);
    let mut attributes = vec![
        KeyValue::new(names::SYSTEM, names::SYSTEM_VALUE),
        KeyValue::new(names::OPERATION_NAME, "enqueue"),
        KeyValue::new(names::OPERATION_TYPE, "send"),
        KeyValue::new(names::DESTINATION, queue.to_owned()),
    ];
    let is_batch = batch.len() > 1;
    if is_batch {
        let count = i64::try_from(batch.len()).unwrap_or(i64::MAX);
        attributes.push(KeyValue::new(names::BATCH_COUNT, count));
    } else {
        let kinds = batch.iter().map(|message| message.kind.to_string());
        attributes.extend(kinds.map(|kind| KeyValue::new(names::KIND, kind)));
    }
    let span = tracer
        .span_builder(format!("enqueue {queue}"))
        .with_kind(SpanKind::Producer)
        .with_attributes(attributes)
        .start_with_context(&tracer, &Context::current());
    let context = span.span_context();
    if !context.is_valid() {
        return None;
    }
    for message in batch {
        context::inject(&mut message.envelope, context, is_batch);
    }
    Some(span)
}
