//! Real threads that run one at a time, in an order that the test decides: each gives the turn back when it parks.
//!
//! Invariants
//! 1. Until [`Puppets::release`], exactly one of the test and its threads runs; a thread runs only inside [`Puppets::run`].
//! 2. A call to a parker is remembered, but starts nobody.
//! 3. A thread can be held in the middle of a call to the disk ([`Puppets::hold_at`]). Who runs another thread meanwhile lets
//!    the held one go on first if it may hold what the other waits for.
//! 4. A thread that does not come back within [`TURN_MAX`] is stuck: that is a verdict and not a wait without end.
//!
//! After [`Puppets::release`] the threads run freely, for an orderly end; their parkers then sleep until called.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use mq::environment::{Park, Parker, Spawn};
use mq_persistence::snapshot::NEXT_NAME;
use mq_testing::sim_disk::IoKind;
use parking_lot::{Condvar, Mutex};

use crate::one_core;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Test,
    Thread(usize),
    Everybody,
}

/// How long one turn of a thread may take on the real clock. A turn is milliseconds; calls to the disk are bounded by
/// whoever makes the disk, so that only a thread that goes round without any, or waits for a lock, comes to this.
pub const TURN_MAX: Duration = Duration::from_secs(60);
/// The thread that commits: it holds the log token at each of its calls to the disk.
const COMMITTER: &str = "mq-commit";

/// A place in a call to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Nothing of it has happened.
    Before(IoKind),
    /// It has happened, and nobody knows.
    Behind(IoKind),
}

#[derive(Debug)]
struct Stage {
    turn: Turn,
    names: Vec<String>,
    finished: Vec<bool>,
    /// The threads whose sleep would end at once.
    called: BTreeSet<usize>,
    /// How long each thread wants to sleep that has gone to sleep; none for ever.
    limits: BTreeMap<usize, Duration>,
    /// Where the next thread is to be held, and how many times that is passed first.
    hold: Option<(Moment, u64)>,
    /// The thread that is held.
    held: Option<usize>,
    /// A thread did not come back.
    stuck: bool,
}

#[derive(Debug)]
struct Theatre {
    stage: Mutex<Stage>,
    changed: Condvar,
}

thread_local! {
    static SELF: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The threads of one engine.
#[derive(Clone)]
pub struct Puppets {
    theatre: Arc<Theatre>,
}

impl Default for Puppets {
    fn default() -> Self {
        Self::new()
    }
}

impl Puppets {
    /// Nobody on the stage. The caller's thread, and all that it starts, stay on one core from now on.
    #[must_use]
    pub fn new() -> Self {
        let stage = Stage {
            turn: Turn::Test,
            names: Vec::new(),
            finished: Vec::new(),
            called: BTreeSet::new(),
            limits: BTreeMap::new(),
            hold: None,
            held: None,
            stuck: false,
        };
        one_core::stay();
        Self {
            theatre: Arc::new(Theatre {
                stage: Mutex::new(stage),
                changed: Condvar::new(),
            }),
        }
    }

    /// Lets the thread of this name run until it parks, is held or ends. Nothing happens if it has ended or never started.
    ///
    /// # Panics
    /// It is stuck.
    pub fn run(&self, name: &str) {
        let mut stage = self.theatre.stage.lock();
        let Some(thread) = stage.names.iter().position(|known| known == name) else {
            return;
        };
        if let Some(held) = stage.held.filter(|held| *held != thread)
            && stage.names.get(held).is_some_and(|name| name == COMMITTER)
        {
            self.theatre.play(&mut stage, held);
        }
        self.theatre.play(&mut stage, thread);
    }

    /// Holds the commit thread when it comes to this moment for the `nth` time from now, counted from 1, or the thread that writes a
    /// snapshot when it comes to it there; `None` holds nobody from now on, and lets whoever is held go on.
    ///
    /// # Panics
    /// Whoever was held is stuck.
    pub fn hold_at(&self, at: Option<(Moment, u64)>) {
        let mut stage = self.theatre.stage.lock();
        stage.hold = at.map(|(moment, nth)| (moment, nth.saturating_sub(1)));
        if let Some(held) = stage.held.filter(|_| at.is_none()) {
            self.theatre.play(&mut stage, held);
        }
    }

    /// Whether a thread is held.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.theatre.stage.lock().held.is_some()
    }

    /// Whether a thread did not come back: nothing may wait for it any more.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.theatre.stage.lock().stuck
    }

    /// A thread comes by a moment of a call that concerns the file `name`.
    pub(crate) fn pass(&self, moment: Moment, name: &str) {
        let Some(thread) = SELF.get() else { return };
        let theatre = &self.theatre;
        let mut stage = theatre.stage.lock();
        let is_committer = stage.names.get(thread).is_some_and(|it| it == COMMITTER);
        if stage.turn != Turn::Thread(thread) || !(is_committer || name == NEXT_NAME) {
            return;
        }
        match &mut stage.hold {
            Some((wanted, 0)) if *wanted == moment => {}
            Some((wanted, nth)) if *wanted == moment => {
                *nth -= 1;
                return;
            }
            Some(_) | None => return,
        }
        stage.hold = None;
        stage.held = Some(thread);
        theatre.give_turn_back(&mut stage, thread);
        theatre.await_turn(&mut stage, thread);
        stage.held = None;
    }

    /// Waits until the sleeping thread of this name is called, from outside the stage; not if it has ended or never started.
    pub fn await_call(&self, name: &str) {
        let mut stage = self.theatre.stage.lock();
        let Some(thread) = stage.names.iter().position(|known| known == name) else {
            return;
        };
        while stage.finished.get(thread) == Some(&false) && !stage.called.contains(&thread) {
            self.theatre.changed.wait(&mut stage);
        }
    }

    /// How long the thread of this name meant to sleep when it last went to sleep: no clock wakes it here.
    #[must_use]
    pub fn sleep_limit(&self, name: &str) -> Option<Duration> {
        let stage = self.theatre.stage.lock();
        let thread = stage.names.iter().position(|known| known == name)?;
        stage.limits.get(&thread).copied()
    }

    /// From now on everybody runs freely.
    pub fn release(&self) {
        self.theatre.stage.lock().turn = Turn::Everybody;
        self.theatre.changed.notify_all();
    }
}

impl Theatre {
    /// Gives a thread the turn until it gives it back.
    #[expect(
        clippy::panic,
        reason = "whoever waits here would wait for ever: the case ends with this text"
    )]
    fn play(&self, stage: &mut parking_lot::MutexGuard<'_, Stage>, thread: usize) {
        if stage.turn != Turn::Test || stage.finished.get(thread) != Some(&false) {
            return;
        }
        stage.turn = Turn::Thread(thread);
        self.changed.notify_all();
        while stage.turn == Turn::Thread(thread) {
            if self.changed.wait_for(stage, TURN_MAX).timed_out() {
                stage.stuck = true;
                let name = stage.names.get(thread).cloned().unwrap_or_default();
                panic!("stuck: the thread {name} has not come back after {TURN_MAX:?}: {stage:?}");
            }
        }
    }

    fn await_turn(&self, stage: &mut parking_lot::MutexGuard<'_, Stage>, thread: usize) {
        while stage.turn != Turn::Thread(thread) && stage.turn != Turn::Everybody {
            self.changed.wait(stage);
        }
    }

    fn give_turn_back(&self, stage: &mut parking_lot::MutexGuard<'_, Stage>, thread: usize) {
        if stage.turn == Turn::Thread(thread) {
            stage.turn = Turn::Test;
        }
        self.changed.notify_all();
    }
}

impl Spawn for Puppets {
    fn spawn(&self, name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
        let thread = {
            let mut stage = self.theatre.stage.lock();
            stage.names.push(name.to_owned());
            stage.finished.push(false);
            stage.names.len() - 1
        };
        let theatre = Arc::clone(&self.theatre);
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                SELF.set(Some(thread));
                theatre.await_turn(&mut theatre.stage.lock(), thread);
                let ending = Ending {
                    theatre: &theatre,
                    thread,
                };
                work();
                drop(ending);
            })
    }
}

/// Gives the turn back even if the thread panics.
struct Ending<'a> {
    theatre: &'a Theatre,
    thread: usize,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let mut stage = self.theatre.stage.lock();
        if let Some(finished) = stage.finished.get_mut(self.thread) {
            *finished = true;
        }
        self.theatre.give_turn_back(&mut stage, self.thread);
    }
}

impl Park for Puppets {
    fn parker(&self) -> Arc<dyn Parker> {
        Arc::new(PuppetParker {
            theatre: Arc::clone(&self.theatre),
            sleeper: Mutex::new(None),
            called: Mutex::new(false),
        })
    }
}

#[derive(Debug)]
struct PuppetParker {
    theatre: Arc<Theatre>,
    sleeper: Mutex<Option<usize>>,
    called: Mutex<bool>,
}

impl Parker for PuppetParker {
    fn park(&self, limit: Option<Duration>) {
        let Some(thread) = SELF.get() else { return };
        let mut stage = self.theatre.stage.lock();
        stage.limits.remove(&thread);
        stage.limits.extend(limit.map(|limit| (thread, limit)));
        *self.sleeper.lock() = Some(thread);
        if stage.turn == Turn::Everybody {
            while !*self.called.lock() {
                self.theatre.changed.wait(&mut stage);
            }
        } else {
            self.theatre.give_turn_back(&mut stage, thread);
            self.theatre.await_turn(&mut stage, thread);
        }
        *self.called.lock() = false;
        stage.called.remove(&thread);
    }

    fn unpark(&self) {
        *self.called.lock() = true;
        let mut stage = self.theatre.stage.lock();
        let sleeper = *self.sleeper.lock();
        stage.called.extend(sleeper);
        self.theatre.changed.notify_all();
        drop(stage);
    }
}

impl fmt::Debug for Puppets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Puppets")
            .field("stage", &*self.theatre.stage.lock())
            .finish()
    }
}
