//! Why a message is not running, in one sentence: the rules' reason, with what a person needs to act on it.
//!
//! What a producer wrote stands in the sentence as it is: whoever prints it on a terminal escapes it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use mq_core::backend::{Backend, Stopped};
use mq_core::id::MessageId;
use mq_core::key::Key;
use mq_core::manager::Explanation;
use mq_core::message::Envelope;
use mq_core::state::{Completion, DeadReason, Failure, State, Tail};
use mq_core::time::Now;
use mq_core::view::{Lookup, MessageView};

use crate::admin::Admin;
use crate::call::Call;
use crate::control::moment;
use crate::engine::{Desk, EngineBackend, Needs};

/// Why a message is not running. Printed, it is one sentence that says what holds the message back, until when, and what
/// can be done about it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explained {
    /// The message.
    pub id: MessageId,
    /// The first reason that keeps it from running.
    pub reason: Explanation,
    /// What is known of it; `None` if it is not in the store.
    pub message: Option<MessageView>,
    /// The message that comes first, if one does.
    pub held_up_by: Option<MessageView>,
    /// The key for whose sake it comes first; `None` if it could not be read.
    pub key: Option<SharedKey>,
    /// The store's folder, for the commands in the sentence; `None` if it is in none, and the sentence has none either.
    pub store: Option<PathBuf>,
}

/// A key that two messages have.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SharedKey {
    /// Messages of this ordering key run one after the other.
    Ordering(Key),
    /// One more message of this dedup key runs behind the running one.
    Dedup(Key),
}

impl fmt::Display for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, key) = match self {
            Self::Ordering(key) => ("ordering key", key),
            Self::Dedup(key) => ("dedup key", key),
        };
        write!(f, "{what} {}", String::from_utf8_lossy(key.as_bytes()))
    }
}

impl Admin {
    /// Why a message is not running. To follow a chain of messages that wait for one another, ask again for
    /// [`Explained::held_up_by`].
    ///
    /// # Errors
    /// [`Stopped`] from the call if the engine does not serve any more. An id that is not in the store is no error.
    ///
    /// # Examples
    /// ```
    /// # use mq::prelude::*;
    /// # #[derive(Serialize, Deserialize, Message)]
    /// # #[message(kind = "charge")]
    /// # struct Charge { cents: u32 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mq::Result {
    /// let engine = Engine::in_memory().open().await?;
    /// engine.enqueue(Charge { cents: 1 }).ordering_key("customer-3").hold("audit").await?;
    /// let second = engine.enqueue(Charge { cents: 2 }).ordering_key("customer-3").await?;
    /// let why = engine.admin().explain(second.accepted.id).await?.to_string();
    /// assert!(why.starts_with("blocked: ordering key customer-3 is held by"), "{why}");
    /// assert!(why.contains("held under label audit"), "{why}");
    /// # Ok(())
    /// # }
    /// ```
    pub fn explain(&self, id: MessageId) -> Call<Result<Explained, Stopped>> {
        let backend = self.backend().clone();
        Call::of(async move {
            let looked = backend
                .0
                .at_desk(Needs::Sync, move |desk, now| Ok(look(desk, now, id)), Err)
                .await;
            let mut explained = looked.unwrap_or_else(|_| Err(backend.why_stopped()))?;
            if let Some(first) = &explained.held_up_by {
                explained.key = shared_key(&backend, id, first.id).await;
            }
            Ok(explained)
        })
    }
}

fn look(desk: &Desk, now: &Now, id: MessageId) -> Explained {
    let find = |id| match desk.manager.lookup(now, id) {
        Lookup::Found(view) => Some(*view),
        Lookup::SettledNotKept | Lookup::NeverIssued => None,
    };
    let reason = desk.manager.explain(now, id);
    let held_up_by = match &reason {
        Explanation::Blocked { by, .. } => find(*by),
        _ => None,
    };
    Explained {
        id,
        message: find(id),
        held_up_by,
        key: None,
        store: desk.sight.folder.get().cloned(),
        reason,
    }
}

/// The ordering key of both; else the dedup key of both.
async fn shared_key(backend: &EngineBackend, id: MessageId, first: MessageId) -> Option<SharedKey> {
    let read = async |id| -> Option<Arc<Envelope>> { backend.envelope(id).await.ok()?.ok()? };
    let (mine, first) = (read(id).await?, read(first).await?);
    let same = |one: &Option<Key>, other: &Option<Key>| one.clone().filter(|_| one == other);
    let ordering = same(&mine.ordering_key, &first.ordering_key).map(SharedKey::Ordering);
    ordering.or_else(|| same(&mine.dedup_key, &first.dedup_key).map(SharedKey::Dedup))
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = &self.id;
        match (&self.reason, &self.message) {
            (Explanation::Scheduled { due }, Some(view)) => {
                let until = moment(*due);
                match last_failure(&view.tail) {
                    Some(failure) => {
                        let failures = view.tail.failures;
                        write!(
                            f,
                            "in back-off until {until}, after {failures} failures; the last: {}",
                            failure.text
                        )?;
                        self.way(f, "to go on now", "messages run-now", id)
                    }
                    None => {
                        write!(f, "scheduled: not before {until}")?;
                        self.way(f, "to start it now", "messages run-now", id)
                    }
                }
            }
            (Explanation::NoPool { queue, kind }, view) => {
                f.write_str("ready: ")?;
                if view.as_ref().is_some_and(|view| view.suspect) {
                    f.write_str("it was running when the process died and will run alone among such messages; ")?;
                }
                write!(
                    f,
                    "it waits for a worker that takes kind {kind} from queue {queue}; start one, or register a handler"
                )
            }
            (Explanation::QueuePaused { queue }, _) => {
                write!(f, "ready, but queue {queue} is paused")?;
                self.way(f, "resume it with", "queue resume", queue)
            }
            (Explanation::Held { label }, _) => {
                write!(f, "held under label {label}")?;
                self.way(f, "release it with", "messages release", id)
            }
            (Explanation::Dead { reason }, Some(view)) => {
                write!(f, "dead: {}", why_dead(*reason, &view.tail))?;
                self.way(f, "bring it back with", "dlq replay", id)
            }
            (Explanation::Blocked { by, .. }, _) => self.blocked(f, *by),
            (Explanation::Completed { how }, _) => f.write_str(over(*how)),
            (reason, _) => reason.fmt(f),
        }
    }
}

impl Explained {
    /// A command that can be pasted as it stands.
    fn way(
        &self,
        f: &mut fmt::Formatter<'_>,
        what_for: &str,
        verb: &str,
        about: &dyn fmt::Display,
    ) -> fmt::Result {
        let Some(store) = &self.store else {
            return Ok(());
        };
        let about = about.to_string();
        let ends = if about.starts_with('-') { "-- " } else { "" };
        let store = quoted(&store.to_string_lossy());
        write!(f, "; {what_for}: mq {verb} --data {store} {ends}{about}")
    }

    fn blocked(&self, f: &mut fmt::Formatter<'_>, by: MessageId) -> fmt::Result {
        let key = self.key.as_ref().map(SharedKey::to_string);
        let key = key.as_deref().unwrap_or("its key");
        write!(f, "blocked: {key} is held by {by}")?;
        let Some(first) = &self.held_up_by else {
            return f.write_str(", which has left the store just now");
        };
        write!(f, " of kind {}, which is ", first.kind)?;
        match &first.state {
            State::Scheduled { due } => {
                let until = moment(*due);
                match last_failure(&first.tail) {
                    Some(failure) => write!(f, "in back-off until {until} ({})", failure.text)?,
                    None => write!(f, "scheduled for {until}")?,
                }
                self.way(f, "to go on now", "messages run-now", &by)
            }
            State::Ready => f.write_str("ready and comes first"),
            State::Blocked { by } => write!(f, "blocked by {by}"),
            State::Leased { .. } => f.write_str("running"),
            State::Superseded { .. } => f.write_str("replaced, and still running"),
            State::Held { label } => {
                write!(f, "held under label {label}")?;
                self.way(f, "release it with", "messages release", &by)
            }
            State::Dead { reason } => {
                write!(f, "dead ({}) and stops its key", reason.as_str())?;
                self.way(f, "bring it back with", "dlq replay", &by)?;
                self.way(f, "or remove it with", "dlq purge", &by)
            }
            State::Completed { how } => f.write_str(over(*how)),
        }
    }
}

/// A word as a shell reads it back.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@%+,".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn last_failure(tail: &Tail) -> Option<&Failure> {
    tail.history.last()?.failure.as_ref()
}

const fn over(how: Completion) -> &'static str {
    match how {
        Completion::Succeeded => "completed: it succeeded",
        Completion::Discarded => "completed: it was discarded",
        Completion::Cancelled => "completed: it was cancelled",
    }
}

fn why_dead(reason: DeadReason, tail: &Tail) -> String {
    match reason {
        DeadReason::BudgetSpent => format!("it failed {} times", tail.failures),
        DeadReason::DeadLettered => "its handler gave it up".to_owned(),
        DeadReason::Undecodable => "its payload could not be decoded".to_owned(),
        DeadReason::Crashed => format!("it took the process down {} times", tail.crashes),
        DeadReason::Expired => "it did not start within its time to live".to_owned(),
    }
}

#[cfg(test)]
mod tests;
