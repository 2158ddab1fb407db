//! One attempt of one handler, without an engine, a disk or a simulated world: the message goes through the production
//! dispatch into a store in memory that follows the rules as plainly as possible, and what the handler answered is told.
//!
//! What it does not do: time, retries, crashes. For these there is [`Harness`](crate::Harness).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mq::{AsyncHandler, Message, Outgoing, Timers, WorkersBuilder};
use mq_core::backend::{Backend, WhenFull};
use mq_core::id::{Seq, StoreTag};
use mq_core::message::Envelope;
use mq_core::state::Outcome;
use mq_core::view::{Filter, Lookup};

use super::fail;
use super::ran::Ran;
use crate::clock::ManualClock;
use crate::naive::{Limits, Naive};

const OUTCOMES: [Outcome; 9] = [
    Outcome::Succeeded,
    Outcome::Failed,
    Outcome::Snoozed,
    Outcome::Interrupted,
    Outcome::Cancelled,
    Outcome::LeaseExpired,
    Outcome::Crashed,
    Outcome::Discarded,
    Outcome::DeadLettered,
];

type Step = Box<dyn FnOnce(WorkersBuilder) -> WorkersBuilder + Send>;

/// Calls a handler once with a message, without state: see [`Unit`].
///
/// # Panics
/// As [`Unit::call`].
pub async fn call<F, Arguments>(handler: F, message: impl Into<Outgoing>) -> Called
where
    F: AsyncHandler<Arguments>,
    Arguments: 'static,
{
    Unit::new().call(handler, message).await
}

/// One call of one handler, in any async test.
///
/// # Examples
/// ```
/// use mq::prelude::*;
/// use mq_testing::Unit;
///
/// #[derive(Serialize, Deserialize, Message)]
/// #[message(kind = "charge")]
/// struct Charge { cents: u64 }
///
/// #[derive(Serialize, Deserialize, Message)]
/// #[message(kind = "notify")]
/// struct Notify { cents: u64 }
///
/// #[derive(Clone)]
/// struct Limit(u64);
///
/// async fn charge(message: Charge, State(limit): State<Limit>, ctx: Ctx) -> Outcome {
///     if message.cents > limit.0 {
///         return Err(Fail::dead_letter(std::io::Error::other("over the limit")));
///     }
///     ctx.stage(Notify { cents: message.cents }).await?;
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let called = Unit::new().state(Limit(100)).call(charge, Charge { cents: 7 }).await;
/// assert_eq!(called.staged::<Notify>()[0].cents, 7);
/// called.ran().assert_ok();
/// let called = Unit::new().state(Limit(100)).call(charge, Charge { cents: 700 }).await;
/// called.ran().assert_dead("over the limit");
/// # }
/// ```
#[must_use = "nothing is called yet"]
#[derive(Default)]
pub struct Unit(Vec<Step>);

impl Unit {
    /// Without state.
    pub fn new() -> Self {
        Self::default()
    }

    /// Shares a value with the handler, as [`WorkersBuilder::state`].
    pub fn state<T: Clone + Send + Sync + 'static>(self, value: T) -> Self {
        self.workers(move |workers| workers.state(value))
    }

    /// All else that a [`WorkersBuilder`] can do: `.workers(|w| w.state_parts(app))`.
    pub fn workers(
        mut self,
        step: impl FnOnce(WorkersBuilder) -> WorkersBuilder + Send + 'static,
    ) -> Self {
        self.0.push(Box::new(step));
        self
    }

    /// Runs one attempt to its end and tells what came of it. Headers and keys stand in the message:
    /// `Outgoing::new(&message).header("tenant", "acme")`.
    ///
    /// # Panics
    /// If the message or the handler is not valid, or the handler takes another kind.
    pub async fn call<F, Arguments>(self, handler: F, message: impl Into<Outgoing>) -> Called
    where
        F: AsyncHandler<Arguments>,
        Arguments: 'static,
    {
        let limits = Limits {
            tag: StoreTag::new(1),
            capacity_messages: 1 << 20,
            capacity_bytes: 1 << 30,
            dead_bytes: 1 << 30,
            keys: 1 << 20,
            idempotency_window: Duration::from_secs(24 * 3600),
        };
        let store = Arc::new(Naive::new(Arc::<ManualClock>::default(), limits));
        let mut message = match message.into().into_message() {
            Ok(message) => message,
            Err(error) => fail(&format!("the message is not valid: {error}")),
        };
        message.retain = Some(Duration::from_secs(3600)); // so that its result can be looked at
        let id = match store.enqueue(vec![message], WhenFull::Refuse).await {
            Ok(Ok(receipts)) => receipts.first().map(mq::Receipt::id),
            other => fail(&format!("the message is not valid: {other:?}")),
        };
        let backend = Arc::clone(&store) as Arc<dyn Backend>;
        let workers = WorkersBuilder::new(backend).timers(Timers::Runtime);
        let steps = self.0.into_iter();
        let workers = steps.fold(workers, |workers, step| step(workers));
        let workers = match workers.handle(handler).start() {
            Ok(workers) => workers,
            Err(error) => fail(&format!("the handler could not be started: {error}")),
        };
        let outcome = loop {
            let stats = store.stats();
            let mut counts = OUTCOMES.into_iter().zip(stats.outcomes);
            if let Some((outcome, _)) = counts.find(|(_, count)| *count > 0) {
                break outcome;
            }
            if let Some((_, kind, _)) = stats.unserved.first() {
                fail(&format!("the handler takes no message of kind {kind}"));
            }
            tokio::task::yield_now().await;
        };
        workers.stop(Duration::ZERO).await;
        let Some(id) = id else {
            fail("the message got no id")
        };
        Called::read(&store, id, outcome).await
    }
}

impl fmt::Debug for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unit").finish_non_exhaustive()
    }
}

/// What came of one call of a handler: how the attempt ended, and what it staged.
#[derive(Clone, Debug)]
pub struct Called {
    ran: Ran,
    staged: Vec<(String, Arc<Envelope>)>,
}

impl Called {
    async fn read(store: &Naive, id: mq::MessageId, outcome: Outcome) -> Self {
        let Ok(Ok(Lookup::Found(view))) = store.message(id).await else {
            fail("the message has left the store")
        };
        let ran = Ran::of_view(*view, outcome);
        let mut staged = Vec::new();
        let page = store.list(Filter::default(), Seq::NONE, 100_000).await;
        for view in page.ok().and_then(Result::ok).unwrap_or_default().messages {
            if view.id != id
                && let Ok(Ok(Some(envelope))) = store.envelope(view.id).await
            {
                staged.push((view.kind.to_string(), envelope));
            }
        }
        Self { ran, staged }
    }

    /// How the attempt ended.
    #[must_use]
    pub fn ran(&self) -> Ran {
        self.ran.clone()
    }

    /// The messages of one type that were committed with the outcome, in the order in which they were staged.
    ///
    /// # Panics
    /// If one of them cannot be decoded.
    #[must_use]
    pub fn staged<M: Message>(&self) -> Vec<M> {
        let mine = self.staged.iter().filter(|(kind, _)| kind == M::KIND);
        mine.map(|(kind, envelope)| match mq::decode(envelope) {
            Ok(message) => message,
            Err(error) => fail(&format!("a staged message of kind {kind}: {error}")),
        })
        .collect()
    }
}
