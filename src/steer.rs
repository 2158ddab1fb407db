//! Steering messages: one by its id, or all that match a filter. Every change is journalled and answered when it is synced.

use bytes::Bytes;
use mq_core::backend::{OperateError, OperateRequest, Stopped};
use mq_core::bulk::BulkId;
use mq_core::command::Operated;
use mq_core::id::MessageId;
use mq_core::message::{Due, Priority};
use mq_core::name::{Label, QueueName};

use crate::admin::Admin;
use crate::bulk::{BulkJob, BulkOrder, BulkReport};
use crate::call::Call;
use crate::dead::DeadLetters;
use crate::engine::{Engine, EngineBackend};
use crate::filter::Filter;

mod sealed {
    pub trait Sealed {}
    impl Sealed for mq_core::id::MessageId {}
    impl Sealed for crate::filter::Filter {}
}

/// Which messages are changed: one, by its [`MessageId`], or all that match a [`Filter`].
pub trait Which: sealed::Sealed {
    /// What the change is said with: an [`Order`] for one message, a [`BulkOrder`] for many.
    type Order;

    #[doc(hidden)]
    fn order(self, engine: &Engine, request: OperateRequest) -> Self::Order;

    #[doc(hidden)]
    fn dead_order(self, dead: &DeadLetters, request: OperateRequest) -> Self::Order;
}

impl Which for MessageId {
    type Order = Order;

    fn order(self, engine: &Engine, request: OperateRequest) -> Order {
        Order::new(engine.inner().clone(), self, request)
    }

    fn dead_order(self, dead: &DeadLetters, request: OperateRequest) -> Order {
        Order::new(dead.backend().clone(), self, request)
    }
}

impl Which for Filter {
    type Order = BulkOrder;

    fn order(self, engine: &Engine, request: OperateRequest) -> BulkOrder {
        BulkOrder::new(engine.inner().clone(), self, request)
    }

    fn dead_order(self, dead: &DeadLetters, request: OperateRequest) -> BulkOrder {
        BulkOrder::new(dead.backend().clone(), self, request).dead_only()
    }
}

/// A change of one message. Nothing has happened yet: `.await` it, or call `.wait()`.
#[must_use = "nothing has happened yet: `.await` it, or call `.wait()`"]
#[derive(Clone, Debug)]
pub struct Order {
    backend: EngineBackend,
    id: MessageId,
    request: OperateRequest,
    by: String,
}

impl Order {
    pub(crate) const fn new(
        backend: EngineBackend,
        id: MessageId,
        request: OperateRequest,
    ) -> Self {
        Self {
            backend,
            id,
            request,
            by: String::new(),
        }
    }

    /// Who asks, for the message's history; cut to 128 bytes.
    pub fn by(mut self, who: impl Into<String>) -> Self {
        self.by = who.into();
        self
    }

    /// Does it, and answers when it is durable. Never call it on a thread of an async runtime.
    ///
    /// # Errors
    /// [`OperateError`]; nothing was changed.
    pub fn wait(self) -> Result<Operated, OperateError> {
        let changed = self.backend.operate_by(self.id, self.request, self.by);
        self.backend.answered(changed.wait())
    }
}

impl IntoFuture for Order {
    type Output = Result<Operated, OperateError>;
    type IntoFuture = Call<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Call::new(move || self.wait())
    }
}

/// A replay of one dead letter. Nothing has happened yet: `.await` it, or call `.wait()`.
#[must_use = "nothing has happened yet: `.await` it, or call `.wait()`"]
#[derive(Clone, Debug)]
pub struct Replay {
    order: Order,
}

impl Replay {
    pub(crate) const fn new(backend: EngineBackend, id: MessageId) -> Self {
        let request = OperateRequest::Replay { edit: None };
        Self {
            order: Order::new(backend, id, request),
        }
    }

    /// Goes on with another payload; id, headers, keys, and where it came from stay.
    pub fn edit(mut self, payload: impl Into<Bytes>) -> Self {
        let edit = Some(payload.into());
        self.order.request = OperateRequest::Replay { edit };
        self
    }

    /// Who asks, for the message's history; cut to 128 bytes.
    pub fn by(mut self, who: impl Into<String>) -> Self {
        self.order = self.order.by(who);
        self
    }

    /// Does it, and answers when it is durable. Never call it on a thread of an async runtime.
    ///
    /// # Errors
    /// [`OperateError`]; the dead letter stays where it is.
    pub fn wait(self) -> Result<Operated, OperateError> {
        self.order.wait()
    }
}

impl IntoFuture for Replay {
    type Output = Result<Operated, OperateError>;
    type IntoFuture = Call<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        self.order.into_future()
    }
}

/// Steering: each change is for one message by its id, or for all that match a filter, as a bulk job.
impl Engine {
    /// Stops messages for good: at once if they wait; if they run, their handlers are asked to stop.
    ///
    /// # Examples
    /// ```
    /// # let engine = mq::Engine::in_memory().open_wait()?;
    /// # let message = mq::NewMessage::new("mail".parse()?, "welcome".parse()?, "{}".into());
    /// # let id = engine.enqueue_raw(message).wait()?.accepted.id;
    /// use mq::Filter;
    /// engine.cancel(id).by("zoe").wait()?;
    /// let order = engine.cancel(Filter::new().kind("welcome").payload("/user == 7")).rate(100);
    /// println!("{} would be cancelled", order.clone().dry_run().wait()?.matched);
    /// let report = order.wait()?.finished().wait()?;
    /// println!("{} were", report.counts.done);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cancel<W: Which>(&self, which: W) -> W::Order {
        which.order(self, OperateRequest::Cancel)
    }

    /// Sets waiting messages aside under a label of your own: they are not handed out until they are released.
    pub fn hold<W: Which>(&self, which: W, label: Label) -> W::Order {
        which.order(self, OperateRequest::Hold(label))
    }

    /// Lets held messages go on.
    pub fn release<W: Which>(&self, which: W) -> W::Order {
        which.order(self, OperateRequest::Release)
    }

    /// Makes scheduled messages due now.
    pub fn run_now<W: Which>(&self, which: W) -> W::Order {
        which.order(self, OperateRequest::RunNow)
    }

    /// Gives waiting messages another due time. For many, a delay is counted from the moment of the order.
    pub fn reschedule<W: Which>(&self, which: W, due: Due) -> W::Order {
        which.order(self, OperateRequest::Reschedule(due))
    }

    /// Gives waiting messages another priority.
    pub fn set_priority<W: Which>(&self, which: W, priority: Priority) -> W::Order {
        which.order(self, OperateRequest::SetPriority(priority))
    }

    /// Puts waiting messages into another queue. Their keys stay those of the old one.
    pub fn move_to<W: Which>(&self, which: W, queue: QueueName) -> W::Order {
        which.order(self, OperateRequest::MoveTo(queue))
    }

    /// Removes held, completed or dead messages for good.
    pub fn purge<W: Which>(&self, which: W) -> W::Order {
        which.order(self, OperateRequest::Purge)
    }

    /// Any of these changes, said as a value: for interfaces that pass on what others ask for.
    pub fn change<W: Which>(&self, which: W, request: OperateRequest) -> W::Order {
        which.order(self, request)
    }
}

/// Bulk jobs.
impl Admin {
    /// Bulk jobs that run, and the last 100 that ended, by number: who changed what, when, and what came of it.
    ///
    /// # Errors
    /// [`Stopped`] from the call if the engine does not serve any more.
    pub fn bulk_jobs(&self) -> Call<Result<Vec<BulkReport>, Stopped>> {
        let backend = self.backend().clone();
        Call::new(move || backend.bulk_reports())
    }

    /// A bulk job by its number: how far it is, its end, a stop to it.
    #[must_use]
    pub fn bulk_job(&self, id: BulkId) -> BulkJob {
        BulkJob::new(self.backend().clone(), id)
    }
}
