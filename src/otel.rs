//! OpenTelemetry: traces that go on through stored messages, and metrics. Feature `otel`.
//!
//! Only the API is used: the program chooses SDK and exporter, and sets the global tracer provider before it opens the store.
//! Without a provider, or with one that samples nothing, messages are stored as if this were not here.
//!
//! - An enqueue is a span of kind producer, child of the caller's; its context goes into the message's headers `traceparent`
//!   and `tracestate`, unless the caller set them.
//! - Each attempt is a span of kind consumer. By [`TraceMode`], the first attempt is a child of the enqueue and linked to it;
//!   attempts after a failure or replay, after a delay of more than a minute, and of batches begin a trace of their own, linked
//!   to the enqueue: a trace that lasts for days helps nobody.
//! - [`metrics`] gives the numbers of [`Engine::stats`](crate::Engine::stats) to a meter, under the names of docs/metrics.md.
//!
//! Names follow the semantic conventions 1.44.0 for messaging, which are in development. Payloads are on no span.

mod attempts;
mod context;
mod enqueues;
mod meter;

pub(crate) use attempts::Attempts;
pub(crate) use enqueues::{Durations, EnqueueTrace};
pub use meter::metrics;

/// How the trace of an enqueue and those of the attempts belong together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TraceMode {
    /// The first attempt is a child of the enqueue, and linked; later ones are linked only.
    #[default]
    Child,
    /// Every attempt begins a trace of its own, linked to the enqueue.
    Link,
    /// No spans, and no headers.
    Off,
}

/// Names of the semantic conventions and of mq's own attributes.
mod names {
    pub(super) const SYSTEM: &str = "messaging.system";
    pub(super) const SYSTEM_VALUE: &str = "mq";
    pub(super) const OPERATION_NAME: &str = "messaging.operation.name";
    pub(super) const OPERATION_TYPE: &str = "messaging.operation.type";
    pub(super) const DESTINATION: &str = "messaging.destination.name";
    pub(super) const MESSAGE_ID: &str = "messaging.message.id";
    pub(super) const CONVERSATION_ID: &str = "messaging.message.conversation_id";
    pub(super) const BATCH_COUNT: &str = "messaging.batch.message_count";
    pub(super) const OPERATION_DURATION: &str = "messaging.client.operation.duration";
    pub(super) const ERROR_TYPE: &str = "error.type";
    pub(super) const KIND: &str = "mq.message.kind";
    pub(super) const ATTEMPT: &str = "mq.message.attempt";
    pub(super) const WAIT_TIME: &str = "mq.message.wait_time";
    pub(super) const OUTCOME: &str = "mq.message.outcome";
    /// The scope of tracer and meter.
    pub(super) const SCOPE: &str = "mq";
}

#[cfg(test)]
mod tests;
