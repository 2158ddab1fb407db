//! Where a pending message stands: in limbo, in a timer, blocked, or ready in a lane; and what pools know of the lanes.
//!
//! Invariant: all of it is derived from entries, chains and followers, and happens in `durable` and `advance` only.
//! `apply` takes messages out of their places and puts them into limbo.

use crate::id::{KindId, QueueId, Seq};

use super::QueueManager;
use super::entry::{Entry, Tag, flag};
use super::lanes::{Line, Standing};
use super::limbo::Follow;
use super::names::{Names, Place};

impl QueueManager {
    /// The line of a queue and a kind, made on first use; `None` if one of them is not defined.
    pub(super) fn line_of(&mut self, queue: QueueId, kind: KindId) -> Option<usize> {
        if let Some(line) = self.names.find_line(queue, kind) {
            return Some(line);
        }
        let line = self.names.add_line(queue, kind)?;
        let queue = self.names.queue(queue)?;
        let groups = self.pools.groups_of(&queue.name, self.names.kind(kind)?);
        self.lines.push(Line::new(groups, !queue.settings.paused));
        Some(line)
    }

    /// Changes what a message is, and the counts.
    pub(super) fn retag(&mut self, seq: Seq, tag: Tag) {
        if let Some(entry) = self.table.get_mut(seq) {
            recount(&mut self.names, entry, tag);
        }
    }

    /// A scheduled message waits for another attempt.
    fn count_retry(&mut self, seq: Seq) {
        if let Some(entry) = self.table.get_mut(seq)
            && entry
                .tail()
                .is_some_and(|tail| tail.failures > 0 || tail.snoozes > 0)
        {
            entry.flags |= flag::RETRYING;
            let place = entry.place;
            self.names.count_retrying(place, true);
        }
    }

    /// Has a message looked at again once `mark` is durable.
    pub(super) fn wait(&mut self, seq: Seq, mark: u64) {
        if let Some(entry) = self.table.get_mut(seq)
            && let Some(limbo) = entry.limbo.checked_add(1)
        {
            entry.limbo = limbo;
            self.limbo.push(mark, seq);
        }
    }

    /// Makes effective whatever waited for `mark`.
    pub(super) fn release_limbo(&mut self, mark: u64) {
        while let Some(run) = self.limbo.pop(mark) {
            for number in run.first.get()..run.first.get() + run.len {
                if let Some(seq) = Seq::new(number) {
                    self.leave_limbo(seq);
                }
            }
        }
        while let Some(follow) = self.limbo.pop_follow(mark) {
            let next = match follow {
                Follow::Chain(key) => self.chains.settle(key, &self.table),
                Follow::Over(seq) => self.followers.remove(&seq.get()),
            };
            if let Some(next) = next {
                self.unblock(next);
            }
        }
    }

    fn leave_limbo(&mut self, seq: Seq) {
        let Some(entry) = self.table.get_mut(seq) else {
            return;
        };
        entry.limbo = entry.limbo.saturating_sub(1);
        if entry.limbo > 0 || entry.tag != Tag::Limbo {
            return;
        }
        let due = entry.due();
        if entry.has(flag::CANCEL) {
            self.cancelling.insert(seq);
        } else if due > self.advanced.as_ms() {
            recount(&mut self.names, entry, Tag::Scheduled);
            self.timers.due.insert(due, seq, &self.table);
            self.count_retry(seq);
        } else if entry.has_extra() {
            self.line_up(seq);
        } else {
            let news = enter(&mut self.names, &mut self.lines, seq, entry);
            self.tell(news);
        }
    }

    /// A scheduled message has fallen due.
    pub(super) fn fall_due(&mut self, seq: Seq) {
        if self
            .table
            .get(seq)
            .is_some_and(|entry| entry.tag == Tag::Scheduled)
        {
            self.line_up(seq);
        }
    }

    /// What came before a message is over.
    fn unblock(&mut self, seq: Seq) {
        if self
            .table
            .get(seq)
            .is_some_and(|entry| entry.tag == Tag::Blocked)
        {
            self.line_up(seq);
        }
    }

    /// Puts a due message into its lane, unless something comes first.
    fn line_up(&mut self, seq: Seq) {
        let Some(entry) = self.table.get(seq) else {
            return;
        };
        if self.comes_first(seq, entry) {
            self.make_ready(seq);
        } else {
            self.retag(seq, Tag::Blocked);
        }
    }

    /// Whether nothing of its keys comes before a message.
    fn comes_first(&self, seq: Seq, entry: &Entry) -> bool {
        let follows = |behind: Seq| self.followers.get(&behind.get()) == Some(&seq);
        let key = self.table.keys_of(seq, entry).ordering;
        key.is_none_or(|key| self.chains.may_go(key, seq, &self.table))
            && !entry.behind().is_some_and(follows)
    }

    fn make_ready(&mut self, seq: Seq) {
        if let Some(entry) = self.table.get_mut(seq) {
            let news = enter(&mut self.names, &mut self.lines, seq, entry);
            self.tell(news);
        }
    }

    fn tell(&mut self, news: News) {
        match news {
            News::None => {}
            News::Lane(place) => self.list_lane(place),
            News::Suspects(line) => self.list_suspects(line),
        }
    }

    /// Takes a message out of where it stands. One that waited is in limbo afterwards, without a mark.
    pub(super) fn displace(&mut self, seq: Seq) {
        let Some(entry) = self.table.get_mut(seq) else {
            return;
        };
        match entry.tag {
            Tag::Ready => {
                entry.tag = Tag::Limbo;
                let (stood, is_suspect) = (Standing::of(entry), entry.has(flag::SUSPECT));
                self.leave_lane(seq, &stood, is_suspect);
            }
            Tag::Scheduled => {
                let due = entry.due();
                self.timers.due.remove(due, seq, &self.table);
                self.retag(seq, Tag::Limbo);
            }
            Tag::Blocked => self.retag(seq, Tag::Limbo),
            Tag::Limbo => {
                self.cancelling.remove(&seq);
            }
            Tag::Completed => {
                let until = super::tick::kept_until(entry);
                self.timers
                    .retention
                    .remove(until.as_ms(), seq, &self.table);
            }
            Tag::Vacant | Tag::Leased | Tag::Held | Tag::Dead | Tag::Superseded => {}
        }
    }

    fn leave_lane(&mut self, seq: Seq, stood: &Standing, is_suspect: bool) {
        let index = stood.place.line();
        let Some(line) = self.lines.get_mut(index) else {
            return;
        };
        if is_suspect {
            line.suspects.remove(&(stood.order, seq));
            self.list_suspects(index);
        } else if let Some(lane) = line.lane_mut(stood.place.level()) {
            lane.remove(seq, stood, &self.table);
            if lane.registered == Some(stood.rank()) {
                self.list_lane(stood.place);
            }
        }
    }

    /// Tells the pools which message of a lane is first now.
    pub(super) fn list_lane(&mut self, place: Place) {
        let Some(line) = self.lines.get_mut(place.line()) else {
            return;
        };
        let is_open = line.open;
        let Some(lane) = line.lane_mut(place.level()) else {
            return;
        };
        let head = if is_open {
            lane.head(&self.table)
        } else {
            None
        };
        let new = head.map(|head| head.rank);
        let old = std::mem::replace(&mut lane.registered, new);
        if old != new {
            self.table.step();
            self.pools.list_head(&line.groups, place, old, new);
        }
    }

    /// Tells the pools which suspect of a line is first now.
    pub(super) fn list_suspects(&mut self, index: usize) {
        let Some(line) = self.lines.get_mut(index) else {
            return;
        };
        let first = line.suspects.first().map(|(order, _)| *order);
        let new = first.filter(|_| line.open);
        let old = std::mem::replace(&mut line.registered_suspect, new);
        if old != new {
            self.table.step();
            self.pools.list_suspect(&line.groups, index, old, new);
        }
    }
}

/// What the pools must be told after a message became ready.
enum News {
    /// Nothing: others are before it.
    None,
    /// A lane may have a new head.
    Lane(Place),
    /// A line may have a new first suspect.
    Suspects(usize),
}

/// Changes what a message is, and the counts. Whatever it becomes, it does not wait for another attempt any more.
pub(super) fn recount(names: &mut Names, entry: &mut Entry, tag: Tag) {
    let (old, new) = (entry.tag.kind(), tag.kind());
    entry.tag = tag;
    if old != new {
        names.count(entry.place, old, false);
        names.count(entry.place, new, true);
    }
    if entry.has(flag::RETRYING) {
        entry.set(flag::RETRYING, false);
        names.count_retrying(entry.place, false);
    }
}

/// Puts a message into its lane.
fn enter(names: &mut Names, lines: &mut [Line], seq: Seq, entry: &mut Entry) -> News {
    recount(names, entry, Tag::Ready);
    let place = entry.place;
    let Some(line) = lines.get_mut(place.line()) else {
        return News::None;
    };
    if entry.has(flag::SUSPECT) {
        line.suspects.insert((entry.order(), seq));
        return News::Suspects(place.line());
    }
    let Some(lane) = line.make_lane(place.level()) else {
        return News::None;
    };
    lane.push(seq, entry);
    let rank = Standing::of(entry).rank();
    if lane.registered.is_none_or(|first| rank < first) {
        News::Lane(place)
    } else {
        News::None
    }
}
