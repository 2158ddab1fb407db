//! Many requests under way, their answers in order.
//!
//! One thread feeds lines in, another waits for the answers. The [`Intake`] between them is closed by whoever sees
//! first that nothing more should go in: the end of the input, a failure, a signal. Every request that went in before
//! that is still answered.
//!
//! Invariants: a request is submitted and put in line under one lock, so closing never separates the two. What is
//! printed is an unbroken beginning of the answers; nothing is printed that is not durable.

use std::fmt;
use std::io::{BufRead, Write};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use anyhow::anyhow;

use crate::exit::{Failure, Result};
use crate::input::{Line, LineError, Lines};
use crate::output::Output;

/// Requests under way at most: enough for several full commits, little memory beside the payloads.
const UNDER_WAY_MAX: usize = 4_096;

/// The answer to one request.
pub(crate) trait Answer {
    /// Whether waiting would return at once.
    fn is_done(&self) -> bool;

    /// Waits until the message is durable.
    ///
    /// # Errors
    /// When it was refused, or the store stopped.
    fn wait(self) -> Result<String>;
}

/// A line, and what became of it so far.
#[derive(Debug)]
pub(crate) struct Entry<A> {
    number: u64,
    answer: std::result::Result<A, LineError>,
}

/// Where requests go in.
#[derive(Debug)]
pub(crate) struct Intake<A> {
    line: Mutex<Option<SyncSender<Entry<A>>>>,
}

/// An open intake and the answers of what goes in, in order.
pub(crate) fn start<A>() -> (Arc<Intake<A>>, Receiver<Entry<A>>) {
    let (sender, receiver) = sync_channel(UNDER_WAY_MAX);
    let line = Mutex::new(Some(sender));
    (Arc::new(Intake { line }), receiver)
}

impl<A> Intake<A> {
    /// Lets nothing more in; the answers end after what is under way.
    pub(crate) fn close(&self) {
        self.line
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    /// As [`Intake::close`], unless a request is going in at this moment.
    fn try_close(&self) -> bool {
        let line = match self.line.try_lock() {
            Ok(line) => Some(line),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        line.map(|mut line| line.take()).is_some()
    }

    /// Submits a request and puts its answer in line; `false` if the intake is closed, and nothing was submitted.
    fn offer(&self, submit: impl FnOnce() -> Entry<A>) -> bool {
        let line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        match line.as_ref() {
            Some(sender) => sender.send(submit()).is_ok(),
            None => false,
        }
    }
}

/// Submits line after line until the input ends, a line is no message, or the intake is closed.
pub(crate) fn feed<R: BufRead, A>(
    mut lines: Lines<R>,
    intake: &Intake<A>,
    submit: impl Fn(&Line) -> std::result::Result<A, LineError>,
) {
    let mut open = true;
    while let Some(line) = lines.next_line().filter(|_| open) {
        let is_wrong = line.is_err();
        open = !is_wrong
            & intake.offer(
                || match line.and_then(|line| Ok((line.number, submit(&line)?))) {
                    Ok((number, answer)) => Entry {
                        number,
                        answer: Ok(answer),
                    },
                    Err(error) => Entry {
                        number: error.number,
                        answer: Err(error),
                    },
                },
            );
    }
    intake.close();
}

/// Prints the id of each answer in order, and answers how many; remarks go to `remarks`.
///
/// # Errors
/// The first failure: of a line, of the store, or of the output. The intake is closed then, and later answers that
/// were under way and are durable are named in `remarks`.
pub(crate) fn report<A: Answer>(
    answers: &Receiver<Entry<A>>,
    intake: &Intake<A>,
    output: &mut Output<impl Write>,
    remarks: &mut impl Write,
) -> Result<u64> {
    let mut printed = 0;
    let failure = loop {
        match next(answers, output) {
            Ok(None) => break output.flush().err().map(Failure::from),
            Ok(Some(entry)) => match print(entry, output) {
                Ok(()) => printed += 1,
                Err(failure) => break Some(failure),
            },
            Err(failure) => break Some(failure),
        }
    };
    let Some(failure) = failure else {
        return Ok(printed);
    };
    // What was printed so far is true and must reach the reader; if that fails too, the first failure stands.
    output.flush().ok();
    let mut rest = Rest::default();
    close_and_drain(answers, intake, |entry| rest.see(entry, remarks));
    rest.conclude(remarks);
    if failure.is_broken_pipe() {
        return Err(anyhow!("nobody reads the ids any more; what was under way is stored").into());
    }
    Err(failure)
}

/// The next entry; what is printed is flushed before waiting for it. `None` at the end.
fn next<A>(
    answers: &Receiver<Entry<A>>,
    output: &mut Output<impl Write>,
) -> Result<Option<Entry<A>>> {
    match answers.try_recv() {
        Ok(entry) => Ok(Some(entry)),
        Err(TryRecvError::Disconnected) => Ok(None),
        Err(TryRecvError::Empty) => {
            output.flush()?;
            Ok(answers.recv().ok())
        }
    }
}

fn print<A: Answer>(entry: Entry<A>, output: &mut Output<impl Write>) -> Result {
    let number = entry.number;
    let answer = entry
        .answer
        .map_err(|error| Failure::from(anyhow::Error::from(error)))?;
    if !answer.is_done() {
        output.flush()?;
    }
    let id = answer.wait().map_err(|failure| at_line(number, failure))?;
    Ok(output.line(id)?)
}

fn at_line(number: u64, failure: Failure) -> Failure {
    Failure {
        exit: failure.exit,
        error: failure.error.context(format!("line {number}")),
    }
}

/// Closes the intake from the side of the answers.
///
/// Whoever puts a request in holds the intake while there is no room for its answer; so answers are taken out until the
/// intake is free.
fn close_and_drain<A>(
    answers: &Receiver<Entry<A>>,
    intake: &Intake<A>,
    mut see: impl FnMut(Entry<A>),
) {
    while !intake.try_close() {
        match answers.recv() {
            Ok(entry) => see(entry),
            Err(_) => return,
        }
    }
    answers.iter().for_each(see);
}

/// What became of the lines that were under way behind the failed one.
#[derive(Debug, Default)]
struct Rest {
    failed: u64,
}

impl Rest {
    /// Names a line that was stored all the same, and counts one that was not.
    fn see<A: Answer>(&mut self, entry: Entry<A>, remarks: &mut impl Write) {
        let number = entry.number;
        match entry.answer.map(Answer::wait) {
            Ok(Ok(id)) => remark(
                remarks,
                format_args!("line {number} is stored all the same: {id}"),
            ),
            Ok(Err(_)) | Err(_) => self.failed += 1,
        }
    }

    fn conclude(&self, remarks: &mut impl Write) {
        if self.failed > 0 {
            remark(
                remarks,
                format_args!("{} later lines that were under way failed too", self.failed),
            );
        }
    }
}

/// A remark that cannot be printed changes nothing about what was stored.
fn remark(remarks: &mut impl Write, text: fmt::Arguments<'_>) {
    writeln!(remarks, "mq: {text}").ok();
}

#[cfg(test)]
mod tests;
