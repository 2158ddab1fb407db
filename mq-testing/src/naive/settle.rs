//! How leases end: settled, given back, or run out.

use mq_core::command::{
    GiveBack, SaveCheckpoint, Settle, SettleRefused, Settled, Settlement, StaleLease,
};
use mq_core::id::{LeaseToken, Seq};
use mq_core::limits::{CHECKPOINT_SIZE_MAX, RESULT_SIZE_MAX};
use mq_core::retry::RetryPolicy;
use mq_core::state::{Completion, DeadReason, Failure, Outcome, StoredState};
use mq_core::time::{Now, Timestamp};

use super::enqueue::AT_ONCE;
use super::message::Message;
use super::model::{Model, due_at};

impl Model {
    /// Ends a lease and stores what was staged with it, all or none.
    ///
    /// # Errors
    /// [`SettleRefused`]; nothing was changed but the count of stale answers.
    pub fn settle(&mut self, now: &Now, command: &Settle) -> Result<Settled, SettleRefused> {
        let message = self.held(command.token)?.clone();
        if let Settlement::Succeed {
            result: Some(result),
        } = &command.settlement
            && result.len() > RESULT_SIZE_MAX
        {
            return Err(SettleRefused::ResultTooLarge { size: result.len() });
        }
        if message.is_superseded() {
            self.count(Outcome::Discarded);
            self.remove(message.seq());
            self.follow_up();
            return Ok(Settled {
                state: None,
                staged: Vec::new(),
            });
        }
        let mut next = self.clone();
        next.end_attempt(now, message.seq(), &command.settlement);
        let state = next.find(message.seq()).map(|message| next.state(message));
        let outcome = next.add_all(now, &command.staged, self).and_then(|staged| {
            next.check_budgets(self)?;
            Ok(staged)
        });
        if outcome.is_ok() {
            next.follow_up();
            *self = next;
        }
        self.count_duplicates(&outcome);
        let staged = outcome?;
        Ok(Settled { state, staged })
    }

    /// The message a token holds; counts the token as stale if there is none.
    pub(super) fn held(&mut self, token: LeaseToken) -> Result<&Message, StaleLease> {
        if self.held_by(token).is_none() {
            self.tally.stale += 1;
        }
        self.held_by(token).ok_or(StaleLease { token })
    }

    fn end_attempt(&mut self, now: &Now, seq: Seq, settlement: &Settlement) {
        let Some(message) = self.find_mut(seq) else {
            return;
        };
        let asked = message.tail.cancel_requested;
        message.lease = None;
        message.suspect = false;
        match settlement {
            Settlement::Fail { .. }
            | Settlement::Snooze { .. }
            | Settlement::Interrupt
            | Settlement::Again { .. }
            | Settlement::SetAside { .. }
                if asked =>
            {
                self.end(now, seq, Outcome::Cancelled, failure_of(settlement));
                self.complete(now, seq, Completion::Cancelled);
            }
            Settlement::Succeed { result } => {
                message.tail.result = result.clone();
                self.end(now, seq, Outcome::Succeeded, None);
                self.forget_previous(seq);
                self.complete(now, seq, Completion::Succeeded);
            }
            Settlement::Again { due } => {
                message.begin_again(now, due_at(now, *due));
                self.end(now, seq, Outcome::Succeeded, None);
            }
            Settlement::SetAside { label, failure } => {
                message.set_aside(label);
                self.end(now, seq, Outcome::Snoozed, Some(failure.clone()));
            }
            Settlement::Fail {
                failure,
                retry,
                retry_in,
            } => {
                let retry_at = retry_in.map(|delay| now.wall.after(delay));
                self.end(now, seq, Outcome::Failed, Some(failure.clone()));
                self.fail(now, seq, retry, retry_at);
            }
            Settlement::Snooze { delay } => {
                message.tail.snoozes += 1;
                message.join_again(now, now.wall.after(*delay));
                self.end(now, seq, Outcome::Snoozed, None);
            }
            Settlement::Interrupt => {
                message.tail.interruptions += 1;
                message.wait_until(now, AT_ONCE);
                self.end(now, seq, Outcome::Interrupted, None);
            }
            Settlement::DeadLetter {
                reason,
                failure,
                note,
            } => {
                message.tail.note = note.clone().or(message.tail.note.take());
                message.stored = dead(*reason, now.wall);
                self.end(now, seq, Outcome::DeadLettered, Some(failure.clone()));
            }
            Settlement::Discard { failure } => {
                self.end(now, seq, Outcome::Discarded, failure.clone());
                self.complete(now, seq, Completion::Discarded);
            }
            Settlement::Cancel => {
                self.end(now, seq, Outcome::Cancelled, None);
                self.complete(now, seq, Completion::Cancelled);
            }
        }
    }

    /// A success takes the place of the one before it with its dedup key.
    fn forget_previous(&mut self, seq: Seq) {
        let key = self.find(seq).and_then(|message| message.dedup);
        self.messages
            .retain(|other| key.is_none() || other.dedup != key || !other.has_succeeded());
    }

    fn end(&mut self, now: &Now, seq: Seq, outcome: Outcome, failure: Option<Failure>) {
        self.count(outcome);
        if let Some(message) = self.find_mut(seq) {
            message.remember(now.wall, outcome, failure);
        }
    }

    /// Counts a failure: another attempt later, or dead.
    fn fail(&mut self, now: &Now, seq: Seq, retry: &RetryPolicy, retry_at: Option<Timestamp>) {
        let Some(message) = self.find_mut(seq) else {
            return;
        };
        message.tail.failures += 1;
        let failures = message.tail.failures;
        let budget = RetryPolicy {
            failures_max: message.failures_max.unwrap_or(retry.failures_max),
            ..*retry
        };
        if budget.is_spent(failures) {
            message.stored = dead(DeadReason::BudgetSpent, now.wall);
            return;
        }
        let due = retry_at.unwrap_or_else(|| now.wall.after(retry.backoff.delay(failures)));
        message.join_again(now, due);
    }

    /// Completes a message: kept for its retention, or gone.
    pub(super) fn complete(&mut self, now: &Now, seq: Seq, how: Completion) {
        let Some(message) = self.find_mut(seq) else {
            return;
        };
        if let Some(retain) = message.retain {
            let until = now.store.after(retain);
            message.stored = StoredState::Completed { how, until };
            message.suspect = false;
            message.tail.checkpoint = None;
            message.tail.cancel_requested = false;
        } else {
            self.remove(seq);
        }
    }

    /// Takes a lease back whose handler never started. A stale one is ignored.
    ///
    /// # Errors
    /// [`StaleLease`]; nothing was changed.
    pub fn give_back(&mut self, now: &Now, command: &GiveBack) -> Result<(), StaleLease> {
        let message = self.held(command.token)?.clone();
        if message.is_superseded() {
            self.remove(message.seq());
        } else if let Some(message) = self.find_mut(message.seq()) {
            message.lease = None;
            message.look_again(now);
        }
        self.cancel_what_came_back(now);
        self.follow_up();
        Ok(())
    }

    /// Ends the leases that ran out.
    pub(super) fn end_leases(&mut self, now: &Now) {
        let over: Vec<Message> = self
            .messages
            .iter()
            .filter(|message| {
                message
                    .lease
                    .as_ref()
                    .is_some_and(|lease| lease.ends <= now.monotonic)
            })
            .cloned()
            .collect();
        for mut message in over {
            let seq = message.seq();
            let Some(lease) = message.lease.take() else {
                continue;
            };
            self.notices.push(mq_core::command::Notice::LeaseLost {
                pool: lease.pool,
                token: lease.token,
            });
            if message.is_superseded() {
                self.count(Outcome::LeaseExpired);
                self.remove(seq);
                continue;
            }
            if let Some(message) = self.find_mut(seq) {
                message.lease = None;
                message.suspect = false;
            }
            if message.tail.cancel_requested {
                self.count(Outcome::LeaseExpired);
                self.complete(now, seq, Completion::Cancelled);
            } else {
                self.end(now, seq, Outcome::LeaseExpired, None);
                self.fail(now, seq, &lease.retry, None);
            }
        }
    }

    /// Cancels what a user wanted cancelled and what came back without an answer from its handler.
    pub(super) fn cancel_what_came_back(&mut self, now: &Now) {
        let back: Vec<Seq> = self
            .messages
            .iter()
            .filter(|message| message.is_waiting() && message.tail.cancel_requested)
            .map(Message::seq)
            .collect();
        for seq in back {
            self.complete(now, seq, Completion::Cancelled);
        }
    }

    /// Saves a checkpoint.
    ///
    /// # Errors
    /// [`SettleRefused`] if the lease is stale or the checkpoint too large; nothing was changed.
    pub fn save_checkpoint(&mut self, command: &SaveCheckpoint) -> Result<(), SettleRefused> {
        let seq = self.held(command.token)?.seq();
        let size = command.checkpoint.len();
        if size > CHECKPOINT_SIZE_MAX {
            return Err(SettleRefused::CheckpointTooLarge { size });
        }
        if let Some(message) = self
            .find_mut(seq)
            .filter(|message| !message.is_superseded())
        {
            message.tail.checkpoint = Some(command.checkpoint.clone());
        }
        Ok(())
    }
}

pub(super) const fn dead(reason: DeadReason, at: Timestamp) -> StoredState {
    StoredState::Dead { reason, at }
}

fn failure_of(settlement: &Settlement) -> Option<Failure> {
    match settlement {
        Settlement::Fail { failure, .. } | Settlement::DeadLetter { failure, .. } => {
            Some(failure.clone())
        }
        Settlement::Discard { failure } => failure.clone(),
        Settlement::Succeed { .. }
        | Settlement::Snooze { .. }
        | Settlement::Again { .. }
        | Settlement::SetAside { .. }
        | Settlement::Interrupt
        | Settlement::Cancel => None,
    }
}
