//! Where handlers run: on the async runtime, or on threads of their own; typed, or raw.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use mq_core::backend::Grant;
use tracing::Instrument;

use crate::attempt::{End, Job, caught, caught_blocking};
use crate::ctx::Ctx;
use crate::fail::Fail;
use crate::handler::{BlockingHandler, Runs};
use crate::inside;
use crate::lease::Lease;
use crate::message::{Message, decode};
use crate::observer;
use crate::threads::{Task, Threads};

/// Starts attempts; never waits.
pub(crate) trait Runner: Send + Sync + 'static {
    /// Starts one.
    fn start(self: Arc<Self>, job: Job);

    /// So many may run at once from now on.
    fn scale(&self, limit: u32);

    /// Nothing more will be started.
    fn close(&self);
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

impl<M: Message, R: Runs<M>> Runner for Async<M, R> {
    fn start(self: Arc<Self>, job: Job) {
        let ctx = Ctx(Arc::clone(&job.lease));
        spawn(job, async move {
            match decode::<M>(&ctx.0.grant.envelope) {
                Ok(message) => End::of::<M>(self.handler.run(message, ctx).await),
                Err(error) => End::Undecodable(error),
            }
        });
    }

    fn scale(&self, _limit: u32) {}

    fn close(&self) {}
}

/// Raw handlers on the runtime.
pub(crate) struct RawAsync<F>(pub(crate) F);

impl<F, Fut, E> Runner for RawAsync<F>
where
    F: Fn(Grant, Ctx) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<Fail>,
{
    fn start(self: Arc<Self>, job: Job) {
        let ctx = Ctx(Arc::clone(&job.lease));
        spawn(job, async move {
            let grant = ctx.0.grant.clone();
            raw_end(self.0(grant, ctx).await)
        });
    }

    fn scale(&self, _limit: u32) {}

    fn close(&self) {}
}

fn raw_end<E: Into<Fail>>(answer: Result<(), E>) -> End {
    match answer {
        Ok(()) => End::Succeeded { result: None },
        Err(error) => End::Failed(error.into()),
    }
}

fn spawn(job: Job, work: impl Future<Output = End> + Send + 'static) {
    let lease = Arc::clone(&job.lease);
    let span = span_of(&lease);
    let runtime = job.pool.runtime().clone();
    let task = runtime.spawn(
        async move {
            let watched = Arc::clone(&job.lease);
            let end = caught(inside::scope(observer::watched(watched, work))).await;
            job.finish(end);
        }
        .instrument(span),
    );
    lease.abortable(task.abort_handle());
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

/// Typed handlers on threads of their own.
pub(crate) struct Blocking<F, Arguments> {
    handler: Arc<F>,
    threads: Arc<Threads>,
    arguments: PhantomData<fn() -> Arguments>,
}

impl<F, Arguments> Blocking<F, Arguments> {
    pub(crate) fn new(handler: F, name: &str) -> Self {
        Self {
            handler: Arc::new(handler),
            threads: Threads::new(name),
            arguments: PhantomData,
        }
    }
}

impl<F: BlockingHandler<Arguments>, Arguments: 'static> Runner for Blocking<F, Arguments> {
    fn start(self: Arc<Self>, job: Job) {
        let handler = Arc::clone(&self.handler);
        start_on(&self.threads, job, move |lease| {
            let ctx = Ctx(lease);
            match decode::<F::Message>(&ctx.0.grant.envelope) {
                Ok(message) => End::of::<F::Message>(handler.call(message, &ctx)),
                Err(error) => End::Undecodable(error),
            }
        });
    }

    fn scale(&self, limit: u32) {
        self.threads.scale(limit);
    }

    fn close(&self) {
        self.threads.scale(0);
    }
}

/// Raw handlers on threads of their own.
pub(crate) struct RawBlocking<F> {
    handler: Arc<F>,
    threads: Arc<Threads>,
}

impl<F> RawBlocking<F> {
    pub(crate) fn new(handler: F, name: &str) -> Self {
        Self {
            handler: Arc::new(handler),
            threads: Threads::new(name),
        }
    }
}

impl<F, E> Runner for RawBlocking<F>
where
    F: Fn(Grant, &Ctx) -> Result<(), E> + Send + Sync + 'static,
    E: Into<Fail>,
{
    fn start(self: Arc<Self>, job: Job) {
        let handler = Arc::clone(&self.handler);
        start_on(&self.threads, job, move |lease| {
            let grant = lease.grant.clone();
            raw_end(handler(grant, &Ctx(lease)))
        });
    }

    fn scale(&self, limit: u32) {
        self.threads.scale(limit);
    }

    fn close(&self) {
        self.threads.scale(0);
    }
}

fn start_on(
    threads: &Arc<Threads>,
    job: Job,
    work: impl FnOnce(Arc<Lease>) -> End + Send + 'static,
) {
    let run = Box::new(move |lease: Arc<Lease>| {
        let _entered = span_of(&lease).entered();
        let watched = Arc::clone(&lease);
        caught_blocking(|| watched.within(|| inside::scope_blocking(|| work(lease))))
    });
    threads.start(Task { job, run });
}
