//! The engine's threads as puppets: real threads of which at most one runs at any moment, and only when told.
//!
//! Invariants
//! 1. Until [`Puppets::release`], a thread runs only inside [`Puppets::run_due`], and gives the turn back when it parks or
//!    ends. So what they do is decided by who calls what, and not by the operating system.
//! 2. A call to a parker is remembered, but starts nobody.
//!
//! After [`Puppets::release`] the threads run freely, for the end of a life; their parkers then sleep until called.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use mq::environment::{Park, Parker, Spawn};
use mq_core::time::Clock;
use parking_lot::{Condvar, Mutex, MutexGuard};

/// The thread whose time limits nobody waits for: it looks after the store, and it does so whenever something happens.
const HOUSEKEEPER: &str = "mq-maintain";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Director,
    Thread(usize),
    Everybody,
}

#[derive(Debug)]
struct Actor {
    name: String,
    ended: bool,
    /// The place it sleeps in; none before its first sleep.
    place: Option<usize>,
}

/// Where one thread sleeps.
#[derive(Debug, Default)]
struct Place {
    called: bool,
    /// When it wants to be woken, on the simulated monotonic clock.
    due: Option<Duration>,
}

#[derive(Debug)]
struct Stage {
    turn: Turn,
    actors: Vec<Actor>,
    places: Vec<Place>,
}

struct Theatre {
    stage: Mutex<Stage>,
    changed: Condvar,
    clock: Arc<dyn Clock>,
}

thread_local! {
    static SELF: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The threads of one engine.
#[derive(Clone)]
pub(super) struct Puppets {
    theatre: Arc<Theatre>,
}

impl Puppets {
    /// Nobody on the stage.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let stage = Stage {
            turn: Turn::Director,
            actors: Vec::new(),
            places: Vec::new(),
        };
        Self {
            theatre: Arc::new(Theatre {
                stage: Mutex::new(stage),
                changed: Condvar::new(),
                clock,
            }),
        }
    }

    /// Lets the first thread that was called, or whose time has come, run until it parks or ends; `false` if there is none.
    pub(super) fn run_due(&self) -> bool {
        let now = self.theatre.clock.monotonic();
        let mut stage = self.theatre.stage.lock();
        let Some(thread) = stage
            .first_due(now)
            .filter(|_| stage.turn == Turn::Director)
        else {
            return false;
        };
        stage.turn = Turn::Thread(thread);
        self.theatre.changed.notify_all();
        while stage.turn == Turn::Thread(thread) {
            self.theatre.changed.wait(&mut stage);
        }
        true
    }

    /// When the first thread wants to be woken, housekeeping apart.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let stage = self.theatre.stage.lock();
        let actors = stage.actors.iter();
        let awaited = actors.filter(|actor| !actor.ended && actor.name != HOUSEKEEPER);
        awaited
            .filter_map(|actor| stage.places.get(actor.place?)?.due)
            .min()
    }

    /// Calls every thread: the clock was moved under them.
    pub(super) fn call_all(&self) {
        let mut stage = self.theatre.stage.lock();
        for place in &mut stage.places {
            place.called = true;
        }
    }

    /// From now on everybody runs freely.
    pub(super) fn release(&self) {
        self.theatre.stage.lock().turn = Turn::Everybody;
        self.theatre.changed.notify_all();
    }
}

impl Stage {
    fn first_due(&self, now: Duration) -> Option<usize> {
        self.actors.iter().position(|actor| {
            let place = actor.place.and_then(|place| self.places.get(place));
            let is_due =
                place.is_none_or(|place| place.called || place.due.is_some_and(|due| due <= now));
            !actor.ended && is_due
        })
    }
}

impl Theatre {
    fn await_turn(&self, stage: &mut MutexGuard<'_, Stage>, thread: usize) {
        while stage.turn != Turn::Thread(thread) && stage.turn != Turn::Everybody {
            self.changed.wait(stage);
        }
    }

    fn give_turn_back(&self, stage: &mut MutexGuard<'_, Stage>, thread: usize) {
        if stage.turn == Turn::Thread(thread) {
            stage.turn = Turn::Director;
        }
        self.changed.notify_all();
    }
}

impl Spawn for Puppets {
    fn spawn(&self, name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
        let thread = {
            let mut stage = self.theatre.stage.lock();
            stage.actors.push(Actor {
                name: name.to_owned(),
                ended: false,
                place: None,
            });
            stage.actors.len() - 1
        };
        let theatre = Arc::clone(&self.theatre);
        let named = std::thread::Builder::new().name(name.to_owned());
        named.spawn(move || {
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
        if let Some(actor) = stage.actors.get_mut(self.thread) {
            actor.ended = true;
        }
        self.theatre.give_turn_back(&mut stage, self.thread);
    }
}

impl Park for Puppets {
    fn parker(&self) -> Arc<dyn Parker> {
        let mut stage = self.theatre.stage.lock();
        stage.places.push(Place::default());
        Arc::new(PuppetParker {
            theatre: Arc::clone(&self.theatre),
            place: stage.places.len() - 1,
        })
    }
}

struct PuppetParker {
    theatre: Arc<Theatre>,
    place: usize,
}

impl PuppetParker {
    fn is_called(&self, stage: &Stage) -> bool {
        let place = stage.places.get(self.place);
        place.is_none_or(|place| place.called)
    }
}

impl Parker for PuppetParker {
    fn park(&self, limit: Option<Duration>) {
        let Some(thread) = SELF.get() else { return };
        let due = limit.map(|limit| self.theatre.clock.monotonic().saturating_add(limit));
        let mut stage = self.theatre.stage.lock();
        if let Some(actor) = stage.actors.get_mut(thread) {
            actor.place = Some(self.place);
        }
        if let Some(place) = stage.places.get_mut(self.place) {
            place.due = due;
        }
        if stage.turn != Turn::Everybody {
            self.theatre.give_turn_back(&mut stage, thread);
            self.theatre.await_turn(&mut stage, thread);
        }
        // Released, perhaps just now: a remembered call ends the sleep, another one is sure to come with the end.
        while stage.turn == Turn::Everybody && !self.is_called(&stage) {
            self.theatre.changed.wait(&mut stage);
        }
        if let Some(place) = stage.places.get_mut(self.place) {
            *place = Place::default();
        }
    }

    fn unpark(&self) {
        let mut stage = self.theatre.stage.lock();
        if let Some(place) = stage.places.get_mut(self.place) {
            place.called = true;
        }
        drop(stage);
        self.theatre.changed.notify_all();
    }
}

impl fmt::Debug for Puppets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Puppets")
            .field("stage", &*self.theatre.stage.lock())
            .finish()
    }
}

impl fmt::Debug for PuppetParker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PuppetParker")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}
