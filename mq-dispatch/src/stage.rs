//! Follow-up messages that are committed with the settlement of the message being handled.
//!
//! Room in the store is reserved when they are staged, so that a settlement is never refused for it; only a full disk may. What the
//! store will write is estimated from above: [`size_estimate`].

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use mq_core::backend::{Grant, SettleError};
use mq_core::command::{SettleRefused, StaleLease};
use mq_core::key::Key;
use mq_core::message::NewMessage;
use mq_core::time::Timestamp;

use crate::ctx::{Ctx, CtxError};
use crate::dedup::Dedup;
use crate::outgoing::Outgoing;
use crate::reply::Reply;

/// Bytes of an encoded envelope besides payload, headers and keys; generous.
const ENVELOPE_OVERHEAD: usize = 128;
/// Bytes of an encoded header besides name and value; generous.
const HEADER_OVERHEAD: usize = 16;
/// Headers of the W3C trace context. Source: <https://www.w3.org/TR/trace-context/>.
const TRACE_HEADERS: [&str; 3] = ["traceparent", "tracestate", "baggage"];

/// What can be said of an [`Outgoing`], said of a follow-up.
macro_rules! outgoing_setters {
    ($($setter:ident($($argument:ident: $type:ty),*);)*) => {$(
        #[doc = concat!("See [`Outgoing::", stringify!($setter), "`].")]
        pub fn $setter(mut self, $($argument: $type),*) -> Self {
            self.message = self.message.$setter($($argument),*);
            self
        }
    )*};
}

/// A follow-up that is not staged yet.
#[must_use = "nothing is staged yet: `.await` it, or `.wait()` for it"]
#[derive(Debug)]
pub struct Stage {
    ctx: Ctx,
    message: Outgoing,
}

impl Stage {
    pub(crate) fn new(ctx: Ctx, message: Outgoing) -> Self {
        Self { ctx, message }
    }

    outgoing_setters! {
        queue(name: &str);
        priority(level: u8);
        delay(delay: Duration);
        at(due: Timestamp);
        expires_in(limit: Duration);
        header(name: impl Into<String>, value: impl Into<String>);
        idempotency_key(key: impl AsRef<[u8]>);
        dedup(dedup: Dedup);
        ordering_key(key: impl AsRef<[u8]>);
        halt_on_dead();
        hold(label: &str);
        max_attempts(attempts: u32);
        unlimited_attempts();
        retain(span: Duration);
    }

    /// Stages it and blocks this thread until room is reserved; for blocking handlers.
    ///
    /// # Errors
    /// [`CtxError`]; nothing is staged then.
    pub fn wait(self) -> Result<(), CtxError> {
        self.into_future().wait()
    }
}

impl IntoFuture for Stage {
    type Output = Result<(), CtxError>;
    type IntoFuture = Reply<Result<(), CtxError>>;

    fn into_future(self) -> Self::IntoFuture {
        stage_many(&self.ctx, std::iter::once(self.message))
    }
}

/// Reserves room for all of them, then stages them.
pub(crate) fn stage_many(
    ctx: &Ctx,
    messages: impl Iterator<Item = Outgoing>,
) -> Reply<Result<(), CtxError>> {
    let mut staged = Vec::new();
    let mut bytes: u64 = 0;
    for (index, message) in messages.enumerate() {
        let message = match prepare(ctx, message, index) {
            Ok(message) => message,
            Err(error) => return Reply::ready(Err(error)),
        };
        bytes = bytes.saturating_add(size_estimate(&message));
        staged.push(message);
    }
    let count = u64::try_from(staged.len()).unwrap_or(u64::MAX);
    if count == 0 {
        return Reply::ready(Ok(()));
    }
    let asked = ctx.0.backend.reserve(ctx.token(), count, bytes);
    let lease = Arc::clone(&ctx.0);
    Reply::new(asked, move |answer| {
        answer??;
        if lease.work.lock().stage(&mut staged) {
            return Ok(());
        }
        // A clone of the context has outlived the handler: its settlement is on its way without these.
        let stale = StaleLease {
            token: lease.grant.token,
        };
        Err(SettleError::from(SettleRefused::from(stale)).into())
    })
}

/// Checks a message now rather than at the settlement, and says where it comes from.
fn prepare(ctx: &Ctx, message: Outgoing, index: usize) -> Result<NewMessage, CtxError> {
    let mut message = message.into_message()?;
    descend(&ctx.0.grant, &mut message);
    message
        .check(ctx.0.backend.payload_size_max())
        .map_err(|source| SettleError::Invalid { index, source })?;
    Ok(message)
}

/// Carries correlation, cause and trace over from the message being handled, unless they were set.
pub(crate) fn descend(parent: &Grant, message: &mut NewMessage) {
    let id = parent.token.id;
    let envelope = &mut message.envelope;
    let chain = parent.envelope.correlation.unwrap_or(id);
    envelope.correlation.get_or_insert(chain);
    envelope.cause.get_or_insert(id);
    for (name, value) in &parent.envelope.headers {
        let is_set = envelope.headers.iter().any(|(known, _)| known == name);
        if TRACE_HEADERS.contains(&name.as_str()) && !is_set {
            envelope.headers.push((name.clone(), value.clone()));
        }
    }
}

/// At least as many bytes as the store will write for the envelope.
fn size_estimate(message: &NewMessage) -> u64 {
    let envelope = &message.envelope;
    let headers = envelope.headers.iter();
    let headers: usize = headers
        .map(|(name, value)| name.len() + value.len() + HEADER_OVERHEAD)
        .sum();
    let keys = [
        &envelope.idempotency_key,
        &envelope.dedup_key,
        &envelope.ordering_key,
    ];
    let keys: usize = keys
        .into_iter()
        .flatten()
        .map(|key: &Key| key.as_bytes().len())
        .sum();
    let size = envelope.payload.len() + headers + keys + ENVELOPE_OVERHEAD;
    u64::try_from(size).unwrap_or(u64::MAX)
}
