//! The shell around the desk: rings in front of it, the log behind it, and who does the work.
//!
//! The owner is a lock, not a thread. Two tokens, always taken in this order:
//!
//! - the *log token*: write and sync. A blocking caller that finds it free commits without a thread hop; for async
//!   callers the commit thread does, but in memory, where nothing blocks, they commit themselves (`entry`).
//! - the *manager token* (the desk's lock): drain the rings, decide, apply, encode. Held for microseconds, never across I/O.
//!
//! Invariants
//! 1. Whoever leaves the log token with work left calls the commit thread ([`Signal`]), so no submission waits for another.
//! 2. The first failed write or sync stops the engine for good: nothing is retried, everybody who waits is told. A disk without room
//!    is no such failure: the frame, or the work, is held until there is, and whoever keeps house is called ([`Round::Held`]).
//! 3. A holder that panics stops the engine too ([`StopOnPanic`]).

mod commit;
mod ending;
mod entry;
mod frames;

pub(super) use ending::StopOnPanic;

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::Duration;

use mq_core::backend::{Durability, Stopped};
use mq_core::manager::Image;
use mq_core::pending::{Drive, Pending, Promise};
use mq_core::ring::Ring;
use mq_core::signal::Signal;
use mq_core::time::{Clock, Now};
use mq_dispatch::Roster;
use mq_persistence::error::JournalError;
use mq_persistence::frame::Frame;
use mq_persistence::identity::Identity;
use mq_persistence::keeper::Keeper;
use mq_persistence::log::Log;
use mq_persistence::lsn::Lsn;
use mq_persistence::places::PlacesImage;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use super::copies::Copies;
use super::desk::{Desk, Handover};
use super::effects::{Effect, Needs, Released};
use super::estate::Inside;
use super::gather::Gather;
use super::indexes::Indexes;
use super::jobs::{EnqueueJob, SettleJob};
use super::maintenance::SnapshotPromise;
use super::scheduler::Scheduler;
use super::sight::Sight;
use crate::environment::Park;

/// Submissions that can wait for the manager token; beyond it producers wait. Chosen to hold several syncs' worth.
pub(crate) const SUBMISSIONS_CAPACITY: usize = 8_192;
/// Settlements have a ring of their own: they never queue behind producers.
pub(crate) const SETTLEMENTS_CAPACITY: usize = 8_192;
/// So many wakers of those who wait for space in a ring are kept while there is none: who asks again leaves another.
const SPACE_WAITERS_MAX: usize = 4 * SUBMISSIONS_CAPACITY;
/// More unsynced bytes than this force a sync, whatever the mode: recovery relies on the bound.
const UNSYNCED_SIZE_MAX: u64 = 1 << 20;
/// So many rounds a blocking caller leads: his own takes one or two; who waits for more than a sync leaves the rest to the commit thread,
/// which lets others have the log token.
const ROUNDS_LED_MAX: usize = 8;
/// An idle mark is written after this long without anything to do.
const IDLE_MARK_AFTER: Duration = Duration::from_millis(20);

/// What the log token guards.
#[derive(Debug)]
pub(crate) struct LogSide {
    /// `None` in memory-only mode and after the close.
    pub(crate) log: Option<Log>,
    /// Goes round: handed over full, comes back empty.
    pub(crate) frame: Frame,
    /// Scratch.
    effects: Vec<Released>,
    was_idle: bool,
    /// The last round saw a schedule that is due.
    schedule_is_due: bool,
    gather: Gather,
    achieved: Durability,
    segment: u32,
    taken: Taken,
    /// `frame` was handed over and found no room on the disk: it is written before anything else.
    unwritten: Option<Handover>,
}

impl LogSide {
    pub(crate) fn new(log: Option<Log>, frame: Frame, achieved: Durability) -> Self {
        Self {
            log,
            frame,
            effects: Vec::new(),
            was_idle: false,
            schedule_is_due: false,
            gather: Gather::new(),
            achieved,
            segment: 0,
            taken: Taken::default(),
            unwritten: None,
        }
    }

    /// Whether a frame waits for room on the disk.
    pub(crate) const fn awaits_room(&self) -> bool {
        self.unwritten.is_some()
    }

    /// Lets effects leave; answers how many enqueues were answered.
    fn let_leave(&mut self) -> usize {
        let mut answered = 0;
        for Released { effect, achieved } in self.effects.drain(..) {
            answered += usize::from(matches!(effect, Effect::Enqueue(..)));
            effect.leave(achieved.min(self.achieved));
        }
        answered
    }
}

/// Jobs taken out of the rings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Taken {
    submissions: u64,
    settlements: u64,
}

/// The store at the end of a frame that is synced, with everything before it.
#[derive(Debug)]
pub(crate) struct Images {
    pub(crate) manager: Image,
    pub(crate) places: PlacesImage,
    pub(crate) at: Lsn,
    pub(crate) now: Now,
}

/// What a round found left to do.
pub(crate) enum Round {
    /// More, at once.
    More,
    /// Nothing for so long, unless somebody asks; `None` is for ever.
    Idle(Option<Duration>),
    /// Nothing before there is more room on the disk, whoever keeps house says so, or so much time has passed.
    Held(Option<Duration>),
}

/// What a shell is set up with.
#[derive(Debug)]
pub(crate) struct ShellSetup {
    pub(crate) desk: Desk,
    pub(crate) log: LogSide,
    pub(crate) identity: Identity,
    pub(crate) payload_size_max: usize,
    pub(crate) needs: Needs,
    pub(crate) signal: Signal,
    pub(crate) maintenance: Signal,
    pub(crate) bulk: Signal,
    /// The housekeeper; `None` in memory-only mode.
    pub(crate) keeper: Option<Keeper>,
    pub(crate) park: Arc<dyn Park>,
    pub(crate) clock: Arc<dyn Clock>,
}

#[derive(Debug)]
pub(crate) struct Shell {
    pub(crate) identity: Identity,
    pub(crate) payload_size_max: usize,
    /// Which fields of payloads are indexed.
    pub(crate) indexes: Indexes,
    /// What an enqueue waits for unless it says otherwise.
    pub(crate) needs: Needs,
    /// Nothing that a round does can block.
    is_memory: bool,
    submissions: Ring<Box<EnqueueJob>>,
    settlements: Ring<Box<SettleJob>>,
    /// What the engine shows of itself.
    pub(crate) sight: Arc<Sight>,
    space: Mutex<Vec<Waker>>,
    log: Mutex<LogSide>,
    desk: Mutex<Desk>,
    signal: Signal,
    pub(crate) maintenance: Signal,
    /// Calls the thread that carries out bulk jobs.
    pub(crate) bulk: Signal,
    /// Who holds it keeps house: the maintenance thread until the close, then the commit thread. Taken before the log token, or tried.
    pub(crate) keeper: Mutex<Option<Keeper>>,
    /// Where others than the engine's threads sleep.
    pub(crate) park: Arc<dyn Park>,
    /// Those who asked for a snapshot.
    pub(super) wishes: Mutex<Vec<SnapshotPromise>>,
    /// For how many submissions the commit thread waits; 0 if it does not.
    gathering: AtomicUsize,
    clock: Arc<dyn Clock>,
    pub(super) scheduler: Mutex<Scheduler>,
    /// Until when (monotonic milliseconds) the commit thread plans to sleep.
    planned: AtomicU64,
    stopped: OnceLock<Stopped>,
    /// Copies of the store that are being made.
    pub(crate) copies: Copies,
    /// The workers of this engine that run.
    pub(crate) roster: Roster,
    /// Those who asked for the close.
    closing: Mutex<Vec<Promise<Result<(), Stopped>>>>,
    /// Counts rounds for those who watch the engine become idle.
    rounds: watch::Sender<u64>,
}

impl Shell {
    pub(crate) fn new(setup: ShellSetup) -> Result<Self, mq_core::ring::RingCapacityError> {
        Ok(Self {
            identity: setup.identity,
            payload_size_max: setup.payload_size_max,
            indexes: Indexes::new(setup.desk.manager.indexes()),
            needs: setup.needs,
            is_memory: setup.log.log.is_none(),
            submissions: Ring::new(SUBMISSIONS_CAPACITY)?,
            settlements: Ring::new(SETTLEMENTS_CAPACITY)?,
            sight: Arc::clone(&setup.desk.sight),
            space: Mutex::new(Vec::new()),
            log: Mutex::new(setup.log),
            desk: Mutex::new(setup.desk),
            signal: setup.signal,
            maintenance: setup.maintenance,
            bulk: setup.bulk,
            keeper: Mutex::new(setup.keeper),
            park: setup.park,
            wishes: Mutex::new(Vec::new()),
            gathering: AtomicUsize::new(0),
            clock: setup.clock,
            scheduler: Mutex::new(Scheduler::default()),
            planned: AtomicU64::new(0),
            stopped: OnceLock::new(),
            copies: Copies::default(),
            roster: Roster::default(),
            closing: Mutex::new(Vec::new()),
            rounds: watch::Sender::new(0),
        })
    }

    /// The environment's clock.
    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Why nothing is served any more, if so.
    pub(crate) fn stopped(&self) -> Option<&Stopped> {
        self.stopped.get()
    }

    // ---- in front of the desk ---------------------------------------------------------------------------------------

    /// Acts at the desk at once and answers when what was decided so far is written or synced.
    pub(crate) fn at_desk<T, A, S>(self: &Arc<Self>, needs: Needs, act: A, stopped: S) -> Pending<T>
    where
        T: Send + 'static,
        A: FnOnce(&mut Desk, &Now) -> T,
        S: FnOnce(Stopped) -> T + Send + 'static,
    {
        self.at_desk_with(needs, act, Promise::keep, stopped)
    }

    /// [`Shell::at_desk`] for an answer that takes work, such as reading: whoever waits for it runs `then`, under no token.
    pub(crate) fn at_desk_then<V, T, A, F, S>(
        self: &Arc<Self>,
        needs: Needs,
        act: A,
        then: F,
        stopped: S,
    ) -> Pending<T>
    where
        V: Send + 'static,
        T: Send + 'static,
        A: FnOnce(&mut Desk, &Now) -> V,
        F: FnOnce(V) -> T + Send + 'static,
        S: FnOnce(Stopped) -> T + Send + 'static,
    {
        let keep = |promise: Promise<T>, value| promise.keep_later(move || then(value));
        self.at_desk_with(needs, act, keep, stopped)
    }

    fn at_desk_with<V, T, A, K, S>(
        self: &Arc<Self>,
        needs: Needs,
        act: A,
        keep: K,
        stopped: S,
    ) -> Pending<T>
    where
        V: Send + 'static,
        T: Send + 'static,
        A: FnOnce(&mut Desk, &Now) -> V,
        K: FnOnce(Promise<T>, V) + Send + 'static,
        S: FnOnce(Stopped) -> T + Send + 'static,
    {
        let _guard = StopOnPanic::new(self);
        let (promise, pending) = Pending::new();
        {
            let mut desk = self.desk.lock();
            let closed = desk.is_closed().then_some(&Stopped::Closed);
            if let Some(reason) = self.stopped.get().or(closed) {
                return Pending::ready(stopped(reason.clone()));
            }
            let now = desk.time.now();
            let value = act(&mut desk, &now);
            let answer = move |stop: Option<&Stopped>| match stop {
                None => keep(promise, value),
                Some(reason) => promise.keep(stopped(reason.clone())),
            };
            desk.push(needs, Effect::Answer(Box::new(answer)));
        }
        // Whoever holds the log token lets it leave: in order, behind what was released before.
        self.call();
        pending.driven_by(Arc::clone(self) as Arc<dyn Drive>)
    }

    /// Acts at the desk and asks for no answer: whether the engine has stopped, or is closed, is the caller's to ask. He says
    /// [`Shell::call`] if he left events, time or permits there.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&mut Desk, &Now) -> T) -> T {
        let _guard = StopOnPanic::new(self);
        let mut desk = self.desk.lock();
        let now = desk.time.now();
        look(&mut desk, &now)
    }

    /// Changes after each round.
    pub(crate) fn watch_rounds(&self) -> watch::Receiver<u64> {
        self.rounds.subscribe()
    }

    /// Takes in what stands in the rings; answers how much.
    fn take_in(&self, desk: &mut Desk, now: &Now) -> Taken {
        let mut taken = Taken::default();
        if desk.is_closed() {
            return taken; // what is still in the rings is refused when the close is done
        }
        desk.take_put_off(now);
        while !desk.is_full() {
            let Some(job) = self.settlements.try_pop() else {
                break;
            };
            taken.settlements += 1;
            desk.settle(now, job);
        }
        for _ in 0..SUBMISSIONS_CAPACITY {
            if desk.is_full() && !desk.refuses_new() {
                break;
            }
            let Some(job) = self.submissions.try_pop() else {
                break;
            };
            taken.submissions += 1;
            desk.enqueue(now, job);
        }
        taken
    }

    /// Wakes those who wait for space in a ring. Not for nothing: they would ask again at once; but not so many that they are a burden.
    fn wake_for_space(&self, taken: Taken) {
        let found_space = {
            let mut space = self.space.lock();
            if taken == Taken::default() && space.len() <= SPACE_WAITERS_MAX {
                return;
            }
            std::mem::take(&mut *space)
        };
        found_space.into_iter().for_each(Waker::wake);
    }

    fn has_work(&self) -> bool {
        !self.settlements.is_empty()
            || !self.submissions.is_empty()
            || self.can_close()
            || self.desk.lock().has_work()
    }

    // ---- rounds: drain, write, release, sync, release -----------------------------------------------------------------

    /// One frame from the rings to the disk. The caller holds the log token.
    pub(crate) fn round(&self, side: &mut LogSide) -> Result<Round, Stopped> {
        let _inside = Inside::enter();
        let guard = StopOnPanic::new(self);
        if !self.write_held(side)? {
            return Ok(Round::Held(None));
        }
        let mut desk = self.desk.lock();
        self.check()?;
        let now = desk.time.now();
        desk.look_for_room();
        let taken = self.take_in(&mut desk, &now);
        side.taken.submissions += taken.submissions;
        side.taken.settlements += taken.settlements;
        desk.serve(&now);
        let fault = desk.fault().map(str::to_owned);
        let handover = if side.log.is_some() {
            desk.hand_over(&now, &mut side.frame)
        } else {
            desk.close_frame(&now)
        };
        if fault.is_none() {
            desk.release(&mut side.effects); // refusals of stale leases, say, rest on frames that are written already
        }
        drop(desk);
        if let Some(reason) = fault {
            let operation = "applying an event".to_owned();
            return Err(Stopped::Poisoned { operation, reason });
        }
        side.let_leave();
        // Not under the desk's lock: waking runs code of the caller's executor, which may come back to the desk. And when nothing is
        // left to be told: that code may panic.
        self.wake_for_space(taken);
        if handover.has_events {
            let events = u32::try_from(handover.len).unwrap_or(u32::MAX);
            self.sight.batch.record_number(events);
            if !self.write(side, handover, &now)? {
                return Ok(Round::Held(None));
            }
        }
        if handover.sync
            || side
                .log
                .as_ref()
                .is_none_or(|log| log.unsynced_bytes() > UNSYNCED_SIZE_MAX)
        {
            self.sync(side, handover.mark)?;
        }
        let round = self.what_is_left(side);
        side.let_leave();
        if self.rounds.receiver_count() > 0 {
            self.rounds.send_modify(|rounds| *rounds += 1);
        }
        drop(guard);
        Ok(round)
    }

    /// Stopped elsewhere (by the maintenance thread, say): then nothing more may leave.
    fn check(&self) -> Result<(), Stopped> {
        self.stopped
            .get()
            .map_or(Ok(()), |reason| Err(reason.clone()))
    }

    /// A round that also copies the state at its frame's end, once that is synced: only pointers are copied. Takes nothing in
    /// and grants nothing, so that it ends under any load. `None` if the log is closed, or the frame finds no room on the disk.
    pub(crate) fn images(&self, side: &mut LogSide) -> Result<Option<Images>, Stopped> {
        let _inside = Inside::enter();
        let guard = StopOnPanic::new(self);
        if !self.write_held(side)? {
            return Ok(None);
        }
        let (handover, now, manager) = {
            let mut desk = self.desk.lock();
            self.check()?;
            let now = desk.time.now();
            let handover = desk.hand_over(&now, &mut side.frame);
            (handover, now, desk.manager.image())
        };
        if handover.has_events && !self.write(side, handover, &now)? {
            return Ok(None);
        }
        let places = self
            .desk
            .lock()
            .paper
            .as_ref()
            .map(|paper| paper.places.image());
        let at = side.log.as_ref().map(Log::written);
        self.sync(side, handover.mark)?;
        drop(guard);
        Ok(places.zip(at).map(|(places, at)| Images {
            manager,
            places,
            at,
            now,
        }))
    }

    fn what_is_left(&self, side: &mut LogSide) -> Round {
        let mut desk = self.desk.lock();
        let now = desk.time.now();
        desk.serve(&now);
        desk.release(&mut side.effects); // an enqueue that waited too long for room is refused without any event
        side.schedule_is_due = desk.schedule_is_due(&now);
        let held = desk.is_held();
        // What is put off stands before what is in the rings: no other round takes that in before there is room.
        let takes_in = !(held && desk.is_full()) || desk.refuses_new();
        let settles = !held && !self.settlements.is_empty();
        if desk.has_work() || settles || (takes_in && !self.submissions.is_empty()) {
            return Round::More;
        }
        let rest = if held {
            desk.held_for(&now)
        } else {
            desk.idle_for(&now)
        };
        let until = rest.map_or(u64::MAX, |rest| now.monotonic.after(rest).as_ms());
        if until < self.planned.load(Relaxed) {
            self.planned.store(until, Relaxed);
            drop(desk);
            self.signal.call(); // it sleeps too long now
        }
        if held {
            return Round::Held(rest);
        }
        Round::Idle(rest)
    }

    fn notice_rotation(&self, side: &mut LogSide, end: Lsn) {
        if side.segment != end.segment() {
            side.segment = end.segment();
            self.maintenance.call();
        }
    }

    /// The log token, for the maintenance thread.
    pub(crate) fn lock_log(&self) -> MutexGuard<'_, LogSide> {
        self.log.lock()
    }
}

impl Drive for Shell {
    /// A blocking caller leads: it commits its own frame if nobody else is about to.
    fn drive(&self, is_done: &dyn Fn() -> bool) {
        let Some(side) = self.log.try_lock() else {
            return self.signal.call();
        };
        let mut rounds = 0..ROUNDS_LED_MAX;
        self.lead(side, || {
            !is_done() && self.stopped.get().is_none() && rounds.next().is_some()
        });
        if !is_done() {
            self.signal.call();
        }
    }
}

pub(crate) fn poisoned(
    JournalError::Poisoned {
        operation,
        file,
        reason,
    }: JournalError,
) -> Stopped {
    Stopped::Poisoned {
        operation: format!("{operation} of {file}"),
        reason,
    }
}
