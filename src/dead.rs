//! Dead letters: messages that were given up, found, counted, looked at, brought back, removed.

use std::collections::BTreeMap;
use std::sync::Arc;

use mq_core::backend::{Backend, OperateRequest, Stopped};
use mq_core::id::MessageId;
use mq_core::message::Envelope;
use mq_core::name::KindName;
use mq_core::state::{DeadReason, State};
use mq_core::time::Timestamp;
use mq_core::view::{Lookup, MessageView, StateKind};

use crate::bulk::BulkOrder;
use crate::call::Call;
use crate::engine::EngineBackend;
use crate::error::ReadError;
use crate::filter::Filter;
use crate::find::{Cursor, FindError, Messages, PAGE_LEN_MAX, Page};
use crate::steer::{Replay, Which};

/// Dead letters that a listing shows unless it is asked for pages.
const LIST_LEN: usize = 100;
/// Groups that are told apart; further ones are counted together.
pub const GROUPS_LEN_MAX: usize = 1_000;

/// Messages that were given up. They stay until they are replayed or purged, across restarts.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    backend: EngineBackend,
}

/// Dead letters of one kind, dead for one reason, with one type of error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadGroup {
    /// Their kind; `None` for what is beyond [`GROUPS_LEN_MAX`] groups.
    pub kind: Option<KindName>,
    /// Why they are dead; `None` as above.
    pub reason: Option<DeadReason>,
    /// The type of their last error, such as `Declined`; `None` if none failed.
    pub error_type: Option<String>,
    /// How many there are.
    pub count: u64,
    /// When the first of them died.
    pub oldest: Timestamp,
    /// When the last of them died.
    pub newest: Timestamp,
    /// One of them: the one that was enqueued last.
    pub sample: MessageId,
}

/// What is known of a dead letter, and what the producer gave.
type DeadLetter = (Box<MessageView>, Option<Arc<Envelope>>);

/// All dead letters that match, in groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadGroups {
    /// The largest first.
    pub groups: Vec<DeadGroup>,
    /// Dead letters that may match and are in no group: their payloads could not be read.
    pub unreadable: u64,
}

type GroupKey = (Option<KindName>, Option<&'static str>, Option<String>);

impl DeadLetters {
    pub(crate) const fn new(backend: EngineBackend) -> Self {
        Self { backend }
    }

    pub(crate) const fn backend(&self) -> &EngineBackend {
        &self.backend
    }

    /// The first 100 dead letters that match, oldest first. The filter's state is taken as dead, whatever it says.
    ///
    /// # Errors
    /// [`FindError`] from the call.
    pub fn list(&self, filter: Filter) -> Call<Result<Page, FindError>> {
        self.messages(filter).page(Cursor::START, LIST_LEN)
    }

    /// All dead letters that match, to be asked for page by page.
    pub fn messages(&self, filter: Filter) -> Messages {
        Messages::new(self.backend.clone(), filter.state(StateKind::Dead))
    }

    /// Dead letters by kind, reason and type of error, the largest group first. Looks at all that match, page by page.
    ///
    /// # Errors
    /// [`FindError`] from the call.
    pub fn groups(&self, filter: Filter) -> Call<Result<DeadGroups, FindError>> {
        let messages = self.messages(filter);
        Call::new(move || {
            let (mut groups, mut unreadable) = (BTreeMap::new(), 0);
            let mut next = Some(Cursor::START);
            while let Some(cursor) = next {
                let page = messages.page(cursor, PAGE_LEN_MAX).wait()?;
                page.messages
                    .iter()
                    .for_each(|view| count(&mut groups, view));
                unreadable += u64::try_from(page.unreadable.len()).unwrap_or(u64::MAX);
                next = page.next;
            }
            let mut groups: Vec<DeadGroup> = groups.into_values().collect();
            groups.sort_by_key(|group| std::cmp::Reverse(group.count));
            Ok(DeadGroups { groups, unreadable })
        })
    }

    /// One dead letter with its history and what the producer gave; `None` if there is no such dead letter.
    ///
    /// # Errors
    /// [`ReadError`] if its bytes are damaged or the engine stopped.
    pub fn show(&self, id: MessageId) -> Call<Result<Option<DeadLetter>, ReadError>> {
        let backend = self.backend.clone();
        Call::of(async move {
            let found = backend.message(id).await;
            let Lookup::Found(view) = found.unwrap_or(Err(Stopped::Closed))? else {
                return Ok(None);
            };
            if view.state.kind() != StateKind::Dead {
                return Ok(None);
            }
            let envelope = backend.envelope(id).await;
            let envelope = envelope.unwrap_or(Err(ReadError::Stopped(Stopped::Closed)))?;
            Ok(Some((view, envelope)))
        })
    }

    /// Brings a dead letter back at the end of its line, with fresh budgets; id, headers, keys and history stay.
    /// `.edit(payload)` goes on with another payload.
    pub fn replay(&self, id: MessageId) -> Replay {
        Replay::new(self.backend.clone(), id)
    }

    /// Brings all dead letters that match back, as a bulk job: `.rate(50)`, `.dry_run()`.
    pub fn replay_all(&self, filter: Filter) -> BulkOrder {
        let request = OperateRequest::Replay { edit: None };
        BulkOrder::new(self.backend.clone(), filter, request).dead_only()
    }

    /// Removes dead letters for good: one by its id, or all that match a filter, as a bulk job.
    ///
    /// # Examples
    /// ```
    /// # let engine = mq::Engine::in_memory().open_wait()?;
    /// use mq::{Filter, days, older_than};
    /// let dead = engine.admin().dead_letters();
    /// dead.purge(older_than(days(30))).wait()?.finished().wait()?;
    /// dead.replay_all(Filter::reason("Declined")).rate(50).wait()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn purge<W: Which>(&self, which: W) -> W::Order {
        which.dead_order(self, OperateRequest::Purge)
    }
}

fn count(groups: &mut BTreeMap<GroupKey, DeadGroup>, view: &MessageView) {
    let reason = match view.state {
        State::Dead { reason } => Some(reason),
        State::Scheduled { .. }
        | State::Ready
        | State::Blocked { .. }
        | State::Leased { .. }
        | State::Held { .. }
        | State::Completed { .. }
        | State::Superseded { .. } => return,
    };
    let error_type = view.tail.last_failure().map(|it| it.error_type.clone());
    let died = view.died.unwrap_or(view.enqueued);
    let mut group = DeadGroup {
        kind: Some(view.kind.clone()),
        reason,
        error_type,
        count: 0,
        oldest: died,
        newest: died,
        sample: view.id,
    };
    let word = reason.map(DeadReason::as_str);
    let mut key = (group.kind.clone(), word, group.error_type.clone());
    if groups.len() >= GROUPS_LEN_MAX && !groups.contains_key(&key) {
        key = (None, None, None);
        (group.kind, group.reason, group.error_type) = (None, None, None);
    }
    let group = groups.entry(key).or_insert(group);
    group.count += 1;
    group.oldest = group.oldest.min(died);
    group.newest = group.newest.max(died);
    group.sample = view.id;
}
