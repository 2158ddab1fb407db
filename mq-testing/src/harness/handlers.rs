//! The user's handlers, kept so that every life of the process starts with the same ones.
//!
//! Invariant: a handler runs exactly as it would in production, except that it stops when the simulated process dies, and
//! that a blocking one is waited for by the whole world.

use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use mq::{
    AsyncHandler, BlockingHandler, Ctx, Fail, Handler, HandlerOptions, Message, Needs, Retry,
    WorkersBuilder,
};

use super::life::{Gone, Lifeline};

/// Arguments of a handler that the harness has wrapped.
#[derive(Debug)]
pub(super) struct Wrapped<Arguments>(PhantomData<fn() -> Arguments>);

type Step = Box<dyn Fn(WorkersBuilder, &Arc<Lifeline>) -> WorkersBuilder + Send + Sync>;

/// How to register everything again.
#[derive(Default)]
pub(super) struct Handlers(Vec<Step>);

impl Handlers {
    fn push(
        &mut self,
        step: impl Fn(WorkersBuilder, &Arc<Lifeline>) -> WorkersBuilder + Send + Sync + 'static,
    ) {
        self.0.push(Box::new(step));
    }

    pub(super) fn register(
        &self,
        workers: WorkersBuilder,
        lifeline: &Arc<Lifeline>,
    ) -> WorkersBuilder {
        let steps = self.0.iter();
        steps.fold(workers, |workers, step| step(workers, lifeline))
    }

    pub(super) fn state<T: Clone + Send + Sync + 'static>(&mut self, value: T) {
        self.push(move |workers, _| workers.state(value.clone()));
    }

    pub(super) fn custom(
        &mut self,
        step: impl Fn(WorkersBuilder) -> WorkersBuilder + Send + Sync + 'static,
    ) {
        self.push(move |workers, _| step(workers));
    }

    pub(super) fn function<F, Arguments>(&mut self, function: F, options: HandlerOptions)
    where
        F: AsyncHandler<Arguments>,
        Arguments: 'static,
    {
        let function = Arc::new(function);
        self.push(move |workers, lifeline| {
            let mortal = Mortal::new(&function, lifeline);
            workers.handle_with(mortal, |_| options.clone())
        });
    }

    pub(super) fn typed<M: Message, H: Handler<M>>(&mut self, handler: H) {
        let handler = Arc::new(handler);
        self.push(move |workers, lifeline| {
            workers.handler::<M, _>(Mortal::new(&handler, lifeline))
        });
    }

    pub(super) fn blocking<F, Arguments>(&mut self, function: F, options: HandlerOptions)
    where
        F: BlockingHandler<Arguments>,
        Arguments: 'static,
    {
        let function = Arc::new(function);
        self.push(move |workers, lifeline| {
            let blocking = Blocking(Arc::clone(&function), Arc::clone(lifeline));
            workers.handle_with(blocking, |_| options.clone())
        });
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handlers")
            .field("len", &self.0.len())
            .finish()
    }
}

/// A handler that dies with the process.
struct Mortal<H> {
    handler: Arc<H>,
    lifeline: Arc<Lifeline>,
}

impl<H> Mortal<H> {
    fn new(handler: &Arc<H>, lifeline: &Arc<Lifeline>) -> Self {
        Self {
            handler: Arc::clone(handler),
            lifeline: Arc::clone(lifeline),
        }
    }
}

/// Nobody hears this: the store that could take the answer is gone as well.
fn gone(_: Gone) -> Fail {
    Fail::interrupt()
}

impl<F, Arguments> AsyncHandler<Wrapped<Arguments>> for Mortal<F>
where
    F: AsyncHandler<Arguments>,
    Arguments: 'static,
{
    type Message = F::Message;

    fn needs(needs: &mut Needs<'_>) {
        F::needs(needs);
    }

    async fn call(
        &self,
        message: Self::Message,
        ctx: Ctx,
    ) -> Result<<Self::Message as Message>::Output, Fail> {
        let work = self.handler.call(message, ctx);
        self.lifeline
            .while_alive(work)
            .await
            .unwrap_or_else(|died| Err(gone(died)))
    }
}

impl<M: Message, H: Handler<M>> Handler<M> for Mortal<H> {
    type Error = Fail;
    const PARALLELISM: RangeInclusive<usize> = H::PARALLELISM;
    const TIMEOUT: Duration = H::TIMEOUT;

    fn retry(&self) -> Retry {
        self.handler.retry()
    }

    async fn run(&self, message: M, ctx: Ctx) -> Result<M::Output, Fail> {
        let work = self.handler.run(message, ctx);
        match self.lifeline.while_alive(work).await {
            Ok(answer) => answer.map_err(Into::into),
            Err(died) => Err(gone(died)),
        }
    }
}

/// A blocking handler: on a thread of its own, as in production, but waited for, so that nothing runs beside it.
struct Blocking<F>(Arc<F>, Arc<Lifeline>);

impl<F, Arguments> AsyncHandler<Wrapped<Arguments>> for Blocking<F>
where
    F: BlockingHandler<Arguments>,
    Arguments: 'static,
{
    type Message = F::Message;

    fn needs(needs: &mut Needs<'_>) {
        F::needs(needs);
    }

    async fn call(
        &self,
        message: Self::Message,
        ctx: Ctx,
    ) -> Result<<Self::Message as Message>::Output, Fail> {
        if self.1.is_cut() {
            return Err(gone(Gone));
        }
        let run = || self.0.call(message, &ctx);
        let ended = std::thread::scope(|scope| scope.spawn(run).join());
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
