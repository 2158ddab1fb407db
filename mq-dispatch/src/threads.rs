//! Threads for blocking handlers: as many as run at once, started when needed, ended by scaling down.
//!
//! They are not the runtime's blocking threads, which a program shares with its file system and name look-ups: a slow
//! handler must not stop those, nor they it. Invariant: at most one task per thread, and a task never waits while a
//! thread may still be started.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::attempt::End;
use crate::fail::Fail;

/// How long a message waits whose thread could not be started.
const NO_THREAD_SNOOZE: Duration = Duration::from_secs(10);

/// An attempt and its work.
pub(crate) trait Task: Send {
    /// Does it, on a thread.
    fn run(self: Box<Self>);

    /// Ends it like this, without a thread.
    fn refuse(self: Box<Self>, end: End);
}

struct State {
    tasks: VecDeque<Box<dyn Task>>,
    threads: u32,
    idle: u32,
    limit: u32,
    next_number: u64,
}

pub(crate) struct Threads {
    name: String,
    state: Mutex<State>,
    changed: Condvar,
}

impl Threads {
    pub(crate) fn new(name: &str) -> Arc<Self> {
        let state = State {
            tasks: VecDeque::new(),
            threads: 0,
            idle: 0,
            limit: 0,
            next_number: 1,
        };
        Arc::new(Self {
            name: name.to_owned(),
            state: Mutex::new(state),
            changed: Condvar::new(),
        })
    }

    /// Keeps so many threads at most; those above it end as soon as they are idle.
    pub(crate) fn scale(&self, limit: u32) {
        self.state.lock().limit = limit;
        self.changed.notify_all();
    }

    /// Runs a task on an idle thread or a new one.
    pub(crate) fn start(self: &Arc<Self>, task: Box<dyn Task>) {
        let mut state = self.state.lock();
        state.tasks.push_back(task);
        let idle = usize::try_from(state.idle).unwrap_or(usize::MAX);
        if idle >= state.tasks.len() {
            drop(state);
            self.changed.notify_one();
            return;
        }
        state.threads += 1;
        let number = state.next_number;
        state.next_number += 1;
        drop(state);
        let threads = Arc::clone(self);
        let named = std::thread::Builder::new().name(format!("mq {} {number}", self.name));
        if let Err(error) = named.spawn(move || threads.work()) {
            self.no_thread(&error);
        }
    }

    /// The system has no more threads. Whoever is idle next takes the task; if there is nobody, it comes back later, and
    /// so does every other that waits: its own start may have relied on this thread.
    fn no_thread(&self, error: &std::io::Error) {
        tracing::warn!(%error, pool = %self.name, "cannot start a thread for a blocking handler");
        let mut state = self.state.lock();
        state.threads -= 1;
        let tasks = if state.threads == 0 {
            std::mem::take(&mut state.tasks)
        } else {
            VecDeque::new()
        };
        drop(state);
        for task in tasks {
            task.refuse(End::Failed(Fail::snooze(NO_THREAD_SNOOZE)));
        }
    }

    fn work(&self) {
        while let Some(task) = self.next() {
            task.run();
        }
    }

    /// The next task; `None` when this thread is one too many.
    fn next(&self) -> Option<Box<dyn Task>> {
        let mut state = self.state.lock();
        loop {
            if let Some(task) = state.tasks.pop_front() {
                return Some(task);
            }
            if state.threads > state.limit {
                state.threads -= 1;
                return None;
            }
            state.idle += 1;
            self.changed.wait(&mut state);
            state.idle -= 1;
        }
    }
}

#[cfg(test)]
mod tests;
