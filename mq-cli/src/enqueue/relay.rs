//! Messages on their way to whoever owns the store: this process, another one, and after that one has closed it the next.
//!
//! Invariants: a message is in `unanswered` from before it is sent until its answer is there. An owner that closes the
//! store says that it has not taken what it has not answered; that, and nothing else, is sent again to the next one. One
//! that went away without that word may have taken it: then only messages with an idempotency key are sent again, because
//! the same key answers the first id. So no line is stored twice, and none is dropped without a word.
//!
//! Locks are taken in the order of the fields of [`Relay`]. `unanswered` is never held while something is waited for.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mq::control::{Answer, Answers, Call, Calls, Client, ClientError, EnqueueCall};
use mq_core::backend::{EnqueueError, Receipt, WhenFull};
use mq_core::message::NewMessage;
use mq_core::pending::Pending;

use super::sender::{Sent, id_of};
use crate::args::Data;
use crate::exit::{Failure, Result};
use crate::store::{Missing, Store};
use crate::target::{self, Place};

/// How many owners in a row may go away before one has answered anything.
const OWNERS_MAX: u32 = 5;

/// See the file.
#[derive(Debug)]
pub(crate) struct Relay {
    data: Data,
    full_wait: Duration,
    exit: Mutex<Exit>,
    entry: Mutex<Entry>,
    unanswered: Mutex<VecDeque<NewMessage>>,
}

/// Where messages go in.
#[derive(Debug)]
enum Entry {
    /// At another process.
    Owner(Calls),
    /// In this process, which has the store until the end.
    Own(Store),
    /// Nowhere any more.
    Closed,
}

/// Where answers come out, in the order in which messages went in.
#[derive(Debug)]
struct Exit {
    /// Those that are there, or come from this process's store.
    ready: VecDeque<Ready>,
    /// Those that come from the owner, behind these.
    answers: Option<Answers>,
    /// Owners that went away since one last answered.
    owners: u32,
}

#[derive(Debug)]
enum Ready {
    There(Result<String>),
    Own(Pending<std::result::Result<Vec<Receipt>, EnqueueError>>),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn call(message: &NewMessage) -> Call {
    Call::Enqueue(Box::new(EnqueueCall::from(message)))
}

impl Relay {
    /// To whoever owns the store in `data`; it is created if it is not there.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub(crate) fn reach(data: Data, full_wait: Duration) -> Result<Arc<Relay>> {
        let place = target::reach(&data, Missing::Create)?;
        let (entry, answers) = match place {
            Place::Own(store) => (Entry::Own(store), None),
            Place::Owner(client) => {
                let (calls, answers) = client.split();
                (Entry::Owner(calls), Some(answers))
            }
        };
        Ok(Arc::new(Relay {
            data,
            full_wait,
            exit: Mutex::new(Exit {
                ready: VecDeque::new(),
                answers,
                owners: 0,
            }),
            entry: Mutex::new(entry),
            unanswered: Mutex::new(VecDeque::new()),
        }))
    }

    /// Puts a message on its way.
    pub(super) fn send(self: &Arc<Self>, message: NewMessage) -> Sent {
        match &mut *lock(&self.entry) {
            Entry::Own(store) => Sent::Own(self.enqueue(store, message)),
            Entry::Owner(calls) => {
                let call = call(&message);
                lock(&self.unanswered).push_back(message);
                // An owner that went away shows where its answer would come; earlier answers may still be there.
                calls.send(&call).ok();
                Sent::Relayed(Arc::clone(self))
            }
            Entry::Closed => Sent::Relayed(Arc::clone(self)),
        }
    }

    fn enqueue(
        &self,
        store: &Store,
        message: NewMessage,
    ) -> Pending<std::result::Result<Vec<Receipt>, EnqueueError>> {
        let when_full = WhenFull::Wait(self.full_wait);
        store.backend().enqueue(vec![message], when_full)
    }

    /// Whether [`Relay::next`] returns at once.
    pub(super) fn is_there(&self) -> bool {
        let exit = lock(&self.exit);
        match exit.ready.front() {
            Some(Ready::There(_)) => true,
            Some(Ready::Own(pending)) => pending.is_done(),
            None => exit.answers.as_ref().is_some_and(Answers::is_there),
        }
    }

    /// Waits for the answer to the first message that has none.
    pub(super) fn next(&self) -> Result<String> {
        let mut exit = lock(&self.exit);
        loop {
            match exit.ready.pop_front() {
                Some(Ready::There(answer)) => return answer,
                Some(Ready::Own(pending)) => return id_of(pending.wait()??),
                None => {}
            }
            let Some(answers) = &mut exit.answers else {
                return Err(ClientError::Gone.into());
            };
            match answers.next_answer() {
                Err(error) if self.may_repeat(&error) && exit.owners < OWNERS_MAX => {
                    self.move_on(&mut exit)?;
                }
                answer => {
                    exit.owners = 0;
                    lock(&self.unanswered).pop_front();
                    return answered(answer);
                }
            }
        }
    }

    /// Whether what has no answer was not taken, or is known by its key if it was.
    fn may_repeat(&self, error: &ClientError) -> bool {
        match error {
            ClientError::Closing => true,
            ClientError::Gone | ClientError::Broken(_) => {
                let unanswered = lock(&self.unanswered);
                let mut messages = unanswered.iter();
                messages.all(|message| message.envelope.idempotency_key.is_some())
            }
            _ => false,
        }
    }

    /// Sends what has no answer to the next owner.
    ///
    /// # Errors
    /// When there is none; then nothing is answered any more.
    fn move_on(&self, exit: &mut Exit) -> Result {
        exit.owners += 1;
        exit.answers = None;
        // Whoever is just sending to the one that is gone is told so, and lets go.
        let mut entry = lock(&self.entry);
        *entry = Entry::Closed;
        match target::reach(&self.data, Missing::Create)? {
            Place::Own(store) => {
                for message in mem::take(&mut *lock(&self.unanswered)) {
                    let pending = self.enqueue(&store, message);
                    exit.ready.push_back(Ready::Own(pending));
                }
                *entry = Entry::Own(store);
            }
            Place::Owner(client) => {
                let (calls, answers) = self.repeat(*client, &mut exit.ready)?;
                *entry = Entry::Owner(calls);
                exit.answers = Some(answers);
            }
        }
        Ok(())
    }

    /// One after the other: many at once would wait for room that only reading their answers makes.
    fn repeat(&self, mut client: Client, ready: &mut VecDeque<Ready>) -> Result<(Calls, Answers)> {
        loop {
            let Some(message) = lock(&self.unanswered).front().cloned() else {
                return Ok(client.split());
            };
            match client.call(&call(&message)) {
                // The next answer that is waited for shows it again.
                Err(error) if self.may_repeat(&error) => return Ok(client.split()),
                answer => {
                    lock(&self.unanswered).pop_front();
                    ready.push_back(Ready::There(answered(answer)));
                }
            }
        }
    }

    /// Lets the store go, if it is this process's. Nothing more goes in.
    ///
    /// # Errors
    /// When the last sync failed, or the store had stopped before.
    pub(crate) fn close(&self) -> Result {
        match mem::replace(&mut *lock(&self.entry), Entry::Closed) {
            Entry::Own(store) => store.close(),
            Entry::Owner(_) | Entry::Closed => Ok(()),
        }
    }
}

fn answered(answer: std::result::Result<Answer, ClientError>) -> Result<String> {
    match answer {
        Ok(Answer::Enqueued(enqueued)) => Ok(enqueued.id),
        Ok(_) => Err(ClientError::Gone.into()),
        Err(error) => Err(Failure::from(error)),
    }
}
