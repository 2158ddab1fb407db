//! What can handle messages: functions with any number of extractors, and types that implement [`Handler`].
//!
//! A message may be handled more than once: after a crash, a lost lease or a failure. Make handlers safe to repeat;
//! the message's id is the same each time, and its lease token tells the attempts apart.

use std::future::Future;
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::time::Duration;

use mq_core::limits::TIMEOUT_DEFAULT;

use crate::ctx::Ctx;
use crate::extract::FromContext;
use crate::fail::Fail;
use crate::message::Message;
use crate::options::PARALLELISM_BY_CORES;
use crate::retry::Retry;
use crate::states::Needs;

/// What a handler of `M` may return: `Outcome`, or a `Result` of `M::Output` and any error type.
#[diagnostic::on_unimplemented(
    message = "a handler of `{M}` cannot return `{Self}`",
    label = "not a result of this handler",
    note = "return `Outcome`, or `Result<Output, E>` with the message's `Output` (`()` unless its derive says otherwise) and any error type `E`"
)]
pub trait HandlerResult<M: Message> {
    /// As dispatch sees it.
    ///
    /// # Errors
    /// How the attempt ends instead of succeeding.
    fn into_result(self) -> Result<M::Output, Fail>;
}

impl<M: Message, E: Into<Fail>> HandlerResult<M> for Result<M::Output, E> {
    fn into_result(self) -> Result<M::Output, Fail> {
        self.map_err(Into::into)
    }
}

impl<M: Message<Output = ()>> HandlerResult<M> for () {
    fn into_result(self) -> Result<(), Fail> {
        Ok(())
    }
}

/// A type that handles messages `M`.
///
/// ```
/// use mq_dispatch::{Ctx, Fail, Handler, Retry};
/// use std::time::Duration;
/// # use mq_macros::Message;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize, Message)]
/// # #[message(kind = "image.resize", crate = mq_dispatch)]
/// # struct Resize;
/// struct Resizer;
///
/// impl Handler<Resize> for Resizer {
///     type Error = Fail;
///     const TIMEOUT: Duration = Duration::from_secs(120);
///
///     fn retry(&self) -> Retry {
///         Retry::fixed(Duration::from_secs(5)).max_attempts(8)
///     }
///
///     async fn run(&self, _resize: Resize, ctx: Ctx) -> Result<(), Fail> {
///         ctx.check_cancelled()?;
///         Ok(())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not handle `{M}`",
    label = "not a handler of this message",
    note = "implement `Handler<{M}>` for it, or pass an async function to `handle`"
)]
pub trait Handler<M: Message>: Send + Sync + 'static {
    /// What it fails with: any error type, or [`Fail`].
    type Error: Into<Fail>;
    /// How many run at once: the end of the range to begin with, and no more or less than the range by scaling.
    const PARALLELISM: RangeInclusive<usize> = PARALLELISM_BY_CORES;
    /// Time limit of one attempt; [`Duration::MAX`] for none.
    const TIMEOUT: Duration = TIMEOUT_DEFAULT;

    /// How often and how soon failures are tried again.
    fn retry(&self) -> Retry {
        Retry::default()
    }

    /// Does the work once. A panic is a failed attempt.
    fn run(
        &self,
        message: M,
        ctx: Ctx,
    ) -> impl Future<Output = Result<M::Output, Self::Error>> + Send;
}

/// An async function that handles messages. Implemented for every
/// `async fn(message, extractors…) -> Outcome` with up to seven extractors.
///
/// A function whose first argument is no message does not compile:
///
/// ```compile_fail,E0277
/// async fn handler(_text: u32) {}
///
/// fn register(workers: mq_dispatch::WorkersBuilder) -> mq_dispatch::WorkersBuilder {
///     workers.handle(handler)
/// }
/// ```
///
/// The attribute `#[handler]` makes the compiler say which part of it is wrong, at that part.
///
/// ```compile_fail,E0277
/// # use mq_macros::{Message, handler};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize, Message)]
/// # #[message(kind = "image.resize", crate = mq_dispatch)]
/// # struct Resize;
/// #[handler(crate = mq_dispatch)]
/// async fn resize(resize: Resize, width: u32) {}
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    label = "not a handler of messages",
    note = "a handler is `async fn(message, extractors…) -> Outcome`: the first argument derives `Message`, up to seven more implement `FromContext` (Ctx, State<T>, Attempt, …), and it returns `Outcome` or `Result<Output, E>` with any error type",
    note = "for a function that is not async, use `handle_blocking`",
    note = "put `#[mq::handler]` above the function to see which part of it is wrong"
)]
pub trait AsyncHandler<Arguments>: Send + Sync + 'static {
    /// What it handles.
    type Message: Message;

    /// Notes what its extractors need.
    fn needs(needs: &mut Needs<'_>);

    /// Takes the arguments and runs it.
    fn call(
        &self,
        message: Self::Message,
        ctx: Ctx,
    ) -> impl Future<Output = Result<<Self::Message as Message>::Output, Fail>> + Send;
}

/// A function that handles messages on a thread of its own. Implemented for every
/// `fn(message, extractors…) -> Outcome` with up to seven extractors.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a blocking handler",
    label = "not a blocking handler of messages",
    note = "a blocking handler is `fn(message, extractors…) -> Outcome`: the first argument derives `Message`, up to seven more implement `FromContext` (Ctx, State<T>, Attempt, …), and it returns `Outcome` or `Result<Output, E>` with any error type",
    note = "for an async function, use `handle`",
    note = "put `#[mq::handler]` above the function to see which part of it is wrong"
)]
pub trait BlockingHandler<Arguments>: Send + Sync + 'static {
    /// What it handles.
    type Message: Message;

    /// Notes what its extractors need.
    fn needs(needs: &mut Needs<'_>);

    /// Takes the arguments and runs it.
    ///
    /// # Errors
    /// How the attempt ends instead of succeeding.
    fn call(
        &self,
        message: Self::Message,
        ctx: &Ctx,
    ) -> Result<<Self::Message as Message>::Output, Fail>;
}

macro_rules! handlers {
    ($($argument:ident: $extractor:ident),*) => {
        impl<F, Fut, M, $($extractor,)*> AsyncHandler<(M, $($extractor,)*)> for F
        where
            F: Fn(M, $($extractor),*) -> Fut + Send + Sync + 'static,
            Fut: Future + Send,
            Fut::Output: HandlerResult<M>,
            M: Message,
            $($extractor: FromContext + Send,)*
        {
            type Message = M;

            fn needs(needs: &mut Needs<'_>) {
                $($extractor::needs(needs);)*
                let _: &Needs<'_> = needs;
            }

            async fn call(&self, message: M, ctx: Ctx) -> Result<M::Output, Fail> {
                $(let $argument = $extractor::from_context(&ctx)?;)*
                drop(ctx);
                self(message, $($argument),*).await.into_result()
            }
        }

        impl<F, R, M, $($extractor,)*> BlockingHandler<(M, $($extractor,)*)> for F
        where
            F: Fn(M, $($extractor),*) -> R + Send + Sync + 'static,
            R: HandlerResult<M>,
            M: Message,
            $($extractor: FromContext,)*
        {
            type Message = M;

            fn needs(needs: &mut Needs<'_>) {
                $($extractor::needs(needs);)*
                let _: &Needs<'_> = needs;
            }

            fn call(&self, message: M, ctx: &Ctx) -> Result<M::Output, Fail> {
                $(let $argument = $extractor::from_context(ctx)?;)*
                let _: &Ctx = ctx;
                self(message, $($argument),*).into_result()
            }
        }
    };
}

handlers!();
handlers!(a1: A1);
handlers!(a1: A1, a2: A2);
handlers!(a1: A1, a2: A2, a3: A3);
handlers!(a1: A1, a2: A2, a3: A3, a4: A4);
handlers!(a1: A1, a2: A2, a3: A3, a4: A4, a5: A5);
handlers!(a1: A1, a2: A2, a3: A3, a4: A4, a5: A5, a6: A6);
handlers!(a1: A1, a2: A2, a3: A3, a4: A4, a5: A5, a6: A6, a7: A7);

/// What both kinds of async handlers are to the runner.
pub(crate) trait Runs<M: Message>: Send + Sync + 'static {
    fn run(&self, message: M, ctx: Ctx) -> impl Future<Output = Result<M::Output, Fail>> + Send;
}

/// A function as handler.
pub(crate) struct ByFunction<F, Arguments>(F, PhantomData<fn() -> Arguments>);

impl<F, Arguments> ByFunction<F, Arguments> {
    pub(crate) fn new(function: F) -> Self {
        Self(function, PhantomData)
    }
}

impl<F: AsyncHandler<Arguments>, Arguments: 'static> Runs<F::Message> for ByFunction<F, Arguments> {
    fn run(
        &self,
        message: F::Message,
        ctx: Ctx,
    ) -> impl Future<Output = Result<<F::Message as Message>::Output, Fail>> + Send {
        self.0.call(message, ctx)
    }
}

/// A type as handler.
pub(crate) struct ByTrait<H>(pub(crate) H);

impl<M: Message, H: Handler<M>> Runs<M> for ByTrait<H> {
    async fn run(&self, message: M, ctx: Ctx) -> Result<M::Output, Fail> {
        self.0.run(message, ctx).await.map_err(Into::into)
    }
}
