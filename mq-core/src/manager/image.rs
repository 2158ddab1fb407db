//! The state as a list of facts, and back.
//!
//! Invariants: taking an image copies no message: pages are shared, and the manager copies a page on its first write
//! after that. An image of a state and one of that state restored are equal, whatever was volatile.

use std::sync::Arc;

use crate::bulk::{BulkId, BulkJob};
use crate::canary;
use crate::event::Enqueued;
use crate::id::{Incarnation, KindId, QueueId, Seq};
use crate::image::{Holder, ImageRecord, MessageImage};
use crate::index::Index;
use crate::key::KeyHash;
use crate::message::Priority;
use crate::name::{KindName, QueueName};
use crate::queue::QueueSettings;
use crate::schedule::Schedule;
use crate::state::StoredState;
use crate::time::Timestamp;

use super::QueueManager;
use super::apply::{ApplyError, tag_of};
use super::columns::Keys;
use super::entry::{Entry, Tag, flag};
use super::keys::{Remembered, WindowLine};
use super::leases::Lease;
use super::table::Pages;

/// The state at one moment, to be encoded elsewhere and later.
#[derive(Clone, Debug)]
pub struct Image {
    last_seq: Seq,
    last_order: u64,
    incarnation: Incarnation,
    queues: Vec<(QueueName, Box<QueueSettings>)>,
    kinds: Vec<(KindName, Index)>,
    schedules: Vec<Arc<Schedule>>,
    bulk: Vec<Arc<BulkJob>>,
    lines: Vec<(QueueId, KindId)>,
    pages: Pages,
    window: WindowLine,
}

/// A record that contradicts those before it: a damaged snapshot with valid checksums, or a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Counters came after messages, or into a manager that had some.
    #[error("the counters do not come first")]
    CountersNotFirst,
    /// A message is out of order or beyond the last number issued.
    #[error("message number {seq} comes after {previous}, and the last one issued was {last}")]
    Order {
        /// Its number.
        seq: Seq,
        /// The one before.
        previous: Seq,
        /// The last number issued.
        last: Seq,
    },
    /// Somebody holds a message that nobody can hold in its state.
    #[error("message number {seq} cannot be held as {holder:?} in its state")]
    Holder {
        /// Its number.
        seq: Seq,
        /// Who holds it.
        holder: Holder,
    },
    /// A schedule stands in it twice.
    #[error("a schedule stands in it twice")]
    ScheduleTwice,
    /// Bulk jobs are not in the order of their numbers.
    #[error("bulk job {id} comes after one of a higher number")]
    BulkOrder {
        /// Its number.
        id: BulkId,
    },
    /// A queue, kind or message is not what the state allows.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

impl Image {
    /// How many records it has.
    #[must_use]
    pub fn len(&self) -> u64 {
        let named = self.queues.len() + self.kinds.len() + self.schedules.len();
        let others = 1 + named + self.bulk.len() + self.pages.len();
        u64::try_from(others)
            .unwrap_or(u64::MAX)
            .saturating_add(self.window.len())
    }

    /// Never: the counters are always there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All records: counters, queues, kinds, schedules by name, bulk jobs by number, messages by ascending sequence, keys by age.
    pub fn records(&self) -> impl Iterator<Item = ImageRecord> {
        let counters = ImageRecord::Counters {
            last_seq: self.last_seq,
            last_order: self.last_order,
            incarnation: self.incarnation,
        };
        let queues = self
            .queues
            .iter()
            .zip(0..)
            .map(|((name, settings), id)| ImageRecord::Queue {
                id: QueueId(id),
                name: name.clone(),
                settings: settings.clone(),
            });
        let kinds = self
            .kinds
            .iter()
            .zip(0..)
            .map(|((name, index), id)| ImageRecord::Kind {
                id: KindId(id),
                name: name.clone(),
                index: index.clone(),
            });
        let mut schedules = self.schedules.clone();
        schedules.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        let schedules = schedules.into_iter().map(ImageRecord::Schedule);
        let bulk = self.bulk.iter().cloned().map(ImageRecord::Bulk);
        let messages = self
            .pages
            .after(Seq::NONE)
            .filter_map(|(seq, entry)| self.message(seq, entry))
            .map(ImageRecord::Message);
        let keys = self.window.iter().map(|key| ImageRecord::Key {
            hash: key.hash.into(),
            seq: key.seq,
            at: key.at,
            payload: key.payload.into(),
            until: key.until,
        });
        std::iter::once(counters)
            .chain(queues)
            .chain(kinds)
            .chain(schedules)
            .chain(bulk)
            .chain(messages)
            .chain(keys)
    }

    fn message(&self, seq: Seq, entry: &Entry) -> Option<MessageImage> {
        let (queue, kind) = self.lines.get(entry.place.line()).copied()?;
        let state = entry.stored_state();
        let limits = entry.limits();
        let keys = self.pages.keys_of(seq, entry);
        let facts = Enqueued {
            seq,
            at: Timestamp::from_ms(entry.at()),
            queue,
            kind,
            priority: entry.priority(),
            state: first_state(&state),
            order: entry.order(),
            joined: Timestamp::from_ms(entry.joined()),
            expires: limits.expires,
            idempotency: None,
            dedup: keys.dedup.map(|dedup| dedup.key),
            behind: entry.behind(),
            ordering: keys.ordering,
            halt_on_dead: entry.halt_on_dead(),
            payload: keys.dedup.map_or(KeyHash(0), |dedup| dedup.payload),
            failures_max: limits.failures_max,
            retain_ms: limits.retain_ms,
            terms: entry.terms().clone(),
            size: entry.size,
            sealed: None,
        };
        Some(MessageImage {
            facts,
            state,
            tail: entry.tail().map(|tail| Box::new(tail.clone())),
            deliveries: entry.deliveries,
            holder: holder_of(entry),
        })
    }
}

/// A state that an enqueue can give, as near to `state` as there is.
fn first_state(state: &StoredState) -> StoredState {
    match state {
        StoredState::Pending { .. } | StoredState::Held { .. } => state.clone(),
        StoredState::Completed { .. }
        | StoredState::Dead { .. }
        | StoredState::Superseded { .. } => StoredState::Pending {
            due: Timestamp::from_ms(0),
        },
    }
}

const fn holder_of(entry: &Entry) -> Holder {
    match (entry.tag.is_out(), entry.has(flag::SOLO)) {
        (true, true) => Holder::SoloLease,
        (true, false) => Holder::Lease,
        (false, _) => {
            if entry.has(flag::SUSPECT) {
                Holder::Suspect
            } else {
                Holder::Nobody
            }
        }
    }
}

impl QueueManager {
    /// The state now. Cheap whatever the number of messages: `Image::records` does the work, on any thread.
    #[must_use]
    pub fn image(&self) -> Image {
        let queues = self.names.queues();
        let (kinds, indexes) = (self.names.kinds().iter(), self.names.indexes().iter());
        Image {
            last_seq: self.last_seq,
            last_order: self.last_order,
            incarnation: self.incarnation,
            queues: queues
                .map(|(_, queue)| (queue.name.clone(), queue.settings.clone()))
                .collect(),
            kinds: kinds.cloned().zip(indexes.cloned()).collect(),
            schedules: self.schedules.share(),
            bulk: self.bulk.share(),
            lines: self.names.lines().to_vec(),
            pages: self.table.share(),
            window: self.window.share(),
        }
    }

    /// Takes in one record of an image, in the order of [`Image::records`], into a manager without messages. What is
    /// restored becomes ready with the next [`QueueManager::durable`].
    ///
    /// # Errors
    /// [`RestoreError`] if the record contradicts those before it: the manager is then of no use.
    pub fn restore(&mut self, record: ImageRecord) -> Result<(), RestoreError> {
        match record {
            ImageRecord::Counters {
                last_seq,
                last_order,
                incarnation,
            } => {
                if self.last_seq != Seq::NONE || self.table.len() > 0 {
                    return Err(RestoreError::CountersNotFirst);
                }
                self.last_seq = last_seq;
                self.last_order = last_order;
                self.incarnation = incarnation;
                Ok(())
            }
            ImageRecord::Queue { id, name, settings } => {
                let defined = self.names.define_queue(id, &name, settings);
                defined.map_err(|_| bad_definition("queue", id.0))
            }
            ImageRecord::Kind { id, name, index } => {
                let defined = self.names.define_kind(id, &name);
                defined.map_err(|_| bad_definition("kind", id.0))?;
                Ok(self.apply_kind_set(id, &index)?)
            }
            ImageRecord::Schedule(schedule) => self.restore_schedule(&schedule),
            ImageRecord::Bulk(job) => {
                let id = job.id;
                if self.bulk.add(job) {
                    Ok(())
                } else {
                    Err(RestoreError::BulkOrder { id })
                }
            }
            ImageRecord::Message(message) => self.restore_message(message),
            ImageRecord::Key { .. } if canary::sings("keys-not-restored") => Ok(()),
            ImageRecord::Key {
                hash,
                seq,
                at,
                payload,
                until,
            } => {
                self.window.insert(Remembered {
                    hash: hash.into(),
                    seq,
                    at,
                    payload: payload.into(),
                    until,
                });
                Ok(())
            }
        }
    }

    fn restore_message(&mut self, message: MessageImage) -> Result<(), RestoreError> {
        let MessageImage {
            mut facts,
            state,
            tail,
            deliveries,
            holder,
        } = message;
        if canary::sings("priority-forgotten") {
            facts.priority = Priority::DEFAULT;
        }
        let seq = facts.seq;
        let (previous, last) = (self.table.newest(), self.last_seq);
        if seq <= previous || seq > last {
            return Err(RestoreError::Order {
                seq,
                previous,
                last,
            });
        }
        let is_out = matches!(holder, Holder::Lease | Holder::SoloLease);
        let tag = tag_of(&state, is_out);
        let waits = tag == Tag::Limbo || tag == Tag::Held;
        let fits = match holder {
            Holder::Nobody => tag != Tag::Superseded,
            Holder::Lease | Holder::SoloLease => tag.is_out(),
            Holder::Suspect => waits,
        };
        if !fits {
            return Err(RestoreError::Holder { seq, holder });
        }
        let mut entry = self.entry_of(&facts)?;
        entry.deliveries = deliveries;
        entry.tag = tag;
        entry.set_stored_state(state);
        entry.set_tail(tail);
        let is_solo = holder == Holder::SoloLease;
        entry.set(flag::SOLO, is_solo);
        entry.set(flag::SUSPECT, is_solo || holder == Holder::Suspect);
        if entry.tag == Tag::Limbo && canary::sings("wake-up-lost-on-restore") {
            entry.tag = Tag::Held;
        }
        self.admit(seq, entry, &Keys::of(&facts), 0);
        if is_out {
            let timer = &mut self.timers.lease;
            self.leases.begin(seq, Lease::default(), timer, &self.table);
        }
        if is_solo {
            self.leases.solo = Some(seq);
        }
        Ok(())
    }
}

const fn bad_definition(what: &'static str, number: u32) -> RestoreError {
    RestoreError::Apply(ApplyError::Definition { what, number })
}
