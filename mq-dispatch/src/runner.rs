//! Where handlers run: on the async runtime, or on threads of their own; typed, or raw; bare, or with layers around.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use mq_core::backend::Grant;
use tokio::sync::oneshot;
use tower::{BoxError, Service};
use tracing::Instrument;

use crate::attempt::{End, Job, caught, caught_blocking};
use crate::ctx::Ctx;
use crate::fail::Fail;
use crate::gate::Gate;
use crate::handler::{BlockingHandler, Runs};
use crate::inside;
use crate::layer::{
    AnyLayer, AttemptFuture, AttemptRequest, AttemptResponse, AttemptService, answer_of, end_of,
};
use crate::lease::Lease;
use crate::message::{Message, decode};
use crate::observer;
use crate::threads::{Task, Threads};

/// An attempt's work, as a future that cannot panic.
pub(crate) type Work = Pin<Box<dyn Future<Output = End> + Send>>;

/// Starts attempts; never waits.
pub(crate) trait Runner: Send + Sync + 'static {
    /// Starts one.
    fn start(&self, job: Job);

    /// The work of one, for layers to stand around.
    fn work(&self, ctx: Ctx) -> Work;

    /// Whether its work can be ended by dropping it; threads go on.
    fn can_abort(&self) -> bool;

    /// So many may run at once from now on.
    fn scale(&self, limit: u32);

    /// Nothing more will be started.
    fn close(&self);

    /// Ready services, one for each message that may be asked for; none are needed without layers.
    fn gate(&self) -> Option<&Arc<Gate>> {
        None
    }
}

/// What runs on the runtime.
pub(crate) trait AsyncWork: Send + Sync + 'static {
    fn run(self: Arc<Self>, ctx: Ctx) -> impl Future<Output = End> + Send;
}

/// What runs on a thread.
pub(crate) trait BlockingWork: Send + Sync + 'static {
    fn run(&self, lease: Arc<Lease>) -> End;
}

/// Runs attempts on the runtime.
pub(crate) struct OnRuntime<W>(Arc<W>);

impl<W: AsyncWork> OnRuntime<W> {
    pub(crate) fn new(work: W) -> Self {
        Self(Arc::new(work))
    }
}

impl<W: AsyncWork> Runner for OnRuntime<W> {
    fn start(&self, job: Job) {
        let work = Arc::clone(&self.0).run(Ctx(Arc::clone(&job.lease)));
        spawn(job, true, work);
    }

    fn work(&self, ctx: Ctx) -> Work {
        Box::pin(caught(Arc::clone(&self.0).run(ctx)))
    }

    fn can_abort(&self) -> bool {
        true
    }

    fn scale(&self, _limit: u32) {}

    fn close(&self) {}
}

/// Runs attempts on threads of their own.
pub(crate) struct OnThreads<W> {
    work: Arc<W>,
    threads: Arc<Threads>,
}

impl<W: BlockingWork> OnThreads<W> {
    pub(crate) fn new(work: W, name: &str) -> Self {
        Self {
            work: Arc::new(work),
            threads: Threads::new(name),
        }
    }
}

impl<W: BlockingWork> Runner for OnThreads<W> {
    fn start(&self, job: Job) {
        let span = span_of(&job.lease);
        self.threads.start(Box::new(ByItself {
            job,
            work: Arc::clone(&self.work),
            span,
        }));
    }

    fn work(&self, ctx: Ctx) -> Work {
        let (told, ended) = oneshot::channel();
        let lease = ctx.0;
        self.threads.start(Box::new(ForLayers {
            lease: Arc::clone(&lease),
            work: Arc::clone(&self.work),
            span: tracing::Span::current(),
            told,
        }));
        let ended = Some(ended);
        Box::pin(Thread { lease, ended })
    }

    fn can_abort(&self) -> bool {
        false
    }

    fn scale(&self, limit: u32) {
        self.threads.scale(limit);
    }

    fn close(&self) {
        self.threads.scale(0);
    }
}

fn run_here<W: BlockingWork>(work: &W, lease: Arc<Lease>, span: &tracing::Span) -> End {
    let _entered = span.enter();
    let watched = Arc::clone(&lease);
    caught_blocking(|| watched.within(|| inside::scope_blocking(|| work.run(lease))))
}

/// An attempt on a thread, with nothing around it.
struct ByItself<W> {
    job: Job,
    work: Arc<W>,
    span: tracing::Span,
}

impl<W: BlockingWork> Task for ByItself<W> {
    fn run(self: Box<Self>) {
        let end = run_here(&*self.work, Arc::clone(&self.job.lease), &self.span);
        self.job.finish(end);
    }

    fn refuse(self: Box<Self>, end: End) {
        self.job.finish(end);
    }
}

/// An attempt on a thread that a future waits for.
struct ForLayers<W> {
    lease: Arc<Lease>,
    work: Arc<W>,
    span: tracing::Span,
    told: oneshot::Sender<End>,
}

impl<W: BlockingWork> Task for ForLayers<W> {
    fn run(self: Box<Self>) {
        let end = run_here(&*self.work, Arc::clone(&self.lease), &self.span);
        self.refuse(end);
    }

    fn refuse(self: Box<Self>, end: End) {
        // A layer may have given up on it: then its end is dropped, and only that it is over matters.
        drop(self.told.send(end));
    }
}

/// The future of an attempt on a thread. Dropped before its end, it asks the handler to stop and leaves the thread to
/// the lease: its worker is not free before it returns.
struct Thread {
    lease: Arc<Lease>,
    /// `None` once it has ended.
    ended: Option<oneshot::Receiver<End>>,
}

impl Future for Thread {
    type Output = End;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<End> {
        let Some(ended) = &mut self.ended else {
            return Poll::Pending;
        };
        let end = ready!(Pin::new(ended).poll(context));
        self.ended = None;
        Poll::Ready(
            end.unwrap_or_else(|_| End::Panicked("the handler's thread went away".to_owned())),
        )
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        if let Some(ended) = self.ended.take() {
            self.lease.give_up_thread(ended);
        }
    }
}

/// A runner with layers around its handlers.
pub(crate) struct Layered {
    inside: Arc<dyn Runner>,
    gate: Arc<Gate>,
}

impl Layered {
    /// Puts the layers around, the first one outermost. To be called in the context of the runtime, which layers with
    /// timers need.
    pub(crate) fn new(inside: Arc<dyn Runner>, layers: &[AnyLayer]) -> Self {
        let handler = AttemptService::new(Innermost(Arc::clone(&inside)));
        let gate = Gate::new(AnyLayer::stack(layers, handler));
        Self { inside, gate }
    }
}

impl Runner for Layered {
    fn start(&self, mut job: Job) {
        let ctx = Ctx(Arc::clone(&job.lease));
        let service = job.service.take();
        let answered = async move {
            match service {
                Some(mut service) => end_of(service.call(AttemptRequest::new(ctx)).await),
                None => End::Failed(Fail::interrupt()),
            }
        };
        spawn(job, self.inside.can_abort(), answered);
    }

    fn work(&self, ctx: Ctx) -> Work {
        self.inside.work(ctx)
    }

    fn can_abort(&self) -> bool {
        self.inside.can_abort()
    }

    fn scale(&self, limit: u32) {
        self.inside.scale(limit);
    }

    fn close(&self) {
        self.gate.close();
        self.inside.close();
    }

    fn gate(&self) -> Option<&Arc<Gate>> {
        Some(&self.gate)
    }
}

/// The handler itself as a service.
#[derive(Clone)]
struct Innermost(Arc<dyn Runner>);

impl Service<AttemptRequest> for Innermost {
    type Response = AttemptResponse;
    type Error = BoxError;
    type Future = AttemptFuture;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: AttemptRequest) -> AttemptFuture {
        let work = self.0.work(request.into_ctx());
        Box::pin(async move { answer_of(work.await) })
    }
}

fn spawn(job: Job, can_abort: bool, work: impl Future<Output = End> + Send + 'static) {
    let lease = Arc::clone(&job.lease);
    let span = span_of(&lease);
    let runtime = job.pool.runtime().clone();
    let task = runtime.spawn(
        async move {
            let watched = Arc::clone(&job.lease);
            let end = caught(inside::scope(observer::watched(watched, work))).await;
            job.lease.left_by_thread().await;
            job.finish(end);
        }
        .instrument(span),
    );
    if can_abort {
        lease.abortable(task.abort_handle());
    }
}

/// What log lines of a handler carry.
fn span_of(lease: &Lease) -> tracing::Span {
    let grant = &lease.grant;
    tracing::info_span!(
        "mq.attempt",
        message_id = %grant.token.id,
        kind = %grant.kind,
        queue = %grant.queue,
        attempt = grant.attempt,
    )
}

/// Typed handlers on the runtime.
pub(crate) struct Async<M, R> {
    handler: R,
    message: PhantomData<fn(M)>,
}

impl<M, R> Async<M, R> {
    pub(crate) fn new(handler: R) -> Self {
        Self {
            handler,
            message: PhantomData,
        }
    }
}

impl<M: Message, R: Runs<M>> AsyncWork for Async<M, R> {
    async fn run(self: Arc<Self>, ctx: Ctx) -> End {
        match decode::<M>(&ctx.0.grant.envelope) {
            Ok(message) => End::of::<M>(self.handler.run(message, ctx).await),
            Err(error) => End::Undecodable(error),
        }
    }
}

/// Raw handlers on the runtime.
pub(crate) struct RawAsync<F>(pub(crate) F);

impl<F, Fut, E> AsyncWork for RawAsync<F>
where
    F: Fn(Grant, Ctx) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<Fail>,
{
    async fn run(self: Arc<Self>, ctx: Ctx) -> End {
        let grant = ctx.0.grant.clone();
        let work = (self.0)(grant, ctx);
        raw_end(work.await)
    }
}

fn raw_end<E: Into<Fail>>(answer: Result<(), E>) -> End {
    match answer {
        Ok(()) => End::Succeeded { result: None },
        Err(error) => End::Failed(error.into()),
    }
}

/// Typed handlers on threads.
pub(crate) struct Blocking<F, Arguments> {
    handler: F,
    arguments: PhantomData<fn() -> Arguments>,
}

impl<F, Arguments> Blocking<F, Arguments> {
    pub(crate) fn new(handler: F) -> Self {
        Self {
            handler,
            arguments: PhantomData,
        }
    }
}

impl<F: BlockingHandler<Arguments>, Arguments: 'static> BlockingWork for Blocking<F, Arguments> {
    fn run(&self, lease: Arc<Lease>) -> End {
        let ctx = Ctx(lease);
        match decode::<F::Message>(&ctx.0.grant.envelope) {
            Ok(message) => End::of::<F::Message>(self.handler.call(message, &ctx)),
            Err(error) => End::Undecodable(error),
        }
    }
}

/// Raw handlers on threads.
pub(crate) struct RawBlocking<F>(pub(crate) F);

impl<F, E> BlockingWork for RawBlocking<F>
where
    F: Fn(Grant, &Ctx) -> Result<(), E> + Send + Sync + 'static,
    E: Into<Fail>,
{
    fn run(&self, lease: Arc<Lease>) -> End {
        let grant = lease.grant.clone();
        raw_end((self.0)(grant, &Ctx(lease)))
    }
}
