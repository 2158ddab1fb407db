//! Everything that keeps workers from starting, all of it at once, and errors of the running ones.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use mq_core::backend::Stopped;
use mq_core::limits::{LEASE_RANGE, PARALLELISM_MAX};
use mq_core::name::NameError;

use crate::reply::OnRuntimeThread;

/// What is wrong with a handler.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Another handler has the kind (or alias), for the same messages.
    #[error("another handler has the kind {name:?}; each kind has one handler")]
    DuplicateKind {
        /// The kind or alias.
        name: String,
    },
    /// Its kind, alias or queue is not a valid name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Its parallelism is empty or out of range.
    #[error("parallelism {start}..={end} is not a range within 1..={PARALLELISM_MAX}")]
    Parallelism {
        /// Its start.
        start: usize,
        /// Its end.
        end: usize,
    },
    /// Its time limit is zero.
    #[error("a time limit of zero; use Duration::MAX for none")]
    Timeout,
    /// Its lease is out of range.
    #[error("a lease of {given:?} is out of range; allowed are {:?} to {:?}", LEASE_RANGE.0, LEASE_RANGE.1)]
    Lease {
        /// What was given.
        given: Duration,
    },
    /// The priority of its kind is above 9.
    #[error("priority {given} of its message is out of range; allowed are 0 to 9")]
    Priority {
        /// What was given.
        given: u8,
    },
    /// Version 0 of a kind stands for "no version".
    #[error("version 0 of its message; versions begin at 1")]
    Version,
    /// It asks for a state that was not given.
    #[error(
        "it asks for State<{type_name}>, which was not given; call `.state(…)` with one, or `.state_parts(…)` with a struct that derives FromRef and has it as a field"
    )]
    MissingState {
        /// The type.
        type_name: &'static str,
    },
    /// It is to share a pool that there is not.
    #[error("there is no pool {name:?}; add it: `.pool({name:?}, |p| p.parallelism(1..=4))`")]
    UnknownPool {
        /// The pool.
        name: String,
    },
    /// It shares a pool, and has a parallelism or a lease of its own.
    #[error(
        "it shares the pool {name:?}, whose parallelism and lease are those of all its handlers; set them at the pool"
    )]
    SizeInPool {
        /// The pool.
        name: String,
    },
    /// A pool without handlers.
    #[error("the pool has no handlers; give it some: `.handle_with(handler, |h| h.pool(…))`")]
    EmptyPool,
    /// A pool was described twice, or is called as a kind.
    #[error("the name {name:?} is taken by another pool or by a kind; choose another one")]
    TakenPool {
        /// Its name.
        name: String,
    },
    /// A state of this type was given twice.
    #[error("a state of type {type_name} was given twice; each type has one value")]
    DuplicateState {
        /// The type.
        type_name: &'static str,
    },
}

/// A fault, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The kind, or the name of the pool, of the handler.
    pub handler: String,
    /// What is wrong.
    pub fault: Fault,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.handler, self.fault)
    }
}

/// Why the workers did not start. Nothing was started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// Everything that is wrong with the handlers.
    #[error("{} with the handlers: {}", count(problems.len()), list(problems))]
    Handlers {
        /// Each of them.
        problems: Vec<Problem>,
    },
    /// There is no async runtime here, and none could be started.
    #[error("cannot start threads for the workers: {reason}")]
    Threads {
        /// The error of the operating system.
        reason: String,
    },
    /// The store does not serve any more.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl StartError {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Handlers { .. } => "handlers",
            Self::Threads { .. } => "system",
            Self::Stopped(error) => error.code(),
        }
    }
}

fn count(problems: usize) -> String {
    if problems == 1 {
        "1 problem".to_owned()
    } else {
        format!("{problems} problems")
    }
}

fn list(problems: &[Problem]) -> String {
    let texts: Vec<String> = problems.iter().map(Problem::to_string).collect();
    texts.join("; ")
}

/// Why a pool could not be controlled. Nothing was changed unless said otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// No handler of these workers has this kind.
    #[error("no handler of the kind {kind:?} is running here; there are: {}", known.join(", "))]
    UnknownKind {
        /// What was asked for.
        kind: String,
        /// The kinds there are.
        known: Vec<String>,
    },
    /// Outside of the range that the handler's author allows.
    #[error("{kind} cannot run {given} at once; its handler allows {range:?}")]
    OutOfRange {
        /// The kind.
        kind: String,
        /// What was asked for.
        given: usize,
        /// What is allowed.
        range: RangeInclusive<u32>,
    },
    /// The workers are stopping or stopped.
    #[error("these workers are stopping")]
    Stopping,
    /// `.wait()` was called on a thread of an async runtime, which it would block: `.await` it there. The change is
    /// made all the same.
    #[error("wait() would block a thread of the async runtime; use .await there")]
    OnRuntimeThread,
}

impl ControlError {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownKind { .. } => "unknown_kind",
            Self::OutOfRange { .. } => "out_of_range",
            Self::Stopping => "closed",
            Self::OnRuntimeThread => "on_runtime_thread",
        }
    }
}

impl OnRuntimeThread for ControlError {
    fn on_runtime_thread() -> Self {
        Self::OnRuntimeThread
    }
}

/// Why the workers do not work as they should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Illness {
    /// The store stopped.
    Stopped(Stopped),
    /// All workers of a pool go on with handlers that ignored their time limit: nothing of its kind runs any more.
    AllStuck {
        /// The kind.
        kind: String,
        /// How many.
        stuck: usize,
    },
    /// A layer around the handler fails to become ready, and nothing of its kind starts; it is tried each second.
    Layer {
        /// The kind.
        kind: String,
        /// What the layer said.
        reason: String,
    },
    /// So many messages in a row could not be decoded that the pool was paused: is this the right program version?
    Undecodable {
        /// The kind.
        kind: String,
    },
}

impl fmt::Display for Illness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped(stopped) => stopped.fmt(f),
            Self::AllStuck { kind, stuck } => {
                write!(
                    f,
                    "all {stuck} workers of {kind} are stuck past their time limit; restart the program"
                )
            }
            Self::Layer { kind, reason } => {
                write!(
                    f,
                    "a layer around the handler of {kind} fails to become ready: {reason}"
                )
            }
            Self::Undecodable { kind } => write!(
                f,
                "{kind} is paused: message after message could not be decoded; check the program's version, replay the dead letters, then resume it"
            ),
        }
    }
}

/// The workers do not work as they should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", illnesses.iter().map(Illness::to_string).collect::<Vec<_>>().join("; "))]
pub struct Unhealthy {
    /// In which ways.
    pub illnesses: Vec<Illness>,
}
