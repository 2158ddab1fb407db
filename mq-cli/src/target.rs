//! The store a verb is about, whoever owns it: opened by this program, or asked for on its owner's control socket.
//!
//! Both ways go through the same calls ([`mq::control`]), so that an answer never depends on who owns the store. An
//! owner is looked for first: it is there for as long as its socket is answered.

use std::cell::RefCell;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow};
use mq::Filter;
use mq::control::{
    Answer, Call, Client, ClientError, ListCall, MessageJson, OperateCall, OperationJson, ShowCall,
};
use mq_core::id::MessageId;

use crate::args::Data;
use crate::clock::Stopwatch;
use crate::exit::{Exit, Failure, Result};
use crate::listing::Walked;
use crate::output::Output;
use crate::store::{Missing, Store, must_be_there};

/// How long to wait for an owner that is just opening or closing the store, if `--wait` does not say otherwise.
const OWNER_GRACE: Duration = Duration::from_secs(1);

/// How often to look again.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How often a call is made again because the owner closed the store before it took it.
const OWNERS_MAX: u32 = 3;

/// A store that answers calls.
#[derive(Debug)]
pub(crate) struct Target {
    data: Data,
    missing: Missing,
    place: RefCell<Place>,
}

/// Who owns the store.
#[derive(Debug)]
pub(crate) enum Place {
    /// This process.
    Own(Store),
    /// Another process, which answers on its socket.
    Owner(Box<Client>),
}

impl Target {
    /// Reaches the store in `data`: through its owner, or by opening it.
    ///
    /// # Errors
    /// With the exit code that tells why; the store is as it was.
    pub(crate) fn reach(data: &Data, missing: Missing) -> Result<Target> {
        Ok(Target {
            place: RefCell::new(reach(data, missing)?),
            data: data.clone(),
            missing,
        })
    }

    /// Whether this process owns the store.
    pub(crate) fn is_own(&self) -> bool {
        matches!(&*self.place.borrow(), Place::Own(_))
    }

    /// Reaches a store that is there, lets `visit` print from it, and lets it go.
    ///
    /// # Errors
    /// When it is not there, cannot be reached or closed, or `visit` fails.
    pub(crate) fn visit(data: &Data, visit: impl FnOnce(&Target, &mut Output) -> Result) -> Result {
        let target = Target::reach(data, Missing::Refuse)?;
        let mut output = Output::stdout();
        let visited = visit(&target, &mut output);
        // What was printed before a failure is true, and must reach the reader.
        let flushed = output.flush();
        let closed = target.close();
        visited?;
        flushed?;
        closed
    }

    /// Makes a call.
    ///
    /// # Errors
    /// When it is refused, or whoever owns the store ends.
    pub(crate) fn call(&self, call: Call) -> Result<Answer> {
        let mut owners = 0;
        loop {
            let answer = match &mut *self.place.borrow_mut() {
                Place::Own(store) => return Ok(mq::control::execute_wait(store.engine(), call)?),
                Place::Owner(client) => client.call(&call),
            };
            owners += 1;
            match answer {
                // It was not taken: whoever owns the store next answers it.
                Err(ClientError::Closing) if owners < OWNERS_MAX => {
                    let next = reach(&self.data, self.missing)?;
                    self.place.replace(next);
                }
                answer => return Ok(answer?),
            }
        }
    }

    /// Makes a call whose answer `expected` takes apart.
    ///
    /// # Errors
    /// As [`Target::call`].
    pub(crate) fn ask<T>(&self, call: Call, expected: fn(Answer) -> Option<T>) -> Result<T> {
        let answer = expected(self.call(call)?);
        Ok(answer.context("the owner's answer is not to the question that was asked")?)
    }

    /// One message, with its payload byte for byte if `exact`.
    ///
    /// # Errors
    /// With [`Exit::NotFound`] when the store does not hold it.
    pub(crate) fn message(&self, id: MessageId, payload: bool, exact: bool) -> Result<MessageJson> {
        let id = id.to_string();
        let call = Call::Message(ShowCall { id, payload, exact });
        self.ask(call, |answer| match answer {
            Answer::Message(message) => Some(*message),
            _ => None,
        })
    }

    /// Changes one message.
    ///
    /// # Errors
    /// When the store does not hold it, or its state does not allow it.
    pub(crate) fn operate_by(
        &self,
        id: &str,
        operation: OperationJson,
        by: &str,
    ) -> Result<String> {
        let (id, by) = (id.to_owned(), by.to_owned());
        let call = Call::Operate(OperateCall { id, operation, by });
        self.ask(call, |answer| match answer {
            Answer::Operated(word) => Some(word),
            _ => None,
        })
    }

    /// The store's folder, as it was named on the command line.
    pub(crate) fn data(&self) -> &Path {
        &self.data.data
    }

    /// Calls `go_on` with each message that matches, oldest first, until it answers `false`.
    ///
    /// # Errors
    /// When the store stops, or `go_on` fails.
    pub(crate) fn walk(
        &self,
        filter: &Filter,
        after: Option<MessageId>,
        page_len: usize,
        mut go_on: impl FnMut(&MessageJson) -> Result<bool>,
    ) -> Result<Walked> {
        let mut walked = Walked::default();
        let mut after = after.map(|id| id.to_string());
        loop {
            let call = Call::Messages(ListCall {
                filter: filter.clone(),
                after: after.take(),
                limit: Some(u32::try_from(page_len.max(1)).unwrap_or(u32::MAX)),
            });
            let page = self.ask(call, |answer| match answer {
                Answer::Messages(page) => Some(page),
                _ => None,
            })?;
            walked.unreadable.see(page.unreadable);
            walked.see_cost(&page.by, page.read);
            for message in &page.messages {
                if !go_on(message)? {
                    walked.was_cut = true;
                    return Ok(walked);
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(walked),
            }
        }
    }

    /// Lets the store go, if it is this process's.
    ///
    /// # Errors
    /// When the last sync failed, or the store had stopped before.
    pub(crate) fn close(self) -> Result {
        match self.place.into_inner() {
            Place::Own(store) => store.close(),
            Place::Owner(_) => Ok(()),
        }
    }
}

/// Who owns the store in `data`: another process that answers, or from now on this one.
///
/// # Errors
/// With the exit code that tells why there is none; the store is as it was.
pub(crate) fn reach(data: &Data, missing: Missing) -> Result<Place> {
    if missing == Missing::Refuse {
        must_be_there(&data.data)?;
    }
    let limit = data.wait.unwrap_or(OWNER_GRACE);
    let watch = Stopwatch::start();
    loop {
        let failure = match attempt(&data.data, missing) {
            Ok(place) => return Ok(place),
            Err(failure) => failure,
        };
        let left = limit.saturating_sub(watch.elapsed());
        if failure.exit != Exit::Owned || left.is_zero() {
            return Err(failure);
        }
        thread::park_timeout(left.min(LOOK_EVERY));
    }
}

/// [`Exit::Owned`] if it may work later.
fn attempt(folder: &Path, missing: Missing) -> Result<Place> {
    match Client::connect(folder) {
        Ok(client) => Ok(Place::Owner(Box::new(client))),
        Err(ClientError::NotServed { .. }) => {
            let opened = Store::open_for_a_call(folder, missing);
            opened.map(Place::Own).map_err(silent)
        }
        Err(error @ ClientError::NotNow { .. }) => Err(Failure::new(Exit::Owned, error)),
        Err(error) => Err(error.into()),
    }
}

/// Says of an owner that nobody can talk to what can be done.
fn silent(failure: Failure) -> Failure {
    if failure.exit != Exit::Owned {
        return failure;
    }
    let error = anyhow!(
        "{:#}, and it answers no control socket: it is still opening the store (then --wait 30s waits for it), serves \
         none (Builder::control), or could not make one (its log says why)",
        failure.error
    );
    Failure::new(Exit::Owned, error)
}
