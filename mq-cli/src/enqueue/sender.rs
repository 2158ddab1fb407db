//! Where a line becomes a stored message: in this process's own store, or at the owner of the store.
//!
//! Both take line after line without waiting for answers, and answer in order.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use mq::control::{Answer as Answered, Answers, Call, Calls, ClientError, EnqueueCall};
use mq_core::backend::{Backend, EnqueueError, Receipt, WhenFull};
use mq_core::message::NewMessage;
use mq_core::pending::Pending;

use super::pipeline::Answer;
use crate::exit::Result;
use crate::store::Store;
use crate::target::{Place, Target};

/// Takes messages.
#[derive(Debug)]
pub(crate) enum Sender {
    /// Into this process's store, waiting so long for room.
    Own(Arc<dyn Backend>, Duration),
    /// To the owner.
    Owner(Mutex<Calls>, Arc<Mutex<Answers>>),
}

/// The answer to one message.
#[derive(Debug)]
pub(crate) enum Sent {
    /// Comes from this process's store.
    Own(Pending<std::result::Result<Vec<Receipt>, EnqueueError>>),
    /// Comes from the owner, after those of the messages before.
    Owner(Arc<Mutex<Answers>>),
}

impl Sender {
    /// Into this process's store, waiting so long for room.
    pub(crate) fn own(store: &Store, full_wait: Duration) -> Sender {
        Sender::Own(store.backend(), full_wait)
    }

    /// Into the store, if it is this process's (which is then to be closed), else to its owner.
    pub(crate) fn new(target: Target, full_wait: Duration) -> (Sender, Option<Store>) {
        match target.into_place() {
            Place::Own(store) => (Sender::own(&store, full_wait), Some(store)),
            Place::Owner(client) => {
                let (calls, answers) = client.split();
                let answers = Arc::new(Mutex::new(answers));
                (Sender::Owner(Mutex::new(calls), answers), None)
            }
        }
    }

    /// Puts a message on its way.
    pub(crate) fn send(&self, message: NewMessage) -> Sent {
        match self {
            Sender::Own(backend, full_wait) => {
                Sent::Own(backend.enqueue(vec![message], WhenFull::Wait(*full_wait)))
            }
            Sender::Owner(calls, answers) => {
                let call = Call::Enqueue(Box::new(EnqueueCall::from(&message)));
                let mut calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
                // An owner that went away shows where its answer would come; earlier answers may still be there.
                calls.send(&call).ok();
                Sent::Owner(Arc::clone(answers))
            }
        }
    }
}

impl Answer for Sent {
    fn is_done(&self) -> bool {
        match self {
            Sent::Own(pending) => pending.is_done(),
            Sent::Owner(answers) => answers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .is_there(),
        }
    }

    fn wait(self) -> Result<String> {
        match self {
            Sent::Own(pending) => {
                let receipts = Pending::wait(pending)??;
                let receipt = receipts
                    .first()
                    .context("the store answered an enqueue without a receipt")?;
                Ok(receipt.accepted.id.to_string())
            }
            Sent::Owner(answers) => {
                let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
                match answers.next_answer()? {
                    Answered::Enqueued(enqueued) => Ok(enqueued.id),
                    _ => Err(ClientError::Gone.into()),
                }
            }
        }
    }
}
