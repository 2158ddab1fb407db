//! One message in memory: 40 bytes for the facts every message has, and a box for those few have.
//!
//! Invariants: everything here but [`Tag`]'s finer points, the place in a lane and the limbo count is durable state, so
//! an image can be made from entries alone. `Limbo`, `Scheduled`, `Blocked` and `Ready` are one stored state, pending.

use crate::id::{Seq, StoreTag};
use crate::index::Terms;
use crate::message::Priority;
use crate::state::{StoredState, Tail};
use crate::time::{StoreTime, Timestamp};
use crate::view::StateKind;

use super::names::Place;
use super::u48::U48;

#[cfg(test)]
mod tests;

/// Where a message stands now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Tag {
    /// No message here.
    Vacant,
    /// Pending; what made it pending is not durable yet, so nothing may follow from it.
    Limbo,
    /// Pending, in the timer of due times.
    Scheduled,
    /// Pending and due; its ordering key or its dedup key's holder comes first.
    Blocked,
    /// Pending and in a lane.
    Ready,
    /// Handed out.
    Leased,
    /// Set aside.
    Held,
    /// Kept for its retention.
    Completed,
    /// Kept until replayed or purged.
    Dead,
    /// Handed out, and replaced meanwhile.
    Superseded,
}

impl Tag {
    /// Stored as pending and not handed out.
    pub(super) const fn is_waiting(self) -> bool {
        match self {
            Self::Limbo | Self::Scheduled | Self::Blocked | Self::Ready => true,
            Self::Vacant
            | Self::Leased
            | Self::Held
            | Self::Completed
            | Self::Dead
            | Self::Superseded => false,
        }
    }

    /// Counts against the capacity and holds its dedup key.
    pub(super) const fn is_live(self) -> bool {
        self.is_waiting() || matches!(self, Self::Leased | Self::Held)
    }

    /// Handed out, whether its outcome still counts or not.
    pub(super) const fn is_out(self) -> bool {
        matches!(self, Self::Leased | Self::Superseded)
    }

    /// The word for people. Limbo lasts milliseconds and counts as ready.
    pub(super) const fn kind(self) -> StateKind {
        match self {
            Self::Vacant | Self::Limbo | Self::Ready => StateKind::Ready,
            Self::Scheduled => StateKind::Scheduled,
            Self::Blocked => StateKind::Blocked,
            Self::Leased => StateKind::Leased,
            Self::Held => StateKind::Held,
            Self::Completed => StateKind::Completed,
            Self::Dead => StateKind::Dead,
            Self::Superseded => StateKind::Superseded,
        }
    }
}

/// Bits of [`Entry::flags`].
pub(super) mod flag {
    /// Its due time is its `joined`; without this and [`DUE_APART`] it is zero.
    pub(in super::super) const DUE_IS_JOINED: u8 = 1;
    /// Its due time stands among its rare facts.
    pub(in super::super) const DUE_APART: u8 = 2;
    /// It was running when the process died.
    pub(in super::super) const SUSPECT: u8 = 4;
    /// It is the one suspect that is handed out.
    pub(in super::super) const SOLO: u8 = 8;
    /// Ready, and in the lane's set rather than in its line of fresh messages.
    pub(in super::super) const IN_SET: u8 = 16;
    /// A user asked for it to be cancelled while it ran.
    pub(in super::super) const CANCEL: u8 = 32;
    /// Scheduled because an attempt failed, and counted so. Derived: not in an image.
    pub(in super::super) const RETRYING: u8 = 64;
    /// It has keys, which stand in the columns of its page.
    pub(in super::super) const KEYED: u8 = 128;
}

/// Of [`Entry::joined_after`]: when it joined stands among its rare facts, because it was more than 24 days before or after
/// it was enqueued.
const JOINED_APART: i32 = i32::MIN;

/// One message.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    at: U48,
    order: U48,
    /// How many of its changes are not durable yet and will each have it looked at again.
    pub(super) limbo: u16,
    /// Where it stands.
    pub(super) tag: Tag,
    /// See [`flag`].
    pub(super) flags: u8,
    /// What few messages have.
    rare: Option<Box<Rare>>,
    /// Milliseconds from `at` to when it joined the line, or [`JOINED_APART`].
    joined_after: i32,
    /// Queue, kind and priority.
    pub(super) place: Place,
    /// Bytes of its envelope.
    pub(super) size: u32,
    /// How often it was handed out.
    pub(super) deliveries: u32,
}

/// Facts that few messages have.
#[derive(Clone, Debug, Default)]
struct Rare {
    halt_on_dead: bool,
    /// `Seq::NONE` if it waits behind nobody.
    behind: Seq,
    joined: u64,
    due: u64,
    limits: Limits,
    /// Its stored state, unless that is pending.
    state: Option<StoredState>,
    /// Its tail, unless that is all zero.
    tail: Option<Box<Tail>>,
    terms: Terms,
}

/// What a message with limits of its own has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Limits {
    /// Dead if not started by then.
    pub(super) expires: Option<StoreTime>,
    /// Kept so long after completion.
    pub(super) retain_ms: Option<u64>,
    /// Failure budget.
    pub(super) failures_max: Option<u32>,
}

impl Entry {
    /// An empty slot.
    pub(super) const fn vacant() -> Self {
        Self {
            at: U48::of(0),
            order: U48::of(0),
            limbo: 0,
            tag: Tag::Vacant,
            flags: 0,
            rare: None,
            joined_after: 0,
            place: Place::NONE,
            size: 0,
            deliveries: 0,
        }
    }

    /// A message that was enqueued at `at` and joined the line at `joined` (milliseconds), as the `order`th.
    pub(super) fn new(at: u64, joined: u64, order: u64) -> Self {
        let mut entry = Self {
            at: U48::of(at),
            order: U48::of(order),
            ..Self::vacant()
        };
        entry.set_joined(joined);
        entry
    }

    /// When it was enqueued, in milliseconds.
    pub(super) const fn at(&self) -> u64 {
        self.at.get()
    }

    /// Its place in line.
    pub(super) const fn order(&self) -> u64 {
        self.order.get()
    }

    /// Gives it another place in line.
    pub(super) const fn set_order(&mut self, order: u64) {
        self.order = U48::of(order);
    }

    /// When it joined the line, in milliseconds.
    pub(super) fn joined(&self) -> u64 {
        if self.joined_after == JOINED_APART {
            return self.rare().map_or(0, |rare| rare.joined);
        }
        self.at().saturating_add_signed(self.joined_after.into())
    }

    /// Sets when it joined the line.
    pub(super) fn set_joined(&mut self, joined: u64) {
        let after = i64::try_from(joined).map(|joined| joined - self.at().cast_signed());
        let after = after.ok().and_then(|after| i32::try_from(after).ok());
        self.joined_after = after.unwrap_or(JOINED_APART);
        if self.joined_after == JOINED_APART {
            self.change_rare(|rare| rare.joined = joined);
        }
    }

    /// Whether it has facts that a plain message does not have.
    pub(super) const fn has_extra(&self) -> bool {
        self.rare.is_some() || self.has(flag::KEYED)
    }

    /// Whether a flag is set.
    pub(super) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Sets or clears a flag.
    pub(super) const fn set(&mut self, flag: u8, on: bool) {
        if on {
            self.flags |= flag;
        } else {
            self.flags &= !flag;
        }
    }

    fn rare(&self) -> Option<&Rare> {
        self.rare.as_deref()
    }

    /// Changes the rare facts, which are made on demand.
    fn change_rare(&mut self, change: impl FnOnce(&mut Rare)) {
        change(self.rare.get_or_insert_default());
    }

    /// The id under the store's tag.
    pub(super) fn id(&self, seq: Seq, tag: StoreTag) -> crate::id::MessageId {
        crate::id::MessageId::new(self.at(), seq, tag)
    }

    /// Its urgency.
    pub(super) const fn priority(&self) -> Priority {
        self.place.priority()
    }

    /// Not before this moment; zero for at once.
    pub(super) fn due(&self) -> u64 {
        if self.has(flag::DUE_IS_JOINED) {
            self.joined()
        } else if self.has(flag::DUE_APART) {
            self.rare().map_or(0, |rare| rare.due)
        } else {
            0
        }
    }

    /// Sets the due time; `joined` must be set before.
    pub(super) fn set_due(&mut self, due: u64) {
        let joined = self.joined();
        self.set(flag::DUE_IS_JOINED, due != 0 && due == joined);
        let apart = due != 0 && due != joined;
        self.set(flag::DUE_APART, apart);
        if apart {
            self.change_rare(|rare| rare.due = due);
        }
    }

    /// When it went dead, if it is.
    pub(super) fn died(&self) -> Option<Timestamp> {
        match self.kept_state() {
            Some(StoredState::Dead { at, .. }) => Some(*at),
            Some(
                StoredState::Pending { .. }
                | StoredState::Held { .. }
                | StoredState::Completed { .. }
                | StoredState::Superseded { .. },
            )
            | None => None,
        }
    }

    /// Its stored state, unless that is pending.
    pub(super) fn kept_state(&self) -> Option<&StoredState> {
        self.rare()?.state.as_ref()
    }

    /// Its state as it stands on disk.
    pub(super) fn stored_state(&self) -> StoredState {
        self.kept_state().cloned().unwrap_or(StoredState::Pending {
            due: Timestamp::from_ms(self.due()),
        })
    }

    /// Sets the stored state; `joined` must be set before.
    pub(super) fn set_stored_state(&mut self, state: StoredState) {
        match state {
            StoredState::Pending { due } => {
                self.set_due(due.as_ms());
                if self.kept_state().is_some() {
                    self.change_rare(|rare| rare.state = None);
                }
            }
            StoredState::Superseded { .. } => self.change_rare(|rare| rare.state = Some(state)),
            StoredState::Held { .. } | StoredState::Completed { .. } | StoredState::Dead { .. } => {
                self.set_due(0);
                self.change_rare(|rare| rare.state = Some(state));
            }
        }
    }

    /// Its tail, if it ever changed.
    pub(super) fn tail(&self) -> Option<&Tail> {
        self.rare()?.tail.as_deref()
    }

    /// Sets the tail and what is derived from it.
    pub(super) fn set_tail(&mut self, tail: Option<Box<Tail>>) {
        let tail = tail.filter(|tail| **tail != Tail::default());
        self.set(
            flag::CANCEL,
            tail.as_ref().is_some_and(|tail| tail.cancel_requested),
        );
        if tail.is_some() || self.tail().is_some() {
            self.change_rare(|rare| rare.tail = tail);
        }
    }

    /// Its indexed fields.
    pub(super) fn terms(&self) -> &Terms {
        const NONE: &Terms = &Terms::NONE;
        self.rare().map_or(NONE, |rare| &rare.terms)
    }

    /// Sets its indexed fields.
    pub(super) fn set_terms(&mut self, terms: Terms) {
        if !terms.is_empty() || !self.terms().is_empty() {
            self.change_rare(|rare| rare.terms = terms);
        }
    }

    /// Whom it waits behind, because that one has its dedup key.
    pub(super) fn behind(&self) -> Option<Seq> {
        let behind = self.rare()?.behind;
        (behind != Seq::NONE).then_some(behind)
    }

    /// Sets whom it waits behind.
    pub(super) fn set_behind(&mut self, behind: Option<Seq>) {
        if behind != self.behind() {
            self.change_rare(|rare| rare.behind = behind.unwrap_or(Seq::NONE));
        }
    }

    /// Its own limits.
    pub(super) fn limits(&self) -> Limits {
        self.rare().map_or_else(Limits::default, |rare| rare.limits)
    }

    /// Sets its own limits.
    pub(super) fn set_limits(&mut self, limits: Limits) {
        if limits != self.limits() {
            self.change_rare(|rare| rare.limits = limits);
        }
    }

    /// Dead, it keeps blocking its ordering key.
    pub(super) fn halt_on_dead(&self) -> bool {
        self.rare().is_some_and(|rare| rare.halt_on_dead)
    }

    /// Has it keep its ordering key blocked when it is dead.
    pub(super) fn set_halt_on_dead(&mut self, halts: bool) {
        if halts != self.halt_on_dead() {
            self.change_rare(|rare| rare.halt_on_dead = halts);
        }
    }

    /// Whether it stands in the chain of its ordering key, if it has one.
    pub(super) fn is_in_chain(&self) -> bool {
        self.tag.is_live()
            || self.tag == Tag::Superseded
            || (self.tag == Tag::Dead && self.halt_on_dead())
    }

    /// When it expires, if it still can: it was never started and never replayed.
    pub(super) fn expires(&self) -> Option<StoreTime> {
        let expires = self.limits().expires?;
        let fresh = self
            .tail()
            .is_none_or(|tail| tail.history.is_empty() && tail.replays == 0);
        (fresh && (self.tag.is_waiting() || self.tag == Tag::Held) && !self.has(flag::SUSPECT))
            .then_some(expires)
    }

    /// Bytes it takes from the budget of dead or completed messages: its envelope and what handlers left behind.
    pub(super) fn kept_size(&self) -> u64 {
        u64::from(self.size) + self.tail().map_or(0, tail_size)
    }
}

/// Bytes of a tail that are held in memory.
pub(super) fn tail_size(tail: &Tail) -> u64 {
    let attempts: usize = tail
        .history
        .iter()
        .filter_map(|attempt| attempt.failure.as_ref())
        .map(|failure| failure.error_type.len() + failure.text.len())
        .sum();
    let blob = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or(0, bytes::Bytes::len);
    let note = tail.note.as_ref().map_or(0, String::len);
    let edits: usize = tail
        .edits
        .iter()
        .map(|edit| edit.by.len() + edit.what.size())
        .sum();
    let sum = edits + attempts + blob(&tail.checkpoint) + blob(&tail.result) + note;
    u64::try_from(sum).unwrap_or(u64::MAX)
}
