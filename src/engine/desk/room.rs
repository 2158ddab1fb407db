//! Enqueues, and those of them that wait for room: in the store, or in a queue whose operator limits it.
//!
//! Invariants
//! 1. Whoever waits for a queue holds up nobody else; whoever waits for the store goes first in, first out. What is put off to the
//!    next frame keeps its place: it is the first there, and is not planned again before.
//! 2. So many wait and no more, for at most as long as each may; nobody waits who would not be let in.
//! 3. A batch is not planned again before there is room for what it adds for certain ([`Floor`]), or there never will be: messages
//!    leave one by one, and a batch of thousands would be planned as often.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use mq_core::command::{Accepted, BYTES_OF_DISK, EnqueueRefused};
use mq_core::message::Draft;
use mq_core::name::QueueName;
use mq_core::time::{Monotonic, Now};
use mq_persistence::spares::Work;

use super::fitting::Fitting;
use super::{Cause, Desk, Interest, PutOff, telling};
use crate::engine::effects::Effect;
use crate::engine::jobs::EnqueueJob;
use crate::stats::Refusal;

/// Enqueues that may wait for room; further ones are refused at once, so that memory stays bounded.
const WAITING_LEN_MAX: usize = 1_024;

/// What an enqueue found.
enum Found {
    /// It is answered, or is the first of the next frame.
    Room,
    /// It may wait.
    StoreFull(Box<EnqueueJob>),
    /// It may wait.
    QueueFull(Box<EnqueueJob>, QueueName),
}

#[derive(Debug)]
struct Waiting {
    job: Box<EnqueueJob>,
    until: Monotonic,
    floor: Floor,
}

impl Waiting {
    /// Waits for room in the store, or in one queue.
    fn new(job: Box<EnqueueJob>, until: Monotonic, queue: Option<&QueueName>) -> Self {
        let floor = Floor::of(&job.batch.drafts, queue);
        Self { job, until, floor }
    }

    /// Until when it may wait, if that is not over.
    fn may_wait(&self, now: &Now) -> Option<Monotonic> {
        Some(self.until).filter(|until| *until > now.monotonic)
    }
}

/// What a batch adds for certain, whatever its keys turn out to stand for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Floor {
    messages: u64,
    bytes: u64,
    /// Messages in the queue it waits for, less those that may leave it to be replaced in another.
    of_queue: u64,
}

impl Floor {
    fn of(drafts: &[Draft], queue: Option<&QueueName>) -> Self {
        let (mut floor, mut leave, mut replaces) = (Self::default(), 0, false);
        for draft in drafts {
            let is_here = queue.is_some_and(|queue| draft.queue == *queue);
            match (draft.dedup, draft.idempotency) {
                (None, None) => {
                    floor.messages += 1;
                    floor.bytes += u64::try_from(draft.sealed.bytes.len()).unwrap_or(u64::MAX);
                    floor.of_queue += u64::from(is_here);
                }
                (None, Some(_)) => {} // it may be there already
                (Some(_), _) => {
                    leave += u64::from(!is_here);
                    replaces = true;
                }
            }
        }
        floor.of_queue = floor.of_queue.saturating_sub(leave);
        floor.bytes = if replaces { 0 } else { floor.bytes };
        floor
    }
}

/// An enqueue that is the first of the next frame.
#[derive(Debug)]
pub(super) struct PutOffEnqueue {
    pub(super) job: Box<EnqueueJob>,
    /// Until when it may wait for room after that; none if it may not.
    until: Option<Monotonic>,
}

/// Enqueues that wait for room.
#[derive(Debug, Default)]
pub(super) struct Lines {
    store: VecDeque<Waiting>,
    /// None of them is empty.
    queues: BTreeMap<QueueName, VecDeque<Waiting>>,
}

impl Lines {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        let queues = self.queues.values().map(VecDeque::len);
        self.store.len() + queues.sum::<usize>()
    }

    fn all(&self) -> impl Iterator<Item = &Waiting> {
        self.store.iter().chain(self.queues.values().flatten())
    }

    /// How long until the first of them has waited long enough.
    pub(super) fn first_over(&self, now: &Now) -> Option<Duration> {
        self.all()
            .map(|waiting| waiting.until.since(now.monotonic))
            .min()
    }

    /// Takes out who has waited long enough.
    fn take_over(&mut self, now: &Now) -> Vec<Waiting> {
        if !self.all().any(|waiting| waiting.until <= now.monotonic) {
            return Vec::new();
        }
        let mut over = Vec::new();
        for line in std::iter::once(&mut self.store).chain(self.queues.values_mut()) {
            let (late, rest): (VecDeque<_>, VecDeque<_>) = line
                .drain(..)
                .partition(|waiting| waiting.until <= now.monotonic);
            *line = rest;
            over.extend(late);
        }
        self.queues.retain(|_, line| !line.is_empty());
        over
    }

    /// Everybody.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Box<EnqueueJob>> + use<> {
        let Self { store, queues } = std::mem::take(self);
        let waiting = store.into_iter().chain(queues.into_values().flatten());
        waiting.map(|waiting| waiting.job)
    }

    /// The queue for which others wait, if this enqueue is for it, too.
    fn joined_by(&self, job: &EnqueueJob) -> Option<QueueName> {
        let first = job.batch.drafts.first()?;
        let (name, _) = self.queues.get_key_value(&first.queue)?;
        Some(name.clone())
    }
}

/// Whether a batch would be let into an empty queue with this limit.
fn could_fit(job: &EnqueueJob, queue: &QueueName, limit: u64) -> bool {
    let drafts = job.batch.drafts.iter();
    let added = drafts.filter(|draft| draft.queue == *queue).count();
    u64::try_from(added).is_ok_and(|added| added <= limit)
}

impl Desk {
    /// Takes an enqueue in; one that may wait joins those that wait for the same already.
    pub(crate) fn enqueue(&mut self, now: &Now, job: Box<EnqueueJob>) {
        let until = job.until.map(|until| self.time.since_open(until));
        let Some(until) = until.filter(|_| self.waiting_for_room.len() < WAITING_LEN_MAX) else {
            self.try_enqueue(now, job, None);
            return;
        };
        if !self.waiting_for_room.store.is_empty() {
            let waiting = Waiting::new(job, until, None);
            self.waiting_for_room.store.push_back(waiting);
        } else if let Some(queue) = self.waiting_for_room.joined_by(&job) {
            self.wait_for_queue(queue, job, until);
        } else {
            match self.try_enqueue(now, job, Some(until)) {
                Found::Room => {}
                Found::StoreFull(job) => {
                    let waiting = Waiting::new(job, until, None);
                    self.waiting_for_room.store.push_back(waiting);
                }
                Found::QueueFull(job, queue) => self.wait_for_queue(queue, job, until),
            }
        }
    }

    /// Takes in what was put off to this frame. If there is no room for it any more, it stays ahead of those that came later.
    pub(super) fn enqueue_first(&mut self, now: &Now, PutOffEnqueue { job, until }: PutOffEnqueue) {
        let until = until.filter(|until| *until > now.monotonic);
        let found = self.try_enqueue(now, job, until);
        let Some(until) = until else { return };
        match found {
            Found::Room => {}
            Found::StoreFull(job) => {
                let waiting = Waiting::new(job, until, None);
                self.waiting_for_room.store.push_front(waiting);
            }
            Found::QueueFull(job, queue) => {
                let waiting = Waiting::new(job, until, Some(&queue));
                let line = self.waiting_for_room.queues.entry(queue).or_default();
                line.push_front(waiting);
            }
        }
    }

    fn wait_for_queue(&mut self, queue: QueueName, job: Box<EnqueueJob>, until: Monotonic) {
        let waiting = Waiting::new(job, until, Some(&queue));
        let line = self.waiting_for_room.queues.entry(queue).or_default();
        line.push_back(waiting);
    }

    /// Answers an enqueue, or puts it off to the next frame, or gives it back because it may wait (`until`) for room.
    fn try_enqueue(
        &mut self,
        now: &Now,
        mut job: Box<EnqueueJob>,
        until: Option<Monotonic>,
    ) -> Found {
        let may_wait = until.is_some();
        let (decided, may_wait) = if self.disk_low {
            (Err(self.disk_full()), may_wait)
        } else {
            self.cause = Cause::Enqueue;
            let fitting = self.decide_fitting(now, &job.batch, Work::Growing);
            self.cause = Cause::Plain;
            match fitting {
                Fitting::Decided(decided) => (decided, may_wait),
                Fitting::NextFrame => {
                    let put_off = PutOffEnqueue { job, until };
                    self.put_off.push_back(PutOff::Enqueue(put_off));
                    return Found::Room;
                }
                Fitting::Later if may_wait => return Found::StoreFull(job),
                Fitting::Later => (Err(self.disk_full()), false),
                // It would hold up everybody behind it who does fit.
                Fitting::TooLarge => (Err(self.disk_full()), false),
            }
        };
        match decided {
            Ok(accepted) => {
                let end_of_trace = job.end_of_trace(Ok(&accepted));
                self.remember(&accepted, &job.batch.drafts);
                self.waiters.note_replaced(&accepted);
                if self.sight.interest() == Interest::All {
                    self.tell(telling::duplicates(&self.manager, &accepted));
                }
                let needs = job.needs;
                self.push(needs, Effect::Enqueue(job, Ok(accepted)));
                if let Some(end) = end_of_trace {
                    self.push(needs, end);
                }
                Found::Room
            }
            Err(EnqueueRefused::Full { .. }) if may_wait => Found::StoreFull(job),
            Err(EnqueueRefused::QueueFull { queue, limit, .. })
                if may_wait && could_fit(&job, &queue, limit) =>
            {
                Found::QueueFull(job, queue)
            }
            Err(refused) => {
                self.sight.count_refusal(if self.disk_low {
                    Refusal::Disk
                } else {
                    Refusal::from(&refused)
                });
                let end_of_trace = job.end_of_trace(Err(&refused));
                let needs = job.needs;
                self.push(needs, Effect::Enqueue(job, Err(refused)));
                if let Some(end) = end_of_trace {
                    self.push(needs, end);
                }
                Found::Room
            }
        }
    }

    pub(super) fn disk_full(&self) -> EnqueueRefused {
        let used = self.manager.live_bytes();
        EnqueueRefused::Full {
            used,
            limit: used,
            unit: BYTES_OF_DISK,
        }
    }

    /// New messages' envelopes are hot: most are handed out soon.
    pub(super) fn remember(&mut self, accepted: &[Accepted], drafts: &[Draft]) {
        for (accepted, draft) in accepted.iter().zip(drafts) {
            if accepted.is_new() && self.manager.contains(accepted.id.seq()) {
                self.cache
                    .insert(accepted.id.seq(), &draft.sealed.bytes, self.open);
            }
        }
    }

    /// Lets in who waits and finds room now, and refuses who has waited long enough.
    pub(super) fn retry_waiting(&mut self, now: &Now) {
        while !self.is_full()
            && let Some(waiting) = self.waiting_for_room.store.pop_front()
        {
            let may_wait = waiting.may_wait(now);
            let Floor {
                messages, bytes, ..
            } = waiting.floor;
            let lacks_room = self.disk_low || !self.manager.is_worth_planning(messages, bytes);
            if may_wait.is_some() && lacks_room {
                self.waiting_for_room.store.push_front(waiting);
                break;
            }
            let Waiting { job, until, .. } = waiting;
            match self.try_enqueue(now, job, may_wait) {
                Found::Room => {}
                Found::StoreFull(job) => {
                    let waiting = Waiting::new(job, until, None);
                    self.waiting_for_room.store.push_front(waiting);
                    break;
                }
                Found::QueueFull(job, queue) => self.wait_for_queue(queue, job, until),
            }
        }
        if !self.waiting_for_room.queues.is_empty() {
            self.retry_queues(now);
        }
        for Waiting { job, .. } in self.waiting_for_room.take_over(now) {
            self.try_enqueue(now, job, None);
        }
    }

    fn retry_queues(&mut self, now: &Now) {
        for (queue, mut line) in std::mem::take(&mut self.waiting_for_room.queues) {
            while !self.is_full()
                && let Some(waiting) = line.pop_front()
            {
                let (may_wait, floor) = (waiting.may_wait(now), waiting.floor);
                if may_wait.is_some() && !self.manager.is_worth_planning_for(&queue, floor.of_queue)
                {
                    line.push_front(waiting);
                    break;
                }
                let Waiting { job, until, .. } = waiting;
                match self.try_enqueue(now, job, may_wait) {
                    Found::Room => {}
                    Found::StoreFull(job) => {
                        let waiting = Waiting::new(job, until, None);
                        self.waiting_for_room.store.push_back(waiting);
                    }
                    Found::QueueFull(job, full) if full == queue => {
                        line.push_front(Waiting::new(job, until, Some(&queue)));
                        break;
                    }
                    Found::QueueFull(job, other) => self.wait_for_queue(other, job, until),
                }
            }
            if !line.is_empty() {
                // Those that another line sent here came later.
                let late = self.waiting_for_room.queues.remove(&queue);
                line.extend(late.into_iter().flatten());
                self.waiting_for_room.queues.insert(queue, line);
            }
        }
    }
}
