//! Finding messages: pages of those that match a filter.
//!
//! Invariants: a page looks at a bounded number of messages, and says where the next one begins. A live message with a
//! key is found through the table of keys, one with an indexed field through the table of terms if that knows all that can
//! match; everything else by looking at all, page by page.

use crate::filter::{Filter, KeyIs};
use crate::id::Seq;
use crate::state::StoredState;
use crate::time::{Now, Timestamp};
use crate::view::{FoundBy, Page, StateKind};

use super::QueueManager;
use super::entry::{Entry, Tag};
use super::terms::Candidates;

/// Messages that one page looks at.
const PAGE_LOOK_MAX: usize = 4_096;

impl QueueManager {
    /// Messages after `after` that match, by ascending sequence, at most `limit` and after looking at a bounded number.
    #[must_use]
    pub fn list(&self, now: &Now, filter: &Filter, after: Seq, limit: usize) -> Page {
        let entry = |seq: Seq| Some((seq, self.table.get(seq)?));
        if let Some(candidates) = self.candidates(now, filter) {
            let after = candidates.into_iter().filter(|seq| *seq > after);
            let page = self.page(now, filter, after.filter_map(entry), limit);
            return found(page, FoundBy::Key);
        }
        let found_by_index = match self.by_index(filter, after, PAGE_LOOK_MAX) {
            Some(Candidates::Few(few)) => {
                let few = few.into_iter().filter_map(entry);
                self.page(now, filter, few, limit)
            }
            Some(Candidates::Row(range)) => {
                let row = self.terms.row(&range, after).filter_map(entry);
                self.page(now, filter, row, limit)
            }
            None => {
                let page = self.page(now, filter, self.table.after(after), limit);
                return found(page, FoundBy::Scan);
            }
        };
        found(found_by_index, FoundBy::Index)
    }

    fn page<'a>(
        &self,
        now: &Now,
        filter: &Filter,
        entries: impl Iterator<Item = (Seq, &'a Entry)>,
        limit: usize,
    ) -> Page {
        let mut page = Page::default();
        for (looked, (seq, entry)) in entries.enumerate() {
            if filter.last.is_some_and(|last| seq > last) {
                break;
            }
            if page.messages.len() >= limit || looked >= PAGE_LOOK_MAX {
                return page;
            }
            page.next = Some(seq);
            if self.matches(filter, seq, entry, now) {
                page.messages.extend(self.view(now, seq, entry));
            }
        }
        page.next = None;
        page
    }

    /// Whether the message `seq` is in the store and matches.
    #[must_use]
    pub fn is_match(&self, now: &Now, filter: &Filter, seq: Seq) -> bool {
        self.table
            .get(seq)
            .is_some_and(|entry| self.matches(filter, seq, entry, now))
    }

    /// All that can match, ascending, if the tables of keys know them.
    fn candidates(&self, now: &Now, filter: &Filter) -> Option<Vec<Seq>> {
        let mut candidates = match filter.key? {
            KeyIs::Idempotency(key) => {
                let known = self.window.get(key, now.store);
                known.map(|known| known.seq).into_iter().collect()
            }
            KeyIs::Dedup(key) if filter.is_live_only() => {
                let holder = self.key_holder(key);
                let behind = holder.and_then(|holder| self.table.get(holder)?.behind());
                holder.into_iter().chain(behind).collect()
            }
            KeyIs::Ordering(key) if filter.is_live_only() => {
                self.chains.members(key, &self.table, PAGE_LOOK_MAX)?
            }
            KeyIs::Dedup(_) | KeyIs::Ordering(_) => return None,
        };
        candidates.sort_unstable();
        Some(candidates)
    }

    fn matches(&self, filter: &Filter, seq: Seq, entry: &Entry, now: &Now) -> bool {
        let Some((queue, kind)) = self.names.at(entry.place) else {
            return false;
        };
        let at = Timestamp::from_ms(entry.at());
        filter.queue.as_ref().is_none_or(|name| *name == queue.name)
            && filter.kind.as_ref().is_none_or(|name| name == kind)
            && filter.state.is_none_or(|state| state == entry.tag.kind())
            && (!filter.live || entry.tag.is_live())
            && (!filter.retrying || is_retrying(entry))
            && filter
                .priority
                .is_none_or(|level| level == entry.priority())
            && filter.from.is_none_or(|from| at >= from)
            && filter.before.is_none_or(|before| at < before)
            && filter
                .older
                .is_none_or(|older| entry.died().unwrap_or(at) < older)
            && filter
                .key
                .is_none_or(|key| self.has_key(key, seq, entry, now))
            && matches_rare(filter, entry)
            && filter.terms.iter().all(|range| {
                let form = entry.terms().form(range.pointer);
                form.is_none_or(|form| range.holds(form))
            })
    }

    fn has_key(&self, key: KeyIs, seq: Seq, entry: &Entry, now: &Now) -> bool {
        match key {
            KeyIs::Idempotency(key) => {
                let known = self.window.get(key, now.store);
                known.is_some_and(|known| known.seq == seq)
            }
            KeyIs::Dedup(key) => {
                let keys = self.table.keys_of(seq, entry);
                keys.dedup.is_some_and(|dedup| dedup.key == key)
            }
            KeyIs::Ordering(key) => self.table.keys_of(seq, entry).ordering == Some(key),
        }
    }
}

fn found(page: Page, by: FoundBy) -> Page {
    Page { by, ..page }
}

fn is_retrying(entry: &Entry) -> bool {
    entry.tag.kind() == StateKind::Scheduled && entry.tail().is_some_and(|tail| tail.failures > 0)
}

/// Conditions on what few messages have.
fn matches_rare(filter: &Filter, entry: &Entry) -> bool {
    let state = entry.kept_state();
    let reason =
        |wanted| matches!(state, Some(StoredState::Dead { reason, .. }) if *reason == wanted);
    let label = |wanted| {
        entry.tag == Tag::Held
            && matches!(state, Some(StoredState::Held { label, .. }) if label == wanted)
    };
    let failed_with = |wanted: &String| {
        let failure = entry.tail().and_then(|tail| tail.last_failure());
        failure.is_some_and(|failure| failure.error_type == *wanted)
    };
    filter.reason.is_none_or(reason)
        && filter.label.as_ref().is_none_or(label)
        && filter.error_type.as_ref().is_none_or(failed_with)
}
