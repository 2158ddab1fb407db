//! The caller's side: a connection to the owner of a store. It blocks its thread; it needs no async runtime.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::answer::Answer;
use super::call::Call;
use super::fault::{CLOSING, CallError};
use super::line::{AnswerLine, CallLine, Greeting};
use super::{PROTOCOL, place};

/// How long an owner may take for its first line. One that is stopped (SIGSTOP, a debugger) never sends it.
const GREETING_WITHIN: Duration = Duration::from_secs(5);

/// Bytes of an answer: a page of messages or the largest payload, escaped.
const ANSWER_SIZE_MAX: u64 = 128 << 20;

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody serves the socket: the store has no owner, or one that serves none.
    #[error("no process serves the control socket of {folder}")]
    NotServed {
        /// The store's folder.
        folder: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The owner takes no call now: it is at its end, or too busy. Nothing was done.
    #[error("the owner takes no call now: {message}")]
    NotNow {
        /// What it said.
        message: String,
    },
    /// The owner speaks another version of the protocol. Nothing was done.
    #[error(
        "the owner (pid {} of {}, mq {}) speaks version {} of the protocol, this program version {PROTOCOL}; use the mq of the owner's version",
        .0.pid, .0.program, .0.mq, .0.protocol
    )]
    Protocol(Greeting),
    /// The owner closes the store. This call, and every later one, was not taken: the next owner can be asked.
    #[error(
        "the owner closes the store; nothing that it has not answered was taken, and can be sent again"
    )]
    Closing,
    /// The owner ended before it answered.
    #[error(
        "the owner of the store ended before it answered; whether the call took effect shows when the store is looked at again"
    )]
    Gone,
    /// The connection broke: as [`ClientError::Gone`].
    #[error(
        "the connection to the owner broke; whether the call took effect shows when the store is looked at again"
    )]
    Broken(#[from] io::Error),
    /// What came is no answer.
    #[error("the owner's answer cannot be read")]
    Unreadable(#[from] serde_json::Error),
    /// The owner refused.
    #[error(transparent)]
    Refused(#[from] CallError),
}

/// A connection to the owner of a store.
#[derive(Debug)]
pub struct Client {
    greeting: Greeting,
    calls: Calls,
    answers: Answers,
}

/// Where calls go in. Many may be under way; answers come in their order.
#[derive(Debug)]
pub struct Calls {
    to: UnixStream,
    next_id: u64,
}

/// Where answers come out.
#[derive(Debug)]
pub struct Answers {
    from: BufReader<UnixStream>,
    next_id: u64,
}

impl Client {
    /// Connects to the owner of the store in `folder`.
    ///
    /// # Errors
    /// [`ClientError::NotServed`], [`ClientError::NotNow`] or [`ClientError::Protocol`]; nothing was done.
    pub fn connect(folder: &Path) -> Result<Self, ClientError> {
        let not_served = |source| ClientError::NotServed {
            folder: folder.display().to_string(),
            source,
        };
        let stream = place::reach(folder, |path| UnixStream::connect(path)).map_err(not_served)?;
        stream.set_read_timeout(Some(GREETING_WITHIN))?;
        let calls = Calls {
            to: stream.try_clone()?,
            next_id: 0,
        };
        let mut answers = Answers {
            from: BufReader::new(stream),
            next_id: 0,
        };
        let greeting = answers.greeting()?;
        answers.from.get_ref().set_read_timeout(None)?;
        Ok(Self {
            greeting,
            calls,
            answers,
        })
    }

    /// Who the owner is.
    #[must_use]
    pub fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    /// Makes a call and waits for its answer.
    ///
    /// # Errors
    /// [`ClientError`]; after [`ClientError::Gone`] and [`ClientError::Broken`] it is unknown whether it took effect.
    pub fn call(&mut self, call: &Call) -> Result<Answer, ClientError> {
        // An owner that does not read any more may have left answers all the same.
        let sent = self.calls.send(call);
        match (self.answers.next_answer(), sent) {
            (Err(ClientError::Gone), Err(error)) => Err(error.into()),
            (answer, _) => answer,
        }
    }

    /// The two ends, for many calls under way.
    #[must_use]
    pub fn split(self) -> (Calls, Answers) {
        (self.calls, self.answers)
    }
}

impl Calls {
    /// Sends a call.
    ///
    /// # Errors
    /// When the owner does not read any more; answers to earlier calls may still be there.
    pub fn send(&mut self, call: &Call) -> io::Result<()> {
        self.next_id += 1;
        let line = CallLine {
            id: Some(self.next_id),
            protocol: Some(PROTOCOL),
            call,
        };
        let mut bytes = serde_json::to_vec(&line)?;
        bytes.push(b'\n');
        self.to.write_all(&bytes)
    }

    /// Says that no further call comes; answers still do.
    ///
    /// # Errors
    /// When the owner is gone.
    pub fn finish(self) -> io::Result<()> {
        self.to.shutdown(std::net::Shutdown::Write)
    }
}

impl Answers {
    /// Waits for the answer to the next call.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn next_answer(&mut self) -> Result<Answer, ClientError> {
        let line = self.line()?.ok_or(ClientError::Gone)?;
        let line: AnswerLine = serde_json::from_slice(&line)?;
        self.next_id += 1;
        match (line.answer, line.error) {
            (_, Some(error)) if line.id.is_none() && error.code == CLOSING => {
                Err(ClientError::Closing)
            }
            (_, Some(error)) => Err(error.into()),
            (Some(answer), None) if line.id == Some(self.next_id) => Ok(answer),
            (Some(_) | None, None) => {
                let text = "the answer is not to the call that was made";
                Err(io::Error::new(io::ErrorKind::InvalidData, text).into())
            }
        }
    }

    /// Whether an answer has arrived, so that [`Answers::next_answer`] returns at once.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.from.buffer().contains(&b'\n')
    }

    fn greeting(&mut self) -> Result<Greeting, ClientError> {
        let not_now = |message: &str| ClientError::NotNow {
            message: message.to_owned(),
        };
        let line = match self.line() {
            Ok(Some(line)) => line,
            Ok(None) => return Err(not_now("it is closing the store")),
            // It let its socket go before it took this connection off it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                return Err(not_now("it is closing the store"));
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                return Err(not_now("it does not answer; is it stopped?"));
            }
            Err(error) => return Err(error.into()),
        };
        let refused: Option<AnswerLine> = serde_json::from_slice(&line).ok();
        if let Some(CallError { message, .. }) = refused.and_then(|line| line.error) {
            return Err(not_now(&message));
        }
        let greeting: Greeting = serde_json::from_slice(&line)?;
        if greeting.protocol == PROTOCOL {
            Ok(greeting)
        } else {
            Err(ClientError::Protocol(greeting))
        }
    }

    /// The next line, without its end; a line without an end is none.
    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let mut input = self.from.by_ref().take(ANSWER_SIZE_MAX);
        input.read_until(b'\n', &mut line)?;
        Ok((line.pop() == Some(b'\n')).then_some(line))
    }
}
