//! A producer's span around an enqueue: from the call to its answer.

use mq_core::backend::Stopped;
use mq_core::command::EnqueueRefused;
use mq_core::message::NewMessage;
use opentelemetry::global::{self, BoxedSpan};
use opentelemetry::trace::{Span, SpanKind, Status, Tracer};
use opentelemetry::{Context, KeyValue};

use super::{TraceMode, context, names};
use crate::stats::Refusal;

/// The span of an enqueue on its way. Dropped, it ends.
pub(crate) struct EnqueueTrace(BoxedSpan);

impl std::fmt::Debug for EnqueueTrace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EnqueueTrace")
    }
}

impl EnqueueTrace {
    /// Begins the span of a batch and stores its context in the messages; `None` if nothing traces.
    pub(crate) fn begin(mode: TraceMode, batch: &mut [NewMessage]) -> Option<Box<Self>> {
        let first = batch.first()?;
        match mode {
            TraceMode::Off => return None,
            TraceMode::Child | TraceMode::Link => {}
        }
        let queue = first.queue.to_string();
        let tracer = global::tracer(names::SCOPE);
        let mut attributes = vec![
            KeyValue::new(names::SYSTEM, names::SYSTEM_VALUE),
            KeyValue::new(names::OPERATION_NAME, "enqueue"),
            KeyValue::new(names::OPERATION_TYPE, "send"),
            KeyValue::new(names::DESTINATION, queue.clone()),
        ];
        let is_batch = batch.len() > 1;
        if is_batch {
            let count = i64::try_from(batch.len()).unwrap_or(i64::MAX);
            attributes.push(KeyValue::new(names::BATCH_COUNT, count));
        } else {
            attributes.push(KeyValue::new(names::KIND, first.kind.to_string()));
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
        Some(Box::new(Self(span)))
    }

    /// It was taken in, under these ids.
    pub(crate) fn accepted(&mut self, accepted: &[mq_core::command::Accepted]) {
        if let [only] = accepted {
            let id = only.id.to_string();
            self.0.set_attribute(KeyValue::new(names::MESSAGE_ID, id));
        }
    }

    /// It was refused.
    pub(crate) fn refused(&mut self, refused: &EnqueueRefused) {
        let reason = Refusal::from(refused).as_str();
        self.0
            .set_attribute(KeyValue::new(names::ERROR_TYPE, reason));
        self.0.set_status(Status::error(refused.to_string()));
    }

    /// It is answered, or never will be.
    pub(crate) fn end(mut self, stopped: Option<&Stopped>) {
        if let Some(stopped) = stopped {
            let reason = Refusal::Stopped.as_str();
            self.0
                .set_attribute(KeyValue::new(names::ERROR_TYPE, reason));
            self.0.set_status(Status::error(stopped.to_string()));
        }
        self.0.end();
    }
}
