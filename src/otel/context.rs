//! The context of a trace in the headers of a message. Source: <https://www.w3.org/TR/trace-context/>, version 00.

use std::str::FromStr;

use mq_core::limits::HEADERS_SIZE_MAX;
use mq_core::message::Envelope;
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
/// Set on messages of a batch: their attempts are linked only.
const BATCH: &str = "mq-trace-batch";
/// A longer state is left out.
const TRACESTATE_SIZE_MAX: usize = 512;
/// What is added to the headers at most.
const ADDED_MAX: usize = 1_024;

/// Stores the context, unless the message has one or its headers are nearly full.
pub(super) fn inject(envelope: &mut Envelope, context: &SpanContext, is_batch: bool) {
    let headers = &mut envelope.headers;
    let size: usize = headers.iter().map(|(name, it)| name.len() + it.len()).sum();
    let has_one = headers.iter().any(|(name, _)| name == TRACEPARENT);
    if has_one || size + ADDED_MAX > HEADERS_SIZE_MAX {
        return;
    }
    let (trace, span) = (context.trace_id(), context.span_id());
    let flags = context.trace_flags() & TraceFlags::SAMPLED;
    let parent = format!("00-{trace}-{span}-{:02x}", flags.to_u8());
    headers.push((TRACEPARENT.to_owned(), parent));
    let state = context.trace_state().header();
    if !state.is_empty() && state.len() <= TRACESTATE_SIZE_MAX {
        headers.push((TRACESTATE.to_owned(), state));
    }
    if is_batch {
        headers.push((BATCH.to_owned(), "1".to_owned()));
    }
}

/// The stored context; `None` if there is none, or none that is valid.
pub(super) fn extract(envelope: &Envelope) -> Option<SpanContext> {
    let parent = header(envelope, TRACEPARENT)?;
    let mut parts = parent.splitn(5, '-');
    let (version, trace, span) = (parts.next()?, parts.next()?, parts.next()?);
    let flags = parts.next()?;
    let is_lower = |it: &str| {
        it.bytes()
            .all(|it| it.is_ascii_digit() || (b'a'..=b'f').contains(&it))
    };
    let lengths = (version.len(), trace.len(), span.len(), flags.len());
    if lengths != (2, 32, 16, 2) || !is_lower(trace) || !is_lower(span) || version == "ff" {
        return None;
    }
    if version == "00" && parts.next().is_some() {
        return None;
    }
    let state = header(envelope, TRACESTATE).and_then(|it| TraceState::from_str(it).ok());
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED,
        true,
        state.unwrap_or_default(),
    );
    context.is_valid().then_some(context)
}

/// Whether it came in a batch.
pub(super) fn is_of_batch(envelope: &Envelope) -> bool {
    header(envelope, BATCH).is_some()
}

fn header<'a>(envelope: &'a Envelope, name: &str) -> Option<&'a str> {
    let mut headers = envelope.headers.iter();
    headers
        .find(|(known, _)| known == name)
        .map(|(_, value)| value.as_str())
}
