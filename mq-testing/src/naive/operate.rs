//! What users and operators do to one message, and what happens to it by itself.

use mq_core::command::{Notice, Operate, OperateRefused, Operated, Operation};
use mq_core::id::{MessageId, Seq};
use mq_core::limits::{ACTOR_SIZE_MAX, EDITS_LEN_MAX};
use mq_core::message::{Due, Edited};
use mq_core::state::{Completion, DeadReason, Edit, EditKind, StoredState};
use mq_core::time::Now;
use mq_core::view::StateKind;

use super::enqueue::AT_ONCE;
use super::message::{Message, cut_text};
use super::model::{Model, due_at};
use super::settle::dead;

impl Model {
    /// Changes one message.
    ///
    /// # Errors
    /// [`OperateRefused`]; nothing was changed.
    pub fn operate(&mut self, now: &Now, command: &Operate) -> Result<Operated, OperateRefused> {
        let message = self.known(command.id)?.clone();
        let state = self.state(&message).kind();
        if !is_allowed(&command.operation, state) {
            return Err(OperateRefused::WrongState {
                id: message.id,
                operation: command.operation.as_str(),
                state: state.as_str(),
            });
        }
        let done = self.change(now, &message, &command.operation)?;
        let asked_before = state == StateKind::Leased && message.tail.cancel_requested;
        if !asked_before && let Some(what) = edit_of(now, &message, &command.operation) {
            self.note_edit(now, message.seq(), &command.by, what);
        }
        self.follow_up();
        Ok(done)
    }

    fn note_edit(&mut self, now: &Now, seq: Seq, by: &str, what: EditKind) {
        let Some(message) = self.find_mut(seq) else {
            return;
        };
        message.tail.edits.push(Edit {
            at: now.wall,
            by: cut_text(by.to_owned(), ACTOR_SIZE_MAX),
            what,
        });
        if message.tail.edits.len() > EDITS_LEN_MAX {
            message.tail.edits.remove(0);
        }
    }

    fn known(&self, id: MessageId) -> Result<&Message, OperateRefused> {
        if let Some(message) = self.find(id.seq()).filter(|message| message.id == id) {
            return Ok(message);
        }
        if self.was_issued(id) {
            Err(OperateRefused::NotKept { id })
        } else {
            Err(OperateRefused::NeverIssued { id })
        }
    }

    /// Whether this store can have issued an id whose message is not in it.
    pub(super) fn was_issued(&self, id: MessageId) -> bool {
        id.tag() == self.limits.tag
            && id.seq() > Seq::NONE
            && id.seq() <= self.last_seq
            && self.find(id.seq()).is_none()
    }

    fn change(
        &mut self,
        now: &Now,
        message: &Message,
        operation: &Operation,
    ) -> Result<Operated, OperateRefused> {
        let seq = message.seq();
        match operation {
            Operation::Cancel => return Ok(self.cancel(now, message)),
            Operation::Replay { edit } => self.replay(now, message, edit.as_deref())?,
            Operation::Purge => self.remove(seq),
            Operation::Hold(_)
            | Operation::Release
            | Operation::RunNow
            | Operation::Reschedule(_)
            | Operation::SetPriority(_)
            | Operation::MoveTo(_) => self.edit(now, seq, operation),
        }
        Ok(Operated::Done)
    }

    fn cancel(&mut self, now: &Now, message: &Message) -> Operated {
        let Some(lease) = &message.lease else {
            self.complete(now, message.seq(), Completion::Cancelled);
            return Operated::Done;
        };
        if let Some(message) = self.find_mut(message.seq())
            && !message.tail.cancel_requested
        {
            message.tail.cancel_requested = true;
            self.notices.push(Notice::CancelRequested {
                pool: lease.pool,
                token: lease.token,
            });
        }
        Operated::Requested
    }

    fn edit(&mut self, now: &Now, seq: Seq, operation: &Operation) {
        if let Operation::MoveTo(queue) = operation {
            self.queues.insert(queue.clone());
        }
        let Some(message) = self.find_mut(seq) else {
            return;
        };
        let due = match &message.stored {
            StoredState::Pending { due } | StoredState::Held { due, .. } => *due,
            StoredState::Completed { .. }
            | StoredState::Dead { .. }
            | StoredState::Superseded { .. } => return,
        };
        match operation {
            Operation::Hold(label) => {
                message.stored = StoredState::Held {
                    label: label.clone(),
                    due,
                };
            }
            Operation::Release => message.wait_until(now, due),
            Operation::RunNow => reschedule(now, message, Due::Now),
            Operation::Reschedule(due) => reschedule(now, message, *due),
            Operation::SetPriority(priority) => message.priority = *priority,
            Operation::MoveTo(queue) => message.queue = queue.clone(),
            Operation::Cancel | Operation::Replay { .. } | Operation::Purge => {}
        }
        message.look_again(now);
    }

    fn replay(
        &mut self,
        now: &Now,
        message: &Message,
        edit: Option<&Edited>,
    ) -> Result<(), OperateRefused> {
        let id = message.id;
        if let Some(holder) = message.dedup.and_then(|key| self.key_holder(key)) {
            let holder = holder.id;
            return Err(OperateRefused::KeyHeld { id, holder });
        }
        let mut next = self.clone();
        let order = next.next_order();
        if let Some(message) = next.find_mut(id.seq()) {
            message.order = order;
            message.joined = now.wall;
            message.expires = None;
            message.suspect = false;
            message.behind = None;
            message.tail.failures = 0;
            message.tail.crashes = 0;
            message.tail.cancel_requested = false;
            message.tail.replays += 1;
            message.wait_until(now, AT_ONCE);
            if let Some(edit) = edit {
                message.size = u32::try_from(edit.sealed.bytes.len()).unwrap_or(u32::MAX);
            }
        }
        // Its keys come back with it, whatever their budget says: it held them before.
        next.check_room(self)?;
        *self = next;
        Ok(())
    }

    /// What the clocks bring about: leases end, messages expire, retentions end.
    pub fn tick(&mut self, now: &Now) {
        self.end_leases(now);
        self.cancel_what_came_back(now);
        for message in &mut self.messages {
            let waits = message.is_live() && message.lease.is_none() && !message.started;
            if waits && message.expires.is_some_and(|expires| expires <= now.store) {
                message.stored = dead(DeadReason::Expired, now.wall);
            }
        }
        self.messages.retain(|message| {
            !matches!(message.stored, StoredState::Completed { until, .. } if until <= now.store)
        });
        self.follow_up();
    }
}

/// What the history of `message`, as it was before, tells of an operation; nothing if it leaves the store.
fn edit_of(now: &Now, message: &Message, operation: &Operation) -> Option<EditKind> {
    Some(match operation {
        Operation::Cancel => EditKind::Cancel,
        Operation::Hold(label) => EditKind::Hold {
            label: label.clone(),
        },
        Operation::Release => match &message.stored {
            StoredState::Held { label, .. } => EditKind::Release {
                label: label.clone(),
            },
            StoredState::Pending { .. }
            | StoredState::Completed { .. }
            | StoredState::Dead { .. }
            | StoredState::Superseded { .. } => return None,
        },
        Operation::RunNow => EditKind::RunNow,
        Operation::Reschedule(due) => EditKind::Reschedule {
            due: due_at(now, *due),
        },
        Operation::SetPriority(to) => EditKind::SetPriority {
            from: message.priority,
            to: *to,
        },
        Operation::MoveTo(to) => EditKind::Move {
            from: message.queue.clone(),
            to: to.clone(),
        },
        Operation::Replay { edit } => EditKind::Replay {
            edited: edit.is_some(),
        },
        Operation::Purge => return None,
    })
}

/// Gives a message another due time. One that is to run at once joins now, unless it has joined before.
fn reschedule(now: &Now, message: &mut Message, due: Due) {
    let due = due_at(now, due);
    message.joined = if due == AT_ONCE {
        message.joined.min(now.wall)
    } else {
        due
    };
    match &mut message.stored {
        StoredState::Pending { due: old } | StoredState::Held { due: old, .. } => *old = due,
        StoredState::Completed { .. }
        | StoredState::Dead { .. }
        | StoredState::Superseded { .. } => {}
    }
}

const fn is_allowed(operation: &Operation, state: StateKind) -> bool {
    let waiting = matches!(
        state,
        StateKind::Scheduled | StateKind::Ready | StateKind::Blocked
    );
    let held = matches!(state, StateKind::Held);
    let dead = matches!(state, StateKind::Dead);
    match operation {
        Operation::Cancel => waiting || held || matches!(state, StateKind::Leased),
        Operation::Hold(_) => waiting,
        Operation::Release => held,
        Operation::RunNow => matches!(state, StateKind::Scheduled),
        Operation::Reschedule(_) | Operation::SetPriority(_) | Operation::MoveTo(_) => {
            waiting || held
        }
        Operation::Replay { .. } => dead,
        Operation::Purge => dead || held || matches!(state, StateKind::Completed),
    }
}
