//! Deciding what users and operators ask for: one message, a queue, the opening and closing of the store.
//!
//! Invariant: each operation names the states it is for; in any other it is refused with the word of the state.

use std::convert::Infallible;

use crate::command::{EnqueueRefused, Operate, OperateRefused, Operated, Operation};
use crate::event::{Changed, Event, LeaseAfter};
use crate::id::{Incarnation, MessageId, QueueId, Seq};
use crate::limits::ACTOR_SIZE_MAX;
use crate::message::Edited;
use crate::name::{Label, QueueName};
use crate::queue::SetQueue;
use crate::state::{Edit, EditKind, StoredState};
use crate::time::{Now, Timestamp};

use super::enqueue::due_at;
use super::entry::{Entry, Tag, flag};
use super::room::Need;
use super::settle::cut;
use super::{Close, Command, Open, QueueManager, Sealed};

impl Sealed for Operate {}
impl Sealed for SetQueue {}
impl Sealed for Open {}
impl Sealed for Close {}

/// A message to be operated on.
struct Target<'a> {
    manager: &'a QueueManager,
    seq: Seq,
    id: MessageId,
    entry: &'a Entry,
    by: &'a str,
}

impl Command for Operate {
    type Answer = Operated;
    type Refused = OperateRefused;

    fn decide(
        &self,
        manager: &QueueManager,
        now: &Now,
        events: &mut Vec<Event>,
    ) -> Result<Operated, OperateRefused> {
        let target = Target::find(manager, self.id, &self.by)?;
        if !target.allows(&self.operation) {
            return Err(OperateRefused::WrongState {
                id: self.id,
                operation: self.operation.as_str(),
                state: target.word(),
            });
        }
        match &self.operation {
            Operation::Cancel => return Ok(target.cancel(now, events)),
            Operation::Hold(label) => target.hold(label, now, events),
            Operation::Release => target.release(now, events),
            Operation::RunNow => {
                target.reschedule(Timestamp::from_ms(0), EditKind::RunNow, now, events);
            }
            Operation::Reschedule(due) => {
                let due = due_at(*due, now);
                target.reschedule(due, EditKind::Reschedule { due }, now, events);
            }
            Operation::SetPriority(priority) => {
                let (from, to) = (target.entry.priority(), *priority);
                let what = EditKind::SetPriority { from, to };
                target.change(what, now, events, |changed| changed.priority = to);
            }
            Operation::MoveTo(queue) => target.move_to(queue, now, events)?,
            Operation::Replay { edit } => target.replay(edit.as_deref(), now, events)?,
            Operation::Purge => events.push(Event::Finished { seq: target.seq }),
        }
        Ok(Operated::Done)
    }
}

impl<'a> Target<'a> {
    fn find(manager: &'a QueueManager, id: MessageId, by: &'a str) -> Result<Self, OperateRefused> {
        let seq = id.seq();
        if id.tag() != manager.config.tag || seq > manager.last_seq || seq == Seq::NONE {
            return Err(OperateRefused::NeverIssued { id });
        }
        let entry = manager
            .table
            .get(seq)
            .ok_or(OperateRefused::NotKept { id })?;
        if entry.id(seq, manager.config.tag) != id {
            return Err(OperateRefused::NeverIssued { id });
        }
        Ok(Self {
            manager,
            seq,
            id,
            entry,
            by,
        })
    }

    fn allows(&self, operation: &Operation) -> bool {
        let tag = self.entry.tag;
        match operation {
            Operation::Cancel => tag.is_live(),
            Operation::Hold(_) => tag.is_waiting(),
            Operation::Release => tag == Tag::Held,
            Operation::RunNow => {
                tag == Tag::Scheduled || (tag == Tag::Limbo && self.entry.due() != 0)
            }
            Operation::Reschedule(_) | Operation::SetPriority(_) | Operation::MoveTo(_) => {
                tag.is_waiting() || tag == Tag::Held
            }
            Operation::Replay { .. } => tag == Tag::Dead,
            Operation::Purge => matches!(tag, Tag::Dead | Tag::Completed | Tag::Held),
        }
    }

    fn word(&self) -> &'static str {
        self.entry.tag.kind().as_str()
    }

    fn edit(&self, what: EditKind, now: &Now) -> Edit {
        Edit {
            at: now.wall,
            by: cut(self.by, ACTOR_SIZE_MAX),
            what,
        }
    }

    /// Appends its facts with a change, which its history then tells.
    fn change(
        &self,
        what: EditKind,
        now: &Now,
        events: &mut Vec<Event>,
        change: impl FnOnce(&mut Changed),
    ) {
        let (entry, state) = (self.entry, self.entry.stored_state());
        let mut tail = entry.tail().cloned().unwrap_or_default();
        tail.note_edit(self.edit(what, now));
        let changed = self
            .manager
            .changed(self.seq, entry, state, LeaseAfter::Kept, tail);
        events.extend(changed.map(|mut changed| {
            change(&mut changed);
            Event::Changed(changed)
        }));
    }

    fn hold(&self, label: &Label, now: &Now, events: &mut Vec<Event>) {
        let due = Timestamp::from_ms(self.entry.due());
        let label = label.clone();
        let what = EditKind::Hold {
            label: label.clone(),
        };
        self.change(what, now, events, |changed| {
            changed.state = StoredState::Held { label, due };
        });
    }

    fn release(&self, now: &Now, events: &mut Vec<Event>) {
        if let StoredState::Held { label, due } = self.entry.stored_state() {
            let what = EditKind::Release { label };
            self.change(what, now, events, |changed| {
                changed.state = StoredState::Pending { due };
            });
        }
    }

    fn move_to(
        &self,
        to: &QueueName,
        now: &Now,
        events: &mut Vec<Event>,
    ) -> Result<(), EnqueueRefused> {
        let queue = define(self.manager, to, events)?;
        let from = self.manager.names.at(self.entry.place);
        let from = from.map_or_else(|| to.clone(), |(queue, _)| queue.name.clone());
        let to = to.clone();
        self.change(EditKind::Move { from, to }, now, events, |changed| {
            changed.queue = queue;
        });
        Ok(())
    }

    fn cancel(&self, now: &Now, events: &mut Vec<Event>) -> Operated {
        if self.entry.tag != Tag::Leased {
            self.manager.cancel_waiting(self.seq, now, events);
            if let Some(Event::Changed(changed)) = events.last_mut() {
                let edit = self.edit(EditKind::Cancel, now);
                changed.tail.note_edit(edit);
            }
            return Operated::Done;
        }
        if !self.entry.has(flag::CANCEL) {
            self.change(EditKind::Cancel, now, events, |changed| {
                changed.tail.cancel_requested = true;
            });
        }
        Operated::Requested
    }

    /// Another due time. A message that becomes due earlier than it would have joined joins now.
    fn reschedule(&self, due: Timestamp, what: EditKind, now: &Now, events: &mut Vec<Event>) {
        let joined = if due == Timestamp::from_ms(0) {
            Timestamp::from_ms(self.entry.joined()).min(now.wall)
        } else {
            due
        };
        let state = match self.entry.stored_state() {
            StoredState::Held { label, .. } => StoredState::Held { label, due },
            StoredState::Pending { .. }
            | StoredState::Completed { .. }
            | StoredState::Dead { .. }
            | StoredState::Superseded { .. } => StoredState::Pending { due },
        };
        self.change(what, now, events, |changed| {
            changed.state = state;
            changed.joined = joined;
        });
    }

    fn replay(
        &self,
        edit: Option<&Edited>,
        now: &Now,
        events: &mut Vec<Event>,
    ) -> Result<(), OperateRefused> {
        let manager = self.manager;
        if let Some(key) = manager.dedup_key(self.id)
            && let Some(holder) = manager.key_holder(key)
            && let Some(entry) = manager.table.get(holder)
        {
            return Err(OperateRefused::KeyHeld {
                id: self.id,
                holder: entry.id(holder, manager.config.tag),
            });
        }
        let edited = edit.map(|edit| u32::try_from(edit.sealed.bytes.len()).unwrap_or(u32::MAX));
        let size = edited.unwrap_or(self.entry.size);
        let need = Need {
            messages: 1,
            bytes: u64::from(size),
            ..Need::default()
        };
        let config = &manager.config;
        manager
            .room
            .check(&need, config.capacity_messages, config.capacity_bytes)?;
        let edited = edit.is_some();
        self.change(EditKind::Replay { edited }, now, events, |changed| {
            changed.state = StoredState::Pending {
                due: Timestamp::from_ms(0),
            };
            changed.order = manager.last_order + 1;
            changed.joined = now.wall;
            changed.size = size;
            changed.sealed = edit.map(|edit| edit.sealed.clone());
            // A payload that is not indexed must not be found by what the old one was.
            let terms = edit.map(|edit| edit.terms.clone());
            changed.terms = terms.filter(|terms| terms != self.entry.terms());
            let tail = &mut changed.tail;
            tail.failures = 0;
            tail.crashes = 0;
            tail.replays = tail.replays.saturating_add(1);
            tail.cancel_requested = false;
        });
        Ok(())
    }
}

/// The number of a queue; a new one is defined.
fn define(
    manager: &QueueManager,
    name: &QueueName,
    events: &mut Vec<Event>,
) -> Result<QueueId, EnqueueRefused> {
    if let Some(id) = manager.names.queue_id(name) {
        return Ok(id);
    }
    let id = manager
        .names
        .next_queue(0)
        .ok_or(EnqueueRefused::NumbersUsedUp { what: "queue" })?;
    let name = name.clone();
    events.push(Event::QueueDefined { id, name });
    Ok(id)
}

impl Command for SetQueue {
    type Answer = ();
    type Refused = EnqueueRefused;

    fn decide(
        &self,
        manager: &QueueManager,
        _now: &Now,
        events: &mut Vec<Event>,
    ) -> Result<(), EnqueueRefused> {
        let queue = define(manager, &self.queue, events)?;
        let known = manager.names.queue(queue).map(|queue| &*queue.settings);
        let known = known.cloned().unwrap_or_default();
        let settings = known.clone().with(self.change.clone());
        if settings != known {
            let settings = Box::new(settings);
            events.push(Event::QueueSet { queue, settings });
        }
        Ok(())
    }
}

impl Command for Open {
    type Answer = Incarnation;
    type Refused = Infallible;

    fn decide(
        &self,
        manager: &QueueManager,
        now: &Now,
        events: &mut Vec<Event>,
    ) -> Result<Incarnation, Infallible> {
        let incarnation = Incarnation(manager.incarnation.0.saturating_add(1));
        events.push(Event::Opened {
            incarnation,
            at: now.wall,
        });
        Ok(incarnation)
    }
}

impl Command for Close {
    type Answer = ();
    type Refused = Infallible;

    fn decide(
        &self,
        _manager: &QueueManager,
        _now: &Now,
        events: &mut Vec<Event>,
    ) -> Result<(), Infallible> {
        events.push(Event::Closed);
        Ok(())
    }
}
