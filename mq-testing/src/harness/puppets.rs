//! The engine's threads as puppets: real threads of which at most one runs at any moment, and only when told.
//!
//! Invariants
//! 1. Until [`Puppets::release`], a thread runs only inside [`Puppets::run_due`], and gives the turn back when it parks or
//!    ends. So what they do is decided by who calls what, and not by the operating system.
//! 2. A call to a parker is remembered, but starts nobody.
//! 3. On a slow disk a thread begins what it was called for, or what its time has come for, only after the disk's latency: so
//!    each round of writing takes that long, and what arrives meanwhile shares the round.
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
use tokio::sync::Notify;

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
    /// Since when it is called, on the simulated monotonic clock.
    called: Option<Duration>,
    /// When it wants to be woken.
    due: Option<Duration>,
}

impl Place {
    /// When what it was called for begins.
    fn called_start(&self, latency: Duration) -> Option<Duration> {
        self.called.map(|since| since.saturating_add(latency))
    }

    /// When its next turn begins.
    fn start(&self, latency: Duration) -> Option<Duration> {
        let due = self.due.map(|due| due.saturating_add(latency));
        due.into_iter().chain(self.called_start(latency)).min()
    }
}

#[derive(Debug)]
struct Stage {
    turn: Turn,
    actors: Vec<Actor>,
    places: Vec<Place>,
    /// How long the disk takes.
    latency: Duration,
}

struct Theatre {
    stage: Mutex<Stage>,
    changed: Condvar,
    /// Somebody was called who has to wait for the disk.
    called: Notify,
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
            latency: Duration::ZERO,
        };
        Self {
            theatre: Arc::new(Theatre {
                stage: Mutex::new(stage),
                changed: Condvar::new(),
                called: Notify::new(),
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

    /// When the first thread has its next turn. Nobody waits for the time limits of housekeeping.
    pub(super) fn next_start(&self) -> Option<Duration> {
        let stage = self.theatre.stage.lock();
        let starts = stage.sleepers().filter_map(|(actor, place)| {
            if actor.name == HOUSEKEEPER {
                place.called_start(stage.latency)
            } else {
                place.start(stage.latency)
            }
        });
        starts.min()
    }

    /// When the first thread that was called and waits for the disk has its turn.
    pub(super) fn next_called_start(&self) -> Option<Duration> {
        let now = self.theatre.clock.monotonic();
        let stage = self.theatre.stage.lock();
        let starts = stage.sleepers();
        let starts = starts.filter_map(|(_, place)| place.called_start(stage.latency));
        starts.filter(|start| *start > now).min()
    }

    /// Waits until a thread is called that has to wait for the disk.
    pub(super) async fn next_call(&self) {
        self.theatre.called.notified().await;
    }

    /// How long the disk takes from now on.
    pub(super) fn set_latency(&self, latency: Duration) {
        self.theatre.stage.lock().latency = latency;
        self.theatre.called.notify_one();
    }

    /// Calls every thread: the clock was moved under them.
    pub(super) fn call_all(&self) {
        let now = self.theatre.clock.monotonic();
        let mut stage = self.theatre.stage.lock();
        for place in &mut stage.places {
            place.called.get_or_insert(now);
        }
        drop(stage);
        self.theatre.called.notify_one();
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
            let start = |place: &Place| place.start(self.latency);
            !actor.ended && place.is_none_or(|place| start(place).is_some_and(|at| at <= now))
        })
    }

    /// The threads that sleep, and where.
    fn sleepers(&self) -> impl Iterator<Item = (&Actor, &Place)> {
        let actors = self.actors.iter().filter(|actor| !actor.ended);
        actors.filter_map(|actor| Some((actor, self.places.get(actor.place?)?)))
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
        place.is_none_or(|place| place.called.is_some())
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
        let now = self.theatre.clock.monotonic();
        let mut stage = self.theatre.stage.lock();
        if let Some(place) = stage.places.get_mut(self.place) {
            place.called.get_or_insert(now);
        }
        drop(stage);
        self.theatre.changed.notify_all();
        self.theatre.called.notify_one();
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
