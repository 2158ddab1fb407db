//! A tracing span for each attempt, with how it ended.
//!
//! Names and values with few kinds only: never the payload, never an error's text. The span is a child of the one that
//! every attempt has anyhow, and stands where the layer stands: what layers inside it take is in its time.

use std::task::{Context, Poll};

use tokio::time::Instant;
use tower::{BoxError, Layer, Service};
use tracing::field::Empty;
use tracing::{Instrument, Span};

use crate::layer::{AttemptFuture, AttemptRequest, AttemptResponse, judge};

/// A tower layer that makes a span `mq.process` around each attempt.
///
/// Fields of the span: `queue`, `kind`, `message_id`, `attempt`, and when it has ended `outcome` (`succeeded`, `failed`,
/// `snoozed`, …, or `aborted` if it was dropped before its end), `error_type` and `elapsed_ms`.
#[derive(Clone, Copy, Debug, Default)]
pub struct TraceLayer(());

impl TraceLayer {
    /// The layer.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

impl<S> Layer<S> for TraceLayer {
    type Service = TraceService<S>;

    fn layer(&self, inner: S) -> TraceService<S> {
        TraceService(inner)
    }
}

/// What [`TraceLayer`] puts around a handler.
#[derive(Clone, Copy, Debug)]
pub struct TraceService<S>(S);

impl<S> Service<AttemptRequest> for TraceService<S>
where
    S: Service<AttemptRequest, Response = AttemptResponse>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    type Response = AttemptResponse;
    type Error = BoxError;
    type Future = AttemptFuture;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: AttemptRequest) -> AttemptFuture {
        let ctx = request.ctx();
        let span = tracing::info_span!(
            "mq.process",
            queue = %ctx.queue(),
            kind = %ctx.kind(),
            message_id = %ctx.id(),
            attempt = ctx.attempt(),
            outcome = Empty,
            error_type = Empty,
            elapsed_ms = Empty,
        );
        let answer = span.in_scope(|| self.0.call(request));
        let mut traced = Traced {
            span: span.clone(),
            since: Instant::now(),
            ended: false,
        };
        let traced = async move {
            let answer = answer.await.map_err(Into::into);
            traced.end(&answer);
            answer
        };
        Box::pin(traced.instrument(span))
    }
}

/// One attempt under observation.
struct Traced {
    span: Span,
    since: Instant,
    ended: bool,
}

impl Traced {
    fn end(&mut self, answer: &Result<AttemptResponse, BoxError>) {
        self.ended = true;
        match answer {
            Ok(_) => self.record("succeeded", None),
            Err(error) => {
                let (outcome, error_type) = judge(error.as_ref());
                self.record(outcome.as_str(), error_type.as_deref());
            }
        }
    }

    fn record(&self, outcome: &str, error_type: Option<&str>) {
        let elapsed_ms = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.span.record("outcome", outcome);
        self.span.record("elapsed_ms", elapsed_ms);
        if let Some(error_type) = error_type {
            self.span.record("error_type", error_type);
        }
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        if !self.ended {
            self.record("aborted", None);
        }
    }
}
