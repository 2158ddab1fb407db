//! The engine's shell as a model checker can try it: the real ring and the real signal, and around them who takes which token, who
//! calls whom and how it stops, in the order in which `src/engine/shell.rs` of the facade does it.
//!
//! A lost wake-up shows as threads that wait for ever, which both checkers report. Time may pass at any moment: a sleep with a limit
//! ends at once here.

#[cfg(loom)]
use loom::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, fence},
    },
    thread,
};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::time::Duration;

use mq_core::ring::Ring;
use mq_core::signal::{Parker, Signal};
#[cfg(shuttle)]
use shuttle::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, fence},
    },
    thread,
};

/// Where a thread sleeps.
#[derive(Debug)]
struct Place {
    called: Mutex<bool>,
    bell: Condvar,
}

impl Place {
    fn new() -> Self {
        Self {
            called: Mutex::new(false),
            bell: Condvar::new(),
        }
    }
}

impl Parker for Place {
    fn park(&self, limit: Option<Duration>) {
        let mut called = self.called.lock().unwrap();
        if !*called && limit.is_none() {
            called = self.bell.wait(called).unwrap();
        }
        *called = false;
    }

    fn unpark(&self) {
        *self.called.lock().unwrap() = true;
        self.bell.notify_one();
    }
}

/// The answer that a caller waits for: whether its work was done or refused.
struct Answer {
    given: Mutex<Option<bool>>,
    bell: Condvar,
}

impl Answer {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            given: Mutex::new(None),
            bell: Condvar::new(),
        })
    }

    fn give(&self, is_done: bool) {
        let before = self.given.lock().unwrap().replace(is_done);
        assert_eq!(before, None, "answered twice");
        self.bell.notify_all();
    }

    fn is_given(&self) -> bool {
        self.given.lock().unwrap().is_some()
    }

    fn wait(&self) -> bool {
        let mut given = self.given.lock().unwrap();
        loop {
            if let Some(is_done) = *given {
                return is_done;
            }
            given = self.bell.wait(given).unwrap();
        }
    }
}

/// The shell: a ring, the log token, the signal of the commit thread, and whether it stopped.
pub(crate) struct Shell {
    submissions: Ring<Arc<Answer>>,
    log: Mutex<()>,
    signal: Signal,
    gathering: AtomicUsize,
    closing: AtomicBool,
    stopped: AtomicBool,
}

impl Shell {
    pub(crate) fn new() -> Arc<Self> {
        // The place lives behind std's `Arc`, which the signal asks for; nothing is decided by its count.
        Arc::new(Self {
            submissions: Ring::new(4).unwrap(),
            log: Mutex::new(()),
            signal: Signal::new(std::sync::Arc::new(Place::new())),
            gathering: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        })
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Acquire)
    }

    /// `poll_submit` and `call_for_submission`.
    fn submit(&self, answer: &Arc<Answer>) {
        assert!(self.submissions.try_push(Arc::clone(answer)).is_ok());
        self.refuse_if_stopped();
        fence(SeqCst);
        let wanted = self.gathering.load(Relaxed);
        if wanted == 0 || self.submissions.len() >= wanted {
            self.signal.call();
        }
    }

    /// An async caller: submits and waits; answers whether its work was done.
    pub(crate) fn send(&self) -> bool {
        let answer = Answer::new();
        self.submit(&answer);
        answer.wait()
    }

    /// A blocking caller: `drive`, before it waits.
    pub(crate) fn send_and_lead(&self) -> bool {
        let answer = Answer::new();
        self.submit(&answer);
        self.drive(&answer);
        answer.wait()
    }

    fn drive(&self, answer: &Answer) {
        let Ok(side) = self.log.try_lock() else {
            return self.signal.call();
        };
        while !answer.is_given() && !self.is_stopped() {
            if !self.round() {
                break;
            }
        }
        drop(side);
        if !answer.is_given() || self.has_work() {
            self.signal.call();
        }
    }

    fn has_work(&self) -> bool {
        !self.submissions.is_empty() || self.closing.load(Relaxed)
    }

    /// Answers whether there is more: also while a producer is in the middle of its push, who must get on then.
    fn round(&self) -> bool {
        while let Some(answer) = self.submissions.try_pop() {
            answer.give(true);
        }
        let is_more = !self.submissions.is_empty();
        if is_more {
            thread::yield_now();
        }
        is_more
    }

    /// The commit thread; waits for more submissions first if `gathers`.
    pub(crate) fn run(&self, gathers: bool) {
        loop {
            {
                let _side = self.log.lock().unwrap();
                if gathers {
                    self.gather();
                }
                while self.round() {}
                if self.closing.load(Relaxed) {
                    return self.stop();
                }
            }
            self.signal
                .sleep(None, || self.has_work() || self.is_stopped());
            if self.is_stopped() {
                return;
            }
        }
    }

    fn gather(&self) {
        let wanted = self.submissions.len() + 2;
        let arrived = || self.submissions.len() >= wanted;
        if !arrived() {
            self.gathering.store(wanted, Relaxed);
            self.signal.forget();
            self.signal.sleep(Some(Duration::ZERO), arrived);
            self.gathering.store(0, Relaxed);
        }
    }

    /// Asks the commit thread to close.
    pub(crate) fn close(&self) {
        self.closing.store(true, Relaxed);
        self.signal.call();
    }

    /// Stops for good: nothing that is in the ring may wait for ever.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Release);
        self.refuse_if_stopped();
        self.signal.call();
    }

    fn refuse_if_stopped(&self) {
        fence(SeqCst);
        if self.is_stopped() {
            while let Some(answer) = self.submissions.try_pop() {
                answer.give(false);
            }
        }
    }
}

/// Callers beside a commit thread, then the close: everybody is answered, and what is sent before the close is done.
pub(crate) fn everybody_is_answered(leading: usize, awaiting: usize, gathers: bool) {
    let shell = Shell::new();
    let commits = {
        let shell = Arc::clone(&shell);
        thread::spawn(move || shell.run(gathers))
    };
    let callers: Vec<_> = (0..leading + awaiting)
        .map(|caller| {
            let shell = Arc::clone(&shell);
            thread::spawn(move || {
                if caller < leading {
                    shell.send_and_lead()
                } else {
                    shell.send()
                }
            })
        })
        .collect();
    for caller in callers {
        assert!(caller.join().unwrap(), "refused before the close");
    }
    shell.close();
    commits.join().unwrap();
}

/// Callers while the engine stops: each is answered, one way or the other.
pub(crate) fn nobody_waits_for_an_engine_that_stops(callers: usize) {
    let shell = Shell::new();
    let commits = {
        let shell = Arc::clone(&shell);
        thread::spawn(move || shell.run(false))
    };
    let callers: Vec<_> = (0..callers)
        .map(|caller| {
            let shell = Arc::clone(&shell);
            thread::spawn(move || {
                if caller == 0 {
                    shell.send_and_lead()
                } else {
                    shell.send()
                }
            })
        })
        .collect();
    shell.stop();
    for caller in callers {
        caller.join().unwrap();
    }
    commits.join().unwrap();
}
