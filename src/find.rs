//! Finding messages, page by page.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use mq_core::backend::Stopped;
use mq_core::id::{MessageId, Seq};
use mq_core::key::KeyHasher;
use mq_core::view::{FoundBy, MessageView};

use crate::call::Call;
use crate::engine::{EngineBackend, Scan};
use crate::filter::{Filter, FilterError};

/// The longest page.
pub const PAGE_LEN_MAX: usize = 1_000;

/// Where a page begins: behind the message it stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor(Seq);

impl Cursor {
    /// Before the first message.
    pub const START: Self = Self(Seq::NONE);

    pub(crate) const fn seq(self) -> Seq {
        self.0
    }
}

impl From<MessageId> for Cursor {
    fn from(id: MessageId) -> Self {
        Self(id.seq())
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.get())
    }
}

/// A text is no cursor: take it from the page before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is no cursor; take the one that came with the page before")]
pub struct CursorError {
    /// What was given.
    pub given: String,
}

impl CursorError {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "cursor"
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let number: Result<u64, ParseIntError> = text.parse();
        let seq = number.ok().and_then(|number| match number {
            0 => Some(Seq::NONE),
            number => Seq::new(number),
        });
        let given = || CursorError {
            given: text.to_owned(),
        };
        seq.map(Self).ok_or_else(given)
    }
}

/// Why messages could not be found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// The filter cannot be understood.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The engine does not serve any more.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl FindError {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Filter(error) => error.code(),
            Self::Stopped(error) => error.code(),
        }
    }
}

/// A page of messages by ascending id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The messages.
    pub messages: Vec<MessageView>,
    /// Ask again from here for more; `None` at the end. A page may be short, even empty, before the end: each one looks at
    /// a bounded number of messages.
    pub next: Option<Cursor>,
    /// Messages left out because their payloads are damaged or unreadable: run `mq verify`.
    pub unreadable: Vec<MessageId>,
    /// How they were found: in the index of a field, or by looking at all.
    pub by: FoundBy,
    /// Payloads read for it: those that could match a condition on a field.
    pub read: u64,
}

/// How many messages match a filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// So many.
    pub matched: u64,
    /// Messages that may match; their payloads could not be read.
    pub unreadable: u64,
}

/// The messages that match a filter.
#[must_use = "ask for a page"]
#[derive(Clone, Debug)]
pub struct Messages {
    backend: EngineBackend,
    filter: Filter,
}

impl Messages {
    pub(crate) const fn new(backend: EngineBackend, filter: Filter) -> Self {
        Self { backend, filter }
    }

    /// A page of at most `len` messages (1 to [`PAGE_LEN_MAX`]) from `cursor` on: [`Cursor::START`], or the one that came
    /// with the page before.
    ///
    /// # Examples
    /// ```
    /// # let engine = mq::Engine::in_memory().open_wait()?;
    /// use mq::{Cursor, Filter, StateKind};
    /// let (mut cursor, mut count) = (Some(Cursor::START), 0);
    /// while let Some(from) = cursor {
    ///     let page = engine.messages(Filter::new().state(StateKind::Dead)).page(from, 100).wait()?;
    ///     count += page.messages.len();
    ///     cursor = page.next;
    /// }
    /// # assert_eq!(count, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`FindError`] from the call: the filter is wrong, or the engine stopped.
    pub fn page(&self, cursor: impl Into<Cursor>, len: usize) -> Call<Result<Page, FindError>> {
        let (backend, filter) = (self.backend.clone(), self.filter.clone());
        let (after, len) = (cursor.into().seq(), len.clamp(1, PAGE_LEN_MAX));
        Call::new(move || {
            let found = backend.scan(&filter)?.page(&backend.0, after, len)?;
            Ok(Page {
                messages: found.messages,
                next: found.next.map(Cursor),
                unreadable: found.unreadable,
                by: found.by,
                read: found.read,
            })
        })
    }

    /// How many messages match now. Looks at all of them, page by page: what happens meanwhile may be in it or not.
    ///
    /// # Errors
    /// [`FindError`] from the call.
    pub fn count(&self) -> Call<Result<Count, FindError>> {
        let this = self.clone();
        Call::new(move || {
            let (mut count, mut next) = (Count::default(), Some(Cursor::START));
            while let Some(cursor) = next {
                let page = this.page(cursor, PAGE_LEN_MAX).wait()?;
                count.matched += u64::try_from(page.messages.len()).unwrap_or(u64::MAX);
                count.unreadable += u64::try_from(page.unreadable.len()).unwrap_or(u64::MAX);
                next = page.next;
            }
            Ok(count)
        })
    }
}

impl EngineBackend {
    /// What a filter looks for in this store, now.
    pub(crate) fn scan(&self, filter: &Filter) -> Result<Scan, FilterError> {
        let hasher = KeyHasher::new(self.0.identity.secret);
        filter.resolve(&hasher, self.0.clock().wall())
    }
}
