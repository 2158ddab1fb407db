//! One message in memory: 48 bytes for the facts every message has, and a shared box for those few have.
//!
//! Invariants: everything here but [`Tag`]'s finer points, the place in a lane and the limbo count is durable state, so
//! an image can be made from entries alone. `Limbo`, `Scheduled`, `Blocked` and `Ready` are one stored state, pending.

use std::sync::Arc;

use crate::id::{Seq, StoreTag};
use crate::key::KeyHash;
use crate::message::Priority;
use crate::state::{StoredState, Tail};
use crate::time::{StoreTime, Timestamp};
use crate::view::StateKind;

use super::names::Place;

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
    /// Its due time is its `joined`; without this and [`DUE_IN_EXTRA`] it is zero.
    pub(in super::super) const DUE_IS_JOINED: u8 = 1;
    /// Its due time stands in the extra facts.
    pub(in super::super) const DUE_IN_EXTRA: u8 = 2;
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
}

/// One message.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// When it was enqueued, in milliseconds.
    pub(super) at: u64,
    /// When it joined the line, in milliseconds.
    pub(super) joined: u64,
    /// Its place in line.
    pub(super) order: u64,
    /// What few messages have.
    pub(super) extra: Option<Arc<Extra>>,
    /// Queue, kind and priority.
    pub(super) place: Place,
    /// Bytes of its envelope.
    pub(super) size: u32,
    /// How often it was handed out.
    pub(super) deliveries: u32,
    /// Where it stands.
    pub(super) tag: Tag,
    /// See [`flag`].
    pub(super) flags: u8,
    /// How many of its changes are not durable yet and will each have it looked at again.
    pub(super) limbo: u16,
}

/// Facts that a plain message does not have.
#[derive(Clone, Debug, Default)]
pub(super) struct Extra {
    due: u64,
    ordering: [u64; 2],
    has_ordering: bool,
    /// Dead, it keeps blocking its ordering key.
    pub(super) halt_on_dead: bool,
    /// Its dedup key.
    pub(super) dedup: Option<Box<DedupFacts>>,
    /// Limits of its own.
    pub(super) limits: Option<Box<Limits>>,
    /// Its stored state, unless that is pending.
    pub(super) state: Option<Box<StoredState>>,
    /// Its tail, unless that is all zero.
    pub(super) tail: Option<Box<Tail>>,
}

/// What a message with a dedup key has.
#[derive(Clone, Copy, Debug)]
pub(super) struct DedupFacts {
    /// The key.
    pub(super) key: KeyHash,
    /// Identity of its payload.
    pub(super) payload: KeyHash,
    /// It waits until this message is over.
    pub(super) behind: Option<Seq>,
}

/// What a message with limits of its own has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    /// Dead if not started by then.
    pub(super) expires: Option<StoreTime>,
    /// Kept so long after completion.
    pub(super) retain_ms: Option<u64>,
    /// Failure budget.
    pub(super) failures_max: Option<u32>,
}

impl Extra {
    /// Its ordering key.
    pub(super) fn ordering(&self) -> Option<KeyHash> {
        let [high, low] = self.ordering;
        self.has_ordering
            .then_some(KeyHash(u128::from(high) << 64 | u128::from(low)))
    }

    /// Sets its ordering key. A hash is kept as two halves because a `u128` would align the whole to 16 bytes.
    pub(super) fn set_ordering(&mut self, key: Option<KeyHash>) {
        let bits = key.unwrap_or_default().0;
        self.has_ordering = key.is_some();
        self.ordering = [high_half(bits), low_half(bits)];
    }
}

/// The upper 64 bits.
pub(super) const fn high_half(bits: u128) -> u64 {
    low_half(bits >> 64)
}

/// The lower 64 bits.
#[expect(
    clippy::cast_possible_truncation,
    reason = "keeping the low half is what is wanted"
)]
pub(super) const fn low_half(bits: u128) -> u64 {
    bits as u64
}

impl Entry {
    /// An empty slot.
    pub(super) const fn vacant() -> Self {
        Self {
            at: 0,
            joined: 0,
            order: 0,
            extra: None,
            place: Place::NONE,
            size: 0,
            deliveries: 0,
            tag: Tag::Vacant,
            flags: 0,
            limbo: 0,
        }
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

    /// The extra facts, made on demand and copied if an image shares them.
    pub(super) fn extra_mut(&mut self) -> &mut Extra {
        Arc::make_mut(self.extra.get_or_insert_default())
    }

    /// The id under the store's tag.
    pub(super) fn id(&self, seq: Seq, tag: StoreTag) -> crate::id::MessageId {
        crate::id::MessageId::new(self.at, seq, tag)
    }

    /// Its urgency.
    pub(super) const fn priority(&self) -> Priority {
        self.place.priority()
    }

    /// Not before this moment; zero for at once.
    pub(super) fn due(&self) -> u64 {
        if self.has(flag::DUE_IS_JOINED) {
            self.joined
        } else if self.has(flag::DUE_IN_EXTRA) {
            self.extra.as_ref().map_or(0, |extra| extra.due)
        } else {
            0
        }
    }

    /// Sets the due time; `joined` must be set before.
    pub(super) fn set_due(&mut self, due: u64) {
        self.set(flag::DUE_IS_JOINED, due != 0 && due == self.joined);
        let apart = due != 0 && due != self.joined;
        self.set(flag::DUE_IN_EXTRA, apart);
        if apart {
            self.extra_mut().due = due;
        }
    }

    /// Its state as it stands on disk.
    pub(super) fn stored_state(&self) -> StoredState {
        let kept = self.extra.as_ref().and_then(|extra| extra.state.as_deref());
        kept.cloned().unwrap_or(StoredState::Pending {
            due: Timestamp::from_ms(self.due()),
        })
    }

    /// Sets the stored state; `joined` must be set before.
    pub(super) fn set_stored_state(&mut self, state: StoredState) {
        match state {
            StoredState::Pending { due } => {
                self.set_due(due.as_ms());
                if self
                    .extra
                    .as_ref()
                    .is_some_and(|extra| extra.state.is_some())
                {
                    self.extra_mut().state = None;
                }
            }
            StoredState::Superseded { .. } => self.extra_mut().state = Some(Box::new(state)),
            StoredState::Held { .. } | StoredState::Completed { .. } | StoredState::Dead { .. } => {
                self.set_due(0);
                self.extra_mut().state = Some(Box::new(state));
            }
        }
    }

    /// Its tail, if it ever changed.
    pub(super) fn tail(&self) -> Option<&Tail> {
        self.extra.as_ref().and_then(|extra| extra.tail.as_deref())
    }

    /// Sets the tail and what is derived from it.
    pub(super) fn set_tail(&mut self, tail: Option<Box<Tail>>) {
        let tail = tail.filter(|tail| **tail != Tail::default());
        self.set(
            flag::CANCEL,
            tail.as_ref().is_some_and(|tail| tail.cancel_requested),
        );
        if tail.is_some() || self.tail().is_some() {
            self.extra_mut().tail = tail;
        }
    }

    /// Its ordering key.
    pub(super) fn ordering(&self) -> Option<KeyHash> {
        self.extra.as_ref().and_then(|extra| extra.ordering())
    }

    /// Its dedup key.
    pub(super) fn dedup(&self) -> Option<&DedupFacts> {
        self.extra.as_ref().and_then(|extra| extra.dedup.as_deref())
    }

    /// Its own limits.
    pub(super) fn limits(&self) -> Limits {
        self.extra
            .as_ref()
            .and_then(|extra| extra.limits.as_deref())
            .copied()
            .unwrap_or_default()
    }

    /// Dead, it keeps blocking its ordering key.
    pub(super) fn halt_on_dead(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| extra.halt_on_dead)
    }

    /// Whether it stands in the chain of its ordering key.
    pub(super) fn is_in_chain(&self) -> bool {
        let stands = self.tag.is_live()
            || self.tag == Tag::Superseded
            || (self.tag == Tag::Dead && self.halt_on_dead());
        stands && self.ordering().is_some()
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
    let sum = attempts + blob(&tail.checkpoint) + blob(&tail.result) + note;
    u64::try_from(sum).unwrap_or(u64::MAX)
}
