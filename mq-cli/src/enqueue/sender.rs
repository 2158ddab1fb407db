//! Where a line becomes a stored message: in this process's own store, or at the owner of the store.
//!
//! Both take line after line without waiting for answers, and answer in order.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use mq_core::backend::{Backend, EnqueueError, Receipt, WhenFull};
use mq_core::message::NewMessage;
use mq_core::pending::Pending;

use super::pipeline::Answer;
use super::relay::Relay;
use crate::exit::Result;
use crate::store::Store;

/// Takes messages.
#[derive(Clone, Debug)]
pub(crate) enum Sender {
    /// Into this process's store, waiting so long for room.
    Own(Arc<dyn Backend>, Duration),
    /// To whoever owns the store.
    Relay(Arc<Relay>),
}

/// The answer to one message.
#[derive(Debug)]
pub(crate) enum Sent {
    /// Comes from this process's store.
    Own(Pending<std::result::Result<Vec<Receipt>, EnqueueError>>),
    /// Comes from the owner, after those of the messages before.
    Relayed(Arc<Relay>),
}

impl Sender {
    /// Into this process's store, waiting so long for room.
    pub(crate) fn own(store: &Store, full_wait: Duration) -> Sender {
        Sender::Own(store.backend(), full_wait)
    }

    /// Puts a message on its way.
    pub(crate) fn send(&self, message: NewMessage) -> Sent {
        match self {
            Sender::Own(backend, full_wait) => {
                Sent::Own(backend.enqueue(vec![message], WhenFull::Wait(*full_wait)))
            }
            Sender::Relay(relay) => relay.send(message),
        }
    }
}

impl Answer for Sent {
    fn is_done(&self) -> bool {
        match self {
            Sent::Own(pending) => pending.is_done(),
            Sent::Relayed(relay) => relay.is_there(),
        }
    }

    fn wait(self) -> Result<String> {
        match self {
            Sent::Own(pending) => id_of(Pending::wait(pending)??),
            Sent::Relayed(relay) => relay.next(),
        }
    }
}

/// The id in the answer of this process's store.
pub(super) fn id_of(receipts: Vec<Receipt>) -> Result<String> {
    let receipt = receipts.into_iter().next();
    let receipt = receipt.context("the store answered an enqueue without a receipt")?;
    Ok(receipt.accepted.id.to_string())
}
