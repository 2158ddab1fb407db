//! Whether the simulated process lives: when it dies, its handlers stop where they are.
//!
//! Invariant: after [`Lifeline::cut`] no handler is polled any more, so that nothing outside is touched by a process that
//! is gone.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};

use parking_lot::Mutex;

use super::world::World;

/// The process died while this ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone;

/// One life of the simulated process.
#[derive(Debug)]
pub(super) struct Lifeline {
    world: Arc<World>,
    is_cut: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
}

impl Lifeline {
    pub(super) fn new(world: &Arc<World>) -> Arc<Self> {
        Arc::new(Self {
            world: Arc::clone(world),
            is_cut: AtomicBool::new(false),
            waiting: Mutex::default(),
        })
    }

    /// The process dies.
    pub(super) fn cut(&self) {
        self.is_cut.store(true, Ordering::Release);
        let waiting = std::mem::take(&mut *self.waiting.lock());
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Whether the process died.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Acquire)
    }

    /// Whether a handler may do its next step.
    fn goes_on(&self) -> bool {
        if !self.is_cut() && self.world.plan.dies_at_step() {
            self.world.tell("the process dies in a handler");
            self.cut();
        }
        !self.is_cut()
    }

    /// Runs `work` until it ends or the process dies, whichever is first.
    pub(super) async fn while_alive<T>(&self, work: impl Future<Output = T>) -> Result<T, Gone> {
        let mut work = pin!(work);
        poll_fn(|context| {
            if !self.goes_on() {
                return Poll::Ready(Err(Gone));
            }
            let polled = work.as_mut().poll(context);
            if self.is_cut() {
                return Poll::Ready(Err(Gone)); // it died in the middle of this step
            }
            if polled.is_pending() {
                self.waiting.lock().push(context.waker().clone());
            }
            polled.map(Ok)
        })
        .await
    }
}
