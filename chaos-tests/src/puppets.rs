//! Real threads that run one at a time, in an order that the test decides: each gives the turn back when it parks.
//!
//! Invariants
//! 1. Until [`Puppets::release`], exactly one of the test and its threads runs; a thread runs only inside [`Puppets::run`].
//! 2. A call to a parker is remembered, but starts nobody.
//!
//! After [`Puppets::release`] the threads run freely, for an orderly end; their parkers then sleep until called.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use mq::environment::{Park, Parker, Spawn};
use parking_lot::{Condvar, Mutex};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Test,
    Thread(usize),
    Everybody,
}

#[derive(Debug)]
struct Stage {
    turn: Turn,
    names: Vec<String>,
    finished: Vec<bool>,
    /// The threads whose sleep would end at once.
    called: BTreeSet<usize>,
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
    /// Nobody on the stage.
    #[must_use]
    pub fn new() -> Self {
        let stage = Stage {
            turn: Turn::Test,
            names: Vec::new(),
            finished: Vec::new(),
            called: BTreeSet::new(),
        };
        Self {
            theatre: Arc::new(Theatre {
                stage: Mutex::new(stage),
                changed: Condvar::new(),
            }),
        }
    }

    /// Lets the thread of this name run until it parks or ends. Nothing happens if it has ended or never started.
    pub fn run(&self, name: &str) {
        let mut stage = self.theatre.stage.lock();
        let Some(thread) = stage.names.iter().position(|known| known == name) else {
            return;
        };
        if stage.turn != Turn::Test || stage.finished.get(thread) != Some(&false) {
            return;
        }
        stage.turn = Turn::Thread(thread);
        self.theatre.changed.notify_all();
        while stage.turn == Turn::Thread(thread) {
            self.theatre.changed.wait(&mut stage);
        }
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

    /// From now on everybody runs freely.
    pub fn release(&self) {
        self.theatre.stage.lock().turn = Turn::Everybody;
        self.theatre.changed.notify_all();
    }
}

impl Theatre {
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
    fn park(&self, _limit: Option<Duration>) {
        let Some(thread) = SELF.get() else { return };
        let mut stage = self.theatre.stage.lock();
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
