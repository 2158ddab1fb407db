//! Messages on their way to whoever owns the store: this process, another one, and after that one has closed it the next.
//!
//! Invariants: a message is in `unanswered` from before it is sent until its answer is there. An owner that closes the
//! store says of each message that reached it too late that it is closed, and at last that it has not taken what it has
//! not answered; these, and nothing else, are sent again to the next one. One that went away without that word may have
//! taken what it has not answered: then only messages with an idempotency key are sent again, because the same key answers
//! the first id. So no line is stored twice, and none is dropped without a word.
//!
//! Locks are taken in the order of the fields of [`Relay`]. `unanswered` is never held while something is waited for.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mq::control::{Answer, Answers, Call, Calls, Client, ClientError, EnqueueCall};
use mq_core::backend::{EnqueueError, Receipt, Stopped, WhenFull};
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

/// What an owner that closes says of a message.
#[derive(Debug)]
enum Told {
    /// It has an answer.
    Answered(Result<String>),
    /// It reached the owner too late, and was not taken.
    TooLate(Box<NewMessage>),
}

impl Told {
    fn too_late(message: NewMessage) -> Told {
        Told::TooLate(Box::new(message))
    }
}

/// Whether the owner was closed when the message came.
fn is_too_late(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused(refused) if refused.code == Stopped::Closed.code())
}

/// What is answered when nobody takes what was too late: the first of it by `failure`. Those that were taken keep their answers.
fn without_owner(told: VecDeque<Told>, failure: Failure) -> impl Iterator<Item = Ready> {
    let mut failure = Some(failure);
    told.into_iter().map(move |told| {
        Ready::There(match told {
            Told::Answered(answer) => answer,
            Told::TooLate(_) => Err(failure
                .take()
                .unwrap_or_else(|| ClientError::Closing.into())),
        })
    })
}

/// Sends what was too late to another owner; `false` if that one closes as well, and the rest is left in `told`.
fn repeat_told(
    client: &mut Client,
    told: &mut VecDeque<Told>,
    ready: &mut VecDeque<Ready>,
) -> bool {
    while let Some(next) = told.pop_front() {
        let answer = match next {
            Told::Answered(answer) => answer,
            Told::TooLate(message) => match client.call(&call(&message)) {
                Err(error) if is_too_late(&error) || matches!(error, ClientError::Closing) => {
                    told.push_front(Told::TooLate(message));
                    return false;
                }
                answer => answered(answer),
            },
        };
        ready.push_back(Ready::There(answer));
    }
    true
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
            let may_move = exit.owners < OWNERS_MAX;
            let Some(answers) = &mut exit.answers else {
                return Err(ClientError::Gone.into());
            };
            match answers.next_answer() {
                Err(error) if self.may_repeat(&error) && may_move => {
                    self.move_on(&mut exit, &mut VecDeque::new())?;
                }
                Err(error) if is_too_late(&error) && may_move => {
                    let (mut told, end) = self.last_words(answers);
                    let moved = end.and_then(|()| self.move_on(&mut exit, &mut told));
                    if let Err(failure) = moved {
                        exit.ready.extend(without_owner(told, failure));
                    }
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

    /// What an owner says that has begun to close, from the first message on that reached it too late; and an error if it went
    /// away in the middle of that, so that it is unknown what else it took.
    fn last_words(&self, answers: &mut Answers) -> (VecDeque<Told>, Result) {
        let first = lock(&self.unanswered).pop_front();
        let mut told: VecDeque<Told> = first.into_iter().map(Told::too_late).collect();
        loop {
            match answers.next_answer() {
                Err(error) if self.may_repeat(&error) => return (told, Ok(())),
                Err(error @ (ClientError::Gone | ClientError::Broken(_))) => {
                    return (told, Err(error.into()));
                }
                answer => {
                    let message = lock(&self.unanswered).pop_front();
                    told.extend(message.map(|message| match answer {
                        Err(error) if is_too_late(&error) => Told::too_late(message),
                        answer => Told::Answered(answered(answer)),
                    }));
                }
            }
        }
    }

    /// Sends what was too late, and what has no answer, to the next owner.
    ///
    /// # Errors
    /// When there is none; then nothing more is sent, and `told` has what is left of it.
    fn move_on(&self, exit: &mut Exit, told: &mut VecDeque<Told>) -> Result {
        exit.answers = None;
        // Whoever is just sending to the one that is gone is told so, and lets go.
        let mut entry = lock(&self.entry);
        *entry = Entry::Closed;
        while exit.owners < OWNERS_MAX {
            exit.owners += 1;
            match target::reach(&self.data, Missing::Create)? {
                Place::Own(store) => {
                    let rest = mem::take(&mut *lock(&self.unanswered));
                    for told in told.drain(..).chain(rest.into_iter().map(Told::too_late)) {
                        exit.ready.push_back(match told {
                            Told::Answered(answer) => Ready::There(answer),
                            Told::TooLate(message) => Ready::Own(self.enqueue(&store, *message)),
                        });
                    }
                    *entry = Entry::Own(store);
                    return Ok(());
                }
                Place::Owner(mut client) => {
                    if repeat_told(&mut client, told, &mut exit.ready) {
                        let (calls, answers) = self.repeat(*client, &mut exit.ready)?;
                        *entry = Entry::Owner(calls);
                        exit.answers = Some(answers);
                        return Ok(());
                    }
                }
            }
        }
        Err(ClientError::Closing.into())
    }

    /// One after the other: many at once would wait for room that only reading their answers makes.
    fn repeat(&self, mut client: Client, ready: &mut VecDeque<Ready>) -> Result<(Calls, Answers)> {
        loop {
            let Some(message) = lock(&self.unanswered).front().cloned() else {
                return Ok(client.split());
            };
            match client.call(&call(&message)) {
                // The next answer that is waited for shows it again.
                Err(error) if self.may_repeat(&error) || is_too_late(&error) => {
                    return Ok(client.split());
                }
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
