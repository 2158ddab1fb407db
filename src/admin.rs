//! What an operator does to messages and queues. Every change is journalled and answered when it is synced.

use std::sync::Arc;

use bytes::Bytes;
use mq_core::backend::{Backend, OperateRequest, Stopped};
use mq_core::command::Operated;
use mq_core::id::MessageId;
use mq_core::manager::Explanation;
use mq_core::message::{Due, Envelope, Priority};
use mq_core::name::{Label, QueueName};
use mq_core::view::{Lookup, MessageView, StateKind};

use crate::call::Call;
use crate::engine::EngineBackend;
use crate::error::{OperateError, ReadError};
use crate::filter::Filter;
use crate::find::{Cursor, FindError, Messages, Page};

/// Dead letters that a listing shows unless it is asked for pages.
const LIST_LEN: usize = 100;

/// Operations on one engine.
#[derive(Clone, Debug)]
pub struct Admin {
    pub(crate) backend: EngineBackend,
}

impl Admin {
    pub(crate) fn new(backend: EngineBackend) -> Self {
        Self { backend }
    }

    pub(crate) fn backend(&self) -> &EngineBackend {
        &self.backend
    }

    async fn operate(
        &self,
        id: MessageId,
        request: OperateRequest,
    ) -> Result<Operated, OperateError> {
        self.backend
            .operate(id, request)
            .await
            .unwrap_or(Err(OperateError::Stopped(Stopped::Closed)))
    }

    /// Stops a message for good: at once if it waits; if it runs, its handler is asked to stop.
    ///
    /// # Errors
    /// [`OperateError`]; nothing was changed.
    pub async fn cancel(&self, id: MessageId) -> Result<Operated, OperateError> {
        self.operate(id, OperateRequest::Cancel).await
    }

    /// Sets a waiting message aside under a label of your own.
    ///
    /// # Errors
    /// [`OperateError`]; nothing was changed.
    pub async fn hold(&self, id: MessageId, label: Label) -> Result<Operated, OperateError> {
        self.operate(id, OperateRequest::Hold(label)).await
    }

    /// Lets a held message go on.
    ///
    /// # Errors
    /// [`OperateError`]; nothing was changed.
    pub async fn release(&self, id: MessageId) -> Result<Operated, OperateError> {
        self.operate(id, OperateRequest::Release).await
    }

    /// Makes a scheduled message due now.
    ///
    /// # Errors
    /// [`OperateError`]; nothing was changed.
    pub async fn run_now(&self, id: MessageId) -> Result<Operated, OperateError> {
        self.operate(id, OperateRequest::RunNow).await
    }

    /// Gives a waiting message another due time.
    ///
    /// # Errors
    /// [`OperateError`]; nothing was changed.
    pub async fn reschedule(&self, id: MessageId, due: Due) -> Result<Operated, OperateError> {
        self.operate(id, OperateRequest::Reschedule(due)).await
    }

    /// Gives a waiting message another priority.
    ///
    /// # Errors
    /// [`OperateError`]; nothing was changed.
    pub async fn set_priority(
        &self,
        id: MessageId,
        priority: Priority,
    ) -> Result<Operated, OperateError> {
        self.operate(id, OperateRequest::SetPriority(priority))
            .await
    }

    /// Puts a waiting message into another queue.
    ///
    /// # Errors
    /// [`OperateError`]; nothing was changed.
    pub async fn move_to(&self, id: MessageId, queue: QueueName) -> Result<Operated, OperateError> {
        self.operate(id, OperateRequest::MoveTo(queue)).await
    }

    /// Stops handing out a queue's messages; survives a restart.
    ///
    /// # Errors
    /// [`Stopped`] if the engine does not serve any more.
    pub async fn pause_queue(&self, queue: QueueName) -> Result<(), Stopped> {
        self.backend
            .pause_queue(queue, true)
            .await
            .unwrap_or(Err(Stopped::Closed))
    }

    /// Hands out a paused queue's messages again.
    ///
    /// # Errors
    /// [`Stopped`] if the engine does not serve any more.
    pub async fn resume_queue(&self, queue: QueueName) -> Result<(), Stopped> {
        self.backend
            .pause_queue(queue, false)
            .await
            .unwrap_or(Err(Stopped::Closed))
    }

    /// Why a message is not running, in a form that can be printed.
    #[must_use]
    pub fn explain(&self, id: MessageId) -> Explanation {
        self.backend
            .shell()
            .look(|desk, now| desk.manager.explain(now, id))
    }

    /// The dead letters.
    #[must_use]
    pub fn dead_letters(&self) -> DeadLetters {
        DeadLetters {
            admin: self.clone(),
        }
    }
}

/// Messages that were given up: found, looked at, replayed, purged.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    admin: Admin,
}

impl DeadLetters {
    /// The first 100 dead letters that match, oldest first. `filter.state` is taken as dead, whatever it says.
    ///
    /// # Errors
    /// [`FindError`] from the call.
    pub fn list(&self, filter: Filter) -> Call<Result<Page, FindError>> {
        self.messages(filter).page(Cursor::START, LIST_LEN)
    }

    /// All dead letters that match, to be asked for page by page.
    pub fn messages(&self, filter: Filter) -> Messages {
        Messages::new(self.admin.backend.clone(), filter.state(StateKind::Dead))
    }

    /// One dead letter with its history and what the producer gave; `None` if there is no such dead letter.
    ///
    /// # Errors
    /// [`ReadError`] if its bytes are damaged or the engine stopped.
    pub async fn show(
        &self,
        id: MessageId,
    ) -> Result<Option<(Box<MessageView>, Option<Arc<Envelope>>)>, ReadError> {
        let found = self
            .admin
            .backend
            .message(id)
            .await
            .unwrap_or(Err(Stopped::Closed))?;
        let Lookup::Found(view) = found else {
            return Ok(None);
        };
        if view.state.kind() != StateKind::Dead {
            return Ok(None);
        }
        let envelope = self
            .admin
            .backend
            .envelope(id)
            .await
            .unwrap_or(Err(ReadError::Stopped(Stopped::Closed)))?;
        Ok(Some((view, envelope)))
    }

    /// Brings a dead letter back at the end of its line, with fresh budgets; id, headers, keys and history stay.
    ///
    /// # Errors
    /// [`OperateError`]; the dead letter stays where it is.
    pub async fn replay(&self, id: MessageId) -> Result<Operated, OperateError> {
        self.admin
            .operate(id, OperateRequest::Replay { edit: None })
            .await
    }

    /// [`DeadLetters::replay`] with another payload.
    ///
    /// # Errors
    /// [`OperateError`]; the dead letter stays where it is.
    pub async fn replay_edited(
        &self,
        id: MessageId,
        payload: impl Into<Bytes>,
    ) -> Result<Operated, OperateError> {
        self.admin
            .operate(
                id,
                OperateRequest::Replay {
                    edit: Some(payload.into()),
                },
            )
            .await
    }

    /// Removes a dead letter for good.
    ///
    /// # Errors
    /// [`OperateError`]; the dead letter stays where it is.
    pub async fn purge(&self, id: MessageId) -> Result<Operated, OperateError> {
        self.admin.operate(id, OperateRequest::Purge).await
    }
}
