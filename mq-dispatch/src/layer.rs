//! tower layers around handlers: an attempt as a service sees it.
//!
//! Request is the attempt with its payload still encoded ([`AttemptRequest`]), response its success, error whatever the
//! layers make of it; what the handler itself said travels in it as an [`AttemptError`] and is found again under any
//! boxing. An error that is not a handler's is judged by what it is: [`tower::timeout::error::Elapsed`] is an attempt
//! past its time limit, [`tower::load_shed::error::Overloaded`] comes again in a second at no cost, anything else is a
//! failed attempt.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use mq_core::state::Outcome;
use tower::load_shed::error::Overloaded;
use tower::timeout::error::Elapsed;
use tower::{BoxError, Layer, Service};

use crate::attempt::End;
use crate::ctx::Ctx;
use crate::fail::Fail;
use crate::failure;
use crate::message::DecodeError;

/// How soon a message comes again that a layer had no room for.
const OVERLOADED_SNOOZE: Duration = Duration::from_secs(1);

/// An attempt on its way to its handler.
#[derive(Clone, Debug)]
pub struct AttemptRequest {
    ctx: Ctx,
}

impl AttemptRequest {
    pub(crate) fn new(ctx: Ctx) -> Self {
        Self { ctx }
    }

    /// All that the handler can ask about its message: id, kind, queue, attempt, headers, cancellation.
    #[must_use]
    pub fn ctx(&self) -> &Ctx {
        &self.ctx
    }

    /// The payload, not decoded.
    #[must_use]
    pub fn payload(&self) -> &Bytes {
        &self.ctx.0.grant.envelope.payload
    }

    pub(crate) fn into_ctx(self) -> Ctx {
        self.ctx
    }
}

/// An attempt that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptResponse {
    result: Option<Bytes>,
}

impl AttemptResponse {
    /// What the handler returned, as JSON; `None` for `()`.
    #[must_use]
    pub fn result(&self) -> Option<&Bytes> {
        self.result.as_ref()
    }
}

/// An attempt that did not succeed, as its handler ended it. A layer makes one from a [`Fail`] to end it in its stead.
#[derive(Clone, Debug)]
pub struct AttemptError(End);

impl AttemptError {
    /// The one inside an error that layers may have boxed or wrapped; `None` if a layer failed by itself.
    #[must_use]
    pub fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            next = error.source();
        }
        None
    }

    /// What the attempt came to; what is stored may differ if its time limit has passed or it was asked to stop.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match &self.0 {
            End::Succeeded { .. } => Outcome::Succeeded,
            End::Failed(fail) => fail.outcome(),
            End::Panicked(_) | End::TimedOut(_) => Outcome::Failed,
            End::Undecodable(DecodeError::Newer { .. }) => Outcome::Snoozed,
            End::Undecodable(DecodeError::Malformed { .. }) => Outcome::DeadLettered,
        }
    }

    /// Class of the error, a name with few values; `None` for an ending without an error.
    #[must_use]
    pub fn error_type(&self) -> Option<&str> {
        match &self.0 {
            End::Succeeded { .. } => None,
            End::Failed(fail) => fail.failure().map(|failure| failure.error_type.as_str()),
            End::Panicked(_) => Some("panic"),
            End::TimedOut(_) => Some("timeout"),
            End::Undecodable(_) => Some("undecodable"),
        }
    }

    pub(crate) fn into_end(self) -> End {
        self.0
    }

    /// As a handler would have said it.
    pub(crate) fn into_fail(self) -> Fail {
        match self.0 {
            End::Failed(fail) => fail,
            End::Succeeded { .. } | End::Panicked(_) | End::TimedOut(_) | End::Undecodable(_) => {
                Fail::engine(self.error_type().unwrap_or_default(), &self.to_string())
            }
        }
    }
}

impl From<Fail> for AttemptError {
    fn from(fail: Fail) -> Self {
        Self(End::Failed(fail))
    }
}

impl fmt::Display for AttemptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            End::Succeeded { .. } => f.write_str("succeeded"),
            End::Failed(fail) => match fail.failure() {
                Some(failure) => f.write_str(&failure.text),
                None => f.write_str(fail.outcome().as_str()),
            },
            End::Panicked(text) => write!(f, "the handler panicked: {text}"),
            End::TimedOut(text) => f.write_str(text),
            End::Undecodable(error) => error.fmt(f),
        }
    }
}

impl Error for AttemptError {}

/// What services around handlers answer with.
pub type AttemptFuture = Pin<Box<dyn Future<Output = Result<AttemptResponse, BoxError>> + Send>>;

/// A handler, or a handler with layers around it. What [`crate::WorkersBuilder::layer`] gives a layer to wrap.
pub struct AttemptService(Box<dyn Erased>);

impl AttemptService {
    /// Hides the type of a service.
    pub(crate) fn new<S>(service: S) -> Self
    where
        S: Service<AttemptRequest, Response = AttemptResponse> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
    {
        Self(Box::new(service))
    }
}

impl Service<AttemptRequest> for AttemptService {
    type Response = AttemptResponse;
    type Error = BoxError;
    type Future = AttemptFuture;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: AttemptRequest) -> AttemptFuture {
        self.0.call(request)
    }
}

impl Clone for AttemptService {
    fn clone(&self) -> Self {
        Self(self.0.another())
    }
}

impl fmt::Debug for AttemptService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AttemptService")
    }
}

/// A service behind a pointer.
trait Erased: Send {
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>>;
    fn call(&mut self, request: AttemptRequest) -> AttemptFuture;
    fn another(&self) -> Box<dyn Erased>;
}

impl<S> Erased for S
where
    S: Service<AttemptRequest, Response = AttemptResponse> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Service::poll_ready(self, context).map_err(Into::into)
    }

    fn call(&mut self, request: AttemptRequest) -> AttemptFuture {
        let answer = Service::call(self, request);
        Box::pin(async move { answer.await.map_err(Into::into) })
    }

    fn another(&self) -> Box<dyn Erased> {
        Box::new(self.clone())
    }
}

/// A layer behind a pointer.
#[derive(Clone)]
pub(crate) struct AnyLayer(Arc<dyn Fn(AttemptService) -> AttemptService + Send + Sync>);

impl AnyLayer {
    pub(crate) fn new<L>(layer: L) -> Self
    where
        L: Layer<AttemptService> + Send + Sync + 'static,
        L::Service: Service<AttemptRequest, Response = AttemptResponse> + Clone + Send + 'static,
        <L::Service as Service<AttemptRequest>>::Error: Into<BoxError>,
        <L::Service as Service<AttemptRequest>>::Future: Send + 'static,
    {
        Self(Arc::new(move |service| {
            AttemptService::new(layer.layer(service))
        }))
    }

    /// Puts all of them around a handler, the first one outermost.
    pub(crate) fn stack(layers: &[Self], handler: AttemptService) -> AttemptService {
        let inwards = layers.iter().rev();
        inwards.fold(handler, |service, AnyLayer(layer)| layer(service))
    }
}

impl fmt::Debug for AnyLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyLayer")
    }
}

/// A handler's end as a service's answer.
pub(crate) fn answer_of(end: End) -> Result<AttemptResponse, BoxError> {
    match end {
        End::Succeeded { result } => Ok(AttemptResponse { result }),
        End::Failed(_) | End::Panicked(_) | End::TimedOut(_) | End::Undecodable(_) => {
            Err(Box::new(AttemptError(end)))
        }
    }
}

/// What the layers' answer means.
pub(crate) fn end_of(answer: Result<AttemptResponse, BoxError>) -> End {
    let error = match answer {
        Ok(AttemptResponse { result }) => return End::Succeeded { result },
        Err(error) => error,
    };
    let error = match error.downcast::<AttemptError>() {
        Ok(own) => return own.into_end(),
        Err(error) => error,
    };
    if let Some(own) = AttemptError::find(error.as_ref()) {
        return own.clone().into_end();
    }
    if is_in::<Elapsed>(error.as_ref()) {
        return End::TimedOut(format!(
            "a layer's time limit: {}",
            failure::chain(error.as_ref())
        ));
    }
    if is_in::<Overloaded>(error.as_ref()) {
        return End::Failed(Fail::snooze(OVERLOADED_SNOOZE));
    }
    End::Failed(Fail::retry(error))
}

/// What such an answer comes to, and the class of its error, without taking it.
pub(crate) fn judge(error: &(dyn Error + 'static)) -> (Outcome, Option<String>) {
    if let Some(own) = AttemptError::find(error) {
        (own.outcome(), own.error_type().map(str::to_owned))
    } else if is_in::<Elapsed>(error) {
        (Outcome::Failed, Some("timeout".to_owned()))
    } else if is_in::<Overloaded>(error) {
        (Outcome::Snoozed, None)
    } else {
        let failure = failure::of::<BoxError>(error);
        (Outcome::Failed, Some(failure.error_type))
    }
}

/// Whether an error is a `T`, or is caused by one.
fn is_in<T: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<T>() {
            return true;
        }
        next = error.source();
    }
    false
}
