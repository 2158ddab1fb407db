//! Why a message is not running, in one sentence.

use std::fmt;

use crate::id::{LeaseToken, MessageId};
use crate::name::{KindName, Label, QueueName};
use crate::state::{Completion, DeadReason, State};
use crate::time::{Now, Timestamp};
use crate::view::{Lookup, MessageView, StateKind};

use super::QueueManager;

/// The first reason that keeps a message from running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Explanation {
    /// The store never issued this id.
    NeverIssued,
    /// It was settled and is not kept.
    NotKept,
    /// It runs.
    Running {
        /// The lease.
        token: LeaseToken,
    },
    /// It is over.
    Completed {
        /// In which way.
        how: Completion,
    },
    /// It was given up.
    Dead {
        /// Why.
        reason: DeadReason,
    },
    /// It was replaced while it runs.
    Superseded {
        /// By this message.
        by: MessageId,
    },
    /// A user set it aside.
    Held {
        /// The label.
        label: Label,
    },
    /// It is not due.
    Scheduled {
        /// When it will be.
        due: Timestamp,
    },
    /// Another message of its ordering or dedup key comes first.
    Blocked {
        /// Which.
        by: MessageId,
        /// What that one is.
        state: StateKind,
    },
    /// Its queue is paused.
    QueuePaused {
        /// The queue.
        queue: QueueName,
    },
    /// No pool takes its kind from its queue.
    NoPool {
        /// The queue.
        queue: QueueName,
        /// The kind.
        kind: KindName,
    },
    /// It is a suspect, and another one is running.
    SuspectWaits {
        /// The one that runs.
        running: MessageId,
    },
    /// Every worker of the pools that take it is busy.
    NoPermit {
        /// The queue.
        queue: QueueName,
        /// The kind.
        kind: KindName,
    },
    /// Nothing keeps it: it is about to be handed out, after those before it.
    InLine,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverIssued => f.write_str("this store never issued the id"),
            Self::NotKept => f.write_str("settled, and not kept"),
            Self::Running { token } => write!(f, "running under lease {token}"),
            Self::Completed { how } => match how {
                Completion::Succeeded => f.write_str("completed: it succeeded"),
                Completion::Discarded => f.write_str("completed: it was discarded"),
                Completion::Cancelled => f.write_str("completed: it was cancelled"),
            },
            Self::Dead { reason } => write!(f, "dead: {}; replay or purge it", reason.as_str()),
            Self::Superseded { by } => write!(f, "replaced by {by} while it runs"),
            Self::Held { label } => write!(f, "held under label {label}; release it"),
            Self::Scheduled { due } => write!(f, "scheduled: due at {due}"),
            Self::Blocked { by, state } => {
                write!(f, "blocked: {by} comes first, which is {}", state.as_str())
            }
            Self::QueuePaused { queue } => write!(f, "queue {queue} is paused; resume it"),
            Self::NoPool { queue, kind } => write!(
                f,
                "no worker pool takes kind {kind} from queue {queue}; register a handler for it"
            ),
            Self::SuspectWaits { running } => write!(
                f,
                "it was running when the process died and runs alone among such; {running} is running"
            ),
            Self::NoPermit { queue, kind } => write!(
                f,
                "every worker for kind {kind} of queue {queue} is busy; wait or scale up"
            ),
            Self::InLine => f.write_str("ready: it is handed out after those before it in line"),
        }
    }
}

impl QueueManager {
    /// Why a message is not running.
    #[must_use]
    pub fn explain(&self, now: &Now, id: MessageId) -> Explanation {
        let view = match self.lookup(now, id) {
            Lookup::NeverIssued => return Explanation::NeverIssued,
            Lookup::SettledNotKept => return Explanation::NotKept,
            Lookup::Found(view) => *view,
        };
        match view.state {
            State::Scheduled { due } => Explanation::Scheduled { due },
            State::Ready => self.explain_ready(&view),
            State::Blocked { by } => Explanation::Blocked {
                by,
                state: match self.lookup(now, by) {
                    Lookup::Found(view) => view.state.kind(),
                    Lookup::SettledNotKept | Lookup::NeverIssued => StateKind::Completed,
                },
            },
            State::Leased { token } => Explanation::Running { token },
            State::Held { label } => Explanation::Held { label },
            State::Completed { how } => Explanation::Completed { how },
            State::Dead { reason } => Explanation::Dead { reason },
            State::Superseded { by } => Explanation::Superseded { by },
        }
    }

    fn explain_ready(&self, view: &MessageView) -> Explanation {
        let (queue, kind) = (view.queue.clone(), view.kind.clone());
        let line = self
            .table
            .get(view.id.seq())
            .and_then(|entry| self.lines.get(entry.place.line()));
        let Some(line) = line else {
            return Explanation::NotKept;
        };
        if !line.open {
            return Explanation::QueuePaused { queue };
        }
        if !self.pools.is_served(&line.groups) {
            return Explanation::NoPool { queue, kind };
        }
        if view.suspect
            && let Some(running) = self.leases.solo.and_then(|solo| self.token_of(solo))
        {
            let running = running.id;
            return Explanation::SuspectWaits { running };
        }
        if !self.pools.has_permit(&line.groups) {
            return Explanation::NoPermit { queue, kind };
        }
        Explanation::InLine
    }
}
