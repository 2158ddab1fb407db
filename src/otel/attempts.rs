//! A consumer's span around each attempt, and the histograms of attempts.

use std::time::Duration;

use mq_core::backend::Grant;
use mq_dispatch::{Ended, Observation, Observer};
use opentelemetry::global;
use opentelemetry::metrics::Histogram;
use opentelemetry::trace::{Link, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};

use super::{TraceMode, context, names};
use crate::metrics;

/// A first attempt that starts later than this after its enqueue is only linked to it.
const CHILD_WITHIN: Duration = Duration::from_secs(60);
/// Bounds in seconds: those of the conventions, and longer ones.
const TIMES: [f64; 19] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0,
    300.0, 900.0, 3600.0,
];

/// Watches the attempts of an engine.
#[derive(Debug)]
pub(crate) struct Attempts {
    mode: TraceMode,
    wait: Histogram<f64>,
    run: Histogram<f64>,
}

impl Attempts {
    /// On the global tracer and meter providers.
    pub(crate) fn new(mode: TraceMode) -> Self {
        let meter = global::meter(names::SCOPE);
        let histogram = |metric: metrics::Metric| {
            meter
                .f64_histogram(metric.name)
                .with_unit(metric.unit)
                .with_description(metric.help)
                .with_boundaries(TIMES.to_vec())
                .build()
        };
        Self {
            mode,
            wait: histogram(metrics::WAIT),
            run: histogram(metrics::PROCESS),
        }
    }

    fn context(&self, grant: &Grant, waited: Option<Duration>) -> Option<Context> {
        let creation = context::extract(&grant.envelope);
        let is_first = grant.attempt == 1 && grant.last.is_none();
        let is_soon = grant.due.since(grant.enqueued) <= CHILD_WITHIN;
        let is_single = !context::is_of_batch(&grant.envelope);
        let parent = match self.mode {
            TraceMode::Off => return None,
            TraceMode::Child if is_first && is_soon && is_single => creation.clone(),
            TraceMode::Child | TraceMode::Link => None,
        };
        let tracer = global::tracer(names::SCOPE);
        let links: Vec<Link> = creation
            .into_iter()
            .map(|it| Link::new(it, Vec::new(), 0))
            .collect();
        let root = Context::new();
        let under = parent.map_or(root.clone(), |parent| root.with_remote_span_context(parent));
        let span = tracer
            .span_builder(format!("process {}", grant.queue))
            .with_kind(SpanKind::Consumer)
            .with_attributes(attributes(grant, waited))
            .with_links(links)
            .start_with_context(&tracer, &under);
        Some(root.with_span(span))
    }
}

fn attributes(grant: &Grant, waited: Option<Duration>) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new(names::SYSTEM, names::SYSTEM_VALUE),
        KeyValue::new(names::OPERATION_NAME, "process"),
        KeyValue::new(names::OPERATION_TYPE, "process"),
        KeyValue::new(names::DESTINATION, grant.queue.to_string()),
        KeyValue::new(names::MESSAGE_ID, grant.token.id.to_string()),
        KeyValue::new(names::KIND, grant.kind.to_string()),
        KeyValue::new(names::ATTEMPT, i64::from(grant.attempt)),
    ];
    if let Some(correlation) = grant.envelope.correlation {
        let id = correlation.to_string();
        attributes.push(KeyValue::new(names::CONVERSATION_ID, id));
    }
    if let Some(waited) = waited {
        attributes.push(KeyValue::new(names::WAIT_TIME, waited.as_secs_f64()));
    }
    attributes
}

impl Observer for Attempts {
    fn started(&self, grant: &Grant, waited: Option<Duration>) -> Box<dyn Observation> {
        let kind = KeyValue::new("kind", grant.kind.to_string());
        if let Some(waited) = waited {
            self.wait
                .record(waited.as_secs_f64(), std::slice::from_ref(&kind));
        }
        Box::new(Watched {
            context: self.context(grant, waited),
            run: self.run.clone(),
            kind,
        })
    }
}

struct Watched {
    context: Option<Context>,
    run: Histogram<f64>,
    kind: KeyValue,
}

impl Observation for Watched {
    fn within(&self, work: &mut dyn FnMut()) {
        let _attached = self.context.clone().map(Context::attach);
        work();
    }

    fn ended(&self, ended: &Ended) {
        let seconds = ended.ran.as_secs_f64();
        self.run.record(seconds, std::slice::from_ref(&self.kind));
        let Some(context) = &self.context else { return };
        let span = context.span();
        let outcome = ended.outcome.as_str();
        span.set_attribute(KeyValue::new(names::OUTCOME, outcome));
        if let Some(error) = ended.error_type {
            span.set_attribute(KeyValue::new(names::ERROR_TYPE, error));
            span.set_status(Status::error(error));
        }
        span.end();
    }
}
