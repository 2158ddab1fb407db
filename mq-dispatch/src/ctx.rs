//! What a handler can ask and do about its own message.
//!
//! A [`Ctx`] is cheap to clone and may outlive its handler; what it is then asked to change is refused as stale.
//! Methods that need the store answer with a [`Reply`]: awaited in async handlers, waited for in blocking ones.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use mq_core::backend::{PreviousOf, SettleError};
use mq_core::command::SettleRefused;
use mq_core::id::{LeaseToken, MessageId};
use mq_core::name::{KindName, QueueName};
use mq_core::pending::{Abandoned, Pending};
use mq_core::state::{Attempt, Failure};
use mq_core::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::cancel::{CancelReason, Cancelled};
use crate::lease::{Lease, Progress};
use crate::message::Message;
use crate::message::{DecodeError, EncodeError, from_json, to_json};
use crate::outgoing::Outgoing;
use crate::previous::{Previous, PreviousError};
use crate::reply::{OnRuntimeThread, Reply};
use crate::stage::{Stage, stage_many};

/// Why something a handler asked for did not happen.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CtxError {
    /// The value cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The lease is lost, or the store refuses it or stopped.
    #[error(transparent)]
    Refused(#[from] SettleError),
    /// The engine stopped before it could answer.
    #[error(transparent)]
    Abandoned(#[from] Abandoned),
    /// `.wait()` was called on a thread of an async runtime, which it would block: `.await` it there. What was asked
    /// for happens all the same.
    #[error("wait() would block a thread of the async runtime; use .await there")]
    OnRuntimeThread,
}

impl CtxError {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Encode(error) => error.code(),
            Self::Refused(error) => error.code(),
            Self::Abandoned(_) => "abandoned",
            Self::OnRuntimeThread => "on_runtime_thread",
        }
    }
}

impl OnRuntimeThread for CtxError {
    fn on_runtime_thread() -> Self {
        Self::OnRuntimeThread
    }
}

/// The message being handled.
#[derive(Clone)]
pub struct Ctx(pub(crate) Arc<Lease>);

impl Ctx {
    /// Its id; the same in each attempt.
    #[must_use]
    pub fn id(&self) -> MessageId {
        self.0.grant.token.id
    }

    /// Its kind, as stored; an alias stays one.
    #[must_use]
    pub fn kind(&self) -> &KindName {
        &self.0.grant.kind
    }

    /// Its queue.
    #[must_use]
    pub fn queue(&self) -> &QueueName {
        &self.0.grant.queue
    }

    /// Failures so far plus one.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.0.grant.attempt
    }

    /// Proof of holding it. Later ones compare greater by `(incarnation, delivery)`: systems outside can refuse an
    /// overtaken handler by it.
    #[must_use]
    pub fn token(&self) -> LeaseToken {
        self.0.grant.token
    }

    /// Names and values that came with it.
    #[must_use]
    pub fn headers(&self) -> &[(String, String)] {
        &self.0.grant.envelope.headers
    }

    /// The first header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers().iter();
        let (_, value) = headers.find(|(known, _)| known == name)?;
        Some(value)
    }

    /// When it was enqueued.
    #[must_use]
    pub fn enqueued(&self) -> Timestamp {
        self.0.grant.enqueued
    }

    /// When it was due.
    #[must_use]
    pub fn due(&self) -> Timestamp {
        self.0.grant.due
    }

    /// The first message of its chain: itself, unless a handler staged it.
    #[must_use]
    pub fn correlation(&self) -> MessageId {
        let correlation = self.0.grant.envelope.correlation;
        correlation.unwrap_or_else(|| self.id())
    }

    /// The message whose handler staged it.
    #[must_use]
    pub fn cause(&self) -> Option<MessageId> {
        self.0.grant.envelope.cause
    }

    /// How the last attempt ended.
    #[must_use]
    pub fn last_attempt(&self) -> Option<&Attempt> {
        self.0.grant.last.as_ref()
    }

    /// What went wrong in the last attempt.
    #[must_use]
    pub fn last_error(&self) -> Option<&Failure> {
        self.last_attempt()?.failure.as_ref()
    }

    /// It was running when the process died before, and runs alone among such messages now.
    #[must_use]
    pub fn is_suspect(&self) -> bool {
        self.0.grant.suspect
    }

    /// A value that the program shares with its handlers.
    #[must_use]
    pub fn state<T: 'static>(&self) -> Option<&T> {
        self.0.states.get()
    }

    /// The previous version of this message: the last one of its dedup key that was processed with success, if that is
    /// retained. A failed one leaves it as it is.
    pub fn previous<M: Message>(&self) -> Reply<Result<Option<Previous<M>>, PreviousError>> {
        let asked = self.0.backend.previous(PreviousOf::Message(self.id()));
        Reply::new(asked, |answer| Previous::of(answer??))
    }

    /// What was saved last, in this attempt or an earlier one.
    ///
    /// # Errors
    /// [`DecodeError`] if another type was saved.
    pub fn checkpoint<T: DeserializeOwned>(&self) -> Result<Option<T>, DecodeError> {
        let saved = self.0.work.lock().checkpoint.clone();
        saved.map(|bytes| from_json(&bytes)).transpose()
    }

    /// Saves what the next attempt needs to go on from here; answered when it is durable. At most
    /// [`mq_core::limits::CHECKPOINT_SIZE_MAX`] bytes of JSON.
    pub fn save_checkpoint<T: Serialize>(&self, value: &T) -> Reply<Result<(), CtxError>> {
        let bytes = match to_json(value) {
            Ok(bytes) => bytes,
            Err(error) => return Reply::ready(Err(error.into())),
        };
        let asked = self.0.backend.save_checkpoint(self.token(), bytes.clone());
        let lease = Arc::clone(&self.0);
        Reply::new(asked, move |answer| {
            answer??;
            lease.work.lock().checkpoint = Some(bytes);
            Ok(())
        })
    }

    /// Says how far it is, for whoever looks; `done` above `total` is taken as `total`. Not stored.
    pub fn progress(&self, done: u64, total: u64, unit: &str) {
        self.0.work.lock().progress = Some(Progress {
            done: done.min(total),
            total,
            unit: unit.to_owned(),
        });
    }

    /// Makes lease and time limit last at least `duration` from now. The lease alone needs no such call: it is renewed
    /// while the handler lives.
    pub fn extend(&self, duration: Duration) -> Reply<Result<(), CtxError>> {
        let token = self.token();
        let asked: Pending<_> = self.0.backend.extend(vec![token], duration);
        let lease = Arc::clone(&self.0);
        Reply::new(asked, move |answer| {
            let stale = answer?.into_iter().find_map(Result::err);
            if let Some(stale) = stale {
                return Err(SettleError::from(SettleRefused::from(stale)).into());
            }
            lease.extend(duration, Instant::now());
            crate::log::extended(&lease.grant, duration);
            Ok(())
        })
    }

    /// Waits until the handler is asked to stop: by a stop of the program, a cancellation, a lost lease or the time
    /// limit. A handler that does not end within a few seconds of it is aborted (not by a cancellation).
    pub fn cancelled(&self) -> impl Future<Output = CancelReason> + Send + 'static {
        let lease = Arc::clone(&self.0);
        async move { lease.cancel.requested().await }
    }

    /// Why the handler is asked to stop, if it is.
    #[must_use]
    pub fn cancel_reason(&self) -> Option<CancelReason> {
        self.0.cancel.reason()
    }

    /// Goes on unless the handler is asked to stop.
    ///
    /// # Errors
    /// [`Cancelled`]. Returned with `?`, it costs no attempt when the program stops, and completes the message as
    /// cancelled when a user cancelled it.
    pub fn check_cancelled(&self) -> Result<(), Cancelled> {
        self.cancel_reason()
            .map_or(Ok(()), |reason| Err(Cancelled { reason }))
    }

    /// Commits a message together with this handler's success, and drops it otherwise. Set its options, then await it:
    /// that reserves room for it. Correlation, cause and trace headers are carried over.
    pub fn stage(&self, message: impl Into<Outgoing>) -> Stage {
        Stage::new(self.clone(), message.into())
    }

    /// As [`Ctx::stage`] for many: all or none.
    pub fn stage_all<I>(&self, messages: I) -> Reply<Result<(), CtxError>>
    where
        I: IntoIterator,
        I::Item: Into<Outgoing>,
    {
        stage_many(self, messages.into_iter().map(Into::into))
    }
}

impl fmt::Debug for Ctx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ctx")
            .field("token", &self.token())
            .field("kind", self.kind())
            .field("attempt", &self.attempt())
            .finish_non_exhaustive()
    }
}
