//! Deciding the end of a lease: what the outcome makes of the message, and what is committed with it.
//!
//! Invariants: a stale lease changes nothing. A settlement is never refused for lack of room for the message itself.
//! The outcome of a superseded message is accepted and discarded.

use std::time::Duration;

use crate::canary;
use crate::command::{
    GiveBack, SaveCheckpoint, Settle, SettleRefused, Settled, Settlement, StaleLease,
};
use crate::event::{Changed, Event, LeaseAfter};
use crate::id::{LeaseToken, Seq};
use crate::limits::{
    CHECKPOINT_SIZE_MAX, ERROR_SIZE_MAX, ERROR_TYPE_SIZE_MAX, HISTORY_LEN_MAX, RESULT_SIZE_MAX,
};
use crate::name::Label;
use crate::retry::RetryPolicy;
use crate::state::{Attempt, Completion, DeadReason, Failure, Outcome, State, StoredState, Tail};
use crate::time::{Now, StoreTime, Timestamp};

use super::enqueue::{Plan, Settling, due_at};
use super::entry::{Entry, Tag, flag, tail_size};
use super::keys::splitmix;
use super::room::Need;
use super::{Command, QueueManager, Sealed};

/// Completed messages that one command may push out of their budget, so that none takes long.
const EVICTIONS_MAX: usize = 64;

impl Sealed for Settle {}
impl Sealed for GiveBack {}
impl Sealed for SaveCheckpoint {}

/// What becomes of a message when an attempt ends.
#[derive(Debug)]
pub(super) struct Ending {
    /// How the attempt ended.
    pub(super) outcome: Outcome,
    /// Its new state; `None` if it leaves the store.
    pub(super) state: Option<StoredState>,
    /// When it joins the line again, unless it keeps its place.
    pub(super) joined: Option<Timestamp>,
    /// Its new tail.
    pub(super) tail: Tail,
}

impl Command for Settle {
    type Answer = Settled;
    type Refused = SettleRefused;

    fn decide(
        &self,
        manager: &QueueManager,
        now: &Now,
        events: &mut Vec<Event>,
    ) -> Result<Settled, SettleRefused> {
        let (seq, entry) = manager.held(&self.token)?;
        if let Settlement::Succeed {
            result: Some(result),
        } = &self.settlement
            && result.len() > RESULT_SIZE_MAX
        {
            let size = result.len();
            return Err(SettleRefused::ResultTooLarge { size });
        }
        if entry.tag == Tag::Superseded {
            events.push(Event::Finished { seq });
            manager.tally.count(Outcome::Discarded);
            return Ok(Settled {
                state: None,
                staged: Vec::new(),
            });
        }
        let ending = manager.end(seq, entry, &self.settlement, now);
        let outcome = ending.outcome;
        let state = ending.state.as_ref().map(seen);
        let before = events.len();
        let is_over = manager.write_ending(seq, entry, ending, events);
        let staged = if self.staged.is_empty() {
            Vec::new()
        } else {
            let need = manager.need_of_staged(seq, entry, is_over);
            let plan = Plan::new(manager, now, Some(Settling { seq, is_over }), need);
            let staged = plan.run(&self.staged, events).inspect_err(|_| {
                events.truncate(before);
            })?;
            staged.into_vec()
        };
        manager.tally.count(outcome);
        Ok(Settled { state, staged })
    }
}

impl Command for GiveBack {
    type Answer = ();
    type Refused = StaleLease;

    fn decide(
        &self,
        manager: &QueueManager,
        _now: &Now,
        events: &mut Vec<Event>,
    ) -> Result<(), StaleLease> {
        let (seq, entry) = manager.held(&self.token)?;
        events.push(if entry.tag == Tag::Superseded {
            Event::Finished { seq }
        } else {
            let delivery = entry.deliveries;
            Event::Returned { seq, delivery }
        });
        Ok(())
    }
}

impl Command for SaveCheckpoint {
    type Answer = ();
    type Refused = SettleRefused;

    fn decide(
        &self,
        manager: &QueueManager,
        _now: &Now,
        events: &mut Vec<Event>,
    ) -> Result<(), SettleRefused> {
        let (seq, entry) = manager.held(&self.token)?;
        let size = self.checkpoint.len();
        if size > CHECKPOINT_SIZE_MAX {
            return Err(SettleRefused::CheckpointTooLarge { size });
        }
        if entry.tag == Tag::Leased {
            let mut tail = entry.tail().cloned().unwrap_or_default();
            tail.checkpoint = Some(self.checkpoint.clone());
            let state = entry.stored_state();
            let changed = manager.changed(seq, entry, state, LeaseAfter::Kept, tail);
            events.extend(changed.map(Event::Changed));
        }
        Ok(())
    }
}

impl QueueManager {
    /// The message of a lease that is valid.
    pub(super) fn held(&self, token: &LeaseToken) -> Result<(Seq, &Entry), StaleLease> {
        let seq = token.id.seq();
        let valid = self.table.get(seq).filter(|entry| {
            entry.tag.is_out()
                && (entry.deliveries == token.delivery || canary::sings("ack-not-fenced"))
                && (self.incarnation == token.incarnation
                    || canary::sings("token-without-incarnation"))
                && entry.id(seq, self.config.tag) == token.id
        });
        valid.map(|entry| (seq, entry)).ok_or_else(|| {
            self.tally.stale();
            StaleLease { token: *token }
        })
    }

    /// The facts of a message as they are, with a new state and tail; `None` only for a place that does not exist.
    pub(super) fn changed(
        &self,
        seq: Seq,
        entry: &Entry,
        state: StoredState,
        lease: LeaseAfter,
        tail: Tail,
    ) -> Option<Changed> {
        let (queue, _) = self.names.of_line(entry.place.line())?;
        Some(Changed {
            seq,
            state,
            lease,
            queue,
            priority: entry.priority(),
            order: entry.order(),
            joined: Timestamp::from_ms(entry.joined()),
            size: entry.size,
            tail: Box::new(tail),
            terms: None,
            sealed: None,
        })
    }

    /// What a handler's outcome makes of its message.
    fn end(&self, seq: Seq, entry: &Entry, settlement: &Settlement, now: &Now) -> Ending {
        let is_cancelled = entry.has(flag::CANCEL);
        match settlement {
            Settlement::Succeed { result } => {
                let (how, outcome) = (Completion::Succeeded, Outcome::Succeeded);
                let mut ending = self.complete(entry, how, outcome, None, now);
                if ending.state.is_some() {
                    ending.tail.result.clone_from(result);
                }
                ending
            }
            Settlement::Discard { failure } => {
                let (how, outcome) = (Completion::Discarded, Outcome::Discarded);
                self.complete(entry, how, outcome, failure.as_ref(), now)
            }
            Settlement::Cancel => self.cancel(entry, None, now),
            Settlement::Fail { failure, .. } if is_cancelled => {
                self.cancel(entry, Some(failure), now)
            }
            Settlement::Snooze { .. }
            | Settlement::Interrupt
            | Settlement::Again { .. }
            | Settlement::SetAside { .. }
                if is_cancelled =>
            {
                self.cancel(entry, None, now)
            }
            Settlement::Again { due } => again(entry, due_at(*due, now), now),
            Settlement::SetAside { label, failure } => set_aside(entry, label, failure, now),
            Settlement::Fail {
                failure,
                retry,
                retry_in,
            } => self.fail(
                seq,
                entry,
                Outcome::Failed,
                Some(failure),
                retry,
                *retry_in,
                now,
            ),
            Settlement::Snooze { delay } => snooze(entry, *delay, now),
            Settlement::Interrupt => interrupt(entry, now),
            Settlement::DeadLetter {
                reason,
                failure,
                note,
            } => dead_letter(entry, *reason, failure, note.as_deref(), now),
        }
    }

    fn cancel(&self, entry: &Entry, failure: Option<&Failure>, now: &Now) -> Ending {
        let (how, outcome) = (Completion::Cancelled, Outcome::Cancelled);
        self.complete(entry, how, outcome, failure, now)
    }

    fn complete(
        &self,
        entry: &Entry,
        how: Completion,
        outcome: Outcome,
        failure: Option<&Failure>,
        now: &Now,
    ) -> Ending {
        let Some(until) = self.kept_until(entry, now) else {
            return Ending {
                outcome,
                state: None,
                joined: None,
                tail: Tail::default(),
            };
        };
        let mut tail = attempted(entry, outcome, failure, now);
        tail.checkpoint = None;
        tail.cancel_requested = false;
        Ending {
            outcome,
            state: Some(StoredState::Completed { how, until }),
            joined: None,
            tail,
        }
    }

    /// Until when a message is kept if it completes now; `None` if it is not.
    pub(super) fn kept_until(&self, entry: &Entry, now: &Now) -> Option<StoreTime> {
        let retain = entry.limits().retain_ms?;
        let fits = entry.kept_size() <= self.config.completed_bytes;
        fits.then(|| now.store.after(Duration::from_millis(retain)))
    }

    /// An attempt that counts against the failure budget.
    #[expect(
        clippy::too_many_arguments,
        reason = "the facts of a failure, once per way to fail"
    )]
    pub(super) fn fail(
        &self,
        seq: Seq,
        entry: &Entry,
        outcome: Outcome,
        failure: Option<&Failure>,
        retry: &RetryPolicy,
        retry_in: Option<Duration>,
        now: &Now,
    ) -> Ending {
        let mut tail = attempted(entry, outcome, failure, now);
        tail.failures = tail.failures.saturating_add(1);
        let own = entry.limits().failures_max;
        let budget = RetryPolicy {
            failures_max: own.unwrap_or(retry.failures_max),
            ..*retry
        };
        if budget.is_spent(tail.failures) {
            let reason = DeadReason::BudgetSpent;
            return Ending {
                outcome,
                state: Some(StoredState::Dead {
                    reason,
                    at: now.wall,
                }),
                joined: None,
                tail,
            };
        }
        let random = splitmix(
            self.config.seed ^ splitmix(seq.get() ^ u64::from(entry.deliveries).rotate_right(16)),
        );
        let delay = retry_in.unwrap_or_else(|| budget.backoff.jittered(tail.failures, random));
        wait_for(delay, outcome, tail, now)
    }

    /// Writes the events of an ending; says whether the message gave up its keys.
    pub(super) fn write_ending(
        &self,
        seq: Seq,
        entry: &Entry,
        ending: Ending,
        events: &mut Vec<Event>,
    ) -> bool {
        let is_over = !matches!(
            ending.state,
            Some(StoredState::Pending { .. } | StoredState::Held { .. })
        );
        let succeeded = is_over && ending.outcome == Outcome::Succeeded;
        let dedup = succeeded.then(|| self.table.keys_of(seq, entry).dedup);
        let key = dedup.flatten().map(|dedup| dedup.key);
        let previous = key.and_then(|key| self.previous_version(key));
        events.extend(previous.map(|seq| Event::Finished { seq }));
        let Some(state) = ending.state else {
            events.push(Event::Finished { seq });
            return true;
        };
        if let StoredState::Completed { .. } = state {
            let size = u64::from(entry.size) + tail_size(&ending.tail);
            self.evict(size, previous, events);
        }
        let changed = self.changed(seq, entry, state, LeaseAfter::Ended, ending.tail);
        events.extend(changed.map(|mut changed| {
            changed.joined = ending.joined.unwrap_or(changed.joined);
            Event::Changed(changed)
        }));
        is_over
    }

    /// Lets the completed messages whose retention ends first go until `size` more bytes fit into their budget. `gone`
    /// leaves with the same command anyway.
    fn evict(&self, size: u64, gone: Option<Seq>, events: &mut Vec<Event>) {
        let freed = |seq: Seq| self.table.get(seq).map_or(0, Entry::kept_size);
        let mut used = self.room.completed_bytes.saturating_add(size);
        used = used.saturating_sub(gone.map_or(0, freed));
        let completed = self.timers.retention.all().map(|(_, seq)| seq);
        let others = completed
            .take(EVICTIONS_MAX)
            .filter(|seq| Some(*seq) != gone);
        for seq in others {
            if used <= self.config.completed_bytes {
                return;
            }
            used = used.saturating_sub(freed(seq));
            events.push(Event::Finished { seq });
        }
    }

    /// What the settlement of a message gives back for what it stages.
    fn need_of_staged(&self, seq: Seq, entry: &Entry, is_over: bool) -> Need {
        let lease = self.leases.get(seq);
        let over = u64::from(is_over);
        Need {
            freed_messages: lease.map_or(0, |lease| lease.reserved_messages) + over,
            freed_bytes: lease.map_or(0, |lease| lease.reserved_bytes)
                + over * u64::from(entry.size),
            ..Need::default()
        }
    }
}

fn snooze(entry: &Entry, delay: Duration, now: &Now) -> Ending {
    let mut tail = attempted(entry, Outcome::Snoozed, None, now);
    tail.snoozes = tail.snoozes.saturating_add(1);
    wait_for(delay, Outcome::Snoozed, tail, now)
}

/// Done for this time: as if it had just been enqueued, but for its id, its place and its history.
fn again(entry: &Entry, due: Timestamp, now: &Now) -> Ending {
    let mut tail = attempted(entry, Outcome::Succeeded, None, now);
    tail.failures = 0;
    tail.crashes = 0;
    tail.checkpoint = None;
    Ending {
        outcome: Outcome::Succeeded,
        state: Some(StoredState::Pending { due }),
        joined: Some(due.max(now.wall)),
        tail,
    }
}

fn set_aside(entry: &Entry, label: &Label, failure: &Failure, now: &Now) -> Ending {
    let mut tail = attempted(entry, Outcome::Snoozed, Some(failure), now);
    tail.snoozes = tail.snoozes.saturating_add(1);
    Ending {
        outcome: Outcome::Snoozed,
        state: Some(StoredState::Held {
            label: label.clone(),
            due: Timestamp::from_ms(0),
        }),
        joined: None,
        tail,
    }
}

fn interrupt(entry: &Entry, now: &Now) -> Ending {
    let mut tail = attempted(entry, Outcome::Interrupted, None, now);
    tail.interruptions = tail.interruptions.saturating_add(1);
    Ending {
        outcome: Outcome::Interrupted,
        state: Some(StoredState::Pending {
            due: Timestamp::from_ms(0),
        }),
        joined: None,
        tail,
    }
}

fn dead_letter(
    entry: &Entry,
    reason: DeadReason,
    failure: &Failure,
    note: Option<&str>,
    now: &Now,
) -> Ending {
    let mut tail = attempted(entry, Outcome::DeadLettered, Some(failure), now);
    if let Some(note) = note {
        tail.note = Some(cut(note, ERROR_SIZE_MAX));
    }
    Ending {
        outcome: Outcome::DeadLettered,
        state: Some(StoredState::Dead {
            reason,
            at: now.wall,
        }),
        joined: None,
        tail,
    }
}

/// Waits for `delay` and joins the line when it is over.
fn wait_for(delay: Duration, outcome: Outcome, tail: Tail, now: &Now) -> Ending {
    let joined = now.wall.after(delay);
    let due = if joined > now.wall {
        joined
    } else {
        Timestamp::from_ms(0)
    };
    Ending {
        outcome,
        state: Some(StoredState::Pending { due }),
        joined: Some(joined),
        tail,
    }
}

/// The tail with one more attempt in its history.
fn attempted(entry: &Entry, outcome: Outcome, failure: Option<&Failure>, now: &Now) -> Tail {
    let mut tail = entry.tail().cloned().unwrap_or_default();
    let failure = failure.map(|failure| Failure {
        error_type: cut(&failure.error_type, ERROR_TYPE_SIZE_MAX),
        text: cut(&failure.text, ERROR_SIZE_MAX),
    });
    remember(
        &mut tail,
        Attempt {
            delivery: entry.deliveries,
            ended: now.wall,
            outcome,
            failure,
        },
    );
    tail
}

/// Adds an attempt to the history and forgets the oldest beyond its limit.
pub(super) fn remember(tail: &mut Tail, attempt: Attempt) {
    let excess = (tail.history.len() + 1).saturating_sub(HISTORY_LEN_MAX);
    tail.history.drain(..excess.min(tail.history.len()));
    tail.history.push(attempt);
}

/// At most `size` bytes of a text, cut between characters.
pub(super) fn cut(text: &str, size: usize) -> String {
    let mut end = size.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

/// How people see a state that a settlement has just given.
fn seen(state: &StoredState) -> State {
    match state {
        StoredState::Pending { due } if *due == Timestamp::from_ms(0) => State::Ready,
        StoredState::Pending { due } => State::Scheduled { due: *due },
        StoredState::Held { label, .. } => State::Held {
            label: label.clone(),
        },
        StoredState::Completed { how, .. } => State::Completed { how: *how },
        StoredState::Dead { reason, .. } => State::Dead { reason: *reason },
        // A settlement ends the lease, so that nothing is superseded afterwards.
        StoredState::Superseded { .. } => State::Ready,
    }
}
