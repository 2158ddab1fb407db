//! Arguments of handlers after the message: anything that can be taken from its [`Ctx`].

use mq_core::id::{LeaseToken, MessageId};
use mq_core::name::{KindName, QueueName};

use crate::ctx::Ctx;
use crate::fail::Fail;
use crate::states::Needs;

/// Something a handler can ask for as an argument.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a handler",
    label = "a handler cannot ask for this",
    note = "after the message, a handler can ask for Ctx, State<T>, Attempt, Headers, MessageId, LeaseToken, QueueName, KindName, and types that implement FromContext"
)]
pub trait FromContext: Sized {
    /// Takes it from the message being handled.
    ///
    /// # Errors
    /// A [`Fail`], which is then how the attempt ends.
    fn from_context(ctx: &Ctx) -> Result<Self, Fail>;

    /// Notes what must have been given before the workers start; nothing by default.
    fn needs(needs: &mut Needs<'_>) {
        let _: &Needs<'_> = needs;
    }
}

/// A value that the program shares with its handlers; given by [`crate::WorkersBuilder::state`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State<T>(pub T);

impl<T: Clone + Send + Sync + 'static> FromContext for State<T> {
    fn from_context(ctx: &Ctx) -> Result<Self, Fail> {
        let name = std::any::type_name::<T>();
        let value = ctx.state::<T>().cloned();
        value
            .map(State)
            .ok_or_else(|| Fail::engine("MissingState", &format!("no state of type {name}")))
    }

    fn needs(needs: &mut Needs<'_>) {
        needs.state::<T>();
    }
}

/// Failures so far plus one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attempt(pub u32);

impl FromContext for Attempt {
    fn from_context(ctx: &Ctx) -> Result<Self, Fail> {
        Ok(Self(ctx.attempt()))
    }
}

/// Names and values that came with the message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// The first of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(known, _)| known == name)?;
        Some(value)
    }
}

impl FromContext for Headers {
    fn from_context(ctx: &Ctx) -> Result<Self, Fail> {
        Ok(Self(ctx.headers().to_vec()))
    }
}

impl FromContext for Ctx {
    fn from_context(ctx: &Ctx) -> Result<Self, Fail> {
        Ok(ctx.clone())
    }
}

impl FromContext for MessageId {
    fn from_context(ctx: &Ctx) -> Result<Self, Fail> {
        Ok(ctx.id())
    }
}

impl FromContext for LeaseToken {
    fn from_context(ctx: &Ctx) -> Result<Self, Fail> {
        Ok(ctx.token())
    }
}

impl FromContext for QueueName {
    fn from_context(ctx: &Ctx) -> Result<Self, Fail> {
        Ok(ctx.queue().clone())
    }
}

impl FromContext for KindName {
    fn from_context(ctx: &Ctx) -> Result<Self, Fail> {
        Ok(ctx.kind().clone())
    }
}
