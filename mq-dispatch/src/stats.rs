//! What is counted of each pool, and what readers see of it. Counting never waits.
//!
//! All counters are `Relaxed`: each is a number of its own, and nothing is concluded from one about another.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mq_core::histogram::{Distribution, Histogram, Percentiles};
use mq_core::id::LeaseToken;
use mq_core::name::{KindName, QueueName};
use mq_core::state::Outcome;

use crate::cancel::CancelReason;
use crate::lease::Progress;

/// What kind of end it was, beyond its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// As the handler said.
    Plain,
    /// The handler panicked.
    Panicked,
    /// Its time limit had passed.
    TimedOut,
    /// The payload could not be decoded.
    Undecodable,
    /// A newer program wrote the payload.
    Newer,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The live counters of a pool.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: AtomicU64,)*
            /// From due to started.
            pub(crate) wait: Histogram,
            /// From started to ended.
            pub(crate) run: Histogram,
            /// Which attempt it was, of those that ended the message.
            pub(crate) attempts: Histogram,
        }

        /// Attempts of one pool since its start, by how they ended.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Totals {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            pub(crate) fn totals(&self) -> Totals {
                Totals { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Handlers started.
    started,
    /// Succeeded.
    succeeded,
    /// Failed; panics and passed time limits included.
    failed,
    /// Of the failed ones: panicked.
    panicked,
    /// Of the failed ones: ran past their time limit.
    timed_out,
    /// Asked to be called later.
    snoozed,
    /// Of the snoozed ones: written by a newer program.
    newer,
    /// Had nothing to do.
    discarded,
    /// Given up by their handler, or undecodable.
    dead_lettered,
    /// Of the dead-lettered ones: could not be decoded.
    undecodable,
    /// Interrupted by a stop.
    interrupted,
    /// Cancelled while running.
    cancelled,
    /// Answered too late: their lease was lost, and what they answered was not taken.
    refused,
    /// Ended in a way the store refused (a staged message, a result); failed instead.
    unsettleable,
    /// Granted, but given back without having started.
    given_back,
}

pub(crate) fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

impl Counters {
    /// Counts an attempt whose settlement the store has taken.
    pub(crate) fn settled(&self, outcome: Outcome, class: Class) {
        let counter = match outcome {
            Outcome::Succeeded => &self.succeeded,
            Outcome::Failed => &self.failed,
            Outcome::Snoozed => &self.snoozed,
            Outcome::Interrupted => &self.interrupted,
            Outcome::Cancelled => &self.cancelled,
            Outcome::Discarded => &self.discarded,
            Outcome::DeadLettered => &self.dead_lettered,
            // A lease that expired or a crash is never settled from here.
            Outcome::LeaseExpired | Outcome::Crashed => &self.refused,
        };
        add(counter, 1);
        match class {
            Class::Plain => {}
            Class::Panicked => add(&self.panicked, 1),
            Class::TimedOut => add(&self.timed_out, 1),
            Class::Undecodable => add(&self.undecodable, 1),
            Class::Newer => add(&self.newer, 1),
        }
    }
}

/// One pool, as readers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolStats {
    /// The kind it serves.
    pub kind: String,
    /// How many may run at once now.
    pub limit: u32,
    /// How many run now, stuck ones included.
    pub running: usize,
    /// How many of them go on though their lease was taken away.
    pub stuck: usize,
    /// Takes nothing new for now.
    pub paused: bool,
    /// It was not a user who paused it, but a row of messages that could not be decoded.
    pub undecodable: bool,
    /// Since the start.
    pub totals: Totals,
    /// From due to started; without numbers unless the workers know the engine's clock.
    pub wait: Percentiles,
    /// From started to ended.
    pub run: Percentiles,
    /// All waits, in microseconds.
    pub waits: Distribution,
    /// All runs, in microseconds.
    pub runs: Distribution,
    /// How many attempts the messages took that are over.
    pub attempts: Distribution,
}

/// A handler that runs now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its lease.
    pub token: LeaseToken,
    /// Its queue.
    pub queue: QueueName,
    /// Its kind.
    pub kind: KindName,
    /// Which attempt it is.
    pub attempt: u32,
    /// How long it has been running.
    pub since: Duration,
    /// How far it says it is.
    pub progress: Option<Progress>,
    /// Why it was asked to stop, if it was.
    pub cancel: Option<CancelReason>,
    /// It goes on though its lease was taken away.
    pub stuck: bool,
}
