//! Copies of the store that are being made: whoever lets the store go waits for them first, because another process may
//! recycle what they read.
//!
//! Invariants: a copy is entered before it looks at the store and leaves when it is done with its target; once the engine has
//! stopped, each is called, and none waits for its rate any more. Threads that were started for copies are joined.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::{Condvar, Mutex};

use crate::environment::Parker;

/// See the head of this file.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    state: Mutex<State>,
    left: Condvar,
}

#[derive(Debug, Default)]
struct State {
    entered: u64,
    running: Vec<(u64, Arc<dyn Parker>)>,
    threads: Vec<JoinHandle<()>>,
}

/// A copy that is being made.
#[derive(Debug)]
pub(crate) struct Copying<'a> {
    copies: &'a Copies,
    number: u64,
}

impl Copies {
    /// A copy begins; `parker` is where it waits.
    pub(crate) fn enter(&self, parker: Arc<dyn Parker>) -> Copying<'_> {
        let mut state = self.state.lock();
        state.entered += 1;
        let number = state.entered;
        state.running.push((number, parker));
        Copying {
            copies: self,
            number,
        }
    }

    /// A thread was started for a copy.
    pub(crate) fn keep(&self, thread: JoinHandle<()>) {
        let mut state = self.state.lock();
        let (over, running) = std::mem::take(&mut state.threads)
            .into_iter()
            .partition(JoinHandle::is_finished);
        state.threads = running;
        state.threads.push(thread);
        drop(state);
        join(over);
    }

    /// Calls them: they look whether the engine has stopped.
    pub(crate) fn call(&self) {
        let state = self.state.lock();
        state.running.iter().for_each(|(_, parker)| parker.unpark());
    }

    /// Waits until none is made any more.
    pub(crate) fn end(&self) {
        let threads = {
            let mut state = self.state.lock();
            while !state.running.is_empty() {
                self.left.wait(&mut state);
            }
            std::mem::take(&mut state.threads)
        };
        join(threads);
    }
}

fn join(threads: Vec<JoinHandle<()>>) {
    let here = thread::current().id();
    for thread in threads {
        // A closure that is told how far a copy is may drop the last handle of the engine, on the thread that copies.
        if thread.thread().id() != here && thread.join().is_err() {
            tracing::error!("a thread that made a copy panicked");
        }
    }
}

impl Drop for Copying<'_> {
    fn drop(&mut self) {
        let mut state = self.copies.state.lock();
        state.running.retain(|(number, _)| *number != self.number);
        self.copies.left.notify_all();
    }
}
