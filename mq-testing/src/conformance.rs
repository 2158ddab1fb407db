//! What every backend must do: the rules of [`mq_core::backend`] as checks that any implementor can be put through.
//!
//! Each check has the name of what it promises, opens a store of its own through a [`Subject`], and fails by panicking.
//! No check sleeps or reads a real clock: time is moved through [`Store::advance`], and [`Store::settle_down`] returns
//! once everything that follows from the calls so far has happened.

mod cancelling;
mod enqueueing;
mod fencing;
mod handing_out;
mod keys;
mod operating;
mod racing;
mod room;
mod settling;
mod surviving;
mod versions;
mod waking;
mod worker;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mq_core::backend::Backend;
use mq_core::time::Timestamp;

/// What a check wants of the store it opens.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Live messages the store takes; at least 64.
    pub capacity_messages: u64,
    /// Bytes of dead letters after which the queues that have some take no more messages; at least 1 MiB.
    pub dead_bytes: u64,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            capacity_messages: 100_000,
            dead_bytes: 1 << 20,
        }
    }
}

/// A backend that can be tested: opens stores.
pub trait Subject {
    /// Opens a new, empty store with a clock that only [`Store::advance`] and [`Store::set_wall`] move.
    fn open(&self, setup: &Setup) -> Box<dyn Store>;
}

/// A store under test.
pub trait Store: fmt::Debug {
    /// The backend; another one after the store was opened again.
    fn backend(&self) -> Arc<dyn Backend>;

    /// Moves all clocks forward and does what has become due.
    fn advance(&self, by: Duration);

    /// What the wall clock shows.
    fn wall(&self) -> Timestamp;

    /// Sets the wall clock alone.
    fn set_wall(&self, wall: Timestamp);

    /// Returns when everything that follows from the calls so far is durable and has arrived: without another call or
    /// another move of the clock nothing more will happen.
    fn settle_down(&self);

    /// Closes the store in order and opens it again.
    fn reopen(&mut self);

    /// Opens the store again as if its process had been killed.
    fn crash(&mut self);
}

/// A promise of a backend: its name, and the check that fails if it is broken.
pub type Check = (&'static str, fn(&dyn Subject));

/// All checks: `for (name, check) in conformance::all() { check(&subject) }`.
#[must_use]
pub fn all() -> Vec<Check> {
    [
        enqueueing::CHECKS,
        handing_out::CHECKS,
        waking::CHECKS,
        settling::CHECKS,
        fencing::CHECKS,
        keys::CHECKS,
        room::CHECKS,
        cancelling::CHECKS,
        operating::CHECKS,
        racing::CHECKS,
        versions::CHECKS,
        surviving::CHECKS,
    ]
    .concat()
}

/// The checks of a file: each function under its own name.
macro_rules! checks {
    ($($check:ident),* $(,)?) => {
        pub(super) const CHECKS: &[super::Check] = &[$((stringify!($check), $check)),*];
    };
}
use checks;
