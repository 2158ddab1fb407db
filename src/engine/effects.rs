//! What leaves the engine, and when: each effect waits until the frame it rests on is written or synced.
//!
//! Invariants: effects leave in the order in which they were decided, per class; nothing leaves on the strength of
//! an unsynced event but what is named here as [`Needs::Write`] (grants, answers to settlements, and enqueues whose
//! caller chose so). There is no undo: when the engine stops, what has not left is answered with the reason.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use mq_core::backend::{Durability, Stopped};
use mq_core::command::{Accepted, EnqueueRefused};
use mq_core::few::Few;

use super::inbox::{Handed, Inbox};
use super::jobs::{EnqueueJob, SettleJob};

/// What must have happened to a frame before an effect of it may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Written: survives the process.
    Write,
    /// Synced: survives a power cut.
    Sync,
}

/// Something that leaves the engine.
pub(crate) enum Effect {
    /// Answer to an enqueue.
    Enqueue(Box<EnqueueJob>, Result<Few<Accepted>, EnqueueRefused>),
    /// Answers to settlements.
    Settle(Box<SettleJob>),
    /// Leases or notices for a pool.
    Hand(Arc<Inbox>, Vec<Handed>),
    /// Any other answer: called with `None` when its time has come, or with the reason why the engine stopped.
    Answer(Deferred),
}

/// Gives an answer when its time has come (`None`), or says why it never will.
pub(crate) type Deferred = Box<dyn FnOnce(Option<&Stopped>) + Send>;

impl Effect {
    /// Lets it leave.
    pub(crate) fn leave(self, achieved: Durability) {
        match self {
            Self::Enqueue(job, Ok(accepted)) => job.accept(accepted, achieved),
            Self::Enqueue(job, Err(refused)) => job.refuse(refused),
            Self::Settle(job) => job.answer(),
            Self::Hand(inbox, handed) => inbox.put(handed),
            Self::Answer(answer) => answer(None),
        }
    }

    /// The engine stopped before it could leave.
    pub(crate) fn abort(self, stopped: &Stopped) {
        match self {
            Self::Enqueue(job, _) => job.stop(stopped),
            Self::Settle(job) => job.stop(stopped),
            Self::Hand(..) => {}
            Self::Answer(answer) => answer(Some(stopped)),
        }
    }
}

impl fmt::Debug for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enqueue(..) => "Enqueue",
            Self::Settle(..) => "Settle",
            Self::Hand(..) => "Hand",
            Self::Answer(_) => "Answer",
        })
    }
}

/// An effect whose time has come.
#[derive(Debug)]
pub(crate) struct Released {
    pub(crate) effect: Effect,
    /// What holds for the frame it rests on.
    pub(crate) achieved: Durability,
}

/// Effects that wait, by the number (mark) of the frame they rest on.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    after_write: VecDeque<(u64, Effect)>,
    after_sync: VecDeque<(u64, Effect)>,
}

impl Effects {
    /// Queues an effect that rests on frame `mark` and all before it.
    pub(crate) fn push(&mut self, needs: Needs, mark: u64, effect: Effect) {
        match needs {
            Needs::Write => self.after_write.push_back((mark, effect)),
            Needs::Sync => self.after_sync.push_back((mark, effect)),
        }
    }

    /// Moves out what may leave now that frames up to `written` and `synced` are so, each with what was achieved for it.
    pub(crate) fn release(&mut self, written: u64, synced: u64, into: &mut Vec<Released>) {
        release_queue(&mut self.after_write, written, synced, into);
        release_queue(&mut self.after_sync, synced, synced, into);
    }

    /// Moves out everything, to be aborted.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Effect> + '_ {
        self.after_write
            .drain(..)
            .chain(self.after_sync.drain(..))
            .map(|(_, effect)| effect)
    }
}

fn release_queue(
    queue: &mut VecDeque<(u64, Effect)>,
    mark: u64,
    synced: u64,
    into: &mut Vec<Released>,
) {
    while queue.front().is_some_and(|(rests_on, _)| *rests_on <= mark) {
        into.extend(queue.pop_front().map(|(rests_on, effect)| Released {
            effect,
            achieved: if rests_on <= synced {
                Durability::Synced
            } else {
                Durability::Written
            },
        }));
    }
}
