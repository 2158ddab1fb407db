//! Which fields of a kind's payloads are indexed, so that messages are found by them without reading the payloads of others.

use std::sync::Arc;

use mq_core::backend::Stopped;
use mq_core::command::EnqueueRefused;
use mq_core::index::{Index, IndexError, SetKind};
use mq_core::name::{KindName, NameError};
use mq_core::time::Now;
use mq_core::view::IndexView;

use crate::admin::Admin;
use crate::call::Call;
use crate::engine::{Desk, Needs};

/// Why the index of a kind was not declared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetIndexError {
    /// The kind's name is not valid.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A field cannot be indexed, or there are too many.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// There is no room for it on the disk, or the store has used up its numbers.
    #[error(transparent)]
    Full(#[from] EnqueueRefused),
    /// The engine does not serve any more.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl SetIndexError {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Name(error) => error.code(),
            Self::Index(error) => error.code(),
            Self::Full(error) => error.code(),
            Self::Stopped(stopped) => stopped.code(),
        }
    }
}

impl Admin {
    /// Declares the indexed fields of a kind, all of them: JSON pointers, at most eight; none takes the index away. It is
    /// stored, survives restarts, and concerns messages that are enqueued or edited from then on. Those that are in the store
    /// already are looked at one by one until they have left it.
    ///
    /// A type declares its own with `#[message(index = "/order/sku")]`, once in each program: that replaces what was set here.
    /// Each field of each message takes 26 bytes in the journal; the first one takes some 320 bytes of memory, each other 70.
    ///
    /// # Examples
    /// ```
    /// # let engine = mq::Engine::in_memory().open_wait()?;
    /// use mq::{Cursor, Filter, FoundBy};
    /// engine.admin().set_index("order.paid", ["/order/sku"]).wait()?;
    /// let payload = br#"{"order": {"sku": "tea-7"}}"#.as_slice().into();
    /// engine.enqueue_raw(mq::NewMessage::new("orders".parse()?, "order.paid".parse()?, payload)).wait()?;
    /// let filter = Filter::new().kind("order.paid").payload(r#"/order/sku == "tea-7""#);
    /// let page = engine.messages(filter).page(Cursor::START, 10).wait()?;
    /// assert_eq!((page.messages.len(), page.by), (1, FoundBy::Index));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`SetIndexError`] from the call; nothing was changed.
    pub fn set_index<T: AsRef<str>>(
        &self,
        kind: &str,
        fields: impl IntoIterator<Item = T>,
    ) -> Call<Result<(), SetIndexError>> {
        let backend = self.backend.clone();
        let set = || -> Result<SetKind, SetIndexError> {
            let kind = KindName::new(kind)?;
            let index = Index::parse(fields)?;
            Ok(SetKind { kind, index })
        };
        let set = set();
        Call::of(async move {
            let (set, shell) = (set?, Arc::clone(backend.shell_arc()));
            let act = move |desk: &mut Desk, now: &Now| {
                desk.change(now, &set)?;
                shell.indexes.set(set.kind, set.index);
                Ok(())
            };
            let stopped = |stopped: Stopped| Err(SetIndexError::Stopped(stopped));
            let set = backend.shell_arc().at_desk(Needs::Sync, act, stopped);
            set.await.unwrap_or(Err(Stopped::Closed.into()))
        })
    }

    /// The kinds with an index, and how many of their messages are in it.
    ///
    /// # Errors
    /// [`Stopped`] from the call.
    pub fn indexes(&self) -> Call<Result<Vec<IndexView>, Stopped>> {
        let backend = self.backend.clone();
        Call::of(async move {
            let read = |desk: &mut Desk, _: &Now| Ok(desk.manager.indexes());
            let read = backend.shell_arc().at_desk(Needs::Sync, read, Err);
            read.await.unwrap_or(Err(Stopped::Closed))
        })
    }
}
