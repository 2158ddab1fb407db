//! What the harness has seen going on between the engine and the handlers, across all lives of the process.
//!
//! Invariant: attempts stand in the order in which they were handed out, each once.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use mq_core::backend::{Grant, SettleError, SettleReceipt};
use mq_core::command::Settlement;
use mq_core::id::{LeaseToken, MessageId};
use mq_core::message::Envelope;
use mq_core::state::{Failure, Outcome, State};

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// `None`: it was given back without having started.
    pub(super) outcome: Option<Outcome>,
    pub(super) failure: Option<Failure>,
    pub(super) note: Option<String>,
    pub(super) result: Option<Bytes>,
    /// What the message was afterwards; `None` if it left the store.
    pub(super) state: Option<State>,
    /// The store did not take the answer, for this reason.
    pub(super) refused: Option<String>,
}

impl Ended {
    fn bare(outcome: Option<Outcome>) -> Self {
        Self {
            outcome,
            failure: None,
            note: None,
            result: None,
            state: None,
            refused: None,
        }
    }

    /// What a settlement says, before the store has answered.
    pub(super) fn of(settlement: &Settlement) -> Self {
        match settlement {
            Settlement::Succeed { result } => Self {
                result: result.clone(),
                ..Self::bare(Some(Outcome::Succeeded))
            },
            Settlement::Fail { failure, .. } => Self {
                failure: Some(failure.clone()),
                ..Self::bare(Some(Outcome::Failed))
            },
            Settlement::Again { .. } => Self::bare(Some(Outcome::Succeeded)),
            Settlement::SetAside { failure, .. } => Self {
                failure: Some(failure.clone()),
                ..Self::bare(Some(Outcome::Snoozed))
            },
            Settlement::Snooze { .. } => Self::bare(Some(Outcome::Snoozed)),
            Settlement::Interrupt => Self::bare(Some(Outcome::Interrupted)),
            Settlement::DeadLetter { failure, note, .. } => Self {
                failure: Some(failure.clone()),
                note: note.clone(),
                ..Self::bare(Some(Outcome::DeadLettered))
            },
            Settlement::Discard { failure } => Self {
                failure: failure.clone(),
                ..Self::bare(Some(Outcome::Discarded))
            },
            Settlement::Cancel => Self::bare(Some(Outcome::Cancelled)),
        }
    }

    /// With the store's answer.
    pub(super) fn answered(mut self, answer: &Result<SettleReceipt, SettleError>) -> Self {
        match answer {
            Ok(receipt) => self.state.clone_from(&receipt.state),
            Err(error) => self.refused = Some(error.to_string()),
        }
        self
    }
}

/// One hand-out.
#[derive(Clone, Debug)]
pub(super) struct Handed {
    pub(super) token: LeaseToken,
    pub(super) kind: String,
    pub(super) attempt: u32,
    pub(super) ended: Option<Ended>,
}

/// A message that was handed out at least once.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) kind: String,
    pub(super) envelope: Arc<Envelope>,
    pub(super) handed_out: u32,
    pub(super) last: Option<Ended>,
    /// What a handler said last: it may be in force though the process died before the store's answer came.
    pub(super) said: Option<Ended>,
}

#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) handed: Vec<Handed>,
    pub(super) messages: BTreeMap<MessageId, Known>,
    /// Attempts that have ended.
    pub(super) ended: usize,
}

impl Record {
    pub(super) fn hand_out(&mut self, grant: &Grant) {
        let id = grant.token.id;
        let known = self.messages.entry(id).or_insert_with(|| Known {
            kind: grant.kind.to_string(),
            envelope: Arc::clone(&grant.envelope),
            handed_out: 0,
            last: None,
            said: None,
        });
        known.handed_out += 1;
        known.envelope = Arc::clone(&grant.envelope); // a replay may have edited it
        self.handed.push(Handed {
            token: grant.token,
            kind: grant.kind.to_string(),
            attempt: grant.attempt,
            ended: None,
        });
    }

    /// A handler has answered, and the store has not.
    pub(super) fn say(&mut self, token: LeaseToken, said: &Ended) {
        if let Some(known) = self.messages.get_mut(&token.id) {
            known.said = Some(said.clone());
        }
    }

    /// An attempt ended; the first word counts.
    pub(super) fn end(&mut self, token: LeaseToken, ended: Ended) {
        let mut recent = self.handed.iter_mut().rev();
        let Some(handed) = recent.find(|handed| handed.token == token && handed.ended.is_none())
        else {
            return;
        };
        handed.ended = Some(ended.clone());
        self.ended += 1;
        if let Some(known) = self.messages.get_mut(&token.id) {
            known.last = Some(ended);
        }
    }

    /// A lease ran out under its handler.
    pub(super) fn lose(&mut self, token: LeaseToken) {
        self.end(token, Ended::bare(Some(Outcome::LeaseExpired)));
    }

    /// A lease went back without having started: it was no hand-out.
    pub(super) fn give_back(&mut self, token: LeaseToken) {
        self.end(token, Ended::bare(None));
        if let Some(known) = self.messages.get_mut(&token.id) {
            known.handed_out = known.handed_out.saturating_sub(1);
        }
    }

    /// The process died: whatever ran did not end, and never will.
    pub(super) fn forget_running(&mut self) {
        let crashed = Ended::bare(Some(Outcome::Crashed));
        let running = self
            .handed
            .iter_mut()
            .filter(|handed| handed.ended.is_none());
        for handed in running {
            handed.ended = Some(crashed.clone());
            self.ended += 1;
        }
    }

    pub(super) fn running(&self) -> impl Iterator<Item = &Handed> {
        self.handed.iter().filter(|handed| handed.ended.is_none())
    }
}
